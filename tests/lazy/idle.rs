//! An idle poll is one system call: counted from outside, by tracing a process that polls a thousand times.

use crate::support::this_program;
use crate::{Bench, Command, PREFACE, frame};
use actix_ipc::lazy::Limits;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

const POLLS: usize = 1_000;
/// Tells the traced process what it is.
const ROLE: &str = "LAZY_IDLE_ROLE";

/// The process that is traced; alone it is a test that everything is found in place.
#[test]
fn polls_of_an_idle_server() {
    let mut bench = Bench::new(Limits::default());
    let mut raw = bench.raw();
    raw.send(PREFACE);
    raw.send(&frame(&Command::Count));
    assert_eq!(bench.poll(), 1);
    bench.poll();
    if std::env::var_os(ROLE).is_some() {
        mark();
    }
    for _ in 0..POLLS {
        assert_eq!(bench.poll(), 0);
    }
    if std::env::var_os(ROLE).is_some() {
        mark();
    }
    assert_eq!(bench.server.next_timeout(), None);
}

/// A system call that nothing else makes.
fn mark() {
    // SAFETY: it takes no argument and changes nothing.
    unsafe { libc::syscall(libc::SYS_getpgrp) };
}

#[test]
fn a_thousand_idle_polls_are_a_thousand_system_calls() {
    let mut child = this_program("idle::polls_of_an_idle_server");
    child.env(ROLE, "polls").stdout(Stdio::null());
    // SAFETY: ptrace is a plain system call, safe between fork and exec.
    unsafe {
        child.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = match child.spawn() {
        Ok(child) => child,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            eprintln!("SKIPPED: this system does not let a process be traced: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let counts = trace(i32::try_from(child.id()).unwrap());
    let total: usize = counts.values().sum();
    assert!(counts[&libc::SYS_epoll_wait] >= POLLS, "{counts:?}");
    assert!(total <= POLLS, "{counts:?}");
}

/// Follows the process with its threads to its end; system calls of the thread that marks, between its two marks.
fn trace(child: i32) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    let (mut inside, mut marker) = (BTreeMap::<i32, bool>::new(), None);
    let mut marks = 0;
    // SAFETY: waitpid and ptrace get pointers to places that live for the call; the traced process is ours.
    unsafe {
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
        assert_eq!(libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, options), 0);
        libc::ptrace(libc::PTRACE_SYSCALL, child, 0, 0);
        loop {
            let task = libc::waitpid(-1, &raw mut status, libc::__WALL);
            if task == -1 {
                break;
            }
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if task == child {
                    assert!(
                        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                        "{status}"
                    );
                    break;
                }
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            let mut deliver = 0;
            if signal == libc::SIGTRAP | 0x80 {
                let entering = inside.entry(task).or_default();
                *entering = !*entering;
                if *entering {
                    let mut registers: libc::user_regs_struct = std::mem::zeroed();
                    libc::ptrace(libc::PTRACE_GETREGS, task, 0, &raw mut registers);
                    let number = registers.orig_rax.cast_signed();
                    if number == libc::SYS_getpgrp {
                        marks += 1;
                        marker = Some(task);
                    } else if marks == 1 && marker == Some(task) {
                        *counts.entry(number).or_default() += 1;
                    }
                }
            } else if signal != libc::SIGTRAP && signal != libc::SIGSTOP {
                deliver = signal;
            }
            libc::ptrace(libc::PTRACE_SYSCALL, task, 0, deliver);
        }
    }
    assert_eq!(marks, 2, "both marks were seen");
    counts
}

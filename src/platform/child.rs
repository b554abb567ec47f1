//! A child process with a process group of its own, from its start to its end.
//!
//! Owns how it is started, ended and reaped, and the reading of what it prints. It refuses to know why it runs. `activation` calls it, on
//! a thread that may block.

use super::lines::Lines;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

/// Whether services can be units of systemd here.
pub const HAS_UNITS: bool = cfg!(target_os = "linux");

/// What is read at most when the process has ended: others may still write into its output.
const REST_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    /// It is not to be started any more; with force: not asked first.
    CalledOff,
    Live(Pid),
    Over,
}

/// The process and all that it has started and that has not left its group: the way to end them, from any thread.
#[derive(Debug)]
pub struct Group(Mutex<Stage>);

impl Default for Group {
    fn default() -> Self {
        Self(Mutex::new(Stage::Before))
    }
}

impl Group {
    /// Asks the group to end (SIGTERM), or kills it. One that is not started yet will not be.
    pub fn end(&self, kill: bool) {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *stage {
            Stage::Before => *stage = Stage::CalledOff,
            Stage::Live(pid) => {
                // Its leader is not reaped, so the number is still its own. Nobody may be left in it.
                let _ = kill_process_group(pid, if kill { Signal::KILL } else { Signal::TERM });
            }
            Stage::CalledOff | Stage::Over => {}
        }
    }

    /// `false`: it was called off meanwhile.
    pub(super) fn live(&self, pid: Pid) -> bool {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = *stage == Stage::Before;
        *stage = Stage::Live(pid);
        wanted
    }

    pub(super) fn is_called_off(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == Stage::CalledOff
    }
}

/// Starts the command, waits for its end and reaps it; what is left of its group then is killed. Each line that it prints is told, unless its
/// output is to go nowhere.
///
/// # Errors
/// It cannot be started ([`io::ErrorKind::Interrupted`]: it was called off).
pub fn run(
    mut command: Command,
    group: &Group,
    told: Option<&(dyn Fn(&str) + Sync)>,
) -> io::Result<ExitStatus> {
    command.stdin(Stdio::null()).process_group(0);
    let mut output = None;
    if told.is_some() {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        output = Some(reader);
    } else {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    if group.is_called_off() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let (over, is_over) = io::pipe()?;
    let mut child = command.spawn()?;
    // It holds the writing end of the output, which is to end with the child.
    drop(command);
    let pid = Pid::from_child(&child);
    if !group.live(pid) {
        group.end(true);
    }
    std::thread::scope(|threads| {
        if let (Some(output), Some(told)) = (output, told) {
            let reader = std::thread::Builder::new().name("service-output".into());
            // Without a thread nobody reads; the pipe's other end is closed then, and the child learns of it.
            let _ = reader.spawn_scoped(threads, move || read(output, &over, told));
        }
        let status = reap(&mut child, group);
        drop(is_over);
        status
    })
}

/// Waits for the end of a group's leader, kills what is left of the group, and reaps.
pub(super) fn reap(child: &mut Child, group: &Group) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    // Not reaped yet, so that its number is its own while it is killed.
    let not_reaped = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let ended = loop {
        match waitid(WaitId::Pid(pid), not_reaped) {
            Err(rustix::io::Errno::INTR) => {}
            ended => break ended,
        }
    };
    // Where the system or somebody else reaps, the number may be another's by now.
    if ended.is_ok() {
        group.end(true);
    }
    let mut stage = group.0.lock().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait();
    *stage = Stage::Over;
    status
}

/// Reads lines until the output ends, or the process.
fn read(mut output: PipeReader, over: &PipeReader, told: &(dyn Fn(&str) + Sync)) {
    let mut lines = Lines::default();
    let mut rest = REST_MAX;
    let mut buffer = [0; 4096];
    loop {
        let mut ready = [
            PollFd::new(&output, PollFlags::IN),
            PollFd::new(over, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break,
            Ok(_) => {}
        }
        let [has_more, is_over] = ready.map(|one| !one.revents().is_empty());
        if is_over && (!has_more || rest == 0) {
            break;
        }
        let Ok(length @ 1..) = output.read(&mut buffer) else {
            break;
        };
        if is_over {
            rest = rest.saturating_sub(length);
        }
        lines.take(buffer.get(..length).unwrap_or_default(), told);
    }
    lines.end(told);
}

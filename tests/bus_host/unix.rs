//! Hosts and what Unix has: forked children, stopped processes, sockets and locks that are files.

use crate::crew::{Crew, Member, Stray};
use crate::signals;
use crate::support::PATIENCE;
use rustix::process::Signal;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Connects as often as it can until told otherwise.
struct Load(Arc<AtomicBool>, Option<std::thread::JoinHandle<usize>>);

impl Load {
    fn on(path: std::path::PathBuf) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let load = std::thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let mut connected = 0;
                while !done.load(Ordering::Acquire) {
                    connected += usize::from(UnixStream::connect(&path).is_ok());
                    std::thread::yield_now();
                }
                connected
            }
        });
        Self(done, Some(load))
    }

    fn end(mut self) -> usize {
        self.0.store(true, Ordering::Release);
        self.1.take().unwrap().join().unwrap()
    }
}

/// What a host leaves behind when it is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Child {
    None,
    Forked,
    /// One that has every descriptor of the host.
    Cloned,
}

/// Kills the host and sees another one host.
fn kill_the_host(crew: &Crew, members: &mut Vec<Member>, child: Child) {
    let pid = crew.holder().unwrap();
    let at = members.iter().position(|member| member.pid() == pid).unwrap();
    let mut host = members.remove(at);
    // Knows nothing of processes: it is told by its end of the socket alone.
    let mut plain = UnixStream::connect(&crew.files("sock")[0]).unwrap();
    host.works();
    let stray = match child {
        Child::None => None,
        Child::Forked => {
            let said = host.ask("fork", "child");
            let words: Vec<&str> = said.split_whitespace().collect();
            assert_eq!(words[1..], ["true", "true"], "{said}");
            Some(Stray(words[0].parse().unwrap()))
        }
        Child::Cloned => Some(Stray(host.ask("clone", "clone").parse().unwrap())),
    };
    host.process.kill();
    if child != Child::Cloned {
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        let end = plain.read(&mut [0; 1]);
        let reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        assert!(matches!(&end, Ok(0)) || end.as_ref().is_err_and(reset), "{end:?}");
    }
    for member in members.iter_mut() {
        member.wait("up");
        member.works();
    }
    let now = crew.holder().unwrap();
    assert!(
        now != pid && members.iter().any(|member| member.pid() == now),
        "{now}"
    );
    for member in members.iter_mut() {
        let expected = match member.pid() == now {
            true => "here".to_owned(),
            false => format!("at {now}"),
        };
        member.learns(&expected);
    }
    drop(stray);
}

/// Hosts that are killed one after the other: twenty, or as many as the variable says.
fn rounds() -> usize {
    let said = std::env::var("LOST_HOST_ROUNDS").ok();
    said.and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

fn kills(times: usize, child: Child) {
    let crew = Crew::new();
    let mut members = vec![crew.member("com.solar")];
    members.extend((0..3).map(|_| crew.member("com.solar")));
    let load = Load::on(crew.files("sock").remove(0));
    for _ in 0..times {
        kill_the_host(&crew, &mut members, child);
        members.push(crew.member("com.solar"));
    }
    assert!(load.end() > times);
}

#[test]
fn twenty_hosts_are_killed_under_load_and_there_is_always_another() {
    kills(rounds(), Child::None);
}

#[test]
fn a_forked_child_of_a_killed_host_keeps_neither_lock_nor_connections() {
    kills(rounds(), Child::Forked);
}

#[test]
fn a_child_that_kept_the_sockets_of_a_killed_host_keeps_nobody_waiting() {
    kills(rounds(), Child::Cloned);
}

#[test]
fn a_forked_child_is_told_so_and_its_parent_goes_on_hosting() {
    let crew = Crew::new();
    let mut host = crew.member("com.solar");
    let mut other = crew.member("com.solar");
    let said = host.ask("fork", "child");
    let words: Vec<&str> = said.split_whitespace().collect();
    let child = Stray(words[0].parse().unwrap());
    assert_eq!(words[1..], ["true", "true"], "{said}");
    host.works();
    other.works();
    assert_eq!(crew.holder(), Some(host.pid()));
    drop(child);
    host.works();
    assert_eq!(host.ask("host", "is"), "here");
}

#[test]
fn a_stopped_host_is_reported_and_keeps_the_bus() {
    let crew = Crew::new();
    let mut host = crew.member("com.solar");
    let mut other = crew.member("com.solar");
    signals::freeze(host.pid());
    let late = crew.start_limited("com.solar", 300);
    let error = late.wait("error");
    assert!(
        error.contains(&format!(
            "process {} hosts the bus and has been stopped",
            host.pid()
        )),
        "{error}"
    );
    assert_eq!(other.ask("stopped", "stopped"), format!("Some({})", host.pid()));
    assert_eq!(crew.holder(), Some(host.pid()));
    let patient = crew.start("com.solar");
    host.process.signal(Signal::CONT);
    assert_eq!(patient.wait("host"), format!("at {}", host.pid()));
    host.works();
    other.works();
    assert_eq!(other.ask("stopped", "stopped"), "None");
}

#[test]
fn a_removed_lock_file_does_not_make_two_hosts() {
    let crew = Crew::new();
    let mut members = [crew.member("com.solar"), crew.member("com.solar")];
    std::fs::remove_file(&crew.files("lock")[0]).unwrap();
    for member in &mut members {
        member.wait("lost");
        member.wait("up");
        member.works();
    }
    let pid = crew.holder().unwrap();
    for member in &mut members {
        match member.pid() == pid {
            true => member.learns("here"),
            false => member.learns(&format!("at {pid}")),
        }
    }
}

#[test]
fn a_folder_that_others_can_reach_is_refused() {
    let crew = Crew::new();
    crew.member("com.solar").ask("leave", "left");
    let folder = crew.folder().join("actix-ipc/bus");
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = crew.start("com.solar").wait("error");
    assert!(error.contains("is open to others (mode 0755)"), "{error}");
}

#[test]
fn a_socket_that_a_crash_left_is_replaced() {
    let crew = Crew::new();
    let mut first = crew.member("com.solar");
    first.process.kill();
    assert_eq!(crew.files("sock").len(), 1);
    let mut next = crew.member("com.solar");
    assert_eq!(next.ask("host", "is"), "here");
    next.works();
}

//! Elections: at the beginning, after a crash, at a hand-over, and what does not lead to one.

use crate::crew::{Crew, Member, Stray, holder};
use crate::support::PATIENCE;
use rustix::process::Signal;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn the_first_one_hosts_and_leaves_nothing_but_its_lock_file_behind() {
    let crew = Crew::new();
    let mut member = crew.start("com.solar");
    assert_eq!(member.wait("host"), "here");
    member.wait("up");
    member.works();
    assert_eq!(crew.holder(), Some(member.pid()));
    assert_eq!(crew.files("sock").len(), 1);
    // A second endpoint of the process neither takes the lock again nor loses it.
    assert_eq!(member.ask("twice", "twice"), r#"("here", "here")"#);
    assert_eq!(crew.holder(), Some(member.pid()));
    member.works();
    member.ask("leave", "left");
    assert_eq!(crew.holder(), None);
    assert!(crew.files("sock").is_empty() && crew.files("new").is_empty());
}

#[test]
fn who_comes_later_follows_and_takes_over_when_the_host_is_killed() {
    let crew = Crew::new();
    let mut host = crew.member("com.solar");
    let mut second = crew.start("com.solar");
    assert_eq!(second.wait("host"), format!("at {}", host.pid()));
    second.wait("up");
    second.works();
    host.process.kill();
    assert_eq!(second.wait("host here"), "");
    second.wait("up");
    second.works();
    assert_eq!(crew.holder(), Some(second.pid()));
}

#[test]
fn a_host_that_leaves_hands_the_bus_over() {
    let crew = Crew::new();
    let mut host = crew.member("com.solar");
    let mut others: Vec<Member> = (0..3).map(|_| crew.member("com.solar")).collect();
    host.ask("leave", "left");
    let next = crew.holder();
    for other in &mut others {
        assert!(other.wait("lost").contains("moves to another host"));
        other.wait("up");
        other.works();
    }
    let hosts: Vec<u32> = others.iter().map(Member::pid).collect();
    let now = crew.holder().unwrap();
    assert!(hosts.contains(&now) && next.is_none_or(|pid| pid == now), "{now}");
}

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
    host.stop();
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
fn who_may_not_host_waits_for_one_who_does() {
    let crew = Crew::new();
    let alone = crew.start_follower("com.solar", 100);
    let error = alone.wait("error");
    assert!(error.contains("nobody hosts the bus"), "{error}");
    let mut patient = crew.start_follower("com.solar", 20_000);
    let mut host = crew.member("com.solar");
    assert_eq!(patient.wait("host"), format!("at {}", host.pid()));
    patient.wait("up");
    patient.works();
    host.process.kill();
    assert_eq!(patient.wait("host nobody"), "");
    assert_eq!(crew.holder(), None);
    let next = crew.member("com.solar");
    assert_eq!(patient.wait("host"), format!("at {}", next.pid()));
    patient.wait("up");
    patient.works();
}

#[test]
fn fifty_that_start_together_have_one_host() {
    let crew = Crew::new();
    let mut members: Vec<Member> = (0..50).map(|_| crew.start_ready("com.solar")).collect();
    members.iter_mut().for_each(|member| member.tell("go"));
    let said: Vec<String> = members.iter().map(|member| member.wait("host")).collect();
    let pid = crew.holder().unwrap();
    for (member, said) in members.iter_mut().zip(&said) {
        let expected = match member.pid() == pid {
            true => "here".to_owned(),
            false => format!("at {pid}"),
        };
        assert_eq!(*said, expected);
        member.wait("up");
        member.works();
    }
}

#[test]
fn two_buses_know_nothing_of_each_other() {
    let crew = Crew::new();
    let mut of_one = [crew.member("one"), crew.member("one")];
    let mut of_two = [crew.member("two"), crew.member("two")];
    let holders = || {
        let mut all: Vec<u32> = crew
            .files("lock")
            .iter()
            .filter_map(|lock| holder(lock))
            .collect();
        all.sort_unstable();
        all
    };
    let mut expected = vec![of_one[0].pid(), of_two[0].pid()];
    expected.sort_unstable();
    assert_eq!(holders(), expected);
    of_one[0].process.kill();
    of_one[1].wait("host here");
    of_one[1].wait("up");
    of_one[1].works();
    let mut expected = vec![of_one[1].pid(), of_two[0].pid()];
    expected.sort_unstable();
    assert_eq!(holders(), expected);
    assert_eq!(of_two[1].ask("host", "is"), format!("at {}", of_two[0].pid()));
    of_two.iter_mut().for_each(Member::works);
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

//! Elections: at the beginning, after a crash, at a hand-over, and what does not lead to one.

use crate::crew::{Crew, Member, holder};

/// Sockets in the folder of a bus that is hosted; a pipe is in none.
const SOCKETS: usize = if cfg!(unix) { 1 } else { 0 };

#[test]
fn the_first_one_hosts_and_leaves_nothing_but_its_lock_file_behind() {
    let crew = Crew::new();
    let mut member = crew.start("com.solar");
    assert_eq!(member.wait("host"), "here");
    member.wait("up");
    member.works();
    assert_eq!(crew.holder(), Some(member.pid()));
    assert_eq!(crew.files("sock").len(), SOCKETS);
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

#[test]
fn ten_hosts_are_killed_one_after_the_other_and_there_is_always_another() {
    let crew = Crew::new();
    let mut members: Vec<Member> = (0..4).map(|_| crew.member("com.solar")).collect();
    for _ in 0..10 {
        let pid = crew.holder().unwrap();
        let at = members.iter().position(|member| member.pid() == pid).unwrap();
        members.remove(at).process.kill();
        for member in &mut members {
            member.wait("up");
            member.works();
        }
        let now = crew.holder().unwrap();
        assert!(
            now != pid && members.iter().any(|member| member.pid() == now),
            "{now}"
        );
        members.push(crew.member("com.solar"));
    }
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

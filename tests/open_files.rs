//! A broker that may open nothing more: those that wait are turned away, the others are served, and it recovers.
//!
//! Owns the limit of open files of a live daemon, lowered and raised from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/raw.rs"]
mod raw;
mod support;

use actix_ipc::error::CloseReason;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use descriptors::{Reader, call_with, closed, pipes, same, send};
use raw::Raw;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::path::Path;
use support::until;

/// How many it has open: about the lowest number that is free.
fn open_files(pid: u32) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    open.count() as u64
}

/// Sets the soft limit; returns the one before.
fn limit(pid: u32, soft: Option<u64>) -> Rlimit {
    let of = Some(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
    let now = prlimit_of(pid);
    prlimit(
        of,
        Resource::Nofile,
        Rlimit {
            current: soft,
            maximum: now.1,
        },
    )
    .unwrap()
}

/// Soft and hard limit.
fn prlimit_of(pid: u32) -> (Option<u64>, Option<u64>) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let mut words = line.split_whitespace().skip(3).map(|word| word.parse().ok());
    (words.next().unwrap(), words.next().unwrap())
}

fn status(raw: &mut Raw, counter: &str) -> u64 {
    let id = raw.id();
    let status = raw
        .ask(&Draft::new(Kind::Call, id).pair("sys.broker", "status"))
        .json();
    let text = serde_json::to_string(&status).unwrap();
    let (_, rest) = text.split_once(&format!("\"{counter}\":")).expect(counter);
    rest.split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn it_may_open_as_many_as_the_system_lets_it_up_to_65536() {
    let broker = support::Broker::start();
    let (soft, hard) = prlimit_of(broker.process.id());
    let own = rustix::process::getrlimit(Resource::Nofile);
    let wanted = own
        .maximum
        .unwrap_or(u64::MAX)
        .min(65_536)
        .max(own.current.unwrap_or(u64::MAX));
    assert_eq!((soft, hard), (Some(wanted), own.maximum));
}

/// Connects while the broker has no descriptor for it: a goodbye, or the end of the connection, but soon.
fn turned_away(path: &Path) -> bool {
    connected(path).is_none()
}

fn connected(path: &Path) -> Option<Raw> {
    let mut raw = Raw::open(path);
    raw.greet("");
    match raw.try_read() {
        None => None,
        Some(got) if got.kind == Kind::Goodbye => {
            assert_eq!(
                CloseReason::from_code(got.aux),
                CloseReason::TooMany,
                "{}",
                got.text()
            );
            assert!(got.text().contains("limit of open files"), "{}", got.text());
            None
        }
        Some(got) => {
            assert_eq!(got.kind, Kind::Welcome);
            Some(raw)
        }
    }
}

fn passes(caller: &Raw, callee: &mut Raw, reader: &mut Reader) {
    let (sent, readers) = pipes(3);
    send(caller, &call_with(7, "o", 3, b"", Flags::NO_REPLY), &sent);
    drop(sent);
    let (got, came) = reader.read(callee);
    assert_eq!(got.kind, Kind::Call);
    same(came, readers);
}

#[test]
fn who_waits_is_turned_away_and_everything_recovers() {
    let broker = support::Broker::start();
    let (path, pid) = (broker.socket(), broker.process.id());
    let (mut witness, mut callee) = (Raw::connect(&path), Raw::connect(&path));
    let mut reader = Reader::default();
    callee.register("o");
    for extra in [0, 1, 2] {
        let caller = Raw::connect(&path);
        passes(&caller, &mut callee, &mut reader);
        let before = limit(pid, Some(open_files(pid) + extra));
        // Numbers below the limit that were free.
        let mut fillers = Vec::new();
        while let Some(filler) = connected(&path) {
            fillers.push(filler);
        }
        // At once, and again while the listener pauses; nobody is left waiting.
        let away = (0..4).filter(|_| turned_away(&path)).count();
        assert!(away >= 3, "only {away} were turned away");
        assert!(status(&mut witness, "turned_away") > 0);
        assert!(status(&mut witness, "accept_failures") > 0);
        // Descriptors that the kernel cannot give to the broker cost their sender its connection, nobody else anything.
        let (sent, readers) = pipes(16);
        let mut sender = caller;
        send(&sender, &call_with(8, "o", 16, b"", Flags::NO_REPLY), &sent);
        drop(sent);
        let (reason, text) = sender.goodbye();
        assert!(
            reason == CloseReason::Protocol && text.contains("may open no more"),
            "{text}"
        );
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
        drop(sender);
        witness.ping();
        limit(pid, before.current);
        drop(fillers);
        // The next pause is a second at most.
        until("it accepts again", || !turned_away(&path));
        passes(&Raw::connect(&path), &mut callee, &mut reader);
    }
    until("no listener pauses", || {
        status(&mut Raw::connect(&path), "accept_pausing") == 0
    });
}

#[test]
fn a_full_socket_is_waited_for_without_a_descriptor() {
    let broker = support::Broker::start();
    let (path, pid) = (broker.socket(), broker.process.id());
    let (mut caller, mut callee) = (Raw::connect(&path), Raw::connect(&path));
    callee.register("o");
    let before = limit(pid, Some(open_files(pid)));
    let payload = vec![7; 100_000];
    for id in 0..20 {
        let call = Draft::new(Kind::Call, 100 + id)
            .flags(Flags::NO_REPLY)
            .pair("o", "m");
        caller.send(&call.payload(Encoding::RAW, &payload));
    }
    caller.ping();
    for _ in 0..20 {
        assert_eq!(callee.expect(Kind::Call).payload.len(), payload.len());
    }
    limit(pid, before.current);
    callee.ping();
}

#[test]
fn with_descriptors_in_the_table_the_last_ones_are_the_brokers() {
    let broker = support::Broker::start();
    let (path, pid) = (broker.socket(), broker.process.id());
    let (mut caller, mut callee) = (Raw::connect(&path), Raw::connect(&path));
    callee.register("o");
    // Room for 30 more, but the last 64 are not for attachments.
    let before = limit(pid, Some(open_files(pid) + 31));
    let (sent, readers) = pipes(2);
    let id = caller.id();
    let frame = call_with(id, "o", 2, b"", Flags::NONE);
    send(&caller, &frame, &sent);
    drop(sent);
    let refused = caller.answer(id);
    assert_eq!(refused.error(), (actix_ipc::error::ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limit of open files"),
        "{}",
        refused.text()
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    limit(pid, before.current);
    passes(&caller, &mut callee, &mut Reader::default());
}

//! What the loss of a host under load means for endpoints: no message arrives twice, and of each that does not arrive its sender is told.
//!
//! Each endpoint is a process of its own, with buses in a folder of the test's; the parent kills the host and compares what was sent,
//! received and reported.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what is not as expected fails the test; the processes tell each other by lines"
)]

mod support;

use actix_ipc::bus::{self, EndpointReceiver, EndpointSender, Message, Options, Report, Selector, label};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;
use support::{Process, this_program};

const ROLE: &str = "ACTIX_IPC_LOST_HOST_ROLE";
/// Where a process looks for its user's folder.
const FOLDER: &str = if cfg!(windows) {
    "LOCALAPPDATA"
} else {
    "XDG_RUNTIME_DIR"
};
const COUNT: u64 = 30_000;
/// What a host takes before it ends by itself.
const OWED: u64 = 50;
const LONG: Duration = Duration::from_secs(20);
/// How often the host is killed, unless the environment says otherwise.
const ROUNDS: usize = 20;
/// The variable that says so.
const ROUNDS_VARIABLE: &str = "LOST_HOST_ROUNDS";

type Ends = (EndpointSender<u64>, EndpointReceiver<u64>);

fn join(name: &str) -> Ends {
    bus::join(Options::new("lost", label!(name), ""), Some(LONG)).unwrap()
}

fn message(number: u64) -> Message<u64> {
    Message::new(Selector::unicast("receiver").with_ttl(LONG), number)
}

fn send() {
    let (sender, _none) = join("sender");
    let mut numbers = Vec::new();
    for number in 0..COUNT {
        if number == COUNT / 3 {
            println!("= under way");
        }
        numbers.push(sender.send(message(number)).unwrap());
    }
    // Everything before it is settled when this is.
    while sender.send_confirmed(message(COUNT), LONG).is_err() {}
    let reports = sender.undelivered();
    let (mut told, mut missed) = (Vec::new(), 0);
    while let Some(report) = reports.try_next() {
        match report {
            Report::Undelivered(lost) => {
                told.extend(numbers.binary_search(&lost.id).map(|at| at.to_string()));
            }
            Report::Missed(count) => missed += count,
            other => panic!("{other:?}"),
        }
    }
    println!("= {missed} {}", told.join(","));
}

fn receive() {
    let (_sender, receiver) = join("receiver");
    println!("= ready");
    let mut got = Vec::new();
    loop {
        match receiver.recv(Some(LONG)).unwrap().payload {
            COUNT => break,
            number => got.push(number.to_string()),
        }
    }
    println!("= {}", got.join(","));
}

/// Takes so many messages, gives its endpoint up and ends at once.
fn take_and_end() {
    let (sender, receiver) = join("receiver");
    println!("= ready");
    for _ in 0..OWED {
        receiver.recv(Some(LONG)).unwrap();
    }
    drop(receiver);
    drop(sender);
    std::process::exit(0);
}

/// Sends as many, and waits for word of the last one.
fn send_to_one_that_ends() {
    let (sender, _none) = join("sender");
    for number in 1..OWED {
        sender.send(message(number)).unwrap();
    }
    let last = sender.send_confirmed(message(OWED), LONG);
    let told = sender.undelivered().try_next();
    println!("= {last:?} {told:?}");
}

/// What the children run; the test's own run of it does nothing.
#[test]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("host") => {
            let ends = join("host");
            println!("= ready");
            loop {
                std::thread::park();
                std::hint::black_box(&ends);
            }
        }
        Ok("ending host") => take_and_end(),
        Ok("sender of few") => send_to_one_that_ends(),
        Ok("sender") => send(),
        Ok("receiver") => receive(),
        _ => {}
    }
}

fn start(role: &str, folder: &Path) -> Process {
    Process::spawn(this_program("role").env(ROLE, role).env(FOLDER, folder))
}

/// What it says next.
fn said(process: &Process) -> String {
    let line = process.wait_for("= ");
    line.split_once("= ").unwrap().1.to_owned()
}

fn numbers(list: &str) -> Vec<u64> {
    let items = list.split(',').filter(|item| !item.is_empty());
    items.map(|item| item.parse().unwrap()).collect()
}

#[test]
fn no_message_arrives_twice_and_each_lost_one_is_told() {
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |text| text.parse().unwrap());
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let start = |role| start(role, folder.path());
        let mut host = start("host");
        said(&host);
        let receiver = start("receiver");
        said(&receiver);
        let sender = start("sender");
        assert_eq!(said(&sender), "under way");
        host.kill();
        let told = said(&sender);
        let (missed, told) = told.split_once(' ').unwrap();
        let (missed, told) = (missed.parse::<usize>().unwrap(), numbers(told));
        let got = numbers(&said(&receiver));
        let distinct: HashSet<u64> = got.iter().copied().collect();
        assert_eq!(distinct.len(), got.len(), "round {round}: none arrives twice");
        assert!(got.is_sorted(), "round {round}: what arrives is in order");
        let told: HashSet<u64> = told.into_iter().collect();
        let silent = (0..COUNT).filter(|number| !distinct.contains(number) && !told.contains(number));
        let silent = silent.count();
        assert!(
            silent <= missed,
            "round {round}: {silent} are lost without a word, {missed} reports did not fit"
        );
    }
}

#[test]
fn a_host_that_drops_its_endpoint_and_ends_has_told_what_it_took() {
    for round in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let host = start("ending host", folder.path());
        said(&host);
        let sender = start("sender of few", folder.path());
        let told = said(&sender);
        assert!(
            told.starts_with("Ok(Receipt") && told.ends_with(" None"),
            "round {round}: {told}"
        );
    }
}

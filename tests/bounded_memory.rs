//! What the broker keeps for a peer that does not read: little, whatever others or itself send.
//!
//! One test, because the memory of the whole process is measured and tests of one process run beside each other. Where the system
//! does not tell it, nothing is asserted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/own_process.rs"]
mod own_process;
#[path = "support/publisher.rs"]
mod publisher;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use own_process::{grown_since, resident};
use publisher::Publisher;
use running::Running;
use std::io::{ErrorKind, Write};

const MIB: usize = 1024 * 1024;
/// What may come and go beside what is looked for: buffers of the allocator, of threads, of the test itself.
const NOISE: usize = 24 * MIB;

fn small() -> Limits {
    Limits {
        outbox_bytes: 64 * 1024,
        publish_window: 8 * 1024,
        hold_ms: 1_000,
        ..Limits::default()
    }
}

/// Runs `work`; afterwards the process must not have grown.
fn bounded(what: &str, work: impl FnOnce()) {
    let before = resident();
    work();
    let grown = grown_since(before).unwrap();
    assert!(grown < NOISE, "{what}: {} MiB more", grown / MIB);
}

#[test]
fn who_does_not_read_costs_little() {
    let policies = [
        ("hold", 0, 1),
        ("drop oldest", 2, 1),
        ("latest", 3, 1),
        ("latest of seven", 3, 7),
    ];
    for (name, policy, topics) in policies {
        events(name, policy, topics);
    }
    pings();
    notices();
    lists();
}

/// 160 MiB of events go by a subscriber that does not read.
fn events(name: &str, policy: u32, topics: usize) {
    let broker = Running::start(small());
    let mut stopped = broker.connect();
    stopped.subscribe_as("s", "*", Flags::PATTERN, policy, &[]);
    // An event that stays queued in front of all others.
    let mut publisher = Publisher::new(broker.connect());
    publisher.numbers("first", 1, 4);
    let names: Vec<String> = (0..topics).map(|topic| format!("t{topic}")).collect();
    let payload = vec![0; 8 * 1024];
    let mut flood = |count: usize| {
        for number in 0..count {
            publisher.send(&names[number % topics], &payload);
        }
        publisher.settle();
    };
    flood(1_000);
    bounded(name, || flood(20_000));
    broker.stop();
}

/// Pings of a peer that does not read its pongs: the broker stops to read them.
fn pings() {
    let broker = Running::start(small());
    let [mut flooder, mut other] = broker.connect_all();
    let pings: Vec<u8> = (0..1_000)
        .flat_map(|id| Draft::new(Kind::Ping, id).to_vec())
        .collect();
    flooder.stream.set_nonblocking(true).unwrap();
    bounded("pings", || {
        let (mut sent, mut idle) = (0, 0);
        while idle < 100 {
            match flooder.stream.write(&pings) {
                Ok(count) => (sent, idle) = (sent + count, 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    // The broker has had its turn since.
                    other.ping();
                    idle += 1;
                }
            }
            assert!(sent < 64 * MIB, "it reads on and on");
        }
    });
    // Once they are read, all is as before. (What was cut off in the middle goes on with the next byte.)
    flooder.stream.set_nonblocking(false).unwrap();
    for _ in 0..1_000 {
        assert_eq!(flooder.read().kind, Kind::Pong);
    }
    broker.stop();
}

/// Notices for a watcher that does not read: it is closed.
fn notices() {
    let broker = Running::start(small());
    let [mut watcher, mut other] = broker.connect_all();
    watcher.ask(&Draft::new(Kind::Watch, 9).aux(1));
    let change = [
        Draft::new(Kind::Register, 5).key(b"o").to_vec(),
        Draft::new(Kind::Unregister, 6).key(b"o").to_vec(),
    ];
    bounded("notices", || {
        while broker.handle.metrics().connections_closed == 0 {
            for bytes in &change {
                other.stream.write_all(bytes).unwrap();
                assert_eq!(other.read().kind, Kind::Done);
            }
        }
    });
    // It may be too late for the goodbye, which it did not make room for in time.
    let last = std::iter::from_fn(|| watcher.try_read()).last().unwrap();
    assert!(last.kind == Kind::Notice || last.aux == CloseReason::SlowConsumer.code());
    broker.stop();
}

/// Answers that are much larger than what asks for them: those that do not fit are errors, and listings are few at once.
fn lists() {
    let broker = Running::start(Limits {
        outbox_bytes: MIB,
        ..Limits::default()
    });
    let [mut owner, mut asker] = broker.connect_all();
    let long = serde_json::json!("d".repeat(60_000)).to_string();
    let object = Draft::new(Kind::Register, 900).key(b"o");
    let object = object.payload(Encoding::JSON, long.as_bytes());
    assert_eq!(owner.ask(&object).kind, Kind::Done);
    for (kind, refusal) in [
        (Kind::Describe, ErrorCode::ReplyLost),
        (Kind::List, ErrorCode::TooMany),
    ] {
        bounded("lists", || {
            let requests = (1..=300).map(|id| Draft::new(kind, id).key(b"o"));
            asker.send_all(&requests.collect::<Vec<Draft<'_>>>());
            owner.after_registry();
            let answers: Vec<_> = asker.read_all(300);
            let lost = |got: &&raw::Got| got.kind == Kind::Error && got.error().0 == refusal;
            let told = answers.iter().filter(|got| got.kind == Kind::Reply).count();
            assert_eq!(told + answers.iter().filter(lost).count(), 300, "{kind:?}");
            assert!((1..300).contains(&told), "{told} answers to {kind:?}");
        });
    }
    broker.stop();
}

//! How connections and brokers begin and end: handshakes, goodbyes, half-closed sockets, deaths at any byte, drains.
//!
//! Owns sections 3 and 13 of the protocol document, and the core scenarios with everything on one arbiter and on several.
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

#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;
#[path = "support/until.rs"]
mod until;

use actix_ipc::actors::{Broker, EndReason};
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Flags, Hello, Kind};
use actix_ipc::transport::dialect::Dialects;
use raw::{Got, Raw, names};
use running::Running;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::Shutdown;
use until::until;

const LONG: u32 = 3_600_000;

fn call(id: u64, flags: Flags, object: &str) -> Draft<'_> {
    let draft = Draft::new(Kind::Call, id).aux(LONG).flags(flags);
    draft.pair(object, "m")
}

#[test]
fn a_handshake_and_a_begun_frame_have_their_time() {
    let broker = Running::start(Limits {
        handshake_ms: 50,
        frame_progress_ms: 50,
        ..Limits::default()
    });
    let mut silent = Raw::open(&broker.path);
    let mut late = Raw::open(&broker.path);
    late.stream.write_all(&PREFACE).unwrap();
    assert_eq!(late.goodbye().0, CloseReason::Timeout);
    let mut half = broker.connect();
    half.stream
        .write_all(&Draft::new(Kind::Ping, 5).to_vec()[..10])
        .unwrap();
    assert_eq!(half.goodbye().0, CloseReason::Timeout);
    let mut idle = broker.connect();
    idle.ping();
    // Who has said nothing may be an old client before its first call: the time of those above has passed, and it is served.
    silent.greet("patient");
    silent.expect(Kind::Welcome);
    let metrics = broker.handle.metrics();
    assert_eq!(
        (
            metrics.connections_opened,
            metrics.connections_closed,
            metrics.connections_refused
        ),
        (3, 1, 1)
    );
    broker.stop();
}

#[test]
fn without_older_formats_silence_has_its_time_too() {
    let broker = Running::built(|| {
        let limits = Limits {
            handshake_ms: 50,
            ..Limits::default()
        };
        Broker::builder().limits(limits).dialects(Dialects::NONE)
    });
    let mut silent = Raw::open(&broker.path);
    assert_eq!(silent.try_read(), None, "who has said nothing is told nothing");
    assert_eq!(broker.handle.metrics().connections_refused, 1);
    broker.stop();
}

#[test]
fn strangers_and_later_versions() {
    let broker = Running::start(Limits::default());
    for first in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xacIPC\r\n\x1a!",
        b"\0\0\0\x10(",
    ] {
        let mut raw = Raw::open(&broker.path);
        raw.stream.write_all(first).unwrap();
        assert_eq!(raw.try_read(), None, "closed without a word");
    }
    for (lowest, highest, reason) in [
        (1, 1, None),
        (1, 9, None),
        (0, u32::MAX, None),
        (2, 9, Some(CloseReason::Version)),
        (0, 0, Some(CloseReason::Version)),
    ] {
        let mut raw = Raw::open(&broker.path);
        let hello = Hello::default().encode();
        let draft = Draft::new(Kind::Hello, lowest).aux(highest);
        let bytes = draft.payload(Encoding::RAW, &hello).to_vec();
        raw.stream.write_all(&[&PREFACE[..], &bytes].concat()).unwrap();
        match reason {
            None => assert_eq!(raw.expect(Kind::Welcome).aux, 1),
            Some(reason) => {
                let (got, text) = raw.goodbye();
                assert_eq!(got, reason);
                assert!(
                    text.contains("version 1") && text.contains(&format!("{lowest} to {highest}")),
                    "{text}"
                );
            }
        }
    }
    let mut raw = Raw::open(&broker.path);
    let ping = Draft::new(Kind::Ping, 1).to_vec();
    raw.stream.write_all(&[&PREFACE[..], &ping].concat()).unwrap();
    assert_eq!(raw.goodbye().0, CloseReason::Protocol);
    // Who does not wait for its welcome is served all the same.
    let mut hasty = Raw::open(&broker.path);
    hasty.greet("hasty");
    hasty.send_all(&[Draft::new(Kind::Register, 5).key(b"o"), Draft::new(Kind::Ping, 6)]);
    hasty.expect(Kind::Welcome);
    assert_eq!(
        (hasty.answer(5).kind, hasty.answer(6).kind),
        (Kind::Done, Kind::Pong)
    );
    broker.stop();
}

#[test]
fn a_client_leaves_by_goodbye_or_by_closing_its_direction() {
    for (orderly, arbiters) in [(true, 0), (true, 2), (false, 0), (false, 2)] {
        let broker = Running::ending_by_halves(arbiters, Limits::default());
        let [mut worker, mut leaver, mut caller, mut hearer] = broker.connect_all();
        worker.register("o");
        leaver.register("mine");
        leaver.subscribe("s", "t");
        hearer.subscribe("lamp", "gone");
        assert_eq!(
            leaver.ask(&Draft::new(Kind::Will, 90).pair("lamp", "gone")).kind,
            Kind::Done
        );
        caller.send(&call(5, Flags::NONE, "mine"));
        leaver.expect(Kind::Call);
        let waits = names(&["never"]);
        leaver.send_all(&[
            call(7, Flags::NONE, "o"),
            call(8, Flags::WAIT, "never"),
            Draft::new(Kind::Wait, 9).aux(LONG).payload(Encoding::RAW, &waits),
            call(11, Flags::CONTINUED, "o"),
            call(12, Flags::CONTINUED, "sys.broker"),
        ]);
        leaver.after_registry();
        if orderly {
            leaver.send_all(&[
                Draft::new(Kind::Goodbye, 0).aux(1),
                call(10, Flags::NONE, "unread"),
            ]);
        } else {
            leaver.stream.shutdown(Shutdown::Write).unwrap();
        }
        // What it served ends, what it held is free, what waits for others is given up, what has begun goes on.
        assert_eq!(caller.answer(5).error(), (ErrorCode::CalleeGone, true));
        for id in [8, 9] {
            assert_eq!(leaver.answer(id).error(), (ErrorCode::Cancelled, false));
        }
        // Nor can that be done of which the rest will never come.
        for id in [11, 12] {
            assert_eq!(leaver.answer(id).error(), (ErrorCode::Cancelled, true));
        }
        assert_eq!(caller.register("mine").kind, Kind::Done);
        let begun = worker.expect(Kind::Call);
        let unfinished = worker.expect(Kind::Call);
        assert_eq!(worker.expect(Kind::Cancel).id, unfinished.id);
        caller.send(&call(6, Flags::NONE, "o"));
        let after = worker.expect(Kind::Call);
        worker.reply(&begun, b"still");
        worker.reply(&after, b"");
        let reply = leaver.read();
        assert_eq!(
            (reply.kind, reply.id, &reply.payload[..]),
            (Kind::Reply, 7, &b"still"[..])
        );
        assert_eq!(leaver.goodbye().0, CloseReason::Finished);
        if !orderly {
            assert_eq!(hearer.expect(Kind::Event).key, b"");
        }
        assert_eq!(hearer.publish("lamp", "gone", b"sentinel").aux, 1);
        assert_eq!(
            hearer.expect(Kind::Event).payload,
            b"sentinel",
            "no will but of who died"
        );
        assert_eq!(broker.stop(), EndReason::Drained);
    }
}

#[test]
fn a_death_at_any_byte_hurts_nobody() {
    let hello = Draft::new(Kind::Hello, 1)
        .aux(1)
        .payload(Encoding::RAW, b"\x03abc");
    let publish = Draft::new(Kind::Publish, 7)
        .flags(Flags::ACK.with(Flags::RETAIN))
        .pair("s", "t");
    let bytes = [
        PREFACE.to_vec(),
        hello.to_vec(),
        Draft::new(Kind::Register, 5).key(b"mine").to_vec(),
        call(6, Flags::CONTINUED, "o")
            .payload(Encoding::RAW, b"half")
            .to_vec(),
        publish.payload(Encoding::RAW, b"value").to_vec(),
    ]
    .concat();
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let mut worker = broker.connect();
        worker.register("o");
        for length in 0..=bytes.len() {
            let mut raw = Raw::open(&broker.path);
            raw.stream.write_all(&bytes[..length]).unwrap();
        }
        // The name of the last one is free again when all before it are gone: they came one after the other.
        until("the last has gone", || worker.register("mine").kind == Kind::Done);
        let mut open = BTreeSet::new();
        loop {
            worker.after_registry();
            for got in worker.kept() {
                match got.kind {
                    Kind::Call => assert!(open.insert(got.id)),
                    Kind::Cancel => assert!(open.remove(&got.id)),
                    other => panic!("{other:?}"),
                }
            }
            let metrics = broker.handle.metrics();
            let ended = metrics.connections_closed + metrics.connections_refused;
            if ended == bytes.len() as u64 + 1 && open.is_empty() {
                break;
            }
        }
        let list = worker.ask(&Draft::new(Kind::List, 900)).json();
        assert_eq!(
            list["connections"].as_array().unwrap().len(),
            1,
            "nothing is left of the others"
        );
        let metrics = broker.handle.metrics();
        assert_eq!(metrics.protocol_errors, 0, "a death is no protocol error");
        assert_eq!(broker.stop(), EndReason::Drained);
    }
}

#[test]
fn a_drain_tells_everybody_and_finishes_what_has_begun() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [
            mut worker,
            mut caller,
            mut waiter,
            mut idle,
            mut publisher,
            mut hearer,
        ] = broker.connect_all();
        let mut ungreeted = Raw::open(&broker.path);
        let mut halfway = Raw::open(&broker.path);
        halfway.stream.write_all(&PREFACE).unwrap();
        worker.register("o");
        hearer.subscribe("s", "t");
        for number in 0..500_u32 {
            publisher.publish("s", "t", &number.to_le_bytes());
        }
        caller.send(&call(5, Flags::NONE, "o"));
        let open = worker.expect(Kind::Call);
        waiter.send(&call(6, Flags::WAIT, "never"));
        waiter.after_registry();
        broker.begin_stop();
        // Once the idle one is told, the others lie behind it in no mailbox but their own.
        assert_eq!(idle.goodbye().0, CloseReason::Draining);
        assert_eq!(waiter.answer(6).error(), (ErrorCode::Draining, false));
        assert_eq!(waiter.goodbye().0, CloseReason::Draining);
        until("the broker drains", || {
            caller.ask(&call(7, Flags::NONE, "o")).error() == (ErrorCode::Draining, false)
        });
        worker.reply(&open, b"in time");
        let reply = caller.answer(5);
        assert_eq!((reply.kind, &reply.payload[..]), (Kind::Reply, &b"in time"[..]));
        assert_eq!(caller.goodbye().0, CloseReason::Draining);
        assert_eq!(worker.goodbye().0, CloseReason::Draining);
        for number in 0..500_u32 {
            assert_eq!(
                hearer.expect(Kind::Event).payload,
                number.to_le_bytes(),
                "accepted is delivered"
            );
        }
        assert_eq!(hearer.goodbye().0, CloseReason::Draining);
        assert_eq!(halfway.goodbye().0, CloseReason::Draining);
        assert_eq!(ungreeted.try_read(), None);
        assert_eq!(broker.ended(), EndReason::Drained, "arbiters: {arbiters}");
    }
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let broker = Running::start(Limits::default());
    let [mut worker, mut caller, mut deaf, mut publisher] = broker.connect_all();
    worker.register("o");
    deaf.subscribe("s", "t");
    // More than a socket holds: the rest is still queued when the broker has waited long enough.
    for _ in 0..100 {
        publisher.publish("s", "t", &[0; 10_000]);
    }
    caller.send(&call(5, Flags::NONE, "o"));
    worker.expect(Kind::Call);
    broker.begin_stop();
    let error = caller.answer(5).error();
    assert!(
        matches!(error, (ErrorCode::Draining | ErrorCode::CalleeGone, true)),
        "{error:?}"
    );
    assert_eq!(caller.goodbye().0, CloseReason::Draining);
    assert_eq!(broker.ended(), EndReason::DrainedExcept(1));
    drop(deaf);
}

#[test]
fn two_brokers_of_one_system_do_not_meet() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let endpoints = folders
        .each_ref()
        .map(|folder| running::endpoint_in(folder.path()));
    let paths = endpoints.each_ref().map(running::place);
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let [one, two] = endpoints.map(|endpoint| Broker::builder().listen(endpoint).start().unwrap());
            sender.send([one.clone(), two.clone()]).unwrap();
            (one.ended().await, two.ended().await)
        })
    });
    let [one, two] = receiver.recv().unwrap();
    assert_ne!(one.epoch(), two.epoch());
    let mut peers = paths.each_ref().map(|path| Raw::connect(path));
    for raw in &mut peers {
        assert_eq!(raw.register("o").kind, Kind::Done, "a name in each");
        raw.subscribe("s", "t");
    }
    assert_eq!(peers[0].publish("s", "t", b"").aux, 1, "heard by its own");
    futures::executor::block_on(one.stop());
    let [mut first, mut second] = peers;
    assert_eq!(first.goodbye().0, CloseReason::Draining);
    if cfg!(unix) {
        assert!(!paths[0].exists() && paths[1].exists());
    }
    second.call("o", Flags::NONE, b"itself");
    assert_eq!(second.expect(Kind::Call).payload, b"itself");
    drop(second);
    futures::executor::block_on(two.stop());
    assert_eq!(thread.join().unwrap(), (EndReason::Drained, EndReason::Drained));
}

#[test]
fn every_call_ends_exactly_once_whoever_dies() {
    const CALLS: u64 = 400;
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let workers: Vec<_> = (1..=4_u64)
            .map(|number| {
                let mut worker = broker.connect();
                worker.register_as("g", Flags::WORKER_GROUP, 0);
                // All but one die in the middle, with calls unanswered.
                let lives = if number == 4 { u64::MAX } else { number * 50 };
                std::thread::spawn(move || serve(worker, lives))
            })
            .collect();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let mut caller = broker.connect();
                std::thread::spawn(move || {
                    for id in 1..=CALLS {
                        caller.send(&call(id, Flags::NONE, "g"));
                    }
                    let mut ended = BTreeSet::new();
                    while ended.len() as u64 != CALLS {
                        let got = caller.read();
                        assert!(ended.insert(got.id), "{} ended twice", got.id);
                        if got.kind != Kind::Reply {
                            assert_eq!(got.error().0, ErrorCode::CalleeGone);
                        }
                    }
                    caller.after_registry();
                    assert_eq!(caller.kept(), [], "and nothing follows");
                })
            })
            .collect();
        callers.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(broker.stop(), EndReason::Drained);
        workers.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Answers every other call at once and the rest one later, until so many have come or the broker goes.
fn serve(mut worker: Raw, lives: u64) {
    let mut held: Option<Got> = None;
    for _ in 0..lives {
        let Some(got) = worker.try_read().filter(|got| got.kind == Kind::Call) else {
            return;
        };
        worker.reply(&got, b"");
        if let Some(before) = held.replace(got) {
            // Answered twice: the second answer is dropped.
            worker.reply(&before, b"again");
        }
    }
}

//! Every limit that one connection can reach, at one below, at, and one above it: what is refused, how, and that the text names
//! the limit.
//!
//! Owns the limits of a connection and of the broker. What happens to a message in pieces that is too large is in `pieces.rs`,
//! to a subscriber that is too slow in `slow_subscribers.rs`.
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

#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/running.rs"]
mod running;

mod fixed;
mod shared;
mod table;
mod times;

use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::{Got, Raw, meta, names};
use running::Running;
use std::io::Write;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

/// A connection that broke the rules: its goodbye has this reason and a text with this word.
fn closed(mut raw: Raw, reason: CloseReason, word: &str) {
    let (got, text) = raw.goodbye();
    assert_eq!(got, reason, "{text}");
    assert!(text.contains(word), "{text:?} does not name {word:?}");
}

/// An error with this code and a text with this word, of a request that did not run.
fn refused(got: &Got, code: ErrorCode, word: &str) {
    named(got, (code, false), word);
}

/// The error of an event that was delivered, but not retained.
fn not_retained(got: &Got, word: &str) {
    named(got, (ErrorCode::TooLarge, true), word);
}

fn named(got: &Got, error: (ErrorCode, bool), word: &str) {
    assert_eq!(got.error(), error, "{}", got.text());
    assert!(
        got.text().contains(word),
        "{:?} does not name {word:?}",
        got.text()
    );
}

#[test]
fn a_payload_has_at_most_frame_bytes() {
    let broker = Running::start(Limits {
        frame_bytes: 1_000,
        ..Limits::default()
    });
    let mut raw = broker.connect();
    for size in [999, 1_000] {
        assert_eq!(raw.publish("s", "t", &vec![7; size]).kind, Kind::Accepted);
    }
    let block = meta("k", &[0; 100]);
    let long = Draft::new(Kind::Publish, 5).flags(Flags::ACK).meta(&block);
    assert_eq!(
        raw.ask(&long.pair("s", "t").payload(Encoding::RAW, &[7; 1_000]))
            .kind,
        Kind::Accepted
    );
    // One more byte, one more byte than any frame's body may have, and a length that nobody would send.
    for size in [1_001, 1_000 + 8_721 - 2, 4_000_000] {
        let mut raw = broker.connect();
        let payload = vec![7; size];
        let publish = Draft::new(Kind::Publish, 6).pair("s", "t");
        let bytes = publish.payload(Encoding::RAW, &payload).to_vec();
        // Of a body that is too large, the header is enough.
        raw.stream.write_all(&bytes[..bytes.len().min(2_000)]).unwrap();
        closed(raw, CloseReason::Protocol, "limits.frame_bytes");
    }
    assert_eq!(raw.publish("s", "t", b"").kind, Kind::Accepted);
    broker.stop();
}

#[test]
fn a_call_that_its_caller_may_send_never_hurts_the_callee() {
    let broker = Running::start(Limits {
        frame_bytes: 1_000,
        ..Limits::default()
    });
    let (mut worker, mut caller) = (broker.connect(), broker.connect_as("asker"));
    worker.register("o");
    // `sys.name` and "asker" take 16 bytes of the block that the callee gets.
    for (block, fits) in [(8_175, true), (8_176, true), (8_177, false), (8_192, false)] {
        let block = meta("k", &vec![0; block - 4]);
        let call = Draft::new(Kind::Call, 9).meta(&block).pair("o", "m");
        caller.send(&call.payload(Encoding::RAW, &[1; 1_000]));
        if fits {
            let got = worker.expect(Kind::Call);
            assert!(got.meta.len() <= 8_192);
            worker.reply(&got, b"");
            assert_eq!(caller.read().kind, Kind::Reply);
        } else {
            refused(&caller.read(), ErrorCode::TooLarge, "8192");
        }
    }
    broker.stop();
}

#[test]
fn counts_of_a_connection() {
    let broker = Running::start(Limits {
        open_calls: 3,
        names: 2,
        subscriptions: 2,
        watches: 2,
        ..Limits::default()
    });
    let [mut worker, mut raw] = broker.connect_all();
    worker.register("o");
    for name in ["a", "b"] {
        assert_eq!(raw.register(name).kind, Kind::Done);
        raw.subscribe(name, "t");
    }
    refused(&raw.register("c"), ErrorCode::TooMany, "limits.names");
    let again = raw.register("a");
    assert_eq!(
        (again.kind, again.aux),
        (Kind::Done, 0),
        "what it holds already takes no room"
    );
    let third = Draft::new(Kind::Subscribe, 100).pair("c", "t");
    refused(&raw.ask(&third), ErrorCode::TooMany, "limits.subscriptions");
    assert_eq!(
        raw.ask(&Draft::new(Kind::Watch, 101).aux(1).key(b"x")).kind,
        Kind::Done
    );
    let nobody = names(&["nobody"]);
    let wait = |id| Draft::new(Kind::Wait, id).payload(Encoding::RAW, &nobody);
    raw.send(&wait(102));
    let watch = raw.ask(&Draft::new(Kind::Watch, 103).aux(1).key(b"y"));
    refused(&watch, ErrorCode::TooMany, "limits.watches");
    refused(&raw.ask(&wait(104)), ErrorCode::TooMany, "limits.watches");
    let parked = Draft::new(Kind::Call, 105).flags(Flags::WAIT).pair("nobody", "m");
    refused(&raw.ask(&parked), ErrorCode::TooMany, "limits.watches");
    // The Wait is open, so two calls fit.
    let calls = [
        raw.call("o", Flags::NONE, b""),
        raw.call("o", Flags::NONE, b""),
        raw.call("o", Flags::NONE, b""),
    ];
    refused(&raw.answer(calls[2]), ErrorCode::TooMany, "limits.open_calls");
    let first = worker.expect(Kind::Call);
    worker.reply(&first, b"");
    assert_eq!(raw.answer(calls[0]).kind, Kind::Reply);
    raw.call("o", Flags::NONE, b"");
    raw.call("o", Flags::NO_REPLY, b"needs no place");
    for _ in 0..3 {
        worker.expect(Kind::Call);
    }
    // What is given back makes room.
    assert_eq!(raw.fails(&Draft::new(Kind::Cancel, 102)).0, ErrorCode::Cancelled);
    assert_eq!(
        raw.ask(&Draft::new(Kind::Unregister, 106).key(b"a")).kind,
        Kind::Done
    );
    assert_eq!(raw.register("c").kind, Kind::Done);
    assert_eq!(
        raw.ask(&Draft::new(Kind::Watch, 107).aux(1).key(b"y")).kind,
        Kind::Done
    );
    broker.stop();
}

#[test]
fn retained_values_and_wills() {
    let broker = Running::start(Limits {
        retained_bytes: 100,
        // One process alone has half of a user's quarter.
        retained_bytes_total: 1_000 * 8,
        ..Limits::default()
    });
    let mut raw = broker.connect();
    let (retain, block) = (Flags::ACK.with(Flags::RETAIN), meta("key", &[0; 13]));
    for (size, fits) in [(80, true), (81, true), (82, false)] {
        let payload = vec![1; size];
        let publish = Draft::new(Kind::Publish, 5)
            .flags(retain)
            .meta(&block)
            .pair("s", "t");
        let will = Draft::new(Kind::Will, 6).meta(&block).pair("s", "t");
        for draft in [publish, will] {
            let got = raw.ask(&draft.payload(Encoding::RAW, &payload));
            match fits {
                true => assert!(matches!(got.kind, Kind::Accepted | Kind::Done), "{got:?}"),
                false if draft.kind == Kind::Publish => not_retained(&got, "limits.retained_bytes"),
                false => refused(&got, ErrorCode::TooLarge, "limits.retained_bytes"),
            }
        }
    }
    raw.publish_as("s", "t", retain, b"");
    // Each costs 256 bytes beside its key and value: three of 333 bytes are 999.
    for topic in ["a", "b", "c"] {
        assert_eq!(
            raw.publish_as("s", topic, retain, &[1; 74]).kind,
            Kind::Accepted,
            "{topic}"
        );
    }
    not_retained(
        &raw.publish_as("s", "d", retain, b"1"),
        "limits.retained_bytes_total",
    );
    assert_eq!(
        raw.publish_as("s", "c", retain, &[1; 75]).kind,
        Kind::Accepted,
        "1000 of 1000"
    );
    not_retained(&raw.publish_as("s", "c", retain, &[1; 76]), "total");
    broker.stop();
}

/// A publish of so many bytes on the wire.
fn publish(bytes: &[u8], size: usize) -> Draft<'_> {
    Draft::new(Kind::Publish, 0)
        .pair("s", "t")
        .payload(Encoding::RAW, &bytes[..size - 24 - 3])
}

#[cfg_attr(
    windows,
    ignore = "the run-time reads pipes in parts of 4 KiB, so that credit comes back between frames that were written at once"
)]
#[test]
fn a_window_may_go_below_zero_once() {
    let broker = Running::start(Limits {
        publish_window: 1_000,
        stream_window: 1_000,
        ..Limits::default()
    });
    let bytes = vec![0; 4_096];
    // What is sent at once, before any credit can come back, and whether all of it may be sent.
    for (sizes, fits) in [
        (&[500, 500, 100][..], false),
        (&[500, 499, 100], true),
        (&[500, 501, 100], false),
        (&[4_000], true),
        (&[4_000, 100], false),
    ] {
        let mut raw = broker.connect();
        let drafts: Vec<_> = sizes.iter().map(|size| publish(&bytes, *size)).collect();
        raw.send_all(&drafts);
        match fits {
            true => raw.ping(),
            false => closed(raw, CloseReason::Window, "publish window"),
        }
        let piece = |size: usize| {
            Draft::new(Kind::CallPiece, 9)
                .flags(Flags::CONTINUED)
                .payload(Encoding::RAW, &bytes[..size - 24])
        };
        for items in [Flags::NONE, Flags::ITEMS] {
            let mut caller = broker.connect();
            let call = Draft::new(Kind::Call, 9).flags(Flags::CONTINUED.with(Flags::WAIT).with(items));
            let call = call.pair("nobody", "m").payload(Encoding::RAW, &bytes[..2_000]);
            let pieces = sizes.iter().map(|size| piece(*size));
            let drafts: Vec<_> = std::iter::once(call).chain(pieces).collect();
            caller.send_all(&drafts);
            match fits {
                true => caller.ping(),
                false => closed(caller, CloseReason::Window, "window"),
            }
        }
        let [mut worker, mut caller] = broker.connect_all();
        worker.register("o");
        let id = caller.call("o", Flags::STREAM, b"");
        let call = worker.expect(Kind::Call);
        let reply = |size: usize| {
            Draft::new(Kind::Reply, call.id)
                .flags(Flags::MORE)
                .payload(Encoding::RAW, &bytes[..size - 24])
        };
        let drafts: Vec<_> = sizes.iter().map(|size| reply(*size)).collect();
        worker.send_all(&drafts);
        match fits {
            true => sizes.iter().for_each(|size| {
                let item = caller.expect(Kind::Reply);
                assert_eq!((item.id, item.wire_len()), (id, *size));
            }),
            false => {
                closed(worker, CloseReason::Window, "window");
                assert_eq!(
                    std::iter::repeat_with(|| caller.read())
                        .find(|got| got.kind != Kind::Reply)
                        .unwrap()
                        .error(),
                    (ErrorCode::CalleeGone, true)
                );
            }
        }
    }
    broker.stop();
}

#[test]
fn the_publish_window_comes_back() {
    let broker = Running::start(Limits {
        publish_window: 1_000,
        ..Limits::default()
    });
    let (mut raw, bytes) = (broker.connect(), vec![0; 4_096]);
    let mut left = 1_000_i64;
    for round in 0..200_usize {
        let size = 24 + 3 + (round * 37) % 1_500;
        raw.send(&publish(&bytes, size));
        left -= size as i64;
        while left <= 0 {
            left += i64::from(raw.expect(Kind::PublishCredit).aux);
            assert!(left <= 1_000, "no more than was used");
        }
    }
    broker.stop();
}

#[test]
fn connections_are_counted() {
    for arbiters in [0, 2] {
        let limits = Limits {
            // One process alone has half of a user's quarter.
            connections: 3 * 8,
            ..Limits::default()
        };
        let broker = Running::with_arbiters(arbiters, limits);
        let [mut first, second, third] = broker.connect_all();
        let mut fourth = Raw::open(&broker.path);
        fourth.greet("");
        closed(fourth, CloseReason::TooMany, "limits.connections");
        drop((second, third));
        // The place is free when the connection's memory is, which no frame tells.
        let free = (0..10_000).any(|_| {
            first.ping();
            let mut raw = Raw::open(&broker.path);
            raw.greet("");
            raw.read().kind == Kind::Welcome
        });
        assert!(free, "a place comes back");
        broker.stop();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn shared_memory_of_all_has_at_most_ring_bytes_total() {
    const BYTES: usize = 64 * 1024;
    // All connections are this process's, which leaves half to others.
    for (ring_bytes_total, fit) in [(8 * BYTES - 1, 1), (8 * BYTES, 2), (8 * BYTES + 1, 2)] {
        let broker = Running::start(Limits {
            ring_bytes: BYTES,
            ring_bytes_total,
            ..Limits::default()
        });
        let mut all: Vec<Raw> = (0..3).map(|_| Raw::connect(&broker.path)).collect();
        let offered = |raw: &mut Raw| {
            raw.send(&Draft::new(Kind::Ring, 0));
            raw.expect(Kind::Ring).aux as usize
        };
        let got: Vec<usize> = all.iter_mut().map(offered).collect();
        let wanted: Vec<usize> = (0..3).map(|nth| if nth < fit { BYTES } else { 0 }).collect();
        assert_eq!(got, wanted, "of {ring_bytes_total} bytes");
        // Who gets none goes on where it is, and what one has had comes back with its end.
        assert_eq!(all[2].register("left").kind, Kind::Done);
        drop(all);
        let end = Instant::now() + Duration::from_secs(20);
        while offered(&mut Raw::connect(&broker.path)) == 0 {
            assert!(Instant::now() < end, "nothing came back");
        }
        broker.stop();
    }
}

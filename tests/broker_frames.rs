//! The broker alone, seen through raw frames: what each kind of frame does, byte for byte, without the client library.
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

use actix_ipc::actors::EndReason;
use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::Raw;
use running::Running;
use std::path::Path;

fn code(payload_of: &raw::Got) -> ErrorCode {
    assert_eq!(payload_of.kind, Kind::Error, "{payload_of:?}");
    ErrorCode::from_code(payload_of.aux)
}

#[test]
fn a_call_goes_to_its_object_and_the_answer_back() {
    let broker = Running::start(Limits::default());
    let mut worker = Raw::connect_as(&broker.path, "calculator");
    let mut caller = Raw::connect_as(&broker.path, "asker");
    assert_eq!(worker.register("math").kind, Kind::Done);
    caller.send(
        &Draft::new(Kind::Call, 77)
            .pair("math", "add")
            .payload(Encoding::JSON, b"[1,2]"),
    );
    let call = worker.read();
    assert_eq!(
        (call.kind, &call.key[..], &call.payload[..]),
        (Kind::Call, &b"math\0add"[..], &b"[1,2]"[..])
    );
    assert!(
        call.meta.starts_with(b"\x08sys.name\x05\x00asker"),
        "{:?}",
        call.meta
    );
    assert!(
        (29_000..=30_000).contains(&call.aux),
        "the default deadline, less what has passed: {}",
        call.aux
    );
    worker.send(&Draft::new(Kind::Reply, call.id).payload(Encoding::JSON, b"3"));
    let reply = caller.read();
    assert_eq!(
        (reply.kind, reply.id, &reply.payload[..]),
        (Kind::Reply, 77, &b"3"[..])
    );
    let missing = caller.ask(&Draft::new(Kind::Call, 78).pair("none", "x"));
    assert_eq!(
        (code(&missing), missing.flags.has(Flags::MAY_HAVE_RUN)),
        (ErrorCode::NoSuchObject, false)
    );
    assert_eq!(broker.stop(), EndReason::Drained);
    assert!(!Path::new("b.sock").exists());
}

#[test]
fn the_death_of_a_worker_ends_its_calls_at_once() {
    let broker = Running::start(Limits::default());
    let (mut worker, mut caller) = (broker.connect(), broker.connect());
    worker.register("slow");
    for id in 0..1000 {
        caller.send(&Draft::new(Kind::Call, 1000 + id).pair("slow", "x"));
    }
    for _ in 0..1000 {
        assert_eq!(worker.read().kind, Kind::Call);
    }
    drop(worker);
    for _ in 0..1000 {
        let error = caller.read();
        assert_eq!(
            (code(&error), error.flags.has(Flags::MAY_HAVE_RUN)),
            (ErrorCode::CalleeGone, true)
        );
    }
    assert_eq!(broker.stop(), EndReason::Drained);
}

#[test]
fn an_event_reaches_exact_and_pattern_subscribers_once_each() {
    let broker = Running::start(Limits::default());
    let (mut publisher, mut exact, mut pattern) = (broker.connect(), broker.connect(), broker.connect());
    let id = exact.subscribe("sensor", "temperature");
    let wide = pattern.id();
    let flags = Flags::PATTERN;
    assert_eq!(
        pattern
            .ask(&Draft::new(Kind::Subscribe, wide).flags(flags).pair("sensor", "*"))
            .kind,
        Kind::Done
    );
    let accepted = publisher.publish("sensor", "temperature", b"25");
    assert_eq!((accepted.kind, accepted.aux), (Kind::Accepted, 2));
    let event = exact.read();
    assert_eq!(
        (event.kind, event.id, &event.key[..], &event.payload[..]),
        (Kind::Event, id, &b""[..], &b"25"[..])
    );
    let event = pattern.read();
    assert_eq!(
        (event.kind, event.id, &event.key[..]),
        (Kind::Event, wide, &b"sensor\0temperature"[..])
    );
    assert_eq!(broker.stop(), EndReason::Drained);
}

#[test]
fn a_retained_value_comes_before_live_events() {
    let broker = Running::start(Limits::default());
    let (mut publisher, mut late) = (broker.connect(), broker.connect());
    let flags = Flags::ACK.with(Flags::RETAIN);
    publisher.ask(
        &Draft::new(Kind::Publish, 9)
            .flags(flags)
            .pair("s", "t")
            .payload(Encoding::RAW, b"old"),
    );
    let id = late.subscribe("s", "t");
    publisher.publish("s", "t", b"new");
    let (first, second) = (late.read(), late.read());
    assert_eq!(
        (first.id, first.flags.has(Flags::RETAINED), &first.payload[..]),
        (id, true, &b"old"[..])
    );
    assert_eq!(
        (second.id, second.flags.has(Flags::RETAINED), &second.payload[..]),
        (id, false, &b"new"[..])
    );
    broker.stop();
}

#[test]
fn waiting_calls_are_given_to_the_object_when_it_comes() {
    let broker = Running::start(Limits::default());
    let (mut caller, mut worker) = (broker.connect(), broker.connect());
    caller.send(
        &Draft::new(Kind::Call, 5)
            .flags(Flags::WAIT)
            .pair("later", "m")
            .payload(Encoding::RAW, b"x"),
    );
    caller.ask(&Draft::new(Kind::Ping, 6));
    worker.register("later");
    let call = worker.read();
    assert_eq!((call.kind, &call.payload[..]), (Kind::Call, &b"x"[..]));
    worker.send(&Draft::new(Kind::Reply, call.id));
    assert_eq!(caller.read().kind, Kind::Reply);
    let expired = caller.ask(
        &Draft::new(Kind::Call, 7)
            .aux(30)
            .flags(Flags::WAIT)
            .pair("never", "m"),
    );
    assert_eq!(
        (code(&expired), expired.flags.has(Flags::MAY_HAVE_RUN)),
        (ErrorCode::Deadline, false)
    );
    broker.stop();
}

#[test]
fn deadlines_and_cancels_reach_both_ends() {
    let broker = Running::start(Limits::default());
    let (mut caller, mut worker) = (broker.connect(), broker.connect());
    worker.register("slow");
    let expired = caller.ask(&Draft::new(Kind::Call, 8).aux(20).pair("slow", "m"));
    assert_eq!(
        (code(&expired), expired.flags.has(Flags::MAY_HAVE_RUN)),
        (ErrorCode::Deadline, true)
    );
    let call = worker.read();
    assert_eq!((worker.read().kind, call.kind), (Kind::Cancel, Kind::Call));
    caller.send(&Draft::new(Kind::Call, 9).pair("slow", "m"));
    let call = worker.read();
    let cancelled = caller.ask(&Draft::new(Kind::Cancel, 9));
    assert_eq!(code(&cancelled), ErrorCode::Cancelled);
    let cancel = worker.read();
    assert_eq!((cancel.kind, cancel.id), (Kind::Cancel, call.id));
    broker.stop();
}

#[test]
fn a_protocol_error_closes_with_a_reason_and_hurts_nobody_else() {
    let broker = Running::start(Limits::default());
    let (mut bad, mut good) = (broker.connect(), broker.connect());
    bad.send(&Draft::new(Kind::Event, 1));
    let goodbye = bad.read();
    assert_eq!((goodbye.kind, goodbye.aux), (Kind::Goodbye, 3), "{goodbye:?}");
    assert_eq!(bad.try_read(), None);
    assert_eq!(good.ask(&Draft::new(Kind::Ping, 1)).kind, Kind::Pong);
    broker.stop();
}

#[test]
fn a_will_is_published_unless_the_peer_says_goodbye() {
    let broker = Running::start(Limits::default());
    let mut hearer = broker.connect();
    hearer.subscribe("lamp", "gone");
    for orderly in [true, false] {
        let mut lamp = broker.connect();
        assert_eq!(
            lamp.ask(&Draft::new(Kind::Will, 3).pair("lamp", "gone")).kind,
            Kind::Done
        );
        if orderly {
            lamp.send(&Draft::new(Kind::Goodbye, 0));
            assert_eq!(lamp.read().kind, Kind::Goodbye);
            assert_eq!(hearer.ask(&Draft::new(Kind::Ping, 1)).kind, Kind::Pong);
        }
    }
    assert_eq!(hearer.read().kind, Kind::Event);
    broker.stop();
}

//! Limits in time. Too early is a fault; too late only at ten times the limit, because the machine is shared.

use super::closed;
use super::raw::Raw;
use super::running::Running;
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Flags, Hello, Kind};
use std::io::Write;
use std::time::{Duration, Instant};

#[test]
fn deadlines_are_set_and_cut() {
    let (default, most) = (400_000, 1_000_000);
    let broker = Running::start(Limits {
        default_deadline_ms: default,
        max_deadline_ms: most,
        ..Limits::default()
    });
    let [mut worker, mut raw] = broker.connect_all();
    worker.register("o");
    let slack = 30_000;
    for (asked, given) in [
        (0, default),
        (most - 1, most - 1),
        (most, most),
        (most + 1, most),
        (most + 2 * slack, most),
        (u32::MAX, most),
    ] {
        raw.send(&Draft::new(Kind::Call, 5).aux(asked).pair("o", "m"));
        let call = worker.expect(Kind::Call);
        assert!(call.aux <= given, "{asked}: {} left", call.aux);
        assert!(call.aux > given - slack, "{asked}: {} left", call.aux);
        worker.reply(&call, b"");
        assert_eq!(raw.answer(5).kind, Kind::Reply);
    }
    let broker = {
        broker.stop();
        Running::start(Limits {
            default_deadline_ms: 300,
            ..Limits::default()
        })
    };
    let [mut worker, mut raw] = broker.connect_all();
    worker.register("o");
    let start = Instant::now();
    let id = raw.call("o", Flags::NONE, b"");
    assert_eq!(raw.answer(id).error(), (ErrorCode::Deadline, true));
    within(start, 300);
    broker.stop();
}

fn within(start: Instant, limit_ms: u64) {
    let (took, limit) = (start.elapsed(), Duration::from_millis(limit_ms));
    assert!(took >= limit, "after {took:?}, before its time");
    assert!(took < limit * 10, "after {took:?}");
}

#[test]
fn a_handshake_has_its_time() {
    let broker = Running::start(Limits {
        handshake_ms: 300,
        ..Limits::default()
    });
    // In time, although slowly.
    let mut slow = Raw::open(&broker.path);
    slow.stream.write_all(&PREFACE[..3]).unwrap();
    slow.stream.write_all(&PREFACE[3..]).unwrap();
    let hello = Hello::default().encode();
    slow.send(&Draft::new(Kind::Hello, 1).aux(1).payload(Encoding::RAW, &hello));
    slow.expect(Kind::Welcome);
    let start = Instant::now();
    let mut raw = Raw::open(&broker.path);
    raw.stream.write_all(&PREFACE).unwrap();
    closed(raw, CloseReason::Timeout, "limits.handshake_ms");
    within(start, 300);
    // Long after the time of its handshake, the first one is as good as ever.
    slow.ping();
    broker.stop();
}

#[test]
fn a_started_frame_has_its_time() {
    let broker = Running::start(Limits {
        frame_progress_ms: 300,
        ..Limits::default()
    });
    let mut raw = broker.connect();
    let frame = Draft::new(Kind::Ping, 5)
        .payload(Encoding::RAW, &[0; 60])
        .to_vec();
    raw.stream.write_all(&frame[..30]).unwrap();
    raw.stream.write_all(&frame[30..]).unwrap();
    raw.expect(Kind::Pong);
    let start = Instant::now();
    raw.stream.write_all(&frame[..30]).unwrap();
    closed(raw, CloseReason::Timeout, "limits.frame_progress_ms");
    within(start, 300);
    broker.stop();
}

//! What a monitor and the list of happenings tell of peers that do unusual things, in raw frames.
//!
//! Owns messages that never become whole, what is beside a payload, queues that are full, and each kind of happening, really caused.
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

use actix_ipc::activation::{Program, Service, Services, Start};
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Hello, Kind};
use raw::{Raw, meta};
use running::Running;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;

const LONG: u32 = 3_600_000;

/// What one monitor is told.
struct Seen {
    raw: Raw,
    id: u64,
    records: VecDeque<Value>,
}

impl Seen {
    fn start(broker: &Running, filter: &Value) -> Self {
        let mut raw = broker.connect();
        let (id, text) = (raw.id(), filter.to_string());
        let call = Draft::new(Kind::Call, id).flags(Flags::STREAM).aux(LONG);
        raw.send(
            &call
                .pair("sys.broker", "monitor")
                .payload(Encoding::JSON, text.as_bytes()),
        );
        let first = raw.answer(id);
        assert_eq!(first.json(), json!({ "records": [], "dropped": 0 }));
        let records = VecDeque::new();
        Self { raw, id, records }
    }

    fn next(&mut self) -> Value {
        loop {
            if let Some(record) = self.records.pop_front() {
                return record;
            }
            let item = self.raw.answer(self.id).json();
            assert_eq!(item["dropped"], 0, "{item}");
            self.records
                .extend(item["records"].as_array().unwrap().iter().cloned());
        }
    }
}

/// The answer of a method of `sys.broker`.
fn ask(raw: &mut Raw, method: &str) -> Value {
    let id = raw.id();
    let call = Draft::new(Kind::Call, id).pair("sys.broker", method);
    let got = raw.ask(&call.payload(Encoding::JSON, b"{}"));
    assert_eq!(got.kind, Kind::Reply, "{}", got.text());
    got.json()
}

fn publish(id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    let draft = Draft::new(Kind::Publish, id).flags(flags);
    draft.pair("s", "t").payload(Encoding::RAW, payload)
}

fn call(id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    let draft = Draft::new(Kind::Call, id).flags(flags).aux(60_000);
    draft.pair("o", "m").payload(Encoding::RAW, payload)
}

fn piece(kind: Kind, id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    Draft::new(kind, id).flags(flags).payload(Encoding::RAW, payload)
}

#[test]
fn events_that_never_become_whole_say_so() {
    let broker = Running::start(Limits::default());
    let mut seen = Seen::start(&broker, &json!({ "kinds": ["event"], "payloads": 100 }));
    let [mut publisher, mut dies, mut subscriber] = broker.connect_all();
    subscriber.subscribe("s", "t");
    publisher.send_all(&[
        publish(500, Flags::CONTINUED, b"ab"),
        piece(Kind::PublishPiece, 500, Flags::CONTINUED, b"c"),
        piece(Kind::PublishPiece, 500, Flags::ABORT, b""),
    ]);
    let given_up = seen.next();
    assert_eq!(
        (
            &given_up["error"],
            &given_up["pieces"],
            &given_up["payload"],
            &given_up["bytes"]
        ),
        (&json!("Cancelled"), &json!(true), &json!("abc"), &json!(3)),
        "{given_up}"
    );
    dies.send(&publish(500, Flags::CONTINUED, b"xy"));
    dies.after_hub();
    // Its own event that nobody hears.
    assert_eq!(seen.next()["object"], "nobody");
    drop(dies);
    let broken = seen.next();
    assert_eq!(
        (&broken["error"], &broken["payload"]),
        (&json!("Cancelled"), &json!("xy")),
        "{broken}"
    );

    publisher.publish("s", "t", b"heard");
    assert_eq!(seen.next()["subscribers"], 1);
    let flags = Flags::CONTINUED.with(Flags::RETAIN).with(Flags::ACK);
    let id = publisher.id();
    assert_eq!(publisher.fails(&publish(id, flags, b"no")).0, ErrorCode::TooLarge);
    let refused = seen.next();
    assert_eq!(
        (&refused["error"], &refused["subscribers"]),
        (&json!("TooLarge"), &json!(0)),
        "nobody hears what was refused: {refused}"
    );
    broker.stop();
}

#[test]
fn a_call_that_is_answered_before_all_of_it_is_there_says_so() {
    let broker = Running::start(Limits::default());
    let mut seen = Seen::start(&broker, &json!({ "object": "o", "payloads": 100 }));
    let [mut worker, mut caller] = broker.connect_all();
    worker.register("o");
    assert_eq!(seen.next()["what"], "registered");
    caller.send_all(&[
        call(500, Flags::CONTINUED, b"ab"),
        piece(Kind::CallPiece, 500, Flags::CONTINUED, b"cd"),
    ]);
    let given = worker.expect(Kind::Call);
    worker.expect(Kind::CallPiece);
    worker.reply(&given, b"enough");
    assert_eq!(caller.answer(500).payload, b"enough");
    let (begun, reply) = (seen.next(), seen.next());
    assert_eq!(
        (
            &begun["kind"],
            &begun["pieces"],
            &begun["payload"],
            &begun["bytes"]
        ),
        (&json!("call"), &json!(true), &json!("abcd"), &json!(4)),
        "{begun}"
    );
    assert_eq!(
        (&reply["payload"], &reply["last"]),
        (&json!("enough"), &json!(true)),
        "{reply}"
    );

    // Whole, and the answer breaks off.
    caller.send_all(&[
        call(501, Flags::CONTINUED, b"ab"),
        piece(Kind::CallPiece, 501, Flags::NONE, b"cd"),
    ]);
    let given = worker.expect(Kind::Call);
    worker.send(&piece(Kind::Reply, given.id, Flags::CONTINUED, b"half an"));
    caller.expect(Kind::Reply);
    drop(worker);
    let whole = seen.next();
    assert_eq!(
        (whole.get("pieces"), &whole["bytes"]),
        (None, &json!(4)),
        "{whole}"
    );
    let (half, gone) = loop {
        let record = seen.next();
        if record["kind"] == "reply" {
            break (record, seen.next());
        }
    };
    assert_eq!(
        (&half["pieces"], &half["payload"]),
        (&json!(true), &json!("half an")),
        "{half}"
    );
    assert_eq!(gone["error"], "CalleeGone", "{gone}");
    broker.stop();
}

#[test]
fn what_is_beside_a_payload_is_told_or_counted() {
    let broker = Running::start(Limits::default());
    let mut seen = Seen::start(&broker, &json!({ "kinds": ["call"], "object": "o" }));
    let [mut worker, mut caller] = broker.connect_all();
    worker.register("o");
    let block = [meta("text", b"yes"), meta("binary", &[0xff, 0])].concat();
    let flags = Flags::CONTINUED.with(Flags::ITEMS).with(Flags::STREAM);
    caller.send(&call(500, flags, b"x").meta(&block));
    let record = seen.next();
    assert_eq!(
        (&record["stream"], &record["items"], &record["deadline_ms"]),
        (&json!(true), &json!(true), &json!(60_000)),
        "{record}"
    );
    assert_eq!(
        (&record["meta"], &record["meta_left_out"], record.get("pieces")),
        (&json!({ "text": "yes" }), &json!(1), None),
        "{record}"
    );
    caller.send(&call(501, Flags::NONE, b"x").aux(0));
    let plain = seen.next();
    for key in [
        "stream",
        "items",
        "deadline_ms",
        "attachments",
        "meta",
        "meta_left_out",
        "one_way",
    ] {
        assert_eq!(plain.get(key), None, "{key}: {plain}");
    }
    broker.stop();
}

#[test]
#[cfg(unix)]
fn calls_that_do_not_fit_their_callees_queue_are_told_and_counted() {
    let broker = Running::start(Limits {
        outbox_bytes: 64 * 1024,
        ..Limits::default()
    });
    let mut seen = Seen::start(&broker, &json!({ "kinds": ["call", "reply"], "object": "o" }));
    let [mut worker, mut caller] = broker.connect_all();
    worker.register("o");
    let (mut sent, mut refused) = (0, 0);
    while refused < 3 {
        assert!(sent < 5_000, "the queue has an end");
        caller.send(&call(10_000 + sent, Flags::NONE, &[0; 1_024]));
        sent += 1;
        caller.after_registry();
        refused += caller.kept().len() as u64;
    }
    let object = ask(&mut caller, "objects")["objects"][0].clone();
    assert_eq!(
        (
            &object["name"],
            &object["calls"],
            &object["refused"],
            &object["errors"]
        ),
        (&json!("o"), &json!(sent - refused), &json!(refused), &json!(0)),
        "{object}"
    );
    let status = ask(&mut caller, "status");
    assert_eq!(
        (&status["metrics"]["calls_refused"], &status["totals"]["refused"]),
        (&json!(refused), &json!(refused))
    );
    let (mut calls, mut errors) = (0, 0);
    while (calls, errors) != (sent, refused) {
        let record = seen.next();
        if record["kind"] == "call" {
            calls += 1;
            assert_eq!(record["to"], worker.peer, "{record}");
        } else {
            errors += 1;
            assert_eq!(
                (&record["error"], &record["from"]),
                (&json!("Overloaded"), &Value::Null),
                "{record}"
            );
        }
    }
    broker.stop();
}

/// The newest entry of this kind, which is to come.
#[track_caller]
fn happened(raw: &mut Raw, kind: &str) -> Value {
    for _ in 0..100_000 {
        let recent = ask(raw, "status")["recent"].clone();
        if let Some(found) = recent
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .find(|entry| entry["kind"] == kind)
        {
            return found.clone();
        }
    }
    panic!("nothing of the kind {kind} is told")
}

#[test]
fn a_connection_that_is_closed_or_refused_is_told() {
    let broker = Running::start(Limits {
        connections: 64,
        ..Limits::default()
    });
    let [mut looker, mut wrong] = broker.connect_all();
    wrong.stream.write_all(&[0xff; 64]).unwrap();
    assert_eq!(wrong.goodbye().0, CloseReason::Protocol);
    let closed = happened(&mut looker, "closed");
    assert_eq!(
        (&closed["peer"], &closed["count"]),
        (&json!(wrong.peer), &json!(1)),
        "{closed}"
    );
    assert_eq!(closed["pid"], std::process::id(), "{closed}");

    let mut kept = Vec::new();
    let mut refused = 0;
    while refused < 5 {
        assert!(kept.len() < 64, "there is no limit");
        let mut raw = Raw::open(&broker.path);
        raw.greet_as(&Hello::default());
        match raw.expect_one(&[Kind::Welcome, Kind::Goodbye]).kind {
            Kind::Welcome => kept.push(raw),
            _ => refused += 1,
        }
    }
    let entry = happened(&mut looker, "refused");
    assert!(
        entry["text"].as_str().unwrap().contains("limits.connections"),
        "{entry}"
    );
    assert_eq!(entry["count"], refused, "one entry for all of them: {entry}");
    drop(kept);
    broker.stop();
}

#[test]
fn a_subscriber_that_lags_is_told() {
    let broker = Running::start(Limits {
        outbox_bytes: 64 * 1024,
        hold_ms: 1,
        ..Limits::default()
    });
    let [mut looker, mut publisher, mut slow] = broker.connect_all();
    slow.subscribe("s", "t");
    let mut sent = 0;
    while publisher.publish("s", "t", &[0; 4_096]).aux > 0 {
        sent += 1;
        assert!(sent < 10_000, "its queue has no end");
    }
    let lagging = happened(&mut looker, "lagging");
    assert_eq!(lagging["peer"], slow.peer, "{lagging}");
    broker.stop();
}

#[test]
fn a_service_that_does_not_start_is_told() {
    let broker = Running::start(Limits::default());
    let program = Program {
        argv: vec!["/nowhere/is-no-program".to_owned()],
        ..Program::default()
    };
    let service = Service::new(["math"], Start::Process(program));
    broker.handle.set_services(Services::new(vec![service]).unwrap());
    let mut caller = broker.connect();
    let id = caller.id();
    let call = Draft::new(Kind::Call, id).pair("math", "m");
    caller.fails(&call.payload(Encoding::RAW, b""));
    let entry = happened(&mut caller, "service");
    assert!(entry["text"].as_str().unwrap().contains("math"), "{entry}");
    broker.stop();
}

/// Everything that is told until so many records were told or dropped: the records, and how many were dropped.
fn told(seen: &mut Seen, count: u64) -> (Vec<Value>, u64) {
    let (mut records, mut dropped) = (Vec::new(), 0);
    while records.len() as u64 + dropped < count {
        let item = seen.raw.answer(seen.id);
        assert_eq!(item.kind, Kind::Reply, "the stream goes on: {}", item.text());
        let taken = u32::try_from(item.wire_len()).unwrap();
        seen.raw.send(&Draft::new(Kind::ReplyCredit, seen.id).aux(taken));
        let item = item.json();
        dropped += item["dropped"].as_u64().unwrap();
        records.extend(item["records"].as_array().unwrap().iter().cloned());
    }
    (records, dropped)
}

#[test]
fn an_error_text_as_long_as_a_frame_ends_no_monitor() {
    let limits = Limits {
        frame_bytes: 1 << 20,
        ..Limits::default()
    };
    let broker = Running::start(limits.clone());
    let mut seen = Seen::start(&broker, &json!({ "kinds": ["reply"], "object": "o" }));
    let [mut worker, mut caller] = broker.connect_all();
    worker.register("o");
    // Each letter takes six in JSON.
    let text = vec![1; limits.frame_bytes];
    for _ in 0..8 {
        let id = caller.call("o", Flags::NONE, b"");
        let call = worker.expect(Kind::Call);
        let error = Draft::new(Kind::Error, call.id).aux(ErrorCode::Handler.code());
        worker.send(&error.payload(Encoding::RAW, &text));
        assert_eq!(caller.answer(id).kind, Kind::Error);
    }
    let (records, dropped) = told(&mut seen, 8);
    assert_eq!((records.len(), dropped), (8, 0));
    for record in records {
        assert_eq!(record["text"].as_str().unwrap().len(), 4 * 1024);
        assert_eq!(record["bytes"], text.len());
    }
    broker.stop();
}

#[test]
fn what_a_small_frame_cannot_hold_is_dropped_and_the_rest_is_told() {
    let broker = Running::start(Limits {
        frame_bytes: 64 * 1024,
        ..Limits::default()
    });
    let filter = json!({ "kinds": ["event"], "payloads": 1_048_576, "object": "s" });
    let mut seen = Seen::start(&broker, &filter);
    let [mut publisher] = broker.connect_all();
    let (small, large) = ([b'x'; 1_000], [1; 60_000]);
    // Far more than a frame takes, at once.
    let run = || (0..300).map(|_| publish(500, Flags::NONE, &small));
    let all: Vec<_> = run()
        .chain([publish(500, Flags::NONE, &large)])
        .chain(run())
        .collect();
    publisher.send_all(&all);
    let (records, dropped) = told(&mut seen, all.len() as u64);
    assert_eq!((records.len(), dropped), (600, 1));
    assert!(records.iter().all(|record| record["bytes"] == small.len()));
    // And nothing is wrong with it afterwards.
    publisher.publish("s", "t", b"after");
    let (after, dropped) = told(&mut seen, 1);
    assert_eq!((&after[0]["payload"], dropped), (&json!("after"), 0));
    broker.stop();
}

//! What no setting changes: the sizes of small frames, names and patterns, and what a client may say at all.

use super::*;
use actix_ipc::message::Origin;
use actix_ipc::message::handshake::PREFACE;

#[test]
fn small_frames_of_fixed_size() {
    let broker = Running::start(Limits::default());
    let mut raw = broker.connect();
    for size in [0, 63, 64] {
        let payload = vec![3; size];
        let pong = raw.ask(&Draft::new(Kind::Ping, 5).payload(Encoding::JSON, &payload));
        assert_eq!(
            (pong.kind, &pong.payload, pong.encoding),
            (Kind::Pong, &payload, Encoding::JSON)
        );
    }
    raw.send(&Draft::new(Kind::Ping, 5).payload(Encoding::RAW, &[3; 65]));
    closed(raw, CloseReason::Protocol, "64");
    for (size, fits) in [(4_095, true), (4_096, true), (4_097, false)] {
        let mut raw = Raw::open(&broker.path);
        let hello = vec![0; size];
        let draft = Draft::new(Kind::Hello, 1).aux(1).payload(Encoding::RAW, &hello);
        raw.stream
            .write_all(&[&PREFACE[..], &draft.to_vec()].concat())
            .unwrap();
        match fits {
            true => assert_eq!(raw.read().kind, Kind::Welcome),
            false => closed(raw, CloseReason::Protocol, "4096"),
        }
    }
    for (size, fits) in [(8_191, true), (8_192, true), (8_193, false)] {
        let mut raw = broker.connect();
        let block = [meta("k", &vec![0; 4_000]), meta("l", &vec![0; size - 4_008])].concat();
        assert_eq!(block.len(), size);
        let publish = Draft::new(Kind::Publish, 5).flags(Flags::ACK).meta(&block);
        raw.send(&publish.pair("s", "t"));
        match fits {
            true => assert_eq!(raw.answer(5).kind, Kind::Accepted),
            false => closed(raw, CloseReason::Protocol, "8192"),
        }
    }
    broker.stop();
}

#[test]
fn names_keys_and_patterns() {
    let broker = Running::start(Limits::default());
    let mut raw = broker.connect();
    let (longest, longer) = ("n".repeat(255), "n".repeat(256));
    assert_eq!(raw.register(&longest).kind, Kind::Done);
    refused(&raw.register(&longer), ErrorCode::Invalid, "255");
    refused(&raw.register(""), ErrorCode::Invalid, "empty");
    refused(&raw.register("a\tb"), ErrorCode::Invalid, "control");
    refused(&raw.register("sys.broker"), ErrorCode::Invalid, "sys.");
    let member = Draft::new(Kind::Call, 900).pair("o", &longer);
    refused(&raw.ask(&member), ErrorCode::Invalid, "255");
    let (levels, more) = (["*"; 32].join("."), ["*"; 33].join("."));
    raw.subscribe_as(&levels, "t", Flags::PATTERN, 0, &[]);
    let pattern = Draft::new(Kind::Subscribe, 901).flags(Flags::PATTERN);
    refused(&raw.ask(&pattern.pair(&more, "t")), ErrorCode::Invalid, "32");
    let policy = Draft::new(Kind::Subscribe, 902).aux(4).pair("o", "t");
    refused(&raw.ask(&policy), ErrorCode::Invalid, "policy");
    let group = |size: usize| meta("group", &vec![b'g'; size]);
    raw.subscribe_as("o", "t", Flags::NONE, 0, &group(255));
    let (block, member) = (group(256), Draft::new(Kind::Subscribe, 903));
    refused(
        &raw.ask(&member.meta(&block).pair("o", "t")),
        ErrorCode::Invalid,
        "255",
    );
    for (count, fits) in [(0, false), (1, true), (255, true), (256, true), (257, false)] {
        let payload = names(&vec![&*longest; count]);
        let got = raw.ask(&Draft::new(Kind::Wait, 904).payload(Encoding::RAW, &payload));
        match fits {
            true => assert_eq!(got.kind, Kind::Done, "{count} names"),
            false => refused(&got, ErrorCode::Invalid, "a wait names"),
        }
    }
    refused(
        &raw.ask(&Draft::new(Kind::Watch, 905).aux(4)),
        ErrorCode::Invalid,
        "names (1)",
    );
    refused(
        &raw.register_as("g", Flags::WORKER_GROUP, 3),
        ErrorCode::Invalid,
        "balance",
    );
    broker.stop();
}

#[test]
fn what_only_the_broker_may_say() {
    let broker = Running::start(Limits::default());
    let reserved = meta("sys.name", b"me");
    let publish = Draft::new(Kind::Publish, 5).pair("s", "t");
    let origin = Draft {
        origin: Some(Origin::default()),
        ..Draft::new(Kind::Call, 5).pair("o", "m")
    };
    for (draft, word) in [
        (publish.meta(&reserved), "sys."),
        (origin, "origin"),
        (Draft::new(Kind::Welcome, 1), "Welcome"),
        (Draft::new(Kind::Accepted, 1), "Accepted"),
        (Draft::new(Kind::Hello, 1).aux(1), "Hello"),
        (publish.flags(Flags::MORE), "Publish"),
    ] {
        let mut raw = broker.connect();
        raw.send(&draft);
        closed(raw, CloseReason::Protocol, word);
    }
    let [mut worker, mut raw] = broker.connect_all();
    worker.register("o");
    raw.send_all(&[
        Draft::new(Kind::Call, 7).aux(3_600_000).pair("o", "m"),
        Draft::new(Kind::Describe, 7).key(b"o"),
    ]);
    closed(raw, CloseReason::Protocol, "request number 7");
    worker.after_registry();
    assert_eq!(worker.kept(), [], "nothing more is done for who is closed");
    broker.stop();
}

//! `rob` at a broker that says whatever a case wants, in raw frames: one that hangs between two answers, denies, stops or comes back.
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
#![cfg(feature = "cli")]

#[path = "support/false_broker.rs"]
mod false_broker;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Decoder, Draft, Encoding, Flags, Kind};
use false_broker::{FalseBroker, Socket, greet};
use raw::{Got, all};
use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use support::{rob_command, run};

/// The first item of a monitor, and one with a record.
const WATCHES: &[u8] = br#"{"records":[],"dropped":0}"#;
const PASSED: &[u8] = br#"{"records":[{"at_us":1,"kind":"event","object":"o","member":"t","bytes":0,"subscribers":0}],"dropped":0}"#;

/// What is answered to a frame: frames, and whether the connection ends behind them.
type Answer = (Vec<Vec<u8>>, bool);

fn item(id: u64, json: &[u8]) -> Vec<u8> {
    let draft = Draft::new(Kind::Reply, id).flags(Flags::MORE);
    draft.payload(Encoding::JSON, json).to_vec()
}

fn error(id: u64, code: ErrorCode) -> Vec<u8> {
    let draft = Draft::new(Kind::Error, id).aux(code.code());
    draft.payload(Encoding::RAW, b"on purpose").to_vec()
}

/// Welcomes, and answers each frame of a connection as the script says, until either ends it.
fn converse(mut stream: Socket, mut script: impl FnMut(&Got) -> Answer) {
    greet(&mut stream);
    let mut decoder = Decoder::new(1 << 20);
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for got in all(&decoder.decode(&buffer[..count]).unwrap()) {
            let (frames, ends) = script(&got);
            if stream.write_all(&frames.concat()).is_err() || ends {
                return;
            }
        }
    }
}

/// A place where a broker seems to be. `script` gets the connection's number with each frame.
fn broker(script: impl Fn(usize, &Got) -> Answer + Send + Sync + 'static) -> FalseBroker {
    FalseBroker::new(move |stream, number| converse(stream, |got| script(number, got)))
}

/// `rob` with these words at this broker.
fn rob(broker: &FalseBroker, words: &str) -> Command {
    let mut command = rob_command();
    command
        .args(["--addr", &broker.endpoint.to_string()])
        .args(words.split(' '));
    command
}

fn calls(got: &Got, method: &str) -> bool {
    got.kind == Kind::Call && got.key == format!("sys.broker\0{method}").as_bytes()
}

#[test]
fn a_watch_does_not_wait_for_ever_behind_its_first_answer() {
    let watched = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&watched);
    let broker = broker(move |_, got| match got.kind {
        Kind::Watch => {
            asked.store(true, SeqCst);
            (vec![Draft::new(Kind::Done, got.id).to_vec()], false)
        }
        _ => (Vec::new(), false),
    });
    let ended = run(&mut rob(&broker, "watch --names --timeout 3"));
    assert_eq!(ended.code(), 4, "{ended:#?}");
    assert!(watched.load(SeqCst), "it never came to that: {ended:#?}");
}

#[test]
fn a_recording_is_complete_also_when_its_end_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let monitor = AtomicU64::new(0);
    let broker = broker(move |_, got| {
        if calls(got, "monitor") {
            monitor.store(got.id, SeqCst);
            return (vec![item(got.id, WATCHES), item(got.id, PASSED)], false);
        }
        if calls(got, "mark") {
            let mark = Draft::new(Kind::Reply, got.id)
                .payload(Encoding::JSON, b"1")
                .to_vec();
            return (vec![mark, error(monitor.load(SeqCst), ErrorCode::Denied)], false);
        }
        (Vec::new(), false)
    });
    let file = folder.path().join("r.jsonl");
    let ended = run(rob(&broker, "record --seconds 0.3").arg(&file));
    assert_eq!(ended.code(), 0, "{ended:#?}");
    let text = std::fs::read_to_string(&file).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["kind"], &last["records"], &last["interrupted"]),
        (&"end".into(), &1.into(), &1.into()),
        "{text}"
    );
    assert!(ended.stderr.contains("1 record in "), "{ended:#?}");
}

#[test]
fn a_monitor_that_meets_a_broker_which_is_stopping_waits_for_the_next_one() {
    let broker = broker(|number, got| match number {
        _ if !calls(got, "monitor") => (Vec::new(), false),
        0 => (vec![item(got.id, WATCHES)], true),
        // Its own object is gone already.
        1 => (vec![error(got.id, ErrorCode::NoSuchObject)], true),
        _ => (vec![item(got.id, PASSED)], false),
    });
    let ended = run(&mut rob(&broker, "--json monitor --count 1"));
    assert!(ended.success().contains("\"event\""), "{ended:#?}");
}

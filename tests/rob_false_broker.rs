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
#![cfg(all(unix, feature = "cli"))]

#[path = "support/raw.rs"]
mod raw;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Decoder, Draft, Encoding, Epoch, Flags, Kind, PROTOCOL_VERSION, Welcome};
use raw::{Got, all};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use support::{Process, rob_command};

/// The first item of a monitor, and one with a record.
const WATCHES: &[u8] = br#"{"records":[],"dropped":0}"#;
const PASSED: &[u8] = br#"{"records":[{"at_us":1,"kind":"event","object":"o","member":"t","bytes":0,"subscribers":0}],"dropped":0}"#;

/// What is answered to a frame: frames, and whether the connection ends behind them.
type Answer = (Vec<Vec<u8>>, bool);

fn welcome() -> Vec<u8> {
    let welcome = Welcome {
        epoch: Epoch([7; 16]),
        frame_bytes: 1 << 20,
        message_bytes: 4 << 20,
        publish_window: 1 << 20,
        stream_window: 64 << 10,
        open_calls: 4_096,
        names: 100,
        subscriptions: 100,
        default_deadline_ms: 30_000,
        max_deadline_ms: 3_600_000,
        attachments: 0,
        ring_bytes: 0,
        send_window: 0,
        region_bytes: 0,
    };
    let draft = Draft::new(Kind::Welcome, 5).aux(PROTOCOL_VERSION);
    draft.payload(Encoding::RAW, &welcome.encode()).to_vec()
}

fn item(id: u64, json: &[u8]) -> Vec<u8> {
    let draft = Draft::new(Kind::Reply, id).flags(Flags::MORE);
    draft.payload(Encoding::JSON, json).to_vec()
}

fn error(id: u64, code: ErrorCode) -> Vec<u8> {
    let draft = Draft::new(Kind::Error, id).aux(code.code());
    draft.payload(Encoding::RAW, b"on purpose").to_vec()
}

/// Answers each frame of a connection as the script says, until either ends it.
fn converse(mut stream: UnixStream, mut script: impl FnMut(&Got) -> Answer) {
    let mut decoder = Decoder::new(1 << 20);
    stream.read_exact(&mut [0; 8]).unwrap();
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for got in all(&decoder.decode(&buffer[..count]).unwrap()) {
            let (frames, ends) = match got.kind {
                Kind::Hello => (vec![welcome()], false),
                _ => script(&got),
            };
            if stream.write_all(&frames.concat()).is_err() || ends {
                return;
            }
        }
    }
}

/// A place where a broker seems to be. `script` gets the connection's number with each frame.
fn broker_at(folder: &Path, script: impl Fn(usize, &Got) -> Answer + Send + Sync + 'static) -> String {
    let path = folder.join("b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        std::thread::scope(|threads| {
            for (number, stream) in listener.incoming().enumerate() {
                let (stream, script) = (stream.unwrap(), &script);
                threads.spawn(move || converse(stream, |got| script(number, got)));
            }
        });
    });
    format!("unix:{}", path.display())
}

fn calls(got: &Got, method: &str) -> bool {
    got.kind == Kind::Call && got.key == format!("sys.broker\0{method}").as_bytes()
}

#[test]
fn a_watch_does_not_wait_for_ever_behind_its_first_answer() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = broker_at(folder.path(), |_, got| match got.kind {
        Kind::Watch => (vec![Draft::new(Kind::Done, got.id).to_vec()], false),
        _ => (Vec::new(), false),
    });
    let mut watch = rob_command();
    let watch = watch.args(["--addr", &endpoint, "watch", "--names", "--timeout", "0.5"]);
    let ended = Process::spawn(watch).end();
    assert_eq!(ended.code(), 4, "{ended:#?}");
}

#[test]
fn a_recording_is_complete_also_when_its_end_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let monitor = std::sync::atomic::AtomicU64::new(0);
    let endpoint = broker_at(folder.path(), move |_, got| {
        use std::sync::atomic::Ordering::SeqCst;
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
    let mut record = rob_command();
    let record = record
        .args(["--addr", &endpoint, "record", "--seconds", "0.3"])
        .arg(&file);
    let ended = Process::spawn(record).end();
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
    let folder = tempfile::tempdir().unwrap();
    let endpoint = broker_at(folder.path(), |number, got| match number {
        _ if !calls(got, "monitor") => (Vec::new(), false),
        0 => (vec![item(got.id, WATCHES)], true),
        // Its own object is gone already.
        1 => (vec![error(got.id, ErrorCode::NoSuchObject)], true),
        _ => (vec![item(got.id, PASSED)], false),
    });
    let mut monitor = rob_command();
    let monitor = monitor.args(["--addr", &endpoint, "--json", "monitor", "--count", "1"]);
    let ended = Process::spawn(monitor).end();
    assert!(ended.success().contains("\"event\""), "{ended:#?}");
}

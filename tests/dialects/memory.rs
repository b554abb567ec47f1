//! Messages that there is no memory for: who waits for one is told so, and the connection goes on.

use super::Scene;
use super::old::{Format, Old};
use super::raw::Raw;
use crate::until::until;
use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use serde_json::{Value, json};

const WORD: &str = "limits.memory_bytes_total";

/// One process has 1 MiB.
fn scene() -> Scene {
    Scene::with(Limits {
        memory_bytes_total: 8 << 20,
        ..Limits::default()
    })
}

fn says_why(error: &Value) {
    let text = error.as_str().unwrap_or_else(|| panic!("{error} is no text"));
    assert!(text.contains(WORD), "{text}");
}

fn counts(scene: &Scene, refused: u64) {
    let metrics = scene.running.handle.metrics();
    assert_eq!(
        (metrics.refused_for_memory, metrics.closed_over_limit),
        (refused, 0)
    );
}

#[test]
fn a_document_that_is_too_large_for_it_is_answered_in_its_place() {
    let scene = scene();
    let mut native = scene.native();
    native.register("o");
    let mut old = scene.old(Format::Documents);
    let large = "x\\\"}{".repeat(1 << 20);
    // Behind a call that is still open.
    old.call("o", "m", &json!(1));
    let call = native.expect(Kind::Call);
    old.say(&json!({"object": "o", "method": "m", "param": large}));
    native.reply(&call, b"first");
    assert_eq!(old.answer(), Ok(json!("first")));
    says_why(&old.answer().unwrap_err());
    old.settle();
    old.say(&json!({"event": "e", "result": large}));
    says_why(&old.answer().unwrap_err());
    old.settle();
    assert_eq!(native.kept(), [], "nothing of it has come through");
    counts(&scene, 2);
    scene.stop();
}

#[test]
fn an_answer_that_is_too_large_for_it_is_an_error_to_its_caller() {
    let scene = scene();
    let [mut native, mut other] = scene.running.connect_all();
    let mut old = scene.old(Format::Documents);
    assert!(old.register("o"));
    for n in 1..4 {
        let id = native.call("o", Flags::NONE, b"");
        let called = old.called();
        old.reply(&called, &json!("x".repeat(6 << 20)));
        let got = native.answer(id);
        assert_eq!(got.error(), (ErrorCode::ReplyLost, true), "{}", got.text());
        assert!(got.text().contains(WORD), "{}", got.text());
        // It is given the next call.
        let id = other.call("o", Flags::NONE, b"");
        let called = old.called();
        old.reply(&called, &json!(n));
        assert_eq!(other.answer(id).json(), json!(n));
    }
    counts(&scene, 3);
    scene.stop();
}

#[test]
fn a_result_in_pieces_that_is_too_large_for_it_is_an_error() {
    let scene = scene();
    let mut native = scene.native();
    native.register("o");
    let mut old = scene.old(Format::Documents);
    old.call("o", "m", &Value::Null);
    let call = native.expect(Kind::Call);
    native.send(&Draft::new(Kind::Reply, call.id).flags(Flags::CONTINUED));
    let part = vec![b'x'; 100_000];
    let given_up = (0..20).any(|_| {
        let piece = Draft::new(Kind::ReplyPiece, call.id).flags(Flags::CONTINUED);
        native.send(&piece.payload(Encoding::RAW, &part));
        native.expect_one(&[Kind::ReplyCredit, Kind::Cancel]).kind == Kind::Cancel
    });
    assert!(given_up, "its callee need not go on");
    says_why(&old.answer().unwrap_err());
    old.call("o", "m", &Value::Null);
    let call = loop {
        let got = native.read();
        if got.kind == Kind::Call {
            break got;
        }
    };
    native.reply(&call, b"small");
    assert_eq!(old.answer(), Ok(json!("small")));
    assert_eq!(scene.running.handle.metrics().closed_over_limit, 0);
    scene.stop();
}

/// What three connections of one process cost leaves them no room for half a frame.
#[test]
fn a_frame_of_ipc_broker_is_answered_by_its_number() {
    let scene = Scene::with(Limits {
        memory_bytes_total: 8 * 112 * 1024,
        ..Limits::default()
    });
    let mut native = scene.native();
    native.register("o");
    let [mut caller, mut worker] = std::array::from_fn(|_| scene.old(Format::Lengths));
    assert!(worker.register("old"));
    let text = "x".repeat(60_000);
    let sent_in_parts = |old: &mut Old, native: &mut Raw, message: &str| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let bytes = [&length[..], message.as_bytes()].concat();
        let (first, rest) = bytes.split_at(50_000);
        old.send(first);
        let before = scene.running.handle.metrics().refused_for_memory;
        while scene.running.handle.metrics().refused_for_memory == before {
            native.ping();
        }
        old.send(rest);
    };
    // The keys in the order in which the published library writes them.
    let call = format!(r#"{{"Call":{{"call_id":"c1","object_name":"o","method":"m","args":"{text}"}}}}"#);
    sent_in_parts(&mut caller, &mut native, &call);
    let heard = caller.hear();
    assert_eq!(heard["Error"]["call_id"], json!("c1"), "{heard}");
    says_why(&heard["Error"]["message"]);
    caller.settle();
    let publish = format!(r#"{{"Publish":{{"object_name":"s","topic":"t","args":"{text}"}}}}"#);
    sent_in_parts(&mut caller, &mut native, &publish);
    caller.settle();
    let id = native.call("old", Flags::NONE, b"");
    let number = worker.hear()["Call"]["call_id"].take();
    let result = format!(r#"{{"Result":{{"call_id":{number},"object_name":"old","value":"{text}"}}}}"#);
    sent_in_parts(&mut worker, &mut native, &result);
    let got = native.answer(id);
    assert_eq!(got.error(), (ErrorCode::ReplyLost, true), "{}", got.text());
    worker.settle();
    counts(&scene, 3);
    scene.stop();
}

/// Calls that wait for their turn at a program that takes one at a time.
#[test]
fn calls_beyond_it_are_refused_unrun() {
    let scene = scene();
    let mut old = scene.old(Format::Documents);
    assert!(old.register("o"));
    let mut native = scene.native();
    let args = json!("x".repeat(100_000));
    native.call("o", Flags::NONE, b"");
    let first = old.called();
    let refused = (0..50).any(|_| {
        let id = native.id();
        let text = args.to_string();
        native.send(
            &Draft::new(Kind::Call, id)
                .pair("o", "m")
                .payload(Encoding::JSON, text.as_bytes()),
        );
        native.ping();
        native.after_registry();
        native.kept().iter().any(|got| {
            let (code, ran) = got.error();
            assert!(!ran && got.text().contains(WORD), "{}", got.text());
            assert!(matches!(code, ErrorCode::TooMany | ErrorCode::Overloaded));
            true
        })
    });
    assert!(refused, "they are kept without bound");
    old.reply(&first, &json!(0));
    let called = old.called();
    assert_eq!(called.args, args, "the next one");
    old.reply(&called, &json!(1));
    assert_eq!(scene.running.handle.metrics().closed_over_limit, 0);
    drop((old, native));
    scene.stop();
}

/// A client that asks on and on while nothing is answered gets errors, and stays.
#[test]
fn requests_beyond_it_are_refused() {
    let scene = Scene::with(Limits {
        memory_bytes_total: 8 * 100 * 1024,
        ..Limits::default()
    });
    let mut native = scene.native();
    native.register("never");
    let mut old = scene.old(Format::Lengths);
    let heard = old.heard_apart();
    let mut all = Vec::new();
    // One at a time: a burst of errors is more than there is memory for, too.
    for n in 1..=300 {
        old.call("never", "m", &json!(n));
        while scene.running.handle.metrics().calls_routed < n && all.is_empty() {
            all.extend(heard.try_recv().unwrap_or_default());
            std::thread::yield_now();
        }
        if !all.is_empty() {
            break;
        }
    }
    while !String::from_utf8_lossy(&all).contains(WORD) {
        all.extend(heard.recv().expect("an error before the end"));
    }
    assert_eq!(scene.running.handle.metrics().closed_over_limit, 0);
    old.hang_up();
    until("it has gone", || scene.running.handle.levels().connections <= 1);
    native.ping();
    scene.stop();
}

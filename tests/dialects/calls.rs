//! Calls between old and new clients, and how they end.

use super::old::{BOTH, Format, Old};
use super::{Scene, call_json, reply_json};
use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use serde_json::{Value, json};

#[test]
fn old_and_new_call_each_other() {
    let scene = Scene::start();
    let args = json!({"a": [1, -2, 2.5, null, true, "é"], "b": {}});
    for format in BOTH {
        let (mut old, mut native) = (scene.old(format), scene.native());
        // A name with a blank is one in the document.
        assert!(old.register("old object"));
        assert_eq!(native.register("new object").kind, Kind::Done);
        let id = native.id();
        let text = args.to_string();
        let call = Draft::new(Kind::Call, id).pair("old object", "m");
        native.send(&call.payload(Encoding::JSON, text.as_bytes()));
        let called = old.called();
        assert_eq!((&called.method[..], &called.args), ("m", &args));
        old.reply(&called, &args);
        assert_eq!(native.answer(id).json(), args);
        native.send(&call.payload(Encoding::RAW, b"text"));
        let called = old.called();
        assert_eq!(called.args, json!("text"));
        old.fail(&called, "no");
        let got = native.answer(id);
        assert_eq!(got.error(), (ErrorCode::Handler, true));
        assert!(got.text().contains("no"), "{}", got.text());
        old.call("new object", "m", &args);
        let call = native.expect(Kind::Call);
        assert_eq!(
            (
                &call.key[..],
                serde_json::from_slice::<Value>(&call.payload).unwrap()
            ),
            (&b"new object\0m"[..], args.clone())
        );
        reply_json(&mut native, &call, &args);
        assert_eq!(old.answer(), Ok(args.clone()));
        // Both formats meet as well.
        for other in BOTH {
            let mut caller = scene.old(other);
            caller.call("old object", "x", &json!(7));
            let called = old.called();
            old.reply(&called, &json!(8));
            assert_eq!(caller.answer(), Ok(json!(8)));
        }
    }
    scene.stop();
}

#[test]
fn what_a_new_handler_refuses_is_an_error_to_an_old_caller() {
    let scene = Scene::start();
    let mut native = scene.native();
    native.register("o");
    for format in BOTH {
        let mut old = scene.old(format);
        old.call("o", "m", &Value::Null);
        let call = native.expect(Kind::Call);
        let error = Draft::new(Kind::Error, call.id).aux(ErrorCode::Handler.code());
        native.send(&error.payload(Encoding::RAW, b"will not"));
        assert_eq!(old.answer(), Err(json!("will not")));
        // What JSON cannot say, and what the format has no room for.
        for (encoding, payload) in [
            (Encoding::POSTCARD, &b"\x01"[..]),
            (Encoding::RAW, b"\xff"),
            (Encoding::JSON, b"1e400"),
            (Encoding::JSON, br#""\ud800""#),
        ] {
            old.call("o", "m", &Value::Null);
            let call = native.expect(Kind::Call);
            native.send(&Draft::new(Kind::Reply, call.id).payload(encoding, payload));
            let error = old.answer().unwrap_err();
            assert!(error.as_str().unwrap().contains("the call ran"), "{error}");
        }
        old.settle();
    }
    let mut old = scene.old(Format::Lengths);
    old.call("o", "m", &Value::Null);
    let call = native.expect(Kind::Call);
    reply_json(&mut native, &call, &json!("x".repeat(70_000)));
    let error = old.answer().unwrap_err();
    assert!(error.as_str().unwrap().contains("at most"), "{error}");
    // It is the format's limit, not the broker's.
    let mut old = scene.old(Format::Documents);
    old.call("o", "m", &Value::Null);
    let call = native.expect(Kind::Call);
    let large = json!("x".repeat(1_000_000));
    reply_json(&mut native, &call, &large);
    assert_eq!(old.answer(), Ok(large));
    scene.stop();
}

#[test]
fn a_call_that_an_old_owner_cannot_be_told_is_an_error_to_its_caller() {
    let scene = Scene::start();
    for format in BOTH {
        let (mut old, mut native) = (scene.old(format), scene.native());
        assert!(old.register("o"));
        for (encoding, payload) in [(Encoding::POSTCARD, &b"\x01"[..]), (Encoding::RAW, b"\xff")] {
            let id = native.id();
            let call = Draft::new(Kind::Call, id).pair("o", "m");
            let got = native.ask(&call.payload(encoding, payload));
            assert_eq!(got.error(), (ErrorCode::Encoding, false), "{}", got.text());
        }
        if format == Format::Lengths {
            let got = call_json(&mut native, "o", "m", &json!("x".repeat(70_000)));
            assert_eq!(got.error(), (ErrorCode::TooLarge, false));
        }
        let id = native.id();
        native.send(&Draft::new(Kind::Call, id).pair("o", "m"));
        let called = old.called();
        assert_eq!(called.args, Value::Null, "the next one is told");
        old.reply(&called, &json!(1));
        assert_eq!(native.answer(id).kind, Kind::Reply);
    }
    scene.stop();
}

#[test]
fn an_owner_that_dies_fails_its_calls_at_once() {
    let scene = Scene::start();
    for owner in BOTH {
        for caller in BOTH {
            let (mut old, mut first, mut second) = (scene.old(owner), scene.old(caller), scene.native());
            assert!(old.register("o"));
            first.call("o", "m", &json!(1));
            drop(old.called());
            let id = second.call("o", Flags::NONE, b"");
            second.ping();
            drop(old);
            let error = first.answer().unwrap_err();
            let expected = match caller {
                Format::Documents => "client connection error",
                Format::Lengths => ErrorCode::CalleeGone.text(),
            };
            assert!(error.as_str().unwrap().contains(expected), "{error}");
            assert_eq!(second.answer(id).error().0, ErrorCode::CalleeGone);
            assert!(first.remote_call("o", "m", &json!(1)).is_err(), "it is free");
        }
    }
    for format in BOTH {
        let (mut native, mut old) = (scene.native(), scene.old(format));
        native.register("mine");
        old.call("mine", "m", &json!(1));
        native.expect(Kind::Call);
        drop(native);
        assert!(old.answer().is_err());
    }
    scene.stop();
}

/// Without a deadline that a busy machine could miss: when an answer came too late that was to be in time, all is done again with twice
/// as long a one.
#[test]
fn an_answer_after_its_deadline_is_nobodys_and_places_are_kept() {
    for owner in BOTH {
        let mut deadline_ms = 1_000;
        while !late_answers_are_nobodys(owner, deadline_ms) {
            deadline_ms *= 2;
            assert!(deadline_ms < 100_000, "answers are always late");
        }
    }
}

/// `false`: what was answered at once was late as well.
fn late_answers_are_nobodys(owner: Format, deadline_ms: u32) -> bool {
    let scene = Scene::with(Limits {
        default_deadline_ms: deadline_ms,
        max_deadline_ms: deadline_ms,
        ..Limits::default()
    });
    let (mut old, mut caller) = (scene.old(owner), scene.old(Format::Documents));
    let mut quick = scene.native();
    assert!(old.register("slow"));
    quick.register("quick");
    // Asked one behind the other; the second is answered first, and waits for its place.
    caller.call("slow", "m", &json!(1));
    caller.call("quick", "m", &json!(2));
    let call = quick.expect(Kind::Call);
    reply_json(&mut quick, &call, &json!("second"));
    let late = old.called();
    assert_eq!(late.args, json!(1));
    let error = caller.answer().unwrap_err();
    assert!(error.as_str().unwrap().contains("deadline"), "{error}");
    let second = caller.answer();
    // Now it answers; the next call's answer is its own all the same.
    old.reply(&late, &json!("too late"));
    caller.call("slow", "m", &json!(3));
    let called = old.called();
    assert_eq!(called.args, json!(3));
    old.reply(&called, &json!("third"));
    let answers = [(second, "second"), (caller.answer(), "third")];
    let mut in_time = true;
    for (answer, expected) in answers {
        match answer {
            Ok(value) => assert_eq!(value, json!(expected)),
            Err(error) => {
                assert!(error.as_str().unwrap().contains("deadline"), "{error}");
                in_time = false;
            }
        }
    }
    scene.stop();
    in_time
}

#[test]
fn fifty_callers_get_their_own_answers_while_events_arrive() {
    const ROUNDS: usize = 4;
    const EVENTS: usize = 5;
    let scene = Scene::start();
    let endpoints = scene.endpoints();
    for format in BOTH {
        let (mut worker, mut publisher) = (scene.native(), scene.old(format));
        worker.register("echo");
        let threads: Vec<_> = (0..50)
            .map(|number| {
                let endpoint = endpoints[number % endpoints.len()].clone();
                std::thread::spawn(move || {
                    let mut caller = Old::connect(format, &endpoint);
                    caller.subscribe("s", "t");
                    for round in 0..ROUNDS {
                        let value = json!([number, round]);
                        assert_eq!(caller.remote_call("echo", "m", &value), Ok(value));
                        (0..EVENTS).for_each(|n| assert_eq!(caller.event().1, json!([round, n])));
                    }
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let calls: Vec<_> = (0..50).map(|_| worker.expect(Kind::Call)).collect();
            // All of them wait; what is published now must not be taken for an answer.
            for n in 0..EVENTS {
                publisher.publish("s", "t", &json!([round, n]));
            }
            publisher.settle();
            for call in calls {
                let args: Value = serde_json::from_slice(&call.payload).unwrap();
                reply_json(&mut worker, &call, &args);
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    scene.stop();
}

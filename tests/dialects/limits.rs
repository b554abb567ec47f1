//! Owner rules, the policy, and limits, which hold for old clients as for others.

use super::Scene;
use super::old::{BOTH, Format, Old};
use crate::until::until;
use actix_ipc::actors::Broker;
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Flags, Kind};
use actix_ipc::policy::{Policy, Right, Rule, Selection, Who};
use actix_ipc::transport::dialect::Dialects;
use serde_json::{Value, json};
use std::io::Write;

use super::raw::Raw;
use super::running::Running;

#[test]
fn an_old_owner_gives_way_to_an_old_one_and_a_new_one_does_not() {
    let scene = Scene::start();
    for first in BOTH {
        for second in BOTH {
            let [mut before, mut after] = [scene.old(first), scene.old(second)];
            assert!(before.register("o") && before.register("o"), "also to itself");
            assert!(after.register("o"));
            let mut native = scene.native();
            assert_eq!(native.register("o").error().0, ErrorCode::NameTaken);
            let id = native.call("o", Flags::NONE, b"");
            let called = after.called();
            after.reply(&called, &json!("the last one"));
            assert_eq!(native.answer(id).json(), json!("the last one"));
            before.settle();
        }
    }
    for format in BOTH {
        let (mut native, mut old) = (scene.native(), scene.old(format));
        native.register("mine");
        assert!(!old.register("mine"), "{format:?}");
        let id = native.call("mine", Flags::NONE, b"");
        assert_eq!(native.expect(Kind::Call).key, b"mine\0m");
        drop((id, native));
    }
    let mut old = scene.old(Format::Lengths);
    assert!(!old.register("rob") && !old.register("sys.x"), "the broker's own");
    scene.stop();
}

#[test]
fn the_policy_holds_for_old_clients() {
    let rule = Rule::allow([Who::Everyone]).plain(Right::Connect);
    let scene = Scene::start();
    let rules = |more: Option<Rule>| Policy::new([rule.clone()].into_iter().chain(more).collect());
    let mut native = scene.native();
    native.register("o");
    scene.running.handle.set_policy(rules(None));
    for format in BOTH {
        let mut old = scene.old(format);
        assert!(!old.register("x"));
        let denied = old.remote_call("o", "m", &Value::Null).unwrap_err();
        assert!(denied.as_str().unwrap().contains("policy"), "{denied}");
        // What it may not see is not there.
        match format {
            Format::Lengths => old.ask(
                &json!({"HasObject": {"object_name": "o"}}),
                &json!({"HasObjectResult": {"object_name": "o", "exists": false}}),
            ),
            Format::Documents => old.ask(&json!({"list": ["o"]}), &json!({"list": []})),
        }
    }
    // As often as it asks for a topic, it is told that it may not hear it.
    let mut old = scene.old(Format::Lengths);
    let subscribe = old.encoded(&json!({"Subscribe": {"object_name": "s", "topic": "t"}}));
    old.send(&subscribe.repeat(3));
    for _ in 0..3 {
        let heard = old.hear();
        let text = heard["Error"]["message"].as_str();
        assert!(text.is_some_and(|text| text.contains("policy")), "{heard}");
    }
    // What it publishes without the right to is heard by nobody.
    let hears = Rule::allow([Who::Everyone]).named(Right::Subscribe, Selection::object("**").unwrap());
    scene.running.handle.set_policy(rules(Some(hears)));
    let mut hearer = scene.native();
    hearer.subscribe("s", "t");
    hearer.subscribe("events", "t");
    for format in BOTH {
        let mut publisher = scene.old(format);
        publisher.publish("s", "t", &json!(1));
        publisher.remote_call("o", "m", &Value::Null).unwrap_err();
    }
    hearer.subscribe("s", "another");
    assert_eq!(hearer.kept(), []);
    scene.stop();
}

/// A length that is none ends the connection, and what was said before it counts.
#[test]
fn what_was_said_before_a_broken_message_is_done() {
    let scene = Scene::with(Limits {
        dialect_linger_ms: 60_000,
        ..Limits::default()
    });
    let [mut native, mut hearer] = scene.running.connect_all();
    native.register("o");
    hearer.subscribe("s", "t");
    let mut old = scene.old(Format::Lengths);
    let mut bytes = Vec::new();
    for said in [
        json!({"RegisterObject": {"object_name": "own"}}),
        json!({"Publish": {"object_name": "s", "topic": "t", "args": 1}}),
        json!({"Call": {"call_id": "c", "object_name": "o", "method": "m", "args": 2}}),
        json!({"HasObject": {"object_name": "o"}}),
    ] {
        bytes.extend(old.encoded(&said));
    }
    bytes.extend(65_537_u32.to_be_bytes());
    bytes.extend([b'x'; 100_000]);
    old.send(&bytes);
    assert_eq!(hearer.expect(Kind::Event).payload, b"1");
    let call = native.expect(Kind::Call);
    until("the name is free", || native.register("own").kind == Kind::Done);
    native.reply(&call, b"done");
    let heard: Vec<Value> = std::iter::from_fn(|| old.try_hear()).collect();
    for kind in ["Registered", "HasObjectResult", "Result"] {
        let found = heard.iter().filter(|heard| heard.get(kind).is_some()).count();
        assert_eq!(found, 1, "{kind} of {heard:?}");
    }
    assert_eq!(scene.running.handle.metrics().protocol_errors, 1);
    scene.stop();
}

#[test]
fn a_silent_client_is_served_after_any_time() {
    let scene = Scene::with(Limits {
        handshake_ms: 50,
        frame_progress_ms: 50,
        ..Limits::default()
    });
    for endpoint in scene.endpoints() {
        for format in BOTH {
            let mut silent = Old::connect(format, &endpoint);
            // The time of a handshake has passed when this one is told so, which came later.
            let mut late = Raw::open(&scene.running.path);
            late.stream.write_all(&PREFACE).unwrap();
            assert_eq!(late.goodbye().0, CloseReason::Timeout);
            silent.settle();
            // And between two messages as well; only one that has begun is timed.
            let mut late = Raw::open(&scene.running.path);
            late.stream.write_all(&PREFACE).unwrap();
            assert_eq!(late.goodbye().0, CloseReason::Timeout);
            silent.settle();
            let message = silent.encoded(&json!({"list": []}));
            silent.send(&message[..5]);
            assert_eq!(silent.try_hear(), None, "{format:?}");
        }
    }
    scene.stop();
}

#[test]
fn connections_are_limited_and_their_places_come_back() {
    let scene = Scene::with(Limits {
        connections: 8,
        user_part: 1,
        ..Limits::default()
    });
    for format in BOTH {
        // A process alone has half of what its user has.
        let mut olds: Vec<_> = (0..3).map(|_| scene.old(format)).collect();
        olds.push(scene.ending_by_halves(format));
        olds.iter_mut().for_each(Old::settle);
        let mut refused = scene.old(format);
        let question = refused.encoded(&json!({"list": []}));
        refused.send(&question);
        assert_eq!(refused.try_hear(), None, "it gets no byte that it cannot read");
        scene.old(format).ends();
        let mut native = Raw::open(&scene.running.path);
        native.greet("");
        let (reason, text) = native.goodbye();
        assert!(
            reason == CloseReason::TooMany && text.contains("limits.connections"),
            "{text}"
        );
        olds.iter_mut().for_each(Old::settle);
        olds.pop().unwrap().end_sending();
        drop(olds);
        until("all have gone", || scene.running.handle.levels().connections == 0);
    }
    scene.stop();
}

#[test]
fn open_calls_are_limited_and_answered() {
    let scene = Scene::with(Limits {
        open_calls: 4,
        ..Limits::default()
    });
    let mut native = scene.native();
    native.register("o");
    for format in BOTH {
        let mut old = scene.old(format);
        (0..6).for_each(|n| old.call("o", "m", &json!(n)));
        let calls: Vec<_> = (0..4).map(|_| native.expect(Kind::Call)).collect();
        native.ping();
        assert!(native.kept().is_empty(), "the others are not told");
        for call in calls {
            native.reply(&call, b"x");
        }
        let answers: Vec<_> = (0..6).map(|_| old.answer()).collect();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
        old.settle();
    }
    scene.stop();
}

/// However much it has asked, a client is heard, and its end is noticed.
#[test]
fn who_has_asked_much_is_heard_and_missed() {
    let scene = Scene::with(Limits {
        open_calls: 1_500,
        ..Limits::default()
    });
    for format in BOTH {
        let (mut old, mut other, mut native) =
            (scene.old(format), scene.old(Format::Lengths), scene.native());
        let slow = format!("slow {format:?}");
        native.register(&slow);
        assert!(old.register("own"));
        for n in 0..2_000 {
            old.call(&slow, "m", &json!(n));
        }
        (0..1_500).for_each(|_| drop(native.expect(Kind::Call)));
        if format == Format::Lengths {
            // Beyond the limit they are refused; it is no reason to be deaf to a call.
            (0..500).for_each(|_| assert!(old.answer().is_err()));
            other.call("own", "m", &json!(7));
            let call = old.called();
            old.reply(&call, &json!(8));
            assert_eq!(other.answer(), Ok(json!(8)));
        }
        drop(old);
        let gone = |other: &mut Old| {
            other.say(&json!({"HasObject": {"object_name": "own"}}));
            other.hear()["HasObjectResult"]["exists"] == json!(false)
        };
        until("the name is free", || gone(&mut other));
    }
    scene.stop();
}

/// What others have for a worker is no reason not to hear its answers.
#[test]
fn a_worker_with_megabytes_of_calls_goes_on() {
    let scene = Scene::start();
    let text = "x".repeat(30_000);
    for endpoint in scene.crowded() {
        let mut worker = Old::connect(Format::Lengths, &endpoint);
        assert!(worker.register("echo"));
        let served = std::thread::spawn(move || {
            for _ in 0..60 * 5 {
                let call = worker.called();
                let args = call.args.clone();
                worker.reply(&call, &args);
            }
        });
        let callers: Vec<_> = (0..60)
            .map(|n| {
                let (mut caller, value) = (Old::connect(Format::Lengths, &endpoint), json!([n, text]));
                std::thread::spawn(move || {
                    for _ in 0..5 {
                        assert_eq!(caller.remote_call("echo", "m", &value), Ok(value.clone()));
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        served.join().unwrap();
    }
    scene.stop();
}

/// Programs that publish what they hear, and write without reading meanwhile.
#[test]
fn who_hears_what_it_publishes_goes_on() {
    let scene = Scene::start();
    let both: Vec<_> = (0..2)
        .map(|n| {
            let mut old = scene.old(Format::Lengths);
            old.subscribe("s", "t");
            std::thread::spawn(move || {
                let text = "x".repeat(1_000);
                for count in 0..5_000 {
                    old.publish("s", "t", &json!([n, count, text]));
                }
                old
            })
        })
        .collect();
    for publisher in both {
        drop(publisher.join().unwrap());
    }
    scene.stop();
}

/// Requests without an end, answers that nobody reads, and a queue behind one slow call: nothing of it is kept without bound.
#[test]
fn what_an_old_client_piles_up_is_bounded() {
    let scene = Scene::start();
    let mut native = scene.native();
    native.register("never");
    for format in BOTH {
        let mut old = scene.old(format);
        old.call("never", "m", &Value::Null);
        let call = native.expect(Kind::Call);
        let question = match format {
            Format::Lengths => old.encoded(&json!({"Subscribe": {"object_name": "s", "topic": "t"}})),
            Format::Documents => old.encoded(&json!({"event": "e", "result": 1})),
        };
        let many = question.repeat(3_000);
        let sender = std::thread::spawn(move || {
            old.send(&many);
            old
        });
        native.ping();
        native.reply(&call, b"at last");
        let mut old = sender.join().unwrap();
        assert_eq!(old.answer(), Ok(json!("at last")));
        // Who publishes on and on does not wait to be told so.
        let told = if format == Format::Lengths { 3_000 } else { 0 };
        for _ in 0..told {
            let heard = old.hear();
            assert!(heard.get("Subscribed").is_some(), "{heard}");
        }
        old.settle();
    }
    scene.stop();
}

/// Who does not read its answers is not read either, and loses none of them.
#[test]
fn answers_that_nobody_reads_are_not_made_without_end() {
    const MOST: usize = 64 << 20;
    for format in BOTH {
        let scene = Scene::with(Limits {
            frame_progress_ms: 600_000,
            ..Limits::default()
        });
        let (mut old, mut native) = (scene.old(format), scene.native());
        let question = old.encoded(&match format {
            Format::Lengths => json!({"HasObject": {"object_name": "nobody"}}),
            Format::Documents => json!({"object": "nobody", "method": "m"}),
        });
        let questions = question.repeat(64);
        let (mut sent, mut full) = (0, 0);
        while full < 1_000 {
            assert!(sent < MOST, "it is read without end");
            match old.send_what_goes(&questions[sent % questions.len()..]) {
                0 => {
                    native.ping();
                    full += 1;
                }
                count => (sent, full) = (sent + count, 0),
            }
        }
        // At most limits.outbox_bytes of answers, and what is on its way.
        let levels = scene.running.handle.levels();
        assert!(levels.charged_memory_bytes < 16 << 20, "{levels:?}");
        for _ in 0..sent / question.len() {
            old.hear();
        }
        scene.stop();
    }
}

#[test]
fn each_format_can_be_switched_off() {
    for format in BOTH {
        let only = Dialects {
            ipc_broker: format == Format::Lengths,
            ipc_server: format == Format::Documents,
        };
        let running = Running::built(move || Broker::builder().dialects(only));
        let endpoint = running.handle.endpoints()[0].clone();
        for other in BOTH {
            let mut old = Old::connect(other, &endpoint);
            if other == format {
                old.settle();
            } else {
                let message = old.encoded(&json!({"list": []}));
                old.send(&message);
                assert_eq!(old.try_hear(), None, "closed unanswered");
            }
        }
        running.stop();
    }
}

/// Who asks on and on without reading stops nobody else.
#[test]
fn a_flood_of_requests_that_are_refused_leaves_the_others_served() {
    let scene = Scene::with(Limits {
        watches: 4,
        names: 4,
        ..Limits::default()
    });
    let mut other = scene.old(Format::Lengths);
    for said in [
        json!({"list": ["nope"]}),
        json!({"reg_object": "o"}),
        json!({"object": "nope", "method": "m"}),
    ] {
        let mut flood = scene.old(Format::Documents);
        // Behind one that is not answered before its time.
        flood.say(&json!({"list": ["never"]}));
        let bytes = flood.encoded(&said).repeat(20_000);
        let mut sent = 0;
        for _ in 0..50 {
            sent += flood.send_what_goes(&bytes[sent..]);
            other.settle();
        }
        flood.hang_up();
    }
    other.settle();
    scene.stop();
}

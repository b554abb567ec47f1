//! How an old client's connection ends, and what it is told.

use super::Scene;
use super::old::BOTH;
use crate::until::until;
use actix_ipc::actors::EndReason;
use actix_ipc::message::{Draft, Flags, Kind};
use serde_json::{Value, json};

#[test]
fn a_drain_answers_what_is_open_and_then_closes() {
    let scene = Scene::start();
    let [mut worker, mut native] = scene.running.connect_all();
    worker.register("o");
    let mut olds = BOTH.map(|format| scene.old(format));
    let mut owner = scene.old(BOTH[0]);
    assert!(owner.register("old"));
    let calls: Vec<_> = olds
        .iter_mut()
        .map(|old| {
            old.call("o", "m", &Value::Null);
            worker.expect(Kind::Call)
        })
        .collect();
    let id = native.call("old", Flags::NONE, b"");
    let called = owner.called();
    let idle = BOTH.map(|format| {
        let mut old = scene.old(format);
        old.settle();
        old
    });
    scene.running.begin_stop();
    for mut old in idle {
        assert_eq!(old.try_hear(), None);
    }
    for call in &calls {
        worker.reply(call, b"in time");
    }
    owner.reply(&called, &json!("too"));
    for old in &mut olds {
        assert_eq!(old.answer(), Ok(json!("in time")));
        assert_eq!(old.try_hear(), None);
    }
    assert_eq!(native.answer(id).json(), json!("too"));
    assert_eq!(owner.try_hear(), None);
    assert_eq!(scene.running.ended(), EndReason::Drained);
}

#[cfg(feature = "cli")]
#[test]
fn a_killed_broker_is_the_end_and_the_next_one_serves() {
    let mut broker = crate::support::Broker::start();
    let endpoint = broker.endpoint().parse().unwrap();
    let mut olds = BOTH.map(|format| {
        let mut old = super::Old::connect(format, &endpoint);
        assert!(old.register(&format!("{format:?}")));
        old.subscribe("s", "t");
        old
    });
    let mut caller = super::Old::connect(BOTH[0], &endpoint);
    caller.call("Documents", "m", &json!(1));
    assert_eq!(olds[1].called().args, json!(1));
    broker.process.kill();
    for old in olds.iter_mut().chain([&mut caller]) {
        assert_eq!(old.try_hear(), None);
    }
    drop((olds, caller));
    let broker = broker.restart();
    for format in BOTH {
        let mut old = super::Old::connect(format, &endpoint);
        assert!(old.register(&format!("{format:?}")));
        old.settle();
    }
    drop(broker);
}

#[test]
fn who_sends_nothing_more_gets_its_answers_first() {
    let scene = Scene::start();
    let mut worker = scene.native();
    worker.register("o");
    for format in BOTH {
        let mut old = scene.ending_by_halves(format);
        assert!(old.register("mine"));
        old.call("o", "m", &Value::Null);
        let call = worker.expect(Kind::Call);
        old.end_sending();
        until("the name is free", || worker.register("mine").kind == Kind::Done);
        worker.ask(&Draft::new(Kind::Unregister, 77).key(b"mine"));
        worker.reply(&call, b"x");
        assert_eq!(old.answer(), Ok(json!("x")));
        assert_eq!(old.try_hear(), None);
        drop(old);
        worker.after_registry();
    }
    scene.stop();
}

#[test]
fn a_death_at_any_byte_leaves_nothing() {
    let scene = Scene::start();
    let mut native = scene.native();
    for format in BOTH {
        let probe = scene.old(format);
        let bytes = [
            probe.encoded(&match format {
                super::Format::Lengths => json!({"RegisterObject": {"object_name": "x"}}),
                super::Format::Documents => json!({"reg_object": "x"}),
            }),
            probe.encoded(&match format {
                super::Format::Lengths => json!({"Subscribe": {"object_name": "s", "topic": "t"}}),
                super::Format::Documents => json!({"event_name": "t"}),
            }),
        ]
        .concat();
        drop(probe);
        for length in 0..=bytes.len() {
            scene.old(format).send(&bytes[..length]);
        }
        loop {
            let metrics = scene.running.handle.metrics();
            if metrics.connections_opened == metrics.connections_closed + 1 {
                break;
            }
            native.after_registry();
        }
        assert_eq!(scene.running.handle.metrics().panics, 0);
        assert_eq!(native.register("x").kind, Kind::Done, "its name is free");
        native.ask(&Draft::new(Kind::Unregister, 77).key(b"x"));
    }
    scene.stop();
}

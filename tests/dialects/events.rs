//! Events between old and new clients.

use super::Scene;
use super::old::{BOTH, Format};
use actix_ipc::config::Limits;
use actix_ipc::message::{Draft, Encoding, Kind};
use serde_json::{Value, json};

#[test]
fn events_cross_in_both_directions() {
    let scene = Scene::start();
    for format in BOTH {
        let [mut old, mut publisher] = std::array::from_fn(|_| scene.old(format));
        let mut native = scene.native();
        let object = old.place("the sensor").to_owned();
        old.subscribe(&object, "a topic");
        let subscription = native.subscribe(&object, "a topic");
        for value in [json!({"n": 1}), json!("25.6°C"), Value::Null] {
            publisher.publish(&object, "a topic", &value);
            assert_eq!(old.event(), ("a topic".to_owned(), value.clone()));
            let event = native.expect(Kind::Event);
            assert_eq!(
                (event.id, &event.payload[..], event.encoding),
                (subscription, value.to_string().as_bytes(), Encoding::JSON)
            );
        }
        native.publish(&object, "a topic", b"raw text");
        assert_eq!(old.event().1, json!("raw text"));
        // What JSON cannot say is missed, counted, and in nobody's way.
        let before = scene.running.handle.metrics().dialect_unshown;
        native.publish(&object, "a topic", b"\xff");
        let id = native.id();
        let deep = "[".repeat(200) + &"]".repeat(200);
        let publish = Draft::new(Kind::Publish, id).flags(actix_ipc::message::Flags::ACK);
        native.ask(
            &publish
                .pair(&object, "a topic")
                .payload(Encoding::JSON, deep.as_bytes()),
        );
        native.publish(&object, "a topic", b"next");
        assert_eq!(old.event().1, json!("next"));
        assert_eq!(scene.running.handle.metrics().dialect_unshown, before + 2);
    }
    scene.stop();
}

#[test]
fn a_star_is_a_letter_in_an_old_topic() {
    let scene = Scene::start();
    for format in BOTH {
        let (mut old, mut native) = (scene.old(format), scene.native());
        let object = old.place("s").to_owned();
        for topic in ["*", "**", "a.*"] {
            old.subscribe(&object, topic);
        }
        for topic in ["a", "a.b", "x"] {
            native.publish(&object, topic, b"not this");
        }
        let mut publisher = scene.old(format);
        publisher.publish(&object, "**", &json!(1));
        publisher.publish(&object, "*", &json!(2));
        assert_eq!(old.event(), ("**".to_owned(), json!(1)));
        assert_eq!(old.event(), ("*".to_owned(), json!(2)));
    }
    scene.stop();
}

#[test]
fn an_event_is_heard_once_however_often_it_was_asked_for() {
    let scene = Scene::start();
    for format in BOTH {
        let mut old = scene.old(format);
        let object = old.place("s").to_owned();
        (0..5).for_each(|_| old.subscribe(&object, "t"));
        let mut publisher = scene.old(format);
        publisher.publish(&object, "t", &json!(1));
        publisher.publish(&object, "t", &json!(2));
        assert_eq!((old.event().1, old.event().1), (json!(1), json!(2)));
    }
    scene.stop();
}

/// Its own events come back to a client in the place behind the answers that it waits for.
#[test]
fn events_wait_for_the_answers_that_they_would_be_taken_for() {
    let scene = Scene::start();
    for format in BOTH {
        let (mut old, mut native) = (scene.old(format), scene.native());
        native.register("o");
        let object = old.place("s").to_owned();
        old.subscribe(&object, "t");
        for n in 0..3 {
            old.call("o", "m", &json!(n));
            let call = native.expect(Kind::Call);
            native.publish(&object, "t", b"meanwhile");
            native.reply(&call, b"answer");
            assert_eq!(old.answer(), Ok(json!("answer")));
            assert_eq!(old.event().1, json!("meanwhile"));
        }
    }
    scene.stop();
}

/// Its format has no credit: who publishes more than a subscriber takes is not read, and loses nothing.
#[test]
fn a_publisher_beyond_its_window_waits() {
    let scene = Scene::with(Limits {
        publish_window: 8_192,
        ..Limits::default()
    });
    for format in BOTH {
        let (mut old, mut native) = (scene.old(format), scene.native());
        let object = old.place("s").to_owned();
        native.subscribe(&object, "t");
        let publisher = std::thread::spawn(move || {
            let text = "x".repeat(1_000);
            for n in 0..2_000 {
                // An acknowledgement is read where there is one: who never does is not read either once its socket is full.
                old.publish(&object, "t", &json!([n, text]));
            }
            old
        });
        for n in 0..2_000 {
            let event = native.expect(Kind::Event);
            let value: Value = serde_json::from_slice(&event.payload).unwrap();
            assert_eq!(value[0], json!(n));
        }
        publisher.join().unwrap().settle();
    }
    scene.stop();
}

/// As `rob send` does: what was written before the end is published.
#[test]
fn who_leaves_at_once_has_published() {
    let scene = Scene::start();
    for format in BOTH {
        let mut native = scene.native();
        let object = scene.old(format).place("s").to_owned();
        native.subscribe(&object, "t");
        for n in 0..20 {
            let mut old = scene.ending_by_halves(format);
            match format {
                Format::Lengths => old.publish(&object, "t", &json!(n)),
                Format::Documents => {
                    old.say(&json!({"event": "t", "result": n}));
                }
            }
            old.end_sending();
            assert_eq!(native.expect(Kind::Event).payload, n.to_string().as_bytes());
        }
    }
    scene.stop();
}

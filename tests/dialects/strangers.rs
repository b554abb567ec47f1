//! Old clients over TCP, whose process the system does not tell: silent ones, many idle ones, and those that leave.

use super::old::{BOTH, Format, Old};
use super::raw::Raw;
use super::{Scene, call_json};
use crate::until::until;
use actix_ipc::Endpoint;
use actix_ipc::config::Limits;
use actix_ipc::error::CloseReason;
use actix_ipc::message::Kind;
use actix_ipc::message::handshake::PREFACE;
use serde_json::{Value, json};
use std::io::Write;

fn tcp(scene: &Scene) -> Endpoint {
    scene
        .endpoints()
        .into_iter()
        .find(|endpoint| matches!(endpoint, Endpoint::Tcp(_)))
        .expect("an endpoint of TCP")
}

#[test]
fn who_is_silent_is_in_no_handshake() {
    let scene = Scene::with(Limits {
        handshakes: 8,
        user_part: 1,
        ..Limits::default()
    });
    let levels = || scene.running.handle.levels();
    let mut silent: Vec<_> = (0..40).map(|n| Old::connect(BOTH[n % 2], &tcp(&scene))).collect();
    until("all are there", || levels().connections >= 40);
    assert_eq!(levels().charged_handshakes, 0);
    for old in silent.iter_mut().rev() {
        old.settle();
    }
    for format in BOTH {
        Old::connect(format, &tcp(&scene)).settle();
    }
    // Who has begun is in one: half of them are for one process.
    let begun: Vec<_> = (0..4)
        .map(|_| {
            let mut raw = Raw::open(&scene.running.path);
            raw.stream.write_all(&PREFACE).unwrap();
            raw
        })
        .collect();
    until("they have begun", || levels().charged_handshakes >= 4);
    let mut late = Raw::open(&scene.running.path);
    late.stream.write_all(&PREFACE).unwrap();
    let (reason, text) = late.goodbye();
    assert_eq!(reason, CloseReason::TooMany);
    assert!(text.contains("limits.handshakes"), "{text}");
    drop(begun);
    until("they have gone", || levels().charged_handshakes == 0);
    scene.native().ping();
    scene.stop();
}

#[test]
fn what_a_client_asked_that_is_gone_is_cancelled() {
    let scene = Scene::with(Limits {
        dialect_linger_ms: 50,
        ..Limits::default()
    });
    let mut worker = scene.native();
    worker.register("hangs");
    for (count, format) in (1..).zip(BOTH) {
        let mut old = Old::connect(format, &tcp(&scene));
        old.call("hangs", "m", &json!(1));
        let call = worker.expect(Kind::Call);
        drop(old);
        assert_eq!(worker.expect(Kind::Cancel).id, call.id, "{format:?}");
        until("it has gone", || scene.running.handle.levels().connections <= 1);
        assert_eq!(scene.running.handle.metrics().dialect_cancelled, count);
    }
    scene.stop();
}

#[test]
fn idle_ones_leave_the_others_the_memory_that_they_need() {
    let scene = Scene::with(Limits {
        // 8 MiB for one process.
        memory_bytes_total: 64 << 20,
        ..Limits::default()
    });
    let topic = json!({"object_name": "idle", "topic": "t"});
    let mut idle: Vec<_> = (0..100)
        .map(|_| {
            let mut old = Old::connect(Format::Lengths, &tcp(&scene));
            old.say(&json!({"Subscribe": topic}));
            old
        })
        .collect();
    for old in &mut idle {
        assert_eq!(old.hear(), json!({"Subscribed": topic}));
    }
    let mut owner = Old::connect(Format::Documents, &tcp(&scene));
    assert!(owner.register("o"));
    for length in [60_000, 200_000, 1_000_000] {
        let mut caller = Old::connect(Format::Documents, &tcp(&scene));
        caller.call("o", "m", &Value::Null);
        let called = owner.called();
        owner.reply(&called, &json!("x".repeat(length)));
        assert_eq!(caller.answer(), Ok(json!("x".repeat(length))));
    }
    assert_eq!(scene.running.handle.metrics().closed_over_limit, 0);
    scene.stop();
}

#[test]
#[cfg_attr(
    windows,
    ignore = "Windows names the process at the other end of TCP, and the part of the memory that is kept is kept from processes without a name"
)]
fn as_many_as_may_connect_leave_room_for_a_frame() {
    let scene = Scene::with(Limits {
        // 2 MiB for one process: 64 connections, of which the last eighth is kept for what they say.
        memory_bytes_total: 16 << 20,
        ..Limits::default()
    });
    let mut native = scene.native();
    native.register("o");
    let metrics = || scene.running.handle.metrics();
    let mut olds = Vec::new();
    while metrics().connections_refused == 0 {
        let mut old = Old::connect(Format::Lengths, &tcp(&scene));
        let question = json!({"HasObject": {"object_name": "o"}});
        let question = old.encoded(&question);
        old.send(&question);
        let before = olds.len() as u64;
        until("it is let in or refused", || {
            metrics().connections_opened > before + 1 || metrics().connections_refused > 0
        });
        if metrics().connections_refused == 0 {
            old.hear();
            olds.push(old);
        }
    }
    assert!((50..=56).contains(&olds.len()), "{}", olds.len());
    let value = json!("x".repeat(60_000));
    for old in &mut olds {
        old.call("o", "m", &value);
        let call = native.expect(Kind::Call);
        native.reply(&call, b"taken");
        assert_eq!(old.answer(), Ok(json!("taken")));
    }
    scene.stop();
}

/// Where the kernel still names who has closed a socket they are heard, unless the broker comes too late; nobody is lost uncounted.
#[test]
fn who_leaves_at_once_over_tcp_is_heard_or_counted() {
    const COUNT: u64 = 50;
    let scene = Scene::start();
    let mut native = scene.native();
    native.subscribe("s", "t");
    for n in 0..COUNT {
        let mut old = Old::connect(Format::Lengths, &tcp(&scene));
        old.publish("s", "t", &json!(n));
    }
    let metrics = || scene.running.handle.metrics();
    until("all have gone", || {
        metrics().connections_closed + metrics().connections_refused >= COUNT
    });
    native.after_hub();
    let heard = native.kept();
    let heard = heard.iter().filter(|got| got.kind == Kind::Event).count() as u64;
    assert_eq!(heard + metrics().unidentified_left, COUNT, "{heard} were heard");
    assert_eq!(metrics().unproven_peers, 0, "nobody has guessed a token");
    scene.stop();
}

#[test]
fn it_is_told_what_each_connection_speaks() {
    let scene = Scene::start();
    let mut native = scene.native();
    let olds = BOTH.map(|format| {
        let mut old = scene.old(format);
        old.settle();
        old
    });
    let told = call_json(&mut native, "sys.broker", "connections", &json!({})).json();
    let mut formats: Vec<_> = told["connections"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["local"] == false)
        .map(|row| row["format"].as_str().unwrap().to_owned())
        .collect();
    formats.sort();
    assert_eq!(formats, ["ipc-broker", "ipc-server", "native"]);
    let counts = || {
        let metrics = scene.running.handle.metrics();
        (metrics.dialect_ipc_broker, metrics.dialect_ipc_server)
    };
    assert_eq!(counts(), (1, 1));
    drop(olds);
    until("both have gone", || counts() == (0, 0));
    scene.stop();
}

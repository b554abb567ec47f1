//! What the older broker of this kind (ipc-broker 1.1.5) gets wrong, each as a test that this one passes.
//!
//! The list of them is in `old_weaknesses/list.rs`; some are proven by tests of other files. A broker process, raw frames for what only a
//! bad client does, the client library for the rest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "old_weaknesses/list.rs"]
mod list;
#[cfg(target_os = "linux")]
#[path = "support/processes.rs"]
mod processes;
#[path = "support/raw.rs"]
mod raw;
mod support;

use actix_ipc::async_trait;
use actix_ipc::client::{Handler, HandlerError, IncomingCall, IpcClient, Response};
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Payload};
use raw::{Got, Raw};
use std::time::Duration;
use support::Broker;

#[track_caller]
fn failed(got: &Got, code: ErrorCode, may_have_run: bool) {
    assert_eq!(got.error(), (code, may_have_run), "{}", got.text());
}

#[test]
fn a_name_cannot_be_taken_from_its_owner() {
    let broker = Broker::start_raw();
    let [mut owner, mut thief, mut caller] = [(); 3].map(|()| Raw::connect(&broker.socket()));
    assert_eq!(owner.register("math").kind, Kind::Done);
    let pid = format!("process {}", std::process::id());
    for flags in [Flags::NONE, Flags::REPLACE, Flags::WORKER_GROUP] {
        let got = thief.register_as("math", flags, 0);
        failed(&got, ErrorCode::NameTaken, false);
        assert!(got.text().contains(&pid), "it says whose it is: {}", got.text());
    }
    let id = thief.id();
    let gone = thief.ask(&Draft::new(Kind::Unregister, id).key(b"math"));
    failed(&gone, ErrorCode::NotRegistered, false);
    let id = caller.call("math", Flags::NONE, b"2+2");
    let call = owner.expect(Kind::Call);
    owner.reply(&call, b"4");
    assert_eq!(caller.answer(id).payload, b"4");
    assert_eq!(thief.kept(), [], "the thief hears nothing of it");
}

#[test]
fn an_answer_counts_only_from_who_was_called_and_once() {
    let broker = Broker::start_raw();
    let [mut owner, mut forger, mut caller] = [(); 3].map(|()| Raw::connect(&broker.socket()));
    owner.register("bank");
    let id = caller.call("bank", Flags::NONE, b"balance");
    let call = owner.expect(Kind::Call);
    // The broker's number, the caller's number, and all numbers around them.
    for guess in (0..50).chain([call.id, id, call.id + 1]) {
        forger.send(&Draft::new(Kind::Reply, guess).payload(Encoding::RAW, b"forged"));
        forger.send(&Draft::new(Kind::Error, guess).aux(1));
    }
    forger.ping();
    caller.send(&Draft::new(Kind::Reply, call.id).payload(Encoding::RAW, b"forged by itself"));
    caller.ping();
    owner.reply(&call, b"true");
    owner.reply(&call, b"a second answer");
    owner.ping();
    assert_eq!(caller.answer(id).payload, b"true");
    caller.ping();
    assert_eq!(caller.kept(), [], "one answer for one call");
}

#[test]
fn equal_call_numbers_of_two_callers_do_not_meet() {
    let broker = Broker::start_raw();
    let [mut owner, mut one, mut two] = [(); 3].map(|()| Raw::connect(&broker.socket()));
    owner.register("echo");
    for (caller, text) in [(&mut one, b"one"), (&mut two, b"two")] {
        caller.send(
            &Draft::new(Kind::Call, 77)
                .pair("echo", "m")
                .payload(Encoding::RAW, text),
        );
    }
    let calls = [owner.expect(Kind::Call), owner.expect(Kind::Call)];
    assert_ne!(calls[0].id, calls[1].id, "the callee can tell them apart");
    // The later one is answered first.
    for call in calls.iter().rev() {
        owner.reply(call, &call.payload);
    }
    assert_eq!(one.answer(77).payload, b"one");
    assert_eq!(two.answer(77).payload, b"two");
    // The same number again while it is open is the caller's own fault, and only its own.
    one.send_all(&[
        Draft::new(Kind::Call, 78).pair("echo", "m"),
        Draft::new(Kind::Call, 78).pair("echo", "m"),
    ]);
    assert_eq!(one.goodbye().0, CloseReason::Protocol);
    two.ping();
}

#[test]
fn callers_of_a_dead_worker_are_told() {
    let broker = Broker::start_raw();
    let [mut worker, mut caller] = [(); 2].map(|()| Raw::connect(&broker.socket()));
    worker.register("mortal");
    let calls: Vec<u64> = (0..100)
        .map(|_| caller.call("mortal", Flags::NONE, b""))
        .collect();
    for _ in 0..100 {
        worker.expect(Kind::Call);
    }
    drop(worker);
    for id in calls {
        failed(&caller.answer(id), ErrorCode::CalleeGone, true);
    }
    let id = caller.call("mortal", Flags::NONE, b"");
    failed(&caller.answer(id), ErrorCode::NoSuchObject, false);
}

#[test]
fn a_call_without_an_object_or_a_method_fails_at_once() {
    let broker = Broker::start_raw();
    let mut caller = Raw::connect(&broker.socket());
    let id = caller.call("nobody", Flags::NONE, b"");
    failed(&caller.answer(id), ErrorCode::NoSuchObject, false);
    let id = caller.id();
    let unknown = caller.ask(&Draft::new(Kind::Call, id).pair("sys.broker", "no such method"));
    assert_eq!(unknown.error().0, ErrorCode::NoSuchMethod);
}

/// What the broker keeps for everybody, in bytes.
fn memory(raw: &mut Raw) -> u64 {
    let id = raw.id();
    let status = raw.ask(&Draft::new(Kind::Call, id).pair("sys.broker", "status"));
    status.json()["accounts"]["memory_bytes_total"]["held"]
        .as_u64()
        .unwrap()
}

#[test]
fn failed_calls_and_empty_topics_leave_nothing_behind() {
    let broker = Broker::start_raw_with(|command| {
        command
            .env("IPC_BROKER_LIMITS__OPEN_CALLS", "10")
            .env("IPC_BROKER_LIMITS__SUBSCRIPTIONS", "10");
    });
    let mut raw = Raw::connect(&broker.socket());
    let before = memory(&mut raw);
    for round in 0..2_000 {
        let id = raw.call("nobody", Flags::NONE, b"");
        failed(&raw.answer(id), ErrorCode::NoSuchObject, false);
        let id = raw.subscribe(&format!("object {round}"), "topic");
        assert_eq!(raw.ask(&Draft::new(Kind::Unsubscribe, id)).kind, Kind::Done);
    }
    assert_eq!(memory(&mut raw), before);
}

#[test]
fn a_client_that_hears_itself_does_not_lock_itself() {
    let broker = Broker::start_raw();
    let mut raw = Raw::connect(&broker.socket());
    let subscription = raw.subscribe("self", "t");
    // Ten times what the older one's queues held, and all of it before anything is read.
    let bytes: Vec<u8> = (0..640_u32)
        .flat_map(|number| {
            let draft = Draft::new(Kind::Publish, 0).pair("self", "t");
            draft.payload(Encoding::RAW, &number.to_le_bytes()).to_vec()
        })
        .collect();
    std::io::Write::write_all(&mut raw.stream, &bytes).unwrap();
    for number in 0..640_u32 {
        let event = std::iter::repeat_with(|| raw.read())
            .find(|got| got.kind == Kind::Event)
            .unwrap();
        assert_eq!((event.id, event.aux), (subscription, 0));
        assert_eq!(event.payload, number.to_le_bytes());
    }
}

#[test]
fn who_closes_its_end_blocks_nobody() {
    let broker = Broker::start_raw();
    let [mut publisher, mut healthy] = [(); 2].map(|()| Raw::connect(&broker.socket()));
    let subscription = healthy.subscribe("s", "t");
    for _ in 0..50 {
        let mut dead = Raw::connect(&broker.socket());
        dead.subscribe("s", "t");
        dead.register(&format!("dead {}", dead.peer));
        dead.stream.shutdown(std::net::Shutdown::Read).unwrap();
        for _ in 0..20 {
            assert_eq!(publisher.publish("s", "t", b"x").kind, Kind::Accepted);
            assert_eq!(healthy.expect(Kind::Event).id, subscription);
        }
        let id = publisher.call(&format!("dead {}", dead.peer), Flags::NONE, b"");
        drop(dead);
        let (code, _) = publisher.answer(id).error();
        assert!(
            matches!(code, ErrorCode::CalleeGone | ErrorCode::NoSuchObject),
            "{code}"
        );
    }
}

/// Echoes; `slow` waits until it is told, `panic` panics, `large` answers with a mebibyte.
struct Object {
    gate: tokio::sync::Semaphore,
}

#[async_trait]
impl Handler for Object {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        match &*call.context.method {
            "slow" => {
                self.gate.acquire().await.unwrap().forget();
                Ok(Response::payload(call.payload))
            }
            "open" => {
                self.gate.add_permits(1);
                Ok(Response::payload(call.payload))
            }
            "panic" => panic!("on purpose"),
            "large" => Ok(Response::payload(Payload::raw(vec![7; 1024 * 1024]))),
            _ => Ok(Response::payload(call.payload)),
        }
    }
}

async fn client(broker: &Broker) -> IpcClient {
    IpcClient::connect_to(broker.endpoint().parse().unwrap())
        .await
        .unwrap()
}

async fn call(client: &IpcClient, method: &str, text: &str) -> Result<Payload, actix_ipc::CallError> {
    let payload = Payload::raw(text.to_owned().into_bytes());
    let answer = client.call("object", method).send_payload(payload);
    tokio::time::timeout(Duration::from_secs(20), answer.into_future())
        .await
        .expect("an answer")
}

#[tokio::test]
async fn events_between_call_and_answer_stay_events() {
    let broker = Broker::start_raw();
    let (worker, other) = (client(&broker).await, client(&broker).await);
    let gate = tokio::sync::Semaphore::new(0);
    let _registration = worker.register("object", Object { gate }).await.unwrap();
    let mut events = other.subscribe("object", "changed").await.unwrap();
    let slow = tokio::spawn({
        let other = other.clone();
        async move { call(&other, "slow", "late").await }
    });
    for number in 0..50_u32 {
        let sent = worker
            .publish("object", "changed", &number)
            .acknowledged()
            .await
            .unwrap();
        assert_eq!(sent, 1);
        let event = tokio::time::timeout(Duration::from_secs(20), events.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((event.decode::<u32>().unwrap(), event.missed), (number, 0));
        let text = format!("call {number}");
        assert_eq!(call(&other, "echo", &text).await.unwrap().bytes, text.as_bytes());
    }
    assert!(!slow.is_finished());
    call(&other, "open", "").await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap().bytes, &b"late"[..]);
}

#[tokio::test]
async fn a_thousand_unread_events_are_all_there() {
    let broker = Broker::start_raw();
    let (publisher, subscriber) = (client(&broker).await, client(&broker).await);
    let mut events = subscriber.subscribe("object", "changed").await.unwrap();
    for number in 0..1_000_u32 {
        publisher.publish("object", "changed", &number).await.unwrap();
    }
    publisher.flush().await.unwrap();
    for number in 0..1_000_u32 {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((event.decode::<u32>().unwrap(), event.missed), (number, 0));
    }
}

#[tokio::test]
async fn slow_calls_panics_and_large_answers_stop_no_other_call() {
    let broker = Broker::start_raw();
    let (worker, other) = (client(&broker).await, client(&broker).await);
    let gate = tokio::sync::Semaphore::new(0);
    let _registration = worker.register("object", Object { gate }).await.unwrap();
    let slow = tokio::spawn({
        let other = other.clone();
        async move { call(&other, "slow", "late").await }
    });
    assert_eq!(
        call(&other, "panic", "").await.unwrap_err().code,
        ErrorCode::HandlerPanicked
    );
    assert_eq!(call(&other, "large", "").await.unwrap().bytes.len(), 1024 * 1024);
    assert_eq!(
        call(&other, "echo", "still here").await.unwrap().bytes,
        &b"still here"[..]
    );
    call(&other, "open", "").await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap().bytes, &b"late"[..]);
}

#[test]
fn no_name_and_no_text_starts_anything() {
    let broker = Broker::start_raw();
    let mark = broker.folder().join("started");
    let command = format!("touch {}", mark.display());
    let mut raw = Raw::connect(&broker.socket());
    for name in ["ssh.service", "$(id)", "; reboot", &command] {
        assert_eq!(raw.register(name).kind, Kind::Done, "a name is a name");
    }
    let mut caller = Raw::connect(&broker.socket());
    for name in ["dbus.service", "`id`"] {
        let id = caller.call(name, Flags::NONE, command.as_bytes());
        failed(&caller.answer(id), ErrorCode::NoSuchObject, false);
    }
    let id = caller.call(&command, Flags::NONE, b"");
    let call = raw.expect(Kind::Call);
    raw.reply(&call, b"");
    caller.answer(id);
    assert!(!mark.exists());
    #[cfg(target_os = "linux")]
    assert_eq!(
        processes::children(broker.process.id()),
        [0; 0],
        "it has no child"
    );
}

#[test]
fn the_callee_knows_who_calls_from_the_kernel() {
    let broker = Broker::start_raw();
    let [mut owner, mut caller] = ["owner", "liar"].map(|name| Raw::connect_as(&broker.socket(), name));
    owner.register("door");
    caller.call("door", Flags::NONE, b"");
    let origin = owner.expect(Kind::Call).origin.expect("an origin");
    assert_eq!(origin.pid, std::process::id());
    assert_eq!(origin.uid, actix_ipc::transport::current_uid().unwrap());
    assert_eq!(origin.peer.0, caller.peer);
}

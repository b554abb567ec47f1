//! What a monitor is told of large messages, of what is refused, and at the end of a broker: nothing looks whole that is not.
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

#[path = "support/broker.rs"]
mod broker;
#[path = "support/watching.rs"]
mod watching;

use actix_ipc::HandlerError;
use actix_ipc::client::{Handler, IncomingCall, IpcClient, Response};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::Payload;
use actix_ipc::policy::{Policy, Right, Rule, Selection, Who};
use actix_ipc::transport::current_uid;
use async_trait::async_trait;
use broker::{Place, TestBroker};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use watching::{Watching, ask, row};

const LARGE: usize = 700_000;

/// Text, so that records have it as it is.
fn letters(length: usize) -> Bytes {
    (0..length)
        .map(|at| b'a' + u8::try_from(at.wrapping_mul(2_654_435_761) >> 24 & 15).unwrap())
        .collect::<Vec<_>>()
        .into()
}

/// Answers with what it got, as a stream twice.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        if call.context.streaming {
            let items = [call.payload.clone(), call.payload].map(Ok);
            return Ok(Response::stream(futures::stream::iter(items)));
        }
        Ok(Response::payload(call.payload))
    }
}

/// A client whose payloads go as regions from so many bytes on, where the system has them.
async fn client(broker: &TestBroker, regions_from: usize) -> IpcClient {
    let builder = IpcClient::builder().endpoint(broker.endpoint.clone());
    builder.regions_from(regions_from).connect().await.unwrap()
}

/// It is all of this payload, and says so by saying nothing.
#[track_caller]
fn is_whole(record: &Value, kind: &str, bytes: &Bytes) {
    assert_eq!(
        (&record["kind"], &record["bytes"]),
        (&json!(kind), &json!(bytes.len()))
    );
    for key in ["pieces", "truncated", "payload_hex"] {
        assert_eq!(record.get(key), None, "{key}");
    }
    assert!(
        record["payload"].as_str().unwrap().as_bytes() == &bytes[..],
        "other bytes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_are_told_whole_whichever_way_they_go() {
    let bytes = letters(LARGE);
    for regions_from in [usize::MAX, 256 * 1024] {
        let place = Place::new();
        let broker = place.start();
        let (worker, caller) = (
            client(&broker, regions_from).await,
            client(&broker, regions_from).await,
        );
        let _echo = worker.register("echo", Echo).await.unwrap();
        let mut events = worker.subscribe("s", "t").await.unwrap();
        let monitor = broker.client().await;
        let filter = json!({ "kinds": ["call", "reply", "event"], "payloads": 1_048_576 });
        let mut seen = Watching::start(&monitor, filter).await.unwrap();

        let call = caller.call("echo", "m").send_payload(Payload::raw(bytes.clone()));
        assert!(call.await.unwrap().bytes == bytes);
        is_whole(&seen.next().await, "call", &bytes);
        let reply = seen.next().await;
        is_whole(&reply, "reply", &bytes);
        assert_eq!((&reply["last"], reply["us"].is_u64()), (&json!(true), true));

        caller
            .publish_payload("s", "t", Payload::raw(bytes.clone()))
            .acknowledged()
            .await
            .unwrap();
        assert!(events.next().await.unwrap().payload.bytes == bytes);
        let event = seen.next().await;
        is_whole(&event, "event", &bytes);
        assert_eq!(event["subscribers"], 1);

        let mut stream = caller
            .call("echo", "m")
            .stream_payload(Payload::raw(bytes.clone()));
        while let Some(item) = stream.next().await {
            let item = item.unwrap().payload.bytes;
            assert!(item.is_empty() || item == bytes);
        }
        let call = seen.next().await;
        is_whole(&call, "call", &bytes);
        assert_eq!(call["stream"], true);
        let (first, second) = (seen.next().await, seen.next().await);
        is_whole(&first, "reply", &bytes);
        assert_eq!(first["last"], false);
        let mut items = vec![first, second];
        while items.last().unwrap()["last"] != true {
            items.push(seen.next().await);
        }
        is_whole(&items[1], "reply", &bytes);
        assert_eq!(seen.2, 0, "nothing was dropped");
        let objects = ask(&monitor, "objects", Value::Null).await;
        let echo = row(&objects, "objects", "name", "echo");
        assert_eq!(echo["bytes"], 2 * LARGE, "all pieces are counted: {echo}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_longer_than_asked_for_the_beginning_is_told_and_its_length() {
    let bytes = letters(LARGE);
    let place = Place::new();
    let broker = place.start();
    let (worker, caller) = (
        client(&broker, usize::MAX).await,
        client(&broker, usize::MAX).await,
    );
    let _echo = worker.register("echo", Echo).await.unwrap();
    let monitor = broker.client().await;
    for (payloads, shown) in [(1_000, Some(1_000)), (300_000, Some(300_000)), (0, None)] {
        let filter = json!({ "object": "echo", "payloads": payloads });
        let mut seen = Watching::start(&monitor, filter).await.unwrap();
        let call = caller.call("echo", "m").send_payload(Payload::raw(bytes.clone()));
        assert!(call.await.unwrap().bytes == bytes);
        for kind in ["call", "reply"] {
            let record = seen.next().await;
            assert_eq!((&record["kind"], &record["bytes"]), (&json!(kind), &json!(LARGE)));
            let payload = record["payload"].as_str().map(str::len);
            assert_eq!(
                (payload, record["truncated"] == true),
                (shown, shown.is_some()),
                "{kind}"
            );
            assert_eq!(record.get("pieces"), None, "its length is known");
        }
    }
}

/// This user may look, and call nothing but the broker.
fn looking_only() -> Policy {
    let who = Who::Uid(current_uid().unwrap());
    let rule = Rule::allow([who]).plain(Right::Connect).plain(Right::Monitor);
    Policy::new(vec![
        rule.named(Right::Call, Selection::object("sys.broker").unwrap()),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_the_broker_refuses_are_told_and_counted() {
    let place = Place::new();
    let broker = place.start();
    let (caller, monitor) = (broker.client().await, broker.client().await);
    let mut seen = Watching::start(
        &monitor,
        json!({ "kinds": ["call", "reply"], "object": "nobody" }),
    )
    .await
    .unwrap();
    let waits = caller
        .call("nobody", "m")
        .wait_for_object()
        .deadline(Duration::from_millis(20));
    assert_eq!(
        waits.send::<_, ()>(&()).await.unwrap_err().code,
        ErrorCode::Deadline
    );
    let none = caller.call("nobody", "m").send::<_, ()>(&());
    assert_eq!(none.await.unwrap_err().code, ErrorCode::NoSuchObject);
    broker.handle.set_policy(looking_only());
    let denied = caller.call("nobody", "m").send::<_, ()>(&());
    assert_eq!(denied.await.unwrap_err().code, ErrorCode::Denied);
    for code in ["Deadline", "NoSuchObject", "Denied"] {
        let (call, reply) = (seen.next().await, seen.next().await);
        assert_eq!(
            (&call["kind"], &call["to"]),
            (&json!("call"), &Value::Null),
            "{call}"
        );
        assert_eq!(
            (&call["member"], &call["from"]),
            (&json!("m"), &json!(caller.peer_id().0)),
            "{call}"
        );
        assert_eq!(
            (&reply["error"], &reply["from"]),
            (&json!(code), &Value::Null),
            "{reply}"
        );
        assert_eq!(reply["ticket"], call["ticket"], "{call} {reply}");
    }
    let status = ask(&monitor, "status", Value::Null).await;
    assert_eq!(status["metrics"]["calls_refused"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_of_a_monitor_ends_before_the_broker_does() {
    let place = Place::new();
    let broker = place.start();
    let (monitor, publisher) = (broker.client().await, broker.client().await);
    let mut seen = Watching::start(&monitor, json!({ "kinds": ["event"] }))
        .await
        .unwrap();
    publisher.publish("a", "b", &1).acknowledged().await.unwrap();
    let (ended, ()) = tokio::join!(
        async {
            let mut events = 0;
            loop {
                match seen.0.next().await.expect("an end that says why") {
                    Ok(item) => events += item["records"].as_array().unwrap().len(),
                    Err(error) => return (events, error.code),
                }
            }
        },
        broker.stop(),
    );
    assert_eq!(ended, (1, ErrorCode::Draining));
}

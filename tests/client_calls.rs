//! Calls of the client library through a real broker: values, many at once, pieces, streams, errors, cancellation.
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
#[path = "client_calls/failures.rs"]
mod failures;
#[path = "client_calls/order.rs"]
mod order;
#[path = "client_calls/streams.rs"]
mod streams;

use actix_ipc::async_trait;
use actix_ipc::client::{
    Handler, HandlerError, IncomingCall, IpcClient, Methods, Registration, Response, SharedObject,
};
use actix_ipc::config::Limits;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Encoding, Metadata, Payload};
use broker::{Place, TestBroker};
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

struct Echo;

#[async_trait]
impl SharedObject for Echo {
    async fn call(&self, method: &str, args: &Value) -> Value {
        json!({ "method": method, "args": args })
    }
}

/// Answers with what it was given.
struct Mirror;

#[async_trait]
impl Handler for Mirror {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        Ok(Response::payload(call.payload))
    }
}

async fn pair(
    broker: &TestBroker,
    object: &str,
    handler: impl Handler,
) -> (IpcClient, IpcClient, Registration) {
    let worker = broker.client().await;
    let registration = worker.register(object, handler).await.unwrap();
    (broker.client().await, worker, registration)
}

fn code<T: std::fmt::Debug>(result: Result<T, CallError>) -> ErrorCode {
    result.unwrap_err().code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_goes_and_another_comes_back() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _echo = worker.register_object("echo", Echo).await.unwrap();
    let caller = broker.client().await;
    let answer: Value = caller.remote_call("echo", "say", json!([1, 2])).await.unwrap();
    assert_eq!(answer, json!({ "method": "say", "args": [1, 2] }));
}

#[actix::test]
async fn inside_an_actix_system_too() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _echo = worker.register_object("echo", Echo).await.unwrap();
    let caller = broker.client().await;
    for round in 0..100 {
        let answer: Value = caller.remote_call("echo", "say", round).await.unwrap();
        assert_eq!(answer["args"], round);
    }
    let itself: Value = worker.remote_call("echo", "self", ()).await.unwrap();
    assert_eq!(itself["method"], "self");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_in_flight_each_get_their_own_answer() {
    let place = Place::new();
    let broker = place.start();
    let (caller, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    let callers = (0..64_u64).map(|task| {
        let caller = caller.clone();
        tokio::spawn(async move {
            for round in 0..50_u64 {
                let sent = task * 1000 + round;
                let back: u64 = caller.remote_call("mirror", "m", sent).await.unwrap();
                assert_eq!(back, sent);
            }
        })
    });
    for task in callers.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn the_same_on_one_thread() {
    let place = Place::new();
    let broker = place.start();
    let (caller, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    let calls = (0..2000_u64).map(|number| caller.remote_call::<u64, u64>("mirror", "m", number));
    let answers = futures::future::join_all(calls).await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), number as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_mebibytes_go_in_pieces_both_ways() {
    let place = Place::new();
    let broker = place.start();
    // Whatever goes as a region by default.
    let in_pieces = || {
        let builder = IpcClient::builder().endpoint(broker.endpoint.clone());
        builder.regions_from(usize::MAX).connect()
    };
    let (caller, worker) = (in_pieces().await.unwrap(), in_pieces().await.unwrap());
    let _object = worker.register("mirror", Mirror).await.unwrap();
    let sent: Vec<u8> = (0..40 << 20)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let large = caller
        .call("mirror", "m")
        .send_payload(Payload::raw(sent.clone()));
    let small = async {
        for _ in 0..20 {
            let back: String = caller.remote_call("mirror", "m", "small").await.unwrap();
            assert_eq!(back, "small");
        }
        Instant::now()
    };
    let (large, small_done) = tokio::join!(async { (large.await, Instant::now()) }, small);
    assert!(large.0.unwrap().bytes == sent);
    assert!(small_done < large.1, "small calls do not wait behind a large one");
}

#[tokio::test]
async fn the_handler_learns_who_calls_and_answers_in_the_encoding_of_the_call() {
    let place = Place::new();
    let broker = place.start();
    let object = Methods::new().method(
        "who",
        |(): (), context: actix_ipc::client::CallContext| async move {
            let note = context.metadata.get_str("note").map(ToOwned::to_owned);
            Ok((context.caller_name, context.caller.pid, note))
        },
    );
    let (_, _worker, _object) = pair(&broker, "o", object).await;
    let caller = broker.named("the caller").await;
    let mut metadata = Metadata::new();
    metadata.insert("note", "hello").unwrap();
    type Who = (Option<String>, u32, Option<String>);
    for encoding in [Encoding::JSON, Encoding::POSTCARD] {
        let call = caller
            .call("o", "who")
            .encoding(encoding)
            .metadata(metadata.clone());
        let reply = call
            .send_payload(Payload::encode(encoding, &()).unwrap())
            .with_metadata()
            .await
            .unwrap();
        assert_eq!(reply.payload.encoding, encoding);
        let (name, pid, note): Who = reply.payload.decode().unwrap();
        assert_eq!(
            (name.as_deref(), note.as_deref()),
            (Some("the caller"), Some("hello"))
        );
        assert_eq!(pid, std::process::id());
    }
    let mut reserved = Metadata::new();
    reserved.insert("sys.name", "somebody else").unwrap();
    let call = caller.call("o", "who").metadata(reserved).send::<(), Who>(&());
    assert_eq!(code(call.await), ErrorCode::Invalid);
}

/// Tells when a call has begun and when its future was dropped.
struct Slow {
    begun: Arc<Notify>,
    dropped: Arc<Notify>,
    cancelled: Arc<Notify>,
}

struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let cancelled = Arc::clone(&self.cancelled);
        let wait = call.context.cancelled();
        tokio::spawn(async move {
            wait.await;
            cancelled.notify_one();
        });
        self.begun.notify_one();
        let _tell = Tell(Arc::clone(&self.dropped));
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_shared_object_gets_raw_text_as_a_string() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _echo = worker.register_object("echo", Echo).await.unwrap();
    let raw = |bytes: &'static [u8]| {
        worker.call("echo", "say").send_payload(Payload {
            encoding: Encoding::RAW,
            bytes: bytes.into(),
        })
    };
    for (sent, expected) in [
        (&b"42"[..], json!("42")),
        (b"hi", json!("hi")),
        (b"", Value::Null),
    ] {
        let answer: Value = raw(sent).await.unwrap().decode().unwrap();
        assert_eq!(answer["args"], expected);
    }
    assert_eq!(code(raw(b"\xff").await), ErrorCode::Invalid);
}

/// Lets somebody else watch its calls, which are answered at once.
struct Watched(tokio::sync::mpsc::UnboundedSender<actix_ipc::client::CallContext>);

#[async_trait]
impl Handler for Watched {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        self.0.send(call.context.clone()).unwrap();
        call.reply(&1)
    }
}

#[tokio::test]
async fn who_watches_a_call_sees_its_end() {
    let place = Place::new();
    let broker = place.start();
    let (watch, mut watched) = tokio::sync::mpsc::unbounded_channel();
    let (caller, _worker, _object) = pair(&broker, "watched", Watched(watch)).await;
    let _: u8 = caller.remote_call("watched", "x", ()).await.unwrap();
    let context = watched.recv().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), context.cancelled())
        .await
        .unwrap();
    assert!(!context.is_cancelled());
}

//! A broker inside a program: its actors as objects, subscribers and callers, beside sockets, and what embedding promises.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    missing_debug_implementations,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

mod actors;
mod events;
mod kept;
mod objects;
#[path = "../support/raw.rs"]
mod raw;

use actix::Actor;
use actix_ipc::IpcClient;
use actix_ipc::actors::{
    Broker, BrokerHandle, CallOptions, EndReason, LocalHandle, PublishOptions, ServeOptions, Standing,
    SubscribeOptions,
};
use actix_ipc::config::Limits;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Metadata, Payload};
use actix_ipc::transport::Endpoint;
use actors::{Calculator, Heard, Hearer, Probe};
use raw::Raw;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A broker in this System, with a Unix socket in a folder of its own; elsewhere on TCP.
struct Running {
    handle: BrokerHandle,
    /// Where raw clients find it.
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn start() -> Running {
    start_with(Limits::default())
}

fn start_with(limits: Limits) -> Running {
    start_on(0, limits)
}

/// With connections on so many threads of their own.
fn start_on(arbiters: usize, limits: Limits) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let endpoint = if cfg!(unix) {
        Endpoint::Unix(path.clone())
    } else {
        Endpoint::Tcp("127.0.0.1:0".to_owned())
    };
    let builder = Broker::builder().limits(limits).arbiters(arbiters);
    let handle = builder.listen(endpoint).start().unwrap();
    let path = match &handle.endpoints()[0] {
        Endpoint::Tcp(address) => PathBuf::from(address),
        _ => path,
    };
    Running {
        handle,
        path,
        _folder: folder,
    }
}

/// Runs a blocking client beside the System of the test.
async fn outside<T: Send + 'static>(path: &Path, client: impl FnOnce(&Path) -> T + Send + 'static) -> T {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || client(&path)).await.unwrap()
}

fn json(value: &Value) -> Payload {
    Payload::json(value).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, CallError>) -> (ErrorCode, bool) {
    let error = result.unwrap_err();
    (error.code, error.may_have_run)
}

async fn names(broker: &BrokerHandle) -> Value {
    let local = broker.local("").unwrap();
    let list = local.call("rob", "listObjects", Payload::default()).await;
    list.unwrap().decode().unwrap()
}

#[actix::test]
async fn the_last_handle_takes_everything_with_it() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    let clone = local.clone();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let (probe, mut seen) = Probe::start_new();
    local.serve("slow", probe.recipient()).await.unwrap();
    drop(local);
    assert_eq!(names(&broker.handle).await, json!(["math", "rob", "slow"]));
    let caller = broker.handle.local("").unwrap();
    let (cut, ()) = tokio::join!(caller.call("slow", "m", Payload::default()), async {
        let call = seen.recv().await.unwrap();
        drop(clone);
        call.responder.cancelled().await;
        assert_eq!(
            code(call.responder.reply(Payload::default())),
            (ErrorCode::BrokerGone, false)
        );
    });
    assert_eq!(code(cut), (ErrorCode::CalleeGone, true));
    assert_eq!(names(&broker.handle).await, json!(["rob"]));
    broker.handle.stop().await;
}

#[actix::test]
async fn the_broker_serves_objects_of_its_own() {
    let broker = start();
    let path = broker.path.clone();
    outside(&path, |path| {
        let mut client = Raw::connect(path);
        for name in ["rob", "sys.broker", "sys.other"] {
            assert_eq!(client.register(name).kind, Kind::Error, "{name}");
        }
        for (method, answer) in [("listObjects", &b"[\"rob\"]"[..]), ("anything", b"null")] {
            let id = client.id();
            let got = client.ask(&Draft::new(Kind::Call, id).pair("rob", method));
            assert_eq!(
                (got.kind, got.encoding, &got.payload[..]),
                (Kind::Reply, Encoding::JSON, answer)
            );
        }
    })
    .await;
    let local = broker.handle.local("").unwrap();
    let pong = local
        .call("sys.broker", "ping", Payload::default())
        .await
        .unwrap();
    assert_eq!(pong.decode::<String>().unwrap(), "pong");
    let status = local.call("sys.broker", "status", Payload::default()).await;
    let status: Value = status.unwrap().decode().unwrap();
    assert_eq!(status["epoch"], broker.handle.epoch().to_string());
    assert_eq!(
        status["endpoints"],
        json!([broker.handle.endpoints()[0].to_string()])
    );
    assert_eq!(status["metrics"]["connections_opened"], 1);
    assert!(status["uptime_ms"].is_u64());
    let unknown = local.call("sys.broker", "x", Payload::default()).await;
    assert_eq!(code(unknown), (ErrorCode::NoSuchMethod, false));
    broker.handle.stop().await;
}

#[actix::test]
async fn two_brokers_in_one_process_do_not_disturb_each_other() {
    let (one, two) = (start(), start());
    assert_ne!(one.handle.epoch(), two.handle.epoch());
    let (left, right) = (one.handle.local("").unwrap(), two.handle.local("").unwrap());
    for local in [&left, &right] {
        local.serve("math", Calculator.start().recipient()).await.unwrap();
    }
    let (hearer, mut heard) = Hearer::start_new();
    left.subscribe("t", "x", hearer.recipient()).await.unwrap();
    let elsewhere = right
        .publish_acknowledged("t", "x", json(&json!(1)), PublishOptions::default())
        .await;
    assert_eq!(elsewhere, Ok(0));
    let sum = left.call("math", "add", json(&json!([1, 2])));
    assert_eq!(sum.await.unwrap().decode::<i64>().unwrap(), 3);
    assert_eq!(one.handle.stop().await, EndReason::Drained);
    assert_eq!(heard.recv().await, None);
    let sum = right.call("math", "add", json(&json!([1, 2])));
    assert_eq!(sum.await.unwrap().decode::<i64>().unwrap(), 3);
    assert_eq!(two.handle.stop().await, EndReason::Drained);
}

#[actix::test]
async fn a_stop_lets_calls_end_and_then_refuses_everything() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    let (probe, mut seen) = Probe::start_new();
    local.serve("slow", probe.recipient()).await.unwrap();
    let (answer, reason, ()) = tokio::join!(
        local.call("slow", "m", Payload::default()),
        async {
            let call = seen.recv().await.unwrap();
            let broker = broker.handle.clone();
            let stopping = actix::spawn(async move { broker.stop().await });
            tokio::task::yield_now().await;
            call.responder.reply(Payload::raw("done")).unwrap();
            stopping.await.unwrap()
        },
        async {}
    );
    assert_eq!(answer, Ok(Payload::raw("done")));
    assert_eq!(reason, EndReason::Drained);
    let late = local.call("slow", "m", Payload::default()).await;
    assert_eq!(code(late), (ErrorCode::Draining, false));
    assert!(seen.recv().await.is_none(), "the broker has let go of the actor");
    assert!(!broker.path.exists());
    let none = broker.handle.local("late").map(|_| ());
    assert_eq!(code(none), (ErrorCode::BrokerGone, false));
}

#[actix::test]
async fn handles_work_from_other_threads() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let handle = broker.handle.clone();
    let sums = tokio::task::spawn_blocking(move || {
        let elsewhere = handle.local("thread").unwrap();
        let calls = (0..100).map(|number| {
            let local = elsewhere.clone();
            async move {
                let sum = local.call("math", "add", json(&json!([number, 1]))).await;
                sum.unwrap().decode::<i64>().unwrap()
            }
        });
        futures::executor::block_on(futures::future::join_all(calls))
    });
    assert_eq!(sums.await.unwrap(), (1..=100).collect::<Vec<_>>());
    broker.handle.stop().await;
}

/// Signals with a handler, as the kernel knows them.
#[cfg(target_os = "linux")]
fn caught_signals() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find(|line| line.starts_with("SigCgt"));
    caught.unwrap().to_owned()
}

#[cfg(target_os = "linux")]
#[actix::test]
async fn embedding_installs_no_signal_handler_and_no_logger() {
    let before = caught_signals();
    let broker = start();
    let local = broker.handle.local("").unwrap();
    local
        .call("rob", "listObjects", Payload::default())
        .await
        .unwrap();
    assert_eq!(caught_signals(), before);
    broker.handle.stop().await;
    assert_eq!(caught_signals(), before);
    assert!(!tracing::dispatcher::has_been_set());
}

#[cfg(feature = "inject-panics")]
#[actix::test]
async fn a_broker_that_fails_tells_its_host_and_the_host_goes_on() {
    let broker = start();
    let other = start();
    let local = broker.handle.local("host").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let (probe, mut seen) = Probe::start_new();
    local.serve("slow", probe.recipient()).await.unwrap();
    let (cut, reason) = tokio::join!(local.call("slow", "m", Payload::default()), async {
        let _call = seen.recv().await.unwrap();
        // The budget is five authors; a sixth ends the broker.
        for author in 0..6 {
            let author = broker.handle.local(&format!("author {author}")).unwrap();
            let hit = author.call("inject.before", "x", Payload::default()).await;
            assert_eq!(code(hit), (ErrorCode::Internal, true));
        }
        broker.handle.ended().await
    });
    let text = "Registry panicked for more peers than its budget allows (limits.panic_budget)";
    assert_eq!(reason, EndReason::Failed(text));
    assert_eq!(code(cut), (ErrorCode::BrokerGone, true));
    let late = local.call("math", "add", json(&json!([1, 2]))).await;
    assert_eq!(code(late), (ErrorCode::BrokerGone, false));
    // The host and another broker in it go on, and a new one may take the place.
    let beside = other.handle.local("").unwrap();
    beside
        .call("rob", "listObjects", Payload::default())
        .await
        .unwrap();
    let endpoint = broker.handle.endpoints()[0].clone();
    let next = Broker::builder().listen(endpoint).start().unwrap();
    assert_eq!(names(&next).await, json!(["rob"]));
    assert_eq!(next.stop().await, EndReason::Drained);
    assert_eq!(other.handle.stop().await, EndReason::Drained);
}

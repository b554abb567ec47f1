//! A broker inside a program: its actors as objects, subscribers and callers, beside sockets, and what embedding promises.
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
#![cfg(unix)]

#[path = "embedding/actors.rs"]
mod actors;
#[path = "support/raw.rs"]
mod raw;

use actix::Actor;
use actix_ipc::actors::{
    Broker, BrokerHandle, CallOptions, EndReason, PublishOptions, ServeOptions, Standing, SubscribeOptions,
};
use actix_ipc::config::Limits;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Metadata, Payload};
use actors::{Calculator, Heard, Hearer, Probe};
use raw::Raw;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A broker in this System, with a Unix socket in a folder of its own.
struct Running {
    handle: BrokerHandle,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn start() -> Running {
    start_with(Limits::default())
}

fn start_with(limits: Limits) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let endpoint = format!("unix:{}", path.display()).parse().unwrap();
    let handle = Broker::builder().limits(limits).listen(endpoint).start().unwrap();
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

async fn objects(broker: &BrokerHandle) -> Value {
    let local = broker.local("").unwrap();
    let list = local.call("rob", "listObjects", Payload::default()).await;
    list.unwrap().decode().unwrap()
}

#[actix::test]
async fn an_actor_is_an_object_for_callers_of_this_process() {
    let broker = start();
    let local = broker.handle.local("house").unwrap();
    let served = local.serve("math", Calculator.start().recipient()).await.unwrap();
    assert_eq!(served.standing(), Standing::Owner);
    let sum = local.call("math", "add", json(&json!([10, 32]))).await.unwrap();
    assert_eq!(sum.decode::<i64>().unwrap(), 42);
    let asker = broker.handle.local("asker").unwrap();
    let who = asker.call("math", "who", json(&Value::Null)).await.unwrap();
    assert_eq!(
        who.decode::<Value>().unwrap(),
        json!({ "name": "asker", "pid": std::process::id() })
    );
    let metadata = {
        let mut metadata = Metadata::new();
        metadata.insert("trace", "7").unwrap();
        metadata
    };
    let traced = local
        .call_with(
            "math",
            "trace",
            json(&Value::Null),
            CallOptions::default().metadata(metadata),
        )
        .await;
    assert_eq!(traced.unwrap().decode::<String>().unwrap(), "7");
    assert_eq!(broker.handle.stop().await, EndReason::Drained);
}

#[actix::test]
async fn each_way_for_a_call_to_fail_has_its_own_error() {
    let broker = start_with(Limits {
        frame_bytes: 100_000,
        ..Limits::default()
    });
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let call = |object: &'static str, method: &'static str| {
        let local = local.clone();
        async move {
            let options = CallOptions::default().deadline(Duration::from_millis(200));
            local.call_with(object, method, Payload::default(), options).await
        }
    };
    let expected = [
        ("none", "x", ErrorCode::NoSuchObject, false),
        ("math", "unknown", ErrorCode::NoSuchMethod, false),
        ("math", "drop", ErrorCode::CalleeGone, true),
        ("math", "large", ErrorCode::TooLarge, true),
        ("math", "keep", ErrorCode::Deadline, true),
        ("", "x", ErrorCode::Invalid, false),
        ("math", "bad\0name", ErrorCode::Invalid, false),
        ("math", "panic", ErrorCode::HandlerPanicked, true),
        // The actor is dead by now; its object goes with the first call that finds it so.
        ("math", "add", ErrorCode::CalleeGone, false),
        ("math", "add", ErrorCode::NoSuchObject, false),
    ];
    for (object, method, code, may_have_run) in expected {
        let error = call(object, method).await.unwrap_err();
        assert_eq!(
            (error.code, error.may_have_run),
            (code, may_have_run),
            "{object} {method}: {error}"
        );
    }
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let refused = call("math", "refuse").await.unwrap_err();
    assert_eq!(
        (refused.code, refused.name.as_deref(), refused.message.as_str()),
        (ErrorCode::Handler, Some("math.Domain"), "not defined there")
    );
    assert_eq!(refused.payload.decode::<Value>().unwrap(), json!({ "at": 0 }));
    let large = local.call("math", "add", Payload::raw(vec![0_u8; 100_001])).await;
    assert_eq!(code(large), (ErrorCode::TooLarge, false));
    broker.handle.stop().await;
}

#[actix::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_actor() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    let (probe, mut seen) = Probe::start_new();
    local.serve("slow", probe.recipient()).await.unwrap();
    let call = local.call("slow", "m", Payload::default());
    let responder = {
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => unreachable!("nobody answers"),
            call = seen.recv() => call.unwrap().responder,
        }
    };
    responder.cancelled().await;
    assert!(responder.is_cancelled());
    broker.handle.stop().await;
}

#[actix::test]
async fn sockets_and_actors_call_each_other() {
    let broker = start();
    let local = broker.handle.local("house").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let worker = outside(&broker.path, |path| {
        let mut client = Raw::connect_as(path, "client");
        let id = client.id();
        let sum = client.ask(
            &Draft::new(Kind::Call, id)
                .pair("math", "add")
                .payload(Encoding::JSON, b"[1,2]"),
        );
        assert_eq!(
            (sum.kind, sum.encoding, &sum.payload[..]),
            (Kind::Reply, Encoding::JSON, &b"3"[..])
        );
        let id = client.id();
        let who = client.ask(
            &Draft::new(Kind::Call, id)
                .pair("math", "who")
                .payload(Encoding::JSON, b"null"),
        );
        assert_eq!(
            serde_json::from_slice::<Value>(&who.payload).unwrap()["name"],
            "client"
        );
        let mut worker = Raw::connect(path);
        assert_eq!(worker.register("far").kind, Kind::Done);
        worker
    })
    .await;
    let answering = tokio::task::spawn_blocking(move || {
        let mut worker = worker;
        let call = worker.read();
        assert!(call.meta.starts_with(b"\x08sys.name\x05\x00house"), "{call:?}");
        worker.send(&Draft::new(Kind::Reply, call.id).payload(Encoding::RAW, &call.payload));
        let call = worker.read();
        let refusal = Draft::new(Kind::Error, call.id).aux(ErrorCode::NoSuchMethod.code());
        worker.send(&refusal.payload(Encoding::RAW, b"no such thing"));
        worker.read();
        // The connection ends with a call open.
    });
    let echoed = local.call("far", "echo", Payload::raw("hello")).await.unwrap();
    assert_eq!(echoed, Payload::raw("hello"));
    let refused = local.call("far", "other", Payload::default()).await.unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (ErrorCode::NoSuchMethod, "no such thing")
    );
    let cut = local.call("far", "last", Payload::default()).await;
    assert_eq!(code(cut), (ErrorCode::CalleeGone, true));
    answering.await.unwrap();
    broker.handle.stop().await;
}

#[actix::test]
async fn calls_and_replies_in_pieces_are_put_together() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let worker = outside(&broker.path, |path| {
        let mut client = Raw::connect(path);
        let id = client.id();
        let first = Draft::new(Kind::Call, id)
            .pair("math", "length")
            .flags(Flags::CONTINUED);
        client.send(&first.payload(Encoding::RAW, &[1; 1000]));
        let piece = [2; 150_000];
        for flags in [Flags::CONTINUED, Flags::CONTINUED, Flags::NONE] {
            client.send(
                &Draft::new(Kind::CallPiece, id)
                    .flags(flags)
                    .payload(Encoding::RAW, &piece),
            );
            // One piece at a time: the window must come back each time.
            let credit = client.read();
            assert_eq!(
                (credit.kind, credit.id, credit.aux),
                (Kind::CallCredit, id, 150_024)
            );
        }
        let length = client.read();
        assert_eq!((length.kind, &length.payload[..]), (Kind::Reply, &b"451000"[..]));
        let mut worker = Raw::connect(path);
        worker.register("far");
        worker
    })
    .await;
    let answering = tokio::task::spawn_blocking(move || {
        let mut worker = worker;
        let call = worker.read();
        let piece = [3; 200_000];
        let first = Draft::new(Kind::Reply, call.id)
            .flags(Flags::CONTINUED)
            .payload(Encoding::RAW, &piece);
        worker.send(&first);
        let credit = worker.read();
        assert_eq!((credit.kind, credit.id), (Kind::ReplyCredit, call.id));
        worker.send(&Draft::new(Kind::ReplyPiece, call.id).payload(Encoding::RAW, &piece));
    });
    let reply = local.call("far", "m", Payload::default()).await.unwrap();
    assert_eq!(reply.bytes.len(), 400_000);
    broker.handle.stop().await;
    answering.await.unwrap();
}

#[actix::test]
async fn a_stream_waits_for_its_callers_credit() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    outside(&broker.path, |path| {
        let mut client = Raw::connect(path);
        let call = client.id();
        client.send(
            &Draft::new(Kind::Call, call)
                .pair("math", "count")
                .flags(Flags::STREAM),
        );
        // Ten items of 64 KiB do not fit the window of 256 KiB: four come, the rest for credit.
        for item in 0..10_u8 {
            let reply = client.read();
            assert_eq!(
                (
                    reply.kind,
                    reply.id,
                    reply.flags.has(Flags::MORE),
                    reply.payload[0]
                ),
                (Kind::Reply, call, true, item)
            );
            let wire = u32::try_from(reply.payload.len() + 24).unwrap();
            client.send(&Draft::new(Kind::ReplyCredit, call).aux(wire));
        }
        let last = client.read();
        assert_eq!(
            (last.flags.has(Flags::MORE), last.payload.is_empty()),
            (false, true)
        );
        let single = client.id();
        let refused = client.ask(&Draft::new(Kind::Call, single).pair("math", "count"));
        assert_eq!(
            (refused.kind, ErrorCode::from_code(refused.aux)),
            (Kind::Error, ErrorCode::Invalid)
        );
    })
    .await;
    broker.handle.stop().await;
}

#[actix::test]
async fn an_actor_hears_topics_and_patterns() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    let (hearer, mut heard) = Hearer::start_new();
    let retained = PublishOptions::default().retained();
    let none = local
        .publish_acknowledged("sensor", "temperature", json(&json!(20)), retained)
        .await;
    assert_eq!(none, Ok(0));
    local
        .subscribe("sensor", "temperature", hearer.clone().recipient())
        .await
        .unwrap();
    let pattern = SubscribeOptions::default().pattern().no_retained();
    let wide = local
        .subscribe_with("sensor", "*", hearer.clone().recipient(), pattern)
        .await
        .unwrap();
    let own = SubscribeOptions::default().no_local().no_retained();
    local
        .subscribe_with("sensor", "temperature", hearer.clone().recipient(), own)
        .await
        .unwrap();
    let event = |event: &str, value, retained| Heard {
        topic: format!("sensor {event}"),
        value: json!(value),
        retained,
        missed: 0,
    };
    assert_eq!(heard.recv().await.unwrap(), event("temperature", 20, true));
    let both = local
        .publish_acknowledged(
            "sensor",
            "temperature",
            json(&json!(21)),
            PublishOptions::default(),
        )
        .await;
    assert_eq!(both, Ok(2));
    for _ in 0..2 {
        assert_eq!(heard.recv().await.unwrap(), event("temperature", 21, false));
    }
    wide.unsubscribe().await.unwrap();
    outside(&broker.path, |path| {
        let accepted = Raw::connect(path).publish("sensor", "temperature", b"22");
        // The third subscription hears what others publish.
        assert_eq!(accepted.aux, 2);
    })
    .await;
    for _ in 0..2 {
        let heard = heard.recv().await.unwrap();
        assert_eq!(heard.topic, "sensor temperature");
    }
    drop((hearer, local));
    assert_eq!(
        heard.recv().await,
        None,
        "the subscriptions ended with their handle"
    );
    broker.handle.stop().await;
}

#[actix::test]
async fn an_event_in_pieces_reaches_an_actor_whole() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    let (hearer, mut heard) = Hearer::start_new();
    local.subscribe("big", "one", hearer.recipient()).await.unwrap();
    outside(&broker.path, |path| {
        let mut client = Raw::connect(path);
        let id = client.id();
        let text = format!("\"{}", "a".repeat(100_000));
        let first = Draft::new(Kind::Publish, id)
            .pair("big", "one")
            .flags(Flags::ACK.with(Flags::CONTINUED));
        client.send(&first.payload(Encoding::JSON, text.as_bytes()));
        let last = Draft::new(Kind::PublishPiece, id).payload(Encoding::RAW, b"b\"");
        assert_eq!(client.ask(&last).kind, Kind::Accepted);
    })
    .await;
    let whole = heard.recv().await.unwrap();
    assert_eq!(whole.value.as_str().map(str::len), Some(100_001));
    broker.handle.stop().await;
}

#[actix::test]
async fn a_slow_actor_misses_events_that_are_counted_and_its_queue_is_bounded() {
    let limits = Limits {
        outbox_bytes: 64 * 1024,
        publish_window: 16 * 1024,
        hold_ms: 20,
        ..Limits::default()
    };
    let broker = start_with(limits);
    let local = broker.handle.local("hearer").unwrap();
    let (hearer, mut heard) = Hearer::start_new();
    let gate = actors::close(&hearer).await;
    local
        .subscribe("flood", "x", hearer.clone().recipient())
        .await
        .unwrap();
    let publisher = broker.handle.local("publisher").unwrap();
    let total = 5_000_u32;
    for number in 0..total {
        let value = json(&json!(number));
        publisher.publish("flood", "x", value).await.unwrap();
    }
    // The last one is accepted: everything before it has been handled by then.
    let end = publisher
        .publish_acknowledged("flood", "x", json(&json!(total)), PublishOptions::default())
        .await;
    assert_eq!(end, Ok(0), "a lagging subscriber is not counted");
    let metrics = broker.handle.metrics();
    assert!(
        metrics.events_delivered < 1_000,
        "at most half of the outbox in events of 64 bytes: {metrics:?}"
    );
    assert!(metrics.lagging >= 1, "{metrics:?}");
    gate.send(()).unwrap();
    let (mut received, mut missed, mut next) = (0, 0, 0);
    while received + missed <= total {
        let event = tokio::select! {
            event = heard.recv() => event.unwrap(),
            // Every gap is told with the next event at the latest.
            () = tokio::task::yield_now() => {
                let value = json(&json!("again"));
                publisher.publish("flood", "x", value).await.unwrap();
                heard.recv().await.unwrap()
            }
        };
        if event.value == "again" {
            missed += event.missed;
            if event.missed > 0 {
                break;
            }
            continue;
        }
        assert_eq!(event.value, json!(next + event.missed), "{event:?}");
        next = next + event.missed + 1;
        (received, missed) = (received + 1, missed + event.missed);
    }
    assert!(
        received + missed > total,
        "{received} heard and {missed} missed of {total}"
    );
    broker.handle.stop().await;
}

#[actix::test]
async fn names_are_queued_replaced_and_shared_by_consent() {
    let broker = start();
    let (first, second) = (
        broker.handle.local("first").unwrap(),
        broker.handle.local("second").unwrap(),
    );
    let object = || Calculator.start().recipient();
    let allow = ServeOptions::default().allow_replace();
    let mut served = first
        .serve_with("math", object(), allow.description(&json!({ "adds": true })))
        .await
        .unwrap();
    let described = second.describe("math").await.unwrap();
    assert_eq!(described["description"], json!({ "adds": true }));
    assert_eq!(
        code(second.serve("math", object()).await),
        (ErrorCode::NameTaken, false)
    );
    assert_eq!(
        code(second.serve("sys.mine", object()).await),
        (ErrorCode::Invalid, false)
    );
    let mut queued = second
        .serve_with("math", object(), ServeOptions::default().queue())
        .await
        .unwrap();
    assert_eq!(queued.standing(), Standing::Queued);
    first.unserve("math").await.unwrap();
    assert_eq!(served.changed().await, None);
    assert_eq!(queued.changed().await, Some(Standing::Owner));
    assert_eq!(
        code(first.unserve("math").await),
        (ErrorCode::NotRegistered, false)
    );
    first
        .serve_with("other", object(), ServeOptions::default().allow_replace())
        .await
        .unwrap();
    second
        .serve_with("other", object(), ServeOptions::default().replace())
        .await
        .unwrap();
    broker.handle.stop().await;
}

#[actix::test]
async fn callers_wait_for_objects() {
    let broker = start();
    let (caller, worker) = (broker.handle.local("").unwrap(), broker.handle.local("").unwrap());
    let short = Duration::from_millis(20);
    let absent = caller.wait_for(&["math", "rob"], short).await;
    assert_eq!(code(absent), (ErrorCode::Deadline, false));
    let wait = CallOptions::default().wait().deadline(Duration::from_secs(10));
    let (sum, there, served) = tokio::join!(
        caller.call_with("math", "add", json(&json!([1, 1])), wait),
        caller.wait_for(&["math", "rob"], Duration::from_secs(10)),
        worker.serve("math", Calculator.start().recipient()),
    );
    assert_eq!(sum.unwrap().decode::<i64>().unwrap(), 2);
    there.unwrap();
    served.unwrap();
    broker.handle.stop().await;
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
    assert_eq!(objects(&broker.handle).await, json!(["math", "rob", "slow"]));
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
    assert_eq!(objects(&broker.handle).await, json!(["rob"]));
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
    let text = "Registry panicked for more peers than its budget allows";
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
    let endpoint = format!("unix:{}", broker.path.display()).parse().unwrap();
    let next = Broker::builder().listen(endpoint).start().unwrap();
    assert_eq!(objects(&next).await, json!(["rob"]));
    assert_eq!(next.stop().await, EndReason::Drained);
    assert_eq!(other.handle.stop().await, EndReason::Drained);
}

//! The cases. None of them knows which transport it runs over.

use super::World;
use actix_ipc::client::{Balance, Methods, Notice, Standing, WatchScope};
use actix_ipc::message::Metadata;
use actix_ipc::{CallContext, CallError, Encoding, ErrorCode, HandlerError, IpcClient, Payload};
use futures::future;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

fn code<T: std::fmt::Debug>(result: Result<T, CallError>) -> (ErrorCode, bool) {
    let error = result.expect_err("it must fail");
    (error.code, error.may_have_run)
}

/// The broker's own objects.
const BUILT_IN: [&str; 2] = ["rob", "sys.broker"];

fn math() -> Methods {
    Methods::new()
        .method("add", |(a, b): (i64, i64), _| async move { Ok(a + b) })
        .method("refuse", |(): (), _| async move {
            let error = HandlerError::new("not today").named("Refused");
            Err::<(), _>(error.with_payload(Payload::json(&[1, 2]).unwrap()))
        })
        .method("panic", |(): (), _| async move {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(())
        })
        .method(
            "never",
            |(): (), _| async move { Ok(future::pending::<()>().await) },
        )
        .stream("count", |to: u32, _| futures::stream::iter((0..to).map(Ok)))
}

pub async fn calls_and_answers(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let _math = worker.register("math", math()).await.unwrap();
    for n in 0..100 {
        assert_eq!(
            caller.remote_call::<_, i64>("math", "add", (n, 1)).await.unwrap(),
            n + 1
        );
    }
    assert_eq!(
        worker.remote_call::<_, i64>("math", "add", (1, 1)).await.unwrap(),
        2,
        "a call of one's own object"
    );
}

pub async fn each_failure_is_typed(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let _math = worker.register("math", math()).await.unwrap();
    let call =
        |object: &'static str, method: &'static str| caller.remote_call::<_, Value>(object, method, ());
    assert_eq!(code(call("none", "x").await), (ErrorCode::NoSuchObject, false));
    assert_eq!(code(call("math", "x").await).0, ErrorCode::NoSuchMethod);
    let refused = call("math", "refuse").await.unwrap_err();
    assert_eq!(
        (refused.code, refused.name.as_deref()),
        (ErrorCode::Handler, Some("Refused"))
    );
    assert_eq!(refused.payload.decode::<[u8; 2]>().unwrap(), [1, 2]);
    assert_eq!(
        code(call("math", "panic").await),
        (ErrorCode::HandlerPanicked, true)
    );
    let short = caller.call("math", "never").deadline(Duration::from_millis(30));
    assert_eq!(
        code(short.send::<_, Value>(&()).await),
        (ErrorCode::Deadline, true)
    );
    let wrong = caller.remote_call::<_, i64>("math", "add", "no pair").await;
    assert_eq!(code(wrong).0, ErrorCode::Invalid);
    let huge = Payload::raw(vec![0; 257 * 1024 * 1024]);
    assert_eq!(
        code(caller.call("math", "add").send_payload(huge).await),
        (ErrorCode::TooLarge, false)
    );
    assert_eq!(
        caller.remote_call::<_, i64>("math", "add", (1, 2)).await.unwrap(),
        3,
        "everything still works"
    );
}

pub async fn many_calls_in_flight_end_in_any_order(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let gate = Arc::new(Notify::new());
    let waits = gate.clone();
    let object = Methods::new().method("late", move |n: u64, _| {
        let gate = waits.clone();
        async move {
            if n == 0 {
                gate.notified().await;
            }
            Ok(n)
        }
    });
    let _object = worker.register("o", object).concurrency(64).await.unwrap();
    let first = caller.remote_call::<_, u64>("o", "late", 0);
    futures::pin_mut!(first);
    assert!(futures::poll!(&mut first).is_pending());
    let others = future::try_join_all((1..=500).map(|n| caller.remote_call::<_, u64>("o", "late", n)))
        .await
        .unwrap();
    assert_eq!(others, (1..=500).collect::<Vec<_>>());
    gate.notify_one();
    assert_eq!(first.await.unwrap(), 0);
}

pub async fn order_of_calls_to_one_object(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let (sender, mut seen) = mpsc::unbounded_channel();
    let object = Methods::new().method("tell", move |n: u32, _| {
        sender.send(n).unwrap();
        async { Ok(()) }
    });
    let _object = worker.register("o", object).concurrency(1).await.unwrap();
    future::try_join_all((0..300).map(|n| caller.remote_call::<_, ()>("o", "tell", n)))
        .await
        .unwrap();
    for n in 0..300 {
        assert_eq!(seen.recv().await, Some(n));
    }
}

pub async fn streamed_replies_with_a_slow_reader(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let _math = worker.register("math", math()).await.unwrap();
    let mut items = caller.call("math", "count").stream::<_, u32>(&50_000);
    // Other calls pass while a stream waits for its reader.
    assert_eq!(items.next().await.unwrap().unwrap(), 0);
    assert_eq!(
        caller.remote_call::<_, i64>("math", "add", (2, 2)).await.unwrap(),
        4
    );
    for n in 1..50_000 {
        assert_eq!(items.next().await.unwrap().unwrap(), n);
    }
    assert!(items.next().await.is_none());
    let single = caller.remote_call::<_, Value>("math", "count", 3).await;
    assert!(single.is_err(), "a stream for somebody who asked for one value");
}

pub async fn large_messages_both_ways(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let object = Methods::new().method("quick", |(): (), _| async { Ok(()) });
    let _quick = worker.register("quick", object).await.unwrap();
    let _echo = worker.register("echo", Echo).await.unwrap();
    let bytes: Vec<u8> = (0..40 * 1024 * 1024_u32)
        .map(|n| (n >> 8) as u8 ^ n as u8)
        .collect();
    let big = caller
        .call("echo", "echo")
        .send_payload(Payload::raw(bytes.clone()));
    let small = async {
        for _ in 0..20 {
            caller.remote_call::<_, ()>("quick", "quick", ()).await.unwrap();
        }
    };
    let (back, ()) = future::join(async { big.await.unwrap() }, small).await;
    assert!(back.bytes == bytes, "40 MiB came back changed");
}

struct Echo;

#[actix_ipc::async_trait]
impl actix_ipc::Handler for Echo {
    async fn handle(&self, call: actix_ipc::IncomingCall) -> Result<actix_ipc::Response, HandlerError> {
        Ok(actix_ipc::Response::payload(call.payload).with_metadata(call.context.metadata))
    }
}

pub async fn the_handler_learns_who_calls(world: World) {
    let (worker, caller) = (world.connect().await, world.connect_as("thermostat").await);
    let object = Methods::new().method("who", |(): (), context: CallContext| async move {
        Ok((context.caller.peer.0, context.caller_name, context.method))
    });
    let _object = worker.register("o", object).await.unwrap();
    let who: (u64, Option<String>, String) = caller.remote_call("o", "who", ()).await.unwrap();
    assert_eq!(who, (caller.peer_id().0, Some("thermostat".into()), "who".into()));
}

pub async fn dropping_a_call_cancels_it_at_the_callee(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell_begun, tell_ended) = (begun.clone(), ended.clone());
    let object = Methods::new().method("hang", move |(): (), context: CallContext| {
        let (begun, ended) = (tell_begun.clone(), tell_ended.clone());
        async move {
            let cancelled = context.cancelled();
            actix::spawn(async move {
                cancelled.await;
                ended.notify_one();
            });
            begun.notify_one();
            Ok(future::pending::<()>().await)
        }
    });
    let _object = worker.register("o", object).await.unwrap();
    let call = caller.remote_call::<_, ()>("o", "hang", ());
    {
        futures::pin_mut!(call);
        let started = begun.notified();
        futures::pin_mut!(started);
        future::select(call, started).await;
    }
    ended.notified().await;
}

pub async fn deadlines_travel(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let object = Methods::new().method("left", |(): (), context: CallContext| async move {
        Ok(context
            .deadline
            .saturating_duration_since(std::time::Instant::now())
            .as_millis() as u64)
    });
    let _object = worker.register("o", object).await.unwrap();
    let left: u64 = caller
        .call("o", "left")
        .deadline(Duration::from_secs(7))
        .send(&())
        .await
        .unwrap();
    assert!((5_000..=7_000).contains(&left), "{left} ms of 7 s are left");
}

pub async fn calls_wait_for_their_object(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let never = caller
        .call("never", "x")
        .wait_for_object()
        .deadline(Duration::from_millis(30));
    assert_eq!(
        code(never.send::<_, Value>(&()).await),
        (ErrorCode::Deadline, false)
    );
    let waiting = caller
        .call("math", "add")
        .wait_for_object()
        .send::<_, i64>(&(20, 22));
    let registering = async { worker.register("math", math()).await.unwrap() };
    let (answer, _math) = future::join(waiting, registering).await;
    assert_eq!(answer.unwrap(), 42);
}

pub async fn calls_without_reply(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let (sender, mut seen) = mpsc::unbounded_channel();
    let object = Methods::new().method("tell", move |n: u32, _| {
        sender.send(n).unwrap();
        async { Ok(()) }
    });
    let _object = worker.register("o", object).await.unwrap();
    caller.call("none", "x").no_reply(&()).await.unwrap();
    caller.call("o", "tell").no_reply(&7).await.unwrap();
    assert_eq!(seen.recv().await, Some(7));
}

pub async fn a_dead_worker_ends_its_calls(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let object = worker.register("math", math()).concurrency(200).await.unwrap();
    let calls: Vec<_> = (0..100)
        .map(|_| caller.remote_call::<_, Value>("math", "never", ()))
        .collect();
    let calls = future::join_all(calls);
    futures::pin_mut!(calls);
    assert!(futures::poll!(&mut calls).is_pending());
    // The barrier: its answer comes after the hundred calls were given to the worker.
    assert_eq!(
        caller.remote_call::<_, i64>("math", "add", (1, 1)).await.unwrap(),
        2
    );
    drop(object);
    worker.close().await;
    for result in calls.await {
        let code = code(result);
        assert!(
            matches!(code, (ErrorCode::CalleeGone | ErrorCode::Cancelled, true)),
            "{code:?}"
        );
    }
    assert_eq!(
        code(caller.remote_call::<_, Value>("math", "add", (1, 1)).await),
        (ErrorCode::NoSuchObject, false)
    );
}

pub async fn encodings_and_metadata(world: World) {
    // A named caller: what the broker writes beside its calls must not come back to it.
    let (worker, caller) = (world.connect().await, world.connect_as("asker").await);
    let _math = worker.register("math", math()).await.unwrap();
    let _echo = worker.register("echo", Echo).await.unwrap();
    let sum: i64 = caller
        .call("math", "add")
        .encoding(Encoding::POSTCARD)
        .send(&(1_i64, 2_i64))
        .await
        .unwrap();
    assert_eq!(sum, 3);
    let mut metadata = Metadata::new();
    metadata.insert("trace", "00-abc").unwrap();
    let payload = Payload {
        encoding: Encoding(77),
        bytes: (&b"own business"[..]).into(),
    };
    let call = caller
        .call("echo", "x")
        .metadata(metadata)
        .send_payload(payload.clone());
    let reply = call.with_metadata().await.unwrap();
    assert_eq!(
        (reply.payload, reply.metadata.get_str("trace")),
        (payload, Some("00-abc"))
    );
    let unknown = caller
        .call("math", "add")
        .send_payload(Payload {
            encoding: Encoding(77),
            bytes: "x".into(),
        })
        .await;
    assert_eq!(code(unknown).0, ErrorCode::Encoding);
}

pub async fn presence(world: World) {
    let (watcher, worker) = (world.connect().await, world.connect_as("w").await);
    let mut names = watcher.watch(WatchScope::Names).await.unwrap();
    let waiting = watcher.wait_for_objects(["a", "b"]);
    let registering = async {
        (
            worker.register("a", math()).await.unwrap(),
            worker.register("b", math()).await.unwrap(),
        )
    };
    let (waited, (a, _b)) = future::join(waiting, registering).await;
    waited.unwrap();
    a.unregister().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match names.next().await.unwrap() {
            Notice::NameAppeared { name, .. } if BUILT_IN.contains(&name.as_ref()) => {}
            Notice::NameAppeared { name, .. } => seen.push(format!("+{name}")),
            Notice::NameVanished { name, .. } => seen.push(format!("-{name}")),
            other => seen.push(format!("{other:?}")),
        }
    }
    assert_eq!(seen, ["+a", "+b", "-a"]);
    let list = watcher.list().await.unwrap();
    assert_eq!(list["objects"].as_array().unwrap().len(), 1 + built_in(&list));
    assert_eq!(watcher.describe("b").await.unwrap()["owner"]["name"], "w");
}

/// How many of the listed objects are the broker's own.
fn built_in(list: &Value) -> usize {
    let objects = list["objects"].as_array().unwrap();
    objects
        .iter()
        .filter(|object| BUILT_IN.iter().any(|name| object["name"] == *name))
        .count()
}

pub async fn names_have_one_owner(world: World) {
    let (one, two) = (world.connect().await, world.connect().await);
    let owner = one.register("o", math()).await.unwrap();
    let taken = two.register("o", math()).await.expect_err("it is taken");
    assert_eq!(taken.code, ErrorCode::NameTaken);
    let mut next = two.register("o", math()).queue().await.unwrap();
    drop(owner);
    while next.standing() != Standing::Owner {
        next.changed().await;
    }
    assert_eq!(two.remote_call::<_, i64>("o", "add", (1, 2)).await.unwrap(), 3);
}

pub async fn worker_groups_share(world: World) {
    let workers = [
        world.connect().await,
        world.connect().await,
        world.connect().await,
    ];
    let caller = world.connect().await;
    let register = |worker: &IpcClient, n: usize| {
        worker
            .register(
                "pool",
                Methods::new().method("who", move |(): (), _| async move { Ok(n) }),
            )
            .group(Balance::RoundRobin)
    };
    let mut members = Vec::new();
    for (n, worker) in workers.iter().enumerate() {
        members.push(register(worker, n).await.unwrap());
    }
    let mut counts = [0; 3];
    for _ in 0..30 {
        counts[caller.remote_call::<_, usize>("pool", "who", ()).await.unwrap()] += 1;
    }
    assert_eq!(counts, [10; 3]);
    members.pop().unwrap().unregister().await.unwrap();
    for _ in 0..10 {
        assert_ne!(
            caller.remote_call::<_, usize>("pool", "who", ()).await.unwrap(),
            2
        );
    }
}

pub async fn a_draining_broker_says_so(world: World) {
    let client = world
        .builder()
        .reconnect(false)
        .connect_wait(crate::PATIENT)
        .await
        .unwrap();
    world.broker.stop().await;
    let error = client.closed().await;
    assert!(error.message.contains("shutting down"), "{error}");
    let later = client.remote_call::<_, Value>("math", "add", ()).await;
    assert!(!later.unwrap_err().may_have_run);
}

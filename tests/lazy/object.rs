//! The same commands, for the clients of a broker.

use crate::support::until_with_others;
use crate::{Answer, Command};
use actix_ipc::lazy::{
    Budget, LazyObject, ObjectLimits, client_send_async, serve_lazily_with, serve_lazily_within,
};
use actix_ipc::{Broker, CallError, ErrorCode, IpcClient, Payload};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

struct Served {
    object: LazyObject<Command>,
    caller: IpcClient,
    worker: IpcClient,
    woken: Arc<(AtomicUsize, Notify)>,
    broker: actix_ipc::BrokerHandle,
}

async fn served(name: &str) -> Served {
    let endpoint: actix_ipc::Endpoint = format!("mem:lazy-{name}").parse().unwrap();
    let broker = Broker::builder().listen(endpoint.clone()).start().unwrap();
    let worker = IpcClient::connect_to(endpoint.clone()).await.unwrap();
    let woken = Arc::new((AtomicUsize::new(0), Notify::new()));
    let wake = Arc::clone(&woken);
    let object = serve_lazily_with(&worker, "admin", move || {
        wake.0.fetch_add(1, Ordering::SeqCst);
        wake.1.notify_one();
    })
    .await
    .unwrap();
    Served {
        object,
        caller: IpcClient::connect_to(endpoint).await.unwrap(),
        worker,
        woken,
        broker,
    }
}

async fn call(served: &Served, values: &mut Vec<u64>, method: &str, args: Value) -> Result<Value, CallError> {
    let caller = served.caller.clone();
    let method = method.to_owned();
    let call = actix::spawn(async move { caller.call("admin", &method).send::<_, Value>(&args).await });
    served.woken.1.notified().await;
    assert_eq!(served.object.handle_new_messages(values), 1);
    call.await.unwrap()
}

#[actix::test]
async fn calls_wait_until_the_loop_polls() {
    let served = served("waits").await;
    let mut values = Vec::new();
    let answer = call(&served, &mut values, "push", json!({"x": 7})).await.unwrap();
    assert_eq!(answer, json!({"Count": 1}));
    let answer = call(&served, &mut values, "count", json!(null)).await.unwrap();
    assert_eq!(answer, json!({"Count": 1}));
    assert_eq!(values, [7]);
    assert_eq!(served.object.handle_new_messages(&mut values), 0);
    served.broker.stop().await;
}

#[actix::test]
async fn several_wait_in_order_and_wake_once() {
    let served = served("order").await;
    let calls: Vec<_> = (0..5)
        .map(|x| {
            let caller = served.caller.clone();
            actix::spawn(async move {
                caller
                    .call("admin", "Push")
                    .send::<_, Value>(&json!({ "x": x }))
                    .await
            })
        })
        .collect();
    until_with_others("all wait", || served.object.waiting() >= 5).await;
    assert_eq!(served.woken.0.load(Ordering::SeqCst), 1);
    let mut values = Vec::new();
    let budget = Budget {
        commands: Some(3),
        time: None,
    };
    assert_eq!(served.object.handle_within(&mut values, budget), 3);
    // Once more for those that were left, and for whoever comes while they wait, until the loop comes.
    assert_eq!(served.woken.0.load(Ordering::SeqCst), 2);
    assert_eq!(served.object.handle_within(&mut values, budget), 2);
    assert_eq!(served.woken.0.load(Ordering::SeqCst), 2);
    assert_eq!(values, [0, 1, 2, 3, 4]);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    served.broker.stop().await;
}

#[actix::test]
async fn what_does_not_fit_is_refused_before_it_waits() {
    let served = served("refused").await;
    let table = [
        (
            "fly",
            json!(null),
            ErrorCode::NoSuchMethod,
            "there are Echo, Push",
        ),
        ("push", json!({"y": 1}), ErrorCode::Invalid, "missing field `x`"),
        ("count", json!(3), ErrorCode::Invalid, "no parameters"),
    ];
    for (method, args, code, text) in table {
        let error = served
            .caller
            .call("admin", method)
            .send::<_, Value>(&args)
            .await
            .unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(text), "{}", error.message);
    }
    assert_eq!(served.object.waiting(), 0);
    served.broker.stop().await;
}

#[actix::test]
async fn postcard_is_the_whole_command_and_is_answered_in_postcard() {
    let served = served("postcard").await;
    let payload = Payload::encode(actix_ipc::Encoding::POSTCARD, &Command::Push { x: 9 }).unwrap();
    let caller = served.caller.clone();
    let call = actix::spawn(async move { caller.call("admin", "any").send_payload(payload).await });
    served.woken.1.notified().await;
    let mut values = Vec::new();
    assert_eq!(served.object.handle_new_messages(&mut values), 1);
    let answer: Answer = call.await.unwrap().unwrap().decode().unwrap();
    assert_eq!(answer, Answer::Count(1));
    served.broker.stop().await;
}

#[actix::test]
async fn whoever_gave_up_is_left_out_and_a_panic_is_told() {
    let served = served("panic").await;
    let caller = served.caller.clone();
    let first = actix::spawn(async move {
        caller
            .call("admin", "push")
            .send::<_, Value>(&json!({"x": 1}))
            .await
    });
    served.woken.1.notified().await;
    assert_eq!(served.object.waiting(), 1);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let caller = served.caller.clone();
    let call = actix::spawn(async move { caller.call("admin", "Panic").send::<_, Value>(&()).await });
    let mut values = Vec::new();
    let object = &served.object;
    loop {
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            object.handle_new_messages(&mut values)
        }));
        if unwound.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(call.await.unwrap().unwrap_err().code, ErrorCode::HandlerPanicked);
    assert!(values.is_empty());
    served.broker.stop().await;
}

#[actix::test]
async fn calls_given_up_keep_no_place_and_those_beyond_the_limit_are_refused() {
    let served = served("limits").await;
    let limits = ObjectLimits {
        calls: 2,
        ..ObjectLimits::default()
    };
    let object = serve_lazily_within::<Command>(&served.worker, "small", limits, || {})
        .await
        .unwrap();
    let push = || {
        let caller = served.caller.clone();
        actix::spawn(async move {
            caller
                .call("small", "push")
                .send::<_, Value>(&json!({"x": 1}))
                .await
        })
    };
    let calls = [push(), push()];
    until_with_others("both wait", || object.waiting() >= 2).await;
    let refused = push().await.unwrap().unwrap_err();
    assert_eq!(
        (refused.code, refused.may_have_run),
        (ErrorCode::Overloaded, false)
    );
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    // Their cancelling takes its way through the broker; then one more waits until its own deadline.
    loop {
        let caller = &served.caller;
        let call = caller.call("small", "push").deadline(Duration::from_millis(50));
        let error = call.send::<_, Value>(&json!({"x": 1})).await.unwrap_err();
        if error.code == ErrorCode::Deadline {
            break;
        }
        assert_eq!(error.code, ErrorCode::Overloaded);
    }
    served.broker.stop().await;
}

/// A command whose end does something with its object.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Curious {
    Look,
}

/// What it looks at, and how often it could not.
static SEEN: (Mutex<Option<Arc<LazyObject<Curious>>>>, AtomicUsize) = (Mutex::new(None), AtomicUsize::new(0));

impl Drop for Curious {
    fn drop(&mut self) {
        let object = SEEN.0.lock().unwrap().clone();
        let (tell, told) = std::sync::mpsc::channel();
        // On a thread of its own: if it cannot be looked at now, that is seen as a missing answer.
        std::thread::spawn(move || tell.send(object.map(|object| object.waiting())));
        let looked = told.recv_timeout(Duration::from_secs(5)).is_ok();
        SEEN.1.fetch_add(usize::from(!looked), Ordering::SeqCst);
    }
}

impl actix_ipc::lazy::IpcServerCommand for Curious {
    type Response = ();
    type Context<'a> = ();

    fn process<'a, 'b>(self, (): &'b mut Self::Context<'a>) {}
}

#[actix::test]
async fn a_command_that_is_given_up_may_look_at_its_object_while_it_is_dropped() {
    let served = served("curious").await;
    let limits = ObjectLimits {
        calls: 1,
        ..ObjectLimits::default()
    };
    let object = serve_lazily_within::<Curious>(&served.worker, "curious", limits, || {})
        .await
        .map(Arc::new)
        .unwrap();
    *SEEN.0.lock().unwrap() = Some(Arc::clone(&object));
    // Each waits until its caller gives up, and is dropped when the next one finds no place.
    for _ in 0..3 {
        loop {
            let call = served.caller.call("curious", "look");
            let call = call.deadline(Duration::from_millis(30));
            let error = call.send::<_, Value>(&json!(null)).await.unwrap_err();
            if error.code == ErrorCode::Deadline {
                break;
            }
            assert_eq!(error.code, ErrorCode::Overloaded);
        }
    }
    assert_eq!(SEEN.1.load(Ordering::SeqCst), 0);
    *SEEN.0.lock().unwrap() = None;
    served.broker.stop().await;
}

/// More than a client library's objects run at a time unless they say so.
#[actix::test]
async fn a_hundred_wait_for_one_poll() {
    let served = served("hundred").await;
    let calls: Vec<_> = (0..100)
        .map(|x| {
            let caller = served.caller.clone();
            let args = json!({ "x": x });
            actix::spawn(async move { caller.call("admin", "push").send::<_, Value>(&args).await })
        })
        .collect();
    until_with_others("all wait", || served.object.waiting() >= 100).await;
    let mut values = Vec::new();
    assert_eq!(served.object.handle_new_messages(&mut values), 100);
    assert_eq!(values, (0..100).collect::<Vec<_>>());
    for call in calls {
        call.await.unwrap().unwrap();
    }
    served.broker.stop().await;
}

#[actix::test]
async fn giving_it_up_answers_those_who_wait() {
    let served = served("dropped").await;
    let caller = served.caller.clone();
    let call = actix::spawn(async move { caller.call("admin", "Count").send::<_, Value>(&()).await });
    served.woken.1.notified().await;
    drop(served.object);
    let refused = call.await.unwrap().unwrap_err();
    assert_eq!(
        (refused.code, refused.may_have_run),
        (ErrorCode::NoSuchObject, false)
    );
    served.broker.stop().await;
}

#[actix::test]
async fn the_asynchronous_client_speaks_to_a_lazy_server() {
    let mut bench = crate::Bench::new(actix_ipc::lazy::Limits::default());
    let path = bench.path.clone();
    let large = Command::Echo("5".repeat(2_000_000));
    let sent = large.clone();
    let client = actix::spawn(async move {
        let late = client_send_async(&Command::Count, "/nowhere/at.all", Duration::from_secs(9)).await;
        assert!(late.unwrap_err().to_string().contains("no server listens"));
        client_send_async(&sent, &path, Duration::from_secs(60)).await
    });
    until_with_others("it is answered", || {
        bench.poll();
        client.is_finished()
    })
    .await;
    assert_eq!(
        Command::Echo(match client.await.unwrap().unwrap() {
            Answer::Text(text) => text,
            other @ Answer::Count(_) => panic!("{other:?}"),
        }),
        large
    );
    let mut alone = crate::Bench::new(actix_ipc::lazy::Limits::default());
    let late = client_send_async(&Command::Count, &alone.path, Duration::from_millis(1))
        .await
        .unwrap_err();
    assert!(late.may_have_run(), "{late}");
    alone.poll();
}

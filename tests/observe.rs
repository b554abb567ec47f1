//! What the broker shows of itself over `sys.broker`: exact counts however calls end, topics, connections, and the traffic as it passes.
//!
//! Owns no sleep: a count is read after the answer that follows it.
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

use actix_ipc::client::{IpcClient, Methods, Registration, ReplyStream};
use actix_ipc::error::ErrorCode;
use actix_ipc::policy::Policy;
use actix_ipc::{CallError, HandlerError};
use broker::{Place, TestBroker};
use futures::future;
use serde_json::{Value, json};
use std::time::Duration;
use watching::{Watching, ask, row};

fn math() -> Methods {
    Methods::new()
        .method("add", |(a, b): (i64, i64), _| async move { Ok(a + b) })
        .method("refuse", |(): (), _| async move {
            Err::<(), _>(HandlerError::new("not today"))
        })
        .method(
            "never",
            |(): (), _| async move { Ok(future::pending::<()>().await) },
        )
        .method("note", |(): (), _| async move { Ok(()) })
        .stream("count", |to: u32, _| futures::stream::iter((0..to).map(Ok)))
}

/// A worker with `math`, and somebody who calls.
async fn worker_and_caller(broker: &TestBroker) -> ((IpcClient, Registration), IpcClient) {
    let (worker, caller) = (broker.named("worker").await, broker.named("caller").await);
    let registration = worker.register("math", math()).await.unwrap();
    ((worker, registration), caller)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_counted_once_however_it_ends() {
    let place = Place::new();
    let broker = place.start();
    let (worker, caller) = worker_and_caller(&broker).await;
    for _ in 0..30 {
        caller.remote_call::<_, i64>("math", "add", (1, 2)).await.unwrap();
    }
    for _ in 0..4 {
        caller
            .remote_call::<_, ()>("math", "refuse", ())
            .await
            .unwrap_err();
    }
    let mut stream: ReplyStream<u32> = caller.call("math", "count").stream(&5_u32);
    while let Some(item) = stream.next().await {
        item.unwrap();
    }
    caller.call("math", "note").no_reply(&()).await.unwrap();
    // Behind the one-way call, on the same connection.
    caller.flush().await.unwrap();
    let late = caller
        .call("math", "never")
        .deadline(Duration::from_millis(20))
        .send::<_, ()>(&());
    assert_eq!(late.await.unwrap_err().code, ErrorCode::Deadline);
    let mut open: Vec<_> = (0..3)
        .map(|_| Box::pin(caller.remote_call::<_, ()>("math", "never", ()).into_future()))
        .collect();
    for call in &mut open {
        // Sent with its first turn.
        assert!(futures::poll!(call).is_pending());
    }
    let nobody = caller.remote_call::<_, ()>("nobody", "x", ()).await;
    assert_eq!(nobody.unwrap_err().code, ErrorCode::NoSuchObject);
    // What was asked before on this connection has been routed.
    let objects = ask(&caller, "objects", Value::Null).await;
    let object = row(&objects, "objects", "name", "math");
    assert_eq!(object["calls"], 30 + 4 + 1 + 1 + 1 + 3, "{object}");
    assert_eq!(object["one_way"], 1, "{object}");
    assert_eq!(
        (&object["errors"], &object["open"]),
        (&json!(4 + 1), &json!(3)),
        "{object}"
    );
    assert_eq!(object["refused"], 0, "{object}");
    let histogram = object["histogram"].as_array().unwrap();
    let times: u64 = histogram.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!(times, 30 + 4 + 1, "as many times as answers: {object}");
    assert!(object["p50_us"].as_u64() <= object["p99_us"].as_u64(), "{object}");
    assert_eq!(object["owner"]["name"], "worker");
    assert!(
        objects["objects"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["name"] != "nobody")
    );
    the_owner_dies(worker, &caller, open).await;
}

/// What was open has ended, and the counts stay.
async fn the_owner_dies(
    worker: (IpcClient, Registration),
    caller: &IpcClient,
    open: Vec<impl Future<Output = Result<(), CallError>>>,
) {
    drop(worker);
    for call in open {
        assert_eq!(call.await.unwrap_err().code, ErrorCode::CalleeGone);
    }
    let objects = ask(caller, "objects", Value::Null).await;
    let object = row(&objects, "objects", "name", "math");
    assert_eq!(
        (&object["errors"], &object["open"]),
        (&json!(5 + 3), &json!(0)),
        "{object}"
    );
    assert_eq!(object["owner"], Value::Null, "{object}");
    let totals = ask(caller, "status", Value::Null).await["totals"].clone();
    assert_eq!(
        totals["calls"], object["calls"],
        "looking changes nothing: {totals}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_counted_with_what_selects_it() {
    let place = Place::new();
    let broker = place.start();
    let (publisher, subscriber) = (broker.client().await, broker.client().await);
    let _first = subscriber.subscribe("sensor.1", "t").await.unwrap();
    let _second = subscriber.subscribe("sensor.1", "t").await.unwrap();
    let _all = subscriber.subscribe("sensor.*", "*").pattern().await.unwrap();
    let publish = async |object: &'static str, topic: &'static str, count: u64| {
        for number in 0..count {
            publisher.publish(object, topic, &number).await.unwrap();
        }
        publisher.publish("end", "end", &0).acknowledged().await.unwrap();
    };
    publish("sensor.1", "t", 500).await;
    for _ in 0..50 {
        publisher.publish("sensor.1", "t", &0).await.unwrap();
        publisher.publish("sensor.2", "t", &0).await.unwrap();
    }
    publish("sensor.2", "u", 3).await;
    let topics = ask(&publisher, "topics", Value::Null).await;
    let exact = row(&topics, "topics", "object", "sensor.1");
    assert_eq!(
        (&exact["events"], &exact["subscribers"]),
        (&json!(550), &json!(2)),
        "{topics}"
    );
    let pattern = row(&topics, "topics", "object", "sensor.*");
    assert_eq!(
        (&pattern["events"], &pattern["pattern"]),
        (&json!(603), &json!(true)),
        "{topics}"
    );
    assert_eq!(pattern["peers"], json!([subscriber.peer_id().0]));
    assert_eq!(topics["unheard"], 2, "{topics}");
    let status = ask(&publisher, "status", Value::Null).await;
    assert_eq!(status["metrics"]["events_published"], 605);
    assert_eq!(status["totals"]["subscriptions"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_told_with_what_they_do() {
    let place = Place::new();
    let broker = place.start();
    let (_worker, caller) = worker_and_caller(&broker).await;
    let _events = caller.subscribe("a", "b").await.unwrap();
    caller.remote_call::<_, i64>("math", "add", (1, 2)).await.unwrap();
    let list = ask(&caller, "connections", Value::Null).await;
    let worker = row(&list, "connections", "name", "worker");
    assert_eq!(worker["objects"], 1, "{worker}");
    assert_eq!(worker["pid"], std::process::id(), "{worker}");
    assert_eq!(worker["local"], false);
    let own = row(&list, "connections", "name", "caller");
    assert_eq!(own["subscriptions"], 1, "{own}");
    assert_eq!(own["standing"], "ok", "{own}");
    for key in ["bytes_in", "bytes_out", "frames_in", "frames_out"] {
        assert!(worker[key].as_u64().unwrap() > 0, "{key} of {worker}");
    }
    assert_eq!(list["left_out"], 0);
    let one = ask(&caller, "connections", json!({ "limit": 1 })).await;
    assert_eq!(one["connections"].as_array().unwrap().len(), 1);
    assert_eq!(one["left_out"], list["connections"].as_array().unwrap().len() - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_sees_calls_answers_errors_and_events() {
    let place = Place::new();
    let broker = place.start();
    let ((worker, _registration), caller) = worker_and_caller(&broker).await;
    let monitor = broker.client().await;
    let filter = json!({ "object": "math", "payloads": 64 });
    let mut seen = Watching::start(&monitor, filter).await.unwrap();

    caller.remote_call::<_, i64>("math", "add", (1, 2)).await.unwrap();
    let call = seen.next().await;
    assert_eq!(call["kind"], "call", "{call}");
    assert_eq!(
        (&call["object"], &call["member"]),
        (&json!("math"), &json!("add"))
    );
    assert_eq!(
        (&call["from"], &call["to"]),
        (&json!(caller.peer_id().0), &json!(worker.peer_id().0))
    );
    assert_eq!(
        (&call["encoding"], &call["payload"]),
        (&json!("json"), &json!("[1,2]")),
        "{call}"
    );
    let reply = seen.next().await;
    assert_eq!(
        (&reply["kind"], &reply["ticket"]),
        (&json!("reply"), &call["ticket"]),
        "{reply}"
    );
    assert_eq!(
        (&reply["payload"], &reply["last"]),
        (&json!("3"), &json!(true)),
        "{reply}"
    );
    assert!(
        reply["us"].is_u64() && reply["at_us"].as_u64() >= call["at_us"].as_u64(),
        "{reply}"
    );

    caller
        .remote_call::<_, ()>("math", "refuse", ())
        .await
        .unwrap_err();
    let (_, refused) = (seen.next().await, seen.next().await);
    assert_eq!(
        (&refused["error"], &refused["text"]),
        (&json!("Handler"), &json!("not today")),
        "{refused}"
    );
    assert_eq!(seen.2, 0, "nothing was dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_sees_what_the_broker_answers_and_events() {
    let place = Place::new();
    let broker = place.start();
    let ((worker, _registration), caller) = worker_and_caller(&broker).await;
    let monitor = broker.client().await;
    let mut seen = Watching::start(&monitor, json!({ "object": "math" }))
        .await
        .unwrap();
    let mut named = Watching::start(&monitor, json!({ "kinds": ["event"], "member": "t" }))
        .await
        .unwrap();
    let mut missing = Watching::start(&monitor, json!({ "object": "nobody" }))
        .await
        .unwrap();

    caller.remote_call::<_, ()>("nobody", "x", ()).await.unwrap_err();
    let (call, reply) = (missing.next().await, missing.next().await);
    assert_eq!(
        (&call["to"], &reply["from"]),
        (&Value::Null, &Value::Null),
        "{call} {reply}"
    );
    assert_eq!(reply["error"], "NoSuchObject");

    let late = caller
        .call("math", "never")
        .deadline(Duration::from_millis(20))
        .send::<_, ()>(&());
    late.await.unwrap_err();
    let (_, broken) = (seen.next().await, seen.next().await);
    assert_eq!(
        (&broken["error"], &broken["from"]),
        (&json!("Deadline"), &Value::Null),
        "{broken}"
    );

    let _events = worker.subscribe("sensor", "t").await.unwrap();
    caller.publish("sensor", "other", &1).await.unwrap();
    caller.publish("sensor", "t", &2).await.unwrap();
    let event = named.next().await;
    assert_eq!(
        (&event["kind"], &event["subscribers"]),
        (&json!("event"), &json!(1)),
        "{event}"
    );
    assert_eq!(event.get("payload"), None, "not asked for: {event}");
    assert_eq!(seen.2 + named.2 + missing.2, 0, "nothing was dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_sees_who_comes_and_goes() {
    let place = Place::new();
    let broker = place.start();
    let monitor = broker.client().await;
    let mut seen = Watching::start(&monitor, json!({ "kinds": ["presence"] }))
        .await
        .unwrap();
    let worker = broker.named("worker").await;
    let peer = worker.peer_id().0;
    let registration = worker.register("math", math()).await.unwrap();
    let events = worker.subscribe("sensor.*", "t").pattern().await.unwrap();
    drop(events);
    drop(registration);
    worker.flush().await.unwrap();
    drop(worker);
    let mut told = Vec::new();
    while told.last().is_none_or(|(what, _)| what != "disconnected") {
        let record = seen.next().await;
        if record["peer"] == peer {
            let object = record["object"].as_str().unwrap_or_default().to_owned();
            told.push((record["what"].as_str().unwrap().to_owned(), object));
        }
    }
    let order: Vec<&str> = told.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(order[0], "connected");
    for (what, object) in [
        ("registered", "math"),
        ("subscribed", "sensor.*"),
        ("unsubscribed", "sensor.*"),
        ("unregistered", "math"),
    ] {
        let wanted = (what.to_owned(), object.to_owned());
        assert_eq!(
            told.iter().filter(|found| **found == wanted).count(),
            1,
            "{what}: {told:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_broker_drops_records_and_counts_them_and_holds_nobody() {
    let place = Place::new();
    let broker = place.start();
    let (publisher, monitor) = (broker.client().await, broker.client().await);
    let filter = json!({ "kinds": ["event"], "rate": 100 });
    let mut seen = Watching::start(&monitor, filter).await.unwrap();
    const EVENTS: u64 = 20_000;
    for number in 1..EVENTS {
        publisher.publish("a", "b", &number).await.unwrap();
    }
    publisher.publish("a", "b", &EVENTS).acknowledged().await.unwrap();
    let mut records = 0;
    while records + seen.2 < EVENTS {
        match seen.1.pop() {
            Some(_) => records += 1,
            None => {
                let item = tokio::time::timeout(Duration::from_secs(10), seen.0.next()).await;
                let item = item
                    .expect("neither records nor their count came")
                    .unwrap()
                    .unwrap();
                seen.2 += item["dropped"].as_u64().unwrap();
                seen.1.extend(item["records"].as_array().unwrap().iter().cloned());
            }
        }
    }
    assert_eq!(records + seen.2, EVENTS, "each is told or counted");
    assert!(records >= 100 && seen.2 > 0, "{records} told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_refused_and_a_monitor_that_leaves_costs_nothing() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let single = client
        .remote_call::<_, Value>("sys.broker", "monitor", ())
        .await
        .unwrap_err();
    assert_eq!(single.code, ErrorCode::Invalid, "{single}");
    for filter in [
        json!({ "objekt": 1 }),
        json!({ "object": "" }),
        json!({ "rate": 0 }),
        json!([1]),
    ] {
        let refused = Watching::start(&client, filter.clone())
            .await
            .err()
            .expect("it is wrong");
        assert_eq!(refused.code, ErrorCode::Invalid, "{filter}: {refused}");
    }
    let wrong = client
        .remote_call::<_, Value>("sys.broker", "topics", json!({ "limt": 1 }))
        .await;
    assert_eq!(wrong.unwrap_err().code, ErrorCode::Invalid);
    // As many as one user may have, whichever the tests run as.
    let mut all = Vec::new();
    let refused = loop {
        match Watching::start(&client, json!({})).await {
            Ok(watching) => all.push(watching),
            Err(error) => break error,
        }
        assert!(all.len() <= 8, "there is no end of them");
    };
    assert_eq!(refused.code, ErrorCode::Overloaded, "{refused}");
    assert_eq!(all.len(), 8, "this process is the broker's own user");
    drop(all);
    // They leave when their ends arrive; the question is asked again until then.
    let gone = async {
        while ask(&client, "status", Value::Null).await["monitors"] != 0 {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(60), gone).await;
    gone.expect("monitors stay although nobody reads them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_says_how_it_is_from_its_start() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let status = ask(&client, "status", Value::Null).await;
    assert_eq!(status["recent"], json!([]));
    assert_eq!(status["pid"], std::process::id());
    assert_eq!(status["restarts"], json!({ "registry": 0, "topic_hub": 0 }));
    let levels = &status["levels"];
    assert_eq!(levels["connections"], 1, "{levels}");
    if cfg!(target_os = "linux") {
        let process = &status["process"];
        for key in ["cpu_us", "resident_bytes", "open_files", "started_unix_ms"] {
            assert!(process[key].as_u64().unwrap() > 0, "{key}: {process}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_monitor_any_more_is_told_nothing_more() {
    let place = Place::new();
    let broker = place.start();
    let (client, other) = (broker.client().await, broker.client().await);
    let mut seen = Watching::start(&client, json!({})).await.unwrap();
    // Nobody may do anything any more.
    broker.handle.set_policy(Policy::default());
    let _ = other.publish("a", "b", &1).await;
    let ended = loop {
        let item = tokio::time::timeout(Duration::from_secs(10), seen.0.next()).await;
        match item.expect("the stream neither goes on nor ends") {
            Some(Ok(item)) => assert_eq!(item["records"], json!([]), "told after the change"),
            Some(Err(error)) => break error,
            None => panic!("it ended as if all were well"),
        }
    };
    assert!(
        matches!(ended.code, ErrorCode::Denied | ErrorCode::BrokerGone),
        "{ended}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_are_told_of_what_was_before_they_asked() {
    let place = Place::new();
    let broker = place.start();
    let ((_worker, _registration), caller) = worker_and_caller(&broker).await;
    for round in 1..=20_u64 {
        caller.remote_call::<_, i64>("math", "add", (1, 2)).await.unwrap();
        let asked = (0..50).map(|_| ask(&caller, "status", Value::Null));
        for status in future::join_all(asked).await {
            assert_eq!(status["totals"]["calls"], round);
        }
    }
}

//! Lost connections of the client library: what ends, what comes back, what is told.
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
#[path = "client_reconnect/connecting.rs"]
mod connecting;
#[path = "client_reconnect/workers.rs"]
mod workers;

use actix_ipc::async_trait;
use actix_ipc::client::{
    ConnectError, ConnectionEvent, ConnectionEvents, IpcClient, Methods, Notice, SharedObject, Standing,
    Update, WatchScope, WorkerBuilder,
};
use actix_ipc::config::Limits;
use actix_ipc::error::{CallError, CloseReason, ErrorCode};
use actix_ipc::message::{Metadata, Payload};
use actix_ipc::transport::Endpoint;
use broker::Place;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it did not happen")
}

async fn event(events: &mut ConnectionEvents) -> ConnectionEvent {
    soon(events.next()).await.unwrap()
}

struct Name(&'static str);

#[async_trait]
impl SharedObject for Name {
    async fn call(&self, _method: &str, _args: &Value) -> Value {
        json!(self.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back_with_a_new_broker_at_the_old_place() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let client = broker.client().await;
    let registration = worker.register_object("o", Name("answer")).await.unwrap();
    let mut subscription = client.subscribe("o", "e").await.unwrap();
    let mut watch = client.watch_pattern(WatchScope::Names, "o").await.unwrap();
    assert!(matches!(
        soon(watch.next()).await,
        Some(Notice::NameAppeared { .. })
    ));
    let first_epoch = client.epoch();
    let mut events = client.connection_events();
    let mut worker_events = worker.connection_events();
    broker.crash();
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    let error = client.remote_call::<(), ()>("o", "m", ()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NotConnected, false));
    let error = client.publish("o", "e", &1).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotConnected);
    assert_eq!(soon(watch.next()).await, Some(Notice::Interrupted));

    let _broker = place.start();
    let ConnectionEvent::Reconnected {
        epoch,
        same_broker,
        restored,
        lost,
    } = event(&mut events).await
    else {
        panic!("not restored")
    };
    assert_eq!((same_broker, restored, lost.len()), (false, 2, 0));
    assert!(epoch != first_epoch && epoch == client.epoch());
    loop {
        if let ConnectionEvent::Reconnected { restored, .. } = event(&mut worker_events).await {
            assert_eq!(restored, 1);
            break;
        }
    }
    assert_eq!(registration.standing(), Standing::Owner);
    let answer: String = client.remote_call("o", "m", ()).await.unwrap();
    assert_eq!(answer, "answer");
    client.publish("o", "e", &2).await.unwrap();
    let received = soon(subscription.next()).await.unwrap();
    assert_eq!(
        (received.decode::<u8>().unwrap(), received.interrupted),
        (2, true)
    );
    client.publish("o", "e", &3).await.unwrap();
    assert!(!soon(subscription.next()).await.unwrap().interrupted);
    assert!(matches!(soon(watch.next()).await, Some(Notice::NameAppeared { name, .. }) if name == "o"));
}

#[tokio::test]
async fn a_will_that_is_taken_back_without_a_connection_is_not_set_on_the_next() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut events = client.connection_events();
    broker.crash();
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    let will = Payload::json("late").unwrap();
    let mut set = Box::pin(client.set_will("o", "t", will, Metadata::new(), false));
    assert!(futures::poll!(&mut set).is_pending());
    let cleared = client.clear_will().await.unwrap_err();
    assert_eq!(cleared.code, ErrorCode::NotConnected);
    assert_eq!(soon(set).await.unwrap_err().code, ErrorCode::Cancelled);
    let _broker = place.start();
    let back = event(&mut events).await;
    assert!(
        matches!(back, ConnectionEvent::Reconnected { restored: 0, .. }),
        "{back:?}"
    );
    // Nothing of it is asked for behind that either: a second one is set at once, and taken back.
    let will = Payload::json("next").unwrap();
    soon(client.set_will("o", "t", will, Metadata::new(), false))
        .await
        .unwrap();
    soon(client.clear_will()).await.unwrap();
}

/// What it was for may have ended with the connection on which it began to wait.
#[tokio::test]
async fn what_waited_to_be_sent_is_not_sent_on_the_next_connection() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut events = client.connection_events();
    // More at once than a socket takes, and quickly made. Nothing is written here in between, so that the buffer is full soon after the
    // first time that the broker has not read as fast.
    let fill = Payload::raw(vec![b'x'; 250_000]);
    let limit = Instant::now() + PATIENCE;
    let mut waiting = loop {
        let mut sending = Box::pin(client.call("o", "m").no_reply_payload(fill.clone()));
        if futures::poll!(&mut sending).is_pending() {
            break sending;
        }
        assert!(Instant::now() < limit, "the buffer is never full");
    };
    broker.crash();
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    let _broker = place.start();
    assert!(matches!(
        event(&mut events).await,
        ConnectionEvent::Reconnected { .. }
    ));
    let error = soon(&mut waiting).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NotConnected, false));
    assert!(error.message.contains("another one now"), "{error}");
    soon(client.call("o", "m").no_reply_payload(fill)).await.unwrap();
}

/// Told when the connection is lost, it would not cover what is published before the subscription stands again.
#[tokio::test]
async fn an_interruption_is_told_when_it_is_over() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut subscription = client.subscribe("o", "e").await.unwrap();
    let mut events = client.connection_events();
    broker.crash();
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    let broker = {
        let mut update = std::pin::pin!(subscription.next_update());
        assert!(
            futures::poll!(&mut update).is_pending(),
            "it does not hear again yet"
        );
        let broker = place.start();
        assert!(matches!(
            event(&mut events).await,
            ConnectionEvent::Reconnected { .. }
        ));
        assert!(matches!(soon(update).await, Some(Update::Interrupted)));
        broker
    };
    // A client that is closed meanwhile still tells it, before the end.
    broker.crash();
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    client.close().await;
    assert!(matches!(
        soon(subscription.next_update()).await,
        Some(Update::Interrupted)
    ));
    assert!(soon(subscription.next_update()).await.is_none());
}

#[tokio::test]
async fn open_calls_end_at_once_and_say_that_they_may_have_run() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let begun = Arc::new(Notify::new());
    let tell = begun.clone();
    let object = Methods::new().method("wait", move |(): (), _| {
        tell.notify_one();
        std::future::pending::<Result<(), actix_ipc::client::HandlerError>>()
    });
    let _registration = worker.register("o", object).await.unwrap();
    let client = broker.client().await;
    let call = client.remote_call::<(), ()>("o", "wait", ());
    let end = async {
        begun.notified().await;
        broker.crash();
    };
    let (answer, ()) = soon(async { tokio::join!(call, end) }).await;
    let error = answer.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::BrokerGone, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_during_an_outage_is_answered_after_it() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut events = client.connection_events();
    broker.stop().await;
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    let waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.wait_for_object("late").await });
    let asker = client.clone();
    let asking = tokio::spawn(async move { asker.subscribe("o", "e").await });
    let dropped = client.subscribe("never", "asked");
    assert!(futures::poll!(Box::pin(dropped.into_future())).is_pending());
    let _broker = place.start();
    let mut subscription = soon(asking).await.unwrap().unwrap();
    assert_eq!(client.publish("o", "e", &1).acknowledged().await.unwrap(), 1);
    assert_eq!(
        soon(subscription.next()).await.unwrap().decode::<u8>().unwrap(),
        1
    );
    assert_eq!(
        client.publish("never", "asked", &1).acknowledged().await.unwrap(),
        0
    );
    let _late = client.register_object("late", Name("late")).await.unwrap();
    soon(waiting).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_outages_and_many_names_in_order() {
    let place = Place::new();
    let mut broker = place.start();
    let client = broker.client().await;
    let mut held = Vec::new();
    for number in 0..3000 {
        held.push(
            client
                .register_object(&format!("object {number}"), Name("x"))
                .await
                .unwrap(),
        );
    }
    let mut events = client.connection_events();
    for _ in 0..2 {
        broker.crash();
        broker = place.start();
        loop {
            if let ConnectionEvent::Reconnected { restored, lost, .. } = event(&mut events).await {
                assert_eq!((restored, lost), (3000, Vec::new()));
                break;
            }
        }
        let answer: String = client.remote_call("object 2999", "m", ()).await.unwrap();
        assert_eq!(answer, "x");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_somebody_else_has_by_then_is_told_as_lost() {
    let (place, other_place) = (Place::new(), Place::new());
    let (broker, other_broker) = (place.start(), other_place.start());
    let _taken = other_broker
        .client()
        .await
        .register_object("o", Name("other"))
        .await
        .unwrap();
    let client = IpcClient::builder()
        .endpoint(place.endpoint())
        .endpoint(other_place.endpoint());
    let client = client.connect().await.unwrap();
    let registration = client.register_object("o", Name("mine")).await.unwrap();
    let _free = client.register_object("p", Name("mine too")).await.unwrap();
    let mut events = client.connection_events();
    broker.crash();
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    let ConnectionEvent::Reconnected { restored, lost, .. } = event(&mut events).await else {
        panic!("no report")
    };
    assert_eq!((restored, lost.len()), (1, 1));
    assert_eq!(
        (lost[0].0.as_str(), lost[0].1.code),
        ("object o", ErrorCode::NameTaken)
    );
    assert!(matches!(registration.standing(), Standing::Lost(_)));
    assert_eq!(
        client.remote_call::<(), String>("o", "m", ()).await.unwrap(),
        "other"
    );
}

#[tokio::test]
async fn without_reconnection_it_ends() {
    let place = Place::new();
    let broker = place.start();
    let client = IpcClient::builder()
        .endpoint(broker.endpoint.clone())
        .reconnect(false)
        .connect()
        .await
        .unwrap();
    let mut subscription = client.subscribe("o", "e").await.unwrap();
    let mut events = client.connection_events();
    broker.crash();
    assert!(soon(subscription.next()).await.is_none());
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    assert!(matches!(event(&mut events).await, ConnectionEvent::Closed { .. }));
    assert!(events.next().await.is_none());
    assert_eq!(
        client.publish("o", "e", &1).await.unwrap_err().code,
        ErrorCode::NotConnected
    );
    assert_eq!(
        client.subscribe("o", "e").await.unwrap_err().code,
        ErrorCode::NotConnected
    );
}

#[tokio::test]
async fn an_orderly_end_is_no_loss() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut subscription = client.subscribe("o", "e").await.unwrap();
    let mut events = client.connection_events();
    soon(client.close()).await;
    assert!(matches!(event(&mut events).await, ConnectionEvent::Closed { .. }));
    assert!(soon(subscription.next_update()).await.is_none());
}

#[tokio::test]
async fn a_wait_ends_in_time_while_no_broker_is_there() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut events = client.connection_events();
    broker.crash();
    assert!(matches!(event(&mut events).await, ConnectionEvent::Lost { .. }));
    let wait = client.wait_for_object_timeout("nobody", Duration::from_millis(100));
    assert_eq!(soon(wait).await.unwrap_err().code, ErrorCode::Deadline);
}

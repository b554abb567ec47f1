//! A policy that a program sets on the broker inside it, as its actors and a client of the library meet it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/broker.rs"]
mod broker;

use actix_ipc::client::{ConnectionEvent, Methods, Standing, Update, WorkerBuilder};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::Payload;
use actix_ipc::policy::{Policy, Right, Rule, Selection, Who};
use actix_ipc::transport::current_uid;
use broker::Place;
use std::future::Future;
use std::time::Duration;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what)
        .await
        .expect("it did not happen in ten times the second that is promised")
}

fn me() -> Who {
    Who::Uid(current_uid().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_hears_what_it_loses_and_the_operator_loses_nothing() {
    let place = Place::new();
    let broker = place.start();
    let operator = broker.handle.local("operator").unwrap();
    let client = broker.client().await;
    let mut connection = client.connection_events();
    let object = Methods::new().method("add", |(a, b): (i64, i64), _| async move { Ok(a + b) });
    let mut registration = client.register("mine", object).await.unwrap();
    let mut events = client.subscribe("news", "e").await.unwrap();
    assert_eq!(
        client.remote_call::<_, i64>("mine", "add", (1, 2)).await.unwrap(),
        3
    );

    let rule = Rule::allow([me()]).plain(Right::Connect);
    let rule = rule.named(Right::Call, Selection::object("other").unwrap());
    broker.handle.set_policy(Policy::new(vec![rule]));
    assert!(matches!(soon(registration.changed()).await, Standing::Lost(_)));
    let Some(Update::Ended(reason)) = soon(events.next_update()).await else {
        panic!("the subscription did not end")
    };
    assert!(reason.contains("may not subscribe \"news\" \"e\""), "{reason}");
    assert_eq!(soon(events.next()).await, None);

    let refused = client
        .remote_call::<_, i64>("mine", "add", (1, 2))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.may_have_run),
        (ErrorCode::Denied, false),
        "{refused}"
    );
    let refused = client.publish("news", "e", &1).acknowledged().await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Denied);
    // Not asked for an answer, and told all the same; the connection goes on.
    client.publish("news", "e", &1).await.unwrap();
    let missing = client.remote_call::<_, i64>("other", "m", ()).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::NoSuchObject, "allowed, but not there");

    operator.publish("news", "e", Payload::default()).await.unwrap();
    let list = operator.list().await.unwrap();
    assert_eq!(list["connections"].as_array().unwrap().len(), 2, "{list}");
    assert!(broker.handle.metrics().denied >= 4);

    broker.handle.set_policy(Policy::default());
    let Some(ConnectionEvent::Lost { reason }) = soon(connection.next()).await else {
        panic!("the connection did not end")
    };
    assert!(reason.contains("may not connect"), "{reason}");
    operator.list().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_name_the_policy_takes_back_ends_and_says_so() {
    let place = Place::new();
    let broker = place.start();
    let worker = WorkerBuilder::new()
        .add_handler("mine", Methods::new())
        .endpoint(place.endpoint());
    let serving = tokio::spawn(worker.spawn());
    broker.client().await.wait_for_object("mine").await.unwrap();
    let rule = Rule::allow([me()]).plain(Right::Connect);
    broker.handle.set_policy(Policy::new(vec![rule]));
    let error = soon(serving).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
    assert!(error.to_string().contains("the name mine is lost"), "{error}");
}

/// No moment between two policies lets in what neither allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_registered_under_the_policy_in_force_while_it_changes_all_the_time() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let policy = |name: &str| {
        let rule = Rule::allow([me()]).plain(Right::Connect);
        Policy::new(vec![rule.named(Right::Own, Selection::object(name).unwrap())])
    };
    for round in 0..200 {
        broker
            .handle
            .set_policy(policy(if round % 2 == 0 { "even" } else { "odd" }));
        let (even, odd) = tokio::join!(
            client.register("even", Methods::new()),
            client.register("odd", Methods::new())
        );
        let (allowed, denied) = if round % 2 == 0 { (even, odd) } else { (odd, even) };
        drop(allowed.unwrap());
        assert_eq!(denied.unwrap_err().code, ErrorCode::Denied);
    }
}

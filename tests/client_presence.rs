//! Presence through a real broker: waiting, watching, listing; and the life of a connection.
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

use actix_ipc::async_trait;
use actix_ipc::client::{Balance, ConnectionEvent, IPCClient, Notice, SharedObject, Standing, WatchScope};
use actix_ipc::error::ErrorCode;
use broker::Place;
use serde_json::{Value, json};
use std::time::Duration;

struct Name(&'static str);

#[async_trait]
impl SharedObject for Name {
    async fn call(&self, _method: &str, _args: &Value) -> Value {
        json!(self.0)
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it did not happen")
}

#[tokio::test]
async fn waiting_for_several_names_and_for_none() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let a = client.register_object("a", Name("a")).await.unwrap();
    soon(client.wait_for_object("a")).await.unwrap();
    let error = client
        .wait_for_objects_timeout(["a", "b"], Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Deadline);
    let waiting = client.wait_for_objects(["a", "b"]);
    let register = async {
        let b = client.register_object("b", Name("b")).await.unwrap();
        (a, b)
    };
    let (waited, _both) = soon(async { tokio::join!(waiting, register) }).await;
    waited.unwrap();
    for _ in 0..10_000 {
        let dropped = Box::pin(client.wait_for_object("never"));
        assert!(futures::poll!(dropped).is_pending());
    }
    soon(client.wait_for_object("a")).await.unwrap();
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_what_changes() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let a = client.register_object("a", Name("a")).await.unwrap();
    let mut watch = client.watch_pattern(WatchScope::Names, "a").await.unwrap();
    let owner = match soon(watch.next()).await {
        Some(Notice::NameAppeared { name, owner }) if name == "a" => owner,
        other => panic!("{other:?}"),
    };
    assert_eq!((owner.peer, owner.pid), (client.peer_id(), std::process::id()));
    a.unregister().await.unwrap();
    assert_eq!(
        soon(watch.next()).await,
        Some(Notice::NameVanished {
            name: "a".into(),
            owner
        })
    );
    let mut connections = client
        .watch_pattern(WatchScope::Connections, "guest.*")
        .await
        .unwrap();
    let guest = broker.named("guest.1").await;
    let peer = guest.peer_id();
    match soon(connections.next()).await {
        Some(Notice::ConnectionAppeared { name, peer: origin }) => {
            assert_eq!((name.as_str(), origin.peer), ("guest.1", peer))
        }
        other => panic!("{other:?}"),
    }
    drop(guest);
    assert!(matches!(
        soon(connections.next()).await,
        Some(Notice::ConnectionVanished { .. })
    ));
}

#[tokio::test]
async fn what_is_registered_can_be_listed_and_described() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.named("lister").await;
    let text = json!({ "methods": ["m"] }).to_string();
    let _a = client
        .register_object("a", Name("a"))
        .description(text)
        .await
        .unwrap();
    let list = client.list().await.unwrap();
    assert!(
        list.to_string().contains("\"a\"") && list.to_string().contains("lister"),
        "{list}"
    );
    let description = client.describe("a").await.unwrap();
    assert!(description.to_string().contains("methods"), "{description}");
    assert_eq!(
        client.describe("nobody").await.unwrap_err().code,
        ErrorCode::NoSuchObject
    );
    assert!(client.ping().await.unwrap() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_name_goes_to_the_next_in_the_queue_or_to_one_that_replaces() {
    let place = Place::new();
    let broker = place.start();
    let (first, second, third) = (
        broker.client().await,
        broker.client().await,
        broker.client().await,
    );
    let owner = first
        .register_object("o", Name("first"))
        .allow_replace()
        .await
        .unwrap();
    assert_eq!(owner.standing(), Standing::Owner);
    let mut next = second
        .register_object("o", Name("second"))
        .queue()
        .allow_replace()
        .await
        .unwrap();
    assert_eq!(next.standing(), Standing::Queued);
    drop(owner);
    assert_eq!(soon(next.changed()).await, Standing::Owner);
    assert_eq!(
        first.remote_call::<(), String>("o", "m", ()).await.unwrap(),
        "second"
    );
    let replacing = third.register_object("o", Name("third")).replace().await.unwrap();
    assert_eq!(replacing.standing(), Standing::Owner);
    assert!(matches!(soon(next.changed()).await, Standing::Lost(_)));
    assert_eq!(
        first.remote_call::<(), String>("o", "m", ()).await.unwrap(),
        "third"
    );
}

#[tokio::test]
async fn a_group_shares_its_calls() {
    let place = Place::new();
    let broker = place.start();
    let (first, second) = (broker.client().await, broker.client().await);
    let _first = first
        .register_object("pool", Name("first"))
        .group(Balance::RoundRobin)
        .await
        .unwrap();
    let _second = second
        .register_object("pool", Name("second"))
        .group(Balance::RoundRobin)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(first.remote_call::<(), String>("pool", "m", ()).await.unwrap());
    }
    answers.sort();
    assert_eq!(answers, ["first", "first", "second", "second"]);
}

#[tokio::test]
async fn the_connection_ends_with_its_last_holder() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut watch = client
        .watch_pattern(WatchScope::Connections, "held")
        .await
        .unwrap();
    let held = broker.named("held").await;
    assert!(matches!(
        soon(watch.next()).await,
        Some(Notice::ConnectionAppeared { .. })
    ));
    let subscription = held.clone().subscribe("o", "e").await.unwrap();
    drop(held);
    assert_eq!(
        client.publish("o", "e", &1).acknowledged().await.unwrap(),
        1,
        "a subscription keeps it"
    );
    drop(subscription);
    assert!(matches!(
        soon(watch.next()).await,
        Some(Notice::ConnectionVanished { .. })
    ));
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let clone = client.clone();
    let mut events = client.connection_events();
    let mut subscription = client.subscribe("o", "e").await.unwrap();
    soon(client.close()).await;
    let error = clone.remote_call::<(), ()>("o", "m", ()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NotConnected, false));
    assert!(soon(subscription.next()).await.is_none());
    assert!(matches!(
        soon(events.next()).await,
        Some(ConnectionEvent::Closed { .. })
    ));
    assert!(matches!(
        clone.connection_events().next().await,
        Some(ConnectionEvent::Closed { .. })
    ));
}

#[tokio::test]
async fn the_end_of_the_system_that_carries_the_socket_is_told() {
    let place = Place::new();
    let broker = place.start();
    let endpoint = broker.endpoint.clone();
    let client = std::thread::spawn(move || {
        actix::System::new().block_on(async move { IPCClient::connect_to(endpoint).await.unwrap() })
    });
    let client = client.join().unwrap();
    let error = soon(client.closed()).await;
    assert_eq!(error.code, ErrorCode::NotConnected);
    assert!(error.message.contains("run-time"), "{error}");
    assert!(client.subscribe("o", "e").await.is_err());
}

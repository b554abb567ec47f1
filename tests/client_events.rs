//! Events of the client library through a real broker: order, acknowledgement, retained values, pieces, gaps, groups.
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

use actix_ipc::client::{Event, IpcClient, SlowPolicy, Subscription, Update};
use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Encoding, Metadata, Payload};
use broker::Place;
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::Duration;

async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(Duration::from_secs(10), subscription.next())
        .await
        .expect("no event came")
        .unwrap()
}

fn number(event: &Event) -> u64 {
    event.decode().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_order_and_none_is_missing() {
    let place = Place::new();
    let broker = place.start();
    let (publisher, subscriber) = (broker.client().await, broker.client().await);
    let mut events = subscriber.subscribe("sensor", "count").await.unwrap();
    let publishing = tokio::spawn(async move {
        for count in 0..50_000_u64 {
            publisher.publish("sensor", "count", &count).await.unwrap();
        }
        publisher
    });
    let mut expected = 0;
    while expected < 50_000 {
        let event = next(&mut events).await;
        expected += event.missed;
        assert_eq!(
            (number(&event), event.object(), event.topic()),
            (expected, "sensor", "count")
        );
        assert_eq!(event.missed, 0, "a reader that keeps up misses nothing");
        expected += 1;
    }
    publishing.await.unwrap();
}

#[actix::test]
async fn inside_an_actix_system_too() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut events = client.subscribe("o", "e").await.unwrap();
    for count in 0..1000_u64 {
        client.publish("o", "e", &count).await.unwrap();
    }
    for expected in 0..1000 {
        assert_eq!(number(&next(&mut events).await), expected);
    }
}

#[tokio::test]
async fn an_acknowledged_event_is_counted_and_survives_its_publisher() {
    let place = Place::new();
    let broker = place.start();
    let subscriber = broker.client().await;
    let publisher = broker.client().await;
    assert_eq!(
        publisher
            .publish("o", "e", "nobody")
            .acknowledged()
            .await
            .unwrap(),
        0
    );
    let mut first = subscriber.subscribe("o", "e").await.unwrap();
    let mut second = subscriber.subscribe("o", "e").await.unwrap();
    let event = publisher
        .publish_payload("o", "e", Payload::raw("raw"))
        .acknowledged();
    assert_eq!(event.await.unwrap(), 2);
    drop(publisher);
    for events in [&mut first, &mut second] {
        let event = next(events).await;
        assert_eq!(
            (event.payload.encoding, &event.payload.bytes[..]),
            (Encoding::RAW, &b"raw"[..])
        );
    }
}

#[tokio::test]
async fn dropping_the_client_at_once_loses_nothing_that_was_published() {
    let place = Place::new();
    let broker = place.start();
    let mut events = broker.client().await.subscribe("o", "e").await.unwrap();
    for round in 0..20_u64 {
        let publisher = broker.client().await;
        for step in 0..50 {
            publisher.publish("o", "e", &(round * 50 + step)).await.unwrap();
        }
    }
    let mut seen: Vec<u64> = Vec::new();
    while seen.len() < 1000 {
        seen.push(number(&next(&mut events).await));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn retained_values_come_first_and_can_be_left_out() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut metadata = Metadata::new();
    metadata.insert("unit", "°C").unwrap();
    client
        .publish("sensor", "heat", &21)
        .retained()
        .metadata(metadata)
        .acknowledged()
        .await
        .unwrap();
    let mut with = client.subscribe("sensor", "heat").await.unwrap();
    let mut without = client
        .subscribe("sensor", "heat")
        .without_retained()
        .await
        .unwrap();
    client.publish("sensor", "heat", &22).await.unwrap();
    let event = next(&mut with).await;
    assert_eq!(
        (number(&event), event.retained, event.metadata.get_str("unit")),
        (21, true, Some("°C"))
    );
    for events in [&mut with, &mut without] {
        let event = next(events).await;
        assert_eq!((number(&event), event.retained), (22, false));
    }
}

#[tokio::test]
async fn patterns_groups_and_no_local() {
    let place = Place::new();
    let broker = place.start();
    let (client, other) = (broker.client().await, broker.client().await);
    let mut all = client.subscribe("sensor.*", "**").pattern().await.unwrap();
    let mut foreign = client.subscribe("sensor.a", "heat").no_local().await.unwrap();
    let mut first = client.subscribe("sensor.a", "heat").group("g").await.unwrap();
    let mut second = other.subscribe("sensor.a", "heat").group("g").await.unwrap();
    client.publish("sensor.a", "heat", &1).await.unwrap();
    client.publish("sensor.b", "wind.north", &2).await.unwrap();
    client.flush().await.unwrap();
    other.publish("sensor.a", "heat", &3).await.unwrap();
    let mut topics = Vec::new();
    for _ in 0..3 {
        let event = next(&mut all).await;
        topics.push(format!("{} {} {}", event.object(), event.topic(), number(&event)));
    }
    assert_eq!(
        topics,
        ["sensor.a heat 1", "sensor.b wind.north 2", "sensor.a heat 3"]
    );
    assert_eq!(number(&next(&mut foreign).await), 3);
    let mut group = Vec::new();
    for _ in 0..2 {
        let event = tokio::select! {
            event = first.next() => event,
            event = second.next() => event,
        };
        group.push(number(&event.unwrap()));
    }
    group.sort_unstable();
    assert_eq!(group, [1, 3], "each event goes to one of the group");
    let error = client.subscribe("a*", "b").pattern().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_event_goes_in_pieces() {
    let place = Place::new();
    let broker = place.start_with(Limits {
        frame_bytes: 100_000,
        ..Limits::default()
    });
    let (publisher, subscriber) = (broker.client().await, broker.client().await);
    let mut events = subscriber.subscribe("o", "e").await.unwrap();
    let large: Vec<u8> = (0..5_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let sending = publisher
        .publish_payload("o", "e", Payload::raw(large.clone()))
        .acknowledged();
    let (accepted, event) = tokio::join!(sending, next(&mut events));
    assert_eq!(accepted.unwrap(), 1);
    assert!(event.payload.bytes == large);
    let error = publisher
        .publish_payload("o", "e", Payload::raw(vec![0; 300 << 20]))
        .await
        .unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooLarge, false));
}

#[tokio::test]
async fn half_a_large_event_is_taken_back() {
    let place = Place::new();
    let limits = Limits {
        frame_bytes: 10_000,
        publish_window: 20_000,
        ..Limits::default()
    };
    let broker = place.start_with(limits);
    let (publisher, subscriber) = (broker.client().await, broker.client().await);
    let mut events = subscriber.subscribe("o", "e").await.unwrap();
    for _ in 0..10 {
        let mut large = Box::pin(
            publisher
                .publish_payload("o", "e", Payload::raw(vec![1; 1_000_000]))
                .acknowledged(),
        );
        assert!(
            futures::poll!(&mut large).is_pending(),
            "the window holds it back"
        );
        drop(large);
        publisher.flush().await.unwrap();
    }
    publisher.publish("o", "e", "whole").acknowledged().await.unwrap();
    let mut missed = 0;
    loop {
        match tokio::time::timeout(Duration::from_secs(10), events.next_update())
            .await
            .unwrap()
            .unwrap()
        {
            Update::Event(event) => {
                assert_eq!(event.decode::<String>().unwrap(), "whole");
                missed += event.missed;
                break;
            }
            Update::Missed(count) => missed += count,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=10).contains(&missed), "{missed} were begun and taken back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unread_subscription_is_bounded_and_tells_its_gap() {
    let place = Place::new();
    let broker = place.start();
    let (publisher, subscriber) = (broker.client().await, broker.client().await);
    let mut unread = subscriber.subscribe("o", "e").buffer(10_000).await.unwrap();
    let mut read = subscriber.subscribe("o", "e").await.unwrap();
    for count in 0..5_000_u64 {
        publisher.publish("o", "e", &count).await.unwrap();
    }
    for expected in 0..5_000 {
        assert_eq!(
            number(&next(&mut read).await),
            expected,
            "another subscription of the client is not held up"
        );
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < 5_000 {
        match tokio::time::timeout(Duration::from_secs(10), unread.next_update())
            .await
            .unwrap()
            .unwrap()
        {
            Update::Event(event) => {
                missed += event.missed;
                assert_eq!(number(&event), seen + missed);
                seen += 1;
            }
            Update::Missed(count) => missed += count,
            other => panic!("{other:?}"),
        }
    }
    assert!(seen > 10 && missed > 1000, "{seen} seen, {missed} missed");
    publisher.publish("o", "e", &5_000_u64).await.unwrap();
    let event = next(&mut unread).await;
    assert_eq!((number(&event), event.missed), (5_000, 0));
}

#[tokio::test]
async fn every_policy_can_be_asked_for() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    for policy in [
        SlowPolicy::Hold,
        SlowPolicy::Disconnect,
        SlowPolicy::DropOldest,
        SlowPolicy::Latest,
    ] {
        let mut events = client.subscribe("o", "e").policy(policy).await.unwrap();
        client.publish("o", "e", &1).await.unwrap();
        assert_eq!(number(&next(&mut events).await), 1, "{policy:?}");
    }
}

#[tokio::test]
async fn a_callback_goes_on_although_what_it_returned_was_dropped() {
    let place = Place::new();
    let broker = place.start();
    let (publisher, subscriber) = (broker.client().await, broker.client().await);
    let (sender, mut values) = tokio::sync::mpsc::unbounded_channel();
    let again = sender.clone();
    subscriber
        .subscribe_async("o", "e", move |value: Value| sender.send(value).unwrap())
        .await;
    let ended = subscriber
        .subscribe_async("o", "e", move |value: Value| again.send(value).unwrap())
        .await;
    assert!(ended.error().is_none());
    ended.unsubscribe();
    subscriber.flush().await.unwrap();
    drop(subscriber);
    for count in 0..10 {
        publisher
            .publish("o", "e", &json!({ "count": count }))
            .await
            .unwrap();
    }
    for count in 0..10 {
        assert_eq!(values.recv().await.unwrap(), json!({ "count": count }));
    }
    let refused = publisher.subscribe_async("", "e", |_| ()).await;
    assert_eq!(refused.into_result().unwrap_err().code, ErrorCode::Invalid);
}

#[test]
fn a_callback_for_plain_threads_runs_on_a_thread_of_the_library() {
    let place = Place::new();
    let broker = place.start();
    let client = actix_ipc::client::blocking::Client::connect_to(broker.endpoint.clone()).unwrap();
    let (sender, values) = mpsc::channel();
    let callback = move |value: Value| sender.send((value, std::thread::current().id())).unwrap();
    futures::executor::block_on(client.inner().subscribe_async("o", "e", callback));
    client.publish("o", "e", &5).unwrap();
    let (value, thread) = values.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(value == 5 && thread != std::thread::current().id());
}

#[tokio::test]
async fn dropping_a_subscription_ends_it() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    for _ in 0..100 {
        let events = client.subscribe("o", "e").await.unwrap();
        // Also one that the broker has not answered yet.
        let mut asking = Box::pin(client.subscribe("o", "e").into_future());
        let _ = futures::poll!(&mut asking);
        drop((events, asking));
    }
    // Those that were not answered yet are given up when they are.
    let gone = async { while client.publish("o", "e", &1).acknowledged().await.unwrap() > 0 {} };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_will_is_published_when_the_client_dies_and_not_when_it_says_goodbye() {
    let place = Place::new();
    let broker = place.start();
    let mut events = broker.client().await.subscribe("last", "will").await.unwrap();
    let will = |text: &str| Payload::json(text).unwrap();
    let orderly = broker.client().await;
    orderly
        .set_will("last", "will", will("never"), Metadata::new(), false)
        .await
        .unwrap();
    orderly.close().await;
    let cleared = dying(&broker).await;
    cleared
        .0
        .set_will("last", "will", will("cleared"), Metadata::new(), false)
        .await
        .unwrap();
    cleared.0.clear_will().await.unwrap();
    die(cleared);
    let dying = dying(&broker).await;
    dying
        .0
        .set_will("last", "will", will("first"), Metadata::new(), false)
        .await
        .unwrap();
    dying
        .0
        .set_will("last", "will", will("second"), Metadata::new(), false)
        .await
        .unwrap();
    die(dying);
    assert_eq!(next(&mut events).await.decode::<String>().unwrap(), "second");
}

/// A client whose socket can be taken away from it: it lives on an arbiter of its own.
async fn dying(broker: &broker::TestBroker) -> (IpcClient, mpsc::Sender<()>) {
    let endpoint = broker.endpoint.clone();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (kill, killed) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let client = IpcClient::builder()
                .endpoint(endpoint)
                .reconnect(false)
                .connect()
                .await
                .unwrap();
            sender.send(client).unwrap();
            tokio::task::spawn_blocking(move || killed.recv())
                .await
                .unwrap()
                .unwrap_err();
        });
    });
    (receiver.await.unwrap(), kill)
}

fn die((client, kill): (IpcClient, mpsc::Sender<()>)) {
    drop(kill);
    let reason = futures::executor::block_on(client.closed());
    assert_eq!(reason.code, ErrorCode::NotConnected);
}

#[tokio::test]
async fn streams_and_select_work_with_subscriptions() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let events = client.subscribe("o", "e").await.unwrap();
    for count in 0..10_u64 {
        client.publish("o", "e", &count).await.unwrap();
    }
    let numbers: Vec<u64> = StreamExt::take(events, 10)
        .map(|event| number(&event))
        .collect()
        .await;
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

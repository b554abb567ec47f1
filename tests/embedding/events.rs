//! Actors that subscribe: what they hear, and what they miss when they do not keep up.

use super::*;
use actix_ipc::actors::topic_hub::facts::Policy;

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

/// Small queues, so that a flood is small.
fn narrow() -> Limits {
    Limits {
        outbox_bytes: 64 * 1024,
        publish_window: 16 * 1024,
        hold_ms: 20,
        ..Limits::default()
    }
}

/// Publishes the numbers below `total`; when it returns, the broker has handled them.
async fn flood(publisher: &LocalHandle, total: u32) {
    for number in 1..total {
        let value = json(&json!(number));
        publisher.publish("flood", "x", value).await.unwrap();
    }
    let last = json(&json!(total));
    let options = PublishOptions::default();
    publisher
        .publish_acknowledged("flood", "x", last, options)
        .await
        .unwrap();
}

#[actix::test]
async fn a_slow_actor_misses_events_that_are_counted_and_its_queue_is_bounded() {
    let broker = start_with(narrow());
    let local = broker.handle.local("hearer").unwrap();
    let (hearer, mut heard) = Hearer::start_new();
    let gate = actors::close(&hearer).await;
    let gaps = SubscribeOptions::default().gaps(hearer.clone().recipient());
    local
        .subscribe_with("flood", "x", hearer.clone().recipient(), gaps)
        .await
        .unwrap();
    let publisher = broker.handle.local("publisher").unwrap();
    let total = 5_000;
    flood(&publisher, total).await;
    let metrics = broker.handle.metrics();
    assert!(
        metrics.events_delivered < 1_000,
        "at most half of the outbox in events of at least 64 bytes: {metrics:?}"
    );
    assert!(metrics.lagging >= 1, "{metrics:?}");
    gate.send(()).unwrap();
    let mut next = 1;
    while next <= total {
        let event = heard.recv().await.unwrap();
        next += event.missed;
        if event.value != Value::Null {
            assert_eq!(event.value, json!(next), "{event:?}");
            next += 1;
        }
    }
    assert_eq!(next, total + 1, "the gap is told although nothing follows");
    publisher
        .publish("flood", "x", json(&json!("again")))
        .await
        .unwrap();
    let again = heard.recv().await.unwrap();
    assert_eq!((again.value, again.missed), (json!("again"), 0));
    broker.handle.stop().await;
}

#[actix::test]
async fn each_policy_holds_for_actors() {
    for (policy, mailbox) in [
        (Policy::DropOldest, 16),
        (Policy::Latest, 16),
        (Policy::DropOldest, 0),
        (Policy::Latest, 0),
    ] {
        let broker = start_with(narrow());
        let local = broker.handle.local("hearer").unwrap();
        let (hearer, mut heard) = Hearer::start_with(mailbox);
        let gate = actors::close(&hearer).await;
        let options = SubscribeOptions::default().policy(policy);
        local
            .subscribe_with("flood", "x", hearer.recipient(), options)
            .await
            .unwrap();
        let total = 5_000;
        flood(&broker.handle.local("").unwrap(), total).await;
        gate.send(()).unwrap();
        let (mut next, mut received) = (1, 0);
        while next <= total {
            let event = heard.recv().await.unwrap();
            assert_eq!(
                event.value,
                json!(next + event.missed),
                "{policy:?} {mailbox}: {event:?}"
            );
            next += event.missed + 1;
            received += 1;
        }
        // What the mailbox took is old; the queue behind it was kept fresh.
        let most = match policy {
            Policy::Latest => 256 + 2,
            _ => 64 * 1024 / 4 / 64 + 256 + 2,
        };
        assert!(received <= most, "{policy:?} {mailbox}: {received}");
        broker.handle.stop().await;
    }
}

#[actix::test]
async fn one_slow_actor_does_not_delay_the_others() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    let (slow, _unheard) = Hearer::start_new();
    let (quick, mut heard) = Hearer::start_new();
    let _gate = actors::close(&slow).await;
    for hearer in [slow, quick] {
        local.subscribe("flood", "x", hearer.recipient()).await.unwrap();
    }
    flood(&broker.handle.local("").unwrap(), 1_000).await;
    for number in 1..=1_000 {
        let event = heard.recv().await.unwrap();
        assert_eq!((event.value, event.missed), (json!(number), 0));
    }
    broker.handle.stop().await;
}

#[actix::test]
async fn a_group_shares_and_a_dead_actor_leaves() {
    let broker = start();
    let (hearer, mut heard) = Hearer::start_new();
    let (other, mut others) = Hearer::start_new();
    let places = [broker.handle.local("").unwrap(), broker.handle.local("").unwrap()];
    for (local, hearer) in places.iter().zip([hearer.clone(), other]) {
        let group = SubscribeOptions::default().group("workers");
        local
            .subscribe_with("flood", "x", hearer.recipient(), group)
            .await
            .unwrap();
    }
    let publisher = broker.handle.local("").unwrap();
    flood(&publisher, 100).await;
    let mut numbers = std::collections::BTreeSet::new();
    while numbers.len() < 100 {
        let event = tokio::select! {
            event = heard.recv() => event.unwrap(),
            event = others.recv() => event.unwrap(),
        };
        assert!(numbers.insert(event.value.as_u64()), "{event:?} came twice");
    }
    hearer.send(actors::End).await.unwrap();
    // The first event that finds an actor dead ends its subscription.
    let mut to_the_living = 0;
    while to_the_living < 10 {
        publisher
            .publish("flood", "x", json(&json!("after")))
            .await
            .unwrap();
        let list = publisher.list();
        tokio::select! {
            biased;
            event = others.recv() => to_the_living += u32::from(event.unwrap().value == "after"),
            _ = list => {}
        }
    }
    broker.handle.stop().await;
}

#[actix::test]
async fn a_handler_publishes_while_the_window_is_open() {
    let broker = start_with(narrow());
    let local = broker.handle.local("").unwrap();
    let payload = Payload::raw(vec![0_u8; 10_000]);
    let options = PublishOptions::default();
    let publish = || local.try_publish("o", "e", &payload, &options);
    assert_eq!(
        (publish(), publish()),
        (Ok(()), Ok(())),
        "it may go below zero once"
    );
    assert_eq!(code(publish()), (ErrorCode::Overloaded, false));
    // Waiting for credit takes the turn of whoever came first.
    local.publish("o", "e", payload.clone()).await.unwrap();
    let large = Payload::raw(vec![0_u8; 17 * 1024 * 1024]);
    assert_eq!(
        code(local.try_publish("o", "e", &large, &options)),
        (ErrorCode::TooLarge, false)
    );
    broker.handle.stop().await;
}

//! The cases of events: their order, who hears them, retained values, sizes, acknowledgements, last wills. As in `cases`, none of them knows
//! which transport it runs over.

use super::World;
use actix_ipc::Payload;
use actix_ipc::message::Metadata;
use futures::future;

pub async fn events_in_order_and_none_lost(world: World) {
    let (publisher, hearer) = (world.connect().await, world.connect().await);
    let mut events = hearer.subscribe("s", "t").await.unwrap();
    let publishing = async {
        for n in 0..30_000_u32 {
            publisher.publish("s", "t", &n).await.unwrap();
        }
        publisher.flush().await.unwrap();
    };
    let hearing = async {
        for n in 0..30_000 {
            let event = events.next().await.unwrap();
            assert_eq!((event.decode::<u32>().unwrap(), event.missed), (n, 0));
        }
    };
    future::join(publishing, hearing).await;
}

pub async fn patterns_groups_and_no_local(world: World) {
    let (one, two) = (world.connect().await, world.connect().await);
    let mut wide = one.subscribe("house", "kitchen.**").pattern().await.unwrap();
    let mut others = one.subscribe("house", "kitchen.oven").no_local().await.unwrap();
    let mut first = one.subscribe("jobs", "new").group("workers").await.unwrap();
    let mut second = two.subscribe("jobs", "new").group("workers").await.unwrap();
    assert_eq!(
        one.publish("house", "kitchen.oven", &1)
            .acknowledged()
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        two.publish("house", "kitchen.oven", &2)
            .acknowledged()
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        two.publish("house", "garden", &3).acknowledged().await.unwrap(),
        0
    );
    for n in [1, 2] {
        let event = wide.next().await.unwrap();
        assert_eq!(
            (event.decode::<i32>().unwrap(), event.topic()),
            (n, "kitchen.oven")
        );
    }
    assert_eq!(others.next().await.unwrap().decode::<i32>().unwrap(), 2);
    for n in 0..10 {
        assert_eq!(two.publish("jobs", "new", &n).acknowledged().await.unwrap(), 1);
    }
    let mut heard = Vec::new();
    for _ in 0..5 {
        heard.push(first.next().await.unwrap().decode::<i32>().unwrap());
        heard.push(second.next().await.unwrap().decode::<i32>().unwrap());
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..10).collect::<Vec<_>>());
}

pub async fn retained_values(world: World) {
    let (publisher, late) = (world.connect().await, world.connect().await);
    publisher
        .publish("s", "t", "old")
        .retained()
        .acknowledged()
        .await
        .unwrap();
    let mut with = late.subscribe("s", "*").pattern().await.unwrap();
    let mut without = late.subscribe("s", "t").without_retained().await.unwrap();
    publisher.publish("s", "t", "new").acknowledged().await.unwrap();
    let first = with.next().await.unwrap();
    assert_eq!(
        (first.retained, first.decode::<String>().unwrap()),
        (true, "old".into())
    );
    for events in [&mut with, &mut without] {
        let event = events.next().await.unwrap();
        assert_eq!(
            (event.retained, event.decode::<String>().unwrap()),
            (false, "new".into())
        );
    }
    publisher
        .publish_payload("s", "t", Payload::default())
        .retained()
        .acknowledged()
        .await
        .unwrap();
    let mut cleared = world.connect().await.subscribe("s", "t").await.unwrap();
    publisher.publish("s", "t", "last").acknowledged().await.unwrap();
    assert!(!cleared.next().await.unwrap().retained);
}

pub async fn large_events(world: World) {
    let (publisher, hearer) = (world.connect().await, world.connect().await);
    let mut events = hearer.subscribe("s", "t").await.unwrap();
    let bytes: Vec<u8> = (0..20 * 1024 * 1024_u32)
        .map(|n| (n >> 7) as u8 ^ n as u8)
        .collect();
    let publishing = async {
        let accepted = publisher
            .publish_payload("s", "t", Payload::raw(bytes.clone()))
            .acknowledged()
            .await
            .unwrap();
        publisher.publish("s", "t", &1).await.unwrap();
        accepted
    };
    let hearing = async { (events.next().await.unwrap(), events.next().await.unwrap()) };
    let (accepted, (big, small)) = future::join(publishing, hearing).await;
    assert_eq!(accepted, 1);
    assert!(big.payload.bytes == bytes, "20 MiB came changed");
    assert_eq!((small.decode::<i32>().unwrap(), small.missed), (1, 0));
}

pub async fn acknowledged_publishes_are_delivered(world: World) {
    let hearer = world.connect().await;
    let mut events = hearer.subscribe("s", "t").await.unwrap();
    for n in 0..50 {
        let publisher = world.connect().await;
        assert_eq!(publisher.publish("s", "t", &n).acknowledged().await.unwrap(), 1);
        drop(publisher);
        assert_eq!(events.next().await.unwrap().decode::<i32>().unwrap(), n);
    }
}

pub async fn last_wills(world: World) {
    let hearer = world.connect().await;
    let mut events = hearer.subscribe("lamp", "state").await.unwrap();
    let orderly = world.connect().await;
    orderly
        .set_will(
            "lamp",
            "state",
            Payload::json("died").unwrap(),
            Metadata::new(),
            false,
        )
        .await
        .unwrap();
    orderly.close().await;
    let publisher = world.connect().await;
    publisher
        .publish("lamp", "state", "alive")
        .acknowledged()
        .await
        .unwrap();
    assert_eq!(
        events.next().await.unwrap().decode::<String>().unwrap(),
        "alive",
        "an orderly end has no will"
    );
}

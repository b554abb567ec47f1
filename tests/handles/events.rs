//! Handles on events: each subscriber that may and can take them gets its own, the others are told.

use super::*;
use actix_ipc::actors::Broker;
use actix_ipc::client::Update;

/// A section can be written by whoever has it, so nothing is shared among several without the publisher's word.
#[actix::test]
async fn several_subscribers_get_their_own_when_the_publisher_says_so() {
    let place = Place::new();
    let broker = place.start();
    let publisher = broker.client().await;
    for (subscribers, share) in [(0_u8, false), (1, false), (3, false), (3, true)] {
        let case = format!("{subscribers} subscribers, share: {share}");
        let gets = subscribers <= 1 || share;
        let mut open = Vec::new();
        for _ in 0..subscribers {
            let client = broker.client().await;
            let subscription = client.subscribe("o", "e").await.unwrap();
            open.push((client, subscription));
        }
        let (memory, (reader, writer)) = (section(), pipe());
        let sent = Attachments::new().with(memory.try_clone().unwrap()).with(writer);
        let publish = publisher.publish("o", "e", &7_u8).attachments(sent);
        let publish = if share { publish.shared() } else { publish };
        match publish.acknowledged().await {
            Ok(count) => assert_eq!((gets, count), (true, u32::from(subscribers)), "{case}"),
            Err(error) => {
                assert!(!gets, "{case}: {error}");
                assert_eq!((error.code, error.may_have_run), (ErrorCode::Invalid, false));
                assert!(error.message.contains("3 receivers"), "{error}");
            }
        }
        for (number, (client, mut subscription)) in (0..).zip(open) {
            match subscription.next_update().await.unwrap() {
                Update::Event(event) => {
                    let mut came = all(event.attachments()).into_iter();
                    // All have the same memory.
                    assert_eq!(swap(&came.next().unwrap(), number + 1), number, "{case}");
                    let writer = came.next().unwrap();
                    File::from(writer).write_all(&[number]).unwrap();
                    assert!(gets && came.next().is_none(), "{case}");
                }
                told => assert_eq!((gets, told), (false, Update::Missed(1)), "{case}"),
            }
            drop(subscription);
            client.close().await;
        }
        let expected: Vec<u8> = if gets {
            (0..subscribers).collect()
        } else {
            Vec::new()
        };
        assert_eq!(
            to_the_end(reader).await,
            expected,
            "and nobody has it open: {case}"
        );
    }
    broker.stop().await;
}

#[actix::test]
async fn who_cannot_take_them_misses_the_event_and_its_publisher_is_told() {
    let place = Place::new();
    let handle = Broker::builder()
        .listen(place.endpoint())
        .listen("tcp:127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let connect = |index: usize| IpcClient::connect_to(handle.endpoints()[index].clone());
    let (publisher, local, remote) = (
        connect(0).await.unwrap(),
        connect(0).await.unwrap(),
        connect(1).await.unwrap(),
    );
    let one = || Attachments::new().with(event());
    let publish = || publisher.publish("o", "e", &1_u8).attachments(one()).shared();
    let mut far = remote.subscribe("o", "e").await.unwrap();
    let error = publish().acknowledged().await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::TooLarge, false),
        "{error}"
    );
    assert!(error.message.contains("1 subscribers"), "{error}");
    assert_eq!(far.next_update().await, Some(Update::Missed(1)));
    let mut near = local.subscribe("o", "e").await.unwrap();
    let error = publish().acknowledged().await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::TooLarge, true),
        "{error}"
    );
    assert_eq!(near.next().await.unwrap().attachments().len(), 1);
    assert_eq!(far.next_update().await, Some(Update::Missed(1)));
    // Who has none to send knows it before anything is sent.
    let refused = remote.publish("o", "e", &1_u8).attachments(one());
    let error = refused.await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::TooLarge, false),
        "{error}"
    );
    for client in [publisher, local, remote] {
        client.close().await;
    }
    handle.stop().await;
}

#[actix::test]
async fn a_retained_value_carries_none() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let (reader, writer) = pipe();
    let publish = client
        .publish("o", "e", &1_u8)
        .attachments(Attachments::new().with(writer))
        .retained();
    let error = publish.acknowledged().await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::Invalid, false),
        "{error}"
    );
    assert_eq!(to_the_end(reader).await, b"");
    let mut events = client.subscribe("o", "e").await.unwrap();
    assert_eq!(client.publish("o", "e", &2_u8).acknowledged().await.unwrap(), 1);
    let event = events.next().await.unwrap();
    assert_eq!(event.decode::<u8>().unwrap(), 2, "and none was kept");
    broker.stop().await;
}

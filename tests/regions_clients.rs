//! Large payloads as regions, through the client library: the same bytes at the other end, whoever takes them how, and what is left.
//!
//! Owns the promise that nobody sees which way a payload went, but in the counters. The frames are in `regions_wire.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::actors::{Broker, BrokerHandle};
use actix_ipc::client::{
    Handler, HandlerError, IncomingCall, IpcClient, Registration, Response, SharedMemory, Update,
};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Attachments, Payload};
use actix_ipc::transport::Endpoint;
use async_trait::async_trait;
use broker::Place;
use bytes::Bytes;
use running::Running;
use rustix::fd::OwnedFd;
use rustix::fs::fstat;
use std::sync::{Arc, Mutex};
use std::task::Poll;

fn payload(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect::<Vec<_>>()
        .into()
}

async fn client(endpoint: &Endpoint, from: usize) -> IpcClient {
    let builder = IpcClient::builder().endpoint(endpoint.clone());
    builder.regions_from(from).connect().await.unwrap()
}

/// Answers with what it got: payload, attachments and, as a stream, the payload twice.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        if call.context.streaming {
            let items = [call.payload.clone(), call.payload].map(Ok);
            return Ok(Response::stream(futures::stream::iter(items)));
        }
        Ok(Response::payload(call.payload).with_attachments(call.context.attachments))
    }
}

async fn echo(client: &IpcClient) -> Registration {
    client.register("echo", Echo).await.unwrap()
}

async fn call(client: &IpcClient, bytes: &Bytes) -> Bytes {
    let call = client.call("echo", "m").send_payload(Payload::raw(bytes.clone()));
    call.await.unwrap().bytes
}

/// Messages as regions, in pieces, and offers that were declined.
fn counted(handle: &BrokerHandle) -> (u64, u64, u64) {
    let metrics = handle.metrics();
    (
        metrics.messages_in_regions,
        metrics.messages_in_pieces,
        metrics.regions_declined,
    )
}

/// Small things go as they always do.
const FROM: usize = 64;
const SIZES: [usize; 6] = [FROM, 4_095, 4_096, 100_003, 1 << 20, (3 << 20) + 1];

#[actix::test]
async fn calls_and_replies_of_every_size_are_the_same_bytes_as_regions() {
    for shared_memory in [SharedMemory::Never, SharedMemory::AtOnce] {
        let place = Place::new();
        let broker = place.start();
        let connect = || {
            let builder = IpcClient::builder().endpoint(broker.endpoint.clone());
            builder.shared_memory(shared_memory).regions_from(FROM).connect()
        };
        let (caller, callee) = (connect().await.unwrap(), connect().await.unwrap());
        let _object = echo(&callee).await;
        for size in SIZES {
            let sent = payload(size);
            assert!(call(&caller, &sent).await == sent, "{size}");
        }
        // An empty payload has nothing to be mapped.
        assert_eq!(call(&caller, &Bytes::new()).await, Bytes::new());
        assert_eq!(counted(&broker.handle), (2 * SIZES.len() as u64, 0, 0));
        // With something attached, both ways.
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader = OwnedFd::from(reader);
        let inode = fstat(&reader).unwrap().st_ino;
        let sent = payload(70_000);
        let call = caller
            .call("echo", "m")
            .attachments(Attachments::new().with(reader));
        let reply = call
            .send_payload(Payload::raw(sent.clone()))
            .with_metadata()
            .await
            .unwrap();
        assert!(reply.payload.bytes == sent);
        assert_eq!(reply.attachments.len(), 1, "its own, and not the region");
        let back = reply.attachments.get::<OwnedFd>(0).unwrap();
        assert_eq!(fstat(back).unwrap().st_ino, inode);
        drop(reply);
        // Each item of a stream.
        let mut stream = caller
            .call("echo", "m")
            .stream_payload(Payload::raw(sent.clone()));
        for _ in 0..2 {
            assert!(stream.next().await.unwrap().unwrap().payload.bytes == sent);
        }
        assert!(stream.next().await.is_none());
        assert_eq!(counted(&broker.handle), (2 * SIZES.len() as u64 + 5, 0, 0));
        caller.close().await;
        callee.close().await;
        broker.stop().await;
    }
}

#[actix::test]
async fn an_event_as_a_region_reaches_each_subscriber_and_outlives_its_publisher() {
    let place = Place::new();
    let broker = place.start();
    let publisher = client(&broker.endpoint, FROM).await;
    let mut all = Vec::new();
    for pattern in [false, false, true] {
        let client = broker.client().await;
        let subscribe = match pattern {
            false => client.subscribe("o", "e"),
            true => client.subscribe("*", "*").pattern(),
        };
        let subscription = subscribe.await.unwrap();
        all.push((client, subscription));
    }
    for (number, size) in SIZES.into_iter().enumerate() {
        let sent = payload(size);
        let publish = publisher.publish_payload("o", "e", Payload::raw(sent.clone()));
        match number % 2 {
            0 => publish.await.unwrap(),
            _ => assert_eq!(publish.acknowledged().await.unwrap(), 3),
        }
        publisher.publish("o", "e", &number).await.unwrap();
        for (_, subscription) in &mut all {
            let event = subscription.next().await.unwrap();
            assert_eq!(
                (event.missed, event.topic(), event.attachments().len()),
                (0, "e", 0)
            );
            assert!(event.payload.bytes == sent);
            let next = subscription.next().await.unwrap();
            assert_eq!(next.decode::<usize>().unwrap(), number);
        }
    }
    assert_eq!(counted(&broker.handle), (SIZES.len() as u64, 0, 0));
    // A retained value is what a later subscriber gets: it is no region.
    let retained = publisher
        .publish_payload("o", "r", Payload::raw(payload(20_000)))
        .retained();
    retained.await.unwrap();
    let sent = payload(5 << 20);
    publisher
        .publish_payload("o", "e", Payload::raw(sent.clone()))
        .acknowledged()
        .await
        .unwrap();
    publisher.close().await;
    let mut kept = Vec::new();
    for (_, subscription) in &mut all {
        let mut event = subscription.next().await.unwrap();
        if event.topic() == "r" {
            event = subscription.next().await.unwrap();
        }
        kept.push(event.payload.bytes.clone());
    }
    drop(all);
    broker.stop().await;
    kept.iter()
        .for_each(|bytes| assert!(*bytes == sent, "nobody else is left"));
}

#[actix::test]
async fn who_cannot_take_a_region_gets_the_bytes_and_so_do_those_beside_it() {
    let broker = Running::built(|| Broker::builder().listen("tcp:127.0.0.1:0".parse().unwrap()));
    let handle = broker.handle.clone();
    let [tcp, unix] = [0, 1].map(|index| handle.endpoints()[index].clone());
    let (near, far) = (client(&unix, FROM).await, client(&tcp, FROM).await);
    let sent = payload(600_000);
    // One over each: an event goes in pieces, until the one over TCP has gone.
    let mut at_near = near.subscribe("o", "e").await.unwrap();
    let mut at_far = far.subscribe("o", "e").await.unwrap();
    let publisher = client(&unix, FROM).await;
    let publish = || {
        publisher
            .publish_payload("o", "e", Payload::raw(sent.clone()))
            .acknowledged()
    };
    assert_eq!(publish().await.unwrap(), 2);
    for subscription in [&mut at_near, &mut at_far] {
        assert!(subscription.next().await.unwrap().payload.bytes == sent);
    }
    assert_eq!(counted(&handle), (0, 1, 1));
    at_far.unsubscribe();
    // TopicHub handles what one connection asks in order.
    let behind = far.publish("nobody", "listens", &0_u8).acknowledged();
    assert_eq!(behind.await.unwrap(), 0);
    assert_eq!(publish().await.unwrap(), 1);
    assert!(at_near.next().await.unwrap().payload.bytes == sent);
    assert_eq!(counted(&handle), (1, 1, 1));
    // A callee over TCP: it gets the call in pieces, and has nobody to offer its reply to.
    let object = echo(&far).await;
    assert!(call(&publisher, &sent).await == sent);
    assert_eq!(counted(&handle), (1, 3, 2));
    object.unregister().await.unwrap();
    // A caller over TCP.
    let _object = echo(&near).await;
    assert!(call(&far, &sent).await == sent);
    assert_eq!(counted(&handle), (1, 5, 3));
    assert!(call(&publisher, &sent).await == sent);
    assert_eq!(counted(&handle), (3, 5, 3));
    // A sender that was told never to.
    assert!(call(&client(&unix, usize::MAX).await, &sent).await == sent);
    assert_eq!(counted(&handle), (4, 6, 3));
    for client in [near, far, publisher] {
        client.close().await;
    }
    handle.stop().await;
    broker.ended();
}

/// Notes the first byte of each call, in the order in which they run.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl Handler for Order {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        self.0.lock().unwrap().push(call.payload.bytes[0]);
        Ok(Response::payload(Payload::default()))
    }
}

#[actix::test]
async fn calls_keep_their_order_whichever_way_they_go() {
    let place = Place::new();
    let broker = place.start();
    let (caller, callee) = (client(&broker.endpoint, 50_000).await, broker.client().await);
    let order = Order::default();
    let _object = callee.register("order", order.clone()).await.unwrap();
    let sizes = [2 << 20, 10, 3 << 20, 60_000, 1, 1 << 20];
    let calls = sizes.into_iter().enumerate().map(|(number, size)| {
        let bytes = vec![number as u8; size];
        caller.call("order", "m").send_payload(Payload::raw(bytes))
    });
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(*order.0.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(counted(&broker.handle).0, 4);
    caller.close().await;
    callee.close().await;
    broker.stop().await;
}

/// Polls a future so many times, and drops it.
async fn give_up<F: Future>(future: F, polls: usize) {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        if future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[actix::test]
async fn one_that_is_given_up_anywhere_leaves_its_place_to_the_next() {
    let place = Place::new();
    let broker = place.start();
    let (caller, callee) = (
        client(&broker.endpoint, FROM).await,
        client(&broker.endpoint, FROM).await,
    );
    let _object = echo(&callee).await;
    let mut events = callee.subscribe("o", "e").await.unwrap();
    let sent = payload(6 << 20);
    // There are four places: what is not given back is missing at the fifth.
    for polls in (0..40).step_by(3) {
        let large = || Payload::raw(sent.clone());
        give_up(caller.call("echo", "m").send_payload(large()), polls).await;
        give_up(caller.publish_payload("o", "e", large()).into_future(), polls).await;
    }
    // What was sent before it was given up may be on its way still.
    let mut tries = 0..1_000;
    loop {
        let before = counted(&broker.handle);
        assert!(call(&caller, &sent).await == sent);
        let publish = caller.publish_payload("o", "e", Payload::raw(sent.clone()));
        assert_eq!(publish.acknowledged().await.unwrap(), 1);
        let after = counted(&broker.handle);
        if (after.0 - before.0, after.2) == (3, before.2) {
            break;
        }
        tries.next().expect("its place is never given back");
    }
    caller.publish("o", "e", "the end").await.unwrap();
    // What was given up was missed, and nothing has come by halves.
    loop {
        match events.next_update().await.unwrap() {
            Update::Event(event) if event.payload.bytes.len() < 100 => break,
            Update::Event(event) => assert!(event.payload.bytes == sent),
            Update::Missed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    caller.close().await;
    callee.close().await;
    broker.stop().await;
}

#[actix::test]
async fn an_object_that_comes_later_gets_the_call_as_a_region() {
    let place = Place::new();
    let broker = place.start();
    let (caller, callee) = (
        client(&broker.endpoint, FROM).await,
        client(&broker.endpoint, FROM).await,
    );
    let sent = payload(200_000);
    let none = caller
        .call("echo", "m")
        .send_payload(Payload::raw(sent.clone()))
        .await;
    assert_eq!(none.unwrap_err().code, ErrorCode::NoSuchObject);
    let waiting = caller
        .call("echo", "m")
        .wait_for_object()
        .send_payload(Payload::raw(sent.clone()));
    let (answer, _object) = futures::join!(waiting, echo(&callee));
    assert!(answer.unwrap().bytes == sent);
    assert_eq!(counted(&broker.handle), (2, 0, 0));
    caller.close().await;
    callee.close().await;
    broker.stop().await;
}

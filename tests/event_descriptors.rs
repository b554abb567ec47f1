//! Descriptors on events: each subscriber that may and can take them gets its own, the others are told.
//!
//! Owns who may share what, and what a subscriber that cannot or does not read costs whom. Calls and answers are in
//! `descriptors.rs`, the kinds of descriptors in `descriptor_kinds.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;
#[path = "support/until.rs"]
mod until;

use actix_ipc::actors::Broker;
use actix_ipc::client::{Event, IpcClient, Update};
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Attachments, Draft, Encoding, Flags, Kind, Payload};
use broker::Place;
use descriptors::{Reader, closed, pipes, same, send};
use raw::Raw;
use running::Running;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use std::os::unix::fs::FileExt;
use until::until;

const SEALED: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE)
    .union(SealFlags::SEAL);

fn memory(text: &[u8], seals: SealFlags) -> OwnedFd {
    let memory = memfd_create("m", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&memory, text).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

fn attach(objects: Vec<OwnedFd>) -> Attachments {
    objects.into_iter().fold(Attachments::new(), Attachments::with)
}

fn text(event: &Event, index: usize) -> Vec<u8> {
    let file = event.attachments().get::<OwnedFd>(index).unwrap();
    let mut bytes = vec![0; fstat(file).unwrap().st_size as usize];
    let file = std::fs::File::from(file.try_clone().unwrap());
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits {
        // Long enough that nothing ends for this reason on a busy machine, where a test does not set it.
        descriptor_wait_ms: 600_000,
        ..Limits::default()
    };
    change(&mut limits);
    limits
}

#[actix::test]
async fn sealed_memory_goes_to_every_subscriber_and_anything_else_to_one() {
    let place = Place::new();
    let broker = place.start();
    let publisher = broker.client().await;
    // Which seals, how many subscribers, whether the publisher allows sharing; how many get it.
    let mut table = Vec::new();
    for bits in 0..16_u32 {
        let all = [
            SealFlags::SHRINK,
            SealFlags::GROW,
            SealFlags::WRITE,
            SealFlags::SEAL,
        ];
        let chosen = all.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        let seals = chosen.fold(SealFlags::empty(), |seals, (_, seal)| seals | *seal);
        for (subscribers, share) in [(0, false), (1, false), (3, false), (3, true)] {
            let gets = subscribers <= 1 || share || bits == 15;
            table.push((seals, subscribers, share, gets));
        }
    }
    for (seals, subscribers, share, gets) in table {
        let case = format!("{seals:?}, {subscribers} subscribers, share: {share}");
        let mut open = Vec::new();
        for _ in 0..subscribers {
            let client = broker.client().await;
            let subscription = client.subscribe("o", "e").await.unwrap();
            open.push((client, subscription));
        }
        let publish = publisher
            .publish("o", "e", &7_u8)
            .attachments(attach(vec![memory(b"text", seals)]));
        let publish = if share { publish.shared() } else { publish };
        let accepted = publish.acknowledged().await;
        match accepted {
            Ok(count) => assert_eq!((gets, count), (true, subscribers), "{case}"),
            Err(error) => {
                assert!(!gets, "{case}: {error}");
                assert_eq!(
                    (error.code, error.may_have_run),
                    (ErrorCode::Invalid, false),
                    "{case}"
                );
                assert!(error.message.contains("3 receivers"), "{error}");
            }
        }
        let mut inodes = Vec::new();
        for (_, subscription) in &mut open {
            match subscription.next_update().await.unwrap() {
                Update::Event(event) => {
                    assert!(gets, "{case}");
                    assert_eq!(event.attachments().len(), 1, "{case}");
                    assert_eq!(text(&event, 0), b"text", "{case}");
                    let file = event.attachments().get::<OwnedFd>(0).unwrap();
                    inodes.push(fstat(file).unwrap().st_ino);
                }
                told => assert_eq!((gets, told), (false, Update::Missed(1)), "{case}"),
            }
        }
        inodes.dedup();
        assert!(inodes.len() <= 1, "all have the same memory: {case}");
        for (client, _) in open {
            client.close().await;
        }
    }
    broker.stop().await;
}

/// A mixture counts by its weakest part.
#[actix::test]
async fn one_that_is_not_sealed_keeps_all_of_an_event_from_being_shared() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let mut one = client.subscribe("o", "e").await.unwrap();
    let mut two = client.subscribe("o", "e").await.unwrap();
    for (seals, fits) in [(SEALED, true), (SealFlags::WRITE, false)] {
        let both = attach(vec![memory(b"1", SEALED), memory(b"2", seals)]);
        let accepted = client
            .publish("o", "e", &0_u8)
            .attachments(both)
            .acknowledged()
            .await;
        assert_eq!(accepted.is_ok(), fits);
        if fits {
            for subscription in [&mut one, &mut two] {
                let event = subscription.next().await.unwrap();
                assert_eq!((text(&event, 0), text(&event, 1)), (b"1".to_vec(), b"2".to_vec()));
            }
        }
    }
    broker.stop().await;
}

#[actix::test]
async fn who_cannot_take_them_misses_the_event_and_its_publisher_is_told() {
    let broker = Running::built(|| Broker::builder().listen("tcp:127.0.0.1:0".parse().unwrap()));
    let connect = |index: usize| IpcClient::connect_to(broker.handle.endpoints()[index].clone());
    let (publisher, local, remote) = (
        connect(1).await.unwrap(),
        connect(1).await.unwrap(),
        connect(0).await.unwrap(),
    );
    let mut far = remote.subscribe("o", "e").await.unwrap();
    let publish = || {
        publisher
            .publish("o", "e", &1_u8)
            .attachments(attach(vec![memory(b"text", SEALED)]))
    };
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
    assert_eq!(text(&near.next().await.unwrap(), 0), b"text");
    assert_eq!(far.next_update().await, Some(Update::Missed(1)));
    // What carries nothing reaches both, behind what was missed without being asked about.
    publish().await.unwrap();
    assert_eq!(
        publisher.publish("o", "e", &2_u8).acknowledged().await.unwrap(),
        2
    );
    assert_eq!(near.next().await.unwrap().attachments().len(), 1);
    assert_eq!(near.next().await.unwrap().decode::<u8>().unwrap(), 2);
    let mut missed = 0;
    let event = loop {
        match far.next_update().await.unwrap() {
            Update::Missed(count) => missed += count,
            Update::Event(event) => break event,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((event.decode::<u8>().unwrap(), missed + event.missed), (2, 1));
    // A publisher that has no descriptors to send knows it before anything is sent.
    let refused = remote
        .publish("o", "e", &1_u8)
        .attachments(attach(vec![memory(b"", SEALED)]));
    let error = refused.await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::TooLarge, false),
        "{error}"
    );
    for client in [publisher, local, remote] {
        client.close().await;
    }
    broker.handle.stop().await;
    broker.ended();
}

#[actix::test]
async fn a_retained_value_carries_none() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let (sent, readers) = pipes(1);
    let publish = client
        .publish("o", "e", &1_u8)
        .attachments(attach(sent))
        .retained();
    let error = publish.acknowledged().await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::Invalid, false),
        "{error}"
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    let mut events = client.subscribe("o", "e").await.unwrap();
    assert_eq!(client.publish("o", "e", &2_u8).acknowledged().await.unwrap(), 1);
    assert_eq!(
        events.next().await.unwrap().decode::<u8>().unwrap(),
        2,
        "and none was kept"
    );
    broker.stop().await;
}

/// In one frame, in a frame of many reads, and in pieces; beside plain events, whose order stays. Long enough that connections move
/// into shared memory on the way.
#[actix::test]
async fn events_of_every_size_keep_their_order_and_what_is_attached() {
    let place = Place::new();
    let broker = place.start_with(limits(|_| {}));
    let publisher = broker.client().await;
    let (one, two) = (broker.client().await, broker.client().await);
    let mut subscriptions = [
        one.subscribe("o", "e").await.unwrap(),
        two.subscribe("o", "e").await.unwrap(),
    ];
    let sizes = [1, 300, 100_000, 1 << 20, 20 << 20];
    let rounds = 60_usize;
    let size = |number: usize| sizes[(number / 12).min(sizes.len() - 1)];
    // Nobody is too slow: the next large one is published when both have the last.
    let read = tokio::sync::Barrier::new(3);
    let publishing = async {
        for number in 0..rounds {
            for attached in [0, number % 4, 0] {
                let memories = (0..attached).map(|at| memory(format!("{number} {at}").as_bytes(), SEALED));
                let mut bytes = vec![7; size(number)];
                bytes[0] = number as u8;
                let publish = publisher.publish_payload("o", "e", Payload::raw(bytes));
                let publish = publish.attachments(attach(memories.collect()));
                assert_eq!(publish.acknowledged().await.unwrap(), 2, "{number}");
                if size(number) >= 1 << 20 {
                    read.wait().await;
                }
            }
        }
    };
    let (size, read) = (&size, &read);
    let reading = subscriptions.iter_mut().map(|subscription| async move {
        for number in 0..rounds {
            for attached in [0, number % 4, 0] {
                let event = subscription.next().await.unwrap();
                assert_eq!((event.missed, event.payload.bytes[0]), (0, number as u8));
                assert_eq!(event.attachments().len(), attached, "{number}");
                for at in 0..attached {
                    assert_eq!(text(&event, at), format!("{number} {at}").as_bytes());
                }
                if size(number) >= 1 << 20 {
                    read.wait().await;
                }
            }
        }
    });
    futures::future::join(publishing, futures::future::join_all(reading)).await;
    assert!(
        broker.handle.metrics().rings > 0,
        "no connection has moved into shared memory"
    );
    broker.stop().await;
}

fn publish(object: &str, attached: usize, flags: Flags) -> Vec<u8> {
    let draft = Draft::new(Kind::Publish, 1).flags(flags).pair(object, "e");
    Draft {
        attachments: u8::try_from(attached).unwrap(),
        ..draft.payload(Encoding::RAW, b"event")
    }
    .to_vec()
}

#[test]
fn a_subscriber_that_does_not_read_uses_up_its_own_share_only() {
    let most = 4;
    let broker = Running::start(limits(|limits| limits.descriptors = most));
    let [mut publisher, mut slow, mut quick] = broker.connect_all();
    let (subscription, _) = (slow.subscribe("o", "e"), quick.subscribe("o", "e"));
    let mut reader = Reader::default();
    let count = 20;
    for number in 0..count {
        let sent = memory(&[number], SEALED);
        send(&publisher, &publish("o", 1, Flags::NONE), &[sent]);
        let (event, came) = reader.read(&mut quick);
        assert_eq!(
            (event.kind, event.aux, came.len()),
            (Kind::Event, 0, 1),
            "{number}"
        );
    }
    publisher.ping();
    // One lies in its socket; those behind it are charged to it, and the others are missed.
    let mut reader = Reader::default();
    let (mut events, mut missed) = (0, 0);
    while events + missed < usize::from(count) {
        let (frame, came) = reader.read(&mut slow);
        missed += frame.aux as usize;
        match frame.kind {
            Kind::Event => (events, _) = (events + 1, assert_eq!(came.len(), 1)),
            Kind::Gap => assert_eq!(frame.id, subscription),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events, 1 + most);
    until("all are sent on", || broker.handle.levels().descriptors == 0);
    broker.stop();
}

#[test]
fn a_subscriber_that_never_reads_is_closed() {
    let broker = Running::start(limits(|limits| limits.descriptor_wait_ms = 50));
    let [publisher, mut subscriber] = broker.connect_all();
    subscriber.subscribe("o", "e");
    let (sent, readers) = pipes(2);
    for one in sent {
        send(&publisher, &publish("o", 1, Flags::NONE), &[one]);
    }
    until("it is closed", || broker.handle.metrics().connections_closed == 1);
    drop(subscriber);
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    broker.stop();
}

#[test]
fn what_is_attached_to_an_event_ends_with_its_subscriber_or_without_one() {
    let broker = Running::start(limits(|_| {}));
    let mut publisher = broker.connect();
    let gone = |readers: Vec<_>| {
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()))
    };
    // Nobody hears it.
    let (sent, readers) = pipes(16);
    send(&publisher, &publish("nobody", 16, Flags::ACK), &sent);
    drop(sent);
    assert_eq!(publisher.expect(Kind::Accepted).aux, 0);
    gone(readers);
    // Its subscriber dies with some in its socket, and some in its queue.
    let mut subscriber = broker.connect();
    subscriber.subscribe("o", "e");
    let (sent, readers) = pipes(6);
    for two in sent.chunks(2) {
        send(&publisher, &publish("o", 2, Flags::ACK), two);
        assert_eq!(publisher.expect(Kind::Accepted).aux, 1);
    }
    drop((sent, subscriber));
    gone(readers);
    // It reads: what comes is what was sent.
    let mut subscriber = broker.connect();
    subscriber.subscribe("o", "e");
    let (sent, readers) = pipes(3);
    send(&publisher, &publish("o", 3, Flags::ACK), &sent);
    drop(sent);
    let mut reader = Reader::default();
    same(reader.read(&mut subscriber).1, readers);
    assert_eq!(publisher.expect(Kind::Accepted).aux, 1);
    broker.stop();
}

/// The answer to a refusal comes without being asked for, and the bytes of the event come back.
#[test]
fn a_publish_whose_descriptors_are_refused_is_told_and_costs_no_window() {
    let broker = Running::start(limits(|limits| limits.publish_window = 4096));
    let [mut publisher, mut subscriber] = broker.connect_all();
    subscriber.subscribe("o", "e");
    let refused = |publisher: &mut Raw| {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        send(publisher, &publish("o", 1, Flags::NONE), &[one.into()]);
        let error = publisher.answer(1);
        assert_eq!(error.error(), (ErrorCode::Denied, false));
    };
    // Many times what the window holds, which is given back in parts.
    for _ in 0..400 {
        refused(&mut publisher);
    }
    assert_eq!(publisher.publish("o", "e", b"plain").aux, 1);
    assert_eq!(subscriber.expect(Kind::Event).text(), "plain");
    let mut wrong = broker.connect();
    let piece = Draft::new(Kind::PublishPiece, 1).payload(Encoding::RAW, b"x");
    let (sent, readers) = pipes(1);
    send(
        &wrong,
        &Draft {
            attachments: 1,
            ..piece
        }
        .to_vec(),
        &sent,
    );
    drop(sent);
    assert_eq!(wrong.goodbye().0, CloseReason::Protocol);
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    broker.stop();
}

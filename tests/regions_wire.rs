//! Payloads as regions, in raw frames: who may send which memory when, what everything else costs its sender, and how many are on their way.
//!
//! Owns the second half of section 10 of the protocol document. What the client library makes of it is in `regions_clients.rs`.
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

#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;
#[path = "support/until.rs"]
mod until;

use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use descriptors::{Reader, pipes, send};
use raw::Raw;
use running::Running;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};

const OFFER: Flags = Flags::OFFER.with(Flags::CONTINUED);
const LENGTH: u64 = 5_000;
const ALL: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE)
    .union(SealFlags::SEAL);

fn memory(length: u64, written: usize, seals: SealFlags) -> OwnedFd {
    let memory = memfd_create("m", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&memory, length).unwrap();
    rustix::io::pwrite(&memory, &vec![7; written], 0).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

fn good() -> OwnedFd {
    memory(LENGTH, LENGTH as usize, ALL)
}

/// The piece with a region, and what goes with it.
fn region(raw: &Raw, kind: Kind, id: u64, length: &[u8], flags: Flags, memory: &[OwnedFd]) {
    let draft = Draft::new(kind, id)
        .flags(flags.with(Flags::REGION))
        .payload(Encoding::RAW, length);
    let draft = Draft {
        attachments: memory.len() as u8,
        ..draft
    };
    send(raw, &draft.to_vec(), memory);
}

fn right(raw: &Raw, kind: Kind, id: u64) {
    region(raw, kind, id, &LENGTH.to_le_bytes(), Flags::NONE, &[good()]);
}

/// Offers a call; the number of receivers that take it.
fn offer(caller: &mut Raw, id: u64) -> u32 {
    caller.send(
        &Draft::new(Kind::Call, id)
            .flags(OFFER)
            .aux(3_600_000)
            .pair("o", "m"),
    );
    let takes = caller.expect(Kind::Takes);
    assert_eq!((takes.id, takes.flags), (id, Flags::NONE));
    takes.aux
}

fn publish(publisher: &mut Raw, id: u64, flags: Flags) -> u32 {
    publisher.send(
        &Draft::new(Kind::Publish, id)
            .flags(OFFER.with(flags))
            .pair("s", "t"),
    );
    let takes = publisher.expect(Kind::Takes);
    assert_eq!(takes.id, id);
    takes.aux
}

/// A callee of "o" that takes regions, and its caller.
fn pair(broker: &Running) -> (Raw, Raw) {
    let mut callee = Raw::connect_taking_regions(&broker.path);
    callee.register("o");
    (broker.connect(), callee)
}

/// What came is memory of the length that its frame says.
fn is_region(came: &(raw::Got, Vec<OwnedFd>), kind: Kind, id: u64) {
    let (got, memory) = came;
    assert_eq!((got.kind, got.id), (kind, id));
    assert_eq!(got.flags, Flags::REGION);
    assert_eq!(got.payload, LENGTH.to_le_bytes());
    assert_eq!(memory.len(), 1);
    assert_eq!(fstat(&memory[0]).unwrap().st_size as u64, LENGTH);
}

#[test]
fn a_region_goes_with_a_call_its_reply_and_an_event() {
    let broker = Running::start(Limits::default());
    let (_, mut callee) = pair(&broker);
    let mut caller = Raw::connect_taking_regions(&broker.path);
    assert_eq!(
        caller.welcome.unwrap().region_bytes as usize,
        Limits::default().message_bytes
    );
    let mut reader = Reader::default();
    assert_eq!(offer(&mut caller, 5), 1);
    right(&caller, Kind::CallPiece, 5);
    let (first, _) = reader.read(&mut callee);
    assert_eq!(
        (first.kind, first.flags.has(Flags::CONTINUED)),
        (Kind::Call, true)
    );
    is_region(&reader.read(&mut callee), Kind::CallPiece, first.id);
    callee.send(&Draft::new(Kind::Reply, first.id).flags(OFFER));
    let (takes, _) = reader.read(&mut callee);
    assert_eq!((takes.kind, takes.id, takes.aux), (Kind::Takes, first.id, 1));
    assert_eq!(takes.flags, Flags::OF_REPLY);
    right(&callee, Kind::ReplyPiece, first.id);
    let mut answers = Reader::default();
    assert_eq!(answers.read(&mut caller).0.kind, Kind::Reply);
    is_region(&answers.read(&mut caller), Kind::ReplyPiece, 5);
    let subscriptions = [&mut caller, &mut callee].map(|raw| raw.subscribe("s", "t"));
    let mut publisher = broker.connect();
    assert_eq!(publish(&mut publisher, 9, Flags::ACK), 2);
    right(&publisher, Kind::PublishPiece, 9);
    assert_eq!(publisher.expect(Kind::Accepted).aux, 2);
    for (raw, id) in [&mut caller, &mut callee].into_iter().zip(subscriptions) {
        let mut events = Reader::default();
        let (first, _) = events.read(raw);
        assert_eq!((first.kind, first.id), (Kind::Event, id));
        let piece = events.read(raw);
        is_region(&piece, Kind::EventPiece, id);
        assert_eq!(piece.0.aux, first.aux, "the message's number");
    }
    let metrics = broker.handle.metrics();
    assert_eq!((metrics.messages_in_regions, metrics.messages_in_pieces), (3, 0));
    assert_eq!(metrics.regions_declined, 0);
}

#[test]
fn what_is_no_sealed_memory_of_its_length_ends_its_sender_and_nobody_else() {
    let broker = Running::start(Limits::default());
    let (mut honest, mut callee) = pair(&broker);
    let length = LENGTH.to_le_bytes();
    let none = Flags::NONE;
    type Case = (&'static str, Vec<u8>, Flags, fn() -> Vec<OwnedFd>);
    let of = |case: &'static str, make: fn() -> Vec<OwnedFd>| -> Case { (case, length.to_vec(), none, make) };
    let cases: Vec<Case> = vec![
        of("unsealed", || vec![memory(LENGTH, 5_000, SealFlags::empty())]),
        of("may be written", || {
            vec![memory(LENGTH, 5_000, ALL.difference(SealFlags::WRITE))]
        }),
        of("may be cut off", || {
            vec![memory(LENGTH, 5_000, ALL.difference(SealFlags::SHRINK))]
        }),
        of("too short", || vec![memory(LENGTH - 1, 4_999, ALL)]),
        of("too long", || vec![memory(LENGTH + 1, 5_001, ALL)]),
        of("with a hole", || vec![memory(LENGTH, 4_000, ALL)]),
        of("a pipe", || pipes(1).0),
        of("two of them", || vec![good(), good()]),
        ("half a length", length[..4].to_vec(), none, || vec![good()]),
        ("no length", Vec::new(), none, || vec![good()]),
        ("nothing", vec![0; 8], none, || vec![memory(0, 0, ALL)]),
        ("more than memory has", vec![0xff; 8], none, || vec![good()]),
        ("continued", length.to_vec(), Flags::CONTINUED, || vec![good()]),
        ("given up", length.to_vec(), Flags::ABORT, || vec![good()]),
    ];
    for (case, length, flags, memory) in cases {
        let mut caller = broker.connect();
        assert_eq!(offer(&mut caller, 5), 1, "{case}");
        let call = callee.expect(Kind::Call);
        region(&caller, Kind::CallPiece, 5, &length, flags, &memory());
        let (reason, text) = caller.goodbye();
        assert_eq!(reason, CloseReason::Protocol, "{case}: {text}");
        assert!(text.contains("region"), "{case}: {text}");
        assert_eq!(callee.expect(Kind::Cancel).id, call.id, "{case}");
    }
    assert_eq!(offer(&mut honest, 5), 1, "no seat was lost");
}

#[test]
fn a_region_that_nobody_takes_or_that_comes_at_the_wrong_time_ends_its_sender() {
    let broker = Running::start(Limits::default());
    let (_, mut callee) = pair(&broker);
    let mut plain = broker.connect();
    plain.register("plain");
    // The object, whether the payload is offered, and the pieces before the region.
    for (object, offered, pieces) in [("o", false, 0), ("plain", true, 0), ("o", true, 1)] {
        let mut caller = broker.connect();
        let flags = Flags::CONTINUED.with_if(offered, Flags::OFFER);
        caller.send(&Draft::new(Kind::Call, 5).flags(flags).pair(object, "m"));
        if offered {
            assert_eq!(caller.expect(Kind::Takes).aux, u32::from(object == "o"));
        }
        for _ in 0..pieces {
            let piece = Draft::new(Kind::CallPiece, 5).flags(Flags::CONTINUED);
            caller.send(&piece.payload(Encoding::RAW, b"a"));
        }
        right(&caller, Kind::CallPiece, 5);
        assert_eq!(
            caller.goodbye().0,
            CloseReason::Protocol,
            "{object} {offered} {pieces}"
        );
    }
    // The same for a reply.
    let mut caller = broker.connect();
    caller.call("o", Flags::NONE, b"");
    let ticket = loop {
        let got = callee.read();
        if got.kind == Kind::Call && !got.flags.has(Flags::CONTINUED) {
            break got.id;
        }
    };
    callee.send(&Draft::new(Kind::Reply, ticket).flags(OFFER));
    let takes = loop {
        let got = callee.read();
        if got.kind == Kind::Takes {
            break got;
        }
    };
    assert_eq!(takes.aux, 0, "its caller has not said that it takes regions");
    right(&callee, Kind::ReplyPiece, ticket);
    assert_eq!(callee.goodbye().0, CloseReason::Protocol);
    // Nobody but the broker answers an offer.
    plain.send(&Draft::new(Kind::Takes, 5).aux(1));
    assert_eq!(plain.goodbye().0, CloseReason::Protocol);
}

#[test]
fn an_event_goes_as_a_region_to_all_of_its_subscribers_or_to_none() {
    let broker = Running::start(Limits::default());
    let mut takes = Raw::connect_taking_regions(&broker.path);
    let (mut publisher, mut plain) = (broker.connect(), broker.connect());
    assert_eq!(publish(&mut publisher, 5, Flags::ACK), 0, "nobody listens");
    publisher.send(&Draft::new(Kind::PublishPiece, 5));
    assert_eq!(publisher.expect(Kind::Accepted).aux, 0);
    takes.subscribe("s", "t");
    let other = plain.subscribe("s", "t");
    assert_eq!(publish(&mut publisher, 6, Flags::ACK), 0, "one does not take it");
    let last = Draft::new(Kind::PublishPiece, 6).payload(Encoding::RAW, b"all of it");
    publisher.send(&last);
    assert_eq!(publisher.expect(Kind::Accepted).aux, 2);
    for raw in [&mut takes, &mut plain] {
        assert_eq!(raw.expect(Kind::Event).payload, b"");
        assert_eq!(raw.expect(Kind::EventPiece).payload, b"all of it");
    }
    // One that was not asked for is missed by all, and told.
    assert_eq!(publish(&mut publisher, 7, Flags::NONE), 0);
    right(&publisher, Kind::PublishPiece, 7);
    for raw in [&mut takes, &mut plain] {
        let first = raw.expect(Kind::Event);
        let void = raw.expect(Kind::EventPiece);
        assert_eq!((void.flags, void.aux), (Flags::ABORT, first.aux));
        assert_eq!(raw.expect(Kind::Gap).aux, 1);
    }
    // So is one behind another piece: nobody gets memory that was made for no one, or is told of some and gets none.
    let flags = Flags::CONTINUED.with(Flags::ACK);
    let first = Draft::new(Kind::Publish, 9).flags(flags).pair("s", "t");
    publisher.send(&first.payload(Encoding::RAW, b"a"));
    right(&publisher, Kind::PublishPiece, 9);
    assert_eq!(publisher.expect(Kind::Accepted).aux, 0);
    for raw in [&mut takes, &mut plain] {
        let first = raw.expect(Kind::Event);
        assert_eq!(first.payload, b"a");
        let void = raw.expect(Kind::EventPiece);
        assert_eq!((void.flags, void.aux), (Flags::ABORT, first.aux));
        assert_eq!(raw.expect(Kind::Gap).aux, 1);
    }
    plain.send(&Draft::new(Kind::Unsubscribe, other));
    assert_eq!(plain.expect(Kind::Done).id, other);
    // A subscriber that goes between the answer and the region costs nobody else anything.
    let mut goes = Raw::connect_taking_regions(&broker.path);
    goes.subscribe("s", "t");
    assert_eq!(publish(&mut publisher, 8, Flags::ACK), 2);
    goes.send(&Draft::new(Kind::Goodbye, 0).aux(1));
    assert_eq!(goes.goodbye().0, CloseReason::Finished);
    publisher.after_hub();
    right(&publisher, Kind::PublishPiece, 8);
    assert_eq!(publisher.expect(Kind::Accepted).aux, 1);
    let mut events = Reader::default();
    assert_eq!(events.read(&mut takes).0.kind, Kind::Event);
    assert_eq!(events.read(&mut takes).1.len(), 1);
}

#[test]
fn four_regions_may_be_on_their_way_to_one_receiver() {
    let broker = Running::start(Limits::default());
    let (mut caller, mut callee) = pair(&broker);
    for id in 1..=4 {
        assert_eq!(offer(&mut caller, id), 1, "{id}");
    }
    assert_eq!(offer(&mut caller, 5), 0);
    assert_eq!(broker.handle.metrics().regions_declined, 1);
    // One that is given up, one that goes in pieces after all, and one that is sent on make room.
    let ways: [&dyn Fn(&mut Raw); 3] = [
        &|caller| {
            caller.send(&Draft::new(Kind::Cancel, 1));
            assert_eq!(caller.expect(Kind::Error).error().0, ErrorCode::Cancelled);
        },
        &|caller| caller.send(&Draft::new(Kind::CallPiece, 2).payload(Encoding::RAW, b"a")),
        &|caller| right(caller, Kind::CallPiece, 3),
    ];
    let mut reader = Reader::default();
    for (at, way) in ways.into_iter().enumerate() {
        way(&mut caller);
        if at == 2 {
            while reader.read(&mut callee).1.is_empty() {}
        }
        caller.ping();
        let id = 10 + at as u64;
        assert_eq!(offer(&mut caller, id), 1, "way {at}");
        assert_eq!(offer(&mut caller, id + 10), 0, "way {at}");
    }
    // A caller that ends gives back all of its own.
    drop(caller);
    let mut other = broker.connect();
    let mut next = 0;
    until::until("its seats are given back", || {
        next += 1;
        offer(&mut other, next) != 0
    });
}

#[test]
fn limits_hold_for_a_region_as_for_pieces() {
    let broker = Running::start(Limits {
        message_bytes: LENGTH as usize - 1,
        descriptors: 2,
        ..Limits::default()
    });
    let (mut caller, mut callee) = pair(&broker);
    assert_eq!(caller.welcome.unwrap().region_bytes, LENGTH as u32 - 1);
    assert_eq!(offer(&mut caller, 1), 1);
    right(&caller, Kind::CallPiece, 1);
    assert_eq!(caller.expect(Kind::Error).error(), (ErrorCode::TooLarge, false));
    let ticket = callee.expect(Kind::Call).id;
    assert_eq!(callee.expect(Kind::Cancel).id, ticket);
    // An event, and a reply.
    let mut takes = Raw::connect_taking_regions(&broker.path);
    takes.subscribe("s", "t");
    assert_eq!(publish(&mut caller, 2, Flags::ACK), 1);
    right(&caller, Kind::PublishPiece, 2);
    assert_eq!(caller.expect(Kind::Error).error().0, ErrorCode::TooLarge);
    assert_eq!(takes.expect(Kind::Event).payload, b"");
    assert_eq!(takes.expect(Kind::EventPiece).flags, Flags::ABORT);
    takes.call("o", Flags::NONE, b"");
    let ticket = callee.expect(Kind::Call).id;
    callee.send(&Draft::new(Kind::Reply, ticket).flags(OFFER));
    assert_eq!(callee.expect(Kind::Takes).aux, 1);
    right(&callee, Kind::ReplyPiece, ticket);
    assert_eq!(callee.expect(Kind::Cancel).id, ticket);
}

/// As many descriptors as the broker holds for one connection wait for a callee that does not read; one more is a region.
#[test]
fn a_region_whose_descriptor_is_refused_ends_its_message_with_the_limits_name() {
    let broker = Running::start(Limits {
        descriptors: 2,
        descriptor_wait_ms: 600_000,
        ..Limits::default()
    });
    let (mut caller, mut callee) = pair(&broker);
    let mut takes = Raw::connect_taking_regions(&broker.path);
    takes.subscribe("s", "t");
    let mut deaf = broker.connect();
    deaf.register("deaf");
    assert_eq!(offer(&mut caller, 1), 1);
    assert_eq!(publish(&mut caller, 2, Flags::NONE), 1);
    let (writers, _readers) = pipes(3);
    // The first is sent on at once, those behind it wait until it was read.
    for (at, writer) in writers.iter().enumerate() {
        let call = descriptors::call_with(20 + at as u64, "deaf", 1, b"", Flags::NONE);
        send(&caller, &call, &[writer.try_clone().unwrap()]);
        caller.ping();
    }
    right(&caller, Kind::CallPiece, 1);
    let refused = caller.answer(1);
    assert_eq!(refused.error(), (ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limits.descriptors"),
        "{}",
        refused.text()
    );
    assert_eq!(callee.expect(Kind::Call).kind, Kind::Call);
    assert_eq!(callee.expect(Kind::Cancel).kind, Kind::Cancel);
    right(&caller, Kind::PublishPiece, 2);
    assert_eq!(caller.answer(2).error().0, ErrorCode::TooMany);
    assert_eq!(takes.expect(Kind::Event).payload, b"");
    assert_eq!(takes.expect(Kind::EventPiece).flags, Flags::ABORT);
    assert_eq!(takes.expect(Kind::Gap).aux, 1);
    // Behind another piece as well: a frame that names a region and brings none would end each subscriber's connection.
    let first = Draft::new(Kind::Publish, 3)
        .flags(Flags::CONTINUED)
        .pair("s", "t");
    caller.send(&first.payload(Encoding::RAW, b"a"));
    right(&caller, Kind::PublishPiece, 3);
    assert_eq!(caller.answer(3).error().0, ErrorCode::TooMany);
    assert_eq!(takes.expect(Kind::Event).payload, b"a");
    assert_eq!(takes.expect(Kind::EventPiece).flags, Flags::ABORT);
    assert_eq!(takes.expect(Kind::Gap).aux, 1);
}

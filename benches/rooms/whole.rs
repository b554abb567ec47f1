//! A call and an event through all rooms of the broker, from the bytes that were read to the bytes to be written.
//!
//! Owns the scenes. What is measured is the whole broker but sockets, actors and the wake-ups between them.

use crate::scene::{Broker, Client};
use actix_ipc::message::bus::{BUS_VERSION, Join};
use actix_ipc::message::selector::{Expression, Label, Mode};
use actix_ipc::message::{Draft, Encoding, Kind};
use divan::Bencher;
use divan::counter::ItemsCount;

/// Where the id stands in a header.
const ID: std::ops::Range<usize> = 8..16;

fn calls(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for id in 0..count {
        Draft::new(Kind::Call, 100 + id as u64)
            .aux(30_000)
            .pair("math", "add")
            .payload(Encoding::RAW, &[7; 16])
            .encode(&mut bytes);
    }
    bytes
}

/// Replies to the calls that were written, in their order.
fn replies(mut written: &[u8], out: &mut Vec<u8>) {
    out.clear();
    while let Some(length) = written.first_chunk() {
        let (frame, rest) = written.split_at(24 + u32::from_le_bytes(*length) as usize);
        let ticket = u64::from_le_bytes(frame[ID].try_into().unwrap());
        if frame[4] == Kind::Call as u8 {
            Draft::new(Kind::Reply, ticket)
                .payload(Encoding::RAW, &[7; 16])
                .encode(out);
        }
        written = rest;
    }
}

/// So many calls that come in one read, until all replies are written to the caller.
#[divan::bench(args = [1, 64])]
fn call_and_reply(bencher: Bencher<'_, '_>, count: usize) {
    let mut broker = Broker::new();
    let (mut caller, mut callee) = (broker.connect(), broker.connect());
    broker.ask(&mut callee, &Draft::new(Kind::Register, 1).key(b"math"));
    let (bytes, mut answers) = (calls(count), Vec::new());
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        caller.send(&bytes);
        broker.turn();
        callee.turn();
        replies(&callee.out.copied, &mut answers);
        callee.send(&answers);
        broker.turn();
        caller.turn();
        assert_eq!(caller.out.copied.len(), answers.len(), "each call has its reply");
    });
}

fn subscribers(broker: &mut Broker, count: usize, pattern: bool) -> Vec<Client> {
    let subscribe = |id| match pattern {
        true => Draft::new(Kind::Subscribe, id)
            .pair("sensors", "*")
            .flags(actix_ipc::message::Flags::PATTERN),
        false => Draft::new(Kind::Subscribe, id).pair("sensors", "kitchen"),
    };
    (0..count)
        .map(|_| {
            let mut client = broker.connect();
            broker.ask(&mut client, &subscribe(5));
            client
        })
        .collect()
}

/// 64 events of one topic that come in one read, until all of them are written to so many subscribers.
fn events(bencher: Bencher<'_, '_>, count: usize, pattern: bool) {
    let mut broker = Broker::new();
    let mut publisher = broker.connect();
    let mut subscribers = subscribers(&mut broker, count, pattern);
    let event = Draft::new(Kind::Publish, 0)
        .pair("sensors", "kitchen")
        .payload(Encoding::RAW, &[7; 16]);
    let bytes = event.to_vec().repeat(64);
    bencher.counter(ItemsCount::new(64 * count)).bench_local(|| {
        publisher.send(&bytes);
        broker.turn();
        for subscriber in &mut subscribers {
            subscriber.turn();
            assert!(subscriber.out.len() > 64 * 16, "all of them");
        }
        // The credit that comes back.
        publisher.turn();
    });
}

#[divan::bench(args = [1, 8, 100])]
fn events_exact(bencher: Bencher<'_, '_>, subscribers: usize) {
    events(bencher, subscribers, false);
}

#[divan::bench(args = [1, 8])]
fn events_pattern(bencher: Bencher<'_, '_>, subscribers: usize) {
    events(bencher, subscribers, true);
}

fn endpoint(broker: &mut Broker) -> Client {
    let mut client = broker.connect();
    let join = Join {
        version: BUS_VERSION,
        token: b"",
        labels: vec!["earth", "solar"],
    };
    let payload = join.encode().unwrap();
    broker.ask(
        &mut client,
        &Draft::new(Kind::Join, 5).payload(Encoding::RAW, &payload),
    );
    client
}

/// So many messages that come in one read, until they are written to so many endpoints and taken by them, and their sender was told.
fn messages(bencher: Bencher<'_, '_>, count: u32, endpoints: usize) {
    let mut broker = Broker::new();
    let mut sender = broker.connect();
    let mut endpoints: Vec<Client> = (0..endpoints).map(|_| endpoint(&mut broker)).collect();
    let label = Expression::label(&Label::new("earth").unwrap());
    let key = label.encode(Mode::Multicast).unwrap();
    let mut bytes = Vec::new();
    for id in 0..count {
        Draft::new(Kind::Send, u64::from(id))
            .key(&key)
            .payload(Encoding::RAW, &[7; 32])
            .encode(&mut bytes);
    }
    let taken = Draft::new(Kind::Taken, 5).aux(count).to_vec();
    let all = ItemsCount::new(count as usize * endpoints.len());
    bencher.counter(all).bench_local(|| {
        sender.send(&bytes);
        broker.turn();
        for endpoint in &mut endpoints {
            endpoint.turn();
            assert_eq!(endpoint.out.len(), 72 * count as usize, "all of them");
            endpoint.send(&taken);
        }
        sender.turn();
        assert_eq!(sender.out.copied.len(), 40, "one word about all of them");
    });
}

#[divan::bench(args = [1, 64, 512])]
fn messages_to_one(bencher: Bencher<'_, '_>, count: u32) {
    messages(bencher, count, 1);
}

#[divan::bench(args = [8, 100])]
fn messages_to_several(bencher: Bencher<'_, '_>, endpoints: usize) {
    messages(bencher, 64, endpoints);
}

/// A client that comes, registers an object and goes.
#[divan::bench]
fn connect_and_register(bencher: Bencher<'_, '_>) {
    let mut broker = Broker::new();
    let register = Draft::new(Kind::Register, 1).key(b"math");
    bencher.bench_local(|| {
        let mut client = broker.connect();
        broker.ask(&mut client, &register);
        drop(client);
        broker.bury();
    });
}

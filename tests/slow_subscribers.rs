//! Subscribers that do not read: the four policies, the exact count of what each missed, and what the others notice of it.
//!
//! Everything is bounded by counts. A stopped subscriber is a connection that nobody reads until all has been published.
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

#[path = "support/publisher.rs"]
mod publisher;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::config::Limits;
use actix_ipc::error::CloseReason;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use publisher::Publisher;
use raw::{Raw, meta};
use running::Running;
use std::collections::BTreeMap;
use std::thread::JoinHandle;

const HOLD: u32 = 0;
const DISCONNECT: u32 = 1;
const DROP_OLDEST: u32 = 2;
const LATEST: u32 = 3;

/// Small queues, so that a few megabytes fill the sockets and them; long patience, so that a starved machine makes nobody slow.
fn small() -> Limits {
    Limits {
        outbox_bytes: 64 * 1024,
        publish_window: 8 * 1024,
        hold_ms: 3_000,
        ..Limits::default()
    }
}

/// What one subscription got.
#[derive(Default)]
struct Tally {
    received: u32,
    missed: u32,
    gaps: u32,
    last: BTreeMap<Vec<u8>, u32>,
}

impl Tally {
    /// Reads until received and missed make up `published`. Numbers of a topic ascend, and what is missed lies between them.
    fn read(raw: &mut Raw, published: u32) -> Self {
        let mut tally = Self::default();
        while tally.received + tally.missed < published {
            let got = raw.read();
            tally.missed += got.aux;
            match got.kind {
                Kind::Gap => tally.gaps += 1,
                Kind::Event => {
                    tally.received += 1;
                    let number = u32::from_le_bytes(got.payload[..4].try_into().unwrap());
                    if let Some(before) = tally.last.insert(got.key, number) {
                        assert!(before < number, "{before} before {number}");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            tally.received + tally.missed,
            published,
            "nothing twice, nothing left out"
        );
        tally
    }
}

/// Reads everything in a thread of its own; nothing may be missed.
fn reader(mut raw: Raw, published: u32) -> JoinHandle<Raw> {
    std::thread::spawn(move || {
        let tally = Tally::read(&mut raw, published);
        assert_eq!((tally.received, tally.missed), (published, 0));
        raw
    })
}

#[test]
fn one_stopped_subscriber_of_eight_costs_the_others_nothing() {
    const EVENTS: u32 = 6_000;
    for policy in [HOLD, DISCONNECT, DROP_OLDEST, LATEST] {
        let broker = Running::start(small());
        let mut stopped = broker.connect();
        stopped.subscribe_as("s", "t", Flags::NONE, policy, &[]);
        let others: [Raw; 7] = broker.connect_all();
        let readers: Vec<_> = others
            .into_iter()
            .map(|mut raw| {
                raw.subscribe("s", "t");
                reader(raw, EVENTS)
            })
            .collect();
        let mut publisher = Publisher::new(broker.connect());
        publisher.numbers("t", EVENTS, 1_024);
        let mut readers: Vec<Raw> = readers.into_iter().map(|thread| thread.join().unwrap()).collect();
        if policy == DISCONNECT {
            // It has a second for the last word, which on a busy machine is over before anybody reads again.
            while let Some(got) = stopped.try_read() {
                if got.kind == Kind::Goodbye {
                    assert_eq!(got.aux, CloseReason::SlowConsumer.code(), "{}", got.text());
                }
            }
            let asking = Draft::new(Kind::Call, 1).pair("sys.broker", "status");
            let status = readers[0].ask(&asking).json();
            let recent = status["recent"].as_array().unwrap();
            let told = |entry: &serde_json::Value| {
                entry["kind"] == "closed"
                    && entry["text"]
                        .as_str()
                        .unwrap()
                        .contains(CloseReason::SlowConsumer.text())
            };
            assert_eq!(recent.iter().filter(|entry| told(entry)).count(), 1, "{recent:?}");
        } else {
            let tally = Tally::read(&mut stopped, EVENTS);
            assert!(
                tally.missed > 0 && tally.received > 0,
                "policy {policy}: {} received",
                tally.received
            );
            match policy {
                HOLD => assert!(tally.gaps > 0, "told although no event follows"),
                _ => assert_eq!(tally.last[&b""[..]], EVENTS - 1, "the newest is kept"),
            }
            // It has caught up: the next event is there, with nothing before it.
            publisher.numbers("t", 1, 4);
            let next = stopped.read();
            assert_eq!((next.kind, next.aux), (Kind::Event, 0), "policy {policy}");
            for raw in &mut readers {
                assert_eq!(raw.expect(Kind::Event).aux, 0);
            }
        }
        broker.stop();
    }
}

#[test]
fn the_latest_value_of_every_topic_is_kept() {
    let broker = Running::start(small());
    let mut stopped = broker.connect();
    stopped.subscribe_as("s", "*", Flags::PATTERN, LATEST, &[]);
    let mut publisher = Publisher::new(broker.connect());
    // All of them together are below the limit from which on even the latest values give way.
    let topics: Vec<String> = (0..12).map(|topic| format!("t{topic}")).collect();
    let rounds = 400_u32;
    let mut payload = vec![0; 1_024];
    for round in 0..rounds {
        payload[..4].copy_from_slice(&round.to_le_bytes());
        topics.iter().for_each(|topic| publisher.send(topic, &payload));
    }
    publisher.settle();
    let tally = Tally::read(&mut stopped, rounds * 12);
    assert!(tally.missed > 0);
    assert_eq!(tally.last.len(), 12);
    assert!(
        tally.last.values().all(|last| *last == rounds - 1),
        "{:?}",
        tally.last
    );
    broker.stop();
}

#[test]
fn more_topics_than_fit_are_counted_and_told() {
    for policy in [DROP_OLDEST, LATEST, HOLD] {
        let broker = Running::start(small());
        let mut stopped = broker.connect();
        stopped.subscribe_as("s", "*", Flags::PATTERN, policy, &[]);
        let mut publisher = Publisher::new(broker.connect());
        for round in 0..3_000_u32 {
            let payload = [&round.to_le_bytes()[..], &[0; 1_020]].concat();
            publisher.send(&format!("t{round}"), &payload);
        }
        publisher.settle();
        let tally = Tally::read(&mut stopped, 3_000);
        assert!(tally.missed > 0, "policy {policy}");
        broker.stop();
    }
}

#[test]
fn retained_values_that_do_not_fit_are_counted_and_stop_nothing() {
    let broker = Running::start(small());
    let mut publisher = broker.connect();
    for topic in 0..100 {
        let retain = Flags::ACK.with(Flags::RETAIN);
        let got = publisher.publish_as("s", &format!("t{topic}"), retain, &[0; 1_024]);
        assert_eq!(got.kind, Kind::Accepted);
    }
    for policy in [HOLD, DROP_OLDEST, LATEST] {
        let mut late = broker.connect();
        late.subscribe_as("s", "*", Flags::PATTERN, policy, &[]);
        let tally = Tally::read(&mut late, 100);
        assert!(tally.received >= 10, "policy {policy}: {}", tally.received);
        for _ in 0..3 {
            publisher.publish("s", "live", b"1234");
            let live = late.read();
            assert_eq!(
                (live.kind, live.aux, &live.key[..]),
                (Kind::Event, 0, &b"s\0live"[..])
            );
        }
    }
    broker.stop();
}

#[test]
fn who_reads_loses_nothing_at_full_speed() {
    const EVENTS: u32 = 100_000;
    for arbiters in [0, 2] {
        let limits = Limits {
            hold_ms: 5_000,
            ..Limits::default()
        };
        let broker = Running::with_arbiters(arbiters, limits);
        let [mut one, mut two, publisher] = broker.connect_all();
        one.subscribe("s", "t");
        two.subscribe_as("*", "t", Flags::PATTERN, 0, &[]);
        let readers = [reader(one, EVENTS), reader(two, EVENTS)];
        Publisher::new(publisher).numbers("t", EVENTS, 16);
        for thread in readers {
            thread.join().unwrap();
        }
        assert_eq!(broker.handle.metrics().events_missed, 0);
        broker.stop();
    }
}

#[test]
fn a_queue_group_gives_each_event_to_one_member() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut a, mut b, mut c, mut all, publisher] = broker.connect_all();
        let group = meta("group", b"g");
        for member in [&mut a, &mut b, &mut c] {
            member.subscribe_as("s", "t", Flags::NONE, 0, &group);
        }
        all.subscribe("s", "t");
        Publisher::new(publisher).numbers("t", 300, 4);
        let mut heard = BTreeMap::<u32, u32>::new();
        for member in [&mut a, &mut b, &mut c] {
            for got in member.read_all(100) {
                let number = u32::from_le_bytes(got.payload[..4].try_into().unwrap());
                *heard.entry(number).or_default() += 1;
            }
        }
        assert!(heard.len() == 300 && heard.values().all(|count| *count == 1));
        assert_eq!(Tally::read(&mut all, 300).received, 300);
        // A member that is gone takes no turns along, and a retained value is not for groups.
        drop(b);
        let mut publisher = broker.connect();
        while broker.handle.metrics().connections_closed == 0 {
            publisher.ping();
        }
        let retain = Flags::ACK.with(Flags::RETAIN);
        for _ in 0..4 {
            assert_eq!(
                publisher.publish_as("s", "t", retain, b"1234").aux,
                2,
                "one of the group, and who hears all"
            );
        }
        assert_eq!((a.read_all(2).len(), c.read_all(2).len()), (2, 2));
        let mut late = broker.connect();
        late.subscribe_as("s", "t", Flags::NONE, 0, &group);
        for _ in 0..3 {
            publisher.publish("s", "t", b"live");
        }
        assert_eq!(
            late.read().payload,
            b"live",
            "its turn among three, and nothing before"
        );
        broker.stop();
    }
}

#[test]
fn no_local_leaves_out_what_the_connection_publishes_itself() {
    let broker = Running::start(Limits::default());
    let [mut raw, mut other] = broker.connect_all();
    // One batch: the hub meets this peer for the first time.
    let publish = Draft::new(Kind::Publish, 7).flags(Flags::ACK.with(Flags::RETAIN));
    let own = publish.pair("s", "t").payload(Encoding::RAW, b"own");
    raw.send_all(&[
        Draft::new(Kind::Subscribe, 5)
            .flags(Flags::NO_LOCAL)
            .pair("s", "t"),
        Draft::new(Kind::Subscribe, 6).pair("s", "t"),
        own,
    ]);
    for id in [5, 6] {
        assert_eq!(raw.answer(id).kind, Kind::Done);
    }
    let accepted = raw.answer(7);
    assert_eq!((accepted.kind, accepted.aux), (Kind::Accepted, 1));
    let event = raw.read();
    assert_eq!((event.kind, event.id), (Kind::Event, 6));
    assert_eq!(raw.ask(&Draft::new(Kind::Unsubscribe, 6)).kind, Kind::Done);
    other.publish("s", "t", b"theirs");
    let event = raw.read();
    assert_eq!((event.id, &event.payload[..]), (5, &b"theirs"[..]));
    // A retained value of its own is left out as well.
    raw.send(&own);
    raw.answer(7);
    raw.subscribe_as("s", "t", Flags::NO_LOCAL, 0, &[]);
    other.subscribe_as("s", "t", Flags::NO_LOCAL, 0, &[]);
    assert_eq!(other.expect(Kind::Event).payload, b"own");
    broker.connect().publish("s", "t", b"another");
    for _ in 0..2 {
        assert_eq!(
            raw.read().payload,
            b"another",
            "on both subscriptions, and nothing before"
        );
    }
    broker.stop();
}

/// Copying all that was ever published, for one whose queue takes a part of it, would cost all others their time.
#[test]
fn retained_values_beyond_the_queue_are_missed_and_told() {
    const VALUES: u32 = 40;
    let broker = Running::start(Limits {
        outbox_bytes: 64 * 1024,
        ..Limits::default()
    });
    let [mut publisher, mut subscriber] = broker.connect_all();
    for number in 0..VALUES {
        publisher.publish_as(
            "s",
            &format!("t{number}"),
            Flags::RETAIN.with(Flags::ACK),
            &[7; 8 * 1024],
        );
    }
    for policy in [HOLD, DROP_OLDEST, LATEST] {
        let id = subscriber.subscribe_as("s", "*", Flags::PATTERN, policy, &[]);
        let (mut came, mut missed) = (0, 0);
        while came + missed < VALUES {
            let got = subscriber.expect_one(&[Kind::Event, Kind::Gap]);
            assert_eq!(got.id, id);
            missed += got.aux;
            came += u32::from(got.kind == Kind::Event);
        }
        assert!(
            (1..=4).contains(&came) && came + missed == VALUES,
            "{policy}: {came}"
        );
        subscriber.send(&Draft::new(Kind::Unsubscribe, id));
        assert_eq!(subscriber.expect(Kind::Done).id, id);
    }
    // Who wants to miss none is disconnected, unless it asks for none of them.
    let lenient = Flags::PATTERN.with(Flags::NO_RETAINED);
    subscriber.subscribe_as("s", "*", lenient, DISCONNECT, &[]);
    subscriber.ping();
    subscriber.send(
        &Draft::new(Kind::Subscribe, 99)
            .flags(Flags::PATTERN)
            .aux(DISCONNECT)
            .pair("s", "*"),
    );
    assert_eq!(subscriber.goodbye().0, CloseReason::SlowConsumer);
}

/// A queue admits by what is in it before.
#[test]
fn a_retained_value_comes_while_the_queue_is_below_its_limit() {
    let broker = Running::start(Limits {
        outbox_bytes: 64 * 1024,
        ..Limits::default()
    });
    let [mut publisher, mut subscriber] = broker.connect_all();
    for number in 0..3_u8 {
        let flags = Flags::RETAIN.with(Flags::ACK);
        publisher.publish_as("s", &format!("t{number}"), flags, &[7; 20 * 1024]);
    }
    let id = subscriber.subscribe_as("s", "*", Flags::PATTERN, HOLD, &[]);
    // Events have 32 KiB.
    for _ in 0..2 {
        let event = subscriber.expect(Kind::Event);
        assert_eq!((event.id, event.aux), (id, 0));
    }
    let gap = subscriber.expect(Kind::Gap);
    assert_eq!((gap.id, gap.aux), (id, 1));
}

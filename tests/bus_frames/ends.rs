//! Receivers that leave, die, stall or are full: each message has one outcome all the same.

use crate::running::Running;
use crate::until::until;
use crate::*;
use actix_ipc::actors::EndReason;
use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use std::collections::BTreeMap;

#[test]
fn what_a_receiver_has_not_taken_is_lost_when_it_leaves_or_dies() {
    for dies in [false, true] {
        let broker = Running::start(Limits::default());
        let [mut sender, mut receiver] = broker.connect_all();
        let endpoint = join(&mut receiver, &["earth"]);
        let (key, payload) = (to("earth"), body("m"));
        let drafts: Vec<_> = (1..=5).map(|id| message(id, &key, &payload)).collect();
        sender.send_all(&drafts);
        (0..5).for_each(|_| drop(hear(&mut receiver, endpoint)));
        take(&mut receiver, endpoint, 2);
        if dies {
            drop(receiver);
        } else {
            assert_eq!(receiver.ask(&Draft::new(Kind::Leave, endpoint)).kind, Kind::Done);
            take(&mut receiver, endpoint, 3);
            receiver.ping();
        }
        let told = outcomes(&mut sender, 5);
        assert_eq!(
            told[..2],
            [(1, Outcome::Taken, true, 1), (2, Outcome::Taken, true, 1)]
        );
        for (id, it) in (3..).zip(&told[2..]) {
            assert_eq!(*it, (id, Outcome::ReceiverGone, true, 0), "dies: {dies}");
        }
        sender.send(&message(6, &key, &payload));
        assert_eq!(outcome(&mut sender), (6, 1, Outcome::NoMatch, false, 0));
        assert_eq!(broker.handle.metrics().messages_lost, 3);
    }
}

#[test]
fn the_worst_of_several_receivers_is_told_and_how_many_took_it() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut one, mut two, three] = broker.connect_all();
    let mut three = three;
    let first = join(&mut one, &["x"]);
    let second = join(&mut two, &["x"]);
    join(&mut three, &["x"]);
    let (key, payload) = (all("x"), body("m"));
    sender.send_all(&[message(1, &key, &payload), message(2, &key, &payload)]);
    hear(&mut one, first);
    take(&mut one, first, 2);
    hear(&mut two, second);
    take(&mut two, second, 1);
    two.ping();
    three.expect(Kind::Message);
    drop(three);
    assert_eq!(outcome(&mut sender), (1, 1, Outcome::ReceiverGone, true, 2));
    drop(two);
    assert_eq!(outcome(&mut sender), (2, 1, Outcome::ReceiverGone, true, 1));
}

#[test]
fn a_receiver_that_takes_nothing_is_stalled_and_keeps_nobody_waiting() {
    let broker = Running::start(Limits {
        endpoint_stall_ms: 30,
        ..Limits::default()
    });
    let [mut sender, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth"]);
    let (key, payload) = (to("earth"), body("m"));
    sender.send_all(&[message(1, &key, &payload), message(2, &key, &payload)]);
    let told = outcomes(&mut sender, 2);
    assert_eq!(
        told,
        [
            (1, Outcome::ReceiverFull, true, 0),
            (2, Outcome::ReceiverFull, true, 0)
        ]
    );
    assert_eq!(broker.handle.metrics().endpoints_stalled, 1);
    sender.send(&message(3, &key, &payload));
    assert_eq!(
        outcome(&mut sender),
        (3, 1, Outcome::ReceiverFull, false, 0),
        "at once"
    );
    // They were written all the same, and taking them is nothing new to their sender.
    (0..2).for_each(|_| drop(hear(&mut receiver, endpoint)));
    take(&mut receiver, endpoint, 2);
    receiver.ping();
    sender.send(&message(4, &key, &payload));
    hear(&mut receiver, endpoint);
    take(&mut receiver, endpoint, 1);
    assert_eq!(outcome(&mut sender), (4, 1, Outcome::Taken, true, 1));
}

#[test]
fn an_endpoint_that_was_stalled_and_took_a_part_is_stalled_again() {
    let broker = Running::start(Limits {
        endpoint_stall_ms: 30,
        ..Limits::default()
    });
    let [mut sender, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth"]);
    let (key, payload) = (to("earth"), body("m"));
    let drafts: Vec<_> = (1..=3).map(|id| message(id, &key, &payload)).collect();
    sender.send_all(&drafts);
    let told = outcomes(&mut sender, 3);
    assert!(told.iter().all(|it| it.1 == Outcome::ReceiverFull));
    (0..3).for_each(|_| drop(hear(&mut receiver, endpoint)));
    take(&mut receiver, endpoint, 1);
    receiver.ping();
    sender.send(&message(4, &key, &payload));
    assert_eq!(outcome(&mut sender), (4, 1, Outcome::ReceiverFull, true, 0));
}

/// What an endpoint has left behind in the queue of its connection is nobody's charge; it must not pile up.
#[test]
fn who_leaves_and_joins_again_without_reading_is_closed() {
    use std::io::Write;
    let broker = Running::start(Limits {
        outbox_bytes: 64 * 1024,
        ..Limits::default()
    });
    let [mut sender, mut receiver] = broker.connect_all();
    let (key, payload) = (to("earth"), body(&"x".repeat(976)));
    let joining = join_payload(b"", &["earth"]);
    let both = || broker.handle.levels().connections == 2;
    for round in 1..=100_u64 {
        let draft = Draft::new(Kind::Join, round).payload(Encoding::RAW, &joining);
        let _ = receiver.stream.write_all(&draft.to_vec());
        until("it joins or is closed", || {
            broker.handle.metrics().endpoints == 1 || !both()
        });
        let drafts: Vec<_> = (0..64)
            .map(|id| message(round * 64 + id, &key, &payload))
            .collect();
        sender.send_all(&drafts);
        sender.after_registry();
        let _ = receiver
            .stream
            .write_all(&Draft::new(Kind::Leave, round).to_vec());
        outcomes(&mut sender, 64);
        until("it leaves", || broker.handle.metrics().endpoints == 0);
        if !both() {
            assert!(round > 2, "closed in round {round}");
            return;
        }
    }
    panic!("a hundred rounds were kept");
}

#[test]
fn what_does_not_fit_a_receivers_queue_is_refused_and_the_rest_arrives() {
    let broker = Running::start(Limits {
        outbox_bytes: 64 * 1024,
        ..Limits::default()
    });
    let [mut sender, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth"]);
    let (key, payload) = (to("earth"), body(&"x".repeat(976)));
    let each = message(1, &key, &payload).wire_len();
    assert_eq!(each, 1024);
    let drafts: Vec<_> = (1..=100).map(|id| message(id, &key, &payload)).collect();
    sender.send_all(&drafts);
    sender.after_registry();
    (0..64).for_each(|_| drop(hear(&mut receiver, endpoint)));
    let refused = outcomes(&mut sender, 36);
    for (id, it) in (65..).zip(refused) {
        assert_eq!(it, (id, Outcome::ReceiverFull, false, 0));
    }
    take(&mut receiver, endpoint, 64);
    let taken = outcomes(&mut sender, 64);
    assert!(taken.iter().all(|it| it.1 == Outcome::Taken));
    sender.send(&message(101, &key, &payload));
    hear(&mut receiver, endpoint);
}

#[test]
fn a_drain_waits_for_what_is_under_way() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth"]);
    let (key, payload) = (to("earth"), body("m"));
    sender.send_all(&[message(1, &key, &payload)]);
    hear(&mut receiver, endpoint);
    broker.begin_stop();
    let draining = || Draft::new(Kind::Call, 7).pair("nobody", "m");
    while sender.fails(&draining()).0 != ErrorCode::Draining {}
    sender.send(&message(2, &key, &payload));
    let mut told = outcomes(&mut sender, 1);
    assert_eq!(told.pop(), Some((2, Outcome::Cancelled, false, 0)));
    take(&mut receiver, endpoint, 1);
    assert_eq!(outcome(&mut sender), (1, 1, Outcome::Taken, true, 1));
    assert_eq!(broker.ended(), EndReason::Drained);
}

/// Every message has exactly one outcome, whatever its receivers do: one takes all, one leaves, one dies, one is slow to take.
#[test]
fn every_message_has_one_outcome_whoever_dies_and_leaves() {
    const MESSAGES: u64 = 3_000;
    let broker = Running::with_arbiters(2, Limits::default());
    let [mut sender, mut steady, mut leaver, mut dying] = broker.connect_all();
    let ends = [
        join(&mut steady, &["x"]),
        join(&mut leaver, &["x"]),
        join(&mut dying, &["x"]),
    ];
    let (everyone, one) = (all("x"), labelled("x").encode(Mode::RoundRobin).unwrap());
    let receivers = [(steady, u32::MAX), (leaver, 500), (dying, 700)];
    let threads: Vec<_> = receivers
        .into_iter()
        .zip(ends)
        .map(|((mut raw, until), endpoint)| {
            std::thread::spawn(move || {
                let mut taken = 0;
                while taken < until
                    && let Some(got) = raw.try_read()
                {
                    if got.kind == Kind::Message {
                        taken += 1;
                        take(&mut raw, endpoint, 1);
                    }
                }
                if until == 500 {
                    raw.ask(&Draft::new(Kind::Leave, endpoint));
                    while raw.try_read().is_some() {}
                }
            })
        })
        .collect();
    let payload = body("m");
    let mut told: BTreeMap<u64, Outcome> = BTreeMap::new();
    for first in (1..=MESSAGES).step_by(100) {
        let key: &[u8] = if first % 300 == 1 { &everyone } else { &one };
        let drafts: Vec<_> = (first..first + 100)
            .map(|id| message(id, key, &payload))
            .collect();
        sender.send_all(&drafts);
        // Half of them stay under way.
        while told.len() as u64 + 50 < first + 99 {
            for (first, count, outcome, ..) in entries(&sender.expect(Kind::Settled)) {
                for id in first..first + u64::from(count) {
                    assert_eq!(told.insert(id, outcome), None, "{id} has two outcomes");
                }
            }
        }
    }
    while (told.len() as u64) < MESSAGES {
        for (first, count, outcome, ..) in entries(&sender.expect(Kind::Settled)) {
            for id in first..first + u64::from(count) {
                assert_eq!(told.insert(id, outcome), None, "{id} has two outcomes");
            }
        }
    }
    assert_eq!(
        told.keys().copied().collect::<Vec<_>>(),
        (1..=MESSAGES).collect::<Vec<_>>()
    );
    let expected = [Outcome::Taken, Outcome::ReceiverGone];
    assert!(told.values().all(|outcome| expected.contains(outcome)));
    sender.ping();
    assert_eq!(sender.kept(), [], "nothing is told twice");
    broker.begin_stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

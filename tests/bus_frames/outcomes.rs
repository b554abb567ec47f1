//! Messages that are taken, or not: the order, the outcome of each, the window.

use crate::running::Running;
use crate::*;
use actix_ipc::config::Limits;
use actix_ipc::error::CloseReason;

#[test]
fn a_run_arrives_in_order_and_is_settled_as_it_is_taken() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut sender, mut receiver] = broker.connect_all();
        let endpoint = join(&mut receiver, &["earth"]);
        let texts: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
        let payloads: Vec<Vec<u8>> = texts.iter().map(|text| body(text)).collect();
        let key = to("earth");
        let drafts: Vec<_> = (10..)
            .zip(&payloads)
            .map(|(id, p)| message(id, &key, p))
            .collect();
        sender.send_all(&drafts);
        for text in &texts {
            let got = receiver.expect(Kind::Message);
            assert_eq!(got.origin.unwrap().peer.0, sender.peer);
            assert_eq!((got.id, &got.payload[16..]), (endpoint, text.as_bytes()));
        }
        for (taken, first) in [(1, 10), (99, 11), (100, 110)] {
            take(&mut receiver, endpoint, taken);
            let mut told = Vec::new();
            while told.iter().map(|it: &Told| it.1).sum::<u32>() < taken {
                told.extend(entries(&sender.expect(Kind::Settled)));
            }
            // Reads may have cut the run; numbers go on all the same.
            let mut next = first;
            for (at, count, outcome, arrived, receivers) in told {
                assert_eq!((at, outcome, arrived, receivers), (next, Outcome::Taken, true, 1));
                next += u64::from(count);
            }
            assert_eq!(next, first + u64::from(taken));
        }
        let metrics = broker.handle.metrics();
        assert_eq!((metrics.messages_sent, metrics.messages_taken), (200, 200));
        assert_eq!(broker.stop(), actix_ipc::actors::EndReason::Drained);
    }
}

#[test]
fn unlike_messages_keep_their_order_too() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth", "moon"]);
    let (earth, moon, long) = (to("earth"), to("moon"), body("a longer one"));
    let (a, b) = (body("a"), body("b"));
    let meta = raw::meta("k", b"v");
    sender.send_all(&[
        message(1, &earth, &a),
        message(2, &moon, &b),
        message(3, &earth, &long),
        message(4, &earth, &a).meta(&meta),
        message(5, &earth, &a).aux(5),
        message(9, &earth, &a),
        message(10, &earth, &b),
    ]);
    for expected in ["a", "b", "a longer one", "a", "a", "a", "b"] {
        let got = receiver.expect(Kind::Message);
        assert_eq!(&got.payload[16..], expected.as_bytes());
        assert_eq!(got.meta.is_empty(), !got.flags.has(Flags::META));
        if got.flags.has(Flags::META) {
            assert_eq!(got.meta, meta);
        }
    }
    take(&mut receiver, endpoint, 7);
    let told: Vec<u64> = outcomes(&mut sender, 7).iter().map(|it| it.0).collect();
    assert_eq!(told, [1, 2, 3, 4, 5, 9, 10]);
}

#[test]
fn who_of_those_that_match_gets_it() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut one, mut two] = broker.connect_all();
    let first = join(&mut one, &["x"]);
    let second = join(&mut two, &["x", "y"]);
    let third = join(&mut two, &["x"]);
    let payload = body("m");
    let modes = [
        Mode::First,
        Mode::RoundRobin,
        Mode::RoundRobin,
        Mode::RoundRobin,
        Mode::Multicast,
    ];
    for (id, mode) in (1..).zip(modes) {
        let key = labelled("x").encode(mode).unwrap();
        sender.send(&message(id, &key, &payload));
        sender.after_registry();
    }
    assert_eq!(
        [one.expect(Kind::Message).id, one.expect(Kind::Message).id],
        [first; 2]
    );
    assert_eq!(one.expect(Kind::Message).id, first, "of the multicast");
    let two_got: Vec<u64> = two.read_all(4).iter().map(|got| got.id).collect();
    assert_eq!(two_got, [second, third, second, third]);
    let not = labelled("y").not().encode(Mode::Multicast).unwrap();
    sender.send(&message(6, &not, &payload));
    assert_eq!(two.expect(Kind::Message).id, third);
    // A multicast is settled when the last one has taken it.
    take(&mut one, first, 3);
    take(&mut two, second, 2);
    let mut told: Vec<u64> = outcomes(&mut sender, 3).iter().map(|it| it.0).collect();
    told.sort_unstable();
    assert_eq!(told, [1, 2, 3]);
    take(&mut two, third, 1);
    assert_eq!(outcome(&mut sender), (4, 1, Outcome::Taken, true, 1));
    take(&mut two, third, 1);
    assert_eq!(outcome(&mut sender), (5, 1, Outcome::Taken, true, 3));
}

#[test]
fn a_message_that_nobody_matches_is_a_dead_letter_at_once() {
    let broker = Running::start(Limits::default());
    let [mut sender] = broker.connect_all();
    let payload = body("m");
    for (id, key) in [(1, to("nobody")), (2, all("nobody"))] {
        sender.send(&message(id, &key, &payload));
        assert_eq!(outcome(&mut sender), (id, 1, Outcome::NoMatch, false, 0));
    }
    assert_eq!(broker.handle.metrics().dead_letters, 2);
}

#[test]
fn the_window_comes_back_with_what_is_settled_and_not_before() {
    let broker = Running::start(Limits {
        send_window: 1_000,
        ..Limits::default()
    });
    let [mut sender, mut other, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth"]);
    let (key, payload) = (to("earth"), body(&"x".repeat(952)));
    // 24 of the header, 8 of the key: exactly the window.
    assert_eq!(message(1, &key, &payload).wire_len(), 1_000);
    for id in 1..=3 {
        sender.send(&message(id, &key, &payload));
        hear(&mut receiver, endpoint);
        take(&mut receiver, endpoint, 1);
        assert_eq!(outcome(&mut sender), (id, 1, Outcome::Taken, true, 1));
    }
    sender.send_all(&[message(4, &key, &payload), message(5, &key, &payload)]);
    assert_eq!(sender.goodbye().0, CloseReason::Window);
    let small = body(&"x".repeat(100));
    let drafts: Vec<_> = (1..=8).map(|id| message(id, &key, &small)).collect();
    other.send_all(&drafts);
    assert_eq!(other.goodbye().0, CloseReason::Window, "in a run, too");
}

#[test]
fn what_is_no_message_ends_the_connection() {
    let broker = Running::start(Limits::default());
    let (key, payload) = (to("earth"), body("x"));
    let short = [0; 15];
    for draft in [
        message(1, b"", &payload),
        message(1, b"\x03\x05", &payload),
        message(1, b"\0\x05\x05", &payload),
        message(1, &key, &short),
        Draft::new(Kind::Message, 1),
        Draft::new(Kind::Settled, 0),
    ] {
        let [mut raw] = broker.connect_all();
        raw.send(&draft);
        assert_eq!(raw.goodbye().0, CloseReason::Protocol, "{draft:?}");
    }
    let [mut raw] = broker.connect_all();
    let endpoint = join(&mut raw, &["earth"]);
    raw.send(&message(1, &key, &payload));
    hear(&mut raw, endpoint);
    take(&mut raw, 99, 5);
    take(&mut raw, endpoint, 0);
    raw.ping();
    take(&mut raw, endpoint, 2);
    assert_eq!(raw.goodbye().0, CloseReason::Protocol, "more than it was given");
}

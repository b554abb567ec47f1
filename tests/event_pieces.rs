//! Events in pieces: several under way at one subscription, and ends in the middle.
//!
//! Owns what publishers and subscribers see; calls and replies are in `pieces.rs`.
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

#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::{Got, Raw};
use running::Running;

const CONTINUED: Flags = Flags::CONTINUED;
const LAST: Flags = Flags::NONE;

fn publish(id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    let draft = Draft::new(Kind::Publish, id).flags(flags);
    draft.pair("s", "t").payload(Encoding::RAW, payload)
}

fn piece(kind: Kind, id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    Draft::new(kind, id).flags(flags).payload(Encoding::RAW, payload)
}

#[test]
fn events_in_pieces_carry_the_number_of_their_message() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut one, mut two, mut exact, mut wide] = broker.connect_all();
        let exact_id = exact.subscribe("s", "t");
        let wide_id = wide.subscribe_as("s", "*", Flags::PATTERN, 0, &[]);
        one.send_all(&[
            publish(5, CONTINUED.with(Flags::ACK), b"a"),
            publish(6, CONTINUED, b"x"),
            piece(Kind::PublishPiece, 5, CONTINUED, b"b"),
        ]);
        one.after_hub();
        two.send_all(&[
            publish(5, CONTINUED, b"A"),
            publish(7, LAST, b"whole"),
            piece(Kind::PublishPiece, 5, LAST, b"B"),
        ]);
        two.after_hub();
        one.send_all(&[
            piece(Kind::PublishPiece, 6, LAST, b"y"),
            piece(Kind::PublishPiece, 5, LAST, b"c"),
            piece(Kind::PublishPiece, 5, LAST, b"ignored: it is not open"),
        ]);
        let accepted = one.answer(5);
        assert_eq!((accepted.kind, accepted.aux), (Kind::Accepted, 2));
        for (raw, id, key) in [(&mut exact, exact_id, &b""[..]), (&mut wide, wide_id, b"s\0t")] {
            let got = raw.read_all(8);
            assert!(got.iter().all(|got| got.id == id));
            let begins: Vec<&Got> = got.iter().filter(|got| got.kind == Kind::Event).collect();
            assert!(begins.iter().all(|got| got.key == key), "{begins:?}");
            let whole = |first: &[u8]| -> Vec<u8> {
                let begin = begins.iter().find(|got| got.payload == first).unwrap();
                let pieces = got
                    .iter()
                    .filter(|got| got.kind == Kind::EventPiece && got.aux == begin.aux);
                [
                    first.to_vec(),
                    pieces.flat_map(|got| got.payload.clone()).collect(),
                ]
                .concat()
            };
            assert_eq!(
                (whole(b"a"), whole(b"x"), whole(b"A")),
                (b"abc".into(), b"xy".into(), b"AB".into())
            );
            let single = begins.iter().find(|got| got.payload == b"whole").unwrap();
            assert_eq!(
                (single.aux, single.flags.has(CONTINUED)),
                (0, false),
                "nothing is missed"
            );
        }
        broker.stop();
    }
}

#[test]
fn an_event_in_pieces_is_given_up_in_the_middle() {
    let broker = Running::start(Limits {
        message_bytes: 1_000,
        ..Limits::default()
    });
    let [mut publisher, mut subscriber] = broker.connect_all();
    let id = subscriber.subscribe("s", "t");
    let bytes = [0; 400];
    let ends = [
        (
            vec![piece(Kind::PublishPiece, 5, Flags::ABORT, b"")],
            ErrorCode::Cancelled,
        ),
        (
            vec![piece(Kind::PublishPiece, 5, CONTINUED, &bytes); 3],
            ErrorCode::TooLarge,
        ),
    ];
    for (end, code) in ends {
        publisher.send(&publish(5, CONTINUED.with(Flags::ACK), b"a"));
        publisher.send_all(&end);
        publisher.send(&piece(Kind::PublishPiece, 5, LAST, b"ignored"));
        let error = publisher.answer(5);
        assert_eq!(error.error(), (code, false));
        if code == ErrorCode::TooLarge {
            assert!(error.text().contains("limits.message_bytes"), "{}", error.text());
        }
        given_up(&mut subscriber, id);
    }
    // The same when the publisher dies, though nobody publishes any more.
    publisher.send(&publish(5, CONTINUED, b"a"));
    publisher.after_hub();
    drop(publisher);
    given_up(&mut subscriber, id);
    let mut publisher = broker.connect();
    publisher.publish("s", "t", b"next");
    let next = subscriber.read();
    assert_eq!(
        (next.aux, &next.payload[..]),
        (0, &b"next"[..]),
        "the gaps were told already"
    );
    broker.stop();
}

/// An event that has begun is voided, and told as missed.
fn given_up(subscriber: &mut Raw, id: u64) {
    let (mut numbers, mut missed, mut voided) = (Vec::new(), 0, false);
    while !voided || missed == 0 {
        let got = subscriber.read();
        assert_eq!(got.id, id);
        match got.kind {
            Kind::Gap => missed += got.aux,
            Kind::Event | Kind::EventPiece => numbers.push(got.aux),
            other => panic!("{other:?}"),
        }
        voided |= got.kind == Kind::EventPiece && got.flags.has(Flags::ABORT);
    }
    assert_eq!(missed, 1);
    assert!(
        numbers.windows(2).all(|pair| pair[0] == pair[1]),
        "one message: {numbers:?}"
    );
}

#[test]
fn a_retained_value_in_pieces_is_refused_also_where_nobody_asked() {
    let broker = Running::start(Limits::default());
    let [mut publisher] = broker.connect_all();
    for flags in [Flags::NONE, Flags::ACK] {
        let first = Draft::new(Kind::Publish, 5).flags(flags.with(Flags::CONTINUED).with(Flags::RETAIN));
        publisher.send(&first.pair("s", "t").payload(Encoding::RAW, b"a"));
        publisher.send(&Draft::new(Kind::PublishPiece, 5));
        let refused = publisher.expect(Kind::Error);
        assert_eq!((refused.id, refused.error()), (5, (ErrorCode::TooLarge, false)));
    }
}

//! Calls and replies in pieces, and streamed replies: other frames between them, credit, ends in the middle, and what is too large.
//!
//! Owns sections 10 and 11 of the protocol document as far as they are about calls; events are in `event_pieces.rs`.
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
#[path = "support/until.rs"]
mod until;

use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::{Got, Raw};
use running::Running;
use until::until;

const CONTINUED: Flags = Flags::CONTINUED;
const LAST: Flags = Flags::NONE;
const LONG: u32 = 3_600_000;

fn call(id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    let draft = Draft::new(Kind::Call, id).aux(LONG).flags(flags);
    draft.pair("o", "m").payload(Encoding::RAW, payload)
}

fn publish(id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    let draft = Draft::new(Kind::Publish, id).flags(flags);
    draft.pair("s", "t").payload(Encoding::RAW, payload)
}

fn piece(kind: Kind, id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    Draft::new(kind, id).flags(flags).payload(Encoding::RAW, payload)
}

/// What a frame is, without what differs from run to run.
fn brief(got: &Got) -> (Kind, u64, bool, &[u8]) {
    (got.kind, got.id, got.flags.has(CONTINUED), &got.payload)
}

/// A worker that serves "o", and its caller.
fn pair(broker: &Running) -> [Raw; 2] {
    let [mut worker, caller] = broker.connect_all();
    worker.register("o");
    [worker, caller]
}

#[test]
fn a_call_and_its_reply_in_pieces_with_others_between() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut worker, mut caller] = pair(&broker);
        caller.send_all(&[
            call(5, CONTINUED, b"a"),
            call(6, CONTINUED, b"x"),
            piece(Kind::CallPiece, 5, CONTINUED, b"b"),
            call(7, LAST, b"whole"),
            piece(Kind::CallPiece, 6, LAST, b"y"),
            piece(Kind::CallPiece, 5, LAST, b"c"),
            // Of a message that is not open: ignored.
            piece(Kind::CallPiece, 99, LAST, b"?"),
        ]);
        let got = worker.read_all(6);
        let ticket = |payload: &[u8]| got.iter().find(|got| got.payload == payload).unwrap().id;
        let (five, six, seven) = (ticket(b"a"), ticket(b"x"), ticket(b"whole"));
        let of = |id| {
            got.iter()
                .filter(|got| got.id == id)
                .map(brief)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(five),
            [
                (Kind::Call, five, true, &b"a"[..]),
                (Kind::CallPiece, five, true, b"b"),
                (Kind::CallPiece, five, false, b"c")
            ]
        );
        assert_eq!(
            of(six),
            [
                (Kind::Call, six, true, &b"x"[..]),
                (Kind::CallPiece, six, false, b"y")
            ]
        );
        worker.send_all(&[
            piece(Kind::Reply, five, CONTINUED, b"1"),
            piece(Kind::Reply, six, LAST, b"done"),
            piece(Kind::ReplyPiece, five, CONTINUED, b"2"),
            piece(Kind::Reply, seven, LAST, b"too"),
            piece(Kind::ReplyPiece, five, LAST, b"3"),
        ]);
        let answers = caller.read_all(5);
        let expected = [
            (Kind::Reply, 5, true, &b"1"[..]),
            (Kind::Reply, 6, false, b"done"),
            (Kind::ReplyPiece, 5, true, b"2"),
            (Kind::Reply, 7, false, b"too"),
            (Kind::ReplyPiece, 5, false, b"3"),
        ];
        assert_eq!(answers.iter().map(brief).collect::<Vec<_>>(), expected);
        broker.stop();
    }
}

#[test]
fn pieces_wait_with_a_call_for_its_object() {
    let broker = Running::start(Limits::default());
    let [mut worker, mut caller] = broker.connect_all();
    caller.send_all(&[
        call(5, CONTINUED.with(Flags::WAIT), b"a"),
        piece(Kind::CallPiece, 5, CONTINUED, b"b"),
    ]);
    caller.after_registry();
    caller.send(&piece(Kind::CallPiece, 5, LAST, b"c"));
    caller.ping();
    worker.register("o");
    let got = worker.read_all(3);
    assert_eq!(
        got.iter().map(|got| &got.payload[..]).collect::<Vec<_>>(),
        [b"a", b"b", b"c"]
    );
    worker.reply(&got[0], b"ok");
    assert_eq!(brief(&caller.read()), (Kind::Reply, 5, false, &b"ok"[..]));
    broker.stop();
}

#[test]
fn credit_goes_to_the_other_side_under_its_own_number() {
    let broker = Running::start(Limits {
        stream_window: 1_000,
        ..Limits::default()
    });
    let [mut worker, mut caller] = pair(&broker);
    let (bytes, mut left) = (vec![7; 400 - 24], 1_000_i64);
    caller.send(&call(5, CONTINUED.with(Flags::STREAM), b""));
    let first = worker.read();
    let mut sent = 0;
    for number in 0..20 {
        while left <= 0 {
            let credit = caller.expect(Kind::CallCredit);
            assert_eq!((credit.id, credit.aux), (5, 400));
            left += i64::from(credit.aux);
        }
        caller.send(&piece(Kind::CallPiece, 5, CONTINUED, &bytes));
        left -= 400;
        sent += 1;
        assert!(number > 2 || left > -400);
        assert_eq!(worker.expect(Kind::CallPiece).id, first.id);
        worker.send(&Draft::new(Kind::CallCredit, first.id).aux(400));
    }
    assert_eq!(sent, 20);
    caller.send(&piece(Kind::CallPiece, 5, LAST, b""));
    worker.expect(Kind::CallPiece);
    let mut left = 1_000_i64;
    for number in 0..20_u8 {
        while left <= 0 {
            let credit = worker.expect(Kind::ReplyCredit);
            assert_eq!((credit.id, credit.aux), (first.id, 500));
            left += i64::from(credit.aux);
        }
        let item = vec![number; 500 - 24];
        worker.send(&piece(Kind::Reply, first.id, Flags::MORE, &item));
        left -= 500;
        loop {
            let got = caller.read();
            if got.kind == Kind::CallCredit {
                continue;
            }
            assert_eq!(
                (got.kind, got.id, got.payload[0]),
                (Kind::Reply, 5, number),
                "in order"
            );
            assert!(got.flags.has(Flags::MORE));
            break;
        }
        caller.send(&Draft::new(Kind::ReplyCredit, 5).aux(500));
    }
    worker.send(&piece(Kind::Reply, first.id, LAST, b""));
    assert_eq!(brief(&caller.read()), (Kind::Reply, 5, false, &b""[..]));
    // Credit for what is not open is ignored.
    caller.send(&Draft::new(Kind::ReplyCredit, 5).aux(500));
    worker.send(&Draft::new(Kind::CallCredit, first.id).aux(500));
    caller.ping();
    worker.ping();
    broker.stop();
}

#[test]
fn a_call_ends_in_the_middle() {
    let broker = Running::start(Limits {
        message_bytes: 1_000,
        ..Limits::default()
    });
    let [mut worker, mut caller] = pair(&broker);
    // By its caller's ABORT, by Cancel, by being too large: before the callee is known, and after.
    let bytes = [0; 400];
    let ends = [
        (
            vec![piece(Kind::CallPiece, 5, Flags::ABORT, b"")],
            ErrorCode::Cancelled,
            0,
        ),
        (vec![Draft::new(Kind::Cancel, 5)], ErrorCode::Cancelled, 0),
        (
            vec![piece(Kind::CallPiece, 5, CONTINUED, &bytes); 4],
            ErrorCode::TooLarge,
            2,
        ),
    ];
    for (end, code, pieces) in ends {
        for routed in [false, true] {
            end_call(&mut worker, &mut caller, &end, code, routed, pieces);
        }
    }
    // Exactly message_bytes, the first frame's included.
    caller.send_all(&[
        call(6, CONTINUED, &bytes),
        piece(Kind::CallPiece, 6, CONTINUED, &bytes),
        piece(Kind::CallPiece, 6, LAST, &bytes[..200]),
    ]);
    let got = worker.read_all(3);
    worker.reply(&got[0], b"");
    assert_eq!(caller.read().kind, Kind::Reply);
    broker.stop();
}

/// A call in pieces is begun with 201 bytes and ended by `end`; the callee sees its first frame, `pieces` pieces, and Cancel.
fn end_call(
    worker: &mut Raw,
    caller: &mut Raw,
    end: &[Draft<'_>],
    code: ErrorCode,
    routed: bool,
    pieces: usize,
) {
    let begin = [
        call(5, CONTINUED, &[1; 200]),
        piece(Kind::CallPiece, 5, CONTINUED, b"b"),
    ];
    let behind = piece(Kind::CallPiece, 5, LAST, b"too late");
    if routed {
        caller.send_all(&begin);
        caller.after_registry();
        caller.send_all(&[end, &[behind]].concat());
    } else {
        caller.send_all(&[&begin[..], end, &[behind]].concat());
    }
    let error = caller.answer(5);
    assert_eq!(error.error().0, code);
    if code == ErrorCode::TooLarge {
        assert!(error.text().contains("limits.message_bytes"), "{}", error.text());
    }
    let first = worker.expect(Kind::Call);
    let mut seen = 0;
    loop {
        let got = worker.read();
        assert_eq!(got.id, first.id);
        match got.kind {
            Kind::CallPiece => seen += 1,
            Kind::Cancel => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(seen <= 1 + pieces, "{seen} pieces");
    worker.reply(&first, b"nobody waits for this");
    caller.after_registry();
    worker.ping();
    assert_eq!((caller.kept(), worker.kept()), (vec![], vec![]));
}

#[test]
fn what_nobody_announced_is_a_protocol_error() {
    let broker = Running::start(Limits::default());
    let mut worker = broker.connect();
    worker.register("o");
    for drafts in [
        vec![call(5, LAST, b""), piece(Kind::CallPiece, 5, LAST, b"")],
        vec![
            call(5, CONTINUED, b""),
            piece(Kind::CallPiece, 5, LAST, b""),
            piece(Kind::CallPiece, 5, LAST, b"one too many"),
        ],
        vec![
            call(5, CONTINUED, b""),
            piece(Kind::CallPiece, 5, CONTINUED.with(Flags::ABORT), b""),
        ],
        vec![
            publish(5, CONTINUED, b""),
            piece(Kind::PublishPiece, 5, CONTINUED.with(Flags::ABORT), b""),
        ],
        vec![publish(5, CONTINUED, b""), publish(5, CONTINUED, b"")],
        vec![call(5, CONTINUED.with(Flags::NO_REPLY), b"")],
    ] {
        let mut raw = broker.connect();
        raw.send_all(&drafts);
        assert_eq!(raw.goodbye().0, CloseReason::Protocol, "{drafts:?}");
    }
    worker.ping();
    broker.stop();
}

#[test]
fn a_reply_that_breaks_the_rules_ends_its_call() {
    let broker = Running::start(Limits {
        message_bytes: 1_000,
        ..Limits::default()
    });
    let [mut worker, mut caller] = pair(&broker);
    let (bytes, more) = ([0; 400], Flags::MORE);
    for (flags, replies, code, word) in [
        (
            LAST,
            vec![(Kind::Reply, more, &b"item"[..])],
            ErrorCode::Invalid,
            "single",
        ),
        (
            LAST,
            vec![(Kind::ReplyPiece, LAST, b"?")],
            ErrorCode::Invalid,
            "order",
        ),
        (
            Flags::STREAM,
            vec![(Kind::Reply, CONTINUED, b"a"), (Kind::Reply, LAST, b"b")],
            ErrorCode::Invalid,
            "order",
        ),
        (
            LAST,
            vec![
                (Kind::Reply, CONTINUED, &bytes),
                (Kind::ReplyPiece, CONTINUED, &bytes),
                (Kind::ReplyPiece, LAST, &bytes),
            ],
            ErrorCode::TooLarge,
            "limits.message_bytes",
        ),
        (
            Flags::STREAM,
            vec![
                (Kind::Reply, more, &bytes),
                (Kind::Reply, more.with(CONTINUED), &bytes),
                (Kind::ReplyPiece, CONTINUED, &bytes),
                (Kind::ReplyPiece, LAST, &bytes),
            ],
            ErrorCode::TooLarge,
            "limits.message_bytes",
        ),
    ] {
        caller.send(&call(5, flags, b""));
        let ticket = worker.expect(Kind::Call).id;
        let drafts: Vec<_> = replies
            .iter()
            .map(|(kind, flags, payload)| piece(*kind, ticket, *flags, payload))
            .collect();
        worker.send_all(&drafts);
        let error = std::iter::repeat_with(|| caller.read())
            .find(|got| got.kind == Kind::Error)
            .unwrap();
        assert_eq!(error.error(), (code, true), "{}", error.text());
        assert!(error.text().contains(word), "{}", error.text());
        assert_eq!(worker.expect(Kind::Cancel).id, ticket);
    }
    broker.stop();
}

/// As much as is allowed, and a stream whose items together have more.
#[test]
fn a_reply_of_the_largest_size_passes() {
    let broker = Running::start(Limits {
        message_bytes: 1_000,
        ..Limits::default()
    });
    let [mut worker, mut caller] = pair(&broker);
    let (bytes, more) = ([0; 400], Flags::MORE);
    caller.send(&call(5, Flags::STREAM, b""));
    let ticket = worker.expect(Kind::Call).id;
    let item = piece(Kind::Reply, ticket, more, &bytes);
    let whole = [
        piece(Kind::Reply, ticket, CONTINUED, &bytes),
        piece(Kind::ReplyPiece, ticket, CONTINUED, &bytes),
        piece(Kind::ReplyPiece, ticket, LAST, &bytes[..200]),
    ];
    worker.send_all(&[&[item, item, item][..], &whole].concat());
    assert_eq!(caller.read_all(6).last().map(|got| got.payload.len()), Some(200));
    broker.stop();
}

/// A streamed call with two items so far; returns its ticket.
fn begin_stream(worker: &mut Raw, caller: &mut Raw, deadline: u32) -> u64 {
    caller.send(&call(5, Flags::STREAM, b"").aux(deadline));
    let ticket = worker.expect(Kind::Call).id;
    worker.send_all(&[piece(Kind::Reply, ticket, Flags::MORE, b"item"); 2]);
    for item in caller.read_all(2) {
        assert_eq!(
            (item.kind, item.id, &item.payload[..]),
            (Kind::Reply, 5, &b"item"[..])
        );
    }
    ticket
}

#[test]
fn a_stream_ends_by_error_cancel_silence_or_death() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut worker, mut caller] = pair(&broker);
        let ticket = begin_stream(&mut worker, &mut caller, LONG);
        worker.send(&piece(Kind::Error, ticket, Flags::MAY_HAVE_RUN, b"no more").aux(3));
        assert_eq!(caller.read().error(), (ErrorCode::Handler, true));

        let ticket = begin_stream(&mut worker, &mut caller, LONG);
        assert_eq!(
            caller.fails(&Draft::new(Kind::Cancel, 5)),
            (ErrorCode::Cancelled, true)
        );
        assert_eq!(worker.expect(Kind::Cancel).id, ticket);

        // The deadline begins anew with each item: it passes only in silence.
        let ticket = begin_stream(&mut worker, &mut caller, 1_000);
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(2_200) {
            worker.send(&piece(Kind::Reply, ticket, Flags::MORE, b"item"));
            let item = caller.expect(Kind::Reply);
            caller.send(&Draft::new(Kind::ReplyCredit, 5).aux(item.wire_len() as u32));
        }
        assert_eq!(caller.read().error(), (ErrorCode::Deadline, true));
        // Credit in between is passed on in steps.
        while worker.expect_one(&[Kind::ReplyCredit, Kind::Cancel]).kind != Kind::Cancel {}

        begin_stream(&mut worker, &mut caller, LONG);
        drop(worker);
        assert_eq!(caller.read().error(), (ErrorCode::CalleeGone, true));
        broker.stop();
    }
}

#[test]
fn either_side_of_a_call_in_pieces_dies() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut worker, mut caller] = pair(&broker);
        caller.send_all(&[
            call(5, CONTINUED, b"a"),
            piece(Kind::CallPiece, 5, CONTINUED, b"b"),
        ]);
        let ticket = worker.read_all(2)[0].id;
        worker.send(&piece(Kind::Reply, ticket, CONTINUED, b"1"));
        assert_eq!(caller.expect(Kind::Reply).payload, b"1");
        drop(worker);
        assert_eq!(caller.answer(5).error(), (ErrorCode::CalleeGone, true));
        caller.send(&piece(Kind::CallPiece, 5, LAST, b"nobody takes it"));
        caller.ping();

        let mut worker = broker.connect();
        until("the name is free", || worker.register("o").kind == Kind::Done);
        caller.send(&call(6, CONTINUED, b"a"));
        let ticket = worker.expect(Kind::Call).id;
        drop(caller);
        assert_eq!(worker.expect(Kind::Cancel).id, ticket);
        worker.send(&piece(Kind::Reply, ticket, LAST, b"nobody waits"));
        worker.after_registry();
        assert_eq!(worker.kept(), []);
        broker.stop();
    }
}

//! Queues that are full: of a callee, of a caller, of calls that wait, and of a subscriber whose publisher is held. Everything that does
//! not fit is answered, everything else arrives in order.
//!
//! Owns the errors `Overloaded` and `ReplyLost`. Subscribers that miss events are in `slow_subscribers.rs`.
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

const LONG: u32 = 3_600_000;

fn small() -> Limits {
    Limits {
        outbox_bytes: 64 * 1024,
        publish_window: 8 * 1024,
        hold_ms: 60_000,
        ..Limits::default()
    }
}

fn call(id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    let draft = Draft::new(Kind::Call, id).aux(LONG).flags(flags);
    draft.pair("o", "m").payload(Encoding::RAW, payload)
}

/// Calls are numbered from here on, beside the numbers that the client takes for its own requests.
const FIRST: u64 = 10_000;

/// Numbers of calls that wait for an answer, without those that were refused, which are checked.
fn without_refused(sent: u64, refused: &[Got], word: &str) -> Vec<u64> {
    for got in refused {
        assert_eq!(got.error(), (ErrorCode::Overloaded, false));
        assert!(got.text().contains(word), "{}", got.text());
    }
    (FIRST..FIRST + sent)
        .filter(|id| refused.iter().all(|got| got.id != *id))
        .collect()
}

#[test]
fn calls_for_a_callee_that_does_not_read() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, small());
        let [mut worker, mut caller] = broker.connect_all();
        worker.register("o");
        let mut sent = 0;
        let mut refused = Vec::new();
        while refused.len() < 3 {
            assert!(sent < 5_000, "the queue has an end");
            caller.send(&call(FIRST + sent, Flags::NONE, &[0; 1_024]));
            sent += 1;
            caller.after_registry();
            refused.extend(caller.kept());
        }
        let open = without_refused(sent, &refused, "queue is full");
        for id in &open {
            let got = worker.expect(Kind::Call);
            worker.reply(&got, b"");
            assert_eq!(caller.read().id, *id, "those that fit, in order");
        }
        // It reads again: there is room again.
        caller.send(&call(1, Flags::NONE, b""));
        worker.expect(Kind::Call);
        broker.stop();
    }
}

#[test]
fn replies_for_a_caller_that_does_not_read() {
    // More than fit; the errors of those that do not fit, whose text says what to do, stay within what the broker itself may say.
    const CALLS: u64 = 150;
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, small());
        let [mut worker, mut caller] = broker.connect_all();
        worker.register("o");
        for id in FIRST..FIRST + CALLS {
            caller.send(&call(id, Flags::NONE, b""));
        }
        for _ in 0..CALLS {
            let got = worker.expect(Kind::Call);
            worker.reply(&got, &[0; 4_096]);
        }
        worker.ping();
        let (mut replies, mut lost) = (Vec::new(), Vec::new());
        for _ in 0..CALLS {
            let got = caller.read();
            if got.kind == Kind::Reply {
                replies.push(got.id);
            } else {
                assert_eq!(got.error(), (ErrorCode::ReplyLost, true));
                lost.push(got.id);
            }
        }
        assert!(!lost.is_empty() && !replies.is_empty());
        assert!(replies.is_sorted() && lost.is_sorted());
        caller.send(&call(1, Flags::NONE, b""));
        let got = worker.expect(Kind::Call);
        worker.reply(&got, b"again");
        assert_eq!(caller.read().payload, b"again");
        broker.stop();
    }
}

#[test]
fn calls_that_wait_for_their_object() {
    let broker = Running::start(small());
    let [mut worker, mut caller] = broker.connect_all();
    for id in FIRST..FIRST + 100 {
        caller.send(&call(id, Flags::WAIT, &[0; 1_024]));
    }
    caller.after_registry();
    let refused = caller.kept();
    assert!(
        (30..=40).contains(&refused.len()),
        "64 KiB fit: {}",
        refused.len()
    );
    let mut open = without_refused(100, &refused, "limits.outbox_bytes");
    // One is taken back; another one takes its room.
    let taken = open.remove(5);
    assert_eq!(
        caller.fails(&Draft::new(Kind::Cancel, taken)),
        (ErrorCode::Cancelled, false)
    );
    caller.send(&call(FIRST + 500, Flags::WAIT, &[0; 1_024]));
    caller.after_registry();
    assert_eq!(caller.kept(), []);
    open.push(FIRST + 500);
    worker.register("o");
    for id in open {
        let got = worker.expect(Kind::Call);
        worker.reply(&got, b"");
        assert_eq!(caller.read().id, id, "in the order in which they were sent");
    }
    broker.stop();
}

#[test]
fn what_is_held_can_be_given_back_while_every_call_is_open() {
    let broker = Running::start(Limits {
        open_calls: 2,
        ..Limits::default()
    });
    let [mut holder] = broker.connect_all();
    holder.register("mine");
    let subscription = holder.subscribe("s", "t");
    let watch = holder.id();
    assert_eq!(
        holder.ask(&Draft::new(Kind::Watch, watch).aux(1).key(b"x")).kind,
        Kind::Done
    );
    for id in FIRST..FIRST + 2 {
        holder.send(&call(id, Flags::WAIT, b""));
    }
    let third = Draft::new(Kind::Register, FIRST + 2).key(b"more");
    assert_eq!(holder.fails(&third), (ErrorCode::TooMany, false));
    for draft in [
        Draft::new(Kind::Unregister, FIRST + 3).key(b"mine"),
        Draft::new(Kind::Unsubscribe, subscription),
        Draft::new(Kind::Unwatch, watch),
    ] {
        assert_eq!(holder.ask(&draft).kind, Kind::Done);
    }
    broker.stop();
}

#[test]
fn listings_are_few_at_once() {
    let broker = Running::start(Limits::default());
    let [mut asker, mut other] = broker.connect_all();
    let lists: Vec<Draft<'_>> = (FIRST..FIRST + 40).map(|id| Draft::new(Kind::List, id)).collect();
    asker.send_all(&lists);
    let answers: Vec<Got> = lists.iter().map(|list| asker.answer(list.id)).collect();
    let (told, refused): (Vec<&Got>, Vec<&Got>) = answers.iter().partition(|got| got.kind == Kind::Reply);
    assert_eq!(
        (told.len(), refused.len()),
        (4, 36),
        "one batch is admitted before any is answered"
    );
    for got in refused {
        assert_eq!(got.error(), (ErrorCode::TooMany, false));
    }
    assert_eq!(asker.ask(&Draft::new(Kind::List, FIRST + 100)).kind, Kind::Reply);
    assert_eq!(other.ask(&Draft::new(Kind::List, FIRST)).kind, Kind::Reply);
    broker.stop();
}

#[test]
fn a_held_publisher_still_calls_and_is_called() {
    let broker = Running::start(small());
    let [mut stopped, mut publisher, mut other] = broker.connect_all();
    stopped.subscribe("s", "t");
    stopped.register("stopped");
    publisher.register("publisher");
    other.register("o");
    // Until no credit comes back: the subscriber is above its soft limit, and the hold is long.
    let publish = [0; 1_024 - 24 - 3];
    let (mut left, mut published) = (8 * 1_024_i64, 0);
    let draft = Draft::new(Kind::Publish, 0).pair("s", "t");
    while left > 0 {
        publisher.send(&draft.payload(Encoding::RAW, &publish));
        left -= 1_024;
        published += 1;
        publisher.ping();
        // A ping does not wait for the hub, a wait would not be answered by it; the next one knows.
        publisher.after_registry();
        left += publisher.kept().iter().map(|got| i64::from(got.aux)).sum::<i64>();
        assert!(published < 5_000, "the hold comes");
    }
    publisher.send(&call(FIRST, Flags::NONE, b"out"));
    let got = other.expect(Kind::Call);
    other.reply(&got, b"back");
    assert_eq!(publisher.answer(FIRST).payload, b"back");
    let id = other.call("publisher", Flags::NONE, b"in");
    let got = wait_for(&mut publisher, Kind::Call);
    publisher.reply(&got, b"and out");
    assert_eq!(other.answer(id).payload, b"and out");
    // Even who holds it is called, and its answer overtakes the events that wait.
    let id = other.call("stopped", Flags::NONE, b"");
    let got = wait_for(&mut stopped, Kind::Call);
    stopped.reply(&got, b"");
    assert_eq!(other.answer(id).kind, Kind::Reply);
    // Once it reads, the publisher gets all its credit back.
    for _ in 0..published {
        assert_eq!(stopped.expect(Kind::Event).aux, 0);
    }
    while left <= 4 * 1_024 {
        left += i64::from(publisher.expect(Kind::PublishCredit).aux);
    }
    broker.stop();
}

/// Reads on to a frame of this kind; the others are dropped, except events, which are put back.
fn wait_for(raw: &mut Raw, kind: Kind) -> Got {
    let mut others = Vec::new();
    loop {
        let got = raw.read();
        if got.kind == kind {
            raw.put_back(others);
            return got;
        }
        others.push(got);
    }
}

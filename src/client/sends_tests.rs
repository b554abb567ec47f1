//! Tests of what was sent over the label bus and is not settled.

use super::*;
use crate::message::bus::Outcome;
use crate::message::{Draft, Kind};

const FRAME: usize = 124;

fn frame() -> Vec<u8> {
    let payload = [0; 100];
    let raw = crate::message::Encoding::RAW;
    Draft::new(Kind::Send, 0).payload(raw, &payload).to_vec()
}

fn sends(window: u32) -> (Sends, Arc<Port>, u32) {
    let mut sends = Sends::new();
    sends.up(window, false, Instant::now());
    sends.joined = 1;
    let port = Arc::new(Port::default());
    let number = sends.add_port(Arc::clone(&port));
    (sends, port, number)
}

fn settled(first: u64, count: u32, outcome: Outcome) -> Settlement {
    Settlement {
        first,
        count,
        outcome,
        may_have_arrived: false,
        receivers: 1,
    }
}

fn told(after: &mut After, port: &Port) -> Vec<(u64, Reason, bool)> {
    after.perform();
    std::iter::from_fn(|| port.try_report())
        .map(|told| (told.id.0, told.reason, told.may_have_arrived))
        .collect()
}

#[test]
fn the_window_comes_back_in_any_order_and_each_message_counts_once() {
    let (mut sends, port, number) = sends(1000);
    let mut after = After::default();
    for id in 1..=8 {
        assert!(sends.may_go());
        let mut frame = frame();
        assert_eq!(sends.add(number, &mut frame).0, id);
        assert_eq!(frame[ID], id.to_le_bytes());
    }
    assert_eq!(sends.window, 1000 - 8 * FRAME as i64);
    sends.settle(&settled(3, 2, Outcome::Taken), &mut after);
    sends.settle(&settled(2, 3, Outcome::Taken), &mut after);
    assert_eq!((sends.first, sends.open), (1, 5));
    sends.settle(&settled(0, 2, Outcome::NoMatch), &mut after);
    assert_eq!((sends.first, sends.open), (5, 4));
    sends.settle(&settled(u64::MAX, u32::MAX, Outcome::Taken), &mut after);
    sends.settle(&settled(5, u32::MAX, Outcome::ReceiverGone), &mut after);
    assert_eq!((sends.first, sends.open, sends.window), (9, 0, 1000));
    let gone = |id| (id, Reason::ReceiverGone, false);
    let expected = [(1, Reason::NoMatch, false), gone(5), gone(6), gone(7), gone(8)];
    assert_eq!(told(&mut after, &port), expected);
}

#[test]
fn a_sliver_of_the_window_is_told_while_the_rest_may_wait_long() {
    struct Woken(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let (mut sends, _port, number) = sends(1000);
    let mut after = After::default();
    while sends.may_go() {
        sends.add(number, &mut frame());
    }
    let woken = Arc::new(Woken(false.into()));
    assert!(sends.waiters.wait(&mut None, &woken.clone().into()).is_none());
    // Most of what is open is not settled: it waits for its match.
    sends.settle(&settled(1, 1, Outcome::Taken), &mut after);
    sends.wake(&mut after);
    after.perform();
    assert_eq!(sends.may_go(), woken.0.load(std::sync::atomic::Ordering::Relaxed));
    assert!(sends.may_go() && sends.window < sends.granted / 4);
}

#[test]
fn who_waits_for_one_is_told_instead_of_the_queue() {
    let (mut sends, port, number) = sends(1000);
    let mut after = After::default();
    let ids: Vec<MessageId> = (0..3).map(|_| sends.add(number, &mut frame())).collect();
    ids.iter().for_each(|id| sends.confirm(*id));
    let mut dead = Vec::new();
    assert_eq!(sends.outcome(ids[0], Waker::noop(), &mut dead), None);
    sends.settle(&settled(1, 1, Outcome::Taken), &mut after);
    sends.settle(&settled(2, 2, Outcome::NoMatch), &mut after);
    assert_eq!(sends.outcome(ids[0], Waker::noop(), &mut dead), Some(Ok(1)));
    let refused = sends
        .outcome(ids[1], Waker::noop(), &mut dead)
        .unwrap()
        .unwrap_err();
    assert_eq!((refused.id, refused.reason), (ids[1], Reason::NoMatch));
    assert_eq!(sends.unconfirm(ids[2], &mut dead).unwrap().id, ids[2]);
    assert!(told(&mut after, &port).is_empty());
}

#[test]
fn what_was_not_written_goes_to_the_next_host_and_the_rest_is_told() {
    let (mut sends, port, number) = sends(1000);
    let mut after = After::default();
    let mut frames: Vec<Vec<u8>> = (0..3).map(|_| frame()).collect();
    for frame in &mut frames {
        sends.add(number, frame);
    }
    let unwritten = Held {
        frame: frames.pop().unwrap(),
        attachments: Attachments::new(),
    };
    sends.interrupt(vec![unwritten], &mut after);
    let lost = |id| (id, Reason::HostLost, true);
    assert_eq!(told(&mut after, &port), [lost(1), lost(2)]);
    assert!(sends.must_hold());
    assert_eq!(sends.hold(number, frame(), Attachments::new()).0, 4);
    assert_eq!(sends.held_bytes(), 2 * FRAME);
    sends.up(150, true, Instant::now());
    assert!(sends.next_held().is_none(), "nobody has joined");
    sends.joined = 1;
    let next = |sends: &mut Sends| {
        let held = sends.next_held().unwrap();
        let ttl = u32::from_le_bytes(held.frame[TTL].try_into().unwrap());
        (held.id(), ttl > 0)
    };
    assert_eq!((next(&mut sends), next(&mut sends)), ((3, true), (4, true)));
    assert!(!sends.must_hold() && !sends.may_go());
    sends.settle(&settled(3, 2, Outcome::Taken), &mut after);
    assert_eq!((sends.open, sends.window), (0, 150));
    sends.interrupt(Vec::new(), &mut after);
    sends.hold(number, frame(), Attachments::new());
    sends.close(&mut after);
    assert_eq!(told(&mut after, &port), [(5, Reason::Closed, false)]);
}

#[test]
fn one_that_waits_long_keeps_no_places_of_those_behind_it() {
    const BATCH: u32 = 256;
    let (mut sends, port, number) = sends(1_000_000);
    let mut after = After::default();
    let waits = [1, 5 * u64::from(BATCH)];
    let mut last = 0;
    while last < 4 * SPREAD as u64 {
        for _ in 0..BATCH {
            last = sends.add(number, &mut frame()).0;
        }
        // All but two are settled soon.
        let first = last + 1 - u64::from(BATCH);
        let skipped = u32::from(waits.contains(&first));
        let count = BATCH - skipped - u32::from(waits.contains(&last));
        sends.settle(
            &settled(first + u64::from(skipped), count, Outcome::Taken),
            &mut after,
        );
        assert!(sends.sent.len() < SPREAD + BATCH as usize);
    }
    assert_eq!((sends.open, sends.late.len()), (2, 2));
    assert_eq!(sends.window, 1_000_000 - 2 * FRAME as i64);
    sends.settle(&settled(1, 1, Outcome::NoMatch), &mut after);
    sends.settle(&settled(1, 1, Outcome::NoMatch), &mut after);
    assert_eq!(told(&mut after, &port), [(1, Reason::NoMatch, false)]);
    // The other ends with the connection, and with what came last.
    last = sends.add(number, &mut frame()).0;
    sends.interrupt(Vec::new(), &mut after);
    let lost = |id| (id, Reason::HostLost, true);
    assert_eq!(told(&mut after, &port), [lost(waits[1]), lost(last)]);
    assert_eq!((sends.open, sends.late.len()), (0, 0));
}

#[test]
fn who_waits_for_the_window_looks_again_when_the_host_has_died() {
    let (mut sends, _port, number) = sends(100);
    let mut after = After::default();
    sends.add(number, &mut frame());
    assert!(!sends.may_go());
    assert!(sends.waiters.wait(&mut None, Waker::noop()).is_none());
    sends.interrupt(Vec::new(), &mut after);
    assert!(
        sends.must_hold() && after.wakers.len() == 1,
        "it is kept from now on"
    );
}

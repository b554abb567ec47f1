//! Tests of the subscription's queue: order, gaps, bounds.

use super::*;
use crate::message::{Attachments, Draft, Kind};

fn batch(frames: &[(u32, &[u8])]) -> Arc<Batch> {
    let mut bytes = Vec::new();
    for (missed, payload) in frames {
        Draft::new(Kind::Event, 5)
            .aux(*missed)
            .payload(Encoding::RAW, payload)
            .encode(&mut bytes);
    }
    Arc::new(Batch::from_bytes(bytes.into(), 1 << 20).unwrap())
}

fn queue(limit: usize) -> (Arc<EventQueue>, Reader) {
    let queue = Arc::new(EventQueue::new("sensor", "heat", limit, SlowPolicy::Hold));
    (Arc::clone(&queue), Reader::new(queue))
}

fn push(queue: &EventQueue, batch: &Arc<Batch>, first: usize, count: usize, woken: &mut Vec<Waker>) {
    let dead = &mut Dead::default();
    queue.push(batch, Run::new(batch, first, count), woken, dead);
}

fn events(reader: &mut Reader) -> Vec<(String, u64, bool)> {
    let cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    while let Poll::Ready(Some(event)) = reader.poll_event(&cx) {
        let text = String::from_utf8_lossy(&event.payload.bytes).into_owned();
        seen.push((text, event.missed, event.interrupted));
    }
    seen
}

fn updates(reader: &mut Reader) -> Vec<String> {
    let cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    while let Poll::Ready(Some(update)) = reader.poll_update(&cx) {
        seen.push(match update {
            Update::Event(event) => format!(
                "{}+{}",
                String::from_utf8_lossy(&event.payload.bytes),
                event.missed
            ),
            Update::Missed(count) => format!("missed {count}"),
            Update::Interrupted => "interrupted".to_owned(),
            Update::TooSlow => "too slow".to_owned(),
            Update::Ended(reason) => reason,
        });
    }
    seen
}

fn row(text: &str, missed: u64, interrupted: bool) -> (String, u64, bool) {
    (text.to_owned(), missed, interrupted)
}

#[test]
fn events_come_in_order_with_their_gaps() {
    let (queue, mut reader) = queue(1 << 20);
    let mut woken = Vec::new();
    push(&queue, &batch(&[(0, b"a"), (2, b"b")]), 0, 2, &mut woken);
    queue.gap(3, &mut woken);
    push(&queue, &batch(&[(1, b"c")]), 0, 1, &mut woken);
    queue.interrupt(&mut Dead::default());
    queue.stands(&mut woken);
    push(&queue, &batch(&[(0, b"d")]), 0, 1, &mut woken);
    let expected = [
        row("a", 0, false),
        row("b", 2, false),
        row("c", 4, false),
        row("d", 0, true),
    ];
    assert_eq!(events(&mut reader), expected);
}

#[test]
fn gaps_can_be_read_without_an_event() {
    let (queue, mut reader) = queue(1 << 20);
    let mut woken = Vec::new();
    queue.gap(3, &mut woken);
    queue.interrupt(&mut Dead::default());
    queue.stands(&mut woken);
    assert_eq!(updates(&mut reader), ["interrupted", "missed 3"]);
    queue.gap(1, &mut woken);
    push(&queue, &batch(&[(2, b"a")]), 0, 1, &mut woken);
    queue.gap(4, &mut woken);
    assert_eq!(updates(&mut reader), ["missed 1", "a+2", "missed 4"]);
}

#[test]
fn what_does_not_fit_is_missed_and_told() {
    let (queue, mut reader) = queue(100);
    let mut woken = Vec::new();
    for text in [b"1", b"2", b"3", b"4"] {
        push(&queue, &batch(&[(0, text)]), 0, 1, &mut woken);
    }
    assert_eq!(events(&mut reader), [row("1", 0, false), row("2", 0, false)]);
    push(&queue, &batch(&[(5, b"5")]), 0, 1, &mut woken);
    assert_eq!(events(&mut reader), [row("5", 2 + 5, false)]);
}

#[test]
fn what_was_taken_counts_until_it_is_read() {
    let (queue, mut reader) = queue(100);
    let mut woken = Vec::new();
    push(&queue, &batch(&[(0, b"1"), (0, b"2")]), 0, 2, &mut woken);
    let cx = Context::from_waker(Waker::noop());
    assert!(reader.poll_event(&cx).is_ready());
    push(&queue, &batch(&[(0, b"3")]), 0, 1, &mut woken);
    assert_eq!(events(&mut reader), [row("2", 0, false)]);
    assert_eq!(updates(&mut reader), ["missed 1"]);
}

#[test]
fn a_small_part_of_a_batch_does_not_pin_it() {
    let (queue, mut reader) = queue(1 << 20);
    let big = batch(&[(0, b"small"), (0, &[0; 5000])]);
    push(&queue, &big, 0, 1, &mut Vec::new());
    assert_eq!(Arc::strong_count(&big), 1);
    assert_eq!(events(&mut reader), [row("small", 0, false)]);
}

#[test]
fn pieces_of_several_events_may_be_mixed() {
    let (queue, mut reader) = queue(1 << 20);
    let mut woken = Vec::new();
    let frame = |kind, number: u32, flags, payload: &[u8]| {
        let draft = Draft::new(kind, 5)
            .aux(number)
            .flags(flags)
            .payload(Encoding::RAW, payload);
        Batch::from_bytes(draft.to_vec().into(), 1 << 20).unwrap()
    };
    let begin = |number, payload: &[u8]| {
        let batch = frame(Kind::Event, number, Flags::CONTINUED, payload);
        let view = batch.view(0).unwrap();
        queue.begin(&view, Attachments::new(), 10, &mut Dead::default());
    };
    let mut piece = |number, flags, payload: &[u8]| {
        let batch = frame(Kind::EventPiece, number, flags, payload);
        let dead = &mut Dead::default();
        queue.piece(&batch.view(0).unwrap(), None, 10, &mut woken, dead);
    };
    begin(7, b"ab");
    begin(8, b"AB");
    piece(8, Flags::CONTINUED, b"CD");
    piece(7, Flags::NONE, b"cd");
    piece(8, Flags::NONE, b"EF");
    assert_eq!(
        events(&mut reader),
        [row("abcd", 0, false), row("ABCDEF", 0, false)]
    );
    begin(9, b"void");
    piece(9, Flags::ABORT, b"");
    piece(9, Flags::NONE, b"late");
    begin(10, b"too");
    piece(10, Flags::CONTINUED, b" large for it");
    assert_eq!(updates(&mut reader), ["missed 1"]);
}

#[test]
fn a_pattern_names_each_topic() {
    let queue = Arc::new(EventQueue::new("sensor.*", "**", 1 << 20, SlowPolicy::Hold));
    let mut reader = Reader::new(Arc::clone(&queue));
    let mut bytes = Vec::new();
    for object in ["sensor.a", "sensor.b"] {
        Draft::new(Kind::Event, 5).pair(object, "heat").encode(&mut bytes);
    }
    let both = Arc::new(Batch::from_bytes(bytes.into(), 1 << 20).unwrap());
    push(&queue, &both, 0, 2, &mut Vec::new());
    let cx = Context::from_waker(Waker::noop());
    for expected in ["sensor.a", "sensor.b"] {
        let Poll::Ready(Some(event)) = reader.poll_event(&cx) else {
            panic!("no event")
        };
        assert_eq!((event.object(), event.topic()), (expected, "heat"));
    }
    queue.close(&mut Vec::new());
    assert_eq!(reader.poll_event(&cx), Poll::Ready(None));
}

#[test]
fn a_full_queue_drops_what_its_policy_says() {
    let table: [(SlowPolicy, &[&str]); 4] = [
        (SlowPolicy::Hold, &["a+0", "b+0", "missed 3"]),
        (SlowPolicy::Disconnect, &["a+0", "b+0", "missed 3", "too slow"]),
        (SlowPolicy::DropOldest, &["missed 2", "c+1", "d+0"]),
        (SlowPolicy::Latest, &["missed 2", "c+1", "d+0"]),
    ];
    for (policy, expected) in table {
        let queue = Arc::new(EventQueue::new("o", "e", 2 * CHARGE_MIN, policy));
        let mut reader = Reader::new(Arc::clone(&queue));
        let mut woken = Vec::new();
        for (missed, text) in [(0, b"a"), (0, b"b"), (1, b"c"), (0, b"d")] {
            push(&queue, &batch(&[(missed, text)]), 0, 1, &mut woken);
        }
        assert_eq!(updates(&mut reader), expected, "{policy:?}");
    }
}

#[test]
fn what_is_read_makes_room_before_all_is_read() {
    let (queue, mut reader) = queue(4 * CHARGE_MIN);
    let mut woken = Vec::new();
    let cx = Context::from_waker(Waker::noop());
    for text in [b"a", b"b", b"c", b"d"] {
        push(&queue, &batch(&[(0, text)]), 0, 1, &mut woken);
    }
    for _ in 0..3 {
        assert!(reader.poll_event(&cx).is_ready());
    }
    push(&queue, &batch(&[(0, b"e")]), 0, 1, &mut woken);
    assert_eq!(events(&mut reader), [row("d", 0, false), row("e", 0, false)]);
}

#[test]
fn what_follows_a_large_event_is_not_missed() {
    const LIMIT: usize = 1_000;
    let large = vec![b'L'; 20 * LIMIT];
    let text = String::from_utf8(large.clone()).unwrap();
    let frame = |kind, flags, payload: &[u8]| {
        let draft = Draft::new(kind, 5).flags(flags).payload(Encoding::RAW, payload);
        Batch::from_bytes(draft.to_vec().into(), 1 << 20).unwrap()
    };
    for in_pieces in [false, true] {
        let (queue, mut reader) = queue(LIMIT);
        let mut woken = Vec::new();
        let add_large = || match in_pieces {
            false => push(&queue, &batch(&[(0, &large)]), 0, 1, &mut Vec::new()),
            true => {
                let begin = frame(Kind::Event, Flags::CONTINUED, &[]);
                let (view, dead) = (begin.view(0).unwrap(), &mut Dead::default());
                queue.begin(&view, Attachments::new(), 1 << 20, dead);
                let rest = frame(Kind::EventPiece, Flags::NONE, &large);
                let view = rest.view(0).unwrap();
                queue.piece(&view, None, 1 << 20, &mut Vec::new(), dead);
            }
        };
        add_large();
        push(&queue, &batch(&[(0, b"small")]), 0, 1, &mut woken);
        let whole = [row(&text, 0, false), row("small", 0, false)];
        assert_eq!(events(&mut reader), whole, "in pieces: {in_pieces}");
        // And so are those that come while the program works on it. Two of them fill the queue.
        for _ in 0..3 {
            add_large();
        }
        push(&queue, &batch(&[(0, b"small")]), 0, 1, &mut woken);
        let cx = Context::from_waker(Waker::noop());
        assert!(reader.poll_event(&cx).is_ready());
        push(&queue, &batch(&[(0, b"later")]), 0, 1, &mut woken);
        let after = match in_pieces {
            // What was taken is the program's.
            true => vec![row(&text, 0, false), row("later", 2, false)],
            false => vec![row(&text, 0, false)],
        };
        assert_eq!(events(&mut reader), after, "in pieces: {in_pieces}");
    }
}

#[test]
fn a_large_event_counts_as_half_of_the_buffer_whatever_comes_in_one_batch_with_it() {
    const LIMIT: usize = 1_000;
    let large = vec![b'L'; 20 * LIMIT];
    let all: [&[u8]; 3] = [b"small", &large, b"small"];
    for range in [0..2, 1..3, 0..3] {
        let frames: Vec<_> = all[range.clone()].iter().map(|payload| (0, *payload)).collect();
        let (queue, mut reader) = queue(LIMIT);
        push(&queue, &batch(&frames), 0, frames.len(), &mut Vec::new());
        push(&queue, &batch(&[(0, b"next")]), 0, 1, &mut Vec::new());
        let seen: Vec<_> = events(&mut reader)
            .into_iter()
            .map(|(text, missed, _)| (text.len(), missed))
            .collect();
        let mut expected: Vec<_> = all[range].iter().map(|payload| (payload.len(), 0)).collect();
        expected.push((4, 0));
        assert_eq!(seen, expected);
        assert!(updates(&mut reader).is_empty());
        assert_eq!(queue.lock().charged, 0);
    }
}

#[test]
fn what_is_kept_as_the_newest_counts_as_it_did_when_it_came() {
    const LIMIT: usize = 1_000;
    let large = vec![b'L'; 20 * LIMIT];
    let queue = EventQueue::new("o", "e", LIMIT, SlowPolicy::Latest);
    for _ in 0..3 {
        // The older of the two goes, and the newer stays, once the queue is full.
        push(&queue, &batch(&[(0, b"old"), (0, &large)]), 0, 2, &mut Vec::new());
    }
    let state = queue.lock();
    let sum: usize = state.chunks.iter().map(|chunk| chunk.charge).sum();
    assert_eq!((sum, state.charged), (LIMIT / 2, LIMIT / 2));
}

#[test]
fn what_is_attached_to_an_event_ends_with_the_event() {
    let queue = Arc::new(EventQueue::new("o", "t", 10_000, SlowPolicy::Hold));
    let (mut woken, mut dead) = (Vec::new(), Dead::default());
    let open: Vec<Arc<u8>> = (0..3).map(Arc::new).collect();
    let events = batch(&[(0, b"0"), (2, b"1"), (0, b"2"), (0, b"plain")]);
    for (index, object) in open.iter().enumerate() {
        let attached: crate::message::Attachment = Arc::clone(object) as _;
        let view = events.view(index).unwrap();
        queue.carrying(&events, &view, vec![attached].into(), &mut woken, &mut dead);
    }
    queue.push(&events, Run::new(&events, 3, 1), &mut woken, &mut dead);
    let mut reader = Reader::new(Arc::clone(&queue));
    let cx = Context::from_waker(Waker::noop());
    for (number, object) in open.iter().enumerate() {
        let Poll::Ready(Some(event)) = reader.poll_event(&cx) else {
            panic!("{number} is not there");
        };
        assert_eq!(event.payload.bytes, number.to_string());
        assert_eq!(event.missed, if number == 1 { 2 } else { 0 });
        assert_eq!((event.attachments.len(), Arc::strong_count(object)), (1, 2));
        drop(event);
        assert_eq!(Arc::strong_count(object), 1, "others are not read yet");
    }
    assert!(matches!(reader.poll_event(&cx), Poll::Ready(Some(event)) if event.payload.bytes == "plain"));
    // One that is dropped counts what was missed before it.
    let view = events.view(1).unwrap();
    queue.carrying(&events, &view, Attachments::new(), &mut woken, &mut dead);
    assert_eq!(queue.lock().chunks[0].events.lost(), 3);
}

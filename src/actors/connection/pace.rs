//! How much a connection reads in one turn while other processes have something to say on the same arbiter.
//!
//! Owns who has read lately on this arbiter, and each connection's own measure. Alone, a connection reads as much as the buffer
//! holds, because large batches are cheap. Beside others it reads what makes about a hundred frames, so that a process that floods
//! the broker delays the next frame of another one by tens of microseconds, not by the whole of its flood.
//!
//! Where a read is no system call (a ring), calls and answers are read about sixteen at a time even then: while the broker works on
//! these, the next process begins with the ones before. The more processes have something to say, the larger are these parts: there is
//! work for everybody in any case, and each part costs the wake-up of a process. Called by `io`.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

/// So long after it was heard a process counts as one that has something to say.
const LATELY: Duration = Duration::from_millis(100);
/// Frames of one read from which on the next is to be smaller, and up to which it may be larger.
const FRAMES: (usize, usize) = (128, 32);
/// The measure of a read beside others, in bytes: least and most. Of large frames there are few in any case.
const BYTES: (usize, usize) = (2 * 1024, 32 * 1024);
/// The most of messages of the label bus, in bytes: each read also costs their receivers a wake-up, and of large ones 128 KiB are passed on in
/// as short a time as a hundred small frames.
const MESSAGES: usize = 128 * 1024;

/// The same for calls and answers in a ring.
const RING_FRAMES: (usize, usize) = (24, 6);
/// Least bytes of a read from a ring.
const RING_BYTES: usize = 512;

/// The processes that were heard last, the latest first.
type Heard = [Option<(u64, Instant)>; 5];

thread_local! {
    static HEARD: Cell<Heard> = const { Cell::new([None; 5]) };
}

/// One connection's measure.
#[derive(Debug)]
pub(super) struct Pace {
    process: u64,
    measure: usize,
    /// The measure of a read from a ring.
    ring: usize,
    last: Option<Instant>,
}

impl Pace {
    /// A connection of the process with this number.
    pub(super) const fn new(process: u64) -> Self {
        Self {
            process,
            measure: BYTES.1,
            ring: RING_BYTES,
            last: None,
        }
    }

    /// The most to read in this turn beside others; `None`: there is nobody else.
    pub(super) fn measure(&self) -> Option<usize> {
        (self.others() > 0).then_some(self.measure)
    }

    /// How many other processes were heard lately, as far as they are counted.
    fn others(&self) -> usize {
        let Some(last) = self.last else { return 0 };
        let beside = |heard: &&(u64, Instant)| {
            heard.0 != self.process && last.saturating_duration_since(heard.1) < LATELY
        };
        HEARD.get().iter().flatten().filter(beside).count()
    }

    /// The most to read from a ring, at most `room`; nothing but what is beside others counts for a socket.
    pub(super) fn most(&self, from_ring: bool, room: usize) -> usize {
        let others = self.others();
        let beside = if others > 0 { self.measure } else { room };
        if from_ring {
            let part = self.ring.saturating_mul(others.max(1));
            part.min(beside).min(room)
        } else {
            beside.min(room)
        }
    }

    /// A read from a ring has brought so many frames. `filled`: it could have been more, but for the measure. `bulk`: events, or
    /// parts of something large.
    pub(super) fn has_read_ring(&mut self, frames: usize, filled: bool, bulk: bool, room: usize) {
        let frames = frames / self.others().max(1);
        if bulk || frames < RING_FRAMES.1 {
            if filled {
                self.ring = self.ring.saturating_mul(2).min(room);
            }
        } else if frames > RING_FRAMES.0 {
            self.ring = (self.ring / 2).max(RING_BYTES);
        }
    }

    /// A read has brought so many frames. `messages`: of the label bus.
    pub(super) fn has_read(&mut self, now: Instant, frames: usize, messages: bool) {
        self.last = Some(now);
        let mut heard = HEARD.get();
        let own = |one: &Option<(u64, Instant)>| one.is_some_and(|(process, _)| process == self.process);
        // Its own place, or that of the one that was silent for the longest time.
        let last = heard.len().saturating_sub(1);
        let place = heard.iter().position(own).unwrap_or(last);
        if let Some(up_to) = heard.get_mut(..=place) {
            up_to.rotate_right(1);
        }
        if let Some(first) = heard.first_mut() {
            *first = Some((self.process, now));
        }
        HEARD.set(heard);
        let most = if messages { MESSAGES } else { BYTES.1 };
        if frames > FRAMES.0 {
            self.measure = (self.measure / 2).max(BYTES.0);
        } else if frames < FRAMES.1 {
            self.measure = self.measure.saturating_mul(2);
        }
        self.measure = self.measure.min(most);
    }
}

/// Polls the task again after everything else that is ready now, and after the sockets were looked at: a task that only wakes
/// itself would run dozens of times before anybody hears that another socket has something.
pub(in crate::actors) fn defer(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_read_in_small_parts_but_for_what_is_large() {
        const ROOM: usize = 128 * 1024;
        let mut pace = Pace::new(1);
        let cases = [
            // Frames, whether the measure was filled, whether they were bulk, and the measure afterwards.
            (12, true, false, RING_BYTES),
            (2, false, false, RING_BYTES),
            (2, true, false, RING_BYTES * 2),
            (0, true, false, RING_BYTES * 4),
            (25, true, false, RING_BYTES * 2),
            (40, true, true, RING_BYTES * 4),
            (40, false, true, RING_BYTES * 4),
            (40, false, false, RING_BYTES * 2),
            (40, false, false, RING_BYTES),
            (40, false, false, RING_BYTES),
        ];
        for (at, (frames, filled, bulk, expected)) in cases.into_iter().enumerate() {
            pace.has_read_ring(frames, filled, bulk, ROOM);
            assert_eq!(pace.most(true, ROOM), expected, "case {at}");
            assert_eq!(pace.most(false, ROOM), ROOM, "a socket is read as far as it goes");
        }
        (0..20).for_each(|_| pace.has_read_ring(0, true, true, ROOM));
        assert_eq!(pace.most(true, ROOM), ROOM);
    }

    #[test]
    fn the_more_others_are_heard_the_larger_are_the_parts_of_a_ring() {
        const ROOM: usize = 128 * 1024;
        let start = Instant::now();
        let mut all: Vec<Pace> = (1..=7).map(Pace::new).collect();
        for (heard, parts) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4)] {
            let now = start + LATELY * heard;
            all.iter_mut()
                .take(heard as usize)
                .for_each(|pace| pace.has_read(now, 50, false));
            for pace in all.iter_mut().take(heard as usize) {
                assert_eq!(pace.most(true, ROOM), RING_BYTES * parts, "{heard} processes");
                // As many frames for each part as when there is one.
                pace.has_read_ring(RING_FRAMES.0 * parts, true, false, ROOM);
                assert_eq!(pace.ring, RING_BYTES);
            }
            // Those that are heard again do not count twice.
            all.iter_mut()
                .take(heard as usize)
                .for_each(|pace| pace.has_read(now, 50, false));
            assert_eq!(all[0].most(true, ROOM), RING_BYTES * parts);
        }
        let later = start + LATELY * 7;
        all.iter_mut().for_each(|pace| pace.has_read(later, 50, false));
        let most = all.iter().map(|pace| pace.most(true, ROOM)).max();
        assert_eq!(most, Some(RING_BYTES * 5), "no more are counted");
        let later = start + LATELY * 9;
        all[0].has_read(later, 50, false);
        assert_eq!(all[0].most(true, ROOM), RING_BYTES, "the others are silent");
    }

    #[test]
    fn only_beside_another_process_the_measure_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut one, mut same, mut other) = (Pace::new(1), Pace::new(1), Pace::new(2));
        one.has_read(at(0), 1_000, false);
        same.has_read(at(1), 1, false);
        assert_eq!((one.measure(), same.measure()), (None, None));
        other.has_read(at(2), 1, false);
        assert_eq!(one.measure(), Some(BYTES.1 / 2));
        for (ms, beside) in [(101, true), (102, false), (103, false)] {
            one.has_read(at(ms), 50, false);
            assert_eq!(one.measure().is_some(), beside, "{ms} ms");
        }
        for frames in [129, 128, 32, 31] {
            let before = other.measure;
            other.measure = 8 * 1024;
            other.has_read(at(200), frames, false);
            let expected = match frames {
                129 => 4 * 1024,
                31 => 16 * 1024,
                _ => 8 * 1024,
            };
            assert_eq!(other.measure, expected, "{frames} frames; before: {before}");
        }
    }

    #[test]
    fn large_messages_are_read_in_larger_parts_and_nothing_else_is() {
        let start = Instant::now();
        let (mut one, mut other) = (Pace::new(1), Pace::new(2));
        other.has_read(start, 1, false);
        for (frames, messages, expected) in [
            (2, false, BYTES.1),
            (2, true, 2 * BYTES.1),
            (4, true, MESSAGES),
            (8, true, MESSAGES),
            (50, true, MESSAGES),
            (129, true, MESSAGES / 2),
            (2, true, MESSAGES),
            (50, false, BYTES.1),
        ] {
            one.has_read(start, frames, messages);
            assert_eq!(one.measure(), Some(expected), "{frames} frames, {messages}");
        }
    }
}

//! Models of two ends of a ring, tried under many interleavings: nobody sleeps while there is something for it to do.
//!
//! Owns the situations and what must be true after them; each rule of sleeping has a slip that they must find. The queues, the words and
//! the rule are the real ones, memory and bells are played. The scheduler takes every atomic as sequentially consistent: that the
//! fences are needed is not tried. Run by `cargo test --lib --features models models::`.

use super::Ring;
use super::played::pair;
use crate::sync::explore::{finds, holds};
use crate::sync::slips::Slip;
use shuttle::future::block_on;
use shuttle::thread::spawn;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::task::{Context, Poll};

const DEADLOCK: &str = "deadlock";
/// Bytes of each direction, of which a writer waits for two.
const CAPACITY: u32 = 8;

/// What one end does, as the connections of the broker and of clients do it: in one task, one direction after the other.
struct End {
    ring: Ring,
    reads_first: bool,
    /// Bytes that are still to be written, and the next one.
    left: u8,
    next: u8,
    blocked: bool,
    /// It writes only when it has read all.
    answers: bool,
    /// Bytes that are still to be read, and the next one.
    wanted: u8,
    awaited: u8,
}

impl End {
    const fn new(ring: Ring, reads_first: bool, left: u8, wanted: u8) -> Self {
        Self {
            ring,
            reads_first,
            left,
            next: 0,
            blocked: false,
            answers: false,
            wanted,
            awaited: 0,
        }
    }

    /// A few bytes, or all that can be there. `false`: it has to wait, or has nothing more to read.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.wanted == 0 || self.ring.poll_readable(cx).is_pending() {
            return false;
        }
        let mut bytes = [0; CAPACITY as usize];
        let most = if self.awaited.is_multiple_of(2) {
            bytes.len()
        } else {
            3
        };
        let (count, _) = self.ring.read(&mut bytes[..most]).unwrap();
        for byte in &bytes[..count] {
            assert_eq!(*byte, self.awaited, "in order");
            (self.awaited, self.wanted) = (self.awaited + 1, self.wanted - 1);
        }
        true
    }

    /// As much as fits. `false`: it has to wait, or has nothing more to write.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        if self.left == 0 || (self.answers && self.wanted > 0) {
            return false;
        }
        if self.blocked && self.ring.poll_writable(cx).is_pending() {
            return false;
        }
        let bytes: Vec<u8> = (self.next..self.next + self.left).collect();
        let count = match self.ring.write(&[IoSlice::new(&bytes)]) {
            Ok(count) => u8::try_from(count).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        (self.next, self.left) = (self.next + count, self.left - count);
        self.blocked = self.left > 0;
        true
    }

    fn run(mut self) {
        block_on(poll_fn(|cx| {
            loop {
                let first = self.reads_first;
                let mut moved = false;
                for reads in [first, !first] {
                    moved |= if reads { self.read(cx) } else { self.write(cx) };
                }
                if (self.left, self.wanted) == (0, 0) {
                    return Poll::Ready(());
                }
                if !moved {
                    return Poll::Pending;
                }
            }
        }));
    }
}

/// One end writes more than there is room for, the other reads.
fn one_way() {
    let (one, other) = pair(CAPACITY);
    let writer = spawn(move || End::new(one, false, 12, 0).run());
    End::new(other, true, 0, 12).run();
    writer.join().unwrap();
}

/// Both write more than there is room for, and read: one as a client does, the other as a broker does.
fn both_ways() {
    let (one, other) = pair(CAPACITY);
    let client = spawn(move || End::new(one, true, 11, 11).run());
    End::new(other, false, 11, 11).run();
    client.join().unwrap();
}

/// One end writes more than there is room for, and waits for an answer meanwhile; it comes when all is read.
fn answered() {
    let (one, other) = pair(CAPACITY);
    let asks = spawn(move || End::new(one, false, 12, 1).run());
    let mut end = End::new(other, true, 1, 12);
    end.answers = true;
    end.run();
    asks.join().unwrap();
}

#[test]
fn who_sleeps_is_woken() {
    holds("one way", one_way);
    holds("both ways", both_ways);
    holds("answered", answered);
}

#[test]
fn a_reader_that_looks_before_it_says_that_it_sleeps_is_found() {
    finds(Slip::RingLooksOnce, DEADLOCK, one_way);
}

#[test]
fn a_writer_that_looks_before_it_says_that_it_waits_is_found() {
    finds(Slip::RoomLooksOnce, DEADLOCK, one_way);
}

#[test]
fn a_reader_that_tells_of_room_too_late_is_found() {
    finds(Slip::RoomToldLate, DEADLOCK, one_way);
}

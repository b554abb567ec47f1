//! What is counted, and for whom: a thread says once which part it plays, and what it does is counted under that part.
//!
//! Owns the counters. The allocator and the places of the system calls add to them; scenes read them from any thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose work a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The test's own, raw clients among it.
    Test,
    /// The broker's: one thread has all of it.
    Broker,
    /// That of the client library and of the program that uses it, on one thread.
    Client,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// Memory was asked for: new, or larger than before.
    Allocation,
    /// `recvmsg` on a connection.
    Read,
    /// `sendmsg` on a connection.
    Write,
    /// `epoll_wait`, with and without waiting.
    Wait,
    /// `write` on a descriptor that wakes another thread out of its `epoll_wait`.
    Wake,
}

const PARTS: usize = 3;
const THINGS: usize = 5;

static COUNTS: [[AtomicU64; THINGS]; PARTS] = [const { [const { AtomicU64::new(0) }; THINGS] }; PARTS];

thread_local! {
    static PART: Cell<Part> = const { Cell::new(Part::Test) };
}

/// From now on the calling thread plays this part.
pub fn play(part: Part) {
    PART.set(part);
}

/// Counts one thing. Allocates nothing and does not panic: the allocator calls it.
pub fn count(thing: Thing) {
    // A thread that is being torn down plays no part any more.
    let part = PART.try_with(Cell::get).unwrap_or(Part::Test);
    if let Some(counter) = COUNTS.get(part as usize).and_then(|of| of.get(thing as usize)) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was counted at one moment, or between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([[u64; THINGS]; PARTS]);

impl Tally {
    /// What was counted until now.
    pub fn now() -> Self {
        let mut tally = Self::default();
        for (to, from) in tally.0.iter_mut().flatten().zip(COUNTS.iter().flatten()) {
            *to = from.load(Ordering::Relaxed);
        }
        tally
    }

    /// What was counted since `before`.
    pub fn since(mut self, before: &Self) -> Self {
        for (now, before) in self.0.iter_mut().flatten().zip(before.0.iter().flatten()) {
            *now -= before;
        }
        self
    }

    /// How many, in all.
    pub fn of(&self, part: Part, thing: Thing) -> u64 {
        self.0[part as usize][thing as usize]
    }
}

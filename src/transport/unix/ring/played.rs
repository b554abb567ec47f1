//! What takes the place of the memory and the bells in models: words of the scheduler's, and a flag with a waker.
//!
//! Owns their likeness: the same calls with the same meaning, without a system. Used by [`super::models`].

use super::Ring;
use super::memory::{Lane, Word};
use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::task::{Context, Poll};

const WORDS: [Word; 5] = [
    Word::Tail,
    Word::Attached,
    Word::Head,
    Word::ReaderSleeps,
    Word::WriterWaits,
];

#[derive(Debug)]
struct Direction {
    words: [AtomicU32; WORDS.len()],
    /// No place for another thread to come in: that a byte is read while it is written shows as a wrong one.
    bytes: Vec<AtomicU8>,
}

/// The likeness of [`super::memory::Memory`].
#[derive(Clone, Debug)]
pub(super) struct Memory {
    directions: Arc<[Direction; 2]>,
    capacity: u32,
}

impl Memory {
    fn new(capacity: u32) -> Self {
        let direction = || Direction {
            words: WORDS.map(|_| AtomicU32::new(0)),
            bytes: (0..capacity).map(|_| AtomicU8::new(0)).collect(),
        };
        let directions = Arc::new([direction(), direction()]);
        Self { directions, capacity }
    }

    /// Nobody else has it.
    pub(super) fn map(_: impl AsFd, capacity: u32) -> io::Result<Self> {
        Ok(Self::new(capacity))
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    fn direction(&self, lane: Lane) -> &Direction {
        &self.directions[usize::from(lane == Lane::ToMaker)]
    }

    pub(super) fn word(&self, lane: Lane, word: Word) -> &AtomicU32 {
        let at = WORDS.iter().position(|one| *one == word).unwrap();
        &self.direction(lane).words[at]
    }

    fn places(&self, lane: Lane, position: u32) -> impl Iterator<Item = &AtomicU8> {
        let from = (position & (self.capacity - 1)) as usize;
        self.direction(lane).bytes.iter().cycle().skip(from)
    }

    pub(super) fn copy_in(&self, lane: Lane, position: u32, bytes: &[u8]) {
        for (place, byte) in self.places(lane, position).zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
    }

    pub(super) fn copy_out(&self, lane: Lane, position: u32, into: &mut [u8]) {
        for (place, byte) in self.places(lane, position).zip(into) {
            *byte = place.load(Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    sleeper: AtomicWaker,
}

/// The likeness of [`super::bell::Bells`].
#[derive(Debug)]
pub(super) struct Bells {
    own: Arc<Bell>,
    peers: Arc<Bell>,
}

impl Bells {
    fn pair() -> (Self, Self) {
        let bell = || {
            Arc::new(Bell {
                rung: AtomicBool::new(false),
                sleeper: AtomicWaker::new(),
            })
        };
        let (one, other) = (bell(), bell());
        let first = Self {
            own: one.clone(),
            peers: other.clone(),
        };
        (
            first,
            Self {
                own: other,
                peers: one,
            },
        )
    }

    /// Nobody rings it.
    pub(super) fn new(_: OwnedFd, _: OwnedFd) -> io::Result<Self> {
        Ok(Self::pair().0)
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.own.sleeper.register(cx.waker());
        match self.own.rung.swap(false, Ordering::SeqCst) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    pub(super) fn ring(&self) {
        self.peers.rung.store(true, Ordering::SeqCst);
        self.peers.sleeper.wake();
    }
}

/// Both ends of a ring with so many bytes for each direction.
pub(super) fn pair(capacity: u32) -> (Ring, Ring) {
    let memory = Memory::new(capacity);
    let (one, other) = Bells::pair();
    (
        Ring::new(memory.clone(), Lane::FromMaker, one),
        Ring::new(memory, Lane::ToMaker, other),
    )
}

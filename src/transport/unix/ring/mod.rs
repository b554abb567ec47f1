//! A ring in shared memory beside a Unix socket: the bytes of both directions without system calls (Linux).
//!
//! Owns the two queues, who sleeps, and the bells. The socket stays: it tells that the peer has gone, and carries attachments.
//! Bytes are a stream as on the socket; frames are not known here.
//!
//! # Protocol
//! Each direction has a `Tail` (bytes written) and a `Head` (bytes read). The writer copies bytes in and then moves the tail; the
//! reader copies them out and then moves the head. Who finds nothing to do says so in a word of the memory, looks once more, and
//! sleeps on its eventfd; the other, after it has moved its index, rings when that word is set, and clears it. Each side is
//! fenced between its write and its look, so that one of the two always sees the other. An attachment goes through the socket with one
//! byte of its own, *before* the tail passes the frame that declares it; `Attached` counts such writes, so that a reader knows
//! when to look into the socket.
//!
//! # A hostile peer
//! can write anything anywhere at any time. The own index of each side is kept outside the memory; the other's is checked each
//! time it is read (the difference is at most the capacity, else the connection is over); bytes are copied out once and judged
//! afterwards. Bells that are rung for nothing wake a task that finds nothing. The memory is sealed, so its length stays.
//!
//! # One task
//! Reading and writing wait on the same bell: both are to be asked from one task. Whichever direction takes a ring of the bell looks
//! whether it was meant for the other one, which may have been asked before it in the same turn.

#[cfg_attr(all(test, feature = "models"), allow(dead_code, reason = "played"))]
mod bell;
#[cfg_attr(all(test, feature = "models"), allow(dead_code, reason = "played"))]
mod memory;
#[cfg(test)]
#[cfg(feature = "models")]
mod models;
mod offer;
#[cfg(test)]
#[cfg(feature = "models")]
mod played;
#[cfg(test)]
#[cfg(not(feature = "models"))]
mod tests;
#[cfg(test)]
#[cfg(not(feature = "models"))]
mod wake_tests;

pub(super) use offer::{make, take};

use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use crate::sync::slips::{self, Slip};
use crate::sync::{Mutex, MutexGuard};
use memory::{Lane, Word};
use std::io::{self, IoSlice};
use std::sync::PoisonError;
use std::task::{Context, Poll, ready};

#[cfg(all(test, feature = "models"))]
use played::{Bells, Memory};
#[cfg(not(all(test, feature = "models")))]
use {bell::Bells, memory::Memory};

/// After so many bytes of one write the reader may begin: on another core it then works beside the writer.
const PUBLISH_EVERY: usize = 32 * 1024;
/// Messages with attachments that are taken from the socket with one read. One that keeps the rules has at most one there.
const ATTACHED_MAX: u32 = 64;

/// One end of a ring.
#[derive(Debug)]
pub(super) struct Ring {
    memory: Memory,
    outgoing: Lane,
    /// Bytes ever written.
    tail: Mutex<u32>,
    incoming: Mutex<Incoming>,
    bells: Bells,
    writes: AtomicBool,
    reads: AtomicBool,
    /// Which directions this end waits for, since it was asked last.
    waits: Waits,
}

#[derive(Debug, Default)]
struct Waits {
    for_bytes: AtomicBool,
    for_room: AtomicBool,
}

#[derive(Debug, Default)]
struct Incoming {
    /// Bytes ever read.
    head: u32,
    /// Messages with attachments that were taken from the socket.
    attached: u32,
}

/// The guard, also after a panic of its last holder: an index is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ring {
    fn new(memory: Memory, outgoing: Lane, bells: Bells) -> Self {
        Self {
            memory,
            outgoing,
            tail: Mutex::new(0),
            incoming: Mutex::new(Incoming::default()),
            bells,
            writes: AtomicBool::new(false),
            reads: AtomicBool::new(false),
            waits: Waits::default(),
        }
    }

    /// From now on bytes are written here.
    pub(super) fn start_writing(&self) {
        self.writes.store(true, Ordering::Release);
    }

    /// From now on bytes are read here. `early`: the first message with attachments was taken from the socket before.
    pub(super) fn start_reading(&self, early: bool) {
        lock(&self.incoming).attached = u32::from(early);
        self.reads.store(true, Ordering::Release);
    }

    pub(super) fn writes(&self) -> bool {
        self.writes.load(Ordering::Acquire)
    }

    pub(super) fn reads(&self) -> bool {
        self.reads.load(Ordering::Acquire)
    }

    fn word(&self, lane: Lane, word: Word) -> &AtomicU32 {
        self.memory.word(lane, word)
    }

    /// Wakes the peer if it has said in `word` that it sleeps.
    fn ring_if(&self, lane: Lane, word: Word) {
        // Between the index that was just moved and this look; its counterpart is in `settle_down`.
        fence(Ordering::SeqCst);
        let sleeps = self.word(lane, word);
        if sleeps.load(Ordering::Relaxed) != 0 && sleeps.swap(0, Ordering::AcqRel) != 0 {
            self.bells.ring();
        }
    }

    /// Says that this side sleeps; the caller looks once more before it does.
    fn settle_down(&self, lane: Lane, word: Word) {
        self.word(lane, word).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Pending when nobody has rung since the last time; else the caller looks again. A ring that was meant for the other direction,
    /// which waits with `word` of `lane`, is not lost: the task is woken to ask for both once more.
    #[cfg_attr(
        all(test, feature = "models"),
        allow(clippy::needless_pass_by_ref_mut, reason = "played bells change nothing")
    )]
    fn poll_bell(
        &self,
        cx: &mut Context<'_>,
        other: &AtomicBool,
        (lane, word): (Lane, Word),
    ) -> Poll<io::Result<()>> {
        ready!(self.bells.poll(cx))?;
        if other.load(Ordering::Relaxed) && self.word(lane, word).load(Ordering::Relaxed) == 0 {
            other.store(false, Ordering::Relaxed);
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn unread(&self, incoming: &Incoming) -> io::Result<usize> {
        let tail = self
            .word(self.outgoing.other(), Word::Tail)
            .load(Ordering::Acquire);
        self.distance(tail, incoming.head)
    }

    fn free(&self, tail: u32) -> io::Result<usize> {
        let head = self.word(self.outgoing, Word::Head).load(Ordering::Acquire);
        let used = self.distance(tail, head)?;
        Ok((self.memory.capacity() as usize).saturating_sub(used))
    }

    /// Free bytes that a writer waits for, so that it is not woken for every few.
    const fn enough(&self) -> usize {
        self.memory.capacity() as usize / 4
    }

    fn distance(&self, tail: u32, head: u32) -> io::Result<usize> {
        let distance = tail.wrapping_sub(head);
        if distance > self.memory.capacity() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an index of the shared memory is out of bounds",
            ));
        }
        Ok(distance as usize)
    }

    /// Ready when there are bytes to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lane = self.outgoing.other();
        self.waits.for_bytes.store(false, Ordering::Relaxed);
        loop {
            let incoming = lock(&self.incoming);
            if self.unread(&incoming)? > 0 {
                return Poll::Ready(Ok(()));
            }
            self.settle_down(lane, Word::ReaderSleeps);
            if self.unread(&incoming)? > 0 && !slips::is(Slip::RingLooksOnce) {
                self.word(lane, Word::ReaderSleeps).store(0, Ordering::Relaxed);
                return Poll::Ready(Ok(()));
            }
            drop(incoming);
            let other = (self.outgoing, Word::WriterWaits);
            if self.poll_bell(cx, &self.waits.for_room, other)?.is_pending() {
                self.waits.for_bytes.store(true, Ordering::Relaxed);
                return Poll::Pending;
            }
        }
    }

    /// Copies out what is there, at most `buffer.len()` bytes, and says how many messages with attachments wait in the socket.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        let lane = self.outgoing.other();
        let mut incoming = lock(&self.incoming);
        let unread = self.unread(&incoming)?;
        let count = unread.min(buffer.len());
        if count == 0 {
            return Ok((0, 0));
        }
        // Loaded after the tail: what those bytes declare is counted.
        let attached = self.word(lane, Word::Attached).load(Ordering::Acquire);
        let missing = attached.wrapping_sub(incoming.attached).min(ATTACHED_MAX);
        incoming.attached = incoming.attached.wrapping_add(missing);
        self.memory
            .copy_out(lane, incoming.head, buffer.get_mut(..count).unwrap_or_default());
        incoming.head = incoming
            .head
            .wrapping_add(u32::try_from(count).unwrap_or_default());
        self.word(lane, Word::Head)
            .store(incoming.head, Ordering::Release);
        drop(incoming);
        // What the writer has written meanwhile makes this too much, never too little: it is not left asleep when it has room. As long as
        // there is less, there is something to read, so that more will be free.
        let left = if slips::is(Slip::RoomToldLate) {
            unread
        } else {
            unread.saturating_sub(count)
        };
        if (self.memory.capacity() as usize).saturating_sub(left) >= self.enough() {
            self.ring_if(lane, Word::WriterWaits);
        }
        Ok((count, missing))
    }

    /// Ready when a good part of the memory is free.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let enough = self.enough();
        self.waits.for_room.store(false, Ordering::Relaxed);
        loop {
            let tail = lock(&self.tail);
            if self.free(*tail)? >= enough {
                return Poll::Ready(Ok(()));
            }
            self.settle_down(self.outgoing, Word::WriterWaits);
            if self.free(*tail)? >= enough && !slips::is(Slip::RoomLooksOnce) {
                self.word(self.outgoing, Word::WriterWaits)
                    .store(0, Ordering::Relaxed);
                return Poll::Ready(Ok(()));
            }
            drop(tail);
            let other = (self.outgoing.other(), Word::ReaderSleeps);
            if self.poll_bell(cx, &self.waits.for_bytes, other)?.is_pending() {
                self.waits.for_room.store(true, Ordering::Relaxed);
                return Poll::Pending;
            }
        }
    }

    /// Whether a write would take anything.
    pub(super) fn has_room(&self) -> io::Result<bool> {
        let tail = lock(&self.tail);
        Ok(self.free(*tail)? > 0)
    }

    /// A message with attachments is in the socket; the bytes that declare it are written next.
    pub(super) fn attached(&self) {
        self.word(self.outgoing, Word::Attached)
            .fetch_add(1, Ordering::Release);
    }

    /// Copies in what fits. Returns how many bytes did.
    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut tail = lock(&self.tail);
        let mut free = self.free(*tail)?;
        let (mut written, mut unpublished) = (0_usize, 0_usize);
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() && free > 0 {
                let now = rest.len().min(free).min(PUBLISH_EVERY);
                let (part, left) = rest.split_at_checked(now).unwrap_or((rest, &[]));
                self.memory.copy_in(self.outgoing, *tail, part);
                *tail = tail.wrapping_add(u32::try_from(part.len()).unwrap_or_default());
                (free, rest) = (free.saturating_sub(part.len()), left);
                written = written.saturating_add(part.len());
                unpublished = unpublished.saturating_add(part.len());
                if unpublished >= PUBLISH_EVERY {
                    self.publish(*tail);
                    unpublished = 0;
                }
            }
        }
        if unpublished > 0 {
            self.publish(*tail);
        }
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(written)
    }

    fn publish(&self, tail: u32) {
        self.word(self.outgoing, Word::Tail)
            .store(tail, Ordering::Release);
        self.ring_if(self.outgoing, Word::ReaderSleeps);
    }
}

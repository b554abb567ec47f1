//! What waits to be written to the broker: one bounded buffer, filled by every handle and drained by one writer at a time.
//!
//! Owns the bytes, the rule of who may write now, and how far the writing has come; knows no socket. Frames are
//! appended under the connection's lock; whoever claims the bytes writes them outside it. Used by
//! [`super::shared::Shared`].

use super::dead::Dead;
use super::waiters::Waiters;
use crate::message::frame::HEADER_LEN;
use crate::message::{Attachment, Attachments};
use std::collections::VecDeque;
use std::io;

/// Capacity that a drained buffer keeps, in multiples of the limit: one huge frame must not stay allocated.
const KEPT_CAPACITY: usize = 2;

/// A frame from so many bytes on is not copied into an empty buffer: the two change places. Smaller ones are copied, so that the
/// buffer of a connection grows once for all of them.
const TAKEN_WHOLE: usize = 4 * 1024;

/// The send queue of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Frames that no writer has claimed.
    buffer: Vec<u8>,
    /// What travels with frames of `buffer`, and where they begin in it.
    attached: Attached,
    /// Frames that a writer has claimed and not finished, from `pending_at`.
    pending: Vec<u8>,
    pending_at: usize,
    /// What travels with frames of `pending`.
    pending_attached: Attached,
    /// From these places in `buffer` and `pending` on bytes go to shared memory.
    turn: Option<usize>,
    pending_turn: Option<usize>,
    /// Bytes in `buffer` and `pending` that the other side's own frames have asked for.
    owed: (usize, usize),
    /// Somebody is writing right now.
    claimed: bool,
    /// The socket takes no more for now; its task waits for that.
    blocked: bool,
    limit: usize,
    queued: u64,
    written: u64,
    /// Where the bytes of the last claim end.
    claimed_upto: u64,
    /// Which connection the bytes are for: a claim of an earlier one is not for this one.
    life: u64,
    /// Tasks that wait for room.
    pub(crate) room: Waiters,
}

/// Bytes taken out to be written. Give them back with [`Outbox::release`].
#[derive(Debug)]
pub(crate) struct Claim {
    bytes: Vec<u8>,
    attached: Attached,
    from: usize,
    started_at: usize,
    turn: Option<usize>,
    life: u64,
}

/// Attachments with the positions of their frames, in order.
type Attached = VecDeque<(usize, Attachments)>;

impl Claim {
    /// What is to be written next, and what travels with its first byte. A frame with attachments starts a part.
    pub(crate) fn part(&self) -> (&[u8], &[Attachment]) {
        let mut attached = self.attached.iter();
        let (with, end) = match attached.next() {
            None => (&[][..], None),
            Some((at, list)) if *at == self.from => (&**list, attached.next().map(|(at, _)| *at)),
            Some((at, _)) => (&[][..], Some(*at)),
        };
        let end = end.unwrap_or(self.bytes.len());
        let end = self.turn.map_or(end, |turn| end.min(turn));
        (self.bytes.get(self.from..end).unwrap_or(&[]), with)
    }

    /// Notes that `count` bytes more are written; `true` when none is left.
    pub(crate) fn advance(&mut self, count: usize) -> bool {
        if count > 0 && self.attached.front().is_some_and(|(at, _)| *at == self.from) {
            self.attached.pop_front();
        }
        self.from = self.from.saturating_add(count).min(self.bytes.len());
        self.from == self.bytes.len()
    }

    /// Whether the next byte is the first one for shared memory. True once.
    pub(crate) fn turns(&mut self) -> bool {
        self.turn.take_if(|turn| *turn == self.from).is_some()
    }
}

impl Outbox {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            attached: VecDeque::new(),
            pending: Vec::new(),
            pending_at: 0,
            pending_attached: VecDeque::new(),
            turn: None,
            pending_turn: None,
            owed: (0, 0),
            claimed: false,
            blocked: false,
            limit,
            queued: 0,
            written: 0,
            claimed_upto: 0,
            life: 0,
            room: Waiters::new(),
        }
    }

    /// Whether a frame may be added: the buffer was below its limit before it, so that every legal frame fits once.
    pub(crate) const fn has_room(&self) -> bool {
        self.buffer.len() < self.limit
    }

    pub(crate) const fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// So much of what was just added is an answer to the other side's own frames, which no limit holds back.
    pub(crate) const fn owe(&mut self, bytes: usize) {
        self.owed.0 = self.owed.0.saturating_add(bytes);
    }

    /// What of that may be unwritten, in bytes.
    pub(crate) const fn owing(&self) -> usize {
        self.owed.0.saturating_add(self.owed.1)
    }

    /// Whether nothing waits and nobody writes: what is added now has to be brought to somebody's attention.
    pub(crate) const fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.pending.is_empty() && !self.claimed && !self.blocked
    }

    /// Whether something waits that nobody writes and nothing prevents from being written.
    pub(crate) const fn is_ready(&self) -> bool {
        let waits = !self.buffer.is_empty() || !self.pending.is_empty();
        waits && !self.claimed && !self.blocked
    }

    /// Whether everything that was added is written.
    pub(crate) const fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.pending.is_empty() && !self.claimed
    }

    /// Adds a frame in parts. Returns the position of its end, to compare with [`Outbox::written`].
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> u64 {
        let before = self.buffer.len();
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        self.queued = self
            .queued
            .saturating_add(self.buffer.len().saturating_sub(before) as u64);
        self.queued
    }

    /// Adds a frame. Returns how many bytes were ever added: where it ends.
    #[inline]
    pub(crate) fn encode(&mut self, draft: &crate::message::Draft<'_>) -> u64 {
        let before = self.buffer.len();
        draft.encode(&mut self.buffer);
        self.queued = self
            .queued
            .saturating_add(self.buffer.len().saturating_sub(before) as u64);
        self.queued
    }

    /// Adds a frame with attachments, whose number is in its header.
    #[inline]
    pub(crate) fn encode_with(
        &mut self,
        draft: &crate::message::Draft<'_>,
        attachments: &Attachments,
    ) -> u64 {
        if !attachments.is_empty() {
            self.attached.push_back((self.buffer.len(), attachments.clone()));
        }
        self.encode(draft)
    }

    /// Adds a frame that is encoded already (see [`super::encoded`]), with what travels with it. A large one that nothing waits before
    /// becomes the buffer, and `frame` is the one that was there, empty; else its bytes are copied. Returns where it ends.
    #[inline]
    pub(crate) fn take_in(&mut self, frame: &mut Vec<u8>, attachments: &Attachments) -> u64 {
        if !attachments.is_empty() {
            self.attached.push_back((self.buffer.len(), attachments.clone()));
        }
        if self.buffer.is_empty() && frame.len() >= TAKEN_WHOLE {
            self.queued = self.queued.saturating_add(frame.len() as u64);
            std::mem::swap(&mut self.buffer, frame);
            self.queued
        } else {
            self.push(&[frame])
        }
    }

    /// Shows every frame of which no byte was given to the system, in order, with what travels with it. What somebody is
    /// writing is not among them.
    pub(crate) fn each_unwritten(&self, mut see: impl FnMut(&[u8], Attachments)) {
        let parts = [
            (&self.pending, self.pending_at, &self.pending_attached),
            (&self.buffer, 0, &self.attached),
        ];
        for (bytes, begun, attached) in parts {
            let (mut at, mut attached) = (0_usize, attached.iter());
            let mut next = attached.next();
            while let Some(length) = frame_len(bytes, at) {
                let end = at.saturating_add(length);
                while next.is_some_and(|(place, _)| *place < at) {
                    next = attached.next();
                }
                let with = next.filter(|(place, _)| *place == at);
                if at >= begun
                    && let Some(frame) = bytes.get(at..end)
                {
                    see(frame, with.map(|(_, list)| list.clone()).unwrap_or_default());
                }
                at = end;
            }
        }
    }

    /// Adds the last frame on the socket: what follows goes to shared memory.
    pub(crate) fn encode_last_on_socket(&mut self, draft: &crate::message::Draft<'_>) {
        self.encode(draft);
        self.turn = Some(self.buffer.len());
    }

    /// How many bytes of this connection the system may have taken: a writer at work tells only afterwards.
    pub(crate) const fn written(&self) -> u64 {
        if self.claimed {
            self.claimed_upto
        } else {
            self.written
        }
    }

    /// Takes what waits, unless somebody writes already or nothing is there.
    pub(crate) fn claim(&mut self) -> Option<Claim> {
        if self.claimed {
            return None;
        }
        if self.pending.is_empty() {
            std::mem::swap(&mut self.buffer, &mut self.pending);
            std::mem::swap(&mut self.attached, &mut self.pending_attached);
            self.pending_turn = self.turn.take();
            self.owed = (0, self.owed.0);
            self.pending_at = 0;
        }
        if self.pending.is_empty() {
            return None;
        }
        self.claimed = true;
        self.claimed_upto = self.queued.saturating_sub(self.buffer.len() as u64);
        self.blocked = false;
        let (from, life) = (self.pending_at, self.life);
        Some(Claim {
            bytes: std::mem::take(&mut self.pending),
            attached: std::mem::take(&mut self.pending_attached),
            from,
            started_at: from,
            turn: self.pending_turn.take(),
            life,
        })
    }

    /// Writes what waits under the lock, for a writer that neither blocks nor takes long. `None`: that is not for it to do, and
    /// nothing happened. `false`: something is left.
    pub(crate) fn write_through(&mut self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> Option<bool> {
        if !self.is_ready() || !self.pending.is_empty() || !self.attached.is_empty() || self.turn.is_some() {
            return None;
        }
        let written = match write(&self.buffer) {
            Ok(written) => written.min(self.buffer.len()),
            Err(error) => {
                self.blocked = error.kind() == io::ErrorKind::WouldBlock;
                return Some(false);
            }
        };
        self.written = self.written.saturating_add(written as u64);
        if written == self.buffer.len() {
            self.owed = (0, 0);
            self.buffer.clear();
            self.buffer.shrink_to(self.limit.saturating_mul(KEPT_CAPACITY));
            return Some(true);
        }
        self.owed = (0, self.owed.0);
        std::mem::swap(&mut self.buffer, &mut self.pending);
        (self.pending_at, self.blocked) = (written, true);
        Some(false)
    }

    /// Gives a claim back. `blocked`: the socket took less than all of it and its task will say when it takes more.
    /// What travelled with a claim of an earlier connection is returned, to be dropped when no lock is held.
    pub(crate) fn release(&mut self, claim: Claim, blocked: bool) -> Option<impl Sized + use<>> {
        let Claim {
            mut bytes,
            attached,
            from,
            started_at,
            turn,
            life,
        } = claim;
        if life != self.life {
            return Some(attached);
        }
        self.written = self
            .written
            .saturating_add(from.saturating_sub(started_at) as u64);
        self.claimed = false;
        self.blocked = blocked;
        self.pending_at = from;
        if from == bytes.len() {
            bytes.clear();
            bytes.shrink_to(self.limit.saturating_mul(KEPT_CAPACITY));
            self.owed.1 = 0;
            self.pending_at = 0;
        }
        self.pending = bytes;
        self.pending_attached = attached;
        self.pending_turn = turn;
        None
    }

    /// Whether the socket took less than it was given and has not said that it takes more.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Notes that the socket takes bytes again.
    pub(crate) const fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Forgets everything, at the end of a connection, and lets the tasks that wait for room look again.
    pub(crate) fn clear(&mut self, dead: &mut Dead) {
        let all = [&mut self.pending_attached, &mut self.attached].into_iter();
        all.flat_map(std::mem::take).for_each(|(_, list)| dead.bury(list));
        let room = std::mem::take(&mut self.room);
        *self = Self {
            life: self.life.wrapping_add(1),
            room,
            ..Self::new(self.limit)
        };
    }
}

/// The length of the frame at `at`; `None` behind the last one.
fn frame_len(bytes: &[u8], at: usize) -> Option<usize> {
    let header = bytes.get(at..)?.first_chunk::<HEADER_LEN>()?;
    let (body, _) = header.split_first_chunk::<4>()?;
    Some(HEADER_LEN.saturating_add(u32::from_le_bytes(*body) as usize))
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

//! The first lane of an outbox: replies, calls and control, in runs: one for each delivery.
//!
//! Owns their order, and that what waits for long keeps no large buffer alive. A run is written from the batch and the list that it
//! came with, so that a frame in it costs no place and no reference of its own. Pure; called by [`Outbox`](super::Outbox).

mod forget;
#[cfg(test)]
mod tests;

pub use forget::Forgotten;

use super::events::wire_len;
use super::messages::{Messages, Told};
use super::write::{Left, Subject, WriteBuf, write_call, write_forward};
use crate::actors::connection::open_calls::KEPT_MAX;
use crate::actors::deliver::charge;
use crate::actors::messages::{Answer, Invoke, MessageItem};
use crate::actors::peer::PeerRef;
use crate::message::bus::Settlement;
use crate::message::{Attachments, Batch, Kind, Ticket};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

thread_local! {
    /// Queues of lanes that were emptied on this thread, for the next ones that fill: an idle peer has none of its own.
    static SPARE: Cell<Spare> = const { Cell::new(Vec::new()) };
}
/// Queues that are kept for others; more are in use at once only beside as many busy peers.
const SPARE_MAX: usize = 16;

type Spare = Vec<Box<Queue>>;

fn spare() -> Box<Queue> {
    let mut spare = SPARE.take();
    let queue = spare.pop().unwrap_or_default();
    SPARE.set(spare);
    queue
}

fn keep(mut queue: Box<Queue>) {
    let mut spare = SPARE.take();
    if spare.len() < SPARE_MAX && queue.runs.capacity() <= KEPT_MAX {
        (queue.own_bytes, queue.carrying, queue.compacted) = (0, 0, 0);
        queue.message_bytes = 0;
        spare.push(queue);
    }
    SPARE.set(spare);
}

/// A frame of the first lane, taken out by itself.
#[derive(Debug)]
pub enum Out {
    /// The broker's own, complete.
    Frame(Box<[u8]>),
    /// A frame of another peer under another number.
    Forward {
        /// Holds the frame.
        batch: Arc<Batch>,
        /// Which frame of the batch.
        frame: u32,
        /// The number that this peer knows.
        id: u64,
    },
    /// A call, with its caller and what is left of its deadline.
    Invoke {
        /// Holds the frame.
        batch: Arc<Batch>,
        /// Which frame of the batch.
        frame: u32,
        /// The broker's number for it.
        ticket: Ticket,
        /// When it ends at the latest.
        deadline: Instant,
        /// Who calls.
        from: PeerRef,
    },
}

/// A frame of the broker's own with attachments: the memory and the bells.
#[derive(Debug)]
pub struct RingOffer {
    /// The frame.
    pub frame: Vec<u8>,
    /// What travels with it.
    pub attachments: Attachments,
}

/// Something about one frame of a batch.
trait Item {
    fn frame(&self) -> u32;
    fn renumber(&mut self, frame: u32);
}

impl Item for Answer {
    fn frame(&self) -> u32 {
        self.frame
    }

    fn renumber(&mut self, frame: u32) {
        self.frame = frame;
    }
}

impl Item for Invoke {
    fn frame(&self) -> u32 {
        self.frame
    }

    fn renumber(&mut self, frame: u32) {
        self.frame = frame;
    }
}

/// Frames of one batch.
#[derive(Debug)]
struct Frames<T> {
    batch: Arc<Batch>,
    items: Vec<T>,
    next: usize,
    /// It was looked at whether it keeps too much alive, and nothing was taken since.
    compact: bool,
}

impl<T: Item> Frames<T> {
    const fn new(batch: Arc<Batch>, items: Vec<T>) -> Self {
        Self {
            batch,
            items,
            next: 0,
            compact: false,
        }
    }

    const fn is_done(&self) -> bool {
        self.next >= self.items.len()
    }

    fn carries(&self, item: &T) -> bool {
        !self.batch.attachments(item.frame() as usize).is_empty()
    }

    fn carrying(&self) -> usize {
        if !self.batch.has_attachments() {
            return 0;
        }
        self.items.iter().filter(|item| self.carries(item)).count()
    }

    fn next_carries(&self) -> bool {
        self.items.get(self.next).is_some_and(|item| self.carries(item))
    }

    fn take(&mut self) -> Option<(&T, &Arc<Batch>)> {
        let item = self.items.get(self.next)?;
        self.next = self.next.saturating_add(1);
        self.compact = false;
        Some((item, &self.batch))
    }

    /// Copies the frames that are left when they are less than a quarter of their buffer.
    fn copy_out(&mut self) {
        if std::mem::replace(&mut self.compact, true) {
            return;
        }
        self.items.drain(..self.next.min(self.items.len()));
        self.next = 0;
        let batch = &self.batch;
        let lengths = self.items.iter().map(|item| wire_len(batch, item.frame()));
        if lengths.sum::<usize>().saturating_mul(4) < batch.buffer_len() {
            let copy = batch.extract(self.items.iter().map(|item| item.frame() as usize));
            for (place, item) in self.items.iter_mut().enumerate() {
                item.renumber(u32::try_from(place).unwrap_or(u32::MAX));
            }
            self.batch = Arc::new(copy);
        }
    }
}

/// What one delivery brought.
#[derive(Debug)]
enum Run {
    Own(Box<[u8]>),
    /// The offer of shared memory.
    Ring(Box<RingOffer>),
    /// The last frame on the socket; what follows goes to shared memory.
    LastOnSocket(Box<[u8]>),
    Forwards(Frames<Answer>),
    Calls(PeerRef, Frames<Invoke>),
    Messages(Messages),
    /// What became of messages; more is added until it is written.
    Settled(Told),
}

impl Run {
    const fn is_done(&self) -> bool {
        match self {
            Self::Own(_) | Self::Ring(_) | Self::LastOnSocket(_) | Self::Settled(_) => true,
            Self::Messages(messages) => messages.is_done(),
            Self::Forwards(frames) => frames.is_done(),
            Self::Calls(_, frames) => frames.is_done(),
        }
    }

    /// What it was charged as the broker's own.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Own(frame) => charge(frame.len()),
            Self::Settled(told) => charge(told.wire_len()),
            Self::Ring(_)
            | Self::LastOnSocket(_)
            | Self::Forwards(_)
            | Self::Calls(..)
            | Self::Messages(_) => 0,
        }
    }

    fn next_carries(&self) -> bool {
        match self {
            Self::Own(_) | Self::LastOnSocket(_) | Self::Settled(_) => false,
            Self::Messages(messages) => messages.next_carries(),
            Self::Ring(_) => true,
            Self::Forwards(frames) => frames.next_carries(),
            Self::Calls(_, frames) => frames.next_carries(),
        }
    }

    /// Writes the next frame, or messages until there are about `max` bytes. Returns what it was charged.
    fn write(&mut self, left: &mut Left, max: usize, out: &mut WriteBuf) -> usize {
        match self {
            Self::Messages(messages) => {
                messages.write(max, out);
                0
            }
            Self::Settled(told) => {
                told.write(out);
                0
            }
            Self::Own(frame) => {
                out.bytes(frame);
                0
            }
            Self::Ring(offer) => {
                out.carry(Subject::new(Kind::Ring, 0), &offer.attachments);
                out.bytes(&offer.frame);
                0
            }
            Self::LastOnSocket(frame) => {
                out.last_on_socket = true;
                out.bytes(frame);
                0
            }
            Self::Forwards(frames) => frames.take().map_or(0, |(item, batch)| {
                write_forward(batch, item.frame, item.call.0, out)
            }),
            Self::Calls(from, frames) => frames
                .take()
                .map_or(0, |(call, batch)| write_call(batch, call, from, left, out)),
        }
    }

    fn copy_out(&mut self) {
        match self {
            Self::Own(_) | Self::Ring(_) | Self::LastOnSocket(_) | Self::Settled(_) => {}
            Self::Messages(messages) => messages.copy_out(),
            Self::Forwards(frames) => frames.copy_out(),
            Self::Calls(_, frames) => frames.copy_out(),
        }
    }
}

/// The lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Nothing while the lane is empty.
    queue: Option<Box<Queue>>,
}

/// What waits in a lane that is not empty. A run in it is never done.
#[derive(Debug, Default)]
struct Queue {
    runs: VecDeque<Run>,
    /// Bytes of frames that the broker made itself: nobody else's account holds them.
    own_bytes: usize,
    /// Bytes of deliveries of messages that are not written to their end, whether or not their endpoints are still there.
    message_bytes: usize,
    /// Frames that carry attachments.
    carrying: usize,
    /// So many runs, from the first, were looked at by [`Lane::compact`].
    compacted: usize,
}

impl Queue {
    fn push_frames(&mut self, carrying: usize, run: Run) {
        self.carrying = self.carrying.saturating_add(carrying);
        self.runs.push_back(run);
    }

    /// The next frame leaves: it is not counted any more.
    fn leaves(&mut self, own_bytes: usize, carries: bool) {
        self.own_bytes = self.own_bytes.saturating_sub(own_bytes);
        self.carrying = self.carrying.saturating_sub(usize::from(carries));
    }
}

impl Lane {
    pub(super) const fn is_empty(&self) -> bool {
        self.queue.is_none()
    }

    pub(super) fn own_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.own_bytes)
    }

    pub(super) fn message_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.message_bytes)
    }

    pub(super) fn carries(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.carrying > 0)
    }

    fn queue(&mut self) -> &mut Queue {
        self.queue.get_or_insert_with(spare)
    }

    pub(super) fn push_own(&mut self, frame: Box<[u8]>) {
        let queue = self.queue();
        queue.own_bytes = queue.own_bytes.saturating_add(charge(frame.len()));
        queue.runs.push_back(Run::Own(frame));
    }

    pub(super) fn push_ring(&mut self, offer: RingOffer) {
        self.queue().push_frames(1, Run::Ring(Box::new(offer)));
    }

    pub(super) fn push_last_on_socket(&mut self, frame: Box<[u8]>) {
        self.queue().push_frames(0, Run::LastOnSocket(frame));
    }

    pub(super) fn push_forwards(&mut self, batch: Arc<Batch>, items: Vec<Answer>) {
        let frames = Frames::new(batch, items);
        if !frames.is_done() {
            self.queue().push_frames(frames.carrying(), Run::Forwards(frames));
        }
    }

    pub(super) fn push_calls(&mut self, from: PeerRef, batch: Arc<Batch>, items: Vec<Invoke>) {
        let frames = Frames::new(batch, items);
        if !frames.is_done() {
            self.queue()
                .push_frames(frames.carrying(), Run::Calls(from, frames));
        }
    }

    pub(super) fn push_messages(&mut self, from: PeerRef, batch: Arc<Batch>, items: Vec<MessageItem>) {
        let messages = Messages::new(from, batch, items);
        if !messages.is_done() {
            let queue = self.queue();
            queue.message_bytes = queue.message_bytes.saturating_add(messages.bytes());
            queue.push_frames(messages.carrying(), Run::Messages(messages));
        }
    }

    /// Adds to the last frame, if that tells such things too and is not full.
    pub(super) fn push_settled(&mut self, entry: Settlement) {
        let queue = self.queue();
        if let Some(Run::Settled(told)) = queue.runs.back_mut() {
            let before = charge(told.wire_len());
            if told.add(entry) {
                let more = charge(told.wire_len()).saturating_sub(before);
                queue.own_bytes = queue.own_bytes.saturating_add(more);
                return;
            }
        }
        let mut told = Told::default();
        told.add(entry);
        queue.own_bytes = queue.own_bytes.saturating_add(charge(told.wire_len()));
        queue.runs.push_back(Run::Settled(told));
    }

    /// Copies small remainders out of large buffers that would otherwise be kept alive by them. Each run is looked at once, and the
    /// first one again when something was taken of it.
    pub(super) fn compact(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        let news = queue.runs.iter_mut().skip(queue.compacted.max(1));
        news.for_each(Run::copy_out);
        if let Some(first) = queue.runs.front_mut() {
            first.copy_out();
        }
        queue.compacted = queue.runs.len();
    }

    /// Moves frames into `out` until it holds about `max` bytes; one with attachments begins a write and ends it. Returns the
    /// charged bytes that left.
    pub(super) fn fill(&mut self, now: Instant, max: usize, out: &mut WriteBuf) -> usize {
        let (mut charged, mut left) = (0_usize, Left::new(now));
        while out.len() < max
            && let Some(queue) = &mut self.queue
            && let Some(run) = queue.runs.front_mut()
        {
            let carries = queue.carrying > 0 && run.next_carries();
            if carries && !out.is_empty() {
                break;
            }
            charged = charged.saturating_add(run.write(&mut left, max, out));
            let (own_bytes, is_done) = (run.own_bytes(), run.is_done());
            if let Run::Messages(messages) = run
                && is_done
            {
                queue.message_bytes = queue.message_bytes.saturating_sub(messages.bytes());
            }
            queue.leaves(own_bytes, carries);
            if is_done {
                self.pop();
            }
            if out.is_whole() {
                break;
            }
        }
        charged
    }

    /// Takes the next frame, for a peer without a socket.
    pub(super) fn take(&mut self) -> Option<Out> {
        let queue = self.queue.as_mut()?;
        let run = queue.runs.front_mut()?;
        let carries = queue.carrying > 0 && run.next_carries();
        let own_bytes = run.own_bytes();
        let next = match run {
            Run::Own(frame) => Some(Out::Frame(std::mem::take(frame))),
            // Only sockets have such memory beside them, and nobody takes from those.
            Run::Ring(_) | Run::LastOnSocket(_) => None,
            // Nor do they join or send.
            Run::Messages(_) | Run::Settled(_) => None,
            Run::Forwards(frames) => frames.take().map(|(item, batch)| Out::Forward {
                batch: batch.clone(),
                frame: item.frame,
                id: item.call.0,
            }),
            Run::Calls(from, frames) => frames.take().map(|(call, batch)| Out::Invoke {
                batch: batch.clone(),
                frame: call.frame,
                ticket: call.ticket,
                deadline: call.deadline,
                from: from.clone(),
            }),
        };
        let is_done = run.is_done();
        queue.leaves(own_bytes, carries);
        if is_done {
            self.pop();
        }
        next
    }

    fn pop(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        queue.runs.pop_front();
        queue.compacted = queue.compacted.saturating_sub(1);
        if queue.runs.is_empty() {
            self.queue.take().into_iter().for_each(keep);
        }
    }
}

//! The first lane of an outbox: replies, calls and control, in runs: one for each delivery.
//!
//! Owns their order, and that what waits for long keeps no large buffer alive. A run is written from the batch and the list that it
//! came with, so that a frame in it costs no place and no reference of its own. Pure; called by [`Outbox`](super::Outbox).

use super::events::wire_len;
use super::write::{Left, WriteBuf, write_call, write_forward};
use crate::actors::connection::open_calls::KEPT_MAX;
use crate::actors::deliver::charge;
use crate::actors::messages::{Answer, Invoke};
use crate::actors::peer::PeerRef;
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
}

impl Run {
    const fn is_done(&self) -> bool {
        match self {
            Self::Own(_) | Self::Ring(_) | Self::LastOnSocket(_) => true,
            Self::Forwards(frames) => frames.is_done(),
            Self::Calls(_, frames) => frames.is_done(),
        }
    }

    /// What it was charged as the broker's own.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Own(frame) => charge(frame.len()),
            Self::Ring(_) | Self::LastOnSocket(_) | Self::Forwards(_) | Self::Calls(..) => 0,
        }
    }

    fn next_carries(&self) -> bool {
        match self {
            Self::Own(_) | Self::LastOnSocket(_) => false,
            Self::Ring(_) => true,
            Self::Forwards(frames) => frames.next_carries(),
            Self::Calls(_, frames) => frames.next_carries(),
        }
    }

    /// Writes the next frame. Returns what it was charged.
    fn write(&mut self, left: &mut Left, out: &mut WriteBuf) -> usize {
        match self {
            Self::Own(frame) => {
                out.bytes(frame);
                0
            }
            Self::Ring(offer) => {
                out.carry(Kind::Ring, 0, 0, &offer.attachments);
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
            Self::Own(_) | Self::Ring(_) | Self::LastOnSocket(_) => {}
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
            charged = charged.saturating_add(run.write(&mut left, out));
            let (own_bytes, is_done) = (run.own_bytes(), run.is_done());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{CallId, Decoder, Draft, Encoding, Kind};

    const FRAMES: u32 = 100;

    fn forwards() -> (Arc<Batch>, Vec<Answer>) {
        let mut bytes = Vec::new();
        for frame in 0..FRAMES {
            let payload = [frame as u8; 100];
            let draft = Draft::new(Kind::Reply, u64::from(frame)).payload(Encoding::RAW, &payload);
            draft.encode(&mut bytes);
        }
        let answer = |frame| Answer {
            frame,
            call: CallId(1_000 + u64::from(frame)),
            ticket: Ticket(u64::from(frame)),
            last: true,
        };
        let batch = Batch::from_bytes(bytes.into(), 4096).unwrap();
        (Arc::new(batch), (0..FRAMES).map(answer).collect())
    }

    /// Writes about `max` bytes; returns them and what they were charged.
    fn written(lane: &mut Lane, max: usize) -> (Vec<u8>, usize) {
        let mut out = WriteBuf::default();
        let charged = lane.fill(Instant::now(), max, &mut out);
        (out.copied, charged)
    }

    #[test]
    fn what_is_left_of_a_run_is_copied_out_once_it_is_little_and_written_all_the_same() {
        for first in [0, 1, 4_000, 11_000, 12_000] {
            let mut lane = Lane::default();
            let (batch, answers) = forwards();
            let large = batch.buffer_len();
            lane.push_forwards(batch.clone(), answers);
            lane.push_own(Draft::new(Kind::Pong, 7).to_vec().into());
            assert_eq!(lane.own_bytes(), 64);
            let (mut bytes, mut charged) = written(&mut lane, first);
            lane.compact();
            if let Some(Run::Forwards(frames)) = lane.queue.as_ref().and_then(|queue| queue.runs.front()) {
                let kept = frames.batch.buffer_len();
                assert_eq!(kept < large, first >= 11_000, "{first}: {kept} of {large}");
            }
            // The rest in steps, looked at again after each.
            while !lane.is_empty() {
                let (more, cost) = written(&mut lane, 500);
                bytes.extend(more);
                charged += cost;
                lane.compact();
            }
            assert_eq!((lane.own_bytes(), charged), (0, FRAMES as usize * 124));
            let read = Decoder::new(4096).decode(&bytes).unwrap();
            assert_eq!(read.len(), FRAMES as usize + 1);
            for frame in 0..FRAMES as usize {
                let view = read.view(frame).unwrap();
                assert_eq!(
                    (view.header.id, view.payload),
                    (1_000 + frame as u64, &[frame as u8; 100][..])
                );
            }
        }
    }

    #[test]
    fn one_by_one_the_same_frames_come_out() {
        let mut lane = Lane::default();
        let (batch, answers) = forwards();
        lane.push_own(Box::new([0; 70]));
        lane.push_forwards(batch, answers);
        assert!(matches!(lane.take(), Some(Out::Frame(frame)) if frame.len() == 70));
        assert_eq!(lane.own_bytes(), 0);
        for expected in 0..FRAMES {
            let Some(Out::Forward { frame, id, .. }) = lane.take() else {
                panic!("{expected} is missing");
            };
            assert_eq!((frame, id), (expected, 1_000 + u64::from(expected)));
        }
        assert!(lane.take().is_none() && lane.is_empty());
    }
}

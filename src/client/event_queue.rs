//! What a subscription has received and its program has not read: bounded in bytes, with every gap counted.
//!
//! Owns the order of events and gaps of one subscription. The socket's task adds whole runs of frames by reference
//! to the batch they came in; the reader takes all that is there at once and decodes one event after the other.
//! When it is full, its policy says which events are dropped and counted (see [`overflow`]). Knows no socket.

#[path = "event_overflow.rs"]
mod overflow;
#[path = "event_reader.rs"]
mod reader;

pub(crate) use reader::Reader;

use super::dead::Dead;
use super::event::{Topic, Update};
use super::request::keep;
use super::subscription::SlowPolicy;
use super::waiters::replace;
use crate::message::frame::FrameView;
use crate::message::{Attachments, Batch, Encoding, Flags, Header, Kind, Metadata};
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What an event is charged at least, in bytes, however small it is.
const CHARGE_MIN: usize = 64;

/// Events that may be arriving in pieces together, however small they are.
const PARTIAL_MAX: usize = 4_096;

/// The queue of one subscription.
#[derive(Debug)]
pub(crate) struct EventQueue {
    name: Topic,
    limit: usize,
    policy: SlowPolicy,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Bytes in the queue and in the reader's hands.
    charged: usize,
    gap: Gap,
    /// The connection was lost, and the subscription does not stand again yet.
    cut: bool,
    /// Events that are arriving in pieces, by their number.
    partial: HashMap<u32, Partial>,
    waker: Option<Waker>,
    closed: bool,
    /// The broker closed it, for this reason, and that was not told.
    ended: Option<String>,
    /// It was closed because it was full, and that was not told.
    too_slow: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gap {
    missed: u64,
    interrupted: bool,
}

/// Whole events of one subscription that follow each other in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// What their frames have on the wire.
    pub(crate) bytes: usize,
}

/// Consecutive events.
#[derive(Debug)]
struct Chunk {
    events: Events,
    charge: usize,
    /// What is missing before the first of them.
    gap: Gap,
}

#[derive(Debug)]
enum Events {
    /// Frames of a batch: the next one, and how many there are.
    Frames {
        batch: Arc<Batch>,
        next: usize,
        count: usize,
    },
    /// One that came in pieces, or with something attached.
    Whole(Option<Box<(Head, Bytes)>>),
}

/// An event but for its payload.
#[derive(Debug)]
struct Head {
    /// What the broker has told as missed before it.
    missed: u32,
    key: Vec<u8>,
    encoding: Encoding,
    flags: Flags,
    metadata: Metadata,
    attachments: Attachments,
}

#[derive(Debug)]
struct Partial {
    head: Head,
    bytes: BytesMut,
}

impl Head {
    fn new(view: &FrameView<'_>, attachments: Attachments, missed: u32) -> Self {
        Self {
            missed,
            key: view.key.to_vec(),
            encoding: view.header.encoding,
            flags: view.header.flags,
            metadata: Metadata::parse(view.meta).unwrap_or_default(),
            attachments,
        }
    }

    /// How many events are lost with it, and with what the broker has told in front of it.
    fn lost(&self) -> u64 {
        u64::from(self.missed).saturating_add(1)
    }
}

/// What one event counts: half the limit at most, however large it is. Else a program that reads each event as it comes would miss
/// what follows a large one at once.
fn charge(bytes: usize, limit: usize) -> usize {
    bytes.min(limit / 2).max(CHARGE_MIN)
}

impl Run {
    /// `count` frames from `first`.
    pub(crate) fn new(batch: &Batch, first: usize, count: usize) -> Self {
        let headers = batch.headers().skip(first).take(count);
        let bytes = headers.map(Header::wire_len).sum();
        Self { first, count, bytes }
    }

    /// Whether a frame may lie in a run of others: a whole one. What is attached to an event is the event's own, and ends with it.
    pub(crate) const fn may_hold(header: &Header) -> bool {
        let own = matches!(header.kind, Kind::Event) && header.attachments > 0;
        !own && !header.flags.has(Flags::CONTINUED)
    }

    /// The whole events of a subscription, or messages for an endpoint, that follow each other from `first`, where there is one.
    pub(crate) fn whole(batch: &Batch, first: usize) -> Self {
        let (mut count, mut bytes, mut of) = (0_usize, 0_usize, None);
        for header in batch.headers().skip(first) {
            let same = (header.kind, header.id);
            if !Self::may_hold(header) || *of.get_or_insert(same) != same {
                break;
            }
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(header.wire_len());
        }
        let count = count.max(1);
        Self { first, count, bytes }
    }

    /// What these events of the batch count together.
    fn charge(&self, batch: &Batch, limit: usize) -> usize {
        if self.bytes <= limit / 2 {
            // No large one is among them.
            return self.bytes.max(self.count.saturating_mul(CHARGE_MIN));
        }
        let headers = batch.headers().skip(self.first).take(self.count);
        headers.map(|header| charge(header.wire_len(), limit)).sum()
    }

    /// How many events are lost with these, and with what the broker has told in front of each.
    fn lost(&self, batch: &Batch) -> u64 {
        let headers = batch.headers().skip(self.first).take(self.count);
        headers
            .map(|header| u64::from(header.aux).saturating_add(1))
            .sum()
    }
}

impl EventQueue {
    pub(crate) fn new(object: &str, topic: &str, limit: usize, policy: SlowPolicy) -> Self {
        Self {
            name: Topic::pair(object, topic),
            limit,
            policy,
            state: Mutex::default(),
        }
    }

    /// What is subscribed to, as it was asked for.
    pub(crate) const fn name(&self) -> &Topic {
        &self.name
    }

    /// Adds whole Event frames of a batch, which follow each other.
    pub(crate) fn push(&self, batch: &Arc<Batch>, run: Run, woken: &mut Vec<Waker>, dead: &mut Dead) {
        let Run { first, count, bytes } = run;
        let mut state = self.lock();
        let full = !state.admits(self.limit);
        if full | state.closed && !state.makes_room(self.limit, self.policy) {
            return state.refuse(run.lost(batch), woken);
        }
        let charge = run.charge(batch, self.limit);
        // What is a small part of its buffer must not keep the whole of it.
        let (batch, next) = match bytes < batch.buffer_len() / 4 {
            true => (Arc::new(batch.extract(first..first.saturating_add(count))), 0),
            false => (Arc::clone(batch), first),
        };
        let events = Events::Frames { batch, next, count };
        state.add(events, charge, self.limit, woken);
        if full {
            state.shed(self.limit, self.policy, dead);
        }
    }

    /// Adds the first part of an event in pieces; `aux` is its number.
    pub(crate) fn begin(
        &self,
        view: &FrameView<'_>,
        attachments: Attachments,
        message_bytes: usize,
        dead: &mut Dead,
    ) {
        let partial = Partial {
            head: Head::new(view, attachments, 0),
            bytes: BytesMut::from(view.payload),
        };
        let mut state = self.lock();
        let drops = matches!(self.policy, SlowPolicy::DropOldest | SlowPolicy::Latest);
        if state.partial.len() >= PARTIAL_MAX
            || state.partial_bytes().saturating_add(view.payload.len()) > message_bytes
            || !(drops || state.admits(self.limit))
        {
            state.miss(1);
            return dead.bury(partial.head.attachments);
        }
        if let Some(before) = state.partial.insert(view.header.aux, partial) {
            state.miss(1);
            dead.bury(before.head.attachments);
        }
    }

    /// Adds a piece of the event with the number `aux`.
    pub(crate) fn piece(
        &self,
        view: &FrameView<'_>,
        region: Option<&Bytes>,
        message_bytes: usize,
        woken: &mut Vec<Waker>,
        dead: &mut Dead,
    ) {
        let number = view.header.aux;
        let mut state = self.lock();
        if view.header.flags.has(Flags::ABORT) {
            // The broker counts what it voids, and tells that in a gap.
            return state.void(number, dead);
        }
        // All that is under way together is no more than the largest message.
        let room = message_bytes.saturating_sub(state.partial_bytes());
        let Some(partial) = state.partial.get_mut(&number) else {
            return;
        };
        if region.map_or(view.payload.len(), Bytes::len) > room {
            state.miss(1);
            return state.void(number, dead);
        }
        partial.bytes.extend_from_slice(view.payload);
        if view.header.flags.has(Flags::CONTINUED) {
            return;
        }
        let Some(Partial { head, bytes }) = state.partial.remove(&number) else {
            return;
        };
        let bytes = region.cloned().unwrap_or_else(|| bytes.freeze());
        self.add_whole(state, (head, bytes), woken, dead);
    }

    /// Adds a whole event of a batch with what is attached to it.
    pub(crate) fn carrying(
        &self,
        batch: &Batch,
        view: &FrameView<'_>,
        attachments: Attachments,
        woken: &mut Vec<Waker>,
        dead: &mut Dead,
    ) {
        let head = Head::new(view, attachments, view.header.aux);
        let bytes = keep(batch, view.payload);
        self.add_whole(self.lock(), (head, bytes), woken, dead);
    }

    fn add_whole(
        &self,
        mut state: MutexGuard<'_, State>,
        (head, bytes): (Head, Bytes),
        woken: &mut Vec<Waker>,
        dead: &mut Dead,
    ) {
        let full = !state.admits(self.limit);
        if full | state.closed && !state.makes_room(self.limit, self.policy) {
            state.refuse(head.lost(), woken);
            return dead.bury(head.attachments);
        }
        let size = charge(bytes.len(), self.limit);
        let whole = Events::Whole(Some(Box::new((head, bytes))));
        state.add(whole, size, self.limit, woken);
        if full {
            state.shed(self.limit, self.policy, dead);
        }
    }

    /// The broker tells of events that did not reach this connection.
    pub(crate) fn gap(&self, missed: u32, woken: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.miss(u64::from(missed));
        woken.extend(state.waker.take());
    }

    /// The connection was lost. That is told when it is over: what is published until then is missing as well.
    pub(crate) fn interrupt(&self, dead: &mut Dead) {
        let mut state = self.lock();
        let partial = state.partial.drain();
        partial.for_each(|(_, partial)| dead.bury(partial.head.attachments));
        state.cut = true;
    }

    /// The broker has acknowledged the subscription, for the first time or again.
    pub(crate) fn stands(&self, woken: &mut Vec<Waker>) {
        let mut state = self.lock();
        if std::mem::take(&mut state.cut) {
            state.gap.interrupted = true;
            woken.extend(state.waker.take());
        }
    }

    /// No event follows.
    pub(crate) fn close(&self, woken: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.closed = true;
        state.gap.interrupted |= std::mem::take(&mut state.cut);
        woken.extend(state.waker.take());
    }

    /// The broker has ended the subscription.
    pub(crate) fn end(&self, reason: String, woken: &mut Vec<Waker>) {
        self.lock().ended = Some(reason);
        self.close(woken);
    }

    /// Whether nobody holds the lock.
    #[cfg(test)]
    #[cfg(not(feature = "models"))]
    pub(crate) fn is_free(&self) -> bool {
        self.state.try_lock().is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn partial_bytes(&self) -> usize {
        self.partial.values().map(|partial| partial.bytes.len()).sum()
    }

    /// What came of an event is nobody's.
    fn void(&mut self, number: u32, dead: &mut Dead) {
        if let Some(partial) = self.partial.remove(&number) {
            dead.bury(partial.head.attachments);
        }
    }

    const fn admits(&self, limit: usize) -> bool {
        self.charged < limit
    }

    const fn miss(&mut self, count: u64) {
        self.gap.missed = self.gap.missed.saturating_add(count);
    }

    /// Counts what was not added. The reader of a queue that has just ended looks at once.
    fn refuse(&mut self, count: u64, woken: &mut Vec<Waker>) {
        self.miss(count);
        if self.too_slow {
            woken.extend(self.waker.take());
        }
    }

    /// What there is to say when no event is there. The waker from `before` is to be dropped when the lock is released.
    fn poll_end(&mut self, cx: &Context<'_>, gaps: bool, before: &mut Option<Waker>) -> Poll<Option<Update>> {
        if let Some(update) = Some(&mut self.gap).filter(|_| gaps).and_then(Gap::tell) {
            return Poll::Ready(Some(update));
        }
        if self.closed {
            if let Some(reason) = self.ended.take().filter(|_| gaps) {
                return Poll::Ready(Some(Update::Ended(reason)));
            }
            let slow = gaps && std::mem::take(&mut self.too_slow);
            return Poll::Ready(slow.then_some(Update::TooSlow));
        }
        *before = replace(&mut self.waker, cx.waker());
        Poll::Pending
    }

    fn add(&mut self, events: Events, size: usize, limit: usize, woken: &mut Vec<Waker>) {
        let charge = size.saturating_add(events.charge_attached(limit));
        self.charged = self.charged.saturating_add(charge);
        self.chunks.push_back(Chunk {
            events,
            charge,
            gap: std::mem::take(&mut self.gap),
        });
        woken.extend(self.waker.take());
    }
}

impl Gap {
    /// The first thing to tell of it, which it then no longer holds.
    const fn tell(&mut self) -> Option<Update> {
        if self.interrupted {
            self.interrupted = false;
            return Some(Update::Interrupted);
        }
        if self.missed == 0 {
            return None;
        }
        let missed = self.missed;
        self.missed = 0;
        Some(Update::Missed(missed))
    }
}

#[cfg(test)]
#[path = "event_queue_tests.rs"]
mod tests;

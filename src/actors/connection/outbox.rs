//! What waits to be written to one peer, in lanes: replies and control first, events behind, the goodbye last.
//!
//! Owns the queue and what subscriptions asked for when it is long (drop the oldest, only the latest). Frames are encoded
//! when the socket takes them, straight from the batches they came in. Pure; called by `io` with a [`WriteBuf`].

mod take;
mod write;

pub use write::WriteBuf;

use crate::actors::deliver::charge;
use crate::actors::messages::{Answer, EventItem, EventMark, Invoke};
use crate::actors::peer::{Account, PeerRef};
use crate::message::{Batch, Draft, Kind, SubscriptionId, Ticket};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;
use write::{write, write_event};

/// A frame of the first lane.
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

/// Events of one delivery.
#[derive(Debug)]
struct Run {
    batch: Arc<Batch>,
    items: Vec<EventItem>,
    next: usize,
    compact: bool,
}

/// The queue of one peer.
#[derive(Debug, Default)]
pub struct Outbox {
    first: VecDeque<Out>,
    runs: VecDeque<Run>,
    /// How many runs have left at the front, so that places in the queue have lasting numbers.
    runs_gone: u64,
    fading: Option<Box<Fading>>,
    goodbye: Option<Box<[u8]>>,
    droppable: bool,
    /// Bytes of frames that the broker made itself: nobody else's account holds them.
    own_bytes: usize,
}

/// For subscriptions that want only the latest value: where the last one of each topic is.
#[derive(Debug, Default)]
struct Fading {
    last: HashMap<(SubscriptionId, u64), (u64, usize)>,
    hasher: RandomState,
}

impl Outbox {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.runs.is_empty() && self.goodbye.is_none()
    }

    /// Bytes of the broker's own frames that wait.
    #[must_use]
    pub const fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// A frame of the broker's own.
    pub fn push_frame(&mut self, frame: Box<[u8]>) {
        self.own_bytes = self.own_bytes.saturating_add(charge(frame.len()));
        self.first.push_back(Out::Frame(frame));
    }

    /// Answers, as their callee sent them.
    pub fn push_answer(&mut self, batch: &Arc<Batch>, answer: Answer) {
        self.push_forward(batch.clone(), answer.frame, answer.call.0);
    }

    /// A frame of another peer, under the number that this one knows.
    pub fn push_forward(&mut self, batch: Arc<Batch>, frame: u32, id: u64) {
        self.first.push_back(Out::Forward { batch, frame, id });
    }

    /// A call for this peer.
    pub fn push_invoke(&mut self, batch: &Arc<Batch>, invoke: Invoke) {
        let Invoke {
            frame,
            ticket,
            deadline,
            from,
            ..
        } = invoke;
        self.first.push_back(Out::Invoke {
            batch: batch.clone(),
            frame,
            ticket,
            deadline,
            from,
        });
    }

    /// The last frame there will be.
    pub fn push_goodbye(&mut self, frame: Vec<u8>) {
        self.goodbye.get_or_insert_with(|| frame.into());
    }

    /// Events, charged by their sender. Above `limit` bytes the oldest droppable ones go. Returns the bytes of what was dropped.
    pub fn push_events(&mut self, batch: Arc<Batch>, items: Vec<EventItem>, account: &Account) -> usize {
        let marks = items.iter().fold(0, |marks, item| marks | item.mark.0);
        self.runs.push_back(Run {
            batch,
            items,
            next: 0,
            compact: false,
        });
        let mut dropped = 0;
        if marks & EventMark::LATEST != 0 {
            dropped = self.fade();
        }
        self.droppable |= marks & EventMark::DROP_OLDEST != 0;
        let limit = account.room().events_soft;
        if self.droppable && account.events().saturating_sub(dropped) > limit {
            let over = account.events().saturating_sub(dropped).saturating_sub(limit);
            dropped = dropped.saturating_add(self.drop_oldest(over));
        }
        dropped
    }

    /// Drops queued values that a newer one of the last run replaces.
    fn fade(&mut self) -> usize {
        let fading = self.fading.get_or_insert_default();
        let newest = self
            .runs_gone
            .saturating_add(self.runs.len() as u64)
            .saturating_sub(1);
        let Some(last) = self.runs.len().checked_sub(1) else {
            return 0;
        };
        let mut older = Vec::new();
        if let Some(run) = self.runs.get(last) {
            for (place, item) in run.items.iter().enumerate() {
                if !item.mark.has(EventMark::LATEST) {
                    continue;
                }
                let key = run
                    .batch
                    .view(item.frame as usize)
                    .map_or(0, |view| fading.hasher.hash_one(view.key));
                if let Some(old) = fading.last.insert((item.subscription, key), (newest, place)) {
                    older.push(old);
                }
            }
        }
        older
            .into_iter()
            .map(|(run, place)| self.drop_item(run.wrapping_sub(self.runs_gone), place))
            .sum()
    }

    fn drop_item(&mut self, run: u64, place: usize) -> usize {
        let Some(run) = usize::try_from(run).ok().and_then(|run| self.runs.get_mut(run)) else {
            return 0;
        };
        if place < run.next {
            return 0;
        }
        let batch = &run.batch;
        let Some(item) = run.items.get_mut(place) else {
            return 0;
        };
        let bytes = mark_dropped(batch, item);
        let (subscription, missed) = (item.subscription, item.missed.saturating_add(1));
        if bytes > 0 {
            self.tell_missed(subscription, missed);
        }
        bytes
    }

    fn drop_oldest(&mut self, over: usize) -> usize {
        let (mut freed, mut missed) = (0_usize, HashMap::<SubscriptionId, u32>::new());
        'runs: for run in &mut self.runs {
            let batch = &run.batch;
            for item in run.items.iter_mut().skip(run.next) {
                if freed >= over {
                    break 'runs;
                }
                if item.mark.has(EventMark::DROP_OLDEST) {
                    let bytes = mark_dropped(batch, item);
                    if bytes > 0 {
                        freed = freed.saturating_add(bytes);
                        let count = missed.entry(item.subscription).or_default();
                        *count = count.saturating_add(1).saturating_add(item.missed);
                    }
                }
            }
        }
        missed
            .into_iter()
            .for_each(|(subscription, count)| self.tell_missed(subscription, count));
        freed
    }

    /// Adds missed events to the next queued one of the subscription, or tells them in a gap.
    fn tell_missed(&mut self, subscription: SubscriptionId, count: u32) {
        let next = self
            .runs
            .iter_mut()
            .flat_map(|run| run.items.iter_mut().skip(run.next))
            .find(|item| {
                item.subscription == subscription
                    && item.mark.0 & (EventMark::DROPPED | EventMark::NUMBERED | EventMark::GAP) == 0
            });
        match next {
            Some(item) => item.missed = item.missed.saturating_add(count),
            None => self.push_frame(gap_frame(subscription, count).into()),
        }
    }

    /// Copies small remainders out of large buffers that would otherwise be kept alive by them.
    pub fn compact(&mut self) {
        for run in self.runs.iter_mut().rev() {
            if std::mem::replace(&mut run.compact, true) {
                break;
            }
            let rest = run.items.get(run.next..).unwrap_or_default();
            let kept: usize = rest.iter().map(|item| wire_len(&run.batch, item.frame)).sum();
            if kept.saturating_mul(4) >= run.batch.buffer_len() {
                continue;
            }
            // Several subscriptions may share one frame: it is copied once.
            let mut frames: Vec<u32> = rest.iter().map(|item| item.frame).collect();
            frames.dedup();
            let copy = run.batch.extract(frames.iter().map(|frame| *frame as usize));
            let mut at = 0_usize;
            for item in run.items.iter_mut().skip(run.next) {
                while frames.get(at).is_some_and(|frame| *frame != item.frame) {
                    at = at.saturating_add(1);
                }
                item.frame = u32::try_from(at).unwrap_or(u32::MAX);
            }
            run.batch = Arc::new(copy);
        }
        for out in self.first.iter_mut().rev() {
            let (Out::Forward { batch, frame, .. } | Out::Invoke { batch, frame, .. }) = out else {
                continue;
            };
            if *frame == 0 && batch.len() == 1 {
                break;
            }
            if wire_len(batch, *frame).saturating_mul(4) < batch.buffer_len() {
                (*batch, *frame) = (Arc::new(batch.extract(std::iter::once(*frame as usize))), 0);
            }
        }
    }

    /// Moves frames into `out` until it holds about `max` bytes. Returns the charged bytes that left: first lane, events.
    pub fn fill(&mut self, now: Instant, max: usize, out: &mut WriteBuf) -> (usize, usize) {
        let (mut first, mut events) = (0_usize, 0_usize);
        while out.len() < max {
            if self.attachments_next() && !out.is_empty() {
                return (first, events);
            }
            let Some(next) = self.first.pop_front() else { break };
            if let Out::Frame(frame) = &next {
                self.own_bytes = self.own_bytes.saturating_sub(charge(frame.len()));
            }
            first = first.saturating_add(write(&next, now, out));
            if !out.attachments.is_empty() {
                return (first, events);
            }
        }
        while out.len() < max
            && let Some(run) = self.runs.front_mut()
        {
            events = events.saturating_add(run.fill(max, out));
            if run.next < run.items.len() {
                break;
            }
            self.runs.pop_front();
            self.runs_gone = self.runs_gone.wrapping_add(1);
        }
        if self.runs.is_empty() {
            self.droppable = false;
            self.fading = None;
        }
        if out.is_empty()
            && let Some(frame) = self.goodbye.take()
        {
            out.bytes(&frame);
        }
        if self.is_empty() && self.first.capacity().max(self.runs.capacity()) > 64 {
            *self = Self::default();
        }
        (first, events)
    }

    fn attachments_next(&self) -> bool {
        match self.first.front() {
            Some(Out::Forward { batch, frame, .. } | Out::Invoke { batch, frame, .. }) => {
                !batch.attachments(*frame as usize).is_empty()
            }
            _ => false,
        }
    }
}

impl Run {
    fn fill(&mut self, max: usize, out: &mut WriteBuf) -> usize {
        let mut charged = 0_usize;
        while out.len() < max
            && let Some(item) = self.items.get(self.next)
        {
            self.next = self.next.saturating_add(1);
            if !item.mark.has(EventMark::DROPPED) {
                charged = charged.saturating_add(write_event(&self.batch, item, out));
            }
        }
        charged
    }
}

/// What an event is charged: its publish, which is never smaller than the event.
#[must_use]
pub fn event_charge(batch: &Batch, item: &EventItem) -> usize {
    if item.mark.0 & (EventMark::ABORT | EventMark::GAP) != 0 {
        0
    } else {
        charge(wire_len(batch, item.frame))
    }
}

fn wire_len(batch: &Batch, frame: u32) -> usize {
    batch
        .header(frame as usize)
        .map_or(0, crate::message::Header::wire_len)
}

fn mark_dropped(batch: &Batch, item: &mut EventItem) -> usize {
    if item.mark.has(EventMark::DROPPED) {
        return 0;
    }
    item.mark = item.mark.with_if(true, EventMark::DROPPED);
    event_charge(batch, item)
}

/// The frame that tells a count of missed events.
#[must_use]
pub fn gap_frame(subscription: SubscriptionId, missed: u32) -> Vec<u8> {
    Draft::new(Kind::Gap, subscription.0).aux(missed).to_vec()
}

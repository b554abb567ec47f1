//! Events that wait for one peer, in runs: one for each delivery of TopicHub.
//!
//! Owns what subscriptions asked for when the queue is long (drop the oldest, only the latest), who is told of what was dropped,
//! and that nothing which was dropped keeps memory alive. Charges are given back by whoever takes or drops. Pure; called by
//! [`Outbox`](super::Outbox).

use super::compact::Compact;
use super::write::{WriteBuf, write_events};
use crate::actors::deliver::{Room, charge};
use crate::actors::messages::{EventItem, EventMark};
use crate::message::frame::HEADER_LEN;
use crate::message::{Batch, Draft, Kind, SubscriptionId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// What was missed and cannot be told by a queued event.
pub(super) type Gaps = BTreeMap<SubscriptionId, u32>;

/// Emptied runs that may lie between others before they are swept out.
const DEAD_MAX: usize = 16;

/// So many places are kept without a look.
const PLACES_MIN: usize = 1024;

/// What a subscription allows to be dropped from its queue.
const DROPPABLE: u8 = EventMark::DROP_OLDEST | EventMark::LATEST;

/// Events of one delivery.
#[derive(Debug)]
struct Run {
    /// Ascends from run to run: a lasting name for a place in the queue.
    number: u64,
    batch: Arc<Batch>,
    items: Vec<EventItem>,
    next: usize,
    /// Items from `next` on that nobody has dropped.
    live: usize,
    compact: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Events {
    runs: VecDeque<Run>,
    last_number: u64,
    /// Runs of which everything was dropped.
    dead: usize,
    latest: Option<Box<Latest>>,
    /// Runs with attachments.
    carrying: usize,
    /// Marks of all that was queued since it was last empty.
    marks: u8,
}

/// For subscriptions that want only the latest value: where the last one of each topic is.
#[derive(Debug, Default)]
struct Latest {
    places: HashMap<(SubscriptionId, u64), (u64, usize)>,
    /// At how many places those of events that are gone are looked for.
    sweep_at: usize,
    hasher: RandomState,
}

impl Latest {
    fn topic(&self, batch: &Batch, item: &EventItem) -> (SubscriptionId, u64) {
        let key = batch.view(item.frame as usize).map_or(&[][..], |view| view.key);
        (item.subscription, self.hasher.hash_one(key))
    }
}

/// What a push has made of older events.
#[derive(Debug, Default)]
struct Dropped {
    bytes: usize,
    missed: Gaps,
}

impl Dropped {
    fn add(&mut self, run: &mut Run, place: usize) {
        let Some(item) = run.items.get_mut(place).filter(|item| is_live(item)) else {
            return;
        };
        item.mark = item.mark.with_if(true, EventMark::DROPPED);
        run.live = run.live.saturating_sub(1);
        self.bytes = self.bytes.saturating_add(event_charge(&run.batch, item));
        let missed = self.missed.entry(item.subscription).or_default();
        *missed = missed.saturating_add(item.missed).saturating_add(1);
    }
}

impl Events {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether an event with attachments waits.
    pub(super) const fn carries(&self) -> bool {
        self.carrying > 0
    }

    /// Queues events; `queued` bytes are charged for all events, these included. Above the limits of their policies older ones go.
    /// Returns the bytes of what was dropped, and gaps that no queued event tells.
    pub(super) fn push(
        &mut self,
        batch: Arc<Batch>,
        items: Vec<EventItem>,
        queued: usize,
        room: &Room,
    ) -> (usize, Gaps) {
        let marks = items.iter().fold(0, |marks, item| marks | item.mark.0);
        self.marks |= marks;
        self.last_number = self.last_number.wrapping_add(1);
        self.carrying = self.carrying.saturating_add(usize::from(batch.has_attachments()));
        self.runs.push_back(Run {
            number: self.last_number,
            batch,
            live: items.len(),
            items,
            next: 0,
            compact: false,
        });
        if self.marks & DROPPABLE == 0 {
            return (0, Gaps::new());
        }
        let mut dropped = Dropped::default();
        if marks & EventMark::LATEST != 0 {
            self.drop_replaced(&mut dropped);
            self.forget_places();
        }
        // Even of the latest values of many topics: the newest matter more than those that nobody has read for long. TopicHub refuses
        // at twice this limit, so there is room for what it gathers in a turn.
        let left = queued.saturating_sub(dropped.bytes);
        if left > room.events_soft {
            let wanted = dropped
                .bytes
                .saturating_add(left.saturating_sub(room.events_soft));
            self.drop_oldest(wanted, &mut dropped);
        }
        let gaps = self.tell(dropped.missed);
        self.sweep();
        (dropped.bytes, gaps)
    }

    /// Drops queued values that a newer one of the last run replaces.
    fn drop_replaced(&mut self, dropped: &mut Dropped) {
        let latest = self.latest.get_or_insert_default();
        let Some(run) = self.runs.back() else { return };
        let mut older = Vec::new();
        for (place, item) in run.items.iter().enumerate() {
            if item.mark.has(EventMark::LATEST) {
                let topic = latest.topic(&run.batch, item);
                let replaced = latest.places.insert(topic, (run.number, place));
                older.extend(replaced.map(|place| (topic, place)));
            }
        }
        let mut touched = Vec::new();
        for (topic, (number, place)) in older {
            let Ok(at) = self.runs.binary_search_by_key(&number, |run| run.number) else {
                continue;
            };
            let Some(run) = self.runs.get_mut(at).filter(|run| place >= run.next) else {
                continue;
            };
            // A run that has shrunk may have another item in the place of one that was written, even the end of a message in
            // pieces: that one bears a message's number, and must not go.
            let same = |item: &EventItem| {
                item.mark.has(EventMark::LATEST) && latest.topic(&run.batch, item) == topic
            };
            if run.items.get(place).is_some_and(same) {
                dropped.add(run, place);
                touched.push(at);
            }
        }
        touched.dedup();
        touched.into_iter().for_each(|at| self.shrink(at));
    }

    /// Forgets topics of which nothing is queued any more, when there may be as many of them as of others: a subscriber that never
    /// reads must not make us remember every topic there ever was.
    fn forget_places(&mut self) {
        let Some(latest) = &mut self.latest else { return };
        if latest.places.len() < latest.sweep_at.max(PLACES_MIN) {
            return;
        }
        let runs = &self.runs;
        latest.places.retain(|_, (number, place)| {
            let at = runs.binary_search_by_key(number, |run| run.number);
            let run = at.ok().and_then(|at| runs.get(at));
            run.is_some_and(|run| *place >= run.next && run.items.get(*place).is_some_and(is_live))
        });
        latest.places.shrink_to(latest.places.len().saturating_mul(2));
        latest.sweep_at = latest.places.len().saturating_mul(2);
    }

    /// Drops the oldest droppable events until `wanted` bytes have been dropped in all.
    fn drop_oldest(&mut self, wanted: usize, dropped: &mut Dropped) {
        for at in 0..self.runs.len() {
            let Some(run) = self.runs.get_mut(at) else { return };
            for place in run.next..run.items.len() {
                if dropped.bytes >= wanted {
                    break;
                }
                if run
                    .items
                    .get(place)
                    .is_some_and(|item| item.mark.0 & DROPPABLE != 0)
                {
                    dropped.add(run, place);
                }
            }
            self.shrink(at);
            if dropped.bytes >= wanted {
                return;
            }
        }
    }

    /// Adds what was missed to the next queued event of each subscription. Returns what is left, to be told in gaps.
    fn tell(&mut self, mut missed: Gaps) -> Gaps {
        let mut queued = self
            .runs
            .iter_mut()
            .flat_map(|run| run.items.iter_mut().skip(run.next));
        while !missed.is_empty()
            && let Some(item) = queued.next()
        {
            if is_live(item)
                && item.mark.0 & (EventMark::NUMBERED | EventMark::GAP) == 0
                && let Some(count) = missed.remove(&item.subscription)
            {
                item.missed = item.missed.saturating_add(count);
            }
        }
        missed
    }

    /// Gives up memory for what was dropped of a run: all of it at the end, else when half of it is gone.
    fn shrink(&mut self, at: usize) {
        let Some(run) = self.runs.get_mut(at) else { return };
        let queued = run.items.len().saturating_sub(run.next);
        if queued == 0 || run.live.saturating_mul(2) > queued {
            return;
        }
        run.items.drain(..run.next);
        run.items.retain(is_live);
        run.items.shrink_to_fit();
        run.next = 0;
        run.copy_out();
        if run.live == 0 {
            let gone = std::mem::take(&mut run.batch);
            self.carrying = self.carrying.saturating_sub(usize::from(gone.has_attachments()));
            self.dead = self.dead.saturating_add(1);
        } else if let Some(latest) = &mut self.latest {
            for (place, item) in run.items.iter().enumerate() {
                if item.mark.has(EventMark::LATEST) {
                    let topic = latest.topic(&run.batch, item);
                    latest.places.insert(topic, (run.number, place));
                }
            }
        }
    }

    fn sweep(&mut self) {
        if self.dead > DEAD_MAX && self.dead.saturating_mul(2) > self.runs.len() {
            self.runs.retain(|run| run.live > 0);
            self.dead = 0;
        }
    }

    /// Copies small remainders out of large buffers that would otherwise be kept alive by them.
    pub(super) fn compact(&mut self) {
        for run in self.runs.iter_mut().rev() {
            if std::mem::replace(&mut run.compact, true) {
                break;
            }
            run.copy_out();
        }
    }

    /// Moves events into `out` until it holds about `max` bytes; one with attachments begins a write and ends it. Returns the
    /// charged bytes that left.
    pub(super) fn fill(&mut self, max: usize, out: &mut WriteBuf) -> usize {
        let mut charged = 0_usize;
        while out.len() < max
            && let Some(run) = self.runs.front_mut()
        {
            while out.len() < max
                && let Some(item) = run.first()
            {
                if self.carrying > 0 && !out.is_empty() && (out.is_whole() || run.carries(&item)) {
                    return charged;
                }
                let (bytes, events) = write_events(&run.batch, &item, max, out);
                charged = charged.saturating_add(bytes);
                run.advance(events);
            }
            if run.live > 0 {
                break;
            }
            self.pop();
            if out.is_whole() {
                break;
            }
        }
        charged
    }

    /// Takes the next event.
    pub(super) fn take(&mut self) -> Option<(Arc<Batch>, EventItem)> {
        loop {
            let run = self.runs.front_mut()?;
            if let Some(item) = run.first() {
                run.advance(1);
                let item = EventItem { count: 1, ..item };
                let batch = run.batch.clone();
                if run.live == 0 {
                    self.pop();
                }
                return Some((batch, item));
            }
            self.pop();
        }
    }

    /// The first run is done.
    fn pop(&mut self) {
        if let Some(run) = self.runs.pop_front() {
            self.dead = self.dead.saturating_sub(usize::from(run.items.is_empty()));
            self.carrying = self
                .carrying
                .saturating_sub(usize::from(run.batch.has_attachments()));
        }
        if self.runs.is_empty() {
            let runs = std::mem::take(&mut self.runs);
            let last_number = self.last_number;
            *self = Self {
                runs: if runs.capacity() > 64 {
                    VecDeque::new()
                } else {
                    runs
                },
                last_number,
                ..Self::default()
            };
        }
    }
}

impl Run {
    /// The next item that was not dropped.
    fn first(&mut self) -> Option<EventItem> {
        while let Some(item) = self.items.get(self.next) {
            if is_live(item) {
                return Some(*item);
            }
            self.next = self.next.saturating_add(1);
        }
        None
    }

    fn carries(&self, item: &EventItem) -> bool {
        item.mark.0 & (EventMark::ABORT | EventMark::GAP) == 0
            && !self.batch.attachments(item.frame as usize).is_empty()
    }

    /// So many events of the first item are taken.
    fn advance(&mut self, events: u32) {
        let Some(item) = self.items.get_mut(self.next) else {
            return;
        };
        if events < item.count {
            item.frame = item.frame.saturating_add(events);
            item.count = item.count.saturating_sub(events);
            item.missed = 0;
        } else {
            self.next = self.next.saturating_add(1);
            self.live = self.live.saturating_sub(1);
        }
    }

    /// Copies the frames that are still wanted when they are less than a quarter of their buffer.
    fn copy_out(&mut self) {
        let rest = self.items.get(self.next..).unwrap_or_default();
        let buffer = self.batch.buffer_len();
        // Without looking at a frame: that many have a quarter of it in any case.
        if rest.len().saturating_mul(4 * HEADER_LEN) >= buffer {
            return;
        }
        let runs = rest.iter().map(|item| (item.frame, item.count));
        let Some(copy) = Compact::of(&self.batch, runs) else {
            return;
        };
        for item in self.items.iter_mut().skip(self.next) {
            item.frame = copy.place(item.frame);
        }
        self.batch = Arc::new(copy.batch);
    }
}

const fn is_live(item: &EventItem) -> bool {
    !item.mark.has(EventMark::DROPPED)
}

/// What events are charged: each its publish, which is never smaller than the event.
#[must_use]
pub fn event_charge(batch: &Batch, item: &EventItem) -> usize {
    if item.mark.0 & (EventMark::ABORT | EventMark::GAP) != 0 {
        0
    } else {
        let headers = batch.headers_from(item.frame as usize);
        headers
            .take(item.count as usize)
            .map(|header| charge(header.wire_len()))
            .sum()
    }
}

pub(super) fn wire_len(batch: &Batch, frame: u32) -> usize {
    batch
        .header(frame as usize)
        .map_or(0, crate::message::Header::wire_len)
}

/// The frame that tells a count of missed events.
#[must_use]
pub fn gap_frame(subscription: SubscriptionId, missed: u32) -> Vec<u8> {
    Draft::new(Kind::Gap, subscription.0).aux(missed).to_vec()
}

#[cfg(test)]
mod tests;

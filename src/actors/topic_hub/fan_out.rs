//! One event to its receivers: what each gets in this turn, and who is too slow for it.
//!
//! Owns what is gathered for a turn and each receiver's standing. The decision about a full receiver is `deliver`'s, the time that
//! one may hold its publishers is `hold`'s. Called by TopicHub, step by step and at the end of a turn.

use super::facts::Policy;
use super::frames::Frames;
use super::hold::Standing;
use super::subscribers::Match;
use crate::actors::deliver::{Class, Verdict, decide};
use crate::actors::messages::{Control, Deliver, EventItem, EventMark};
use crate::actors::peer::Peer;
use crate::actors::peers::{Key, Peers};
use crate::actors::planted::{self, Bug};
use crate::message::{Batch, SubscriptionId};
use crate::metrics::Metrics;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What TopicHub keeps of one receiver.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    pending: Vec<EventItem>,
    /// What the pending events are charged.
    bytes: usize,
    /// Events in its queue when the turn began.
    queued: usize,
    /// All that was in its queue then.
    base: usize,
    /// As long as the pending events are charged less than this, there is room for them whatever their policy, and memory.
    room: usize,
    standing: Standing,
    /// Bytes of events that were ever sent to it.
    sent: usize,
    /// All that it ever missed.
    pub(super) missed_ever: u64,
    /// Missed and not told, by subscription.
    missed: BTreeMap<SubscriptionId, u32>,
    slow: Slow,
    /// It is in the list of those who were offered something in this turn.
    touched: bool,
    /// What was missed in this turn was not for want of room.
    withheld: bool,
}

/// How slow a receiver was in this turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Slow {
    #[default]
    No,
    Hold,
    Lag,
    Close,
}

/// What one turn has for receivers.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    touched: Vec<Key>,
    holding: Vec<Key>,
    deliveries: usize,
    /// Events published and not counted in the metrics yet.
    published: u64,
    /// Events that were sent before the end of their turn, not counted in the metrics yet.
    delivered: u64,
}

/// Who was too slow in a turn.
#[derive(Debug, Default)]
pub(super) struct SlowOnes {
    pub(super) holding: Vec<Key>,
    pub(super) lagging: Vec<Key>,
    pub(super) closed: Vec<Key>,
    /// Who had room when it was asked to tell of it: whom it held is to be released, for no Drained comes for an earlier question either.
    pub(super) caught_up: Vec<Key>,
    /// Everybody who got something.
    pub(super) receivers: Vec<Key>,
}

/// Whose hold is over.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) lagging: Vec<Key>,
    /// Whose hold had ended, or who is gone.
    pub(super) caught_up: Vec<Key>,
    pub(super) next: Option<Instant>,
}

impl Receiver {
    pub(super) const fn is_lagging(&self) -> bool {
        self.standing.is_lagging()
    }

    /// Since when others may have stood idle for it.
    pub(super) fn holds_since(&self) -> Option<Instant> {
        self.standing.since()
    }

    /// It has had nothing to do since then, while another one was waited for. Returns for how long.
    pub(super) fn was_idle(&mut self, since: Instant, now: Instant) -> Duration {
        self.standing.was_idle(since, now)
    }

    /// Its queue has room again: what it missed is told now, even if no event follows. `idle`: for how long others had nothing to do
    /// for its sake.
    pub(super) fn caught_up(&mut self, peer: &Peer, now: Instant, idle: Duration) {
        self.standing.caught_up(now, idle);
        self.tell_missed(peer);
    }

    fn tell_missed(&mut self, peer: &Peer) {
        if planted::is(Bug::GapNotTold) {
            self.missed.clear();
        }
        if !self.missed.is_empty() {
            peer.tell(Control::Gaps(
                std::mem::take(&mut self.missed).into_iter().collect(),
            ));
        }
    }

    /// Bytes of events that it has taken, ever.
    fn taken(&self, peer: &Peer) -> usize {
        self.sent.wrapping_sub(peer.account.events())
    }

    fn miss(&mut self, subscription: SubscriptionId, count: u32) {
        self.missed_ever = self.missed_ever.saturating_add(u64::from(count));
        if planted::is(Bug::GapNotCounted) {
            return;
        }
        let missed = self.missed.entry(subscription).or_default();
        *missed = missed.saturating_add(count);
    }

    /// What is known at the beginning of a turn, so that most events of it need no look at what other threads change.
    fn begin(&mut self, peer: &Peer) {
        self.queued = peer.account.events();
        self.base = peer.account.queued();
        self.measure(peer);
    }

    fn measure(&mut self, peer: &Peer) {
        let soft = peer.account.room().events_soft.saturating_sub(self.queued);
        let covered = peer.account.memory.queue().covered().saturating_sub(self.base);
        self.room = soft.min(covered.saturating_sub(peer.account.backlog()));
    }

    fn offer(&mut self, peer: &Peer, item: EventItem, charge: usize, policy: Policy) -> bool {
        let after = self.bytes.saturating_add(charge);
        let ordinary = self.missed.is_empty() && !self.is_lagging() && !item.mark.has(EventMark::NUMBERED);
        if after < self.room && ordinary && !planted::is(Bug::OrderSwapped) {
            self.pending.push(item);
            self.bytes = after;
            return true;
        }
        self.judge(peer, item, charge, policy)
    }

    /// Takes a run as one, where each of its events would be taken without a question. What happens to its last one would happen to
    /// those before it as well: there is room for all.
    fn offer_run(&mut self, item: EventItem, charge: usize) -> bool {
        let after = self.bytes.saturating_add(charge);
        let plain = item.mark.0 & !EventMark::WITH_KEY == 0 && !planted::is(Bug::OrderSwapped);
        if after >= self.room || !self.missed.is_empty() || self.is_lagging() || !plain {
            return false;
        }
        self.pending.push(item);
        self.bytes = after;
        true
    }

    /// Sends what was gathered. Returns how many events that is.
    fn send(&mut self, peer: &Peer, batch: &Arc<Batch>) -> u64 {
        if self.pending.is_empty() {
            return 0;
        }
        let room = self.pending.len();
        let items = std::mem::replace(&mut self.pending, Vec::with_capacity(room.min(1024)));
        let events = items.iter().map(|item| u64::from(item.count)).sum();
        let bytes = std::mem::take(&mut self.bytes);
        self.queued = self.queued.saturating_add(bytes);
        self.base = self.base.saturating_add(bytes);
        self.room = self.room.saturating_sub(bytes);
        self.sent = self.sent.wrapping_add(bytes);
        peer.account.charge_events(bytes);
        // Its own thread may have given memory back since the turn began. What follows when there is none is its business.
        peer.account.covers(self.base);
        peer.post(Deliver::Events(batch.clone(), items));
        events
    }

    fn judge(&mut self, peer: &Peer, item: EventItem, charge: usize, policy: Policy) -> bool {
        let events = self.queued.saturating_add(self.bytes);
        let verdict = decide(Class::Event, &peer.account.room(), 0, events);
        let memory = self.base.saturating_add(self.bytes).saturating_add(charge);
        if verdict != Verdict::Missed && !peer.account.covers(memory) {
            // Its process has used up its share of the memory: as if the queue were full.
            self.slow = self.slow.max(match policy {
                Policy::Disconnect => Slow::Close,
                Policy::Hold | Policy::DropOldest | Policy::Latest => Slow::Lag,
            });
            self.miss(item.subscription, 1);
            return false;
        }
        // There may be more memory than before.
        self.measure(peer);
        let (deliver, slow) = match (policy, verdict) {
            (Policy::Hold, _) if self.is_lagging() => (false, Slow::No),
            // One event may be larger than what is left: it fits, and its publisher waits all the same.
            (Policy::Hold, Verdict::Delivered)
                if events.saturating_add(charge) >= peer.account.room().events_soft =>
            {
                (true, Slow::Hold)
            }
            (_, Verdict::Delivered) => (true, Slow::No),
            (Policy::Hold, Verdict::Held) => (true, Slow::Hold),
            (Policy::Hold, _) => (false, Slow::Lag),
            (_, Verdict::Held) => (true, Slow::No),
            (Policy::Disconnect, _) => (false, Slow::Close),
            // Its outbox drops what is older; this is only what has not reached it yet.
            (Policy::DropOldest | Policy::Latest, _) if events < peer.account.room().events => {
                (true, Slow::No)
            }
            (Policy::DropOldest | Policy::Latest, _) => (false, Slow::Lag),
        };
        self.slow = self.slow.max(slow);
        if deliver {
            let missed = if self.missed.is_empty() {
                0
            } else {
                self.missed.remove(&item.subscription).unwrap_or(0)
            };
            if item.mark.has(EventMark::NUMBERED) {
                // Its number takes the place of the count, which goes ahead in a gap.
                if missed > 0 {
                    self.pending.push(EventItem::gap(item.subscription, missed));
                }
                self.pending.push(item);
            } else {
                let at = match planted::is(Bug::OrderSwapped) {
                    true => 0,
                    false => self.pending.len(),
                };
                self.pending.insert(at, EventItem { missed, ..item });
            }
            self.bytes = self.bytes.saturating_add(charge);
        } else {
            self.miss(item.subscription, 1);
        }
        deliver
    }
}

impl FanOut {
    /// How many deliveries were gathered so far, ever.
    pub(super) const fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Events were published; counted with the others of their turn, because the counter is shared by all threads.
    pub(super) fn published(&mut self, events: u32) {
        self.published = self.published.saturating_add(u64::from(events));
    }

    pub(super) fn count_published(&mut self, metrics: &Metrics) {
        metrics.events_published.add(std::mem::take(&mut self.published));
    }

    /// Gathers events for one match. Returns how many will be delivered.
    pub(super) fn offer(
        &mut self,
        receivers: &mut Peers<Receiver>,
        to: &Match<Key>,
        frames: &Frames<'_>,
        retained: bool,
    ) -> u32 {
        let mark = to.mark().with_if(retained, EventMark::RETAINED);
        let item = EventItem {
            frame: frames.first,
            count: frames.count,
            missed: 0,
            subscription: to.subscription,
            mark,
        };
        let Some((peer, receiver)) = self.receiver(receivers, to.peer) else {
            return 0;
        };
        if receiver.offer_run(item, frames.charge) {
            return frames.count;
        }
        self.deliveries = self
            .deliveries
            .wrapping_add(frames.count.saturating_sub(1) as usize);
        let mut delivered = 0_u32;
        for (frame, charge) in frames.each() {
            let count = 1;
            let item = EventItem { frame, count, ..item };
            let taken = receiver.offer(peer, item, charge, to.policy);
            delivered = delivered.saturating_add(u32::from(taken));
        }
        delivered
    }

    /// The receiver, which is about to be offered something.
    fn receiver<'r>(
        &mut self,
        receivers: &'r mut Peers<Receiver>,
        to: Key,
    ) -> Option<(&'r Peer, &'r mut Receiver)> {
        let (peer, receiver) = receivers.entry(to)?;
        if receiver.pending.is_empty() && receiver.slow == Slow::No {
            receiver.begin(peer);
            // One that lags gets nothing, and so comes here with each event of the turn.
            if !std::mem::replace(&mut receiver.touched, true) {
                self.touched.push(to);
            }
        }
        self.deliveries = self.deliveries.wrapping_add(1);
        Some((peer, receiver))
    }

    /// Gathers one item for one receiver.
    pub(super) fn offer_item(
        &mut self,
        receivers: &mut Peers<Receiver>,
        to: Key,
        item: EventItem,
        charge: usize,
        policy: Policy,
    ) -> bool {
        self.receiver(receivers, to)
            .is_some_and(|(peer, receiver)| receiver.offer(peer, item, charge, policy))
    }

    /// Sends one item of a batch that only this receiver gets, behind what was gathered of the batch `before`. Returns whether it
    /// was taken.
    pub(super) fn offer_own(
        &mut self,
        receivers: &mut Peers<Receiver>,
        to: Key,
        (item, charge, policy): (EventItem, usize, Policy),
        before: &Arc<Batch>,
        own: &Arc<Batch>,
    ) -> bool {
        let Some((peer, receiver)) = self.receiver(receivers, to) else {
            return false;
        };
        let earlier = receiver.send(peer, before);
        let taken = receiver.offer(peer, item, charge, policy);
        let sent = earlier.saturating_add(receiver.send(peer, own));
        self.delivered = self.delivered.saturating_add(sent);
        taken
    }

    /// So many events that this receiver cannot get, whatever room it has. They are told at the end of the turn when little waits for it,
    /// else when that is so again, or with the next event. Nobody is held for them.
    pub(super) fn withhold(
        &mut self,
        receivers: &mut Peers<Receiver>,
        (to, subscription): (Key, SubscriptionId),
        count: u32,
    ) {
        if let Some((_, receiver)) = self.receiver(receivers, to) {
            receiver.miss(subscription, count);
            receiver.withheld = true;
        }
    }

    /// So many events that were not even made, because there is no room behind what was offered. Somebody has looked at each, so they cost
    /// the turn as if they had been.
    pub(super) fn beyond(&mut self, receivers: &mut Peers<Receiver>, to: &Match<Key>, count: u32) {
        self.withhold(receivers, (to.peer, to.subscription), count);
        self.deliveries = self.deliveries.wrapping_add(count as usize);
        let found = receivers.entry(to.peer);
        if let (Some((_, receiver)), Policy::Disconnect) = (found, to.policy) {
            receiver.slow = Slow::Close;
        }
    }

    /// Sends each receiver what was gathered for it.
    pub(super) fn flush(&mut self, batch: &Arc<Batch>, receivers: &mut Peers<Receiver>, metrics: &Metrics) {
        let mut delivered = std::mem::take(&mut self.delivered);
        for key in &self.touched {
            let Some((peer, receiver)) = receivers.entry(*key) else {
                continue;
            };
            delivered = delivered.saturating_add(receiver.send(peer, batch));
        }
        self.count_published(metrics);
        metrics.events_delivered.add(delivered);
    }

    /// Who was too slow since the last call. A receiver that may hold asks to be told when it has room.
    pub(super) fn take_slow(
        &mut self,
        receivers: &mut Peers<Receiver>,
        now: Instant,
        patience: Duration,
        metrics: &Metrics,
    ) -> SlowOnes {
        let mut slow = SlowOnes::default();
        for key in self.touched.drain(..) {
            let Some((peer, receiver)) = receivers.entry(key) else {
                continue;
            };
            receiver.touched = false;
            let taken = receiver.taken(peer);
            let mut caught_up = false;
            match std::mem::take(&mut receiver.slow) {
                Slow::No => {}
                Slow::Close => slow.closed.push(key),
                // Nobody waits for it any more; until its queue is full it misses nothing all the same.
                Slow::Hold if !receiver.standing.hold(now, patience, taken) => {}
                Slow::Hold if peer.account.ask_drained() => {
                    slow.holding.push(key);
                    if !self.holding.contains(&key) {
                        self.holding.push(key);
                    }
                }
                Slow::Lag if peer.account.ask_drained() => {
                    receiver.standing.lag(now, Duration::ZERO);
                    metrics.lagging.add(1);
                    self.holding.retain(|other| *other != key);
                    slow.lagging.push(key);
                }
                // It has caught up meanwhile.
                Slow::Hold | Slow::Lag => caught_up = true,
            }
            caught_up |= std::mem::take(&mut receiver.withheld) && !peer.account.ask_drained();
            if caught_up {
                receiver.caught_up(peer, now, Duration::ZERO);
                self.holding.retain(|other| *other != key);
                slow.holding.retain(|other| *other != key);
                slow.caught_up.push(key);
            }
            slow.receivers.push(key);
        }
        slow
    }

    /// Who holds publishers.
    pub(super) fn holding(&self) -> &[Key] {
        &self.holding
    }

    /// Ends the holds that lasted too long: their receivers lag from now on. `idle`: for how long others had nothing to do for the
    /// sake of each that holds, in their order.
    pub(super) fn end_holds(
        &mut self,
        receivers: &mut Peers<Receiver>,
        now: Instant,
        patience: Duration,
        idle: &[Duration],
        metrics: &Metrics,
    ) -> Over {
        let mut over = Over::default();
        let mut idle = idle.iter().copied();
        self.holding.retain(|key| {
            let idle = idle.next().unwrap_or_default();
            let found = receivers.entry(*key);
            let found = found.and_then(|(peer, own)| Some((own.standing.limit(patience)?, peer, own)));
            let Some((limit, peer, receiver)) = found else {
                over.caught_up.push(*key);
                return false;
            };
            let progress = (receiver.taken(peer), peer.account.room().little());
            let standing = &mut receiver.standing;
            if limit <= now && !standing.goes_on(now, idle, patience, progress) {
                standing.lag(now, Duration::ZERO);
                metrics.lagging.add(1);
                over.lagging.push(*key);
                return false;
            }
            let limit = standing.limit(patience);
            over.next = [over.next, limit].into_iter().flatten().min();
            true
        });
        over
    }

    /// Forgets a receiver that is gone.
    pub(super) fn forget(&mut self, key: Key) {
        self.touched.retain(|other| *other != key);
        self.holding.retain(|other| *other != key);
    }

    /// Voids a message in pieces that does not come to its end. Needs no room: what came before it is worthless. `told`: the
    /// missed event is told right behind it, because it was not counted and perhaps no event follows.
    pub(super) fn void(&mut self, receivers: &mut Peers<Receiver>, to: Key, item: EventItem, told: bool) {
        let Some((_, receiver)) = self.receiver(receivers, to) else {
            return;
        };
        let mark = EventMark(EventMark::ABORT | EventMark::NUMBERED);
        receiver.pending.push(EventItem { mark, ..item });
        let gap = told.then(|| EventItem::gap(item.subscription, 1));
        receiver.pending.extend(gap);
    }
}

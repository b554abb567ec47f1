//! TopicHub without its mailbox: steps the index one frame at a time inside the guard, commits the facts, gathers what each receiver
//! gets in a turn, and returns credit to publishers.
//!
//! Owns everything that a restart must not lose, and the batch under way. Entries that run frames answer with a [`Progress`]; whoever
//! drives it (the actor, or the simulator) does what that asks for and looks at [`State::due`] afterwards. Knows no actor
//! and no socket; the time is `Shared`'s.

use super::facts::{Effect, Facts};
use super::fan_out::{FanOut, Receiver};
use super::hold::Holds;
use super::index::Index;
use super::uploads::Uploads;
use crate::actors::access::Access;
use crate::actors::core::Shared;
use crate::actors::messages::{Control, Drained, Gone, HubBatch, HubItem};
use crate::actors::peer::PeerRef;
use crate::actors::peers::{Key, NOBODY, Peers};
use crate::actors::planted::{self, Bug};
use crate::actors::quota::Permit;
use crate::actors::supervise::{Blame, Progress, Turn, guard};
use crate::error::CloseReason;
use crate::message::{Batch, Kind, PeerId, Ticket};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Who hears which topic, and what is under way.
#[derive(Debug)]
pub struct State {
    pub(super) shared: Arc<Shared>,
    pub(super) index: Index<Key>,
    pub(super) facts: Facts<Key>,
    pub(super) receivers: Peers<Receiver>,
    pub(super) access: Access,
    pub(super) effects: Vec<Effect<Key>>,
    pub(super) fan_out: FanOut,
    pub(super) uploads: Uploads,
    holds: Holds<Key>,
    /// Publishers with held credit, to grant it later.
    held_publishers: HashMap<PeerId, PeerRef>,
    /// When the holds are to be looked at again.
    due: Option<Instant>,
    /// The batch under way, with what is left of it; survives a restart.
    pub(super) current: Option<Current>,
    blame: Blame,
    /// What this turn has handled, over all its batches.
    pub(super) turn: Turn,
    pub(super) broken: bool,
    /// The step under way knows who hears its events.
    pub(super) routed: bool,
}

#[derive(Debug)]
pub(super) struct Current {
    pub(super) from: PeerRef,
    pub(super) key: Key,
    pub(super) batch: Arc<Batch>,
    pub(super) items: std::vec::IntoIter<HubItem>,
    /// What comes before them: the rest of a run whose first event made the index panic.
    pub(super) rest: Option<HubItem>,
    /// Bytes of publishes handled so far: credit that is to be returned.
    pub(super) published: usize,
    /// What is published is the last will of a peer that is gone.
    pub(super) will: bool,
    pub(super) _permit: Option<Arc<Permit>>,
}

impl State {
    /// A hub without subscriptions.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let blame = Blame::new(&shared.limits);
        Self {
            access: Access::new(shared.policy.clone()),
            shared,
            index: Index::new(),
            facts: Facts::new(),
            receivers: Peers::default(),
            effects: Vec::new(),
            fan_out: FanOut::default(),
            uploads: Uploads::new(),
            holds: Holds::default(),
            held_publishers: HashMap::new(),
            due: None,
            current: None,
            blame,
            turn: Turn::default(),
            broken: false,
            routed: false,
        }
    }

    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.shared.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a batch: handles what fits into this turn.
    pub fn handle(&mut self, message: HubBatch) -> Progress {
        let HubBatch {
            from,
            batch,
            items,
            permit,
        } = message;
        let key = self.receivers.key(from.id()).unwrap_or(NOBODY);
        self.current = Some(Current {
            from,
            key,
            batch,
            items: items.into_iter(),
            rest: None,
            published: 0,
            will: false,
            _permit: permit,
        });
        self.run()
    }

    /// Goes on with a new turn after [`Progress::Yield`] or a restart; the index is made anew first if it was lost.
    pub fn resume(&mut self) -> Progress {
        self.turn = Turn::default();
        if std::mem::take(&mut self.broken) {
            self.rebuild();
        }
        self.run()
    }

    /// Whether [`Self::resume`] is to be called before the next message.
    #[must_use]
    pub const fn is_interrupted(&self) -> bool {
        self.broken || self.current.is_some()
    }

    /// Handles what is left of the current batch.
    pub(super) fn run(&mut self) -> Progress {
        let Some(mut current) = self.current.take() else {
            return Progress::Done;
        };
        while let Some(item) = current.rest.take().or_else(|| current.items.next()) {
            if current.from.account.is_closed() && !current.will {
                // Nobody reads the answers any more; what is owed to others is given by dropping it.
                break;
            }
            let (frame, count) = (item.frame as usize, item.count);
            let kind = current.batch.header(frame).map(|header| header.kind);
            let bytes = wire_len(&current.batch, frame, count);
            if kind.is_some_and(|kind| matches!(kind, Kind::Publish | Kind::PublishPiece)) {
                current.published = current.published.saturating_add(bytes);
            }
            let before = self.fan_out.deliveries();
            self.routed = false;
            let stepped = guard(|| self.step(&current, item));
            if current.key == NOBODY && kind.is_some_and(|kind| matches!(kind, Kind::Subscribe | Kind::Will))
            {
                // The hub may have met the peer in this very step; the rest of its batch must be known for its own,
                // even if the step panics after that.
                current.key = self.receivers.key(current.from.id()).unwrap_or(NOBODY);
            }
            if let Err(panic) = stepped {
                if !self.routed && count > 1 {
                    // The next one has its own try, as if they had come one by one. Their bytes are counted already.
                    let first = wire_len(&current.batch, frame, 1);
                    current.published = current.published.saturating_sub(bytes.saturating_sub(first));
                    current.rest = Some(HubItem {
                        frame: u32::try_from(frame.saturating_add(1)).unwrap_or(u32::MAX),
                        count: count.saturating_sub(1),
                        reply: None,
                    });
                }
                self.flush(&mut current);
                let author = current.from.clone();
                self.current = Some(current);
                return self.panicked(&author, &panic);
            }
            let deliveries = self.fan_out.deliveries().saturating_sub(before);
            if self.turn.spend(bytes, deliveries.max(1)) {
                self.flush(&mut current);
                self.current = Some(current);
                return Progress::Yield;
            }
        }
        self.flush(&mut current);
        Progress::Done
    }

    fn step(&mut self, current: &Current, item: HubItem) {
        let Some(view) = current.batch.view(item.frame as usize) else {
            return;
        };
        match view.header.kind {
            Kind::Publish => self.publish(current, &view, item),
            Kind::PublishPiece => self.piece(current, &view, item.frame),
            _ => self.request(current, &view, item.reply),
        }
    }

    /// Makes the facts of a completed step final.
    pub(super) fn commit(&mut self) {
        if self.shared.tap.is_on() {
            self.note_presence();
        }
        self.facts.commit(&mut self.effects);
    }

    /// Sends what the turn has gathered and returns the publisher's credit.
    fn flush(&mut self, current: &mut Current) {
        let now = self.shared.now();
        let patience = self.patience();
        let memory = current.from.account.memory.topics();
        if memory.is_reserved() {
            memory.settle(self.facts.counts(current.key).bytes);
        }
        self.fan_out
            .flush(&current.batch, &mut self.receivers, &self.shared.metrics);
        let bytes = std::mem::take(&mut current.published);
        let slow = self
            .fan_out
            .take_slow(&mut self.receivers, now, patience, &self.shared.metrics);
        for blocker in slow.closed {
            if let Some(peer) = self.receivers.get(blocker) {
                peer.tell(Control::Close(
                    CloseReason::SlowConsumer,
                    CloseReason::SlowConsumer.text().into(),
                ));
            }
        }
        for lagging in slow.lagging {
            self.note_lagging(lagging);
            self.release(lagging);
        }
        for free in slow.caught_up {
            self.release(free);
        }
        if slow.holding.is_empty() || bytes == 0 {
            if bytes > 0 {
                self.give_back(current, bytes);
            }
            return;
        }
        self.shared.metrics.holds.add(1);
        self.holds.add(
            current.from.id(),
            bytes,
            &slow.holding,
            slow.receivers.into_iter(),
        );
        self.held_publishers
            .insert(current.from.id(), current.from.clone());
        self.arm(now, patience);
    }

    fn give_back(&self, current: &Current, bytes: usize) {
        if !planted::is(Bug::CreditNever) {
            current.from.grant(bytes);
        }
        if planted::is(Bug::CreditTwice) {
            current.from.grant(bytes);
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.shared.limits.hold_ms))
    }

    /// Grants what only this subscriber held up.
    fn release(&mut self, blocker: Key) {
        let free = self.holds.release(blocker);
        self.give(free);
    }

    fn give(&mut self, grants: Vec<(PeerId, usize)>) {
        if planted::is(Bug::HoldNeverReleased) {
            return;
        }
        for (publisher, bytes) in grants {
            if let Some(peer) = self.held_publishers.remove(&publisher) {
                peer.grant(bytes);
            }
        }
    }

    /// The holds are looked at again when the first is over: one time at a time.
    fn arm(&mut self, now: Instant, patience: Duration) {
        if self.due.is_none() {
            self.due = now.checked_add(patience);
        }
    }

    /// When [`Self::holds_over`] is to be called.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Ends the holds that have lasted long enough.
    pub fn holds_over(&mut self) {
        self.due = None;
        let (now, patience) = (self.shared.now(), self.patience());
        let holding: Vec<Key> = self.fan_out.holding().to_vec();
        let idle: Vec<Duration> = holding
            .into_iter()
            .map(
                |key| match self.receivers.own(key).and_then(Receiver::holds_since) {
                    Some(since) if since.checked_add(patience).is_some_and(|limit| limit <= now) => {
                        self.others_idle(key, now)
                    }
                    _ => Duration::ZERO,
                },
            )
            .collect();
        let metrics = &self.shared.metrics;
        let over = self
            .fan_out
            .end_holds(&mut self.receivers, now, patience, &idle, metrics);
        for blocker in over.lagging {
            self.note_lagging(blocker);
            self.release(blocker);
        }
        for free in over.caught_up {
            self.release(free);
        }
        if let Some(next) = over.next {
            self.arm(now, next.saturating_duration_since(now));
        }
    }

    /// For how long this receiver alone was waited for: since the last of those who hear the same had nothing more to do. Those who have
    /// something to do now do not count. What they stood idle is set off against what they have cost others.
    fn others_idle(&mut self, blocker: Key, now: Instant) -> Duration {
        let Some(since) = self.receivers.own(blocker).and_then(Receiver::holds_since) else {
            return Duration::ZERO;
        };
        let mut alone: Option<Duration> = None;
        for other in self.holds.witnesses(blocker) {
            let Some((peer, receiver)) = self.receivers.entry(other) else {
                continue;
            };
            if peer.account.has_little() && !receiver.is_lagging() {
                let emptied = self.shared.instant(peer.account.idle.since());
                let idle = receiver.was_idle(since.max(emptied), now);
                alone = Some(alone.map_or(idle, |least| least.min(idle)));
            }
        }
        alone.unwrap_or_default()
    }

    /// A subscriber that was full has room again.
    pub fn drained(&mut self, Drained(peer): Drained) {
        let Some(key) = self.receivers.key(peer) else {
            return;
        };
        let now = self.shared.now();
        let idle = self.others_idle(key, now);
        if let Some((peer, receiver)) = self.receivers.entry(key) {
            receiver.caught_up(peer, now, idle);
        }
        self.release(key);
    }

    /// A peer is gone.
    pub fn gone(&mut self, Gone { peer, in_order }: Gone) -> Progress {
        self.holds.forget(peer);
        self.held_publishers.remove(&peer);
        self.abort_uploads(peer);
        let Some(key) = self.receivers.key(peer) else {
            return Progress::Done;
        };
        let author = self.receivers.get(key).cloned();
        let free = self.holds.remove(key);
        self.give(free);
        let will = guard(|| {
            let will = self.index.gone(key, &mut self.effects);
            self.commit();
            will
        });
        self.fan_out.forget(key);
        self.access.forget(key);
        self.receivers.remove(peer);
        match (will, author) {
            (Ok(Some(will)), Some(author)) if !in_order || planted::is(Bug::WillAfterGoodbye) => {
                self.publish_will(author, &will)
            }
            (Ok(_), _) | (Err(_), None) => Progress::Done,
            (Err(panic), Some(author)) => {
                self.withdraw(key);
                self.panicked(&author, &panic)
            }
        }
    }

    /// How much there is of everything that peers cause. All of it is zero when nobody is connected, but for the facts, which are
    /// then the retained values.
    #[must_use]
    pub fn census(&self) -> [(&'static str, usize); 6] {
        let retained = self.facts.iter().filter(|(_, fact)| fact.peer().is_none());
        [
            ("receivers", self.receivers.iter().count()),
            ("facts", self.facts.len().saturating_sub(retained.count())),
            ("subscriptions", self.index.subscription_count()),
            ("uploads", self.uploads.len()),
            ("held publishers", self.held_publishers.len()),
            ("holding receivers", self.fan_out.holding().len()),
        ]
    }

    fn panicked(&mut self, author: &PeerRef, panic: &str) -> Progress {
        self.effects.clear();
        self.broken = true;
        match self.shared.blame(&mut self.blame, "TopicHub", author, panic) {
            true => {
                Progress::End("TopicHub panicked for more peers than its budget allows (limits.panic_budget)")
            }
            false => Progress::Restart,
        }
    }

    /// A new index from the facts, in ticket order. A fact that panics is dropped and its owner closed; the half-built index
    /// is thrown away as well, and the next one begins without that fact.
    fn rebuild(&mut self) {
        while let Err(ticket) = self.try_rebuild() {
            let owner = self.facts.get(ticket).and_then(|fact| fact.peer());
            self.facts.remove(ticket);
            if let Some(peer) = owner.and_then(|owner| self.receivers.get(owner)) {
                let text = "what it subscribed to made the broker fail";
                peer.tell(Control::Close(CloseReason::Internal, text.into()));
            }
        }
    }

    fn try_rebuild(&mut self) -> Result<(), Ticket> {
        self.index = Index::new();
        for (ticket, fact) in self.facts.iter() {
            let index = &mut self.index;
            guard(|| index.insert_fact(ticket, fact)).map_err(|_| ticket)?;
        }
        Ok(())
    }

    fn withdraw(&mut self, key: Key) {
        let own: Vec<Ticket> = self
            .facts
            .iter()
            .filter(|(_, fact)| fact.peer() == Some(key))
            .map(|(ticket, _)| ticket)
            .collect();
        for ticket in own {
            self.facts.remove(ticket);
        }
    }
}

/// What frames of a batch take on the wire.
fn wire_len(batch: &Batch, first: usize, count: u32) -> usize {
    let headers = batch.headers_from(first).take(count as usize);
    headers.map(crate::message::Header::wire_len).sum()
}

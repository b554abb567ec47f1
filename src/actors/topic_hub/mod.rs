//! The TopicHub actor: which peers hear which topic.
//!
//! It takes batches from Connections, steps the index one frame at a time inside the guard, commits the facts, and sends each
//! subscriber at most one delivery per batch. It returns credit to the publisher when the batch is done, or later when a slow
//! subscriber holds it.
//!
//! ```text
//!  HubBatch ─► step (guarded) ─► index::matching ─► per receiver: frame number, subscription, gap ─► Deliver::Events
//!                                        └─ credit back to the publisher, held while a receiver is above its soft limit
//! ```

mod control;
pub mod facts;
mod fan_out;
mod hold;
pub mod index;
mod retained;
mod selector;
mod subscribers;
#[cfg(test)]
mod tests;
mod trie;

use super::broker::{CoreEnded, EndReport};
use super::core::Shared;
use super::messages::{Control, Drained, Gone, HubBatch, HubItem};
use super::peer::PeerRef;
use super::peers::{Key, NOBODY, Peers};
use super::supervise::{Blame, Turn, guard};
use crate::error::CloseReason;
use crate::message::{Batch, Header, Kind, PeerId, Ticket};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, Supervised, WrapFuture,
};
use facts::{Effect, Facts};
use fan_out::{FanOut, Receiver};
use hold::Holds;
use index::Index;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Who hears which topic.
#[derive(Debug)]
pub struct TopicHub {
    shared: Arc<Shared>,
    index: Index<Key>,
    facts: Facts<Key>,
    receivers: Peers<Receiver>,
    effects: Vec<Effect<Key>>,
    fan_out: FanOut,
    uploads: control::Uploads,
    holds: Holds<Key>,
    /// Publishers with held credit, to grant it later.
    held_publishers: std::collections::HashMap<PeerId, PeerRef>,
    /// When the hold timer is armed.
    timer: Option<Instant>,
    /// The batch under way, with what is left of it; survives a restart.
    current: Option<Current>,
    blame: Blame,
    /// What this turn has handled, over all its batches.
    turn: Turn,
    broken: bool,
    ended: EndReport,
}

#[derive(Debug)]
struct Current {
    from: PeerRef,
    key: Key,
    batch: Arc<Batch>,
    items: std::vec::IntoIter<HubItem>,
    /// Bytes of publishes handled so far: credit that is to be returned.
    published: usize,
    /// What is published is the last will of a peer that is gone.
    will: bool,
    _permit: Option<Arc<super::quota::Permit>>,
}

impl TopicHub {
    /// A hub without subscriptions; `ended` is told when it cannot go on.
    #[must_use]
    pub fn new(shared: Arc<Shared>, ended: Recipient<CoreEnded>) -> Self {
        let blame = Blame::new(&shared.limits);
        Self {
            shared,
            index: Index::new(),
            facts: Facts::new(),
            receivers: Peers::default(),
            effects: Vec::new(),
            fan_out: FanOut::default(),
            uploads: control::Uploads::new(),
            holds: Holds::default(),
            held_publishers: std::collections::HashMap::new(),
            timer: None,
            current: None,
            blame,
            turn: Turn::default(),
            broken: false,
            ended: EndReport::new(ended, "TopicHub ended unexpectedly"),
        }
    }

    fn ticket(&self) -> Ticket {
        Ticket(self.shared.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Handles what is left of the current batch.
    fn run(&mut self, ctx: &mut Context<Self>) {
        let Some(mut current) = self.current.take() else {
            return;
        };
        while let Some(item) = current.items.next() {
            if current.from.account.is_closed() && !current.will {
                // Nobody reads the answers any more; what is owed to others is given by dropping it.
                break;
            }
            let header = current.batch.header(item.frame as usize);
            let (bytes, kind) = (
                header.map_or(0, Header::wire_len),
                header.map(|header| header.kind),
            );
            if kind.is_some_and(|kind| matches!(kind, Kind::Publish | Kind::PublishPiece)) {
                current.published = current.published.saturating_add(bytes);
            }
            let before = self.fan_out.deliveries();
            let stepped = guard(|| self.step(&current, item));
            if let Err(panic) = stepped {
                self.flush(&mut current, ctx);
                let author = current.from.clone();
                self.current = Some(current);
                return self.panicked(&author, &panic, ctx);
            }
            if current.key == NOBODY && kind.is_some_and(|kind| matches!(kind, Kind::Subscribe | Kind::Will))
            {
                // The hub may have met the peer in this very step; the rest of its batch must be known for its own.
                current.key = self.receivers.key(current.from.id()).unwrap_or(NOBODY);
            }
            let deliveries = self.fan_out.deliveries().saturating_sub(before);
            if self.turn.spend(bytes, deliveries.max(1)) {
                self.flush(&mut current, ctx);
                self.current = Some(current);
                return self.resume_later(ctx);
            }
        }
        self.flush(&mut current, ctx);
    }

    /// Goes on after others had their turn, before the next message.
    fn resume_later(&self, ctx: &mut Context<Self>) {
        ctx.wait(
            super::yield_once()
                .into_actor(self)
                .map(|(), act, ctx| act.resume(ctx)),
        );
    }

    fn resume(&mut self, ctx: &mut Context<Self>) {
        self.turn = Turn::default();
        if std::mem::take(&mut self.broken) {
            self.rebuild();
        }
        self.run(ctx);
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
    fn commit(&mut self) {
        self.facts.commit(&mut self.effects);
    }

    /// Sends what the turn has gathered and returns the publisher's credit.
    fn flush(&mut self, current: &mut Current, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let patience = self.patience();
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
            self.release(lagging);
        }
        if slow.holding.is_empty() || bytes == 0 {
            if bytes > 0 {
                current.from.grant(bytes);
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
        self.arm(now, patience, ctx);
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.shared.limits.hold_ms))
    }

    /// Grants what only this subscriber held up.
    fn release(&mut self, blocker: Key) {
        for (publisher, bytes) in self.holds.release(blocker) {
            if let Some(peer) = self.held_publishers.remove(&publisher) {
                peer.grant(bytes);
            }
        }
    }

    /// Looks again when the first hold is over. One timer at a time.
    fn arm(&mut self, now: Instant, patience: Duration, ctx: &mut Context<Self>) {
        if self.timer.is_none() {
            self.timer = now.checked_add(patience);
            ctx.run_later(patience, |act, ctx| {
                act.timer = None;
                act.holds_over(ctx);
            });
        }
    }

    fn holds_over(&mut self, ctx: &mut Context<Self>) {
        let (now, patience) = (Instant::now(), self.patience());
        let holding = self.fan_out.holding().iter().copied();
        let idle: Vec<Key> = holding.filter(|key| self.others_idle(*key)).collect();
        let metrics = &self.shared.metrics;
        let over = self
            .fan_out
            .end_holds(&mut self.receivers, now, patience, &idle, metrics);
        for blocker in over.lagging {
            self.release(blocker);
        }
        if let Some(next) = over.next {
            self.arm(now, next.saturating_duration_since(now), ctx);
        }
    }

    /// Whether somebody who hears the same has nothing to do while this receiver is waited for.
    fn others_idle(&self, blocker: Key) -> bool {
        let mut witnesses = self.holds.witnesses(blocker);
        witnesses.any(|other| {
            let receiver = self.receivers.get(other);
            receiver.is_some_and(|receiver| receiver.account.events() == 0)
        })
    }

    fn drained(&mut self, peer: PeerId) {
        let Some(key) = self.receivers.key(peer) else {
            return;
        };
        let others_idle = self.others_idle(key);
        if let Some((peer, receiver)) = self.receivers.entry(key) {
            receiver.caught_up(peer, Instant::now(), others_idle);
        }
        self.release(key);
    }

    fn panicked(&mut self, author: &PeerRef, panic: &str, ctx: &mut Context<Self>) {
        self.effects.clear();
        self.broken = true;
        if self.shared.blame(&mut self.blame, "TopicHub", author, panic) {
            self.ended
                .tell("TopicHub panicked for more peers than its budget allows");
        }
        ctx.stop();
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

impl Actor for TopicHub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The restart has cleared this context's timers.
        self.timer = None;
        if self.holds.is_any() {
            self.arm(Instant::now(), self.patience(), ctx);
        }
        if self.broken || self.current.is_some() {
            self.resume_later(ctx);
        }
    }
}

impl Supervised for TopicHub {}

impl Handler<HubBatch> for TopicHub {
    type Result = ();

    fn handle(&mut self, message: HubBatch, ctx: &mut Self::Context) {
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
            published: 0,
            will: false,
            _permit: permit,
        });
        self.run(ctx);
    }
}

impl Handler<Gone> for TopicHub {
    type Result = ();

    fn handle(&mut self, Gone { peer, in_order }: Gone, ctx: &mut Self::Context) {
        self.holds.forget(peer);
        self.held_publishers.remove(&peer);
        self.abort_uploads(peer);
        let Some(key) = self.receivers.key(peer) else {
            return;
        };
        let author = self.receivers.get(key).cloned();
        self.release(key);
        let will = guard(|| {
            let will = self.index.gone(key, &mut self.effects);
            self.commit();
            will
        });
        self.fan_out.forget(key);
        self.receivers.remove(peer);
        match (will, author) {
            (Ok(Some(will)), Some(author)) if !in_order => self.publish_will(author, &will, ctx),
            (Ok(_), _) | (Err(_), None) => {}
            (Err(panic), Some(author)) => {
                self.withdraw(key);
                self.panicked(&author, &panic, ctx);
            }
        }
    }
}

impl Handler<Drained> for TopicHub {
    type Result = ();

    fn handle(&mut self, Drained(peer): Drained, _: &mut Self::Context) {
        self.drained(peer);
    }
}

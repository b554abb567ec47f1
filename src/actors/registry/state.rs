//! Registry without its mailbox: steps the index one frame at a time inside the guard, commits the facts, and sends what follows.
//!
//! Owns everything that a restart must not lose, and the batch under way. Every entry answers with a [`Progress`]; whoever drives it (the
//! actor, or the simulator) does what that asks for. Knows no actor and no socket; the time is `Shared`'s.

use super::activate::Activation;
use super::admitted::takes;
use super::bus::Bus;
use super::facts::{Effect, Facts, Notice};
use super::index::Index;
use super::observed::note_call;
use super::unrouted::Coming;
use crate::actors::access::Access;
use crate::actors::core::Shared;
use crate::actors::group::Grouped;
use crate::actors::inject;
use crate::actors::messages::{
    Control, Deliver, Gone, Invoke, Joined, MessageItem, RegistryBatch, RegistryItem, Route, Routes,
};
use crate::actors::observe::tally::Tallies;
use crate::actors::peer::PeerRef;
use crate::actors::peers::{Key, NOBODY, Peers};
use crate::actors::planted::{self, Bug};
use crate::actors::quota::Permit;
use crate::actors::supervise::{Blame, Progress, Turn, guard};
use crate::error::{CallError, ErrorCode};
use crate::message::key::split;
use crate::message::{Batch, CallId, Draft, PeerId, RequestId, Ticket, metadata};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who has which object, and what is under way.
#[derive(Debug)]
pub struct State {
    pub(super) shared: Arc<Shared>,
    pub(super) index: Index<Key>,
    pub(super) facts: Facts<Key>,
    /// With when each came, in microseconds of the broker's life.
    pub(super) peers: Peers<usize>,
    pub(super) access: Access,
    pub(super) effects: Vec<Effect<Key>>,
    pub(super) bus: Bus,
    pub(super) activation: Option<Box<Activation>>,
    pub(super) coming: Coming,
    /// What became of calls, by object; outlives a rebuild.
    pub(super) tallies: Tallies,
    pub(super) out: Outgoing,
    /// The batch under way, with what is left of it; survives a restart.
    current: Option<Current>,
    pub(super) blame: Blame,
    /// What this turn has handled, over all its batches.
    pub(super) turn: Turn,
    /// The index must be rebuilt before the next frame.
    pub(super) broken: bool,
}

/// What one turn has for others.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    calls: Grouped<Invoke>,
    pub(super) messages: Grouped<MessageItem>,
    pub(super) parked: Vec<Invoke>,
    /// Waits that are over. Told behind `parked`: a call may be put aside and found its object in one turn.
    pub(super) present: Vec<(PeerRef, CallId, Ticket)>,
    routed: Vec<Route>,
}

#[derive(Debug)]
pub(super) struct Current {
    pub(super) from: PeerRef,
    pub(super) key: Key,
    pub(super) batch: Arc<Batch>,
    items: std::vec::IntoIter<RegistryItem>,
    _permit: Option<Arc<Permit>>,
}

impl State {
    /// Nobody has anything.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let blame = Blame::new(&shared.limits);
        Self {
            access: Access::new(shared.policy.clone()),
            activation: Activation::new(&shared),
            coming: Coming::default(),
            tallies: Tallies::new(shared.tap.clone()),
            shared,
            index: Index::new(),
            facts: Facts::new(),
            peers: Peers::default(),
            effects: Vec::new(),
            bus: Bus::default(),
            out: Outgoing::default(),
            current: None,
            blame,
            turn: Turn::default(),
            broken: false,
        }
    }

    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.shared.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a batch: handles what fits into this turn.
    pub fn handle(&mut self, message: RegistryBatch) -> Progress {
        let RegistryBatch {
            from,
            batch,
            items,
            permit,
        } = message;
        let key = self.peers.key(from.id()).unwrap_or(NOBODY);
        self.current = Some(Current {
            from,
            key,
            batch,
            items: items.into_iter(),
            _permit: permit,
        });
        self.run()
    }

    /// Goes on with a new turn after [`Progress::Yield`] or a restart; the index is made anew first if it was lost.
    pub fn resume(&mut self) -> Progress {
        self.turn = Turn::default();
        if std::mem::take(&mut self.broken) {
            self.rebuild();
            self.observe_all();
        }
        self.run()
    }

    /// Whether [`Self::resume`] is to be called before the next message.
    #[must_use]
    pub const fn is_interrupted(&self) -> bool {
        self.broken || self.current.is_some()
    }

    /// Handles what is left of the current batch.
    fn run(&mut self) -> Progress {
        let Some(mut current) = self.current.take() else {
            return Progress::Done;
        };
        while let Some(item) = current.items.next() {
            if current.from.account.is_closed() {
                // Nobody reads the answers any more; what is owed to others is given by dropping it.
                let left = std::iter::once(item).chain(current.items.by_ref());
                super::bus::close_unsent(&current.batch, left);
                break;
            }
            let bytes = Self::size_of(&current, &item);
            let stepped = guard(|| self.step(&current, item));
            if let Err(panic) = stepped {
                self.flush(&current);
                let author = current.from.clone();
                self.current = Some(current);
                return self.panicked(&author, &panic);
            }
            if self.turn.spend(bytes, 1) {
                self.flush(&current);
                self.current = Some(current);
                return Progress::Yield;
            }
        }
        self.flush(&current);
        Progress::Done
    }

    fn size_of(current: &Current, item: &RegistryItem) -> usize {
        let frame = match item {
            RegistryItem::Call(Invoke { frame, .. })
            | RegistryItem::Again(Invoke { frame, .. })
            | RegistryItem::Request(frame, _) => frame,
            RegistryItem::Send(run) => return run.owed.each().saturating_mul(run.owed.count() as usize),
            RegistryItem::Unwait(_) => return 0,
        };
        current
            .batch
            .header(*frame as usize)
            .map_or(0, crate::message::Header::wire_len)
    }

    /// Sends what the turn has gathered.
    fn flush(&mut self, current: &Current) {
        let memory = current.from.account.memory.names();
        if memory.is_reserved() {
            memory.settle(self.facts.counts(current.key).bytes);
        }
        let batch = &current.batch;
        let mut routed = 0;
        for (callee, invokes) in self.out.calls.drain() {
            routed += invokes.len() as u64;
            callee.post(Deliver::Calls(current.from.clone(), batch.clone(), invokes));
        }
        if routed > 0 {
            self.shared.metrics.calls_routed.add(routed);
        }
        self.flush_messages(&current.from, batch);
        if !self.out.parked.is_empty() {
            current.from.post(Deliver::Parked(
                batch.clone(),
                std::mem::take(&mut self.out.parked),
            ));
        }
        for (peer, call, ticket) in self.out.present.drain(..) {
            peer.tell(Control::Present(call, ticket));
        }
        let routes = self.out.routed.len().min(1024);
        // After the calls, so that the callee works while the caller's side catches up.
        if !self.out.routed.is_empty() {
            current.from.post(Deliver::Routed(Routes(std::mem::replace(
                &mut self.out.routed,
                Vec::with_capacity(routes),
            ))));
        }
    }

    fn step(&mut self, current: &Current, item: RegistryItem) {
        match item {
            RegistryItem::Call(invoke) => self.route(current, invoke, false),
            RegistryItem::Again(invoke) => {
                self.coming.came(current.key, RequestId(invoke.waits_as().0));
                self.route(current, invoke, true);
            }
            RegistryItem::Send(run) => self.send(current, run),
            RegistryItem::Request(frame, reply) => self.request(current, frame, reply),
            RegistryItem::Unwait(call) => {
                self.coming.came(current.key, RequestId(call.0));
                self.index
                    .unwait(current.key, RequestId(call.0), &mut self.effects);
                self.commit();
            }
        }
    }

    /// `again`: it has waited, and comes in the order of those that have.
    fn route(&mut self, current: &Current, mut invoke: Invoke, again: bool) {
        let Some(view) = current.batch.view(invoke.frame as usize) else {
            return;
        };
        let (object, _) = split(view.key);
        inject::before(object);
        let sticky = if view.meta.is_empty() {
            None
        } else {
            metadata::get(view.meta, metadata::ROUTE_KEY)
        };
        let peers = &self.peers;
        let load = |key| peers.get(key).map_or(u32::MAX, |peer| peer.account.load());
        let owner = self
            .index
            .route(object, sticky, load)
            .and_then(|key| self.peers.get(key));
        let Some(owner) = owner else {
            return self.unrouted(current, object, invoke);
        };
        if !again && self.coming.awaits(current.key, object) {
            return self.behind(current, object, invoke);
        }
        let owner = match planted::is(Bug::WrongOwner) {
            true => self.peers.iter().last().unwrap_or(owner),
            false => owner,
        };
        let admitted = match takes(owner, &view, &invoke) {
            Ok(admitted) => admitted,
            Err(error) => {
                let owner = owner.id();
                let is_there = |name: &str| self.index.owner(name.as_bytes()).is_some();
                self.tallies.of(object, is_there).turned_away.add(1);
                let dropped = error.code == ErrorCode::Overloaded && invoke.reply.is_none();
                self.shared.metrics.one_way_dropped.add(u64::from(dropped));
                return self.turn_away(current, invoke, Some(owner), error);
            }
        };
        note_call(
            (&mut self.tallies, &self.index, &self.shared.tap),
            current,
            &mut invoke,
            (&view, object),
            owner.id(),
        );
        if let Some(reply) = &invoke.reply {
            // Counted now, for the next call of this batch; its connection counts exactly when it takes it.
            owner.account.add_load();
            self.out.routed.push(Route {
                call: reply.call(),
                ticket: invoke.ticket,
                callee: owner.clone(),
            });
        }
        self.out.calls.push(owner, invoke);
        admitted.sent();
        inject::after(object);
    }

    /// Whether the peer's process has memory for another fact.
    pub(super) fn room(&self, current: &Current, cost: usize) -> Result<(), CallError> {
        let held = self.facts.counts(current.key).bytes;
        let memory = current.from.account.memory.names();
        memory
            .cover(held.saturating_add(cost))
            .map_err(|over| over.error())
    }

    /// What the peer's facts need no more goes back, when it was not its own batch that ended them.
    pub(super) fn settle(&self, key: Key) {
        let Some(peer) = self.peers.get(key) else { return };
        let memory = peer.account.memory.names();
        if memory.is_reserved() {
            memory.settle(self.facts.counts(key).bytes);
        }
    }

    /// Makes the facts of a completed step final, then sends what follows from it.
    pub(super) fn commit(&mut self) {
        self.commit_facts();
        for effect in std::mem::take(&mut self.effects) {
            self.perform(effect);
        }
        self.count_endpoints();
    }

    /// Makes the facts final; what else follows waits.
    pub(super) fn commit_facts(&mut self) {
        if self.shared.tap.is_on() {
            self.note_presence();
        }
        self.facts.commit(&mut self.effects);
    }

    /// The only place that tells peers what a step of the index decided.
    fn perform(&mut self, effect: Effect<Key>) {
        if self.access.is_guarded() && !self.may_know(&effect) {
            return;
        }
        let tell = |key, control| {
            if let Some(peer) = self.peers.get(key) {
                peer.tell(control);
            }
        };
        match effect {
            Effect::Ownership {
                peer,
                request,
                acquired,
            } => {
                let frame = Draft::new(crate::message::Kind::Ownership, request.0).aux(u32::from(acquired));
                tell(peer, Control::Frame(frame.to_vec().into()));
                self.turn.spend(frame.wire_len(), 1);
            }
            Effect::Present { .. } if planted::is(Bug::WaitNotTold) => {}
            Effect::Notice {
                what: Notice::NameVanished,
                ..
            } if planted::is(Bug::WatcherNotTold) => {}
            Effect::Present {
                peer,
                request,
                ticket,
            } => {
                self.settle(peer);
                let peer = self.peers.get(peer).cloned();
                let told = peer.map(|peer| (peer, CallId(request.0), ticket));
                self.out.present.extend(told);
            }
            Effect::Notice {
                peer,
                request,
                what,
                name,
                origin,
            } => {
                let mut draft = Draft::new(crate::message::Kind::Notice, request.0)
                    .aux(what.code())
                    .key(name.as_bytes());
                draft.origin = self.peers.get(origin).map(|peer| peer.origin);
                tell(peer, Control::Frame(draft.to_vec().into()));
                self.turn.spend(draft.wire_len(), 1);
            }
            Effect::Found { ticket, matched } => self.found(ticket, matched),
            Effect::FactAdded(..) | Effect::FactRemoved(_) => {}
        }
    }

    /// A peer is ready.
    pub fn joined(&mut self, Joined(peer): Joined) -> Progress {
        if self.shared.stopping.load(Ordering::Acquire) {
            // It was welcomed on another arbiter, just before everybody was told.
            peer.tell(Control::Drain);
        }
        match guard(|| self.add(&peer)) {
            Ok(()) => Progress::Done,
            Err(panic) => self.panicked(&peer, &panic),
        }
    }

    fn add(&mut self, peer: &PeerRef) {
        let key = self.peers.add(peer);
        let now = self.shared.micros(self.shared.now());
        if let Some((_, came)) = self.peers.entry(key) {
            *came = now;
        }
        self.admit(peer);
        if peer.id() == PeerId::BROKER {
            // The broker's own objects are no connection: nobody watches it come and go.
            return;
        }
        let ticket = self.ticket();
        self.index
            .connected(ticket, key, peer.id(), peer.name().into(), &mut self.effects);
        self.commit();
    }

    /// A peer is gone.
    pub fn gone(&mut self, Gone { peer, .. }: Gone) -> Progress {
        let Some(key) = self.peers.key(peer) else {
            return Progress::Done;
        };
        let author = self.peers.get(key).cloned();
        let had_names = self.facts.counts(key).names > 0;
        let left = guard(|| {
            self.index.gone(key, &mut self.effects);
            if planted::is(Bug::DeathAfterReown) {
                self.effects.reverse();
            }
            self.commit();
            if had_names {
                self.observe_all();
            }
        });
        let progress = match (left, author) {
            (Err(panic), Some(author)) => {
                self.withdraw(key);
                self.panicked(&author, &panic)
            }
            _ => Progress::Done,
        };
        self.access.forget(key);
        self.coming.forget(key);
        self.peers.remove(peer);
        progress
    }

    /// How much there is of everything that peers cause. All of it is zero when nobody is connected.
    #[must_use]
    pub fn census(&self) -> [(&'static str, usize); 6] {
        [
            ("peers", self.peers.iter().count()),
            ("facts", self.facts.len()),
            ("names", self.index.name_count()),
            ("connections", self.index.connections().count()),
            ("endpoints", self.index.endpoint_count()),
            ("parked messages", self.bus.parked()),
        ]
    }

    /// Whether somebody has the name now.
    #[must_use]
    pub fn has(&self, object: &str) -> bool {
        self.index.owner(object.as_bytes()).is_some()
    }

    /// The broker stops: what waits for an endpoint has waited in vain, and every peer is told.
    pub fn drain(&mut self) -> Progress {
        let progress = self.end_waits();
        self.tell_all(|| Control::Drain);
        progress
    }

    /// Tells every peer.
    pub fn tell_all(&self, control: impl Fn() -> Control) {
        self.peers.iter().for_each(|peer| peer.tell(control()));
    }
}

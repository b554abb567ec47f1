//! The Registry actor: which peer has which object.
//!
//! It takes batches from Connections, steps the index one frame at a time inside the guard, commits the facts, and sends what
//! follows: at most one delivery per callee and batch. Calls are not kept here: their answer goes from callee to caller.
//!
//! ```text
//!  RegistryBatch ─► step (guarded) ─► index ─► facts ─► Deliver::Calls to callees, Routed to the caller, answers
//!                      └─ panic: answered, blamed; actor restarts, index rebuilt from facts; rest of the batch goes on
//! ```

mod answer;
mod claims;
pub mod facts;
pub mod index;
mod names;
mod presence;
mod request;
#[cfg(test)]
mod tests;

use super::broker::{CoreEnded, EndReport};
use super::core::Shared;
use super::deliver::{Class, Verdict};
use super::group::Grouped;
use super::messages::{
    CloseAll, Control, Deliver, DrainAll, Gone, Invoke, Joined, RegistryBatch, RegistryItem, Route, Routes,
};
use super::peer::{PeerRef, ReplyTo};
use super::peers::{Key, NOBODY, Peers};
use super::supervise::{Blame, Turn, guard};
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::key::split;
use crate::message::{Batch, CallId, Draft, Flags, PeerId, RequestId, Ticket, metadata};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, Supervised, WrapFuture,
};
use facts::{Effect, Facts};
use index::Index;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who has which object.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    index: Index<Key>,
    facts: Facts<Key>,
    peers: Peers<()>,
    effects: Vec<Effect<Key>>,
    out: Outgoing,
    /// The batch under way, with what is left of it; survives a restart.
    current: Option<Current>,
    blame: Blame,
    /// What this turn has handled, over all its batches.
    turn: Turn,
    /// The index must be rebuilt before the next frame.
    broken: bool,
    ended: EndReport,
}

/// What one turn has for others.
#[derive(Debug, Default)]
struct Outgoing {
    calls: Grouped<Invoke>,
    parked: Vec<Invoke>,
    /// Waits that are over. Told behind `parked`: a call may be put aside and found its object in one turn.
    present: Vec<(PeerRef, CallId)>,
    routed: Vec<Route>,
}

#[derive(Debug)]
struct Current {
    from: PeerRef,
    key: Key,
    batch: Arc<Batch>,
    items: std::vec::IntoIter<RegistryItem>,
    _permit: Option<Arc<super::quota::Permit>>,
}

impl Registry {
    /// An empty registry; `ended` is told when it cannot go on.
    #[must_use]
    pub fn new(shared: Arc<Shared>, ended: Recipient<CoreEnded>) -> Self {
        let blame = Blame::new(&shared.limits);
        Self {
            shared,
            index: Index::new(),
            facts: Facts::new(),
            peers: Peers::default(),
            effects: Vec::new(),
            out: Outgoing::default(),
            current: None,
            blame,
            turn: Turn::default(),
            broken: false,
            ended: EndReport::new(ended, "Registry ended unexpectedly"),
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
            if current.from.account.is_closed() {
                // Nobody reads the answers any more; what is owed to others is given by dropping it.
                break;
            }
            let bytes = self.size_of(&current, &item);
            let stepped = guard(|| self.step(&current, item));
            if let Err(panic) = stepped {
                self.flush(&current);
                let author = current.from.clone();
                self.current = Some(current);
                return self.panicked(&author, &panic, ctx);
            }
            if self.turn.spend(bytes, 1) {
                self.flush(&current);
                self.current = Some(current);
                return self.resume_later(ctx);
            }
        }
        self.flush(&current);
    }

    fn size_of(&self, current: &Current, item: &RegistryItem) -> usize {
        let (RegistryItem::Call(Invoke { frame, .. }) | RegistryItem::Request(frame, _)) = item else {
            return 0;
        };
        current
            .batch
            .header(*frame as usize)
            .map_or(0, crate::message::Header::wire_len)
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

    /// Sends what the turn has gathered.
    fn flush(&mut self, current: &Current) {
        let batch = &current.batch;
        let mut routed = 0;
        for (callee, invokes) in self.out.calls.drain() {
            routed += invokes.len() as u64;
            callee.post(Deliver::Calls(batch.clone(), invokes));
        }
        self.shared.metrics.calls_routed.add(routed);
        if !self.out.parked.is_empty() {
            current.from.post(Deliver::Parked(
                batch.clone(),
                std::mem::take(&mut self.out.parked),
            ));
        }
        for (peer, call) in self.out.present.drain(..) {
            peer.tell(Control::Present(call));
        }
        // After the calls, so that the callee works while the caller's side catches up.
        if !self.out.routed.is_empty() {
            current
                .from
                .post(Deliver::Routed(Routes(std::mem::take(&mut self.out.routed))));
        }
    }

    fn step(&mut self, current: &Current, item: RegistryItem) {
        match item {
            RegistryItem::Call(invoke) => self.route(current, invoke),
            RegistryItem::Request(frame, reply) => self.request(current, frame, reply),
            RegistryItem::Unwait(call) => {
                self.index
                    .unwait(current.key, RequestId(call.0), &mut self.effects);
                self.commit();
            }
        }
    }

    fn route(&mut self, current: &Current, invoke: Invoke) {
        let Some(view) = current.batch.view(invoke.frame as usize) else {
            return;
        };
        let (object, _) = split(view.key);
        super::inject::before(object);
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
        if u32::from(view.header.attachments) > owner.max_attachments {
            return fail(
                invoke.reply,
                ErrorCode::TooLarge,
                "the object's connection takes fewer attachments",
            );
        }
        if owner.account.admit(Class::Call, view.header.wire_len()) == Verdict::Overflow {
            return fail(
                invoke.reply,
                ErrorCode::Overloaded,
                "the object's queue is full; call again later",
            );
        }
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
        super::inject::after(object);
    }

    fn unrouted(&mut self, current: &Current, object: &[u8], invoke: Invoke) {
        self.shared.metrics.calls_unrouted.add(1);
        let name = String::from_utf8_lossy(object).into_owned();
        let waits = current
            .batch
            .header(invoke.frame as usize)
            .is_some_and(|header| header.flags.has(Flags::WAIT));
        let Some(reply) = &invoke.reply else { return };
        if !waits {
            return fail(
                invoke.reply,
                ErrorCode::NoSuchObject,
                &format!("no object {name:?} is registered"),
            );
        }
        if self.facts.counts(current.key).watches >= self.shared.limits.watches {
            let text = "too many waits and watches of this connection are open (limits.watches)";
            return fail(invoke.reply, ErrorCode::TooMany, text);
        }
        let request = RequestId(reply.call().0);
        let ticket = self.ticket();
        match self
            .index
            .wait(ticket, current.key, request, vec![name.into()], &mut self.effects)
        {
            Ok(false) => {
                self.commit();
                self.out.parked.push(invoke);
            }
            Ok(true) | Err(_) => fail(invoke.reply, ErrorCode::Invalid, "this call waits already"),
        }
    }

    /// Makes the facts of a completed step final, then sends what follows from it.
    fn commit(&mut self) {
        self.facts.commit(&mut self.effects);
        for effect in std::mem::take(&mut self.effects) {
            self.perform(effect);
        }
    }

    /// The only place that tells peers what a step of the index decided.
    fn perform(&mut self, effect: Effect<Key>) {
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
            Effect::Present { peer, request } => {
                let peer = self.peers.get(peer).cloned();
                self.out
                    .present
                    .extend(peer.map(|peer| (peer, CallId(request.0))));
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
            Effect::FactAdded(..) | Effect::FactRemoved(_) => {}
        }
    }

    fn panicked(&mut self, author: &PeerRef, panic: &str, ctx: &mut Context<Self>) {
        self.effects.clear();
        self.broken = true;
        if self.shared.blame(&mut self.blame, "Registry", author, panic) {
            self.ended
                .tell("Registry panicked for more peers than its budget allows");
        }
        ctx.stop();
    }

    /// A new index from the facts, in ticket order. A fact that panics is dropped and its owner closed; the half-built index
    /// is thrown away as well, and the next one begins without that fact.
    fn rebuild(&mut self) {
        while let Err(ticket) = self.try_rebuild() {
            let owner = self.facts.get(ticket).map(facts::Fact::peer);
            self.facts.remove(ticket);
            if let Some(peer) = owner.and_then(|owner| self.peers.get(owner)) {
                let text = "what it registered made the broker fail";
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

    fn joined(&mut self, peer: &PeerRef) {
        let key = self.peers.add(peer);
        if peer.id() == PeerId::BROKER {
            // The broker's own objects are no connection: nobody watches it come and go.
            return;
        }
        let ticket = self.ticket();
        self.index
            .connected(ticket, key, peer.id(), peer.name.clone(), &mut self.effects);
        self.commit();
    }

    fn gone(&mut self, peer: PeerId) {
        let Some(key) = self.peers.key(peer) else { return };
        self.index.gone(key, &mut self.effects);
        self.commit();
    }

    /// Withdraws a peer whose orderly withdrawal panicked: its facts go without notices.
    fn withdraw(&mut self, peer: PeerId) {
        let Some(key) = self.peers.key(peer) else { return };
        let own: Vec<Ticket> = self
            .facts
            .iter()
            .filter(|(_, fact)| fact.peer() == key)
            .map(|(ticket, _)| ticket)
            .collect();
        for ticket in own {
            self.facts.remove(ticket);
        }
    }
}

fn fail(reply: Option<ReplyTo>, code: ErrorCode, text: &str) {
    if let Some(reply) = reply {
        reply.fail(&CallError::new(code, text).ran(false));
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.broken || self.current.is_some() {
            self.resume_later(ctx);
        }
    }
}

impl Supervised for Registry {}

impl Handler<RegistryBatch> for Registry {
    type Result = ();

    fn handle(&mut self, message: RegistryBatch, ctx: &mut Self::Context) {
        let RegistryBatch {
            from,
            batch,
            items,
            permit,
        } = message;
        let key = self.peers.key(from.id()).unwrap_or(NOBODY);
        if key == NOBODY {
            // Its connection ended while this was on its way; every answer that is owed is given by dropping it.
            return;
        }
        self.current = Some(Current {
            from,
            key,
            batch,
            items: items.into_iter(),
            _permit: permit,
        });
        self.run(ctx);
    }
}

impl Handler<Joined> for Registry {
    type Result = ();

    fn handle(&mut self, Joined(peer): Joined, ctx: &mut Self::Context) {
        if self.shared.stopping.load(Ordering::Acquire) {
            // It was welcomed on another arbiter, just before everybody was told.
            peer.tell(Control::Drain);
        }
        if let Err(panic) = guard(|| self.joined(&peer)) {
            self.panicked(&peer, &panic, ctx);
        }
    }
}

impl Handler<Gone> for Registry {
    type Result = ();

    fn handle(&mut self, Gone { peer, .. }: Gone, ctx: &mut Self::Context) {
        let author = self.peers.key(peer).and_then(|key| self.peers.get(key)).cloned();
        if let Err(panic) = guard(|| self.gone(peer)) {
            self.withdraw(peer);
            if let Some(author) = author {
                self.panicked(&author, &panic, ctx);
            }
        }
        self.peers.remove(peer);
    }
}

impl Handler<DrainAll> for Registry {
    type Result = ();

    fn handle(&mut self, _: DrainAll, _: &mut Self::Context) {
        self.peers.iter().for_each(|peer| peer.tell(Control::Drain));
    }
}

impl Handler<CloseAll> for Registry {
    type Result = ();

    fn handle(&mut self, CloseAll(why): CloseAll, _: &mut Self::Context) {
        self.peers
            .iter()
            .for_each(|peer| peer.tell(Control::Close(CloseReason::Internal, why.into())));
    }
}

//! Performs what a session decided, and takes what others deliver to it: the only place that sends for a peer.
//!
//! Generic over where the broker's other rooms are ([`Rooms`]), so that Connection, LocalPeer and the simulator run the
//! same code. Own frames go to the peer's outbox. It knows no socket and no phase of a connection's life.

use super::outbox::{Outbox, event_charge, gap_frame};
use super::session::{Closing, Effects, Session, message_charge};
use crate::actors::core::{Core, Shared};
use crate::actors::deliver::charge;
use crate::actors::messages::{
    Answer, Control, Deliver, Drained, EventItem, Gone, HubBatch, Invoke, Joined, RegistryBatch, RegistryItem,
};
use crate::actors::observe::refused::Refused;
use crate::actors::peer::PeerRef;
use crate::actors::planted::{self, Bug};
use crate::actors::quota::Permit;
use crate::actors::receipt::Settled;
use crate::config::raise;
use crate::error::{CallError, ErrorCode};
use crate::message::bus::Outcome as BusOutcome;
use crate::message::{Batch, CallId, Draft, Header, Kind, PeerId, Ticket};
use crate::metrics::Metrics;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// Effects are empty between turns, so all peers of an arbiter share one set of vectors.
    static EFFECTS: Cell<Option<Box<Effects>>> = const { Cell::new(None) };
}

/// Where the rest of the broker is. Must not block and must not panic.
pub trait Rooms {
    /// Queues a batch for Registry.
    fn registry(&self, batch: RegistryBatch);
    /// Queues a batch for TopicHub.
    fn hub(&self, batch: HubBatch);
    /// Tells TopicHub that a subscriber that was full has room again.
    fn drained(&self, peer: PeerId);
    /// Tells Registry of a peer that is ready.
    fn joined(&self, peer: PeerRef);
    /// Tells Registry, then TopicHub, that a peer is gone. `in_order`: it said goodbye.
    fn gone(&self, peer: PeerId, in_order: bool);
    /// Limits, counters and the time.
    fn shared(&self) -> &Arc<Shared>;
    /// The counters.
    fn metrics(&self) -> &Metrics {
        &self.shared().metrics
    }
}

impl Rooms for Core {
    fn registry(&self, batch: RegistryBatch) {
        self.registry.do_send(batch);
    }

    fn hub(&self, batch: HubBatch) {
        self.hub.do_send(batch);
    }

    fn drained(&self, peer: PeerId) {
        self.hub.do_send(Drained(peer));
    }

    fn joined(&self, peer: PeerRef) {
        self.registry.do_send(Joined(peer));
    }

    fn gone(&self, peer: PeerId, in_order: bool) {
        self.registry.do_send(Gone { peer, in_order });
        self.hub.do_send(Gone { peer, in_order });
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Lends empty effects to a step; they are performed, and so emptied, before it returns.
pub fn with_effects<T>(step: impl FnOnce(&mut Effects) -> T) -> T {
    let mut effects = EFFECTS.take().unwrap_or_default();
    let result = step(&mut effects);
    EFFECTS.set(Some(effects));
    result
}

/// Performs and empties the effects. `batch` holds the frames that they speak of.
pub fn perform(
    session: &Session,
    outbox: &mut Outbox,
    rooms: &impl Rooms,
    effects: &mut Effects,
    batch: Option<&Arc<Batch>>,
    permit: Option<Permit>,
) -> Option<Closing> {
    count(session, rooms, effects);
    for (sender, settled) in effects.settled.drain() {
        sender.post(Deliver::Settled(settled));
    }
    for frame in effects.send.drain(..) {
        outbox.push_frame(frame.into());
    }
    for (peer, control) in effects.tell.drain(..) {
        peer.tell(control);
    }
    let from = session.me();
    for refused in effects.refused.drain(..) {
        tell_refused(from.id(), rooms, &refused, batch);
    }
    let permit = permit.map(Arc::new);
    if planted::is(Bug::PermitLeaked) {
        Box::leak(Box::new(permit.clone()));
    }
    if let Some(batch) = batch {
        for (caller, answers) in effects.answers.drain() {
            caller.post(Deliver::Answers(batch.clone(), answers));
        }
        if !effects.hub.is_empty() {
            let (items, permit) = (take(&mut effects.hub), permit.clone());
            let (from, batch) = (from.clone(), batch.clone());
            rooms.hub(HubBatch {
                from,
                batch,
                items,
                permit,
            });
        }
    }
    if !effects.registry.is_empty() {
        let (items, from) = (take(&mut effects.registry), from.clone());
        let batch = batch.cloned().unwrap_or_default();
        rooms.registry(RegistryBatch {
            from,
            batch,
            items,
            permit,
        });
    }
    effects.close.take()
}

/// Who watches is told of a call or an event of this peer that goes nowhere. `batch`: the one under way.
#[cold]
fn tell_refused(from: PeerId, rooms: &impl Rooms, refused: &Refused, batch: Option<&Arc<Batch>>) {
    let batch = refused.batch.as_ref().or(batch);
    let shared = rooms.shared();
    if let Some(view) = batch.and_then(|batch| batch.view(refused.frame as usize)) {
        refused.tell((&shared.tap, &shared.metrics), &view, from, None);
    }
}

/// Counts what a step was about.
fn count(session: &Session, rooms: &impl Rooms, effects: &mut Effects) {
    // Counters are shared by all arbiters: what is nothing, as nearly always, is not added.
    if effects.late > 0 {
        let late = std::mem::take(&mut effects.late);
        // Whoever has monitored and leaves lets items come too late: looking changes nothing that is counted.
        if session.me().id() != PeerId::BROKER {
            rooms.metrics().late_answers.add(late);
        }
    }
    if effects.in_pieces > 0 {
        let count = std::mem::take(&mut effects.in_pieces);
        rooms.metrics().messages_in_pieces.add(count);
        tracing::trace!(peer = %session.me().id(), count, way = "pieces", "large messages");
    }
    if effects.declined > 0 {
        let count = std::mem::take(&mut effects.declined);
        rooms.metrics().regions_declined.add(count);
    }
    if effects.denied > 0 {
        rooms.metrics().denied.add(std::mem::take(&mut effects.denied));
    }
    if effects.dropped > 0 {
        let dropped = std::mem::take(&mut effects.dropped);
        rooms.metrics().one_way_dropped.add(dropped);
    }
    if effects.stalled > 0 {
        let stalled = std::mem::take(&mut effects.stalled);
        rooms.metrics().endpoints_stalled.add(stalled);
    }
}

/// Takes a list and leaves one with as much room: the next turn is likely to want it.
fn take<T>(list: &mut Vec<T>) -> Vec<T> {
    let room = list.len().clamp(4, 1024);
    std::mem::replace(list, Vec::with_capacity(room))
}

/// Takes a delivery. `ready`: the peer has not announced its end, so it still gets calls and events. Drain and Close are
/// not taken: they concern the life of the peer, not its session.
pub fn deliver(
    session: &mut Session,
    outbox: &mut Outbox,
    rooms: &impl Rooms,
    delivery: Deliver,
    ready: bool,
) -> Option<Closing> {
    let frames = delivery.frames();
    if frames > 0 {
        session.me().traffic().given(frames);
    }
    match delivery {
        Deliver::Answers(batch, list) => answers(session, outbox, batch, list),
        Deliver::Routed(mut routes) => {
            return with_effects(|effects| {
                for route in routes.0.drain(..) {
                    session.routed(route, effects);
                }
                perform(session, outbox, rooms, effects, None, None)
            });
        }
        Deliver::Control(Control::WaitDenied(call, ticket)) => {
            return with_effects(|effects| {
                session.deny_wait((call, ticket), effects);
                perform(session, outbox, rooms, effects, None, None)
            });
        }
        Deliver::Control(Control::WaitFailed(call, ticket, error)) => {
            return with_effects(|effects| {
                session.fail_wait((call, ticket), &error, effects);
                perform(session, outbox, rooms, effects, None, None)
            });
        }
        Deliver::Control(told @ (Control::Answered { .. } | Control::Frame(_) | Control::Gaps(_))) => {
            control(session, outbox, rooms, told);
        }
        Deliver::Settled(list) => settled(session, outbox, rooms, list),
        Deliver::Parked(batch, invokes) => parked(session, rooms, &batch, invokes, ready),
        _ if !ready => refund(session, rooms, &delivery),
        Deliver::Control(told) => control(session, outbox, rooms, told),
        Deliver::Calls(from, batch, invokes) => calls(session, outbox, rooms, (from, batch), invokes),
        Deliver::Events(batch, items) => events(session, outbox, rooms, batch, items),
        Deliver::Messages(from, batch, mut items) => {
            session.accept_messages(rooms.shared().now(), &batch, &mut items);
            outbox.push_messages(from, batch, items);
        }
    }
    None
}

/// What came too late for a peer that has said goodbye gives its charge back, so that its last answers still fit.
fn refund(session: &Session, rooms: &impl Rooms, delivery: &Deliver) {
    let account = &session.me().account;
    let bytes = |batch: &Batch, frame: u32| charge(batch.header(frame as usize).map_or(0, Header::wire_len));
    match delivery {
        Deliver::Calls(_, batch, invokes) => {
            invokes
                .iter()
                .for_each(|invoke| account.release(bytes(batch, invoke.frame)));
        }
        Deliver::Control(Control::CallPiece(_, batch, frame)) => account.release(bytes(batch, *frame)),
        Deliver::Events(batch, items) => {
            let charged = items.iter().map(|item| event_charge(batch, item)).sum();
            if account.release_events(charged) {
                rooms.drained(session.me().id());
            }
        }
        // Their receipts tell the senders, by being dropped.
        Deliver::Messages(_, batch, items) => items
            .iter()
            .for_each(|item| account.release(message_charge(batch, item))),
        Deliver::Parked(..)
        | Deliver::Answers(..)
        | Deliver::Routed(_)
        | Deliver::Settled(_)
        | Deliver::Control(_) => {}
    }
}

/// Events for this peer, charged by TopicHub; what its policies drop is given back.
pub fn events(
    session: &Session,
    outbox: &mut Outbox,
    rooms: &impl Rooms,
    batch: Arc<Batch>,
    items: Vec<EventItem>,
) {
    let account = &session.me().account;
    let dropped = outbox.push_events(batch, items, account);
    if dropped > 0 && account.release_events(dropped) {
        rooms.drained(session.me().id());
    }
}

/// Calls for this peer: each gets its slot and waits in the outbox.
fn calls(
    session: &mut Session,
    outbox: &mut Outbox,
    rooms: &impl Rooms,
    (from, batch): (PeerRef, Arc<Batch>),
    mut invokes: Vec<Invoke>,
) {
    let now = rooms.shared().now();
    for invoke in &mut invokes {
        if let Some(header) = batch.header(invoke.frame as usize) {
            session.accept(now, header, invoke);
        }
    }
    session.me().account.set_load(session.slots.len());
    outbox.push_calls(from, batch, invokes);
}

/// Calls of this peer that wait for their object. Above a whole outbox of bytes they are refused, and so is every one when the peer
/// or the broker is leaving.
fn parked(session: &mut Session, rooms: &impl Rooms, batch: &Arc<Batch>, invokes: Vec<Invoke>, ready: bool) {
    let limit = session.me().account.room().bytes;
    for invoke in invokes {
        let (invoke, error) = if !ready {
            (invoke, CallError::from(ErrorCode::Cancelled))
        } else if session.is_draining() {
            (invoke, CallError::from(ErrorCode::Draining))
        } else {
            let bytes = batch.header(invoke.frame as usize).map_or(0, Header::wire_len);
            // One without reply has no entry yet.
            let more = usize::from(invoke.reply.is_none());
            if let Err(over) = session.cover_calls(more, bytes) {
                (invoke, over.error())
            } else if more > 0 && session.open.len() >= rooms.shared().limits.open_calls {
                (invoke, CallError::from(ErrorCode::TooMany))
            } else {
                let Err(invoke) = session.open.park(batch.clone(), invoke, limit) else {
                    continue;
                };
                let how = raise("outbox_bytes");
                let text = format!(
                    "{limit} bytes of calls wait for their objects (limits.outbox_bytes); wait for some, or {how}"
                );
                (invoke, CallError::new(ErrorCode::Overloaded, text))
            }
        };
        rooms.registry(RegistryBatch {
            from: session.me().clone(),
            batch: batch.clone(),
            items: vec![RegistryItem::Unwait(invoke.waits_as())],
            permit: None,
        });
        let refused = Refused {
            frame: invoke.frame,
            batch: None,
            ticket: invoke.ticket,
            silent: invoke.reply.is_none(),
            error: error.ran(false),
        };
        tell_refused(session.me().id(), rooms, &refused, Some(batch));
        match invoke.reply {
            Some(reply) => reply.fail(&refused.error),
            None => rooms.metrics().one_way_dropped.add(1),
        }
    }
}

/// Answers to calls of this peer, as their callee sent them.
fn answers(session: &mut Session, outbox: &mut Outbox, batch: Arc<Batch>, mut answers: Vec<Answer>) {
    let mut unwanted = 0_usize;
    answers.retain(|answer| {
        let wanted = session.open.answered(answer.call, answer.ticket, answer.last);
        if !wanted {
            let bytes = batch.header(answer.frame as usize).map_or(0, Header::wire_len);
            unwanted = unwanted.saturating_add(charge(bytes));
        }
        wanted
    });
    if unwanted > 0 {
        session.me().account.release(unwanted);
    }
    if planted::is(Bug::DoubleReply) {
        outbox.push_answers(batch.clone(), answers.clone());
    }
    outbox.push_answers(batch, answers);
}

/// What became of messages of this peer.
fn settled(session: &mut Session, outbox: &mut Outbox, rooms: &impl Rooms, list: Vec<Settled>) {
    session.settled(&list);
    let metrics = rooms.metrics();
    for settled in &list {
        let counter = match settled.entry.outcome {
            BusOutcome::Taken => &metrics.messages_taken,
            BusOutcome::NoMatch => &metrics.dead_letters,
            BusOutcome::ReceiverGone => &metrics.messages_lost,
            BusOutcome::ReceiverFull => &metrics.messages_overflowed,
            BusOutcome::Attachments
            | BusOutcome::NotShareable
            | BusOutcome::TooLarge
            | BusOutcome::Denied => &metrics.messages_refused,
            BusOutcome::Cancelled => &metrics.messages_cancelled,
        };
        counter.add(u64::from(settled.entry.count));
    }
    outbox.push_settled(list.into_iter().map(|settled| settled.entry));
}

fn control(session: &mut Session, outbox: &mut Outbox, rooms: &impl Rooms, control: Control) {
    let mut own = |draft: Draft<'_>| outbox.push_frame(draft.to_vec().into());
    match control {
        Control::Answered { call, ticket, frame } => {
            if session
                .open
                .close(call, ticket)
                .is_some_and(|open| !open.cancelled)
            {
                session.refused(call.0, &frame);
                outbox.push_frame(frame);
            }
        }
        Control::Frame(frame) => outbox.push_frame(frame),
        Control::Present(call, ticket) => present(session, outbox, rooms, (call, ticket)),
        Control::Cancel(ticket) => {
            if session.slots.cancel(ticket) {
                session.me().account.set_load(session.slots.len());
                own(Draft::new(Kind::Cancel, ticket.0));
            }
        }
        Control::ReplyCredit(ticket, bytes) => {
            if let Some(bytes) = session.slots.refill(ticket, bytes) {
                own(Draft::new(Kind::ReplyCredit, ticket.0).aux(bytes));
            }
        }
        Control::CallCredit(call, bytes) => {
            let upload = session.open.get_mut(call).and_then(|open| open.upload.as_mut());
            let now = rooms.shared().now();
            if let Some(bytes) = upload.and_then(|upload| upload.give(now, bytes)) {
                own(Draft::new(Kind::CallCredit, call.0).aux(bytes));
            }
        }
        Control::CallPiece(ticket, batch, frame) => {
            let (view, now) = (batch.view(frame as usize), rooms.shared().now());
            let attachments = batch.attachments(frame as usize);
            let waits = |view| session.slots.piece(now, ticket, (&view, attachments));
            if view.is_some_and(waits) {
                outbox.push_forward(batch, frame, ticket.0);
            } else {
                let bytes = batch.header(frame as usize).map_or(0, Header::wire_len);
                session.me().account.release(charge(bytes));
            }
        }
        Control::Gaps(gaps) => {
            for (subscription, missed) in gaps {
                outbox.push_frame(gap_frame(subscription, missed).into());
            }
        }
        Control::Grant => {
            let bytes = u32::try_from(session.me().account.take_grant()).unwrap_or(u32::MAX);
            if bytes > 0 {
                session.refill_publish(bytes);
                own(Draft::new(Kind::PublishCredit, 0).aux(bytes));
            }
        }
        // How its life ends is the business of whoever owns the session; what a step follows from is taken above, and who publishes
        // concerns those alone that put events together.
        Control::Begins(..)
        | Control::WaitDenied(..)
        | Control::WaitFailed(..)
        | Control::Drain
        | Control::Close(..) => {}
    }
}

fn present(session: &mut Session, outbox: &mut Outbox, rooms: &impl Rooms, (call, ticket): (CallId, Ticket)) {
    if !session.open.is_waiting(call, ticket) {
        // It was cancelled, refused its place or is over, and its number may be another's by now.
        return;
    }
    if let Some(parked) = session.open.unpark(call) {
        if let Some(denied) = session.denied_while_parked(&parked) {
            rooms.metrics().denied.add(1);
            let refused = Refused {
                frame: parked.invoke.frame,
                batch: Some(parked.batch.clone()),
                ticket: parked.invoke.ticket,
                silent: parked.invoke.reply.is_none(),
                error: denied,
            };
            tell_refused(session.me().id(), rooms, &refused, None);
            rooms.registry(RegistryBatch {
                from: session.me().clone(),
                batch: parked.batch,
                items: vec![RegistryItem::Unwait(call)],
                permit: None,
            });
            let reply = parked.invoke.reply;
            return reply.into_iter().for_each(|reply| reply.fail(&refused.error));
        }
        rooms.registry(RegistryBatch {
            from: session.me().clone(),
            batch: parked.batch,
            items: vec![RegistryItem::Again(parked.invoke)],
            permit: None,
        });
    } else {
        session.open.remove(call);
        outbox.push_frame(Draft::new(Kind::Done, call.0).to_vec().into());
    }
}

#[cfg(test)]
#[path = "perform_tests.rs"]
mod tests;

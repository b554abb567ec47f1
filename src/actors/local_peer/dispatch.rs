//! From the outbox to those it is meant for: actors that serve objects, actors that subscribed, futures that wait.
//!
//! Called by LocalPeer after each turn. It returns the credit that a client would return for pieces; it decides nothing about
//! sessions.

use super::LocalPeer;
use super::items::{CallItems, Queue};
use super::kept::{Kept, sender};
use super::object_call::{Caller, Charge, ObjectCall, Responder, Running};
use super::pieces::{self, Partial};
use super::port::{Answer, Request, Standing, Then};
use super::subscriber::{Pumped, Subscriber};
use super::topic_event::Flow;
use crate::actors::connection::outbox::Out;
use crate::actors::deliver::charge;
use crate::actors::peer::PeerRef;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::{FrameView, HEADER_LEN, parse_header};
use crate::message::{
    Batch, CallId, Draft, Encoding, Flags, Key, Kind, Metadata, Payload, SubscriptionId, Ticket,
};
use actix::Recipient;
use std::sync::Arc;
use std::time::Instant;

/// An object that an actor serves.
pub(super) struct Served {
    recipient: Recipient<ObjectCall>,
    /// Its registration, under which the broker tells of its standing.
    request: CallId,
}

/// A call whose arguments come in pieces.
pub(super) struct PartialCall {
    call: Incoming,
    message: Partial,
    kept: Kept,
}

/// A call without its arguments.
struct Incoming {
    object: Box<str>,
    method: Box<str>,
    ticket: Ticket,
    deadline: Instant,
    from: PeerRef,
    flags: Flags,
}

impl LocalPeer {
    /// Hands over everything that the outboxes hold and the actors take.
    pub(super) fn dispatch(&mut self) {
        self.dispatch_first();
        let limit = self.port().limits.message_bytes;
        for id in std::mem::take(&mut self.stirred) {
            let pumped = self
                .subscribers
                .get_mut(&id)
                .map(|subscriber| subscriber.pump(limit));
            if pumped == Some(Pumped::Closed) {
                self.withdraw_subscription(id);
            }
        }
    }

    /// Everything but events.
    pub(super) fn dispatch_first(&mut self) {
        while let Some(out) = self.outbox.take_first() {
            match out {
                Out::Frame(frame) => self.own_frame(&frame),
                Out::Forward { batch, frame, id } => self.forwarded(&batch, frame, id),
                Out::Invoke {
                    batch,
                    frame,
                    ticket,
                    deadline,
                    from,
                } => self.invoke(&batch, frame, ticket, deadline, from),
            }
        }
    }

    /// A frame of the broker's own.
    fn own_frame(&mut self, frame: &[u8]) {
        let Some((head, body)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return;
        };
        let Ok(Ok(header)) = parse_header(head, usize::MAX) else {
            return;
        };
        let Ok(view) = FrameView::split(&header, body) else {
            return;
        };
        let payload = || Payload {
            encoding: header.encoding,
            bytes: bytes::Bytes::copy_from_slice(view.payload),
        };
        match header.kind {
            Kind::Done | Kind::Accepted | Kind::Reply => {
                let answer = Answer {
                    aux: header.aux,
                    payload: payload(),
                    metadata: Metadata::new(),
                };
                self.answered(CallId(header.id), answer);
            }
            Kind::Error => self.failed(CallId(header.id), CallError::from_frame(&view, payload)),
            Kind::Ownership => {
                let standing = if header.aux == 1 {
                    Standing::Owner
                } else {
                    Standing::Replaced
                };
                if let Some(sender) = self.standings.get(&CallId(header.id)) {
                    sender.send_replace(standing);
                }
            }
            Kind::Cancel => {
                let ticket = Ticket(header.id);
                self.partial_calls.remove(&ticket);
                if let Some(running) = self.running.remove(&ticket) {
                    running.cancel();
                }
            }
            Kind::ReplyCredit => {
                if let Some(running) = self.running.get(&Ticket(header.id)) {
                    running.refill(header.aux);
                }
            }
            Kind::CallCredit => {
                let request = self.requests.get(&CallId(header.id));
                if let Some(Then::Upload(pace)) = request.map(|request| &request.then) {
                    pace.refill(header.aux);
                }
            }
            Kind::PublishCredit => self.port().refill(header.aux),
            Kind::Gap => {
                let id = SubscriptionId(header.id);
                if let Some(subscriber) = self.subscribers.get_mut(&id) {
                    subscriber.missed_last(header.aux);
                    self.stirred.push(id);
                }
            }
            _ => {}
        }
    }

    /// A frame of another peer: an answer to a call of this one, or more of a call for this one.
    fn forwarded(&mut self, batch: &Batch, frame: u32, id: u64) {
        let Some(view) = batch.view(frame as usize) else {
            return;
        };
        let header = view.header;
        self.session.me().account.release(charge(header.wire_len()));
        let continued = header.flags.has(Flags::CONTINUED);
        match header.kind {
            Kind::CallPiece => return self.call_piece(batch, &view, Ticket(id)),
            Kind::Error => {
                return self.failed(
                    CallId(id),
                    CallError::from_frame(&view, || pieces::payload(batch, &view)),
                );
            }
            Kind::Reply if !continued => {
                return self.replied(
                    CallId(id),
                    pieces::payload(batch, &view),
                    pieces::metadata(view.meta),
                );
            }
            _ => {}
        }
        self.reply_piece(&view, CallId(id));
        if continued {
            self.push(&Draft::new(Kind::ReplyCredit, id).aux(wire_len(&view)));
        }
    }

    fn reply_piece(&mut self, view: &FrameView<'_>, call: CallId) {
        if view.header.kind == Kind::Reply {
            self.partial_replies.insert(call, Partial::begin(view));
            return;
        }
        let Some(mut message) = self.partial_replies.remove(&call) else {
            return;
        };
        let limit = self.port().limits.message_bytes;
        if view.header.flags.has(Flags::ABORT) {
            let error = CallError::new(ErrorCode::Handler, "the callee gave its reply up");
            return self.failed(call, error);
        }
        if !message.add(view.payload, limit) {
            self.push(&Draft::new(Kind::Cancel, call.0));
            let text = format!("the reply exceeds {limit} bytes (limits.message_bytes)");
            return self.failed(call, CallError::new(ErrorCode::TooLarge, text).ran(true));
        }
        if view.header.flags.has(Flags::CONTINUED) {
            self.partial_replies.insert(call, message);
        } else {
            let (payload, metadata) = message.finish();
            self.replied(call, payload, metadata);
        }
    }

    fn replied(&mut self, call: CallId, payload: Payload, metadata: Metadata) {
        let answer = Answer {
            aux: 0,
            payload,
            metadata,
        };
        self.answered(call, answer);
    }

    fn answered(&mut self, call: CallId, answer: Answer) {
        let Some(Request { waiter, then, .. }) = self.requests.remove(&call) else {
            return;
        };
        match then {
            Then::Nothing | Then::Upload(_) => {}
            Then::Serve(object, recipient, standing) => {
                standing.send_replace(if answer.aux == 0 {
                    Standing::Owner
                } else {
                    Standing::Queued
                });
                self.standings.insert(call, standing);
                let request = call;
                self.objects.insert(object, Served { recipient, request });
            }
            Then::Unserve(object) => {
                if let Some(served) = self.objects.remove(&*object) {
                    self.standings.remove(&served.request);
                }
            }
            Then::Subscribe(wanted) => {
                let id = SubscriptionId(call.0);
                let core = Arc::downgrade(&self.core);
                let flow = Flow::new(self.session.me().clone(), core, self.port().clone(), id);
                let subscriber = Subscriber::new(*wanted, flow, self.events_kept.clone());
                self.subscribers.insert(id, subscriber);
            }
            Then::Unsubscribe => {
                if let Some(mut subscriber) = self.subscribers.remove(&SubscriptionId(call.0)) {
                    subscriber.discard();
                }
            }
        }
        if let Some(waiter) = waiter {
            let _ = waiter.send(Ok(answer));
        }
    }

    fn failed(&mut self, call: CallId, error: CallError) {
        self.partial_replies.remove(&call);
        if let Some(Request {
            waiter: Some(waiter), ..
        }) = self.requests.remove(&call)
        {
            let _ = waiter.send(Err(error));
        }
    }

    fn invoke(&mut self, batch: &Batch, frame: u32, ticket: Ticket, deadline: Instant, from: PeerRef) {
        let Some(view) = batch.view(frame as usize) else {
            return;
        };
        let bytes = charge(view.header.wire_len());
        let charge = Charge::new(self.session.me(), bytes);
        let Ok(Key { object, member }) = Key::pair(view.key) else {
            return;
        };
        let call = Incoming {
            object: object.into(),
            method: member.into(),
            ticket,
            deadline,
            from,
            flags: view.header.flags,
        };
        if view.payload.len() > self.bounds.call {
            return self.too_large(&call, (self.bounds.call, self.bounds.why));
        }
        if call.flags.has(Flags::CONTINUED) && !call.flags.has(Flags::ITEMS) {
            let (message, mut kept) = (Partial::begin(&view), self.calls_kept.part(sender(&call.from)));
            if !kept.grow(message.held()) {
                return self.refuse(ticket, &self.overloaded().ran(false));
            }
            let partial = PartialCall { call, message, kept };
            self.partial_calls.insert(ticket, partial);
            return;
        }
        let payload = pieces::payload(batch, &view);
        self.start(call, payload, pieces::metadata(view.meta), charge);
    }

    fn call_piece(&mut self, batch: &Batch, view: &FrameView<'_>, ticket: Ticket) {
        if let Some(running) = self.running.get(&ticket)
            && let Some(items) = &running.items
        {
            let continued = view.header.flags.has(Flags::CONTINUED);
            let item = continued.then(|| pieces::payload(batch, view));
            if !items.push(item, wire_len(view)) {
                // Its actor has had it since the first frame. The broker tells nobody of an answer that is this peer's own.
                running.cancel();
                self.running.remove(&ticket);
                self.refuse(ticket, &self.overloaded().ran(true));
            }
            return;
        }
        let Some(mut partial) = self.partial_calls.remove(&ticket) else {
            return;
        };
        self.push(&Draft::new(Kind::CallCredit, ticket.0).aux(wire_len(view)));
        let limit = self.bounds.piecewise(&self.port().limits);
        if view.header.flags.has(Flags::ABORT) {
            return;
        }
        if !partial.message.add(view.payload, limit.0) {
            return self.too_large(&partial.call, limit);
        }
        if !partial.kept.grow(partial.message.held()) {
            return self.refuse(ticket, &self.overloaded().ran(false));
        }
        if view.header.flags.has(Flags::CONTINUED) {
            self.partial_calls.insert(ticket, partial);
            return;
        }
        let PartialCall { call, message, kept } = partial;
        let (payload, metadata) = message.finish();
        let charge = Charge::new(self.session.me(), 0).keeping(kept);
        self.start(call, payload, metadata, charge);
    }

    /// It has more bytes than this, for this reason.
    fn too_large(&self, call: &Incoming, (limit, why): (usize, &str)) {
        if call.flags.has(Flags::NO_REPLY) {
            return self.dropped();
        }
        let text = format!("the call exceeds {limit} bytes ({why})");
        self.refuse(call.ticket, &CallError::new(ErrorCode::TooLarge, text).ran(false));
    }

    /// A call that nobody wants an answer to is lost.
    fn dropped(&self) {
        self.core.shared.metrics.one_way_dropped.add(1);
    }

    /// Calls in pieces, and those with items, have a reply.
    fn overloaded(&self) -> CallError {
        let why = self.bounds.why;
        let text = format!(
            "calls in pieces and items of this process that are not handled hold its part of what the broker's process keeps of them for \
             the object's owner ({why}); try later"
        );
        CallError::new(ErrorCode::Overloaded, text)
    }

    /// Gives a complete call to the actor that serves the object.
    fn start(&mut self, call: Incoming, payload: Payload, metadata: Metadata, charge: Charge) {
        let silent = call.flags.has(Flags::NO_REPLY);
        let (object, recipient) = match self.objects.get_key_value(&*call.object) {
            Some((object, served)) if served.recipient.connected() => (object.clone(), &served.recipient),
            found => {
                let ended = found.is_some();
                if ended {
                    self.withdraw_object(&call.object);
                }
                return match silent {
                    true => self.dropped(),
                    false => self.refuse(call.ticket, &not_served(&call.object, ended)),
                };
            }
        };
        let queue = call
            .flags
            .has(Flags::ITEMS)
            .then(|| Queue::new(self.port(), call.ticket, self.calls_kept.part(sender(&call.from))));
        let items = CallItems { queue: queue.clone() };
        let running = Running::with_items(self.port().limits.stream_window, queue);
        let responder = Responder {
            port: self.port().clone(),
            running: running.clone(),
            ticket: call.ticket,
            encoding: payload.encoding,
            streams: call.flags.has(Flags::STREAM) && !silent,
            done: silent,
        };
        let name = Some(call.from.name())
            .filter(|name| !name.is_empty())
            .map(Box::from);
        let caller = Caller {
            origin: call.from.origin,
            name,
        };
        // It ignores the bound of the mailbox, because its charge bounds it: above limits.outbox_bytes Registry refuses.
        recipient.do_send(ObjectCall {
            object,
            method: call.method,
            payload,
            metadata,
            items,
            caller,
            deadline: call.deadline,
            responder,
            principal: call.from.principal.clone(),
            _charge: charge,
        });
        if !silent {
            self.running.insert(call.ticket, running);
        }
    }

    /// The actor that served the object has ended.
    fn withdraw_object(&mut self, object: &str) {
        if let Some(served) = self.objects.remove(object) {
            self.standings.remove(&served.request);
        }
        let id = self.port().id();
        self.push(&Draft::new(Kind::Unregister, id).key(object.as_bytes()));
    }

    /// The actor that subscribed has ended.
    fn withdraw_subscription(&mut self, id: SubscriptionId) {
        if let Some(mut subscriber) = self.subscribers.remove(&id) {
            subscriber.discard();
            self.push(&Draft::new(Kind::Unsubscribe, id.0));
        }
    }

    fn refuse(&self, ticket: Ticket, error: &CallError) {
        let draft = Draft::new(Kind::Error, ticket.0)
            .aux(error.code.code())
            .flags(Flags::NONE.with_if(error.may_have_run, Flags::MAY_HAVE_RUN));
        self.push(&draft.payload(Encoding::RAW, error.message.as_bytes()));
    }

    /// A frame of this peer that nobody waits for.
    fn push(&self, draft: &Draft<'_>) {
        // A port that is closed belongs to a peer that ends: nobody minds.
        let _ = self.port().push(draft, None);
    }
}

fn wire_len(view: &FrameView<'_>) -> u32 {
    u32::try_from(view.header.wire_len()).unwrap_or(u32::MAX)
}

fn not_served(object: &str, ended: bool) -> CallError {
    if ended {
        let text = format!("the actor that served {object:?} has ended");
        return CallError::new(ErrorCode::CalleeGone, text).ran(false);
    }
    CallError::new(
        ErrorCode::NoSuchObject,
        format!("{object:?} is not served any more"),
    )
}

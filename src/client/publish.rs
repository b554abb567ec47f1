//! Publishing: with or without the broker's acknowledgement, retained, in any encoding and size.
//!
//! Owns the publisher's side of the window: a frame is added while the window is above zero, and its wire length is
//! taken from it.

use super::call::{add_trace, check_metadata, not_sent};
use super::exchange::{MAX_PATIENCE, answered};
use super::handle::IpcClient;
use super::large::{Large, is_offered, length_of, region_piece};
use super::outgoing::first_part;
use super::request::{Answer, Request};
use super::respond::PIECE;
use super::state::{Direct, GRACE, Next, State};
use super::waiters::Place;
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Draft, Encoding, Flags, Kind, Metadata, Payload, TraceParent};
use serde::Serialize;
use std::future::IntoFuture;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// An event that is being described. Made by [`IpcClient::publish`]; await it to publish.
#[derive(Debug)]
#[must_use = "an event is not published until it is awaited"]
pub struct PublishBuilder<'a, 'v, T: ?Sized> {
    client: &'a IpcClient,
    object: &'a str,
    topic: &'a str,
    value: Value<'v, T>,
    flags: Flags,
    encoding: Encoding,
    metadata: Metadata,
    attachments: Attachments,
    trace: Option<TraceParent>,
}

#[derive(Debug)]
enum Value<'a, T: ?Sized> {
    Typed(&'a T),
    Payload(Payload),
}

impl<'a, 'v, T: Serialize + ?Sized> PublishBuilder<'a, 'v, T> {
    pub(crate) fn new(client: &'a IpcClient, object: &'a str, topic: &'a str, value: &'v T) -> Self {
        let encoding = client.handle.shared.options.encoding;
        let (value, metadata) = (Value::Typed(value), Metadata::new());
        Self {
            client,
            object,
            topic,
            value,
            flags: Flags::NONE,
            encoding,
            metadata,
            attachments: Attachments::new(),
            trace: None,
        }
    }

    /// Keeps the value as the topic's last one: later subscribers get it first. An empty payload clears it.
    pub const fn retained(mut self) -> Self {
        self.flags = self.flags.with(Flags::RETAIN);
        self
    }

    /// The encoding of the value. Default: that of the client.
    pub const fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// What goes beside the value, at most 8 KiB.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The trace that the event belongs to, and what caused it: goes beside the value, in the metadata
    /// ([`Event::traceparent`](super::Event::traceparent)).
    pub const fn traceparent(mut self, parent: TraceParent) -> Self {
        self.trace = Some(parent);
        self
    }

    /// What travels with the value, at most 16 by default: over Unix sockets file descriptors (`OwnedFd`), closed here once they are
    /// sent and dropped. Memory whose contents, size and seals are sealed goes to any number of subscribers, anything else to one,
    /// unless [`shared`](Self::shared) says otherwise. An event that would need more goes to nobody, and a subscriber whose
    /// connection carries none (TCP) misses it; an [`acknowledged`](Self::acknowledged) publish ends with an error then, whose
    /// `may_have_run` tells whether others got it. A retained value carries none.
    pub fn attachments(mut self, attachments: impl Into<Attachments>) -> Self {
        self.attachments = attachments.into();
        self
    }

    /// Lets several subscribers have what is attached, although each of them may change it.
    pub const fn shared(mut self) -> Self {
        self.flags = self.flags.with(Flags::SHARE);
        self
    }

    /// Waits until the broker has accepted the event. Await the result for the number of subscribers it was queued
    /// to; a program may exit then and lose nothing.
    pub fn acknowledged(mut self) -> Acknowledged<'a> {
        self.flags = self.flags.with(Flags::ACK);
        Acknowledged {
            sending: self.into_future(),
        }
    }
}

impl<'a> PublishBuilder<'a, 'static, ()> {
    #[inline]
    pub(crate) fn payload(client: &'a IpcClient, object: &'a str, topic: &'a str, payload: Payload) -> Self {
        let encoding = payload.encoding;
        let (value, metadata) = (Value::Payload(payload), Metadata::new());
        Self {
            client,
            object,
            topic,
            value,
            flags: Flags::NONE,
            encoding,
            metadata,
            attachments: Attachments::new(),
            trace: None,
        }
    }
}

impl<'a, T: Serialize + ?Sized> IntoFuture for PublishBuilder<'a, '_, T> {
    type Output = Result<(), CallError>;
    type IntoFuture = Publish<'a>;

    #[inline]
    fn into_future(mut self) -> Publish<'a> {
        let (payload, encoded) = match self.value {
            Value::Payload(payload) => (payload, Ok(())),
            Value::Typed(value) => match Payload::encode(self.encoding, value) {
                Ok(payload) => (payload, Ok(())),
                Err(error) => (Payload::default(), Err(not_sent(&error))),
            },
        };
        let checked = check_metadata(&self.metadata).and_then(|()| add_trace(&mut self.metadata, self.trace));
        let refused = match checked.and(encoded) {
            Ok(()) => None,
            Err(error) => Some(Box::new(error)),
        };
        Publish {
            client: self.client,
            object: self.object,
            topic: self.topic,
            payload,
            metadata: self.metadata,
            attachments: self.attachments,
            flags: self.flags,
            over: refused.is_some(),
            refused,
            id: 0,
            halfway: None,
        }
    }
}

/// The future of a publish. Ready when the event is in the order of the connection, behind everything that was
/// published before and before everything after; waits for the broker's window and for room in the out-buffer.
///
/// Dropping it before it is ready publishes nothing. Events of one client to one topic arrive in the order in which
/// their futures became ready.
///
/// # Errors
/// NotConnected while there is no connection, Encoding, TooLarge or Invalid. Nothing was published then.
#[derive(Debug)]
#[must_use = "an event is not published until it is awaited"]
pub struct Publish<'a> {
    client: &'a IpcClient,
    object: &'a str,
    topic: &'a str,
    payload: Payload,
    metadata: Metadata,
    attachments: Attachments,
    flags: Flags,
    /// Nothing is left to be sent.
    over: bool,
    /// Why it cannot be sent.
    refused: Option<Box<CallError>>,
    /// The slot of one with an acknowledgement or in pieces.
    id: u64,
    /// For one that has to wait, or goes in pieces.
    halfway: Option<Box<Halfway>>,
}

#[derive(Debug, Default)]
struct Halfway {
    /// How much of the payload is with the broker.
    sent: usize,
    /// Some pieces are with the broker and some are not; the connection that has them.
    half: Option<u64>,
    place: Option<Place>,
    credit_place: Option<Place>,
    /// The payload was offered as a region.
    large: Option<Large>,
}

impl Future for Publish<'_> {
    type Output = Result<(), CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if this.over {
                return Poll::Ready(this.refused.take().map_or(Ok(()), |error| Err(*error)));
            }
            let region = ready!(this.poll_region(cx));
            let shared = &this.client.handle.shared;
            let mut guard = shared.lock();
            let state = &mut *guard;
            let named = match state.last_topic.is(this.object, this.topic) {
                true => Ok(()),
                false => state.last_topic.set(this.object, this.topic),
            };
            if let Err(error) = named.and_then(|()| check(state, this.id)) {
                drop(guard);
                this.over = true;
                return Poll::Ready(Err(error));
            }
            if state.publish_window <= 0 || !state.out.has_room() {
                this.wait(state, cx.waker());
                return Poll::Pending;
            }
            let begun = this
                .halfway
                .as_ref()
                .filter(|halfway| halfway.half.is_some())
                .map(|halfway| halfway.sent);
            let (sent, next, start_clock) = match begun {
                None => this.first(state)?,
                Some(sent) => {
                    let (sent, next) = this.piece(state, sent, region.as_ref());
                    (sent, next, false)
                }
            };
            let life = state.life;
            drop(guard);
            shared.perform(next);
            // Whoever wrote the frame, the socket's task keeps the time.
            if start_clock {
                shared.io.wake();
            }
            this.over = sent >= this.payload.bytes.len();
            if !this.over || this.halfway.is_some() {
                this.went_on(sent, life);
            }
        }
    }
}

impl Publish<'_> {
    /// The memory with the payload, when it was offered as a region and is taken so.
    fn poll_region(&mut self, cx: &Context<'_>) -> Poll<Option<Attachments>> {
        let Some(halfway) = &mut self.halfway else {
            return Poll::Ready(None);
        };
        let Some(large) = &mut halfway.large else {
            return Poll::Ready(None);
        };
        let (shared, id) = (&self.client.handle.shared, self.id);
        let region = ready!(large.poll(cx, &self.payload.bytes, || answered(&mut shared.lock(), id, cx)));
        if region.is_none() {
            halfway.large = None;
        }
        Poll::Ready(region)
    }

    /// The window is used up, or the out-buffer is full.
    #[cold]
    fn wait(&mut self, state: &mut State, waker: &Waker) {
        // The end of its time must be noticed too.
        if let Some(request) = state.requests.get_mut(self.id) {
            let before = request.watch(waker);
            state.bury(before);
        }
        let halfway = self.halfway.get_or_insert_default();
        if state.publish_window <= 0 {
            let before = state.publishers.wait(&mut halfway.credit_place, waker);
            state.bury(before);
        } else {
            let before = state.out.room.wait(&mut halfway.place, waker);
            state.bury(before);
        }
    }

    /// Notes how far one has come that did not go out at once.
    fn went_on(&mut self, sent: usize, life: u64) {
        let halfway = self.halfway.get_or_insert_default();
        halfway.sent = sent;
        if sent == 0 {
            halfway.large = Some(Large::Asked);
        }
        halfway.half = (!self.over).then_some(life);
        if self.over && self.id != 0 && !self.flags.has(Flags::ACK) {
            // The lock is released before it is dropped.
            let over = self.client.handle.shared.lock().requests.remove(self.id);
            drop(over);
            self.id = 0;
        }
    }

    /// Adds the first frame. Returns how much of the payload is sent, what to do, and whether the socket's task must be woken to keep
    /// the time.
    fn first(&mut self, state: &mut State) -> Result<(usize, Next, bool), CallError> {
        let bytes = &self.payload.bytes;
        let part = first_part(state, bytes.len(), true)?;
        let mut part = bytes.get(..part).unwrap_or(bytes);
        let from = self.client.handle.shared.options.regions_from;
        let offered = !self.flags.has(Flags::RETAIN) && is_offered(state, bytes.len(), from);
        if offered {
            part = &[];
        }
        state.check_attachments(&self.attachments)?;
        let whole = part.len() == bytes.len();
        let acknowledged = self.flags.has(Flags::ACK);
        let mut wake = false;
        if !whole && !offered {
            tracing::trace!(bytes = bytes.len(), way = "pieces", "a large event");
        }
        if acknowledged || !whole {
            (self.id, wake) = slot(state, self.client.handle.shared.options.deadline)?;
        }
        let idle = state.out.is_idle();
        let State { last_topic, out, .. } = state;
        let draft = Draft::new(Kind::Publish, self.id)
            .flags(
                self.flags
                    .with_if(!whole, Flags::CONTINUED)
                    .with_if(offered, Flags::OFFER),
            )
            .key(last_topic.key())
            .meta(self.metadata.as_bytes())
            .payload(self.payload.encoding, part);
        let attachments = u8::try_from(self.attachments.len()).unwrap_or(u8::MAX);
        let draft = Draft { attachments, ..draft };
        let (before, end) = (out.buffered(), out.encode_with(&draft, &self.attachments));
        let charge = out.buffered().saturating_sub(before);
        state.charge_publish(charge);
        if acknowledged
            && whole
            && let Some(request) = state.requests.get_mut(self.id)
        {
            request.end = end;
        }
        let alone = acknowledged && state.requests.len() == 1;
        let next = state.after_push(idle, if alone { Direct::Now } else { Direct::Unhurried });
        Ok((part.len(), next, wake))
    }

    /// Adds the next piece.
    fn piece(&self, state: &mut State, sent: usize, region: Option<&Attachments>) -> (usize, Next) {
        let bytes = &self.payload.bytes;
        let piece = PIECE.min(state.grants.frame_bytes as usize).max(1);
        let upto = match region {
            Some(_) => bytes.len(),
            None => sent.saturating_add(piece).min(bytes.len()),
        };
        let last = upto == bytes.len();
        let length = length_of(bytes.len());
        let mut draft = Draft::new(Kind::PublishPiece, self.id)
            .flags(Flags::NONE.with_if(!last, Flags::CONTINUED))
            .payload(self.payload.encoding, bytes.get(sent..upto).unwrap_or_default());
        if region.is_some() {
            draft = region_piece(Kind::PublishPiece, self.id, &length);
        }
        state.charge_publish(draft.wire_len());
        let idle = state.out.is_idle();
        let end = match region {
            Some(region) => state.out.encode_with(&draft, region),
            None => state.out.encode(&draft),
        };
        let now = Instant::now();
        if let Some(request) = state.requests.get_mut(self.id) {
            // A large message may take its time as long as it makes progress.
            request.expires = request.expires.max(now + request.patience);
            if last {
                request.end = end;
            }
        }
        (upto, state.after_push(idle, Direct::No))
    }

    /// Leaves the places where it waits, and takes back what it has begun.
    fn leave(&mut self) {
        let shared = &self.client.handle.shared;
        let mut halfway = self.halfway.take().unwrap_or_default();
        shared.leave(&mut halfway.place, |state| &mut state.out.room);
        shared.leave(&mut halfway.credit_place, |state| &mut state.publishers);
        if self.id == 0 {
            return;
        }
        let mut state = shared.lock();
        let over = state.requests.remove(self.id);
        // Half a message must not stay open at the broker, whether it was dropped, refused or took too long.
        let next = if halfway.half == Some(state.life) && state.check_up().is_ok() {
            state.void_publishes.push(self.id);
            state.void_publishes()
        } else {
            Next::Nothing
        };
        drop(state);
        drop(over);
        shared.perform(next);
    }
}

impl Drop for Publish<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.id != 0 || self.halfway.is_some() {
            self.leave();
        }
    }
}

/// Whether the publish can go on: there is a connection, and it is the one on which it began.
#[inline]
fn check(state: &State, id: u64) -> Result<(), CallError> {
    if id != 0
        && let Some(Err(error)) = state.requests.get(id).and_then(|request| request.answer.as_ref())
    {
        return Err(error.clone());
    }
    state.check_up()
}

/// Opens a slot for one with an acknowledgement or in pieces. Returns it, and whether the socket's task must be woken to keep
/// the time.
fn slot(state: &mut State, deadline: Option<Duration>) -> Result<(u64, bool), CallError> {
    let (now, wake) = state.coarse_now();
    let default = Duration::from_millis(u64::from(state.grants.default_deadline_ms));
    let patience = deadline
        .unwrap_or(default)
        .min(MAX_PATIENCE)
        .saturating_add(GRACE);
    let mut request = Request::new(now + patience, patience, 0);
    request.cancellable = false;
    let id = state.requests.insert(request);
    id.map(|id| (id, wake))
        .ok_or_else(|| CallError::from(ErrorCode::TooMany))
}

/// The future of an acknowledged publish: ready with the number of subscribers it was queued to.
///
/// # Errors
/// As [`Publish`], and: Deadline when the broker does not answer in the time that
/// [`ClientBuilder::deadline`](super::ClientBuilder::deadline) allows, BrokerGone when the connection ended meanwhile (then
/// `may_have_run` tells whether it may have been published), or the broker's reason for refusing it.
#[derive(Debug)]
#[must_use = "an event is not published until it is awaited"]
pub struct Acknowledged<'a> {
    sending: Publish<'a>,
}

impl Future for Acknowledged<'_> {
    type Output = Result<u32, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sending = &mut self.sending;
        ready!(Pin::new(&mut *sending).poll(cx))?;
        let shared = &sending.client.handle.shared;
        let mut state = shared.lock();
        let Some(request) = state.requests.get_mut(sending.id) else {
            return Poll::Ready(Err(CallError::from(ErrorCode::Internal)));
        };
        match request.answer.take() {
            None => {
                let before = request.watch(cx.waker());
                state.bury(before);
                Poll::Pending
            }
            Some(answer) => {
                let over = state.requests.remove(sending.id);
                drop(state);
                drop(over);
                Poll::Ready(answer.map(|answer| match answer {
                    Answer::Number(count) => count,
                    Answer::Reply(_) => 0,
                }))
            }
        }
    }
}

//! Publishing: with or without the broker's acknowledgement, retained, in any encoding and size.
//!
//! Owns the publisher's side of the window: a frame is added while the window is above zero, and its wire length is
//! taken from it.

use super::call::{check_metadata, not_sent};
use super::exchange::{MAX_PATIENCE, Outgoing};
use super::handle::{Handle, IpcClient};
use super::names::Key;
use super::request::{Answer, Request};
use super::respond::PIECE;
use super::state::{Direct, GRACE, Next, State};
use super::waiters::Place;
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Draft, Encoding, Flags, Kind, Metadata, Payload};
use serde::Serialize;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// An event that is being described. Made by [`IpcClient::publish`]; await it to publish.
#[derive(Debug)]
#[must_use = "an event is not published until it is awaited"]
pub struct PublishBuilder<'a, T: ?Sized> {
    client: &'a IpcClient,
    object: &'a str,
    topic: &'a str,
    value: Value<'a, T>,
    flags: Flags,
    encoding: Encoding,
    metadata: Metadata,
}

#[derive(Debug)]
enum Value<'a, T: ?Sized> {
    Typed(&'a T),
    Payload(Payload),
}

impl<'a, T: Serialize + ?Sized> PublishBuilder<'a, T> {
    pub(crate) fn new(client: &'a IpcClient, object: &'a str, topic: &'a str, value: &'a T) -> Self {
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

    /// Waits until the broker has accepted the event. Await the result for the number of subscribers it was queued
    /// to; a program may exit then and lose nothing.
    pub fn acknowledged(mut self) -> Acknowledged {
        self.flags = self.flags.with(Flags::ACK);
        Acknowledged {
            sending: self.into_future(),
        }
    }

    fn outgoing(self) -> Result<Outgoing, CallError> {
        let key = Key::pair(self.object, self.topic)?;
        check_metadata(&self.metadata)?;
        let payload = match self.value {
            Value::Typed(value) => Payload::encode(self.encoding, value).map_err(|error| not_sent(&error))?,
            Value::Payload(payload) => payload,
        };
        let Self {
            client,
            flags,
            metadata,
            ..
        } = self;
        Ok(Outgoing {
            attachments: Attachments::new(),
            kind: Kind::Publish,
            key,
            flags,
            metadata,
            payload,
            deadline: client.handle.shared.options.deadline,
        })
    }
}

impl<'a> PublishBuilder<'a, ()> {
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
        }
    }
}

impl<T: Serialize + ?Sized> IntoFuture for PublishBuilder<'_, T> {
    type Output = Result<(), CallError>;
    type IntoFuture = Publish;

    fn into_future(self) -> Publish {
        let handle = Arc::clone(&self.client.handle);
        let acknowledged = self.flags.has(Flags::ACK);
        let outgoing = self.outgoing().map(Some);
        Publish {
            handle,
            outgoing,
            sent: 0,
            acknowledged,
            id: 0,
            half: None,
            place: None,
            credit_place: None,
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
pub struct Publish {
    handle: Arc<Handle>,
    /// What is left to be sent.
    outgoing: Result<Option<Outgoing>, CallError>,
    sent: usize,
    acknowledged: bool,
    /// The slot of one with an acknowledgement or in pieces.
    id: u64,
    /// Some pieces are with the broker and some are not; the connection that has them.
    half: Option<u64>,
    place: Option<Place>,
    credit_place: Option<Place>,
}

impl Future for Publish {
    type Output = Result<(), CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let outgoing = match &this.outgoing {
                Ok(Some(outgoing)) => outgoing,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error.clone())),
            };
            let total = outgoing.payload.bytes.len();
            let shared = &this.handle.shared;
            let mut state = shared.lock();
            if let Err(error) = check(&state, this.id) {
                drop(state);
                this.outgoing = Ok(None);
                return Poll::Ready(Err(error));
            }
            let held = state.publish_window <= 0;
            if held || !state.out.has_room() {
                // The end of its time must be noticed too.
                if let Some(request) = state.requests.get_mut(this.id) {
                    request.waker = Some(cx.waker().clone());
                }
                if held {
                    state.publishers.wait(&mut this.credit_place, cx.waker());
                } else {
                    state.out.room.wait(&mut this.place, cx.waker());
                }
                return Poll::Pending;
            }
            let pushed = if this.id == 0 || this.sent == 0 {
                first(&mut state, outgoing).map(|(id, sent, next)| {
                    this.id = id;
                    (sent, next)
                })
            } else {
                Ok(piece(&mut state, outgoing, this.id, this.sent))
            };
            let life = state.life;
            drop(state);
            let (sent, next) = pushed?;
            shared.perform(next);
            this.sent = sent;
            this.half = (sent < total).then_some(life);
            if sent >= total {
                this.outgoing = Ok(None);
                if this.id != 0 && !this.acknowledged {
                    shared.lock().requests.remove(this.id);
                    this.id = 0;
                }
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Whether the publish can go on: there is a connection, and it is the one on which it began.
fn check(state: &State, id: u64) -> Result<(), CallError> {
    if let Some(Err(error)) = state.requests.get(id).and_then(|request| request.answer.as_ref()) {
        return Err(error.clone());
    }
    state.check_up()
}

/// Adds the first frame. Returns the slot (0: none), how much of the payload is sent, and what to do.
fn first(state: &mut State, outgoing: &Outgoing) -> Result<(u64, usize, Next), CallError> {
    let part = outgoing.first_part(state)?;
    let whole = part.len() == outgoing.payload.bytes.len();
    let acknowledged = outgoing.flags.has(Flags::ACK);
    let mut id = 0;
    let mut wake = false;
    if acknowledged || !whole {
        let (now, start_clock) = state.coarse_now();
        wake = start_clock;
        let default = Duration::from_millis(u64::from(state.grants.default_deadline_ms));
        let patience = outgoing
            .deadline
            .unwrap_or(default)
            .min(MAX_PATIENCE)
            .saturating_add(GRACE);
        let mut request = Request::new(now + patience, patience, 0);
        request.cancellable = false;
        id = state
            .requests
            .insert(request)
            .ok_or_else(|| CallError::from(ErrorCode::TooMany))?;
    }
    let idle = state.out.is_idle();
    let draft = outgoing.draft(id, part);
    state.charge_publish(draft.wire_len());
    let end = state.out.encode(&draft);
    if let Some(request) = state.requests.get_mut(id).filter(|_| whole) {
        request.end = end;
    }
    let alone = acknowledged && state.requests.len() == 1;
    let direct = if alone { Direct::Now } else { Direct::Unhurried };
    let next = state.after_push(idle, direct);
    let next = if wake && matches!(next, Next::Nothing) {
        Next::WakeSocket
    } else {
        next
    };
    Ok((id, part.len(), next))
}

/// Adds the next piece.
fn piece(state: &mut State, outgoing: &Outgoing, id: u64, sent: usize) -> (usize, Next) {
    let bytes = &outgoing.payload.bytes;
    let upto = sent
        .saturating_add(PIECE.min(state.grants.frame_bytes as usize).max(1))
        .min(bytes.len());
    let last = upto == bytes.len();
    let draft = Draft::new(Kind::PublishPiece, id)
        .flags(Flags::NONE.with_if(!last, Flags::CONTINUED))
        .payload(
            outgoing.payload.encoding,
            bytes.get(sent..upto).unwrap_or_default(),
        );
    state.charge_publish(draft.wire_len());
    let idle = state.out.is_idle();
    let end = state.out.encode(&draft);
    let now = Instant::now();
    if let Some(request) = state.requests.get_mut(id) {
        // A large message may take its time as long as it makes progress.
        request.expires = request.expires.max(now + request.patience);
        if last {
            request.end = end;
        }
    }
    (upto, state.after_push(idle, Direct::No))
}

impl Drop for Publish {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        shared.leave(&mut self.place, |state| &mut state.out.room);
        shared.leave(&mut self.credit_place, |state| &mut state.publishers);
        if self.id == 0 {
            return;
        }
        let mut state = shared.lock();
        state.requests.remove(self.id);
        // Half a message must not stay open at the broker, whether it was dropped, refused or took too long.
        let next = if self.half == Some(state.life) && state.check_up().is_ok() {
            state.void_publishes.push(self.id);
            state.void_publishes()
        } else {
            Next::Nothing
        };
        drop(state);
        shared.perform(next);
    }
}

/// The future of an acknowledged publish: ready with the number of subscribers it was queued to.
///
/// # Errors
/// As [`Publish`], and: Deadline when the broker does not answer in the time that
/// [`ClientBuilder::deadline`](super::ClientBuilder::deadline) allows, BrokerGone when the connection ended meanwhile (then
/// `may_have_run` tells whether it may have been published), or the broker's reason for refusing it.
#[derive(Debug)]
#[must_use = "an event is not published until it is awaited"]
pub struct Acknowledged {
    sending: Publish,
}

impl Future for Acknowledged {
    type Output = Result<u32, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sending = &mut self.sending;
        ready!(Pin::new(&mut *sending).poll(cx))?;
        let shared = &sending.handle.shared;
        let mut state = shared.lock();
        let Some(request) = state.requests.get_mut(sending.id) else {
            return Poll::Ready(Err(CallError::from(ErrorCode::Internal)));
        };
        match request.answer.take() {
            None => {
                request.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(answer) => {
                state.requests.remove(sending.id);
                Poll::Ready(answer.map(|answer| match answer {
                    Answer::Number(count) => count,
                    Answer::Reply(_) => 0,
                }))
            }
        }
    }
}

//! The receiving end of an endpoint.
//!
//! Owns the way from frames to typed messages, and the count of those that are of no type it knows. The queue is the client library's.
//! Made by `join`.

use super::error::RecvError;
use super::frame::read;
use super::message::Message;
use super::message_box::MessageBox;
use super::seat::Seat;
use crate::client::blocking::{block_on, block_on_for};
use crate::client::join::Joined;
use crate::client::port::Reader;
use crate::client::waiters::Place;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Receives messages of the type `R` that are sent to this endpoint's label. Dropping it takes the label off the bus; messages that were
/// not taken are reported to their senders.
pub struct EndpointReceiver<R> {
    seat: Arc<Seat>,
    reader: Mutex<Reader>,
    skipped: AtomicU64,
    /// How many bytes are told as taken at the latest.
    part: usize,
    of: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for EndpointReceiver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointReceiver")
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

/// Where a future that receives waits; it leaves that when it is dropped.
struct Waiting<'a> {
    seat: &'a Seat,
    place: Option<Place>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(joined) = self.seat.joined().filter(|_| self.place.is_some()) {
            joined.port.leave(&mut self.place);
        }
    }
}

impl<R> EndpointReceiver<R> {
    fn lock(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: MessageBox> EndpointReceiver<R> {
    pub(crate) fn new(seat: Arc<Seat>) -> Self {
        let part = seat.joined().map_or(1, Joined::part);
        Self {
            seat,
            reader: Mutex::default(),
            skipped: AtomicU64::new(0),
            part,
            of: PhantomData,
        }
    }

    /// The next message; waits for it, at most so long. Zero takes what is there, on any thread.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] when none came in time, [`RecvError::Codec`] for one that cannot be read; else why none will come.
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Message<R>, RecvError> {
        if timeout == Some(Duration::ZERO) {
            let joined = self.seat.joined().ok_or(RecvError::Forked)?;
            return self.take(joined).unwrap_or_else(|| Err(why_none(joined)));
        }
        match timeout {
            None => block_on(self.recv_async()).unwrap_or(Err(RecvError::Blocking)),
            Some(timeout) => match block_on_for(self.recv_async(), timeout) {
                Ok(received) => received.unwrap_or(Err(RecvError::Timeout)),
                Err(_) => Err(RecvError::Blocking),
            },
        }
    }

    /// The same for async code, without a limit. Cancel safe: dropping the future takes no message.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but for the timeout.
    pub async fn recv_async(&self) -> Result<Message<R>, RecvError> {
        let mut waiting = Waiting {
            seat: &self.seat,
            place: None,
        };
        poll_fn(|cx| self.poll_recv(&mut waiting.place, cx)).await
    }

    /// How many messages were skipped because they are of a type that `R` does not hold. Their senders have been told that they were
    /// taken.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn poll_recv(&self, place: &mut Option<Place>, cx: &Context<'_>) -> Poll<Result<Message<R>, RecvError>> {
        let Some(joined) = self.seat.joined() else {
            return Poll::Ready(Err(RecvError::Forked));
        };
        loop {
            if let Some(received) = self.take(joined) {
                // Whoever waited was woken for it, and stands nowhere.
                *place = None;
                return Poll::Ready(received);
            }
            if self.lock().poll_more(&joined.port, place, cx).is_pending() {
                return Poll::Pending;
            }
            // One that came just before the end goes first.
            if joined.port.ended().is_some() {
                return Poll::Ready(self.take(joined).unwrap_or_else(|| Err(why_none(joined))));
            }
        }
    }

    /// The next message that is here and is one of `R`'s.
    fn take(&self, joined: &Joined) -> Option<Result<Message<R>, RecvError>> {
        let port = &joined.port;
        let mut reader = self.lock();
        loop {
            let message = reader.next(port, |view, attachments| read::<R>(view, attachments))?;
            if let Some(taken) = reader.tell(port, self.part) {
                joined.taken(taken);
            }
            match message {
                Some(message) => return Some(message),
                None => self.skipped.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}

fn why_none(joined: &Joined) -> RecvError {
    joined.port.ended().map_or(RecvError::Timeout, RecvError::from)
}

impl<R> Drop for EndpointReceiver<R> {
    fn drop(&mut self) {
        if let Some(joined) = self.seat.joined() {
            if let Some(taken) = self.lock().tell_rest() {
                joined.taken(taken);
            }
            joined.deafen();
        }
    }
}

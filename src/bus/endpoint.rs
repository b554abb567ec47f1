//! The sending end of an endpoint.
//!
//! Owns the three ways to send: as soon as there is room, in blocking and in async code, and with word of what became of it. Windows,
//! numbers and reports are the client library's. Made by `join`.

use super::error::{ConfirmError, SendError};
use super::frame::encode;
use super::message::Message;
use super::message_box::MessageBox;
use super::report::Reports;
use super::seat::Seat;
use crate::client::blocking;
use crate::client::encoded::Encoded;
use crate::client::join::Waiting;
use crate::client::runtime::at_most;
use crate::message::id::MessageId;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Sends messages of the type `T` to the endpoints of a bus. Cloning shares the endpoint, which leaves the bus when the last clone and
/// the receiver are gone.
///
/// Messages of one endpoint that go to the same receiver arrive in the order in which they were sent, and none arrives twice. What does
/// not arrive is told by [`undelivered`](Self::undelivered). A receiver that is slow slows its senders: at most 1 MiB of messages
/// (`limits.send_window` of the host) is under way for each endpoint, counted until their receivers have taken them.
pub struct EndpointSender<T> {
    seat: Arc<Seat>,
    of: PhantomData<fn(T)>,
}

impl<T> Clone for EndpointSender<T> {
    fn clone(&self) -> Self {
        Self {
            seat: Arc::clone(&self.seat),
            of: PhantomData,
        }
    }
}

impl<T> fmt::Debug for EndpointSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSender").finish_non_exhaustive()
    }
}

/// All that a message was for have taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Its number.
    pub id: MessageId,
    /// How many have taken it: at least one.
    pub receivers: u16,
}

impl<T: MessageBox> EndpointSender<T> {
    pub(crate) const fn new(seat: Arc<Seat>) -> Self {
        let of = PhantomData;
        Self { seat, of }
    }

    /// Sends a message: ready when it has its place behind everything that this endpoint sent before. Blocks while more is under way
    /// than the window allows; while the bus has no host, messages are kept up to 256 KiB, and then it blocks.
    ///
    /// # Errors
    /// [`SendError`] says why it was not sent. That it was does not mean that it arrives: see [`undelivered`](Self::undelivered).
    pub fn send(&self, message: Message<T>) -> Result<MessageId, SendError> {
        let mut sending = self.sending(message, false)?;
        if let Poll::Ready(result) = sending.poll_send(&Context::from_waker(Waker::noop())) {
            return result;
        }
        blocking::block_on(sending).unwrap_or(Err(SendError::Blocking))
    }

    /// The same for async code. Dropping the future before it is ready sends nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async(&self, message: Message<T>) -> Result<MessageId, SendError> {
        self.sending(message, false)?.await
    }

    /// Sends a message and waits until all that it was for have taken it.
    ///
    /// # Errors
    /// [`ConfirmError::Undelivered`] when one of them did not; [`ConfirmError::Timeout`] when `timeout` was over first.
    pub fn send_confirmed(&self, message: Message<T>, timeout: Duration) -> Result<Receipt, ConfirmError> {
        // One that no clock can count to is none.
        let until = Instant::now().checked_add(timeout);
        let left = || {
            until.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(Instant::now())
            })
        };
        let blocked = |_| ConfirmError::NotSent(SendError::Blocking);
        let sending = self.sending(message, true)?;
        let id = blocking::block_on_for(sending, left())
            .map_err(blocked)?
            .ok_or(ConfirmError::NoRoom)??;
        match blocking::block_on_for(self.confirmed(id), left()).map_err(blocked)? {
            Some(outcome) => Ok(Receipt {
                id,
                receivers: outcome?,
            }),
            None => Err(ConfirmError::Timeout { id }),
        }
    }

    /// The same for async code. Dropping the future does not take back what was sent; it is then reported as any other.
    ///
    /// # Errors
    /// As [`send_confirmed`](Self::send_confirmed).
    pub async fn send_confirmed_async(
        &self,
        message: Message<T>,
        timeout: Duration,
    ) -> Result<Receipt, ConfirmError> {
        let until = Instant::now().checked_add(timeout);
        let left = || until.map(|until| until.saturating_duration_since(Instant::now()));
        let sending = self.sending(message, true)?;
        let id = at_most(left(), sending).await.ok_or(ConfirmError::NoRoom)??;
        match at_most(left(), self.confirmed(id)).await {
            Some(outcome) => Ok(Receipt {
                id,
                receivers: outcome?,
            }),
            None => Err(ConfirmError::Timeout { id }),
        }
    }

    /// What did not arrive of what this endpoint has sent, in the order in which that became known. One reader for all clones.
    #[must_use]
    pub fn undelivered(&self) -> Reports {
        Reports::new(Arc::clone(&self.seat))
    }

    /// Leaves the bus when the receiver and all clones are gone, and waits for that: what was sent before is with the host then, and if
    /// this process hosts the bus for this endpoint alone, another has been handed it, or nobody wants it. Takes a few seconds at most.
    /// With others still there it only drops this one. Dropping the last of them in a process that hosts the bus does the same, but on a
    /// thread that runs an executor or panics. A process that ends with them alive may take with it what is under way.
    ///
    /// # Errors
    /// [`SendError::Blocking`] on a thread that runs an executor; the endpoint is dropped then. [`SendError::Forked`] in a forked child,
    /// whose parent's endpoint it is.
    pub fn leave(self) -> Result<(), SendError> {
        blocking::block_on(self.leave_async()).unwrap_or(Err(SendError::Blocking))
    }

    /// The same for async code. Cancel safe: the leaving goes on.
    ///
    /// # Errors
    /// [`SendError::Forked`] in a forked child.
    pub async fn leave_async(self) -> Result<(), SendError> {
        if self.seat.joined().is_none() {
            return Err(SendError::Forked);
        }
        if let Some(seat) = Arc::into_inner(self.seat) {
            seat.leave().await;
        }
        Ok(())
    }

    fn confirmed(&self, id: MessageId) -> Confirmed<'_> {
        Confirmed {
            seat: &self.seat,
            id,
            over: false,
        }
    }

    fn sending(&self, message: Message<T>, confirm: bool) -> Result<Sending<'_>, SendError> {
        Ok(Sending {
            seat: &self.seat,
            outgoing: encode(message)?,
            waiting: None,
            confirm,
        })
    }
}

/// A message that may have to wait.
#[derive(Debug)]
struct Sending<'a> {
    seat: &'a Seat,
    outgoing: Encoded,
    waiting: Option<Waiting>,
    confirm: bool,
}

impl Sending<'_> {
    fn poll_send(&mut self, cx: &Context<'_>) -> Poll<Result<MessageId, SendError>> {
        let Some(joined) = self.seat.joined() else {
            return Poll::Ready(Err(SendError::Forked));
        };
        let mut waiting = self.waiting.take().unwrap_or_default();
        let sent = joined.poll_send(cx, &mut waiting, &mut self.outgoing, self.confirm);
        if sent.is_pending() || waiting.is_somewhere() {
            self.waiting = Some(waiting);
        }
        sent.map_err(SendError::from)
    }
}

impl Future for Sending<'_> {
    type Output = Result<MessageId, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_send(cx)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let (Some(mut waiting), Some(joined)) = (self.waiting.take(), self.seat.joined()) {
            joined.leave(&mut waiting);
        }
    }
}

/// The wait for what becomes of a message.
#[derive(Debug)]
struct Confirmed<'a> {
    seat: &'a Seat,
    id: MessageId,
    over: bool,
}

impl Future for Confirmed<'_> {
    type Output = Result<u16, ConfirmError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(joined) = self.seat.joined() else {
            return Poll::Ready(Err(SendError::Forked.into()));
        };
        let outcome = joined.poll_outcome(cx, self.id);
        self.over = outcome.is_ready();
        outcome.map_err(ConfirmError::from)
    }
}

impl Drop for Confirmed<'_> {
    fn drop(&mut self) {
        if let (false, Some(joined)) = (self.over, self.seat.joined()) {
            joined.forget_outcome(self.id);
        }
    }
}

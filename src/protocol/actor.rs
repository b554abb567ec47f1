//! An actix actor as what answers commands.
//!
//! Owns the way from a command to the actor's mailbox and back, and how much of it may be under way. Each request of a protocol is a
//! message of actix; the code of the macros asks the actor for each command and sends what it answers. It refuses to know protocols.

use super::error::{Error, Result};
use crate::client::HandlerError;
use crate::error::ErrorCode;
use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Commands that the actor may have at a time, unless said otherwise.
const CAPACITY: usize = 256;

/// The address of an actor that answers commands. Cloning shares it, and its capacity.
///
/// actix itself lets any number of messages wait whose senders wait for the answer, so what is under way is counted here: beyond
/// the [capacity](Self::with_capacity) a command is answered with `Overloaded`, and has not run. A command whose caller takes it
/// back before the actor has looked at it never reaches it.
pub struct ActorHandler<A: Actor> {
    addr: Addr<A>,
    under_way: Arc<AtomicUsize>,
    capacity: usize,
}

/// A place among the commands that an actor has.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<A: Actor> ActorHandler<A> {
    /// What sends commands to this actor, at most 256 at a time.
    #[must_use]
    pub fn new(addr: Addr<A>) -> Self {
        Self {
            addr,
            under_way: Arc::default(),
            capacity: CAPACITY,
        }
    }

    /// How many commands wait in the actor's mailbox or are being answered by it at a time, 1 at least.
    #[must_use]
    pub fn with_capacity(mut self, commands: usize) -> Self {
        self.capacity = commands.max(1);
        self
    }

    /// The actor.
    #[must_use]
    pub const fn addr(&self) -> &Addr<A> {
        &self.addr
    }

    /// Sends a message and waits for what the actor answers. Dropped before the actor has looked at the message, it takes it back.
    ///
    /// # Errors
    /// The actor's own; Overloaded when it has as many commands as it may; `CalleeGone` when it has stopped, or stops before it has
    /// answered.
    pub async fn ask<M, R>(&self, message: M) -> Result<R>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result = Result<R>> + Send + 'static,
        R: Send + 'static,
    {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.under_way);
        if before >= self.capacity {
            let text = format!("the actor has {} commands under way: try later", self.capacity);
            return Err(failed(ErrorCode::Overloaded, text));
        }
        let answer = self.addr.send(message).await;
        drop(place);
        match answer {
            Ok(answer) => answer,
            Err(_) => Err(failed(
                ErrorCode::CalleeGone,
                "the actor that answers has stopped".to_owned(),
            )),
        }
    }
}

fn failed(code: ErrorCode, text: String) -> Error {
    Error::from(HandlerError {
        code,
        ..HandlerError::new(text)
    })
}

impl<A: Actor> Clone for ActorHandler<A> {
    fn clone(&self) -> Self {
        Self {
            addr: self.addr.clone(),
            under_way: Arc::clone(&self.under_way),
            capacity: self.capacity,
        }
    }
}

impl<A: Actor> fmt::Debug for ActorHandler<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorHandler")
            .field("addr", &self.addr)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

//! An actix actor as what answers commands.
//!
//! Owns the way from a command to the actor's mailbox and back, and how much of it may be under way. Each request of a protocol is a
//! message of actix; the code of the macros asks the actor for each command and sends what it answers. It refuses to know protocols.

use super::error::{Error, Result};
use crate::client::HandlerError;
use crate::error::ErrorCode;
use actix::dev::{Request, ToEnvelope};
use actix::{Actor, Addr, Handler, Message};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Commands that the actor may have at a time, unless said otherwise.
const CAPACITY: usize = 256;

/// The address of an actor that answers commands. Cloning shares it, and its capacity.
///
/// actix itself lets any number of messages wait whose senders wait for the answer, so what is under way is counted here: beyond
/// the [capacity](Self::with_capacity) a command is answered with `Overloaded`, and does not reach the actor. A command whose caller
/// takes it back before the actor has looked at it does not reach it either, but keeps its place until the mailbox has passed it: until
/// then it takes room there. When all places are kept that way, the next command is let in beyond the capacity to find out; that one
/// alone is not taken back.
pub struct ActorHandler<A: Actor> {
    addr: Addr<A>,
    line: Arc<Mutex<Line>>,
    capacity: usize,
}

/// A request that nobody waits for, whose end is of interest.
type Kept = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The commands that an actor has, by the order in which its mailbox got them.
#[derive(Default)]
struct Line {
    next: u64,
    /// Those that are not answered.
    live: BTreeSet<u64>,
    /// Those that were taken back and may still be in the mailbox, in their order.
    left: VecDeque<u64>,
    /// The mailbox is known to have passed all below this number.
    passed: u64,
    /// The command beyond the capacity, once its caller has given it up.
    kept: Option<(u64, Kept)>,
}

impl Line {
    /// The number of a new command, and whether it is beyond the capacity; `None`: there is no place.
    fn enter(&mut self, capacity: usize) -> Option<(u64, bool)> {
        let beyond = self.live.len().saturating_add(self.left.len()) >= capacity;
        if beyond {
            // The first of those that were taken back is found to be gone by the end of any that came later.
            let first = self.left.front()?;
            if self.live.last().is_some_and(|last| last > first) {
                return None;
            }
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.live.insert(number);
        Some((number, beyond))
    }

    /// A command was answered, so the mailbox has passed it and all before it.
    fn answered(&mut self, number: u64) {
        self.live.remove(&number);
        self.passed = self.passed.max(number.saturating_add(1));
        let passed = self.passed;
        self.left.retain(|left| *left >= passed);
    }

    fn taken_back(&mut self, number: u64) {
        self.live.remove(&number);
        if number >= self.passed {
            let place = self.left.partition_point(|left| *left < number);
            self.left.insert(place, number);
        }
    }

    /// Looks whether the command that nobody waits for was answered.
    fn look(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Some((number, kept)) = &mut self.kept
            && kept.as_mut().poll(&mut cx).is_ready()
        {
            let number = *number;
            self.kept = None;
            self.answered(number);
        }
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place among the commands that an actor has.
struct Place<'a, F: Future + Send + 'static> {
    line: &'a Mutex<Line>,
    number: u64,
    beyond: bool,
    /// `None` once it was answered.
    request: Option<Pin<Box<F>>>,
    /// The answer, when it was there at once.
    early: Option<F::Output>,
}

impl<F: Future + Send + 'static> Place<'_, F> {
    async fn answer(mut self) -> Option<F::Output> {
        if let Some(early) = self.early.take() {
            return Some(early);
        }
        let answer = self.request.as_mut()?.await;
        self.request = None;
        lock(self.line).answered(self.number);
        Some(answer)
    }
}

impl<F: Future + Send + 'static> Drop for Place<'_, F> {
    fn drop(&mut self) {
        let Some(mut request) = self.request.take() else {
            return;
        };
        if self.beyond {
            let kept: Kept = Box::pin(async move {
                let _ = request.as_mut().await;
            });
            lock(self.line).kept = Some((self.number, kept));
            return;
        }
        // Its end is what takes it back.
        drop(request);
        lock(self.line).taken_back(self.number);
    }
}

impl<A: Actor> ActorHandler<A> {
    /// What sends commands to this actor, at most 256 at a time.
    #[must_use]
    pub fn new(addr: Addr<A>) -> Self {
        Self {
            addr,
            line: Arc::default(),
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
    /// The actor's own. One with the name `Overloaded` when it has as many commands as it may, and one with the name `CalleeGone` when it
    /// has stopped, or stops before it has answered. With `?` these are errors of the handler that asked, which may have done something
    /// before: its caller gets the code `Handler` with that name, and `may_have_run`. A command that is nothing but a message to the
    /// actor is better left to the protocol's `actor`, whose callers learn that it has not run.
    pub async fn ask<M, R>(&self, message: M) -> Result<R>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result = Result<R>> + Send + 'static,
        R: Send + 'static,
    {
        let asked = self.send(message).await;
        asked.unwrap_or_else(|none| Err(Error::new(none.to_string()).named(none.name())))
    }

    /// The same for a command that is the message and nothing else: what befalls the message befalls the command.
    pub(super) async fn command<M, R>(&self, message: M) -> Result<R>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result = Result<R>> + Send + 'static,
        R: Send + 'static,
    {
        self.send(message).await.unwrap_or_else(|none| {
            Err(Error::from(HandlerError {
                code: none.code(),
                ..HandlerError::new(none.to_string())
            }))
        })
    }

    async fn send<M, R>(&self, message: M) -> std::result::Result<Result<R>, Unanswered>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result = Result<R>> + Send + 'static,
        R: Send + 'static,
    {
        let place = self.enter(message);
        let place = place.ok_or(Unanswered::Overloaded(self.capacity))?;
        match place.answer().await {
            Some(Ok(answer)) => Ok(answer),
            _ => Err(Unanswered::Gone),
        }
    }

    fn enter<M, R>(&self, message: M) -> Option<Place<'_, Request<A, M>>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result = Result<R>> + Send + 'static,
        R: Send + 'static,
    {
        let mut line = lock(&self.line);
        line.look();
        let (number, beyond) = line.enter(self.capacity)?;
        let mut request = Box::pin(self.addr.send(message));
        // When the mailbox is full, the first turn is what puts it there: in the order of the numbers.
        let early = match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => {
                line.answered(number);
                Some(answer)
            }
            Poll::Pending => None,
        };
        drop(line);
        Some(Place {
            line: &self.line,
            number,
            beyond,
            request: early.is_none().then_some(request),
            early,
        })
    }
}

/// Why an actor has not answered.
#[derive(Clone, Copy, Debug)]
enum Unanswered {
    /// It has as many commands as it may, so many. The message has not reached it.
    Overloaded(usize),
    /// It has stopped, perhaps when it had the message.
    Gone,
}

impl Unanswered {
    const fn code(self) -> ErrorCode {
        match self {
            Self::Overloaded(_) => ErrorCode::Overloaded,
            Self::Gone => ErrorCode::CalleeGone,
        }
    }

    /// The name of an error of the handler that asked.
    const fn name(self) -> &'static str {
        match self {
            Self::Overloaded(_) => "Overloaded",
            Self::Gone => "CalleeGone",
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overloaded(capacity) => write!(f, "the actor has {capacity} commands under way: try later"),
            Self::Gone => f.write_str("the actor that answers has stopped"),
        }
    }
}

impl<A: Actor> Clone for ActorHandler<A> {
    fn clone(&self) -> Self {
        Self {
            addr: self.addr.clone(),
            line: Arc::clone(&self.line),
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

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;

//! The execution context of a [`Connection`]: its mailbox and the one future that drives its I/O.
//!
//! Owns the order of a turn (messages first, then the socket, which writes what they brought), the state of the actor and its end.
//! actix's own `Context` has places for further futures and for those that wait, twice: more than three hundred bytes of every idle
//! connection, and a walk through all of them in every turn. Knows nothing of sockets and frames. Called by `Listener`, which
//! starts connections, and by the runtime.

use super::Connection;
use crate::actors::messages::Deliver;
use actix::dev::{Envelope, Mailbox, OneshotSender, ToEnvelope};
use actix::{Actor, ActorContext, ActorFuture, ActorState, Addr, AsyncContext, SpawnHandle, WeakAddr};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

/// See the module's documentation.
#[derive(Debug)]
pub struct Context {
    /// Weak: an address of its own would keep two more allocations per connection.
    me: WeakAddr<Connection>,
    state: ActorState,
}

impl ActorContext for Context {
    fn stop(&mut self) {
        if self.state.alive() {
            self.state = ActorState::Stopping;
        }
    }

    fn terminate(&mut self) {
        self.state = ActorState::Stopped;
    }

    fn state(&self) -> ActorState {
        self.state
    }
}

impl AsyncContext<Connection> for Context {
    /// An address that nobody hears, once the mailbox is gone.
    fn address(&self) -> Addr<Connection> {
        let me = self.me.upgrade();
        me.unwrap_or_else(|| Mailbox::default().address())
    }

    /// Refused: a connection has one future, its I/O. The other one is dropped.
    fn spawn<F>(&mut self, _: F) -> SpawnHandle
    where
        F: ActorFuture<Connection, Output = ()> + 'static,
    {
        tracing::error!("a connection's actor runs no futures beside its I/O; one was dropped");
        SpawnHandle::default()
    }

    /// Refused like [`Self::spawn`].
    fn wait<F>(&mut self, other: F)
    where
        F: ActorFuture<Connection, Output = ()> + 'static,
    {
        self.spawn(other);
    }

    /// Whether the mailbox rests: only at the end.
    fn waiting(&self) -> bool {
        !self.state.alive()
    }

    fn cancel_future(&mut self, _: SpawnHandle) -> bool {
        false
    }
}

impl ToEnvelope<Connection, Deliver> for Context {
    fn pack(delivery: Deliver, answer: Option<OneshotSender<()>>) -> Envelope<Connection> {
        Envelope::new(delivery, answer)
    }
}

/// A connection that runs.
struct Run {
    actor: Connection,
    context: Context,
    mailbox: Mailbox<Connection>,
}

/// Starts the actor on this thread's arbiter.
pub(in crate::actors) fn start(actor: Connection) {
    let mailbox = Mailbox::default();
    let context = Context {
        me: mailbox.address().downgrade(),
        state: ActorState::Started,
    };
    actix::spawn(Run {
        actor,
        context,
        mailbox,
    });
}

impl Future for Run {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        let (actor, context) = (&mut this.actor, &mut this.context);
        if context.state == ActorState::Started {
            context.state = ActorState::Running;
            actor.started(context);
        }
        this.mailbox.poll(actor, context, cx);
        if context.state.alive() && actor.poll_io(context, cx).is_ready() {
            context.stop();
        }
        if context.state.alive() {
            return Poll::Pending;
        }
        this.end();
        Poll::Ready(())
    }
}

impl Run {
    fn end(&mut self) {
        if self.context.state == ActorState::Stopping {
            // A connection that ends never goes on; what its actor says to that is not asked.
            let _ = self.actor.stopping(&mut self.context);
        }
        self.context.terminate();
        self.actor.stopped(&mut self.context);
    }
}

/// The arbiter ends, or a handler has panicked: what others wait for from this peer is answered all the same.
impl Drop for Run {
    fn drop(&mut self) {
        if self.context.state.alive() {
            self.context.stop();
            self.end();
        }
    }
}

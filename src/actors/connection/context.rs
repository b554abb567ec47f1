//! The execution context of a [`Connection`]: what was delivered to it, and the one future that drives its I/O.
//!
//! Owns the order of a turn (deliveries first, then the socket, which writes what they brought), the state of the actor and its end.
//! actix's own `Context` has places for further futures and for those that wait, twice, and its mailbox a channel for each actor:
//! six hundred bytes of every idle connection. Here the typed messages wait in the peer (see [`inbox`]) and are handled in the order
//! in which they were posted; there is no address, because whoever has something for a connection knows its peer. Knows nothing of
//! sockets and frames. Called by `Listener`, which starts connections, and by the runtime.

use super::Connection;
use crate::actors::inbox;
use actix::{Actor, ActorContext, ActorState, Handler};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

/// See the module's documentation.
#[derive(Debug)]
pub struct Context {
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

/// A connection that runs.
struct Run {
    actor: Connection,
    context: Context,
}

/// Starts the actor on this thread's arbiter.
pub(in crate::actors) fn start(actor: Connection) {
    let context = Context {
        state: ActorState::Started,
    };
    // Boxed: the runtime gives its own block of a task the alignment of two cache lines, and the system's allocator leaves holes as large
    // as that around it. Ours is a plain block with all in it that a connection needs.
    actix::spawn(Box::pin(Run { actor, context }));
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
        while let Some(mut deliveries) = actor.take_deliveries(cx.waker()) {
            for delivery in deliveries.drain(..) {
                actor.handle(delivery, context);
            }
            inbox::keep(deliveries);
        }
        if context.state.alive() && actor.poll_io(cx).is_ready() {
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
        self.actor.close_queue();
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

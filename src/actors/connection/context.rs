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
    // Boxed: the runtime aligns its own block of a task to two cache lines, and the system's allocator leaves holes as large as that
    // around it. Ours is a plain block with all in it that a connection needs; the test below has what its size is for.
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

#[cfg(test)]
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    not(feature = "models")
))]
mod tests {
    use super::Run;
    use crate::actors::peer::Peer;

    /// What glibc makes of a block: a header of 8 bytes, in steps of 16.
    const fn taken(bytes: usize) -> usize {
        (bytes + 8).next_multiple_of(16)
    }

    /// The runtime has two blocks of each connection that are aligned to 128 bytes. Where one of them does not fall on such a place by
    /// itself, the allocator leaves up to 160 bytes of holes. So each of ours, which follow them, ends where the next may begin. How large
    /// the runtime's two are is taken for granted here; `tests/idle_memory.rs` counts them.
    #[test]
    fn the_blocks_of_an_idle_connection_leave_no_holes() {
        const ALIGNED: usize = 128;
        let (registration, task, counts) = (256, 128, 16);
        for (theirs, ours, whose) in [
            (registration, size_of::<Run>(), "Run"),
            (task, size_of::<Peer>() + counts, "Peer"),
        ] {
            assert_eq!(
                (taken(theirs) + taken(ours)) % ALIGNED,
                0,
                "{whose} takes {ours} bytes: every idle connection would cost some 200 bytes of holes; pack or box a field, \
                 or measure with `rob bench idle --connections 1000` what is better"
            );
        }
    }
}

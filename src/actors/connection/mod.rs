//! The Connection actor: one per socket. Frames in, deliveries in, effects out, one timer.
//!
//! [`life`] is the whole connection but for its socket: what a frame means is `session`'s decision, what waits to be written is
//! `outbox`'s. Reading and writing is `io`'s. The actor is never restarted: whatever goes wrong closes this connection with a
//! reason, and nothing else.

mod carry;
mod charges;
mod clock;
pub(super) mod context;
mod draining;
mod endpoints;
mod handshake;
pub mod identity;
mod io;
pub mod life;
mod noted;
pub mod open_calls;
pub mod outbox;
pub mod pace;
pub mod perform;
mod refused;
mod ring;
mod sending;
pub mod session;
pub mod slots;
mod speech;
mod translated;

use super::admission::Admission;
use super::core::Core;
use super::messages::Deliver;
use crate::transport::{ATTACHMENTS_MAX, Stream};
use actix::{Actor, Handler, Running};
use context::Context;
use identity::Evidence;
use life::{Handles, Life};
use session::Closing;
use std::sync::Arc;
use std::task::Waker;

/// One socket's actor.
pub struct Connection {
    life: Life<Core>,
    io: io::Io,
}

impl Connection {
    /// An actor for a socket that was accepted; `stream` is registered on the arbiter that will run it. One that was not let in is
    /// told why, if its format can say it, and closed.
    pub(super) fn new(
        core: Arc<Core>,
        stream: Stream,
        evidence: Evidence,
        admitted: Result<Admission, Closing>,
    ) -> Self {
        let shared = core.shared.clone();
        let process = admitted.as_ref().map_or(0, Admission::process);
        let by_word = stream.can_carry_handles();
        let most = if by_word {
            ATTACHMENTS_MAX as u32
        } else {
            stream.max_attachments()
        };
        let mut life = Life::new(core, evidence, most, admitted);
        if by_word {
            life.handles = Handles::Asked;
        }
        if stream.can_be_half_open() {
            life.listen_for_signs();
        }
        life.ring_bytes = ring::granted(&stream, &life);
        Self {
            life,
            io: io::Io::new(stream, shared, process),
        }
    }
}

impl Connection {
    /// What others have for this peer, in order; none before the welcome. `None`: nothing waits, and `task` is woken for the next.
    fn take_deliveries(&self, task: &Waker) -> Option<Vec<Deliver>> {
        self.life.me.as_ref()?.take(task)
    }

    /// Nobody handles deliveries any more: what waits is dropped, and so answered.
    fn close_queue(&self) {
        if let Some(me) = &self.life.me {
            me.close_queue();
        }
    }
}

impl Actor for Connection {
    type Context = Context;

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.life.finish();
        Running::Stop
    }
}

impl Handler<Deliver> for Connection {
    type Result = ();

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) {
        self.life.deliver(delivery);
        // The context polls the I/O after the deliveries, which writes everything in one go.
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

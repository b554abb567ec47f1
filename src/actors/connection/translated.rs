//! What a connection's life is told by the gateway in front of it, when its peer speaks an older format.
//!
//! Part of [`Life`]; owns no state of its own. Knows no format. Called by `speech`.

use super::life::{Life, Phase};
use super::perform::Rooms;
use crate::error::CloseReason;
use crate::metrics::Counter;
use crate::text;
use crate::transport::dialect::Dialect;
use std::time::Duration;

impl<R: Rooms> Life<R> {
    /// An older format has nothing of what this transport could carry beside bytes, and no answer to a ping.
    pub(super) fn without_extras(&mut self, dialect: Dialect) {
        self.dialect = Some(dialect);
        self.max_attachments = 0;
        self.ring_bytes = 0;
        self.keepalive = None;
    }

    /// What an old client's bytes have come to: whether a message has begun that is not complete, and whether its events wait for an
    /// answer.
    pub(super) fn waits_for(&mut self, begun: bool, holds_events: bool) {
        self.holds_events = holds_events;
        let now = self.rooms.shared().now();
        self.waiting_since = self.waiting_since.or(Some(now)).filter(|_| begun);
    }

    /// So many messages were given up for want of memory, and so much is kept still. What is left is more than there is memory for when
    /// a client has asked for more than it waits for.
    pub(super) fn relieved(&mut self, given_up: u64, held: usize, why: &str) {
        for _ in 0..given_up {
            self.note_refused("message", why);
        }
        if self.charge_held(held).is_err() {
            self.close(CloseReason::TooMany, why);
        }
    }

    /// What it speaks, as `sys.broker` names it.
    pub(super) fn format(&self) -> &'static str {
        self.dialect.map_or("native", Dialect::name)
    }

    /// How many connections speak its format, as of now.
    pub(super) fn speakers(&self) -> Option<&Counter> {
        let metrics = self.rooms.metrics();
        self.dialect.map(|dialect| match dialect {
            Dialect::IpcBroker => &metrics.dialect_ipc_broker,
            Dialect::IpcServer => &metrics.dialect_ipc_server,
        })
    }

    /// The peer sends nothing more. Programs of older formats never end one direction alone: most such have gone, and over TCP nobody
    /// says so. What they asked has so long; others have the deadlines of their calls.
    pub(super) fn limit_linger(&mut self) {
        let shared = self.rooms.shared();
        if self.dialect.is_some() && matches!(self.phase, Phase::Lingering(_)) {
            let patience = Duration::from_millis(u64::from(shared.limits.dialect_linger_ms));
            self.limit = shared.now().checked_add(patience);
        }
    }

    /// That time is over.
    pub(super) fn linger_is_over(&mut self) {
        let Phase::Lingering(session) = &self.phase else {
            return;
        };
        if self.dialect.is_some() {
            let calls = session.open.len();
            self.rooms.metrics().dialect_cancelled.add(calls as u64);
            tracing::debug!(pid = ?self.pid, calls, "a client of an older format has gone; what it asked is cancelled (limits.dialect_linger_ms)");
            self.close(CloseReason::Finished, "");
        }
    }

    /// It was told to go for this reason, which its format cannot say.
    pub(super) fn parted(&self, reason: CloseReason, text: &str) {
        tracing::debug!(pid = ?self.pid, %reason, text = %text::text(text), "a client of an older format was told to go, which it has no words for");
    }

    /// An old client's bytes cannot be read any further; it knows no goodbye. What it said before is done and answered.
    pub(super) fn misunderstood(&mut self, why: &str) {
        match self.phase {
            Phase::Ready(_) => {
                self.note_close(CloseReason::Protocol, why);
                self.linger(false);
            }
            Phase::Lingering(_) => self.note_close(CloseReason::Protocol, why),
            _ => self.close(CloseReason::Protocol, why),
        }
    }
}

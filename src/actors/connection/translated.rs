//! What a connection's life is told by the gateway in front of it, when its peer speaks an older format.
//!
//! Part of [`Life`]; owns no state of its own. Knows no format. Called by `speech`.

use super::life::{Life, Phase};
use super::perform::Rooms;
use crate::error::CloseReason;
use crate::text;
use std::time::Duration;

impl<R: Rooms> Life<R> {
    /// An older format has nothing of what this transport could carry beside bytes, and no answer to a ping.
    pub(super) fn without_extras(&mut self) {
        self.max_attachments = 0;
        self.ring_bytes = 0;
        self.keepalive = None;
    }

    /// What an old client's bytes have come to: whether a message has begun that is not complete, how many bytes are kept, and whether
    /// its events wait for an answer.
    pub(super) fn waits_for(&mut self, begun: bool, held: usize, holds_events: bool) {
        self.holds_events = holds_events;
        let now = self.rooms.shared().now();
        self.waiting_since = self.waiting_since.or(Some(now)).filter(|_| begun);
        self.charge_held(held);
    }

    /// Its open calls are waited for so long.
    pub(super) fn lingers_at_most(&mut self, span: Duration) {
        if matches!(self.phase, Phase::Lingering(_)) {
            self.limit = self.rooms.shared().now().checked_add(span);
        }
    }

    /// It was told to go for this reason, which its format cannot say.
    pub(super) fn parted(&self, reason: CloseReason, text: &str) {
        let usual = matches!(
            reason,
            CloseReason::Finished | CloseReason::Draining | CloseReason::Moved | CloseReason::Protocol
        );
        if !usual {
            tracing::warn!(pid = ?self.pid, %reason, text = %text::text(text), "closing a connection of an older format, which has no words for it");
        }
    }

    /// An old client's bytes cannot be read any further; it knows no goodbye.
    pub(super) fn misunderstood(&mut self, why: &str) {
        self.close(CloseReason::Protocol, why);
    }
}

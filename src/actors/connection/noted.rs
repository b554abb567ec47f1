//! What is said of a connection's end: to the log, and to whoever asks later.
//!
//! A part of [`Life`], in a file of its own.

use super::life::Life;
use super::perform::Rooms;
use crate::actors::observe::journal::Happening;
use crate::error::CloseReason;
use crate::text;

impl<R: Rooms> Life<R> {
    /// The broker closes the connection.
    pub(super) fn note_close(&self, reason: CloseReason, why: &str) {
        if matches!(
            reason,
            CloseReason::Protocol | CloseReason::Window | CloseReason::Version
        ) {
            self.rooms.metrics().protocol_errors.add(1);
            tracing::warn!(pid = ?self.pid, %reason, text = %text::text(why), "closing a connection");
        }
        if !matches!(
            reason,
            CloseReason::Draining | CloseReason::Moved | CloseReason::Finished
        ) {
            self.note(Happening::Closed, format!("{}: {why}", reason.name()));
        }
    }

    /// The connection's own code has failed.
    pub(super) fn note_panic(&self, panic: &str) {
        tracing::error!(pid = ?self.pid, panic = %text::text(panic), "a connection panicked; closing it");
        self.note(Happening::Panic, format!("a connection panicked: {panic}"));
    }

    fn note(&self, kind: Happening, text: String) {
        let peer = self.me.as_ref().map(|me| me.id());
        let pid = self.pid.map_or(0, std::num::NonZeroU32::get);
        self.rooms.shared().happened(kind, peer, pid, text);
    }
}

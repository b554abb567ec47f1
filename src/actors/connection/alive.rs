//! Whether a silent peer is still there: the broker's questions to it, and giving it up.
//!
//! Owns what a [`Keepalive`] means for a connection; when it is due is decided there. Called by [`Life`]'s clock. Only connections
//! that are served are asked: before the welcome the handshake has its own limit, afterwards open calls have their deadlines, and a
//! peer that has closed its half could not answer.

use super::life::{Life, Over, Phase};
use super::perform::Rooms;
use crate::message::{Draft, Kind};
use crate::transport::keepalive::{Due, Keepalive};
use std::time::{Duration, Instant};

impl<R: Rooms> Life<R> {
    /// From now on silence counts: the peer could vanish without a word.
    pub fn listen_for_signs(&mut self) {
        let shared = self.rooms.shared();
        let every = Duration::from_millis(u64::from(shared.limits.keepalive_ms));
        self.keepalive = Keepalive::new(every, shared.now());
    }

    /// When to look for signs of the peer next.
    pub(super) fn alive_deadline(&self) -> Option<Instant> {
        let served = matches!(self.phase, Phase::Ready(_));
        self.keepalive.as_ref().filter(|_| served).map(Keepalive::next)
    }

    /// Asks a silent peer, or finds that it has gone.
    ///
    /// # Errors
    /// [`Over`]: there is nobody to tell.
    pub(super) fn look_for_signs(&mut self, now: Instant) -> Result<(), Over> {
        if self.alive_deadline().is_none_or(|next| next > now) {
            return Ok(());
        }
        let Some(keepalive) = &mut self.keepalive else {
            return Ok(());
        };
        match keepalive.due(now) {
            Due::Nothing => Ok(()),
            Due::Ask => {
                let ping = Draft::new(Kind::Ping, 0).to_vec();
                self.outbox.push_frame(ping.into());
                Ok(())
            }
            Due::Lost => {
                let silent = keepalive.patience();
                self.rooms.metrics().vanished.add(1);
                let credentials = &self.evidence.credentials;
                tracing::info!(uid = ?credentials.uid, ?silent, "a peer has vanished (limits.keepalive_ms)");
                Err(Over)
            }
        }
    }
}

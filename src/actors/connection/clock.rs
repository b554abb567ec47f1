//! What passing time does to a connection: its limits, its calls' deadlines, and whether a silent peer is still there.
//!
//! Owns which of a [`Life`]'s times comes next and what is done then; what a [`Keepalive`] finds is decided there. Only
//! connections that are served are asked for signs: before the welcome the handshake has its own limit, afterwards open calls
//! have their deadlines, and a peer that has closed its half could not answer. Called by whoever drives the life.

use super::life::{Life, Over, Phase};
use super::perform::Rooms;
use crate::actors::peer::error_frame;
use crate::config::raise;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::{Draft, Kind};
use crate::transport::keepalive::{Due, Keepalive};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl<R: Rooms> Life<R> {
    /// When [`Self::time_passed`] is to be called next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let session = match &mut self.phase {
            Phase::Ready(session) | Phase::Lingering(session) => session.next_deadline(),
            Phase::Preface(_) | Phase::Refused(_) | Phase::Hello | Phase::Unproven(_) | Phase::Closing => {
                None
            }
        };
        [
            session,
            self.limit,
            self.progress_deadline(),
            self.alive_deadline(),
            self.arrivals_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The timer has fired, and there is nothing that it could be for.
    pub fn rest(&mut self) {
        if let Phase::Ready(session) = &mut self.phase {
            session.rest();
        }
    }

    fn progress_deadline(&self) -> Option<Instant> {
        let patience = Duration::from_millis(u64::from(self.rooms.shared().limits.frame_progress_ms));
        self.waiting_since.and_then(|since| since.checked_add(patience))
    }

    /// Ends what has lasted too long.
    ///
    /// # Errors
    /// [`Over`]: the connection itself.
    pub fn time_passed(&mut self) -> Result<(), Over> {
        let now = self.rooms.shared().now();
        if self.limit.is_some_and(|limit| limit <= now) {
            self.limit = None;
            self.overdue()?;
        }
        if self.arrivals_deadline().is_some_and(|limit| limit <= now) {
            self.arrivals_expired();
        }
        if self.progress_deadline().is_some_and(|limit| limit <= now) {
            self.waiting_since = None;
            let text = format!(
                "a started frame made no progress for limits.frame_progress_ms; send frames whole, or {}",
                raise("frame_progress_ms")
            );
            self.close(CloseReason::Timeout, &text);
        }
        self.look_for_signs(now)?;
        self.with_session(|session, effects| session.expire(now, effects));
        Ok(())
    }

    /// The handshake or the drain took too long.
    fn overdue(&mut self) -> Result<(), Over> {
        match &mut self.phase {
            Phase::Preface(_) | Phase::Hello => {
                let text = format!(
                    "the handshake took longer than limits.handshake_ms; send the Hello at once, or {}",
                    raise("handshake_ms")
                );
                self.close(CloseReason::Timeout, &text);
                Ok(())
            }
            Phase::Refused(_) => {
                self.phase = Phase::Closing;
                Ok(())
            }
            Phase::Unproven(unproven) => {
                let text = unproven.text();
                self.close(CloseReason::Denied, text);
                Ok(())
            }
            Phase::Ready(session) if session.is_draining() => {
                let error = CallError::from(ErrorCode::Draining).ran(true);
                for call in session.open.calls() {
                    self.outbox.push_frame(error_frame(call.0, &error).into());
                }
                self.close_drained();
                Ok(())
            }
            Phase::Lingering(_) => {
                self.linger_is_over();
                Ok(())
            }
            Phase::Ready(_) => Ok(()),
            Phase::Closing => {
                self.rooms.shared().cut_off.fetch_add(1, Ordering::AcqRel);
                Err(Over)
            }
        }
    }

    /// From now on silence counts: the peer could vanish without a word.
    pub fn listen_for_signs(&mut self) {
        let shared = self.rooms.shared();
        let every = Duration::from_millis(u64::from(shared.limits.keepalive_ms));
        self.keepalive = Keepalive::new(every, shared.now()).map(Box::new);
    }

    /// When to look for signs of the peer next.
    fn alive_deadline(&self) -> Option<Instant> {
        let served = matches!(self.phase, Phase::Ready(_));
        self.keepalive.as_ref().filter(|_| served).map(|it| it.next())
    }

    /// Asks a silent peer, or finds that it has gone.
    ///
    /// # Errors
    /// [`Over`]: there is nobody to tell.
    fn look_for_signs(&mut self, now: Instant) -> Result<(), Over> {
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
                tracing::info!(pid = ?self.pid, ?silent, "a peer has vanished (limits.keepalive_ms)");
                Err(Over)
            }
        }
    }
}

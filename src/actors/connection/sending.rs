//! Frames with descriptors on their way into a socket: what a write left over, and how long the socket may refuse.
//!
//! Owns the time limits of sending. Who does not read descriptors is closed; when it is the system that takes no more of them,
//! those are closed that do not read what they were sent, and the frame is given up after twice the time. Used by `io`.

use super::Connection;
use super::carry::wait_limit;
use super::io::Io;
use super::outbox::Subject;
use crate::actors::core::Shared;
use crate::error::CloseReason;
use crate::message::{Attachment, Kind};
use crate::transport::{Obstacle, passing};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Sending {
    /// The bytes that a write left over.
    pub(super) bytes: VecDeque<Bytes>,
    /// Travel with the first of the bytes that a write left over.
    pub(super) unsent: Vec<Attachment>,
    pub(super) subject: Option<Subject>,
    /// Why the system refused what was attached; the connection itself is in order.
    pub(super) rejected: Option<String>,
    /// Since when the socket takes nothing.
    stuck: Option<Instant>,
    /// When descriptors were sent last, until they are seen to be read.
    sent: Option<Instant>,
}

impl Io {
    /// Whether a write left bytes over.
    pub(super) fn has_unsent(&self) -> bool {
        self.sending
            .as_ref()
            .is_some_and(|sending| !sending.bytes.is_empty())
    }

    /// The socket took bytes; with the first of them went `attachments`.
    pub(super) fn wrote(&mut self, shared: &Shared, attachments: &[Attachment]) {
        if let Some(sending) = &mut self.sending {
            sending.stuck = None;
        }
        if !attachments.is_empty() {
            shared.metrics.attachments_out.add(attachments.len() as u64);
            attachments.iter().for_each(passing::release);
            self.sending.get_or_insert_default().sent = Some(shared.now());
        }
    }

    /// Everything is written: an idle connection keeps nothing of it.
    pub(super) fn forget_sent(&mut self) {
        let over = |sending: &Sending| {
            sending.stuck.is_none() && sending.sent.is_none() && sending.rejected.is_none()
        };
        if self.sending.as_deref().is_some_and(over) {
            self.sending = None;
        }
    }
}

impl Sending {
    /// The socket took nothing.
    pub(super) fn blocked(&mut self, shared: &Shared, obstacle: Option<Obstacle>) {
        let now = shared.now();
        self.stuck.get_or_insert(now);
        if obstacle == Some(Obstacle::InFlight) {
            let full = shared.in_flight_full.lock();
            *full.unwrap_or_else(PoisonError::into_inner) = now.checked_add(wait_limit(shared));
        }
    }
}

fn in_flight_full(shared: &Shared, now: Instant) -> bool {
    let full = shared.in_flight_full.lock();
    full.unwrap_or_else(PoisonError::into_inner)
        .is_some_and(|until| until > now)
}

impl Connection {
    /// Since when a frame with descriptors cannot be written, and how long that may last.
    fn stuck(&self) -> Option<(Instant, Duration)> {
        let sending = self.io.sending.as_ref()?;
        let waits = !sending.unsent.is_empty() || self.life.carries();
        let since = sending.stuck.filter(|_| waits)?;
        let patience = wait_limit(&self.life.rooms.shared);
        // Who cannot be sent to because of others gets as long again, in which those are closed.
        match self.io.stream.obstacle() {
            Some(Obstacle::InFlight) => Some((since, patience.saturating_mul(2))),
            _ => Some((since, patience)),
        }
    }

    /// When [`Self::sending_expired`] is to be called next.
    pub(super) fn sending_deadline(&self) -> Option<Instant> {
        let Sending { stuck, sent, .. } = self.io.sending.as_deref()?;
        if (stuck.is_none() && sent.is_none()) || self.life.is_closing() {
            return None;
        }
        let unread = sent.and_then(|since| since.checked_add(wait_limit(&self.life.rooms.shared)));
        let stuck = self.stuck().and_then(|(since, limit)| since.checked_add(limit));
        [stuck, unread].into_iter().flatten().min()
    }

    /// Ends what has taken too long.
    pub(super) fn sending_expired(&mut self) {
        let shared = self.life.rooms.shared.clone();
        let now = shared.now();
        if self.sending_deadline().is_none_or(|limit| limit > now) {
            return;
        }
        let (patience, ms) = (wait_limit(&shared), shared.limits.descriptor_wait_ms);
        let over = |since: Instant, limit| since.checked_add(limit).is_some_and(|limit| limit <= now);
        if let Some(sending) = &mut self.io.sending
            && sending.sent.is_some_and(|since| over(since, patience))
        {
            let holds = self.io.stream.holds_attachments();
            sending.sent = holds.then_some(now);
            if holds && in_flight_full(&shared, now) {
                let text = format!(
                    "it has not read for {ms} ms what it was sent with descriptors, and the system takes no more of them"
                );
                return self.life.close(CloseReason::SlowConsumer, &text);
            }
        }
        if !self.stuck().is_some_and(|(since, limit)| over(since, limit)) {
            return;
        }
        if self.io.stream.obstacle() == Some(Obstacle::InFlight) {
            let text = "too many descriptors of the broker's user are sent and not received; try again later";
            return self.give_up(text);
        }
        let text = format!(
            "it reads nothing, and descriptors have waited for it for {ms} ms (limits.descriptor_wait_ms)"
        );
        self.life.close(CloseReason::SlowConsumer, &text);
    }

    /// The frame with descriptors that is the next to be written cannot be sent.
    pub(super) fn give_up(&mut self, why: &str) {
        let Some(sending) = &mut self.io.sending else {
            return;
        };
        sending.bytes.clear();
        sending.stuck = None;
        sending.unsent.drain(..).for_each(|one| passing::release(&one));
        match sending.subject.take() {
            Some(subject) if subject.kind == Kind::Ring => self.ring_not_sent(),
            Some(subject) => self.life.not_sent(subject, why),
            None => {}
        }
    }
}

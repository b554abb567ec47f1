//! What one connection keeps in memory, charged to its process: the frame that has started, and what its socket does not take.
//!
//! Part of [`Life`]; owns no state of its own. What is queued by others is charged by them, in the peer's account.

use super::life::{Life, Phase};
use super::outbox::WriteBuf;
use super::perform::Rooms;
use crate::error::CloseReason;

impl<R: Rooms> Life<R> {
    /// The next bytes to write, about `max`; what they were charged is given back.
    pub fn fill(&mut self, max: usize, buffer: &mut WriteBuf) {
        let now = self.rooms.shared().now();
        let (first, events) = match self.holds_events {
            true => (self.outbox.fill_without_events(now, max, buffer), 0),
            false => self.outbox.fill(now, max, buffer),
        };
        if let Phase::Ready(session) | Phase::Lingering(session) = &self.phase {
            let account = &session.me().account;
            account.release(first);
            if events == 0 {
                return;
            }
            let micros = self.rooms.shared().micros(now);
            account
                .idle
                .leaves(account.events(), events, &account.room(), micros);
            if account.release_events(events) {
                self.rooms.drained(session.me().id());
            }
        }
    }

    /// The socket is full and left `unsent` bytes with us: what waits is not to keep large buffers alive, and what is not charged as
    /// queued (this rest, and the broker's own frames) is charged now.
    pub fn blocked(&mut self, unsent: usize) {
        self.outbox.compact();
        let (Phase::Ready(session) | Phase::Lingering(session)) = &self.phase else {
            return;
        };
        let backlog = self.outbox.own_bytes().saturating_add(unsent);
        if let Err(over) = session.me().account.settle(backlog) {
            self.close(CloseReason::SlowConsumer, &over.to_string());
        }
    }

    /// Everything is written: memory that was taken for it goes back.
    pub fn all_written(&self) {
        if let Phase::Ready(session) | Phase::Lingering(session) = &self.phase {
            session.me().account.all_written();
        }
    }

    /// Bytes of an old client that are kept until they can be understood.
    pub(super) fn charge_held(&mut self, held: usize) {
        let Phase::Ready(session) = &self.phase else {
            return;
        };
        let frame = session.me().account.memory.frame();
        if held == 0 {
            frame.settle(0);
        } else if let Err(over) = frame.cover(held) {
            self.close(CloseReason::TooMany, &over.to_string());
        }
    }

    /// A started frame is charged before `more` of its bytes are stored. `false`: its process has no memory for it.
    pub(super) fn charge_frame(&mut self, more: usize) -> bool {
        let buffered = self.decoder.buffered();
        let Phase::Ready(session) = &self.phase else {
            // Before the welcome the decoder takes less than what the connection itself was charged.
            return true;
        };
        let frame = session.me().account.memory.frame();
        if buffered == 0 {
            frame.settle(0);
            return true;
        }
        if let Err(over) = frame.cover(buffered.saturating_add(more)) {
            self.close(CloseReason::TooMany, &over.to_string());
            return false;
        }
        true
    }
}

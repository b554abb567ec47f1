//! What one connection keeps in memory, charged to its process: the frame that has started, and what its socket does not take.
//!
//! Part of [`Life`]; owns no state of its own. What is queued by others is charged by them, in the peer's account.

use super::life::{Life, Phase};
use super::outbox::WriteBuf;
use super::perform::{self, Rooms};
use crate::actors::accounts::OverShare;
use crate::error::CloseReason;
use crate::message::Batch;
use crate::message::frame::HELLO_BODY_MAX;
use std::sync::Arc;

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
    ///
    /// # Errors
    /// [`OverShare`]: its process has no memory for them.
    pub(super) fn charge_held(&self, held: usize) -> Result<(), OverShare> {
        let Phase::Ready(session) = &self.phase else {
            return Ok(());
        };
        let frame = session.me().account.memory.frame();
        if held == 0 {
            frame.settle(0);
            return Ok(());
        }
        frame.cover(held)
    }

    /// How many bytes may be kept of an old client of which `held` are and `more` have come: any number, where there is memory.
    pub(super) fn room_for(&self, held: usize, more: usize) -> usize {
        let Phase::Ready(session) = &self.phase else {
            return usize::MAX;
        };
        let frame = session.me().account.memory.frame();
        match frame.cover(held.saturating_add(more)) {
            Ok(()) => usize::MAX,
            Err(_) => frame.covered(),
        }
    }

    /// How many bytes of what has begun there is memory for now.
    pub(super) fn room_for_frame(&self) -> usize {
        match &self.phase {
            Phase::Ready(session) => session.me().account.memory.frame().covered(),
            _ => usize::MAX,
        }
    }

    /// A frame that is complete is charged where it goes, and no longer here: not twice at once.
    pub(super) fn settle_frame(&self) {
        if let Phase::Ready(session) = &self.phase {
            session
                .me()
                .account
                .memory
                .frame()
                .settle(self.decoder.buffered());
        }
    }

    /// What is kept of a started frame is charged, a read at a time. One that its process has no memory for is read over: who waits for
    /// something of it is told so, and the connection goes on.
    pub(super) fn charge_frame(&mut self) {
        let buffered = self.decoder.buffered();
        let Phase::Ready(session) = &self.phase else {
            // Before the welcome the decoder takes less than what the connection itself was charged.
            return;
        };
        let frame = session.me().account.memory.frame();
        if let Err(over) = frame.cover(buffered) {
            frame.settle(0);
            self.refuse_started(&over);
        }
    }

    fn refuse_started(&mut self, over: &OverShare) {
        let header = match self.decoder.read_over() {
            Ok(Some(header)) => header,
            Ok(None) => return,
            Err(error) => return self.close(CloseReason::Protocol, &error.to_string()),
        };
        self.give_up_arrivals(usize::from(header.attachments));
        self.note_refused(header.kind.name(), &over.to_string());
        let error = over.error();
        let (Phase::Ready(session), rooms) = (&mut self.phase, &*self.rooms) else {
            return;
        };
        let outbox = &mut self.outbox;
        let closing = perform::with_effects(|effects| {
            let end = match session.refuse_started(&header, &error, effects) {
                Ok(end) => end.and_then(|end| Batch::from_bytes(end.into(), HELLO_BODY_MAX).ok()),
                Err(closing) => {
                    effects.close = Some(closing);
                    None
                }
            };
            let end = end.map(Arc::new);
            perform::perform(session, outbox, rooms, effects, end.as_ref(), None)
        });
        if let Some((reason, text)) = closing {
            self.close(reason, &text);
        }
    }
}

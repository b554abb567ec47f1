//! What a connection speaks: the broker's own frames, or an older format through a [`Gateway`].
//!
//! Owns the choice, made by the first byte, and the two places where bytes pass a gateway: behind the read, in front of the write.
//! Everything else of a connection knows frames only. Steps of the actor's `io`, in a file of their own.

use super::Connection;
use super::outbox::WriteBuf;
use crate::actors::accounts::OverShare;
use crate::actors::inbox::{Post, Queue};
use crate::error::CloseReason;
use crate::message::Attachment;
use crate::transport::dialect::{BITE, Bounds, Broken, Gateway, Opening};
use bytes::Bytes;
use std::task::Context;
use std::time::Instant;

/// What is translated at once for an old client that does not read.
const PART: usize = 64 * 1024;

impl Connection {
    const fn gateway(&mut self) -> Option<&mut Gateway> {
        match &mut self.io.rare {
            Some(rare) => rare.gateway.as_mut(),
            None => None,
        }
    }

    /// Whether more may be read: an old client's bytes wait while it has no credit, or does not read its answers.
    pub(super) fn may_understand(&mut self) -> bool {
        let Some(gateway) = self.gateway() else {
            return true;
        };
        let most = gateway.unread_max();
        gateway.may_read() && (self.answers_unread() <= most || self.unsent() == 0)
    }

    /// The most to read at once, at most `most`. What an old client says may have to be left aside until it has read its answers, so no more is
    /// read than there is memory for; and little at first, because nobody knows yet what will come.
    pub(super) fn bite(&self, most: usize) -> usize {
        if self.life.is_silent() {
            return if self.life.rooms.shared.dialects().any() {
                most.min(BITE)
            } else {
                most
            };
        }
        let Some(rare) = &self.io.rare else { return most };
        let Some(gateway) = &rare.gateway else { return most };
        let (held, wanted) = (gateway.held(), rare.bite.clamp(BITE, most.max(BITE)));
        let room = self.life.room_for(held, wanted.saturating_sub(BITE));
        room.saturating_sub(held)
            .saturating_add(BITE)
            .min(wanted)
            .min(most)
    }

    /// A read that could have brought `most` has brought so much.
    pub(super) fn bitten(&mut self, count: usize, most: usize) {
        if let Some(rare) = &mut self.io.rare
            && rare.gateway.is_some()
        {
            let filled = count >= most;
            rare.bite = if filled { most.saturating_mul(4) } else { count };
        }
    }

    fn answers_unread(&self) -> usize {
        self.io.rare.as_ref().map_or(0, |rare| rare.answers)
    }

    /// The socket takes nothing, and perhaps because its client is writing. What the client needs to be read on (credit) is among what
    /// waits for it, behind calls, so these are translated now; events wait.
    pub(super) fn take_credit(&mut self, cx: &Context<'_>) {
        let most = self.life.rooms.shared.limits.outbox_bytes;
        while self.gateway().is_some_and(|gateway| !gateway.may_read()) && self.unsent() < most {
            self.life.holds_events = true;
            if !self.life.has_output() {
                return;
            }
            let mut buffer = WriteBuf::default();
            self.life.fill(PART, &mut buffer);
            self.translate(&buffer, cx);
        }
    }

    /// What one read brought: so many complete frames.
    pub(super) fn received(&mut self, bytes: &[u8], attachments: Vec<Attachment>, cx: &Context<'_>) -> usize {
        if self.life.is_silent() {
            self.choose(bytes);
        }
        let now = self.life.rooms.shared.now();
        let Some(gateway) = self.gateway() else {
            return self
                .life
                .received(bytes, attachments, &|| Post::Kept(Queue::new(cx.waker().clone())));
        };
        gateway.clock(now);
        let held = gateway.held();
        let room = self.life.room_for(held, bytes.len().saturating_sub(BITE));
        let Some(gateway) = self.gateway() else {
            return 0;
        };
        gateway.set_room(room);
        // Answers may be longer than what they are for; little is asked for and answered without a look at the memory.
        gateway.set_modest(bytes.len() <= BITE);
        let taken = gateway.take(bytes);
        // A message that goes on makes progress.
        self.life.waiting_since = None;
        let before = self.unsent();
        let begun = self.gateway().is_some_and(|gateway| gateway.has_begun());
        if begun {
            // The library of ipc-broker writes a length, and what it is of when that has arrived.
            self.io.stream.acknowledge();
        }
        let frames = self.pass_on(attachments, cx);
        let caused = self.unsent().saturating_sub(before);
        if let Some(rare) = &mut self.io.rare {
            let unread = if before == 0 { 0 } else { rare.answers };
            rare.answers = unread.saturating_add(caused);
        }
        self.understood(taken, cx);
        frames
    }

    /// When an old client is to be told what it must not be told now. As long as it does not read, never.
    pub(super) fn gateway_deadline(&mut self) -> Option<Instant> {
        let (unsent, blocked) = (self.unsent(), self.io.write_blocked);
        let gateway = self.gateway()?;
        if unsent == 0 {
            return gateway.due();
        }
        if blocked {
            gateway.unread();
        }
        None
    }

    /// Tells it what is due.
    pub(super) fn gateway_time_passed(&mut self, cx: &Context<'_>) {
        let now = self.life.rooms.shared.now();
        if self.gateway_deadline().is_none_or(|due| now < due) {
            return;
        }
        if let Some(gateway) = self.gateway() {
            gateway.clock(now);
            gateway.time_passed();
            self.pass_on(Vec::new(), cx);
            self.understood(Ok(()), cx);
        }
    }

    /// Goes on with what was read and left aside, now that what it caused is written. `false`: there is nothing of the kind.
    pub(super) fn catch_up(&mut self, cx: &Context<'_>) -> bool {
        if !self.gateway().is_some_and(|gateway| gateway.is_behind()) {
            return false;
        }
        self.received(&[], Vec::new(), cx);
        true
    }

    /// What is foreign is refused by the handshake.
    fn choose(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        if let Opening::Old(dialect) = self.life.rooms.shared.dialects().opening(*first) {
            self.life.without_extras(dialect);
            let limits = &self.life.rooms.shared.limits;
            let bounds = Bounds {
                unread_bytes: limits.dialect_unread_bytes,
                document_bytes: limits.dialect_document_bytes,
                patience_ms: limits.dialect_patience_ms,
                gap_ms: limits.dialect_gap_ms,
                ack_ms: limits.dialect_ack_ms,
                calls: limits.dialect_calls,
                call_bytes: limits.dialect_call_bytes,
            };
            let gateway = Gateway::new(dialect, bounds);
            self.io.rare.get_or_insert_default().gateway = Some(gateway);
        }
    }

    /// Hands the gateway's frames to the broker, and its bytes to the socket.
    fn pass_on(&mut self, attachments: Vec<Attachment>, cx: &Context<'_>) -> usize {
        let Some(gateway) = self.gateway() else {
            return 0;
        };
        let output = std::mem::take(gateway.output());
        let native = std::mem::take(gateway.native());
        if !output.is_empty() {
            let sending = self.io.sending.get_or_insert_default();
            sending.bytes.push_back(Bytes::from(output));
        }
        if native.is_empty() && attachments.is_empty() {
            return 0;
        }
        self.life.received(&native, attachments, &|| {
            Post::Kept(Queue::new(cx.waker().clone()))
        })
    }

    /// What follows from bytes that a gateway has read.
    fn understood(&mut self, read: Result<(), Broken>, cx: &Context<'_>) {
        let Some(gateway) = self.gateway() else {
            return;
        };
        let (begun, held, holds) = (gateway.has_begun(), gateway.held(), gateway.holds_events());
        let (unshown, services) = (gateway.take_unshown(), gateway.take_services());
        let (farewell, refused) = (gateway.take_farewell(), gateway.take_refused());
        for (object, unit) in services {
            self.named(&object, &unit);
        }
        if let Some((reason, text)) = farewell {
            self.life.parted(reason, &text);
        }
        self.life.rooms.shared.metrics.dialect_unshown.add(unshown);
        for _ in 0..refused {
            self.life.note_refused("request", "limits.memory_bytes_total");
        }
        match read {
            Ok(()) => {
                self.life.waits_for(begun, holds);
                if let Err(over) = self.life.charge_held(held) {
                    self.relieve(&over, cx);
                }
            }
            Err(broken) => self.life.misunderstood(&broken.to_string()),
        }
    }

    /// There is no memory for what is kept for an old client: what can be given up is, and who waits for it is told.
    fn relieve(&mut self, over: &OverShare, cx: &Context<'_>) {
        let why = over.to_string();
        let room = self.life.room_for_frame();
        let Some(gateway) = self.gateway() else { return };
        let relieved = gateway.relieve(room, &why);
        let (held, unshown, begun) = (gateway.held(), gateway.take_unshown(), gateway.has_begun());
        self.life.rooms.shared.metrics.dialect_unshown.add(unshown);
        self.pass_on(Vec::new(), cx);
        let again = self.life.waiting_since.filter(|_| begun);
        self.life.waiting_since = again;
        match relieved {
            Ok(given_up) => self.life.relieved(given_up, held, &why),
            Err(_) => self.life.close(CloseReason::TooMany, &why),
        }
    }

    /// The client says which unit provides an object. What the descriptions say as well needs nothing; anything else would let a client
    /// choose what the broker starts.
    fn named(&self, object: &str, unit: &str) {
        let shared = &self.life.rooms.shared;
        if !shared.services.get().lists(object, unit) {
            self.life.note_service(object, unit);
        }
    }

    /// Gives the gateway what waits for its client. `false`: there is no gateway, and the bytes are for the socket.
    pub(super) fn translate(&mut self, buffer: &WriteBuf, cx: &Context<'_>) -> bool {
        if self.io.rare.is_none() {
            return false;
        }
        let now = self.life.rooms.shared.now();
        let Some(gateway) = self.gateway() else {
            return false;
        };
        gateway.clock(now);
        let mut given = Ok(());
        for slice in super::io::slices(buffer) {
            given = given.and_then(|()| gateway.give(&slice));
        }
        self.pass_on(Vec::new(), cx);
        self.understood(given, cx);
        true
    }
}

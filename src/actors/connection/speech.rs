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
use crate::transport::dialect::{Broken, Gateway, Opening};
use bytes::Bytes;
use std::task::Context;
use std::time::Instant;

/// Bytes of answers to its own requests that an old client may leave unread before nothing more of it is read. What others have for it
/// does not count: it may be about to answer a call, and must not be kept from that.
const UNREAD_MAX: usize = 64 * 1024;

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
        gateway.may_read() && (self.answers_unread() <= UNREAD_MAX || self.unsent() == 0)
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
            self.life.fill(UNREAD_MAX, &mut buffer);
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
        let room = self.life.room_for(held, bytes.len());
        let Some(gateway) = self.gateway() else {
            return 0;
        };
        gateway.set_room(room);
        let taken = gateway.take(bytes);
        // A message that goes on makes progress.
        self.life.waiting_since = None;
        let before = self.unsent();
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
            let gateway = Gateway::new(dialect).with_queue(limits.dialect_calls, limits.dialect_call_bytes);
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
        let farewell = gateway.take_farewell();
        for (object, unit) in services {
            self.named(&object, &unit);
        }
        if let Some((reason, text)) = farewell {
            self.life.parted(reason, &text);
        }
        self.life.rooms.shared.metrics.dialect_unshown.add(unshown);
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

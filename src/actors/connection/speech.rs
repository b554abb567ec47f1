//! What a connection speaks: the broker's own frames, or an older format through a [`Gateway`].
//!
//! Owns the choice, made by the first byte, and the two places where bytes pass a gateway: behind the read, in front of the write.
//! Everything else of a connection knows frames only. Steps of the actor's `io`, in a file of their own.

use super::Connection;
use super::outbox::WriteBuf;
use crate::actors::inbox::{Post, Queue};
use crate::message::Attachment;
use crate::transport::dialect::{Broken, Gateway, Opening};
use bytes::Bytes;
use std::task::Context;

/// Bytes that an old client may leave unread before nothing more of it is read.
const UNREAD_MAX: usize = 64 * 1024;

/// What a connection speaks.
#[derive(Debug, Default)]
pub(super) enum Speech {
    /// Nothing has come yet.
    #[default]
    Unknown,
    /// The broker's frames, or what the handshake will refuse.
    Native,
    /// An older format.
    Old(Box<Gateway>),
}

impl Speech {
    /// Whether more may be read: an old client's bytes wait while it has no credit.
    pub(super) fn may_read(&self, unsent: usize) -> bool {
        match self {
            Self::Unknown | Self::Native => true,
            Self::Old(gateway) => gateway.may_read() && unsent <= UNREAD_MAX,
        }
    }
}

impl Connection {
    /// What one read brought: so many complete frames.
    pub(super) fn received(&mut self, bytes: &[u8], attachments: Vec<Attachment>, cx: &Context<'_>) -> usize {
        if matches!(self.io.speech, Speech::Unknown) {
            self.choose(bytes);
        }
        let Speech::Old(gateway) = &mut self.io.speech else {
            return self
                .life
                .received(bytes, attachments, &|| Post::Kept(Queue::new(cx.waker().clone())));
        };
        // A message that goes on makes progress.
        self.life.waiting_since = None;
        let taken = gateway.take(bytes);
        let frames = self.pass_on(attachments, cx);
        self.understood(taken);
        frames
    }

    fn choose(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        self.io.speech = match self.life.rooms.shared.dialects().opening(*first) {
            Opening::Old(dialect) if self.life.is_stranger() => {
                self.life.without_extras();
                Speech::Old(Box::new(Gateway::new(dialect)))
            }
            // The handshake refuses what is foreign.
            _ => Speech::Native,
        };
    }

    /// Hands the gateway's frames to the broker, and its bytes to the socket.
    fn pass_on(&mut self, attachments: Vec<Attachment>, cx: &Context<'_>) -> usize {
        let Speech::Old(gateway) = &mut self.io.speech else {
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
    fn understood(&mut self, read: Result<(), Broken>) {
        let Speech::Old(gateway) = &mut self.io.speech else {
            return;
        };
        let metrics = &self.life.rooms.shared.metrics;
        metrics.dialect_unshown.add(gateway.take_unshown());
        let (begun, held, holds) = (gateway.has_begun(), gateway.held(), gateway.holds_events());
        match read {
            Ok(()) => self.life.waits_for(begun, held, holds),
            Err(broken) => self.life.misunderstood(&broken.to_string()),
        }
    }

    /// Gives the gateway what waits for its client. `false`: there is no gateway, and the bytes are for the socket.
    pub(super) fn translate(&mut self, buffer: &WriteBuf, cx: &Context<'_>) -> bool {
        let Speech::Old(gateway) = &mut self.io.speech else {
            return false;
        };
        let mut given = Ok(());
        for slice in super::io::slices(buffer) {
            given = given.and_then(|()| gateway.give(&slice));
        }
        self.pass_on(Vec::new(), cx);
        self.understood(given);
        true
    }
}

//! Frames encoded for the socket, straight from the batches that they came in.
//!
//! Owns the bytes of one write. Pure; called by the outbox it belongs to, emptied by `io`.

use super::Out;
use crate::actors::deliver::charge;
use crate::actors::messages::{EventItem, EventMark};
use crate::actors::planted::{self, Bug};
use crate::message::{Attachment, Batch, Draft, Flags, Kind};
use bytes::Bytes;
use std::time::Instant;

/// Payloads up to this many bytes are copied together; larger ones are written from where they lie.
const COPY_MAX: usize = 8 * 1024;

/// Bytes for one write: copied small frames with large payloads between them.
#[derive(Debug, Default)]
pub struct WriteBuf {
    /// Heads and small payloads, back to back.
    pub copied: Vec<u8>,
    /// Payloads by reference: each goes before the byte of `copied` at its position.
    pub shared: Vec<(usize, Bytes)>,
    /// Travel with the first byte.
    pub attachments: Vec<Attachment>,
    /// The frame that carries them: its kind, and its number for the receiver.
    pub subject: Option<(Kind, u64)>,
    /// Nothing follows these bytes on the socket.
    pub last_on_socket: bool,
    len: usize,
}

impl WriteBuf {
    /// Bytes in all.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.shared.clear();
        self.attachments.clear();
        self.subject = None;
        self.last_on_socket = false;
        self.len = 0;
    }

    /// Adds a frame that is complete.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
        self.len = self.len.saturating_add(bytes.len());
    }

    fn carry(&mut self, draft: &Draft<'_>, attachments: &[Attachment]) {
        if !attachments.is_empty() {
            self.attachments.extend_from_slice(attachments);
            self.subject = Some((draft.kind, draft.id));
        }
    }

    fn frame(&mut self, draft: &Draft<'_>, batch: &Batch) {
        draft.encode_head(&mut self.copied);
        if draft.payload.len() <= COPY_MAX {
            self.copied.extend_from_slice(draft.payload);
        } else {
            self.shared.push((self.copied.len(), batch.share(draft.payload)));
        }
        self.len = self.len.saturating_add(draft.wire_len());
    }
}

/// Writes one event. Returns what it was charged.
pub(super) fn write_event(batch: &Batch, item: &EventItem, out: &mut WriteBuf) -> usize {
    let id = item.subscription.0;
    if item.mark.has(EventMark::ABORT) {
        let abort = Draft::new(Kind::EventPiece, id)
            .aux(item.missed)
            .flags(Flags::ABORT);
        out.frame(&abort, batch);
        return 0;
    }
    if item.mark.has(EventMark::GAP) {
        out.frame(&Draft::new(Kind::Gap, id).aux(item.missed), batch);
        return 0;
    }
    let Some(view) = batch.view(item.frame as usize) else {
        return 0;
    };
    let piece = view.header.kind == Kind::PublishPiece;
    let retained = item.mark.has(EventMark::RETAINED);
    let kept = Flags(view.header.flags.0 & (Flags::CONTINUED.0 | if piece { Flags::ABORT.0 } else { 0 }));
    let message = Draft::new(Kind::EventPiece, id);
    let mut draft = Draft {
        kind: if piece { Kind::EventPiece } else { Kind::Event },
        ..message
    }
    .aux(item.missed)
    .flags(kept.with_if(retained && !piece, Flags::RETAINED))
    .meta(view.meta)
    .payload(view.header.encoding, view.payload);
    if item.mark.has(EventMark::WITH_KEY) {
        draft = draft.key(view.key);
    }
    out.frame(&draft, batch);
    charge(view.header.wire_len())
}

/// What is left of deadlines: calls of one batch mostly share theirs.
#[derive(Debug)]
pub(super) struct Left {
    now: Instant,
    last: Option<(Instant, u32)>,
}

impl Left {
    pub(super) const fn new(now: Instant) -> Self {
        Self { now, last: None }
    }

    /// In milliseconds, at least one.
    fn of(&mut self, deadline: Instant) -> u32 {
        if let Some((last, left)) = self.last
            && last == deadline
        {
            return left;
        }
        let left = deadline.saturating_duration_since(self.now).as_millis();
        let left = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        self.last = Some((deadline, left));
        left
    }
}

/// Writes one frame of the first lane. Returns what it was charged.
pub(super) fn write(next: &Out, left: &mut Left, out: &mut WriteBuf) -> usize {
    match next {
        Out::Frame(frame) => {
            out.bytes(frame);
            0
        }
        Out::LastOnSocket(frame) => {
            out.last_on_socket = true;
            out.bytes(frame);
            0
        }
        Out::Ring(offer) => {
            out.attachments.extend_from_slice(&offer.attachments);
            out.subject = Some((Kind::Ring, 0));
            out.bytes(&offer.frame);
            0
        }
        Out::Forward { batch, frame, id } => {
            let Some(view) = batch.view(*frame as usize) else {
                return 0;
            };
            let draft = Draft {
                kind: view.header.kind,
                flags: view.header.flags,
                attachments: view.header.attachments,
                ..Draft::new(Kind::Reply, *id)
            }
            .aux(view.header.aux)
            .meta(view.meta)
            .key(view.key)
            .payload(view.header.encoding, view.payload);
            out.carry(&draft, batch.attachments(*frame as usize));
            out.frame(&draft, batch);
            if planted::is(Bug::ChargeLeaked) {
                return 0;
            }
            charge(view.header.wire_len())
        }
        Out::Invoke {
            batch,
            frame,
            ticket,
            deadline,
            from,
        } => {
            let Some(view) = batch.view(*frame as usize) else {
                return 0;
            };
            let mut origin = from.origin;
            if planted::is(Bug::OriginForged) {
                origin.peer.0 = origin.peer.0.wrapping_add(1);
            }
            let draft = Draft {
                origin: Some(origin),
                meta: [&from.sys_meta, view.meta],
                attachments: view.header.attachments,
                ..Draft::new(Kind::Call, ticket.0)
            }
            .flags(view.header.flags.without(Flags::META))
            .aux(left.of(*deadline))
            .key(view.key)
            .payload(view.header.encoding, view.payload);
            out.carry(&draft, batch.attachments(*frame as usize));
            out.frame(&draft, batch);
            charge(view.header.wire_len())
        }
    }
}

//! Frames encoded for the socket, straight from the batches that they came in.
//!
//! Owns the bytes of one write. Pure; called by the outbox it belongs to, emptied by `io`.

use super::again::Again;
use crate::actors::deliver::charge;
use crate::actors::messages::{EventItem, EventMark, Invoke};
use crate::actors::peer::PeerRef;
use crate::actors::planted::{self, Bug};
use crate::message::frame::{FrameView, ORIGIN_LEN};
use crate::message::{Attachment, Batch, Draft, Flags, Header, Kind, Origin};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// Payloads up to this many bytes are copied together; larger ones are written from where they lie.
const COPY_MAX: usize = 8 * 1024;

/// Flags of blocks that lie in front of the key: without them, key and payload follow the head.
const IN_FRONT: u16 = Flags::META.0 | Flags::ORIGIN.0;

/// What makes an event more than a head and a payload.
const UNUSUAL: u16 = IN_FRONT | Flags::CONTINUED.0;
const MARKS: u8 = EventMark::WITH_KEY | EventMark::RETAINED;

/// A frame with attachments, for whoever is to be told when it cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What it is.
    pub kind: Kind,
    /// Its number for the receiver.
    pub id: u64,
    /// Of an event: what it tells of those before it, or the number of its message. Of anything else 0.
    pub missed: u32,
    /// Nobody waits for its outcome: a call without reply.
    pub is_silent: bool,
}

impl Subject {
    /// A frame whose outcome somebody waits for.
    pub(super) const fn new(kind: Kind, id: u64) -> Self {
        Self {
            kind,
            id,
            missed: 0,
            is_silent: false,
        }
    }
}

/// Bytes for one write: copied small frames with large payloads between them.
#[derive(Debug, Default)]
pub struct WriteBuf {
    /// Heads and small payloads, back to back.
    pub copied: Vec<u8>,
    /// Payloads by reference: each goes before the byte of `copied` at its position.
    pub shared: Vec<(usize, Bytes)>,
    /// Travel with the first byte.
    pub attachments: Vec<Attachment>,
    /// The frame that carries them.
    pub subject: Option<Subject>,
    /// Nothing follows these bytes on the socket.
    pub last_on_socket: bool,
    /// Survives the write: for the next peer.
    again: Again,
    len: usize,
}

impl WriteBuf {
    /// Bytes in all.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing may be added: what carries attachments is a write of its own, and nothing follows the last frame on a socket.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.attachments.is_empty() || self.last_on_socket
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

    /// Attachments of the frame that is added next. Returns how many.
    pub(super) fn carry(&mut self, subject: Subject, attachments: &[Attachment]) -> u8 {
        if !attachments.is_empty() {
            self.attachments.extend_from_slice(attachments);
            self.subject = Some(subject);
        }
        u8::try_from(attachments.len()).unwrap_or(u8::MAX)
    }

    /// The same for an event.
    fn carry_event(&mut self, batch: &Batch, item: &EventItem) -> u8 {
        if !batch.has_attachments() {
            return 0;
        }
        let piece = batch
            .header(item.frame as usize)
            .is_some_and(|header| header.kind == Kind::PublishPiece);
        let (kind, missed) = match (piece, item.mark.has(EventMark::NUMBERED)) {
            // The number of its message.
            (true, _) => (Kind::EventPiece, item.missed),
            (false, true) => (Kind::Event, 0),
            (false, false) => (Kind::Event, item.missed),
        };
        let attachments = batch.attachments(item.frame as usize);
        let subject = Subject {
            missed,
            ..Subject::new(kind, item.subscription.0)
        };
        self.carry(subject, attachments)
    }

    /// Adds a frame of a head and what comes behind it, which lies in one piece in the batch.
    #[inline]
    pub(super) fn plain<const WORDS: usize>(&mut self, head: [[u8; 8]; WORDS], body: &[u8], batch: &Batch) {
        let head = head.as_flattened();
        let length = head.len().saturating_add(body.len());
        if body.len() <= COPY_MAX {
            self.copied.reserve(length);
            self.copied.extend_from_slice(head);
            self.copied.extend_from_slice(body);
        } else {
            self.copied.extend_from_slice(head);
            self.shared.push((self.copied.len(), batch.share(body)));
        }
        self.len = self.len.saturating_add(length);
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

/// Writes the events of an item, at least one, until there are about `max` bytes. Returns what they were charged, and how many.
pub(super) fn write_events(
    batch: &Arc<Batch>,
    item: &EventItem,
    max: usize,
    out: &mut WriteBuf,
) -> (usize, u32) {
    if item.count <= 1 {
        return (write_event(batch, item, out), 1);
    }
    let room = max.saturating_sub(out.len());
    let (before, shared) = (out.copied.len(), out.shared.len());
    if let Some(charged) = out.again.copy(batch, item, room, &mut out.copied) {
        let more = out.copied.len().saturating_sub(before);
        out.len = out.len.saturating_add(more);
        return (charged, item.count);
    }
    let (charged, written) = encode_events(batch, item, max, out);
    if out.shared.len() == shared {
        let bytes = out.copied.get(before..).unwrap_or_default();
        let run = EventItem {
            count: written,
            ..*item
        };
        out.again.keep(batch, &run, bytes, charged);
    }
    (charged, written)
}

fn encode_events(batch: &Batch, item: &EventItem, max: usize, out: &mut WriteBuf) -> (usize, u32) {
    let with_key = item.mark.has(EventMark::WITH_KEY);
    let (mut charged, mut written, mut missed) = (0_usize, 0_u32, item.missed);
    for (header, body) in batch.bodies(item.frame as usize).take(item.count as usize) {
        if out.len() >= max && written > 0 {
            return (charged, written);
        }
        let skipped = if with_key { 0 } else { header.key_len };
        let body = body.get(usize::from(skipped)..).unwrap_or_default();
        let event = Header {
            body_len: header.body_len.saturating_sub(u32::from(skipped)),
            kind: Kind::Event,
            encoding: header.encoding,
            flags: Flags::NONE,
            id: item.subscription.0,
            aux: std::mem::take(&mut missed),
            key_len: header.key_len.saturating_sub(skipped),
            attachments: 0,
        };
        out.plain(event.bytes(), body, batch);
        charged = charged.saturating_add(charge(header.wire_len()));
        written = written.saturating_add(1);
    }
    (charged, item.count)
}

/// Writes one event. Returns what it was charged.
fn write_event(batch: &Batch, item: &EventItem, out: &mut WriteBuf) -> usize {
    let id = item.subscription.0;
    if item.mark.0 & (EventMark::ABORT | EventMark::GAP) != 0 {
        return write_note(batch, item, out);
    }
    let Some((header, body)) = batch.body(item.frame as usize) else {
        return 0;
    };
    let attachments = out.carry_event(batch, item);
    if item.mark.0 & MARKS == 0 && header.kind == Kind::Publish && header.flags.0 & UNUSUAL == 0 {
        let payload = body.get(usize::from(header.key_len)..).unwrap_or_default();
        let event = Header {
            body_len: header.body_len.saturating_sub(u32::from(header.key_len)),
            kind: Kind::Event,
            encoding: header.encoding,
            flags: Flags::NONE,
            id,
            aux: item.missed,
            key_len: 0,
            attachments,
        };
        out.plain(event.bytes(), payload, batch);
        return charge(header.wire_len());
    }
    write_unusual_event(batch, item, (header, body), attachments, out)
}

/// What a subscriber is told in the place of an event.
fn write_note(batch: &Batch, item: &EventItem, out: &mut WriteBuf) -> usize {
    let id = item.subscription.0;
    let note = if item.mark.has(EventMark::ABORT) {
        Draft::new(Kind::EventPiece, id).flags(Flags::ABORT)
    } else {
        Draft::new(Kind::Gap, id)
    };
    out.frame(&note.aux(item.missed), batch);
    0
}

/// An event with its key, of a retained value, in pieces, or with metadata.
fn write_unusual_event(
    batch: &Batch,
    item: &EventItem,
    (header, body): (&Header, &[u8]),
    attachments: u8,
    out: &mut WriteBuf,
) -> usize {
    let id = item.subscription.0;
    let piece = header.kind == Kind::PublishPiece;
    if header.is_region() && attachments == 0 {
        // A region without its memory would end the receiver's connection: it misses the event instead.
        out.frame(
            &Draft::new(Kind::EventPiece, id)
                .flags(Flags::ABORT)
                .aux(item.missed),
            batch,
        );
        out.frame(&Draft::new(Kind::Gap, id).aux(1), batch);
        return charge(header.wire_len());
    }
    let retained = item.mark.has(EventMark::RETAINED);
    let kept = Flags(
        header.flags.0
            & (Flags::CONTINUED.0
                | if piece {
                    Flags::ABORT.0 | Flags::REGION.0
                } else {
                    0
                }),
    );
    let kind = if piece { Kind::EventPiece } else { Kind::Event };
    let flags = kept.with_if(retained && !piece, Flags::RETAINED);
    let with_key = item.mark.has(EventMark::WITH_KEY);
    if header.flags.0 & IN_FRONT == 0 {
        let key_len = if with_key { header.key_len } else { 0 };
        let skipped = header.key_len.saturating_sub(key_len);
        let body = body.get(usize::from(skipped)..).unwrap_or_default();
        let event = Header {
            body_len: header.body_len.saturating_sub(u32::from(skipped)),
            kind,
            flags,
            id,
            aux: item.missed,
            key_len,
            attachments,
            ..*header
        };
        out.plain(event.bytes(), body, batch);
        return charge(header.wire_len());
    }
    let Ok(view) = FrameView::split(header, body) else {
        return 0;
    };
    let mut draft = Draft {
        kind,
        attachments,
        ..Draft::new(Kind::Event, id)
    }
    .aux(item.missed)
    .flags(flags)
    .meta(view.meta)
    .payload(header.encoding, view.payload);
    if with_key {
        draft = draft.key(view.key);
    }
    out.frame(&draft, batch);
    charge(header.wire_len())
}

/// A message with metadata.
pub(super) fn write_unusual_message(
    batch: &Batch,
    (header, body): (&Header, &[u8]),
    endpoint: u64,
    origin: Origin,
    out: &mut WriteBuf,
) {
    let Ok(view) = FrameView::split(header, body) else {
        return;
    };
    let draft = Draft {
        origin: Some(origin),
        attachments: header.attachments,
        ..Draft::new(Kind::Message, endpoint)
    }
    .meta(view.meta)
    .payload(header.encoding, view.payload);
    out.frame(&draft, batch);
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

/// Writes a frame of another peer under another number. Returns what it was charged.
pub(super) fn write_forward(batch: &Batch, frame: u32, id: u64, out: &mut WriteBuf) -> usize {
    let Some((header, body)) = batch.body(frame as usize) else {
        return 0;
    };
    out.carry(Subject::new(header.kind, id), batch.attachments(frame as usize));
    if header.flags.0 & IN_FRONT == 0 {
        let head = Header { id, ..*header };
        out.plain(head.bytes(), body, batch);
    } else if let Ok(view) = FrameView::split(header, body) {
        let draft = Draft {
            kind: header.kind,
            flags: header.flags,
            attachments: header.attachments,
            ..Draft::new(Kind::Reply, id)
        }
        .aux(header.aux)
        .meta(view.meta)
        .key(view.key)
        .payload(header.encoding, view.payload);
        out.frame(&draft, batch);
    }
    if planted::is(Bug::ChargeLeaked) {
        return 0;
    }
    charge(header.wire_len())
}

/// Writes a call, with its caller and what is left of its deadline. Returns what it was charged.
pub(super) fn write_call(
    batch: &Batch,
    call: &Invoke,
    from: &PeerRef,
    left: &mut Left,
    out: &mut WriteBuf,
) -> usize {
    let Some((header, body)) = batch.body(call.frame as usize) else {
        return 0;
    };
    let mut origin = from.origin;
    if planted::is(Bug::OriginForged) {
        origin.peer.0 = origin.peer.0.wrapping_add(1);
    }
    let (id, aux) = (call.ticket.0, left.of(call.deadline));
    let subject = Subject {
        is_silent: header.flags.has(Flags::NO_REPLY),
        ..Subject::new(Kind::Call, id)
    };
    out.carry(subject, batch.attachments(call.frame as usize));
    if header.flags.0 & IN_FRONT == 0 && from.sys_meta().is_empty() {
        let [peer, process] = origin.bytes();
        let [first, second, third] = Header {
            body_len: header.body_len.saturating_add(ORIGIN_LEN as u32),
            flags: header.flags.with(Flags::ORIGIN),
            id,
            aux,
            ..*header
        }
        .bytes();
        let head = [first, second, third, peer, process];
        out.plain(head, body, batch);
    } else if let Ok(view) = FrameView::split(header, body) {
        let draft = Draft {
            origin: Some(origin),
            meta: [from.sys_meta(), view.meta],
            attachments: header.attachments,
            ..Draft::new(Kind::Call, id)
        }
        .flags(header.flags.without(Flags::META))
        .aux(aux)
        .key(view.key)
        .payload(header.encoding, view.payload);
        out.frame(&draft, batch);
    }
    charge(header.wire_len())
}

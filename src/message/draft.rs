//! A frame on its way out: borrowed parts, written in one go.
//!
//! Owns the encoding side of the layout that [`super::frame`] describes; the reading side is
//! [`super::frame::FrameView`]. It refuses to know who sends and whether a part may be what it is. Called by
//! whoever sends: outboxes, the client's handle, and tests.

use super::frame::{Flags, HEADER_LEN, Header, Kind, ORIGIN_LEN, Origin};
use super::key;
use super::payload::Encoding;
use crate::error::CloseReason;
use bytes::BufMut;

/// A frame to be written: borrowed parts, encoded in one go.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// What the frame says.
    pub kind: Kind,
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// Modifiers; META and ORIGIN follow from the parts.
    pub flags: Flags,
    /// Which call, request, subscription…
    pub id: u64,
    /// A number whose meaning depends on the kind.
    pub aux: u32,
    /// How many attachments travel with it.
    pub attachments: u8,
    /// Who caused it (the broker's frames only).
    pub origin: Option<Origin>,
    /// Encoded metadata entries, in two parts so that the broker can put its own first.
    pub meta: [&'a [u8]; 2],
    /// The key, in two parts that are joined by a separator unless the second is empty.
    pub key: [&'a [u8]; 2],
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Draft<'a> {
    /// A frame of `kind` about `id`, with nothing else in it.
    #[must_use]
    pub const fn new(kind: Kind, id: u64) -> Self {
        Self {
            kind,
            encoding: Encoding::RAW,
            flags: Flags::NONE,
            id,
            aux: 0,
            attachments: 0,
            origin: None,
            meta: [&[], &[]],
            key: [&[], &[]],
            payload: &[],
        }
    }

    /// The last frame of an end: why it parts, and a text for people, which has no bound here.
    #[must_use]
    pub const fn goodbye(reason: CloseReason, text: &'a str) -> Self {
        let mut draft = Self::new(Kind::Goodbye, 0).aux(reason.code());
        draft.payload = text.as_bytes();
        draft
    }

    /// Sets `aux`.
    #[must_use]
    pub const fn aux(mut self, aux: u32) -> Self {
        self.aux = aux;
        self
    }

    /// Sets the flags.
    #[must_use]
    pub const fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Sets the key: one name, or the joined bytes of two.
    #[must_use]
    pub const fn key(mut self, key: &'a [u8]) -> Self {
        self.key = [key, &[]];
        self
    }

    /// Sets a key of two names.
    #[must_use]
    pub const fn pair(mut self, object: &'a str, member: &'a str) -> Self {
        self.key = [object.as_bytes(), member.as_bytes()];
        self
    }

    /// Sets the payload and its encoding.
    #[must_use]
    pub const fn payload(mut self, encoding: Encoding, payload: &'a [u8]) -> Self {
        self.encoding = encoding;
        self.payload = payload;
        self
    }

    /// Sets the metadata entries.
    #[must_use]
    pub const fn meta(mut self, meta: &'a [u8]) -> Self {
        self.meta = [meta, &[]];
        self
    }

    /// Bytes of the whole frame on the wire.
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.body_len(self.meta_len(), self.key_len()))
    }

    const fn body_len(&self, meta: usize, key: usize) -> usize {
        let origin = if self.origin.is_some() { ORIGIN_LEN } else { 0 };
        let meta = if meta == 0 { 0 } else { meta.saturating_add(2) };
        origin
            .saturating_add(meta)
            .saturating_add(key)
            .saturating_add(self.payload.len())
    }

    const fn meta_len(&self) -> usize {
        let [first, second] = self.meta;
        first.len().saturating_add(second.len())
    }

    const fn key_len(&self) -> usize {
        let [object, member] = self.key;
        object.len().saturating_add(if member.is_empty() {
            0
        } else {
            member.len().saturating_add(1)
        })
    }

    /// Writes everything but the payload, so that a large one can follow by reference.
    #[inline]
    pub fn encode_head(&self, out: &mut impl BufMut) {
        let (meta, key) = (self.meta_len(), self.key_len());
        // A forwarded frame brings the flags it came with: an empty block, which is legal, is not written again.
        let flags = self
            .flags
            .without(Flags::META.with(Flags::ORIGIN))
            .with_if(self.origin.is_some(), Flags::ORIGIN)
            .with_if(meta > 0, Flags::META);
        let header = Header {
            body_len: u32::try_from(self.body_len(meta, key)).unwrap_or(u32::MAX),
            kind: self.kind,
            encoding: self.encoding,
            flags,
            id: self.id,
            aux: self.aux,
            key_len: u16::try_from(key).unwrap_or(u16::MAX),
            attachments: self.attachments,
        };
        out.put_slice(header.bytes().as_flattened());
        if self.origin.is_some() || meta > 0 {
            self.encode_blocks(meta, out);
        }
        let [object, member] = self.key;
        if !object.is_empty() {
            out.put_slice(object);
        }
        if !member.is_empty() {
            out.put_u8(key::SEPARATOR);
            out.put_slice(member);
        }
    }

    /// What most frames do not have.
    fn encode_blocks(&self, meta: usize, out: &mut impl BufMut) {
        if let Some(origin) = self.origin {
            out.put_slice(origin.bytes().as_flattened());
        }
        if meta > 0 {
            out.put_u16_le(u16::try_from(meta).unwrap_or(u16::MAX));
            self.meta.iter().for_each(|part| out.put_slice(part));
        }
    }

    /// Writes the whole frame.
    #[inline]
    pub fn encode(&self, out: &mut impl BufMut) {
        self.encode_head(out);
        out.put_slice(self.payload);
    }

    /// The whole frame as bytes of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.wire_len());
        self.encode(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::Decoder;
    use super::*;

    #[test]
    fn flags_of_parts_follow_from_the_parts() {
        let claimed = Flags::META.with(Flags::ORIGIN).with(Flags::STREAM);
        let bytes = Draft::new(Kind::Call, 1).flags(claimed).pair("o", "m").to_vec();
        let batch = Decoder::new(64).decode(&bytes).unwrap();
        let view = batch.view(0).unwrap();
        assert_eq!((view.header.flags, view.key), (Flags::STREAM, &b"o\0m"[..]));
    }
}

//! What a call, an answer or an item says: a payload that was there before, or a value of the program that is written once, where its
//! frame will stand.
//!
//! Owns the choice between the two, and that a value which goes out as one frame is neither kept in memory of its own nor copied into a
//! payload first. It refuses to know what is sent and when. Called by [`super::call`] and [`super::handler`], which have the values,
//! and by those who send: [`super::exchange`], [`super::upload`], [`super::respond`].

use super::encoded::Encoded;
use super::outbox::Outbox;
use crate::message::frame::HEADER_LEN;
use crate::message::{Attachments, Draft, Encoding, Payload, PayloadError};
use bytes::Bytes;
use serde::Serialize;

/// Memory beyond twice its bytes that a value may keep while it waits, in bytes.
const SLACK: usize = 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) enum Content {
    Payload(Payload),
    Written(Written),
}

/// A value behind the room for the head of its frame.
#[derive(Debug)]
pub(crate) struct Written {
    frame: Encoded,
    encoding: Encoding,
    /// Where it begins.
    at: usize,
}

impl Content {
    /// A value for a frame with nothing else in it.
    ///
    /// # Errors
    /// It has no such form.
    pub(crate) fn value<T: Serialize + ?Sized>(encoding: Encoding, value: &T) -> Result<Self, PayloadError> {
        Self::behind(HEADER_LEN, encoding, value)
    }

    /// A value for a frame whose head has so many bytes: header, metadata and key. It is written with nothing locked, as it is the
    /// program's code that writes it.
    ///
    /// # Errors
    /// It has no such form.
    pub(crate) fn behind<T: Serialize + ?Sized>(
        head: usize,
        encoding: Encoding,
        value: &T,
    ) -> Result<Self, PayloadError> {
        let write = |out: &mut Vec<u8>| encoding.write(value, out);
        Self::written(head, encoding, write)
    }

    /// A command of a typed protocol: its number, and the value in postcard.
    ///
    /// # Errors
    /// It has no such form.
    #[cfg(feature = "protocol")]
    pub(crate) fn command<T: Serialize + ?Sized>(
        head: usize,
        protocol: u64,
        value: &T,
    ) -> Result<Self, PayloadError> {
        Self::written(head, Encoding::PROTOCOL, |out| {
            out.extend_from_slice(&protocol.to_le_bytes());
            Encoding::POSTCARD.write(value, out)
        })
    }

    fn written(
        head: usize,
        encoding: Encoding,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), PayloadError>,
    ) -> Result<Self, PayloadError> {
        let frame = Encoded::behind(head, write)?;
        let at = head;
        Ok(Self::Written(Written { frame, encoding, at }))
    }

    /// Its bytes, without what stands in front of them.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Payload(payload) => &payload.bytes,
            Self::Written(Written { frame, at, .. }) => frame.bytes.get(*at..).unwrap_or_default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(crate) const fn encoding(&self) -> Encoding {
        match self {
            Self::Payload(payload) => payload.encoding,
            Self::Written(written) => written.encoding,
        }
    }

    /// Whether it is an empty raw payload, which ends a stream without an item.
    pub(crate) fn is_nothing(&self) -> bool {
        self.encoding() == Encoding::RAW && self.bytes().is_empty()
    }

    /// It waits: it keeps no more memory than it needs.
    pub(crate) fn settle(&mut self) {
        if let Self::Written(Written { frame, .. }) = self {
            let enough = frame.bytes.len().saturating_mul(2).saturating_add(SLACK);
            if frame.bytes.capacity() > enough {
                frame.bytes.shrink_to_fit();
            }
        }
    }

    /// The same as a payload, whose parts can go one by one.
    pub(crate) fn into_payload(self) -> Payload {
        match self {
            Self::Payload(payload) => payload,
            Self::Written(Written {
                mut frame,
                encoding,
                at,
            }) => {
                let mut bytes = Bytes::from(std::mem::take(&mut frame.bytes));
                let bytes = bytes.split_off(at.min(bytes.len()));
                Payload { encoding, bytes }
            }
        }
    }

    /// Becomes a payload in its place.
    pub(crate) fn take_apart(&mut self) {
        if matches!(self, Self::Written(_)) {
            let content = std::mem::replace(self, Self::Payload(Payload::default()));
            *self = Self::Payload(content.into_payload());
        }
    }

    /// Bytes of the frame that it makes with this head, on the wire.
    pub(crate) fn wire_len(&self, head: &Draft<'_>) -> usize {
        head.wire_len().saturating_add(self.len())
    }

    /// Adds the frame that it makes with this head. Returns where it ends in the bytes of the connection. Afterwards nothing is left of a
    /// value.
    pub(crate) fn add_to(&mut self, out: &mut Outbox, head: &Draft<'_>, attachments: &Attachments) -> u64 {
        match self {
            Self::Written(Written { frame, encoding, at }) if head.wire_len() == *at => {
                let (mut front, value) = frame.bytes.split_at_mut(*at);
                head.payload(*encoding, value).encode_head(&mut front);
                out.take_in(&mut frame.bytes, attachments)
            }
            // What a handler puts beside its answer was not known when that was written.
            other => out.encode_with(&head.payload(other.encoding(), other.bytes()), attachments),
        }
    }
}

impl From<Payload> for Content {
    fn from(payload: Payload) -> Self {
        Self::Payload(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Decoder, Flags, Kind, Metadata};

    fn metadata() -> Metadata {
        let mut block = Metadata::new();
        block.insert("trace", "7").unwrap();
        block
    }

    fn sent(out: &mut Outbox) -> Vec<u8> {
        let mut claim = out.claim().unwrap();
        let bytes = claim.part().0.to_vec();
        claim.advance(bytes.len());
        out.release(claim, false);
        bytes
    }

    #[test]
    fn a_value_makes_the_same_frame_as_its_payload() {
        let block = metadata();
        let heads = [
            Draft::new(Kind::Reply, 7),
            Draft::new(Kind::Reply, 8).meta(block.as_bytes()),
            Draft::new(Kind::Call, 9)
                .aux(30)
                .pair("object", "method")
                .flags(Flags::STREAM),
            Draft::new(Kind::Call, 10)
                .pair("object", "method")
                .meta(block.as_bytes()),
        ];
        let mut out = Outbox::new(1 << 20);
        for (encoding, length) in [
            (Encoding::JSON, 3),
            (Encoding::POSTCARD, 0),
            (Encoding::POSTCARD, 9_000),
            (Encoding::RAW, 50),
        ] {
            let text = "x".repeat(length);
            for head in &heads {
                let payload = Payload::encode(encoding, &text).unwrap();
                let expected = head.payload(encoding, &payload.bytes).to_vec();
                // The room is that of the head, or of a head without the metadata.
                for room in [head.wire_len(), HEADER_LEN] {
                    let mut content = Content::behind(room, encoding, &text).unwrap();
                    assert_eq!(
                        (content.bytes(), content.encoding()),
                        (&payload.bytes[..], encoding)
                    );
                    assert_eq!(content.wire_len(head), expected.len());
                    content.settle();
                    content.add_to(&mut out, head, &Attachments::new());
                    assert_eq!(sent(&mut out), expected, "{encoding:?} {length} {room}");
                }
                let mut content = Content::behind(head.wire_len(), encoding, &text).unwrap();
                content.take_apart();
                assert_eq!(content.into_payload(), payload);
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_written_is_an_error_and_leaves_nothing() {
        assert!(Content::value(Encoding::RAW, &7).is_err());
        assert!(Content::value(Encoding(9), "x").is_err());
        let content = Content::value(Encoding::POSTCARD, &7_u8).unwrap();
        assert_eq!((content.bytes(), content.is_nothing()), (&[7][..], false));
        assert!(Content::value(Encoding::RAW, "").unwrap().is_nothing());
    }

    #[test]
    fn what_waits_keeps_little_more_than_its_bytes() {
        drop(Content::value(Encoding::RAW, &"x".repeat(100_000)).unwrap());
        let mut content = Content::value(Encoding::RAW, "x").unwrap();
        let Content::Written(written) = &content else {
            panic!("it is a value");
        };
        assert!(written.frame.bytes.capacity() >= 100_000, "the thread's buffer");
        content.settle();
        let Content::Written(written) = &content else {
            panic!("it is a value");
        };
        assert!(written.frame.bytes.capacity() < 100);
    }

    #[cfg(feature = "protocol")]
    #[test]
    fn a_command_has_its_protocol_in_front() {
        let head = Draft::new(Kind::Call, 1).pair("calc", "echo");
        let mut content = Content::command(head.wire_len(), 0x0102, "hi").unwrap();
        let mut out = Outbox::new(1 << 20);
        content.add_to(&mut out, &head, &Attachments::new());
        let batch = Decoder::new(1 << 20).decode(&sent(&mut out)).unwrap();
        let view = batch.view(0).unwrap();
        assert_eq!(view.header.encoding, Encoding::PROTOCOL);
        assert_eq!(view.payload, [2, 1, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']);
        assert_eq!(view.key, b"calc\0echo");
    }
}

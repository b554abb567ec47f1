//! A message: its routing, its payload, and what travels with it.
//!
//! Owns the parts that a program sees. How they cross the wire is `frame`'s. Called by programs, `endpoint` and `receive`.

use super::memory::{MemoryRegion, Object};
use super::message_box::{TypeUuid, Uuid};
use super::selector::Selector;
use crate::message::Origin;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What is sent to endpoints, and what they receive.
#[derive(Debug)]
#[non_exhaustive]
pub struct Message<T> {
    /// The content: one message, or a box of one.
    pub payload: T,
    /// Kernel objects that travel with it, in order: at most 16 with the memory regions (`limits.attachments` of the host).
    pub objects: Vec<Object>,
    /// Memory that travels with it, in order.
    pub memory_regions: Vec<MemoryRegion>,
    /// Whether each of several receivers may be given the same objects, which they then share. Default: no, and a message with objects
    /// for which several endpoints match reaches none of them. Memory that nobody can change any more is shared in any case.
    pub share: bool,
    /// Where it is to go. `None` in a message that was received: who sends it on says where.
    pub selector: Option<Selector>,
    /// Who sent it. `None` before it was received.
    pub origin: Option<Origin>,
}

impl<T> Message<T> {
    /// A message with nothing but a payload.
    pub fn new(selector: Selector, payload: T) -> Self {
        Self {
            payload,
            objects: Vec::new(),
            memory_regions: Vec::new(),
            share: false,
            selector: Some(selector),
            origin: None,
        }
    }

    /// One that has come.
    pub(crate) fn received(
        payload: T,
        (objects, memory_regions): (Vec<Object>, Vec<MemoryRegion>),
        origin: Option<Origin>,
    ) -> Self {
        Self {
            payload,
            objects,
            memory_regions,
            share: false,
            selector: None,
            origin,
        }
    }
}

/// Bytes of a format that sender and receiver have agreed on: the message type for programs that encode by themselves, and the only
/// one of those in other languages.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct BytesMessage {
    /// What the bytes are, by the program's own numbering.
    pub format: u16,
    /// The bytes.
    pub data: Vec<u8>,
}

impl BytesMessage {
    /// Bytes with their format.
    #[must_use]
    pub fn new(format: u16, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        Self { format, data }
    }
}

impl fmt::Debug for BytesMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BytesMessage(format {}, {} bytes)",
            self.format,
            self.data.len()
        )
    }
}

impl TypeUuid for BytesMessage {
    /// dd95ba8e-1279-47cf-925e-83e614e79588, as in older systems.
    const UUID: Uuid = u128::to_be_bytes(0xdd95ba8e_1279_47cf_925e_83e614e79588);
}

/// All bytes at once, where serde would go through a `Vec<u8>` one by one.
struct Whole<'a>(&'a [u8]);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for BytesMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.format, Whole(&self.data)).serialize(serializer)
    }
}

struct Owned(Vec<u8>);

impl<'de> Deserialize<'de> for Owned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(OwnedVisitor)
    }
}

struct OwnedVisitor;

impl<'de> Visitor<'de> for OwnedVisitor {
    type Value = Owned;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Owned, E> {
        Ok(Owned(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Owned, E> {
        Ok(Owned(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Owned, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        Ok(Owned(bytes))
    }
}

impl<'de> Deserialize<'de> for BytesMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (format, Owned(data)) = Deserialize::deserialize(deserializer)?;
        Ok(Self { format, data })
    }
}

#[cfg(test)]
mod tests {
    use super::super::message_box::MessageBox;
    use super::*;

    #[test]
    fn bytes_cross_as_they_are() {
        for length in [0, 1, 127, 128, 70_000] {
            let message = BytesMessage::new(300, vec![7; length]);
            let mut out = Vec::new();
            message.encode(&mut out).unwrap();
            assert!(out.ends_with(&message.data) && out.len() <= length + 5);
            let read = BytesMessage::decode(&BytesMessage::UUID, &out);
            assert_eq!(read.as_ref(), Ok(&message));
            let json = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<BytesMessage>(&json).unwrap(), message);
        }
    }
}

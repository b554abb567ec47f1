//! What `protocol!` says of a protocol: its number, its commands and their fields.
//!
//! Owns these descriptions and the number of a protocol. Pure; made by the macro, read by those who call, answer and describe.

use std::fmt;

/// A protocol as its definition says it. The macro makes one for each.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProtocolInfo {
    /// Its number: [`protocol_id`].
    pub id: u64,
    /// Its name: that of the module.
    pub name: &'static str,
    /// The crate that defines it.
    pub origin: &'static str,
    /// Its version, 1 unless `#[version(N)]` says another.
    pub version: u16,
    /// The text above the module.
    pub doc: &'static str,
    /// Its commands, in the order of the definition.
    pub commands: &'static [CommandInfo],
}

/// One command of a protocol.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandInfo {
    /// Its name, which is the method on the wire.
    pub name: &'static str,
    /// The text above it.
    pub doc: &'static str,
    /// What is sent.
    pub request: Shape,
    /// The items that follow, when the request is a stream.
    pub items: Option<Shape>,
    /// What comes back.
    pub answer: Answer,
}

/// What comes back for a command.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Nothing: the command is one-way.
    Nothing,
    /// One value.
    One(Shape),
    /// Any number of values.
    Stream(Shape),
}

/// The form of a value.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// No fields at all.
    Empty,
    /// Fields with names; a JSON object.
    Fields(&'static [FieldInfo]),
    /// Fields in order; a JSON array, and for one field its value.
    Tuple(&'static [FieldInfo]),
    /// A value of this type as it is.
    Plain(&'static str),
}

/// One field of a request or an answer.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldInfo {
    /// Its name; its place, counted from 0, in a tuple.
    pub name: &'static str,
    /// Its type as it is written in the definition.
    pub type_name: &'static str,
    /// The text above it.
    pub doc: &'static str,
}

impl fmt::Display for Shape {
    /// As it is written in a definition, without the texts: `{a: i32, b: String}`, `(i32, String)`, `i32`, `nothing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, fields: &[FieldInfo], named: bool| {
            fields.iter().enumerate().try_for_each(|(place, field)| {
                let comma = if place == 0 { "" } else { ", " };
                match named {
                    true => write!(f, "{comma}{}: {}", field.name, field.type_name),
                    false => write!(f, "{comma}{}", field.type_name),
                }
            })
        };
        match self {
            Self::Empty => f.write_str("nothing"),
            Self::Plain(name) => f.write_str(name),
            Self::Fields(fields) => {
                f.write_str("{")?;
                list(f, fields, true)?;
                f.write_str("}")
            }
            Self::Tuple(fields) => {
                f.write_str("(")?;
                list(f, fields, false)?;
                f.write_str(")")
            }
        }
    }
}

/// A protocol where a type is wanted: the `ProtocolMarker` of its module.
pub trait ProtocolMetadata {
    /// Its description.
    const PROTOCOL: &'static ProtocolInfo;
}

impl ProtocolInfo {
    /// The description of a protocol; its number follows from the rest.
    #[must_use]
    pub const fn new(
        origin: &'static str,
        name: &'static str,
        version: u16,
        doc: &'static str,
        commands: &'static [CommandInfo],
    ) -> Self {
        Self {
            id: protocol_id(origin, name, version),
            name,
            origin,
            version,
            doc,
            commands,
        }
    }
}

impl CommandInfo {
    /// The description of a command.
    #[must_use]
    pub const fn new(
        name: &'static str,
        doc: &'static str,
        request: Shape,
        items: Option<Shape>,
        answer: Answer,
    ) -> Self {
        Self {
            name,
            doc,
            request,
            items,
            answer,
        }
    }
}

impl FieldInfo {
    /// The description of a field.
    #[must_use]
    pub const fn new(name: &'static str, type_name: &'static str, doc: &'static str) -> Self {
        Self { name, type_name, doc }
    }
}

/// The number of a protocol: FNV-1a, 64 bits, of `"<crate>::<module>"`, with the version in place of the low 16 bits. Two
/// versions of one protocol differ in these alone.
#[must_use]
pub const fn protocol_id(origin: &str, name: &str, version: u16) -> u64 {
    let hash = fnv(
        fnv(fnv(0xcbf2_9ce4_8422_2325, origin.as_bytes()), b"::"),
        name.as_bytes(),
    );
    hash & !0xffff | version as u64
}

const fn fnv(mut hash: u64, mut bytes: &[u8]) -> u64 {
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
        bytes = rest;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_tokio_ipc() {
        assert_eq!(
            protocol_id("tokio_ipc", "math_protocol", 1),
            0x4f5c_ac77_8ceb_0001
        );
        assert_eq!(
            protocol_id("tokio_ipc", "math_protocol", 2),
            0x4f5c_ac77_8ceb_0002
        );
    }
}

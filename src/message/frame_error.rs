//! Why bytes are not a frame, with the words for it.
//!
//! Owns the error alone; [`super::frame`] and the decoder find out which it is.

use super::frame::{Flags, Kind};

/// Why bytes are not a frame. Each of these ends the connection: there is no way to find the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind below 0x80 that this version does not know.
    #[error("frame kind {0:#04x} is not known to protocol version 1")]
    UnknownKind(u8),
    /// A mandatory flag that this version does not know for the kind.
    #[error("{} frames do not carry the mandatory flags {:#06x}", .0.name(), .1.0)]
    UnknownFlags(Kind, Flags),
    /// The body is longer than the limit.
    #[error("a {} body of {} bytes exceeds the limit of {}{}", .kind.name(), .length, .limit, way_out(*.kind))]
    TooLarge {
        /// What the frame says it is.
        kind: Kind,
        /// The declared length.
        length: u32,
        /// The limit in force.
        limit: usize,
    },
    /// Origin, metadata and key together are longer than the body.
    #[error("the parts of a {} frame do not fit in its body", .0.name())]
    Malformed(Kind),
    /// The metadata block breaks a rule.
    #[error("{} frame: {error}", .kind.name())]
    Metadata {
        /// What the frame says it is.
        kind: Kind,
        /// The broken rule.
        error: super::metadata::MetadataError,
    },
}

/// What to do about a body that is too long. In a handshake nobody can raise the limit.
const fn way_out(kind: Kind) -> &'static str {
    match kind {
        Kind::Hello | Kind::Welcome | Kind::Meet => ", as long as a handshake may be",
        _ => " (the receiver's limits.frame_bytes; larger messages go in pieces)",
    }
}

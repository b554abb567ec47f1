//! What a request sends: its frame, how much of the payload goes with it, and what is refused before it is sent.
//!
//! Owns the limits of sizes that are known here. It refuses to know slots and answers: [`super::exchange`] sends it and waits.

use super::content::Content;
use super::large::is_offered;
use super::names::Key;
use super::peer::Role;
use super::respond::PIECE;
use super::state::State;
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Draft, Encoding, Flags, Kind, Metadata, Payload};
use std::time::Duration;

/// Larger payloads go in pieces, in bytes: the broker passes each on while the next is written, and others get their turn between
/// them.
pub(crate) const WHOLE: usize = 256 * 1024;

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
    pub(crate) flags: Flags,
    pub(crate) metadata: Metadata,
    pub(crate) content: Content,
    pub(crate) attachments: Attachments,
    /// `None`: the broker's default.
    pub(crate) deadline: Option<Duration>,
    /// Without an answer it waits as long as the connection lasts, unless it is given up at its deadline all the same.
    pub(crate) in_time: bool,
}

impl Outgoing {
    /// A request with nothing but a key.
    pub(crate) const fn plain(kind: Kind, key: Key) -> Self {
        let payload = Payload {
            encoding: Encoding::RAW,
            bytes: bytes::Bytes::new(),
        };
        Self {
            kind,
            key,
            flags: Flags::NONE,
            metadata: Metadata::new(),
            content: Content::Payload(payload),
            attachments: Attachments::new(),
            deadline: None,
            in_time: false,
        }
    }

    /// Whether it is given up at its deadline when it could not be sent.
    pub(crate) fn has_an_end(&self) -> bool {
        self.kind == Kind::Call && (self.in_time || !self.flags.has(Flags::NO_REPLY))
    }

    /// Milliseconds of the deadline; 0 for the broker's default.
    pub(crate) fn deadline_ms(&self) -> u32 {
        self.deadline.map_or(0, |deadline| {
            u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX).max(1)
        })
    }

    /// The head of its first frame, what goes behind it, and what travels with it.
    pub(crate) fn parts(&mut self, id: u64) -> (Draft<'_>, &mut Content, &Attachments) {
        let aux = if self.kind == Kind::Call {
            self.deadline_ms()
        } else {
            0
        };
        let draft = Draft::new(self.kind, id);
        let attachments = u8::try_from(self.attachments.len()).unwrap_or(u8::MAX);
        let draft = Draft { attachments, ..draft }
            .aux(aux)
            .flags(self.flags)
            .key(self.key.as_bytes())
            .meta(self.metadata.as_bytes());
        (draft, &mut self.content, &self.attachments)
    }

    /// How many bytes of the payload the first frame carries.
    ///
    /// # Errors
    /// TooLarge for a message that the broker would refuse.
    pub(crate) fn first_part(&self, state: &State) -> Result<usize, CallError> {
        let whole = self.flags.has(Flags::NO_REPLY) || self.flags.has(Flags::ITEMS);
        let in_pieces = !(self.kind == Kind::Call && whole);
        first_part(state, self.content.len(), in_pieces)
    }

    /// Whether the payload is to be offered as a region, of a client that does so from so many bytes on. Items follow a payload that is
    /// whole, and who wants no answer gets none to an offer.
    pub(crate) fn may_offer(&self, state: &State, from: usize) -> bool {
        let whole = self.flags.has(Flags::NO_REPLY) || self.flags.has(Flags::ITEMS);
        self.kind == Kind::Call && !whole && is_offered(state, self.content.len(), from)
    }
}

/// How much of a payload of so many bytes the first frame carries; all of it, unless it may go in pieces.
///
/// # Errors
/// TooLarge for a message that the broker would refuse.
#[inline]
pub(crate) fn first_part(state: &State, bytes: usize, in_pieces: bool) -> Result<usize, CallError> {
    let frame_bytes = state.grants.frame_bytes as usize;
    if bytes <= frame_bytes.min(WHOLE) {
        return Ok(bytes);
    }
    if !in_pieces && bytes <= frame_bytes {
        return Ok(bytes);
    }
    let message_bytes = state.grants.message_bytes as usize;
    let (limit, key) = match in_pieces {
        true => (message_bytes, "message_bytes"),
        false => (frame_bytes, "frame_bytes"),
    };
    if bytes > limit {
        return Err(too_large(state.role, "the payload", (bytes, limit), key));
    }
    Ok(PIECE.min(frame_bytes).max(1).min(bytes))
}

/// The error of a message that the broker would refuse for its size.
#[cold]
pub(crate) fn too_large(role: Role, what: &str, (bytes, limit): (usize, usize), key: &str) -> CallError {
    let (other, how) = (role.other(), role.raise(key));
    let text = format!(
        "{what} has {bytes} bytes, {other} takes at most {limit} ({}{key}); send less, or {how}",
        role.limits()
    );
    CallError::new(ErrorCode::TooLarge, text).ran(false)
}

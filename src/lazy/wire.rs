//! The bytes between the lazy server and its clients: a preface and frames of a length, a byte and a body.
//!
//! Owns the format and a buffer that finds frames in what came; it knows no socket. `docs/lazy.md` tells it byte by byte.
//!
//! ```text
//! client → server   preface "aipcLZ" 00 01 (once), then requests:  length u32 | 00    | command in postcard
//! server → client                                   then answers:  length u32 | status| response in postcard, or text
//! ```
//! Numbers are little-endian; the length counts the body alone. Answers come in the order of their requests.

use std::ops::Range;

/// The first bytes of a client: a name and, in the last two, the version.
pub(super) const PREFACE: [u8; 8] = *b"aipcLZ\x00\x01";
/// Bytes before a body.
pub(super) const HEAD: usize = 5;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The response follows.
    Done,
    /// The command was not understood; the text says why. The connection goes on.
    Malformed,
    /// The command is larger than the server takes; the connection ends.
    TooLarge,
    /// The server has too many clients; the connection ends.
    Busy,
    /// The command ended in a panic, or its response could not be written: it may have done its work, or a part of it.
    Failed,
    /// What came is not this protocol, or another version of it; the connection ends.
    Protocol,
    /// A command that began did not come in time; the connection ends.
    Slow,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Malformed,
        Self::TooLarge,
        Self::Busy,
        Self::Failed,
        Self::Protocol,
        Self::Slow,
    ];

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Malformed => 1,
            Self::TooLarge => 2,
            Self::Busy => 3,
            Self::Failed => 4,
            Self::Protocol => 5,
            Self::Slow => 6,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

/// A frame whose body is written behind what this begins; [`finish`] puts the length in.
pub(super) fn begin(out: &mut Vec<u8>, code: u8) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD - 1]);
    out.push(code);
    at
}

/// Writes the length of the frame that begins at `at` and ends where `out` does; `None` when it is no `u32`.
pub(super) fn finish(out: &mut [u8], at: usize) -> Option<()> {
    let body = out.len().checked_sub(at)?.checked_sub(HEAD)?;
    let length = u32::try_from(body).ok()?;
    out.get_mut(at..at.checked_add(4)?)?
        .copy_from_slice(&length.to_le_bytes());
    Some(())
}

/// A whole frame of text.
pub(super) fn text(out: &mut Vec<u8>, status: Status, text: &str) {
    let at = begin(out, status.code());
    out.extend_from_slice(text.as_bytes());
    if finish(out, at).is_none() {
        out.truncate(at);
    }
}

/// What is at the beginning of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole frame: its byte, and where its body lies.
    Frame(u8, Range<usize>),
    /// Not yet a whole frame; `wanted` bytes would be one, once that is known.
    Partial {
        /// Length of the frame with its head.
        wanted: Option<usize>,
    },
    /// The body has this many bytes, more than the limit.
    TooLarge(u32),
}

/// Looks for a frame at `at` in `bytes`, with a body of at most `limit` bytes.
pub(super) fn find(bytes: &[u8], at: usize, limit: usize) -> Found {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((head, body)) = rest.split_first_chunk::<HEAD>() else {
        return Found::Partial { wanted: None };
    };
    let [a, b, c, d, code] = *head;
    let length = u32::from_le_bytes([a, b, c, d]);
    let len = usize::try_from(length).unwrap_or(usize::MAX);
    if len > limit {
        return Found::TooLarge(length);
    }
    let begin = at.saturating_add(HEAD);
    if body.len() < len {
        return Found::Partial {
            wanted: Some(HEAD.saturating_add(len)),
        };
    }
    Found::Frame(code, begin..begin.saturating_add(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let at = begin(&mut out, code);
        out.extend_from_slice(body);
        finish(&mut out, at).unwrap();
        out
    }

    #[test]
    fn every_status_has_its_code() {
        for (place, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(status.code()), place);
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(7), None);
    }

    #[test]
    fn a_frame_is_found_once_its_last_byte_is_there() {
        let mut bytes = frame(3, b"hello");
        assert_eq!(bytes, [5, 0, 0, 0, 3, b'h', b'e', b'l', b'l', b'o']);
        for end in 0..bytes.len() {
            let wanted = (end >= HEAD).then_some(10);
            assert_eq!(find(&bytes[..end], 0, 5), Found::Partial { wanted }, "{end}");
        }
        assert_eq!(find(&bytes, 0, 5), Found::Frame(3, 5..10));
        assert_eq!(find(&bytes, 0, 4), Found::TooLarge(5));
        bytes.extend(frame(0, b""));
        assert_eq!(find(&bytes, 10, 5), Found::Frame(0, 15..15));
        assert_eq!(find(&bytes, 15, 5), Found::Partial { wanted: None });
        assert_eq!(find(&bytes, 99, 5), Found::Partial { wanted: None });
        assert_eq!(
            find(&[255; 8], 0, usize::MAX),
            Found::Partial {
                wanted: Some(u32::MAX as usize + HEAD)
            }
        );
    }
}

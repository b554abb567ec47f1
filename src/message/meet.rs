//! The first frame of both ends of a connection between two programs, without a broker: what each takes and serves.
//!
//! Owns the layout of its payload, the terms that follow from two of them, and which kinds cross such a connection. Later versions may
//! append to the payload. It knows no socket.

use super::frame::Kind;
use super::id::Epoch;
use super::name::{self, NAME_MAX};
use super::token::Token;
use bytes::BufMut;

/// The largest body of this frame, in bytes.
pub const MEET_BODY_MAX: usize = 32 * 1024;
/// No end may take less than this in one frame, in bytes: errors and small requests always fit.
pub const FRAME_BYTES_MIN: u32 = 1024;

/// What one end takes. Of two ends the smaller number is in force, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// The largest payload of one frame, in bytes; at least [`FRAME_BYTES_MIN`].
    pub frame_bytes: u32,
    /// The largest message in pieces, in bytes; at least `frame_bytes`.
    pub message_bytes: u32,
    /// The window of each streamed message and each message in pieces, in bytes on the wire; at least 1.
    pub stream_window: u32,
    /// Calls of one end that may be unanswered at once.
    pub open_calls: u32,
    /// The window of one end's calls without an answer, in bytes on the wire; at least 1.
    pub call_window: u32,
    /// How many attachments one frame may carry.
    pub attachments: u32,
}

/// A protocol that one end serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its number, with the version in the low 16 bits.
    pub id: u64,
    /// Its name, under which its commands are called.
    pub name: Box<str>,
}

/// What one end says of itself. Layout: epoch (16 bytes), the six numbers of [`Terms`] in order (`u32` each), `name length u8 | name`,
/// `token length u8 | token`, the number of protocols (`u16`), and for each `id u64 | name length u8 | name`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Meet {
    /// Names this life of the program.
    pub epoch: Epoch,
    /// What it takes.
    pub terms: Terms,
    /// The name that it declares; never trusted. Empty: none.
    pub name: String,
    /// Proves who it is, where nothing else does; of the connecting end only.
    pub token: Option<Token>,
    /// What it serves.
    pub protocols: Vec<Served>,
}

impl Terms {
    /// What is in force between two ends.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self {
            frame_bytes: self.frame_bytes.min(other.frame_bytes),
            message_bytes: self.message_bytes.min(other.message_bytes),
            stream_window: self.stream_window.min(other.stream_window),
            open_calls: self.open_calls.min(other.open_calls),
            call_window: self.call_window.min(other.call_window),
            attachments: self.attachments.min(other.attachments),
        }
    }

    /// Whether two ends can work with these numbers at all.
    #[must_use]
    pub const fn is_workable(self) -> bool {
        self.frame_bytes >= FRAME_BYTES_MIN
            && self.message_bytes >= self.frame_bytes
            && self.stream_window > 0
            && self.call_window > 0
    }

    const fn numbers(self) -> [u32; 6] {
        [
            self.frame_bytes,
            self.message_bytes,
            self.stream_window,
            self.open_calls,
            self.call_window,
            self.attachments,
        ]
    }
}

impl Meet {
    /// The payload of the frame; `None` when it would be longer than [`MEET_BODY_MAX`], or a name is longer than 255 bytes.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = self.epoch.0.to_vec();
        self.terms
            .numbers()
            .iter()
            .for_each(|number| out.put_u32_le(*number));
        put(&mut out, self.name.as_bytes())?;
        put(
            &mut out,
            self.token
                .as_ref()
                .map(|token| token.bytes().as_slice())
                .unwrap_or_default(),
        )?;
        out.put_u16_le(u16::try_from(self.protocols.len()).ok()?);
        for served in &self.protocols {
            out.put_u64_le(served.id);
            put(&mut out, served.name.as_bytes())?;
        }
        (out.len() <= MEET_BODY_MAX).then_some(out)
    }

    /// Reads the payload; `None` when it is cut off, holds a name or a token that is none, or numbers that nobody can work with.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (epoch, rest) = payload.split_first_chunk::<16>()?;
        let mut rest = rest;
        let mut number = || take_u32(&mut rest);
        let terms = Terms {
            frame_bytes: number()?,
            message_bytes: number()?,
            stream_window: number()?,
            open_calls: number()?,
            call_window: number()?,
            attachments: number()?,
        };
        let name = take(&mut rest)?;
        if !name.is_empty() {
            name::check(name).ok()?;
        }
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let token = match take(&mut rest)? {
            [] => None,
            token => Some(Token::from_wire(token).ok()?),
        };
        let (count, tail) = rest.split_first_chunk::<2>()?;
        rest = tail;
        let mut protocols = Vec::new();
        for _ in 0..u16::from_le_bytes(*count) {
            let (id, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            protocols.push(Served {
                id: u64::from_le_bytes(*id),
                name: name::check(take(&mut rest)?).ok()?.into(),
            });
        }
        terms.is_workable().then_some(Self {
            epoch: Epoch(*epoch),
            terms,
            name,
            token,
            protocols,
        })
    }
}

fn put(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    out.push(u8::try_from(text.len()).ok().filter(|_| text.len() <= NAME_MAX)?);
    out.put_slice(text);
    Some(())
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first()?;
    let (text, tail) = tail.split_at_checked(usize::from(*length))?;
    *rest = tail;
    Some(text)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (number, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_le_bytes(*number))
}

/// Whether frames of this kind cross the connection of two programs once both have met.
#[must_use]
pub const fn crosses(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Goodbye
            | Kind::Ping
            | Kind::Pong
            | Kind::Error
            | Kind::Call
            | Kind::CallPiece
            | Kind::CallCredit
            | Kind::Cancel
            | Kind::Reply
            | Kind::ReplyPiece
            | Kind::ReplyCredit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            frame_bytes: 1 << 20,
            message_bytes: 1 << 24,
            stream_window: 7,
            open_calls: 8,
            call_window: 9,
            attachments: 16,
        }
    }

    fn served(id: u64, name: &str) -> Served {
        let name = name.into();
        Served { id, name }
    }

    #[test]
    fn it_comes_back_may_grow_and_is_refused_when_cut_off() {
        let meet = Meet {
            epoch: Epoch([7; 16]),
            terms: terms(),
            name: "shop".into(),
            token: Some(Token::new([9; 32])),
            protocols: vec![served(0xabcd_0002, "calc"), served(1, "né")],
        };
        let mut bytes = meet.encode().unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(Meet::decode(&bytes[..cut]), None, "{cut}");
        }
        // The token's length is behind the epoch, the numbers, and the name with its own length.
        let length = 16 + 24 + 5;
        let mut short = [&bytes[..length], &[31], &bytes[length + 2..]].concat();
        assert_eq!(
            (bytes[length], Meet::decode(&short)),
            (32, None),
            "no token has 31 bytes"
        );
        short.drain(length + 1..length + 32);
        short[length] = 0;
        assert_eq!(Meet::decode(&short).map(|meet| meet.token), Some(None));
        bytes.extend(b"of a later version");
        assert_eq!(Meet::decode(&bytes), Some(meet));
    }

    #[test]
    fn numbers_that_nobody_can_work_with_are_refused() {
        type Change = fn(&mut Terms);
        let table: [(Change, bool); 7] = [
            (|_| {}, true),
            (|terms| terms.open_calls = 0, true),
            (|terms| terms.attachments = 0, true),
            (|terms| terms.frame_bytes = 1023, false),
            (|terms| terms.message_bytes = (1 << 20) - 1, false),
            (|terms| terms.stream_window = 0, false),
            (|terms| terms.call_window = 0, false),
        ];
        for (index, (change, taken)) in table.iter().enumerate() {
            let mut meet = Meet {
                terms: terms(),
                ..Meet::default()
            };
            change(&mut meet.terms);
            assert_eq!(Meet::decode(&meet.encode().unwrap()).is_some(), *taken, "{index}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_sent() {
        let long = "x".repeat(256);
        let many = vec![served(1, &long[1..]); 128];
        for (name, protocols) in [(&long[..], Vec::new()), ("", many)] {
            let name = name.to_owned();
            let meet = Meet {
                name,
                protocols,
                ..Meet::default()
            };
            assert_eq!(meet.encode(), None);
        }
    }

    #[test]
    fn the_smaller_number_is_in_force() {
        let other = Terms {
            frame_bytes: 2000,
            message_bytes: u32::MAX,
            stream_window: 1,
            open_calls: 9,
            call_window: 1,
            attachments: 0,
        };
        let both = terms().common(other);
        assert_eq!(both, other.common(terms()));
        assert_eq!(both.numbers(), [2000, 1 << 24, 1, 8, 1, 0]);
    }

    #[test]
    fn only_calls_and_what_belongs_to_them_cross() {
        let crossing: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| crosses(**kind))
            .map(|kind| kind.name())
            .collect();
        let expected = [
            "Goodbye",
            "Ping",
            "Pong",
            "Error",
            "Call",
            "CallPiece",
            "CallCredit",
            "Cancel",
            "Reply",
            "ReplyPiece",
            "ReplyCredit",
        ];
        assert_eq!(crossing, expected);
    }
}

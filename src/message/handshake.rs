//! The contents of the first two frames: what each side says of itself and which numbers are in force.
//!
//! Owns the preface, the version rule and the two payload layouts. Later versions may append to a payload: a
//! reader takes what it knows and ignores the rest.

use super::id::Epoch;
use super::token::Token;
use bytes::BufMut;

/// The first eight bytes of a client on any stream, before its first frame. No text protocol begins like this.
pub const PREFACE: [u8; 8] = [0xac, b'I', b'P', b'C', 0x0d, 0x0a, 0x1a, 0x0a];
/// The protocol version that this library speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a client says that takes regions.
const TAKES_REGIONS: u8 = 1;
/// What a client says that reads a mark in front of the welcome, and handles behind it.
const TAKES_HANDLES: u8 = 1;

/// What a client says of itself. Layout: `name length u8 | name | token length u8 | token | takes u8 | handles u8`; what is behind the
/// name may be missing. A token of a length other than 32 is none: what it could prove is not known here. `takes` 1: regions; `handles` 1:
/// handles over a Windows pipe; any other value means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hello {
    /// The name the program declares; shown to those it calls, never trusted. Empty: none.
    pub name: String,
    /// Proves who the client is, where nothing else does.
    pub token: Option<Token>,
    /// It takes large payloads as regions: sealed memory that is attached to a piece.
    pub regions: bool,
    /// Over a Windows pipe: it takes and sends handles, if the broker begins with the mark for that.
    pub handles: bool,
}

impl Hello {
    /// The payload of the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let name = self.name.as_bytes();
        let name = name
            .get(..name.len().min(super::name::NAME_MAX))
            .unwrap_or_default();
        let mut out = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
        out.put_slice(name);
        if let Some(token) = &self.token {
            let bytes = token.bytes();
            out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
            out.put_slice(bytes);
        }
        if self.regions || self.handles {
            if self.token.is_none() {
                out.push(0);
            }
            out.push(if self.regions { TAKES_REGIONS } else { 0 });
        }
        if self.handles {
            out.push(TAKES_HANDLES);
        }
        out
    }

    /// Reads the payload; `None` when the name is cut off or is not one.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (length, rest) = payload.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let behind = rest.split_first();
        let (token, rest) = behind
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)))
            .unwrap_or_default();
        let hello = Self {
            name: String::new(),
            token: Token::from_wire(token).ok(),
            regions: rest.first() == Some(&TAKES_REGIONS),
            handles: rest.get(1) == Some(&TAKES_HANDLES),
        };
        if name.is_empty() {
            return Some(hello);
        }
        super::name::check(name).ok().map(|name| Self {
            name: name.to_owned(),
            ..hello
        })
    }
}

/// What the broker says of itself and grants. Layout: epoch (16 bytes), then the numbers in the order of the
/// fields, `u32` little-endian each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Welcome {
    /// Names this life of the broker.
    pub epoch: Epoch,
    /// The largest payload of one frame, in bytes.
    pub frame_bytes: u32,
    /// The largest message in pieces, in bytes.
    pub message_bytes: u32,
    /// The window for publishes, in bytes on the wire.
    pub publish_window: u32,
    /// The window for each streamed reply and each message in pieces, in bytes on the wire.
    pub stream_window: u32,
    /// Calls that may be open at once.
    pub open_calls: u32,
    /// Names that may be registered by this connection.
    pub names: u32,
    /// Subscriptions that may be open on this connection.
    pub subscriptions: u32,
    /// The deadline of a call that names none, in ms.
    pub default_deadline_ms: u32,
    /// The longest deadline, in ms.
    pub max_deadline_ms: u32,
    /// How many attachments one frame may carry; 0 where the transport carries none.
    pub attachments: u32,
    /// Bytes of each direction of the shared memory that the client may ask for; 0: it may not.
    pub ring_bytes: u32,
    /// The window for messages of the label bus, in bytes on the wire; 0: the broker has no label bus.
    pub send_window: u32,
    /// The largest region that the broker passes on, in bytes; 0: it answers no offers.
    pub region_bytes: u32,
}

impl Welcome {
    /// The payload of the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.epoch.0.to_vec();
        self.numbers().iter().for_each(|number| out.put_u32_le(*number));
        out
    }

    /// Reads the payload; `None` when it is cut off.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (epoch, mut rest) = payload.split_first_chunk::<16>()?;
        let mut next = || {
            let (number, tail) = rest.split_first_chunk::<4>()?;
            rest = tail;
            Some(u32::from_le_bytes(*number))
        };
        Some(Self {
            epoch: Epoch(*epoch),
            frame_bytes: next()?,
            message_bytes: next()?,
            publish_window: next()?,
            stream_window: next()?,
            open_calls: next()?,
            names: next()?,
            subscriptions: next()?,
            default_deadline_ms: next()?,
            max_deadline_ms: next()?,
            attachments: next()?,
            ring_bytes: next().unwrap_or(0),
            send_window: next().unwrap_or(0),
            region_bytes: next().unwrap_or(0),
        })
    }

    const fn numbers(&self) -> [u32; 13] {
        [
            self.frame_bytes,
            self.message_bytes,
            self.publish_window,
            self.stream_window,
            self.open_calls,
            self.names,
            self.subscriptions,
            self.default_deadline_ms,
            self.max_deadline_ms,
            self.attachments,
            self.ring_bytes,
            self.send_window,
            self.region_bytes,
        ]
    }
}

/// The version to speak with a client that offers `lowest..=highest`, when there is one.
#[must_use]
pub const fn choose_version(lowest: u64, highest: u32) -> Option<u32> {
    if lowest <= PROTOCOL_VERSION as u64 && highest >= PROTOCOL_VERSION {
        Some(PROTOCOL_VERSION)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_payloads_come_back_and_may_grow() {
        let hello = Hello {
            name: "thermometer".into(),
            ..Hello::default()
        };
        let mut bytes = hello.encode();
        bytes.extend(b"\x00\x00of a later version");
        assert_eq!(Hello::decode(&bytes), Some(hello.clone()));
        let hello = Hello {
            token: Some(Token::new([9; 32])),
            ..hello
        };
        let mut bytes = hello.encode();
        let taking = Hello {
            regions: true,
            ..hello.clone()
        };
        let bare = Hello {
            token: None,
            ..taking.clone()
        };
        let lending = Hello {
            handles: true,
            ..hello.clone()
        };
        let both = Hello {
            regions: true,
            token: None,
            ..lending.clone()
        };
        for known in [&taking, &bare, &lending, &both] {
            assert_eq!(Hello::decode(&known.encode()).as_ref(), Some(known));
        }
        for cut in 13..bytes.len() {
            let known = Hello::decode(&bytes[..cut]).unwrap();
            assert_eq!(known.token, None, "a token that is cut off is none");
        }
        bytes.extend(b"\x00of a later version");
        assert_eq!(Hello::decode(&bytes), Some(hello));
        let welcome = Welcome {
            epoch: Epoch([7; 16]),
            frame_bytes: 1,
            attachments: 9,
            ..Welcome::default()
        };
        let mut bytes = welcome.encode();
        let short = Welcome::decode(&bytes[..bytes.len() - 12]);
        assert_eq!(short, Some(welcome), "the last three numbers may be missing");
        assert_eq!(Welcome::decode(&bytes[..bytes.len() - 13]), None);
        bytes.push(1);
        assert_eq!(Welcome::decode(&bytes), Some(welcome));
    }

    #[test]
    fn versions_overlap_or_not() {
        let cases = [
            ((1, 1), Some(1)),
            ((1, 9), Some(1)),
            ((2, 3), None),
            ((0, 0), None),
        ];
        for ((lowest, highest), expected) in cases {
            assert_eq!(choose_version(lowest, highest), expected);
        }
    }
}

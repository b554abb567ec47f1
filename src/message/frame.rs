//! The frame: a fixed 24-byte header and a body of origin, metadata, key and payload.
//!
//! ```text
//!  0      4     5         6      8         16    20       22           23        24
//!  | body | kind| encoding| flags| id      | aux | key    | attachments| reserved | body …
//!  | u32  | u8  | u8      | u16  | u64     | u32 | u16    | u8         | u8 = 0   |
//! body = [origin: 16 bytes, if ORIGIN] [metadata: length u16, bytes, if META] key payload
//! ```
//! All numbers are little-endian. Owns the layout and its checks; the meaning of `id` and `aux` is listed at
//! each [`Kind`]. It knows nothing of sessions: whether a frame is allowed *now* is the Session's question.

pub use super::frame_error::FrameError;
use super::id::PeerId;
use super::metadata::METADATA_MAX;
use super::payload::Encoding;
use std::fmt;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 24;
/// The bytes of a header by which it is refused or not: the body's length, the kind, the encoding and the flags.
pub(super) const ALIKE_LEN: usize = 8;
/// Bytes of the origin block.
pub const ORIGIN_LEN: usize = 16;
/// What a body may hold beside its payload: origin, metadata with its length, key.
pub const OVERHEAD_MAX: usize = ORIGIN_LEN + 2 + METADATA_MAX + super::key::KEY_MAX;
/// The largest body before the handshake is done.
pub const HELLO_BODY_MAX: usize = 4 * 1024;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, flags $flags:expr;)*) => {
        /// What a frame says. Codes from 0x80 are optional: a receiver that does not know one ignores the frame.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $code,)* }

        impl Kind {
            /// Every kind of this version, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind with this code, when this version knows it.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The mandatory flags that this kind may carry.
            #[must_use]
            pub const fn allowed_flags(self) -> Flags {
                match self { $(Self::$name => $flags,)* }
            }

            /// The kind's name in documents and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

kinds! {
    /// First frame of a client. `id`: lowest version it speaks, `aux`: highest. Payload: [`super::Hello`].
    Hello = 0x01, flags Flags::NONE;
    /// The broker's answer. `id`: the connection's [`PeerId`], `aux`: the version chosen. Payload: [`super::Welcome`].
    Welcome = 0x02, flags Flags::NONE;
    /// Last frame of either side. `aux`: reason code, payload: reason as text.
    Goodbye = 0x03, flags Flags::NONE;
    /// Asks for a [`Kind::Pong`] with the same `id` and payload (at most 64 bytes).
    Ping = 0x04, flags Flags::NONE;
    /// Answers a ping.
    Pong = 0x05, flags Flags::NONE;
    /// Moves the connection's bytes into shared memory. From a client, `aux` 0: asks for it; 1: has taken it, and this is its
    /// last frame on the socket; 2: has not. From the broker, `aux` 0: not now; 1: its own last frame on the socket; else an
    /// offer: bytes of each direction, with three attachments (memory, the client's bell, the broker's bell).
    Ring = 0x06, flags Flags::NONE;
    /// First frame of both ends where two programs talk without a broker. From who connected, `id`: lowest version, `aux`: highest;
    /// from who accepted, `id`: its number for the connection, `aux`: the version chosen. Payload: [`super::Meet`].
    Meet = 0x07, flags Flags::NONE;
    /// The request `id` was carried out. `aux`: detail (1 when a registration was queued).
    Done = 0x08, flags Flags::NONE;
    /// The request or call `id` failed. `aux`: [`crate::error::ErrorCode`]; payload: text, or a handler's own value.
    Error = 0x09, flags Flags::META.with(Flags::MAY_HAVE_RUN);
    /// Answers an offer ([`Flags::OFFER`]) of the message `id`. `aux`: how many receivers it has, all of which take its payload as a
    /// region; 0: it is to go on in pieces. With OF_REPLY `id` is a ticket.
    Takes = 0x0a, flags Flags::OF_REPLY;
    /// Registers the object `key`. `aux`: group balance (0 round robin, 1 least busy, 2 sticky). Payload: description.
    Register = 0x10, flags Flags::QUEUE.with(Flags::REPLACE).with(Flags::ALLOW_REPLACE).with(Flags::WORKER_GROUP);
    /// Gives up the object `key`, or its place in the queue.
    Unregister = 0x11, flags Flags::NONE;
    /// Answered when every name of the payload is registered. `aux`: deadline in ms. Payload: names, each `u8 length | bytes`.
    Wait = 0x12, flags Flags::NONE;
    /// Tells the client of registration `id`: `aux` 1 = it owns the name now, 0 = it was replaced.
    Ownership = 0x13, flags Flags::NONE;
    /// Asks for notices. `aux`: 1 names, 2 connections, 3 both. `key`: pattern over names, or empty for all.
    Watch = 0x14, flags Flags::NONE;
    /// Ends the watch `id`.
    Unwatch = 0x15, flags Flags::NONE;
    /// Tells the watch `id`. `aux`: 1 name appeared, 2 name vanished, 3 connection appeared, 4 connection gone.
    Notice = 0x16, flags Flags::META.with(Flags::ORIGIN);
    /// Asks what is registered and who is connected; answered by a Reply in JSON.
    List = 0x17, flags Flags::NONE;
    /// Asks for one object's owner and description; answered by a Reply in JSON.
    Describe = 0x18, flags Flags::NONE;
    /// Calls `object 00 method`. `id`: the caller's number (to the callee: the broker's), `aux`: deadline in ms (0: default).
    Call = 0x20, flags Flags::COMMON.with(Flags::ORIGIN).with(Flags::NO_REPLY).with(Flags::WAIT).with(Flags::STREAM).with(Flags::ITEMS);
    /// More payload of the call `id`; of a call with ITEMS one whole item, and without CONTINUED their end.
    CallPiece = 0x21, flags Flags::PIECE;
    /// From the callee: `aux` more bytes of pieces may be sent for the call `id`.
    CallCredit = 0x22, flags Flags::NONE;
    /// The caller (or, to the callee, the broker) no longer wants the call `id`.
    Cancel = 0x23, flags Flags::NONE;
    /// An answer to the call `id`; with MORE another one follows.
    Reply = 0x24, flags Flags::COMMON.with(Flags::MORE);
    /// More payload of the last reply to the call `id`.
    ReplyPiece = 0x25, flags Flags::PIECE;
    /// From the caller: `aux` more bytes of streamed replies may be sent for the call `id`.
    ReplyCredit = 0x26, flags Flags::NONE;
    /// Opens the subscription `id` on `object 00 event`. `aux`: policy (0 hold, 1 disconnect, 2 drop oldest, 3 latest).
    Subscribe = 0x30, flags Flags::META.with(Flags::PATTERN).with(Flags::NO_LOCAL).with(Flags::NO_RETAINED);
    /// Ends the subscription `id`.
    Unsubscribe = 0x31, flags Flags::NONE;
    /// Publishes to `object 00 event`. `id`: the publisher's number, used with ACK and CONTINUED.
    Publish = 0x32, flags Flags::COMMON.with(Flags::ACK).with(Flags::RETAIN).with(Flags::SHARE);
    /// More payload of the publish `id`.
    PublishPiece = 0x33, flags Flags::PIECE;
    /// From the broker: `aux` more bytes may be published on this connection.
    PublishCredit = 0x34, flags Flags::NONE;
    /// The publish `id` was queued to `aux` subscribers.
    Accepted = 0x35, flags Flags::NONE;
    /// An event for the subscription `id`. `aux`: events missed before this one; with CONTINUED the message's number instead
    /// (a Gap before it tells what was missed). The key is there for patterns only.
    Event = 0x36, flags Flags::COMMON.with(Flags::RETAINED);
    /// More payload of the event of the subscription `id` whose number is `aux`.
    EventPiece = 0x37, flags Flags::PIECE;
    /// `aux` events of the subscription `id` were missed, and none follows for now.
    Gap = 0x38, flags Flags::NONE;
    /// What to publish when this connection ends without a goodbye; an empty key takes it back.
    Will = 0x39, flags Flags::META.with(Flags::RETAIN);
    /// Joins the label bus as the endpoint `id`. `aux`: bit 0, it may be given Unix sockets. Payload: [`super::bus::Join`].
    Join = 0x40, flags Flags::NONE;
    /// The endpoint `id` takes no more messages.
    Leave = 0x41, flags Flags::NONE;
    /// A message for the endpoints that match the key, a [`super::selector::Selector`]. `id`: the sender's number, increasing;
    /// `aux`: how long it may wait for an endpoint that matches, in ms. Payload: the type's UUID and the body.
    Send = 0x42, flags Flags::META.with(Flags::SHARE);
    /// A message for the endpoint `id`.
    Message = 0x44, flags Flags::META.with(Flags::ORIGIN);
    /// The application of the endpoint `id` has taken `aux` more messages.
    Taken = 0x46, flags Flags::NONE;
    /// From the broker: what became of messages. Payload: [`super::bus::Settlement`]s.
    Settled = 0x47, flags Flags::NONE;
}

/// Modifiers of a frame. The low twelve bits are mandatory: an unknown one is refused; the high four are optional.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// A metadata block is there.
    pub const META: Self = Self(0x001);
    /// An origin block is there; only the broker sets it.
    pub const ORIGIN: Self = Self(0x002);
    /// The payload goes on in pieces with the same `id`.
    pub const CONTINUED: Self = Self(0x004);
    /// Another reply follows.
    pub const MORE: Self = Self(0x008);
    /// Call: the caller wants no answer, not even an error.
    pub const NO_REPLY: Self = Self(0x010);
    /// Call: wait until the deadline for the object to be registered.
    pub const WAIT: Self = Self(0x020);
    /// Call: the caller takes a streamed reply.
    pub const STREAM: Self = Self(0x040);
    /// Call: its payload is whole, and items follow as pieces; always with CONTINUED, never with NO_REPLY.
    pub const ITEMS: Self = Self(0x080);
    /// Error: the call may have run.
    pub const MAY_HAVE_RUN: Self = Self(0x010);
    /// Register: wait in the queue when the name is taken.
    pub const QUEUE: Self = Self(0x010);
    /// Register: replace an owner that allows it.
    pub const REPLACE: Self = Self(0x020);
    /// Register: others may replace this owner.
    pub const ALLOW_REPLACE: Self = Self(0x040);
    /// Register: join a worker group.
    pub const WORKER_GROUP: Self = Self(0x080);
    /// Subscribe: both halves of the key are patterns.
    pub const PATTERN: Self = Self(0x010);
    /// Subscribe: not what this connection publishes itself.
    pub const NO_LOCAL: Self = Self(0x020);
    /// Subscribe: no retained values.
    pub const NO_RETAINED: Self = Self(0x040);
    /// Publish: answer with Accepted.
    pub const ACK: Self = Self(0x010);
    /// Publish: keep as the topic's last value (an empty payload clears it).
    pub const RETAIN: Self = Self(0x020);
    /// Publish, Send: what is attached may go to several receivers, whatever it is; they could then write to the same thing.
    pub const SHARE: Self = Self(0x040);
    /// Event: a retained value, published before the subscription was opened.
    pub const RETAINED: Self = Self(0x010);
    /// Piece: the message ends here, incomplete; what came before is void.
    pub const ABORT: Self = Self(0x010);
    /// Piece: the whole payload of the message lies in the attached region, whose length the frame's payload tells.
    pub const REGION: Self = Self(0x020);
    /// Takes: the offer was a reply's.
    pub const OF_REPLY: Self = Self(0x010);
    /// Call, Reply, Publish with CONTINUED and without payload: the payload can come as a region. Who does not know it sees a message
    /// in pieces.
    pub const OFFER: Self = Self(0x1000);
    /// What the pieces of all messages share.
    const PIECE: Self = Self(Self::CONTINUED.0 | Self::ABORT.0 | Self::REGION.0);
    /// What calls, replies and events share.
    const COMMON: Self = Self(Self::META.0 | Self::CONTINUED.0);
    /// The bits that a receiver must understand.
    pub const MANDATORY: Self = Self(0x0fff);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// `self` without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// `other` when `condition` holds, added to `self`.
    #[must_use]
    pub const fn with_if(self, condition: bool, other: Self) -> Self {
        if condition { self.with(other) } else { self }
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#06x})", self.0)
    }
}

/// The fixed part of a frame, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the body.
    pub body_len: u32,
    /// What the frame says.
    pub kind: Kind,
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// Modifiers.
    pub flags: Flags,
    /// Which call, request, subscription… it is about.
    pub id: u64,
    /// A number whose meaning depends on the kind.
    pub aux: u32,
    /// Bytes of the key.
    pub key_len: u16,
    /// How many attachments travel with it.
    pub attachments: u8,
}

impl Header {
    /// Bytes of the whole frame on the wire: what credit and budgets count.
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        HEADER_LEN + self.body_len as usize
    }

    /// Whether it is a piece that brings its message's payload as a region.
    #[must_use]
    pub const fn is_region(&self) -> bool {
        let piece = matches!(
            self.kind,
            Kind::CallPiece | Kind::ReplyPiece | Kind::PublishPiece | Kind::EventPiece
        );
        piece && self.flags.has(Flags::REGION)
    }

    /// Whether its payload is offered as a region.
    #[must_use]
    pub const fn is_offer(&self) -> bool {
        let first = matches!(self.kind, Kind::Call | Kind::Reply | Kind::Publish);
        first && self.flags.has(Flags::OFFER.with(Flags::CONTINUED))
    }

    /// The header as it crosses the wire.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> [[u8; 8]; 3] {
        let first = u64::from(self.body_len)
            | u64::from(self.kind as u8) << 32
            | u64::from(self.encoding.0) << 40
            | u64::from(self.flags.0) << 48;
        let third = u64::from(self.aux) | u64::from(self.key_len) << 32 | u64::from(self.attachments) << 48;
        [first.to_le_bytes(), self.id.to_le_bytes(), third.to_le_bytes()]
    }
}

/// Reads the header at the start of `bytes`.
///
/// Returns `Ok(Err(total))` for an optional frame this version does not know, with its length on the wire.
///
/// # Errors
/// [`FrameError`] when the frame must be refused.
pub fn parse_header(bytes: &[u8; HEADER_LEN], limit: usize) -> Result<Result<Header, usize>, FrameError> {
    let [l0, l1, l2, l3, kind, encoding, f0, f1, rest @ ..] = *bytes;
    let [
        i0,
        i1,
        i2,
        i3,
        i4,
        i5,
        i6,
        i7,
        a0,
        a1,
        a2,
        a3,
        k0,
        k1,
        attachments,
        _reserved,
    ] = rest;
    let body_len = u32::from_le_bytes([l0, l1, l2, l3]);
    let flags = Flags(u16::from_le_bytes([f0, f1]));
    let too_large = |kind| FrameError::TooLarge {
        kind,
        length: body_len,
        limit,
    };
    let Some(kind) = Kind::from_code(kind) else {
        if kind < 0x80 {
            return Err(FrameError::UnknownKind(kind));
        }
        return match HEADER_LEN.checked_add(body_len as usize) {
            Some(total) if body_len as usize <= limit => Ok(Err(total)),
            _ => Err(too_large(Kind::Ping)),
        };
    };
    if body_len as usize > limit {
        return Err(too_large(kind));
    }
    let unknown = Flags(flags.0 & Flags::MANDATORY.0).without(kind.allowed_flags());
    if unknown != Flags::NONE {
        return Err(FrameError::UnknownFlags(kind, unknown));
    }
    Ok(Ok(Header {
        body_len,
        kind,
        encoding: Encoding(encoding),
        flags,
        id: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
        aux: u32::from_le_bytes([a0, a1, a2, a3]),
        key_len: u16::from_le_bytes([k0, k1]),
        attachments,
    }))
}

/// Reads the header at the start of `bytes`, whose first [`ALIKE_LEN`] bytes are those of a frame that was read and not refused.
#[inline]
pub(super) fn parse_alike(bytes: &[u8; HEADER_LEN], checked: &Header) -> Header {
    let [_, _, _, _, _, _, _, _, rest @ ..] = *bytes;
    let [i0, i1, i2, i3, i4, i5, i6, i7, rest @ ..] = rest;
    let [a0, a1, a2, a3, k0, k1, attachments, _reserved] = rest;
    Header {
        id: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
        aux: u32::from_le_bytes([a0, a1, a2, a3]),
        key_len: u16::from_le_bytes([k0, k1]),
        attachments,
        ..*checked
    }
}

/// Who caused a frame, as the broker tells it to the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Origin {
    /// The connection.
    pub peer: PeerId,
    /// Its user, as the kernel or the platform told it; `u32::MAX` when unknown.
    pub uid: u32,
    /// Its process; 0 when unknown.
    pub pid: u32,
}

impl Origin {
    /// The block as it crosses the wire.
    #[must_use]
    pub fn bytes(&self) -> [[u8; 8]; 2] {
        let process = u64::from(self.uid) | u64::from(self.pid) << 32;
        [self.peer.0, process].map(u64::to_le_bytes)
    }
}

/// A frame's parts, borrowed from the batch that it lies in.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    /// The fixed part.
    pub header: &'a Header,
    /// Who caused it, when the broker says so.
    pub origin: Option<Origin>,
    /// The bytes of the metadata block, empty without one.
    pub meta: &'a [u8],
    /// The bytes of the key.
    pub key: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// Bytes of the message that the frame brings: of its payload, or of the region that is attached. `None` when it names a region
    /// without a length.
    #[must_use]
    pub fn brings(&self) -> Option<usize> {
        if !self.header.is_region() {
            return Some(self.payload.len());
        }
        let length = u64::from_le_bytes(self.payload.try_into().ok()?);
        usize::try_from(length).ok()
    }

    /// Splits a body into its parts.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] when the parts are longer than the body.
    pub fn split(header: &'a Header, body: &'a [u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(header.kind);
        let mut rest = body;
        let mut origin = None;
        if header.flags.has(Flags::ORIGIN) {
            let (block, tail) = rest.split_first_chunk::<ORIGIN_LEN>().ok_or(malformed)?;
            let [p0, p1, p2, p3, p4, p5, p6, p7, u0, u1, u2, u3, i0, i1, i2, i3] = *block;
            origin = Some(Origin {
                peer: PeerId(u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7])),
                uid: u32::from_le_bytes([u0, u1, u2, u3]),
                pid: u32::from_le_bytes([i0, i1, i2, i3]),
            });
            rest = tail;
        }
        let mut meta: &[u8] = &[];
        if header.flags.has(Flags::META) {
            let (length, tail) = rest.split_first_chunk::<2>().ok_or(malformed)?;
            (meta, rest) = tail
                .split_at_checked(usize::from(u16::from_le_bytes(*length)))
                .ok_or(malformed)?;
        }
        let (key, payload) = rest
            .split_at_checked(usize::from(header.key_len))
            .ok_or(malformed)?;
        Ok(Self {
            header,
            origin,
            meta,
            key,
            payload,
        })
    }
}

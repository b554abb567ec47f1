//! The payloads of the label bus: what a `Join` says, and what a `Settled` tells.
//!
//! Owns their layouts and checks. It refuses to know selectors (see [`super::selector`]), endpoints and sockets. Called by
//! the bus library and by the broker's sessions.

#[cfg(test)]
mod tests;

use super::name::{self, NameError};
use super::selector::LABELS_MAX;
use bytes::BufMut;

/// The version of the bus protocol that this library speaks, in `Join`.
pub const BUS_VERSION: u16 = 1;
/// The metadata entry of the error `BusVersion` that holds the broker's own version, `u16` little-endian.
pub const VERSION_KEY: &str = "bus.version";
/// The longest token of a bus, in bytes.
pub const BUS_TOKEN_MAX: usize = 1024;
/// `aux` of a `Join`: the endpoint may be given Unix sockets.
pub const TAKES_UNIX_SOCKETS: u32 = 1;
/// The bytes that a message's payload begins with: its type, a UUID as RFC 9562 writes it in binary.
pub const TYPE_LEN: usize = 16;

/// The payload of `Join`, borrowed. Layout: `version u16 | token length u16 | token | count u16`, then for each label
/// `length u16 | bytes`. Nothing may follow.
#[derive(Clone, PartialEq, Eq)]
pub struct Join<'a> {
    /// The version of the bus protocol that the endpoint speaks.
    pub version: u16,
    /// What the bus asks of those who join.
    pub token: &'a [u8],
    /// The elements of the endpoint's label, as they came: in any order, perhaps more than once.
    pub labels: Vec<&'a str>,
}

impl std::fmt::Debug for Join<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join")
            .field("version", &self.version)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

/// Why the payload of a `Join` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It ends too early.
    #[error("the payload of a Join is cut off")]
    Truncated,
    /// There are bytes behind the last label.
    #[error("bytes follow the last label of a Join")]
    LeftOver,
    /// The token is longer than [`BUS_TOKEN_MAX`].
    #[error("the token of a bus has at most {BUS_TOKEN_MAX} bytes, this one has {0}")]
    Token(usize),
    /// There are more labels than [`LABELS_MAX`].
    #[error("an endpoint has at most {LABELS_MAX} labels, this one has {0}")]
    TooMany(usize),
    /// A label breaks a rule.
    #[error("a label is wrong: {0}")]
    Label(#[from] NameError),
}

impl<'a> Join<'a> {
    /// The payload of the frame.
    ///
    /// # Errors
    /// [`JoinError`] when the token is too long, or the labels are too many or wrong.
    pub fn encode(&self) -> Result<Vec<u8>, JoinError> {
        let mut out = self.version.to_le_bytes().to_vec();
        let token = u16::try_from(self.token.len())
            .ok()
            .filter(|length| usize::from(*length) <= BUS_TOKEN_MAX)
            .ok_or(JoinError::Token(self.token.len()))?;
        out.put_u16_le(token);
        out.put_slice(self.token);
        let count = u16::try_from(self.labels.len())
            .ok()
            .filter(|count| usize::from(*count) <= LABELS_MAX)
            .ok_or(JoinError::TooMany(self.labels.len()))?;
        out.put_u16_le(count);
        for label in &self.labels {
            name::check_text(label)?;
            out.put_u16_le(u16::try_from(label.len()).unwrap_or(u16::MAX));
            out.put_slice(label.as_bytes());
        }
        Ok(out)
    }

    /// Reads the payload of a version whose layout is this one.
    ///
    /// # Errors
    /// [`JoinError`] says which rule is broken.
    pub fn decode(payload: &'a [u8]) -> Result<Self, JoinError> {
        let mut rest = payload;
        let version = number(&mut rest)?;
        let length = usize::from(number(&mut rest)?);
        if length > BUS_TOKEN_MAX {
            return Err(JoinError::Token(length));
        }
        let token = take(&mut rest, length)?;
        let count = usize::from(number(&mut rest)?);
        if count > LABELS_MAX {
            return Err(JoinError::TooMany(count));
        }
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            let length = usize::from(number(&mut rest)?);
            labels.push(name::check(take(&mut rest, length)?)?);
        }
        if !rest.is_empty() {
            return Err(JoinError::LeftOver);
        }
        Ok(Self {
            version,
            token,
            labels,
        })
    }

    /// The version alone, which every version has first; `None` when even that is missing.
    #[must_use]
    pub fn version_of(payload: &[u8]) -> Option<u16> {
        payload.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }
}

fn number(rest: &mut &[u8]) -> Result<u16, JoinError> {
    let (number, tail) = rest.split_first_chunk().ok_or(JoinError::Truncated)?;
    *rest = tail;
    Ok(u16::from_le_bytes(*number))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], JoinError> {
    let (taken, tail) = rest.split_at_checked(length).ok_or(JoinError::Truncated)?;
    *rest = tail;
    Ok(taken)
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What became of a message. The number crosses the wire in `Settled`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Outcome { $($(#[$doc])* $name = $code,)* }

        impl Outcome {
            /// Every outcome, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The outcome with this code.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The name in documents and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

outcomes! {
    /// The applications of all its receivers have taken it.
    Taken = 0, "taken by all its receivers";
    /// No endpoint matched before its time was over.
    NoMatch = 1, "no endpoint matched in time";
    /// A receiver ended before it took the message.
    ReceiverGone = 2, "a receiver ended before it took the message";
    /// A receiver's queue was full, or it has stopped taking.
    ReceiverFull = 3, "a receiver's queue was full";
    /// A receiver could not be given the attachments.
    Attachments = 4, "a receiver cannot take the attachments";
    /// The attachments go to one receiver only, and several matched.
    NotShareable = 5, "the attachments cannot be given to several receivers";
    /// The message is larger than a receiver or a limit admits.
    TooLarge = 6, "the message is beyond a limit";
    /// The broker is stopping, or failed.
    Cancelled = 7, "the broker stopped or failed before it was taken";
    /// The policy forbids it.
    Denied = 8, "the policy forbids it";
}

/// Bytes of one entry of a `Settled` frame.
pub const SETTLEMENT_LEN: usize = 16;

/// What became of a run of messages with consecutive numbers. Layout: `first u64 | count u32 | outcome u8 |
/// may have arrived u8 | receivers u16`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// The number of the first message.
    pub first: u64,
    /// How many messages, at least one.
    pub count: u32,
    /// The worst of what became of each at its receivers.
    pub outcome: Outcome,
    /// Whether an application may have got the message all the same.
    pub may_have_arrived: bool,
    /// How many receivers took each message.
    pub receivers: u16,
}

impl Settlement {
    /// The entry as it crosses the wire.
    #[must_use]
    pub fn bytes(&self) -> [u8; SETTLEMENT_LEN] {
        let [a, b] = self.receivers.to_le_bytes();
        let arrived = u8::from(self.may_have_arrived);
        let second =
            u64::from(self.count) | u64::from_le_bytes([0, 0, 0, 0, self.outcome as u8, arrived, a, b]);
        u128::to_le_bytes(u128::from(self.first) | u128::from(second) << 64)
    }

    /// Reads an entry; `None` for an outcome that this version does not know.
    #[must_use]
    pub fn parse(bytes: &[u8; SETTLEMENT_LEN]) -> Option<Self> {
        let [
            f0,
            f1,
            f2,
            f3,
            f4,
            f5,
            f6,
            f7,
            c0,
            c1,
            c2,
            c3,
            outcome,
            arrived,
            r0,
            r1,
        ] = *bytes;
        Some(Self {
            first: u64::from_le_bytes([f0, f1, f2, f3, f4, f5, f6, f7]),
            count: u32::from_le_bytes([c0, c1, c2, c3]),
            outcome: Outcome::from_code(outcome)?,
            may_have_arrived: arrived != 0,
            receivers: u16::from_le_bytes([r0, r1]),
        })
    }

    /// The entries of a `Settled` frame's payload, in order; one of an unknown outcome is `None`, bytes that are no whole
    /// entry are left out.
    pub fn all(payload: &[u8]) -> impl Iterator<Item = Option<Self>> {
        let (entries, _) = payload.as_chunks::<SETTLEMENT_LEN>();
        entries.iter().map(Self::parse)
    }
}

//! The trace context of W3C in the metadata of calls and events: which trace something belongs to, and what caused it.
//!
//! Owns the format of the entry `traceparent` (Trace Context, version 00) and its check. It makes no ids and sends nothing anywhere:
//! programs ask for it, and whoever collects traces reads it from spans and logs.

use super::metadata::{self, Metadata, MetadataError};
use std::fmt;
use std::str::FromStr;

/// The key of the entry.
pub const TRACEPARENT: &str = "traceparent";
/// The length of version 00, in bytes.
const LENGTH: usize = 55;

/// Which trace a call or event belongs to, and which span caused it: `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
///
/// ```
/// use actix_ipc::message::TraceParent;
///
/// let parent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert!(parent.is_sampled());
/// let child = parent.child([1; 8]).unwrap_or(parent);
/// assert_eq!(child.trace_id(), parent.trace_id());
/// assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0101010101010101-01");
/// # Ok::<(), actix_ipc::message::TraceParentError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    parent: [u8; 8],
    flags: u8,
}

/// Why a text is no trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceParentError {
    /// Its parts are not where they belong.
    #[error(
        "a traceparent is 00-, 32 hex digits, -, 16 hex digits, -, 2 hex digits, all of them lower case; this is another text"
    )]
    Format,
    /// Version ff, which is none.
    #[error("ff is no version of a traceparent")]
    Version,
    /// The id of the trace or of the span is zero, which says that there is none.
    #[error("the ids of a traceparent are not all zeros")]
    Zero,
}

impl TraceParent {
    /// Reads the value of an entry or header. Of a version that is newer than 00, what 00 has of it.
    ///
    /// # Errors
    /// [`TraceParentError`]. Whoever got it from somebody else goes on without one then.
    pub fn parse(text: &[u8]) -> Result<Self, TraceParentError> {
        let (known, rest) = text.split_at_checked(LENGTH).ok_or(TraceParentError::Format)?;
        let [v1, v2, b'-', ids @ ..] = known else {
            return Err(TraceParentError::Format);
        };
        let [version] = bytes(&[*v1, *v2])?;
        match (version, rest) {
            (0xff, _) => return Err(TraceParentError::Version),
            (0, []) | (1.., [] | [b'-', ..]) => {}
            _ => return Err(TraceParentError::Format),
        }
        let mut parts = ids.split(|byte| *byte == b'-');
        let mut part = || parts.next().ok_or(TraceParentError::Format);
        let found = Self {
            trace: bytes(part()?)?,
            parent: bytes(part()?)?,
            flags: bytes::<1>(part()?)?[0],
        };
        if parts.next().is_some() {
            return Err(TraceParentError::Format);
        }
        match found.trace == [0; 16] || found.parent == [0; 8] {
            true => Err(TraceParentError::Zero),
            false => Ok(found),
        }
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// The span that caused it.
    #[must_use]
    pub const fn parent_id(&self) -> [u8; 8] {
        self.parent
    }

    /// Whether whoever began the trace records it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The same trace with another span in front of it: for what a program sends on behalf of what it got. `None` for an id of
    /// zeros, which is none.
    #[must_use]
    pub fn child(self, span: [u8; 8]) -> Option<Self> {
        (span != [0; 8]).then_some(Self { parent: span, ..self })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.parent.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        Self::parse(text.as_bytes())
    }
}

impl Metadata {
    /// The trace context, when there is one that is valid.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        of_block(self.as_bytes())
    }

    /// Puts a trace context in, in the place of one that is there.
    ///
    /// # Errors
    /// [`MetadataError::TooLarge`]; the block is then as it was.
    pub fn set_traceparent(&mut self, parent: TraceParent) -> Result<(), MetadataError> {
        let text = parent.to_string();
        if self.get(TRACEPARENT).is_none() {
            return self.insert(TRACEPARENT, text);
        }
        let mut block = Self::new();
        for (key, value) in self.iter().filter(|(key, _)| *key != TRACEPARENT) {
            block.insert(key, value)?;
        }
        block.insert(TRACEPARENT, text)?;
        *self = block;
        Ok(())
    }
}

/// The trace context in the bytes of a block of metadata, when there is one that is valid.
#[must_use]
pub fn of_block(block: &[u8]) -> Option<TraceParent> {
    TraceParent::parse(metadata::get(block, TRACEPARENT)?).ok()
}

/// Bytes from twice as many lower-case hex digits.
fn bytes<const N: usize>(digits: &[u8]) -> Result<[u8; N], TraceParentError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Ok(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => Err(TraceParentError::Format),
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(TraceParentError::Format);
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_format_is_checked_to_its_last_digit() {
        let table: [(&str, Result<&str, TraceParentError>); 15] = [
            (GOOD, Ok(GOOD)),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
                Ok("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff"),
            ),
            // A newer version: what is known of it.
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what.is.new",
                Ok(GOOD),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                Ok(GOOD),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
                Err(TraceParentError::Format),
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                Err(TraceParentError::Format),
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                Err(TraceParentError::Version),
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                Err(TraceParentError::Zero),
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                Err(TraceParentError::Zero),
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                Err(TraceParentError::Format),
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
                Err(TraceParentError::Format),
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
                Err(TraceParentError::Format),
            ),
            (
                "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                Err(TraceParentError::Format),
            ),
            ("", Err(TraceParentError::Format)),
            ("00-é", Err(TraceParentError::Format)),
        ];
        for (text, expected) in table {
            let found = text.parse::<TraceParent>().map(|parent| parent.to_string());
            assert_eq!(found.as_deref().map_err(|error| *error), expected, "{text}");
        }
    }

    #[test]
    fn a_block_has_one_and_keeps_the_rest() {
        let mut block = Metadata::new();
        block.insert("a", "1").unwrap();
        assert_eq!(block.traceparent(), None);
        let first: TraceParent = GOOD.parse().unwrap();
        let second = first.child([7; 8]).unwrap();
        block.set_traceparent(first).unwrap();
        block.insert("b", "2").unwrap();
        block.set_traceparent(second).unwrap();
        assert_eq!(block.traceparent(), Some(second));
        let keys: Vec<&str> = block.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "b", TRACEPARENT]);
        assert_eq!(first.child([0; 8]), None);

        let mut other = Metadata::new();
        other.insert(TRACEPARENT, "00-junk").unwrap();
        assert_eq!(other.traceparent(), None, "what is none is nobody's");
        let mut full = Metadata::new();
        full.insert("k", vec![0; metadata::METADATA_MAX - 4]).unwrap();
        assert!(full.set_traceparent(first).is_err() && full.traceparent().is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in any::<[u8; 16]>(), parent in any::<[u8; 8]>(), flags: u8) {
            prop_assume!(trace != [0; 16] && parent != [0; 8]);
            let one = TraceParent { trace, parent, flags };
            prop_assert_eq!(one.to_string().parse(), Ok(one));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(one) = TraceParent::parse(&text) {
                prop_assert_eq!(one.to_string().parse(), Ok(one));
            }
        }
    }
}

//! The metadata block: small key-value entries beside the payload of calls, replies and events.
//!
//! Owns the entry format and its limits. The broker never reads entries of others except `route.key` of a
//! call to a sticky group; entries whose key begins with `sys.` are written by the broker only.
//!
//! Entry: `key length u8 | key | value length u16 little-endian | value`, repeated.

use bytes::BufMut;
use std::fmt;

/// The largest block, in bytes, with what the broker adds.
pub const METADATA_MAX: usize = 8 * 1024;
/// Keys with this prefix are written by the broker and refused from peers.
pub const RESERVED_PREFIX: &str = "sys.";
/// The declared name of the peer a call comes from, written by the broker.
pub const SYS_NAME: &str = "sys.name";
/// Chooses the member of a sticky worker group; calls with equal values go to the same member.
pub const ROUTE_KEY: &str = "route.key";
/// Names the queue group of a subscription.
pub const GROUP: &str = "group";
/// The name of a handler's own error, beside its payload.
pub const ERROR_NAME: &str = "error.name";
/// The text of an error whose payload is the handler's own value.
pub const ERROR_TEXT: &str = "error.text";

/// Why a block was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The block is larger than [`METADATA_MAX`].
    #[error("metadata has at most {METADATA_MAX} bytes, this block needs {0}")]
    TooLarge(usize),
    /// An entry ends behind the block.
    #[error("a metadata entry is cut off")]
    Truncated,
    /// A key is empty, longer than 255 bytes, or not UTF-8.
    #[error("a metadata key must be UTF-8 of 1 to 255 bytes")]
    BadKey,
    /// The key is reserved for the broker.
    #[error("metadata keys that begin with `sys.` are written by the broker only")]
    Reserved,
}

/// An owned, checked block of entries in the order they were added. Most frames have none, so it is a pointer's size.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata(Option<Box<Block>>);

/// The entries as they cross the wire; at least one.
#[derive(Clone, PartialEq, Eq, Default)]
struct Block(Vec<u8>);

impl Metadata {
    /// An empty block.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Checks the bytes of a block and keeps a copy.
    ///
    /// # Errors
    /// [`MetadataError`] when it is too large or an entry is malformed.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        Self::parse_some(bytes)
    }

    fn parse_some(bytes: &[u8]) -> Result<Self, MetadataError> {
        check(bytes)?;
        Ok(Self(Some(Box::new(Block(bytes.to_vec())))))
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`MetadataError::BadKey`] or [`MetadataError::TooLarge`]; the block is then as it was.
    pub fn insert(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<(), MetadataError> {
        let value = value.as_ref();
        let key_len = u8::try_from(key.len())
            .ok()
            .filter(|n| *n > 0)
            .ok_or(MetadataError::BadKey)?;
        let needed = self
            .as_bytes()
            .len()
            .saturating_add(key.len())
            .saturating_add(value.len())
            .saturating_add(3);
        let value_len = u16::try_from(value.len())
            .ok()
            .filter(|_| needed <= METADATA_MAX)
            .ok_or(MetadataError::TooLarge(needed))?;
        let Block(bytes) = &mut **self.0.get_or_insert_default();
        bytes.put_u8(key_len);
        bytes.put_slice(key.as_bytes());
        bytes.put_u16_le(value_len);
        bytes.put_slice(value);
        Ok(())
    }

    /// The first value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        get(self.as_bytes(), key)
    }

    /// The first value under `key`, when it is UTF-8.
    #[must_use]
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        Entries(self.as_bytes()).map_while(Result::ok)
    }

    /// Whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The block as it crosses the wire.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Some(block) => &block.0,
            None => &[],
        }
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(key, value)| (key, String::from_utf8_lossy(value))),
            )
            .finish()
    }
}

/// Checks a whole block: sizes, keys, no reserved key.
///
/// # Errors
/// [`MetadataError`] of the first broken rule. Use [`check`] for a block that the broker has written.
pub fn check_from_peer(bytes: &[u8]) -> Result<(), MetadataError> {
    check(bytes)?;
    if Entries(bytes)
        .map_while(Result::ok)
        .any(|(key, _)| key.starts_with(RESERVED_PREFIX))
    {
        return Err(MetadataError::Reserved);
    }
    Ok(())
}

/// Checks sizes and keys of a whole block.
///
/// # Errors
/// [`MetadataError`] of the first broken rule.
pub fn check(bytes: &[u8]) -> Result<(), MetadataError> {
    if bytes.len() > METADATA_MAX {
        return Err(MetadataError::TooLarge(bytes.len()));
    }
    Entries(bytes).try_for_each(|entry| entry.map(|_| ()))
}

/// The first value under `key` in the bytes of a block.
#[must_use]
pub fn get<'a>(bytes: &'a [u8], key: &str) -> Option<&'a [u8]> {
    Entries(bytes)
        .map_while(Result::ok)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a str, &'a [u8]), MetadataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key_len, rest) = self.0.split_first()?;
        Some(self.entry(usize::from(*key_len), rest))
    }
}

impl<'a> Entries<'a> {
    fn entry(&mut self, key_len: usize, rest: &'a [u8]) -> Result<(&'a str, &'a [u8]), MetadataError> {
        // Whatever happens next, a malformed block is not read twice.
        self.0 = &[];
        let (key, rest) = rest.split_at_checked(key_len).ok_or(MetadataError::Truncated)?;
        let (value_len, rest) = rest.split_first_chunk::<2>().ok_or(MetadataError::Truncated)?;
        let (value, rest) = rest
            .split_at_checked(usize::from(u16::from_le_bytes(*value_len)))
            .ok_or(MetadataError::Truncated)?;
        let key = std::str::from_utf8(key)
            .ok()
            .filter(|key| !key.is_empty())
            .ok_or(MetadataError::BadKey)?;
        self.0 = rest;
        Ok((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order() {
        let mut block = Metadata::new();
        block.insert("trace", "abc").unwrap();
        block.insert("n", [1, 2]).unwrap();
        let back = Metadata::parse(block.as_bytes()).unwrap();
        assert_eq!(
            back.iter().collect::<Vec<_>>(),
            [("trace", &b"abc"[..]), ("n", &[1, 2][..])]
        );
        assert_eq!(back.get_str("trace"), Some("abc"));
        assert_eq!(back.get("none"), None);
    }

    #[test]
    fn the_block_is_limited_to_its_last_byte() {
        let mut block = Metadata::new();
        block.insert("k", vec![0; METADATA_MAX - 4]).unwrap();
        assert_eq!(block.as_bytes().len(), METADATA_MAX);
        assert!(check(block.as_bytes()).is_ok());
        let mut block = Metadata::new();
        assert_eq!(
            block.insert("k", vec![0; METADATA_MAX - 3]),
            Err(MetadataError::TooLarge(METADATA_MAX + 1))
        );
        assert!(block.is_empty());
    }

    #[test]
    fn malformed_blocks_are_named() {
        for (bytes, error) in [
            (&[1][..], MetadataError::Truncated),
            (&[1, b'k', 2, 0, 0][..], MetadataError::Truncated),
            (&[0, 0, 0][..], MetadataError::BadKey),
            (&[1, 0xff, 0, 0][..], MetadataError::BadKey),
            (b"\x08sys.name\x00\x00", MetadataError::Reserved),
        ] {
            assert_eq!(check_from_peer(bytes), Err(error), "{bytes:?}");
        }
    }
}

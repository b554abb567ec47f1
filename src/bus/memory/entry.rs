//! How a region is described in a message, beside the descriptor that carries it.
//!
//! Owns the bytes: `u64 size | u8 kind | u8 flags | u8 length of tag | tag`, numbers little-endian. Pure. What an entry says is its
//! sender's word; `region` checks it against the memory itself.

use std::fmt;
use std::str;

/// The longest tag, in bytes of UTF-8.
pub const TAG_MAX: usize = 255;
/// Bytes of an entry without its tag.
const FIXED: usize = 11;
/// The only flag: more than one receiver gets this descriptor.
const SEVERAL: u8 = 1;

/// Who may change the memory from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Nobody. The receiver may look at it in place, if the system promises it too.
    Immutable,
    /// Its sender, once all receivers are done with it: memory of a registry. It is read by copying.
    Pooled,
    /// Everybody who has it. It is read and written by copying.
    Writable,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Immutable => 0,
            Self::Pooled => 1,
            Self::Writable => 2,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Immutable),
            1 => Some(Self::Pooled),
            2 => Some(Self::Writable),
            _ => None,
        }
    }
}

/// What a message says about one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    size: u64,
    kind: Kind,
    several: bool,
    tag: Option<Box<str>>,
}

/// Why bytes are no entry, or a tag cannot be in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes end inside the entry.
    #[error("the description of a memory region ends too early")]
    Short,
    /// A kind that this version does not know.
    #[error("a memory region has the unknown kind {0}")]
    Kind(u8),
    /// Flags that this version does not know.
    #[error("a memory region has unknown flags: {0:#04x}")]
    Flags(u8),
    /// The tag is not UTF-8.
    #[error("the tag of a memory region is not UTF-8")]
    Tag,
    /// The tag is too long.
    #[error("the tag of a memory region has {0} bytes, at most {TAG_MAX} are allowed")]
    LongTag(usize),
}

impl Entry {
    /// Describes memory of `size` bytes. `several`: the descriptor goes to more than one receiver.
    ///
    /// # Errors
    /// [`EntryError::LongTag`]. An empty tag is none.
    pub fn new(size: u64, kind: Kind, several: bool, tag: Option<&str>) -> Result<Self, EntryError> {
        let tag = tag.filter(|tag| !tag.is_empty());
        match tag.map(str::len) {
            Some(length) if length > TAG_MAX => Err(EntryError::LongTag(length)),
            _ => Ok(Self {
                size,
                kind,
                several,
                tag: tag.map(Into::into),
            }),
        }
    }

    /// Bytes of the region.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Who may change it.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether more than one receiver gets the descriptor.
    #[must_use]
    pub const fn is_for_several(&self) -> bool {
        self.several
    }

    /// What its sender calls it.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Bytes that [`encode`](Self::encode) appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        FIXED.saturating_add(self.tag.as_ref().map_or(0, |tag| tag.len()))
    }

    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let tag = self.tag.as_deref().unwrap_or_default();
        out.extend_from_slice(&self.size.to_le_bytes());
        out.push(self.kind.code());
        out.push(if self.several { SEVERAL } else { 0 });
        // `new` and `decode` let no longer one in.
        out.push(u8::try_from(tag.len()).unwrap_or_default());
        out.extend_from_slice(tag.as_bytes());
    }

    /// The entry at the beginning of `bytes`, and what follows it. Each entry has one encoding.
    ///
    /// # Errors
    /// [`EntryError`]; no bytes make it panic.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), EntryError> {
        let (size, rest) = bytes.split_first_chunk::<8>().ok_or(EntryError::Short)?;
        let ([kind, flags, length], rest) = rest.split_first_chunk().ok_or(EntryError::Short)?;
        let kind = Kind::of(*kind).ok_or(EntryError::Kind(*kind))?;
        if flags & !SEVERAL != 0 {
            return Err(EntryError::Flags(*flags));
        }
        let (tag, rest) = rest
            .split_at_checked(usize::from(*length))
            .ok_or(EntryError::Short)?;
        let tag = str::from_utf8(tag).map_err(|_| EntryError::Tag)?;
        let entry = Self::new(u64::from_le_bytes(*size), kind, flags & SEVERAL != 0, Some(tag))?;
        Ok((entry, rest))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {:?}", self.size, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let kinds = prop_oneof![Just(Kind::Immutable), Just(Kind::Pooled), Just(Kind::Writable)];
        (any::<u64>(), kinds, any::<bool>(), "[a-zé]{0,60}")
            .prop_map(|(size, kind, several, tag)| Entry::new(size, kind, several, Some(&tag)).unwrap())
    }

    #[test]
    fn the_bytes_are_as_described() {
        let entry = Entry::new(0x0102, Kind::Pooled, true, Some("ab")).unwrap();
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(bytes, [2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, b'a', b'b']);
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        let good = [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'x'];
        assert!(Entry::decode(&good).is_ok());
        for length in 0..good.len() {
            assert_eq!(Entry::decode(&good[..length]), Err(EntryError::Short), "{length}");
        }
        for (at, value, expected) in [
            (8, 3, EntryError::Kind(3)),
            (9, 2, EntryError::Flags(2)),
            (9, 0x81, EntryError::Flags(0x81)),
            (11, 0xff, EntryError::Tag),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Entry::decode(&bad), Err(expected));
        }
        let long = "x".repeat(TAG_MAX + 1);
        assert!(Entry::new(1, Kind::Immutable, false, Some(&long[1..])).is_ok());
        let refused = Entry::new(1, Kind::Immutable, false, Some(&long));
        assert_eq!(refused, Err(EntryError::LongTag(TAG_MAX + 1)));
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_were(entries in proptest::collection::vec(entry(), 0..5)) {
            let mut bytes = Vec::new();
            for entry in &entries {
                let before = bytes.len();
                entry.encode(&mut bytes);
                prop_assert_eq!(bytes.len() - before, entry.encoded_len());
            }
            let (mut rest, mut found) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                let (entry, behind) = Entry::decode(rest).unwrap();
                found.push(entry);
                rest = behind;
            }
            prop_assert_eq!(found, entries);
        }

        #[test]
        fn what_is_decoded_is_encoded_the_same(bytes: Vec<u8>) {
            if let Ok((entry, rest)) = Entry::decode(&bytes) {
                let mut again = Vec::new();
                entry.encode(&mut again);
                again.extend_from_slice(rest);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}

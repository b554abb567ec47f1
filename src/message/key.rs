//! The key of a frame: what it is about, as one run of bytes.
//!
//! A key is either one name (`object`) or two joined by a zero byte (`object 00 member`), where the member
//! is a method or an event. Names hold no control characters, so the zero byte cannot be part of one.

use super::name::{self, NameError};

/// Separates the two names of a key on the wire.
pub const SEPARATOR: u8 = 0;
/// The longest key: two names and the separator.
pub const KEY_MAX: usize = name::NAME_MAX * 2 + 1;

/// A checked key, borrowed from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The object, or the only name there is.
    pub object: &'a str,
    /// The method or event; empty when the key is one name.
    pub member: &'a str,
}

impl<'a> Key<'a> {
    /// Splits and checks a key that must be one name.
    ///
    /// # Errors
    /// [`NameError`] when the bytes are no name.
    pub fn single(bytes: &'a [u8]) -> Result<Self, NameError> {
        Ok(Self {
            object: name::check(bytes)?,
            member: "",
        })
    }

    /// Splits and checks a key that must be two names.
    ///
    /// # Errors
    /// [`NameError`] of the half that is wrong; a missing separator counts as an empty member.
    pub fn pair(bytes: &'a [u8]) -> Result<Self, NameError> {
        let (object, member) = split(bytes);
        Ok(Self {
            object: name::check(object)?,
            member: name::check(member)?,
        })
    }
}

/// The two halves of a key as bytes, unchecked; the second is empty without a separator.
#[must_use]
pub fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = bytes.splitn(2, |byte| *byte == SEPARATOR);
    (halves.next().unwrap_or(&[]), halves.next().unwrap_or(&[]))
}

/// Joins two names into the bytes of a key.
#[must_use]
pub fn join(object: &str, member: &str) -> Vec<u8> {
    [object.as_bytes(), &[SEPARATOR], member.as_bytes()].concat()
}

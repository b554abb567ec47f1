//! Names as programs give them: checked, and as the key of a frame carries them.
//!
//! Owns the check and the bytes of a key while its frame waits to be sent, which need no allocation when they are few.
//! The alphabet is [`name`]'s. Called by whoever describes a call, an event or a registration.

use super::call::invalid;
use crate::error::CallError;
use crate::message::{key, name};
use std::fmt;

/// Bytes of a key that are kept in place.
const SHORT: usize = 54;

/// The bytes of a key.
pub(crate) enum Key {
    Short(u8, [u8; SHORT]),
    Long(Vec<u8>),
}

impl Key {
    /// No name at all.
    pub(crate) const EMPTY: Self = Self::Short(0, [0; SHORT]);

    /// The key of an object and its member, both checked.
    ///
    /// # Errors
    /// Invalid, naming the half that is wrong.
    pub(crate) fn pair(object: &str, member: &str) -> Result<Self, CallError> {
        check(object)?;
        check(member)?;
        Ok(Self::of([
            object.as_bytes(),
            &[key::SEPARATOR],
            member.as_bytes(),
        ]))
    }

    /// The key of one name, checked.
    ///
    /// # Errors
    /// Invalid.
    pub(crate) fn single(text: &str) -> Result<Self, CallError> {
        check(text)?;
        Ok(Self::of([text.as_bytes(), &[], &[]]))
    }

    fn of(parts: [&[u8]; 3]) -> Self {
        let mut short = [0; SHORT];
        let mut rest = short.as_mut_slice();
        let mut length = 0_u8;
        for part in parts {
            let Some((start, after)) = rest.split_at_mut_checked(part.len()) else {
                return Self::Long(parts.concat());
            };
            start.copy_from_slice(part);
            // The parts fit in the array, whose length fits.
            length = length.saturating_add(u8::try_from(part.len()).unwrap_or(u8::MAX));
            rest = after;
        }
        Self::Short(length, short)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Long(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.as_bytes()), f)
    }
}

/// Whether this is a name.
///
/// # Errors
/// Invalid, naming it.
pub(crate) fn check(text: &str) -> Result<(), CallError> {
    match name::check_text(text) {
        Ok(()) => Ok(()),
        Err(error) => Err(invalid(format!("{text:?} is not a name: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_joined() {
        for (object, member) in [(1, 1), (4, SHORT - 5), (4, SHORT - 4), (SHORT, 1), (255, 255)] {
            let (object, member) = ("o".repeat(object), "m".repeat(member));
            let pair = Key::pair(&object, &member).unwrap();
            assert_eq!(pair.as_bytes(), key::join(&object, &member));
            assert_eq!(Key::single(&object).unwrap().as_bytes(), object.as_bytes());
        }
        assert!(Key::EMPTY.as_bytes().is_empty());
    }

    #[test]
    fn the_half_that_is_wrong_is_named() {
        for (object, member, wrong) in [
            ("", "m", "\"\" is"),
            ("o", "a\tb", "\"a\\tb\" is"),
            ("o", "\u{85}", "\"\\u{85}\" is"),
        ] {
            let error = Key::pair(object, member).unwrap_err();
            assert!(error.message.starts_with(wrong), "{}", error.message);
        }
    }
}

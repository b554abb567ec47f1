//! Names of objects, methods and events, and the patterns that select events: parsed once, then trusted.
//!
//! Owns the alphabet and the pattern grammar. A name is UTF-8, 1 to 255 bytes, without control
//! characters. In a pattern, levels are separated by `.`; `*` is exactly one level, `**` (last) the rest, at
//! least one level. A name that is not used as a pattern may hold any of these characters literally.

use std::fmt;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 255;
/// The most levels one pattern or one matched name is split into (bounds the work of matching).
pub const LEVELS_MAX: usize = 32;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no bytes.
    #[error("a name must not be empty")]
    Empty,
    /// The name is longer than [`NAME_MAX`] bytes.
    #[error("a name has at most {NAME_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The name is not UTF-8.
    #[error("a name must be UTF-8")]
    NotUtf8,
    /// The name holds a control character (below U+0020, or U+007F to U+009F).
    #[error("a name must not hold control characters")]
    Control,
}

/// Checks the bytes of a name without copying them.
///
/// # Errors
/// [`NameError`] says which rule is broken.
pub fn check(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.len() > NAME_MAX {
        return Err(NameError::TooLong(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?;
    check_text(text)?;
    Ok(text)
}

/// Checks a text as [`check`] does bytes.
///
/// # Errors
/// [`NameError`] says which rule is broken.
pub fn check_text(text: &str) -> Result<(), NameError> {
    match text.len() {
        0 => return Err(NameError::Empty),
        1..=NAME_MAX => {}
        length => return Err(NameError::TooLong(length)),
    }
    // Without a way out halfway, several bytes are looked at together.
    let plain = text
        .bytes()
        .fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte));
    if !plain && text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks `text` and keeps a copy.
            ///
            /// # Errors
            /// [`NameError`] when the text breaks a rule of the module.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                check(text.as_ref().as_bytes()).map(|text| Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name_type! {
    /// The name under which an object is registered and called.
    ObjectName
}
name_type! {
    /// A method of an object.
    Method
}
name_type! {
    /// The second half of a topic; the first is the object's name.
    EventName
}

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is not even a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More than [`LEVELS_MAX`] levels.
    #[error("a pattern has at most {LEVELS_MAX} levels")]
    TooManyLevels,
    /// A level mixes `*` with other characters, or `**` is not last.
    #[error("`*` must be a whole level and `**` the last one, in {0:?}")]
    Wildcard(Box<str>),
}

/// One level of a [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level<'a> {
    /// This text and no other.
    Exact(&'a str),
    /// Any one level (`*`).
    One,
    /// All levels that are left, at least one (`**`).
    Rest,
}

/// A checked pattern over the levels of one name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when the text is no name, has too many levels, or misplaces a wildcard.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        check(text.as_bytes())?;
        let count = text.split('.').count();
        if count > LEVELS_MAX {
            return Err(PatternError::TooManyLevels);
        }
        for (index, level) in text.split('.').enumerate() {
            let legal = match level {
                "**" => index.saturating_add(1) == count,
                "*" => true,
                other => !other.contains('*'),
            };
            if !legal {
                return Err(PatternError::Wildcard(text.into()));
            }
        }
        Ok(Self(text.into()))
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels in order.
    pub fn levels(&self) -> impl Iterator<Item = Level<'_>> {
        self.0.split('.').map(|level| match level {
            "*" => Level::One,
            "**" => Level::Rest,
            text => Level::Exact(text),
        })
    }

    /// Whether the pattern selects `name`. Walks both once: linear in the shorter.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = name.split('.');
        for level in self.levels() {
            match (level, parts.next()) {
                (Level::Rest, Some(_)) => return true,
                (Level::One, Some(_)) => {}
                (Level::Exact(text), Some(part)) if text == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_their_limits() {
        let cases: [(&[u8], Result<&str, NameError>); 8] = [
            (b"a", Ok("a")),
            (b"", Err(NameError::Empty)),
            (b"object name", Ok("object name")),
            (b"a\0b", Err(NameError::Control)),
            (b"a\x7f", Err(NameError::Control)),
            ("caf\u{e9}".as_bytes(), Ok("caf\u{e9}")),
            ("x\u{85}".as_bytes(), Err(NameError::Control)),
            (b"\xff", Err(NameError::NotUtf8)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(check(bytes), expected, "{bytes:?}");
        }
        assert!(check(&[b'n'; 255]).is_ok());
        assert_eq!(check(&[b'n'; 256]), Err(NameError::TooLong(256)));
    }

    #[test]
    fn patterns_select_by_level() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.*", "a", false),
            ("a.**", "a.b.c", true),
            ("a.**", "a", false),
            ("**", "anything.at.all", true),
            ("*.b", "a.b", true),
            ("*", "a.b", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                Pattern::new(pattern).unwrap().matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn misplaced_wildcards_are_refused() {
        for text in ["a*", "**.a", "a.b*.c", "***"] {
            assert!(
                matches!(Pattern::new(text), Err(PatternError::Wildcard(_))),
                "{text}"
            );
        }
        assert!(Pattern::new(&vec!["a"; LEVELS_MAX].join(".")).is_ok());
        assert_eq!(
            Pattern::new(&vec!["a"; LEVELS_MAX + 1].join(".")),
            Err(PatternError::TooManyLevels)
        );
    }
}

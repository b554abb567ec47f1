//! What an endpoint is called: a set of words.
//!
//! Owns the set and the macro that writes it down. Which words are legal is the wire's to say, when the endpoint joins. Knows no
//! selector: those ask a label what it contains. Called by programs, and by `join`.

use std::collections::BTreeSet;
use std::fmt;

/// The description of an endpoint: a set of elements, which selectors ask about. Made by [`label!`](crate::bus::label!).
///
/// An element has 1 to 255 bytes of UTF-8 without control characters, and an endpoint at most 64 of them; `join` refuses others.
///
/// ```
/// use actix_ipc::bus::{Label, label};
///
/// let label = label!("renderer", "codec");
/// assert!(label.contains("codec"));
/// assert_eq!(label, Label::from_iter(["codec", "renderer", "codec"]));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Label(BTreeSet<String>);

impl Label {
    /// A label without elements: only selectors that ask for none match it.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Adds an element; `false` when it was there.
    pub fn insert(&mut self, element: impl Into<String>) -> bool {
        self.0.insert(element.into())
    }

    /// Takes an element away; `false` when it was not there.
    pub fn remove(&mut self, element: &str) -> bool {
        self.0.remove(element)
    }

    /// Whether the element is there.
    #[must_use]
    pub fn contains(&self, element: &str) -> bool {
        self.0.contains(element)
    }

    /// The elements, in the order of their text.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> FromIterator<T> for Label {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(elements.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>> Extend<T> for Label {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        self.0.extend(elements.into_iter().map(Into::into));
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

/// A [`Label`] of these elements.
#[doc(hidden)]
#[macro_export]
macro_rules! __bus_label {
    ($($element:expr),* $(,)?) => {
        <$crate::bus::Label as ::core::iter::FromIterator<::std::string::String>>::from_iter([
            $(::std::string::String::from($element)),*
        ])
    };
}

//! What is left of a key or a pattern on the way down the pattern trie: step by step, or as the text of a tail.
//!
//! Owns how levels follow each other, and whether the end of a pattern selects the end of a key. It refuses to know nodes and
//! subscribers. Called by [`trie`](super::trie) only.

use crate::message::key;
use smallvec::SmallVec;

/// A level, or what is left of a pattern. The usual ones lie where they are looked at, not behind a pointer.
pub(super) type Text = SmallVec<[u8; 24]>;

/// One step down the trie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// A level with this text.
    Exact(&'a [u8]),
    /// Any one level.
    One,
    /// All levels that are left in this half, at least one.
    Rest,
    /// From the object's half to the event's.
    Boundary,
}

/// Where the text of a tail begins. A level may be empty, so the text alone does not tell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begins {
    /// In the object's half.
    Object,
    /// Behind the object's half: all of the event's.
    Boundary,
    /// In the event's half.
    Event,
    /// Behind everything.
    End,
}

/// What is left of a key or a pattern: of the half under way, and the event's half while that is the object's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rest<'a> {
    pub(super) here: Option<&'a [u8]>,
    pub(super) event: Option<&'a [u8]>,
}

impl<'a> Rest<'a> {
    /// The end of every pattern.
    pub(super) const NOTHING: Self = Self {
        here: None,
        event: None,
    };

    pub(super) fn all(key: &'a [u8]) -> Self {
        Self::from_text(Begins::Object, key)
    }

    pub(super) fn from_text(begins: Begins, text: &'a [u8]) -> Self {
        let (here, event) = match begins {
            Begins::Object => {
                let (object, event) = key::split(text);
                (Some(object), Some(event))
            }
            Begins::Boundary => (None, Some(text)),
            Begins::Event => (Some(text), None),
            Begins::End => (None, None),
        };
        Self { here, event }
    }

    pub(super) fn text(self) -> (Begins, Text) {
        match (self.here, self.event) {
            (Some(object), Some(event)) => {
                let mut text = Text::from_slice(object);
                text.push(key::SEPARATOR);
                text.extend_from_slice(event);
                (Begins::Object, text)
            }
            (None, Some(event)) => (Begins::Boundary, event.into()),
            (Some(event), None) => (Begins::Event, event.into()),
            (None, None) => (Begins::End, Text::new()),
        }
    }

    /// The text of what leads here by this step.
    pub(super) fn behind(self, step: Step<'_>) -> (Begins, Text) {
        let level = match step {
            Step::Exact(text) => text,
            Step::One => b"*",
            Step::Rest => b"**",
            Step::Boundary => {
                let (here, event) = (None, self.here);
                return Rest { here, event }.text();
            }
        };
        let mut text = Text::from_slice(level);
        if let Some(here) = self.here {
            text.push(b'.');
            text.extend_from_slice(here);
        }
        Rest {
            here: Some(&text),
            event: self.event,
        }
        .text()
    }

    /// The event's half.
    pub(super) const fn cross(self) -> Self {
        Self {
            here: self.event,
            event: None,
        }
    }

    /// The first step of a pattern, and what is left behind it.
    pub(super) fn step(self) -> Option<(Step<'a>, Self)> {
        let Some(text) = self.here else {
            return self.event.map(|_| (Step::Boundary, self.cross()));
        };
        let (level, here) = first_level(text);
        let step = match level {
            b"*" => Step::One,
            b"**" => Step::Rest,
            text => Step::Exact(text),
        };
        Some((step, Self { here, ..self }))
    }

    /// Whether a pattern of which this is left selects what is left of the key.
    pub(super) fn is_selected_by(mut self, mut pattern: Rest<'_>) -> bool {
        while let Some((step, after)) = pattern.step() {
            pattern = after;
            let Some(text) = self.here else {
                if !matches!(step, Step::Boundary) {
                    return false;
                }
                self = self.cross();
                continue;
            };
            let (level, here) = first_level(text);
            self.here = match step {
                Step::Exact(text) if text == level => here,
                Step::One => here,
                Step::Rest => None,
                Step::Exact(_) | Step::Boundary => return false,
            };
        }
        self.here.is_none() && self.event.is_none()
    }
}

pub(super) fn first_level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    (parts.next().unwrap_or_default(), parts.next())
}

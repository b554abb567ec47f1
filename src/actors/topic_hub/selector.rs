//! The key of a pattern subscription, parsed: a pattern over the object and one over the event.
//!
//! Owns the check when a subscription is opened and the test of one key; the pattern trie answers the same
//! question for all subscriptions at once. Called by `index` and `retained` of this room.

use crate::message::name::Level;
use crate::message::{Pattern, PatternError, key};

/// Two patterns.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    object: Pattern,
    event: Pattern,
}

impl Selector {
    /// Parses both halves of a key.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PatternError> {
        let (object, event) = key::split(bytes);
        Ok(Self {
            object: pattern(object)?,
            event: pattern(event)?,
        })
    }

    /// Whether it has a wildcard; without one it selects only the key that is its text.
    pub(super) fn is_wild(&self) -> bool {
        [&self.object, &self.event]
            .into_iter()
            .any(|half| half.levels().any(|l| !matches!(l, Level::Exact(_))))
    }

    /// Whether it selects this key.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        let (object, event) = key::split(bytes);
        let half =
            |pattern: &Pattern, name| std::str::from_utf8(name).is_ok_and(|name| pattern.matches(name));
        half(&self.object, object) && half(&self.event, event)
    }

    /// How every key begins that it selects.
    pub(super) fn literal_prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        if push_literal(&mut prefix, &self.object) {
            prefix.push(key::SEPARATOR);
            push_literal(&mut prefix, &self.event);
        }
        prefix
    }
}

/// Adds the levels before the first wildcard. Returns whether there was none.
fn push_literal(prefix: &mut Vec<u8>, pattern: &Pattern) -> bool {
    for (index, level) in pattern.levels().enumerate() {
        if index > 0 {
            prefix.push(b'.');
        }
        let Level::Exact(text) = level else { return false };
        prefix.extend_from_slice(text.as_bytes());
    }
    true
}

fn pattern(bytes: &[u8]) -> Result<Pattern, PatternError> {
    Pattern::new(crate::message::name::check(bytes)?)
}

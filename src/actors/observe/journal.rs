//! The last notable happenings: who was closed and why, what panicked, what failed.
//!
//! Owns a short list that forgets its oldest entries. Fed where such things are logged anyway, and never on the way of a message; read by
//! `sys.broker`. Texts may be a peer's: whoever shows them to a person escapes them.

use crate::text::cut;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Entries that are kept.
const KEPT: usize = 64;
/// Of a text, so many bytes.
const TEXT_MAX: usize = 512;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Happening {
    /// The broker has closed a connection.
    Closed,
    /// A core actor or a connection panicked.
    Panic,
    /// A subscriber was declared lagging.
    Lagging,
    /// A service failed.
    Service,
    /// A connection was refused.
    Refused,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What kind.
    pub kind: Happening,
    /// Which connection, if any.
    pub peer: Option<u64>,
    /// Which process, if it is known.
    pub pid: Option<u32>,
    /// What is to be said of it.
    pub text: String,
}

/// The list.
#[derive(Debug, Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    /// Adds an entry; the oldest one goes when there are enough.
    pub fn add(&self, entry: Entry) {
        let text = crate::text::text(&entry.text).to_string();
        let text = cut(&text, TEXT_MAX).to_owned();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= KEPT {
            entries.pop_front();
        }
        entries.push_back(Entry { text, ..entry });
    }

    /// All of them, the newest last.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_texts_are_cut() {
        let journal = Journal::default();
        for number in 0..70 {
            journal.add(Entry {
                unix_ms: number,
                kind: Happening::Closed,
                peer: Some(1),
                pid: None,
                text: "ä".repeat(600),
            });
        }
        let entries = journal.entries();
        assert_eq!((entries.len(), entries[0].unix_ms), (KEPT, 6));
        assert!(entries.iter().all(|entry| entry.text.len() <= TEXT_MAX + 4));
    }
}

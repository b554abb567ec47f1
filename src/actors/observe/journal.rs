//! The last notable happenings: who was closed and why, what panicked, what failed.
//!
//! Owns a short list that forgets its oldest entries: what happens again is one entry with a count, and no kind of thing pushes out all
//! others. Fed where such things are logged anyway, and never on the way of a message; read by
//! `sys.broker`. Texts may be a peer's: whoever shows them to a person escapes them.

use crate::text::cut;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Entries that are kept.
const KEPT: usize = 64;
/// Of these, the most of one kind.
const OF_A_KIND: usize = 32;
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
    /// How often it has happened, the last time at that moment.
    pub count: u64,
}

/// The list.
#[derive(Debug, Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    /// Adds an entry, or counts it with one that is like it; the oldest one goes when there are enough.
    pub fn add(&self, mut entry: Entry) {
        let text = crate::text::text(&entry.text).to_string();
        entry.text = cut(&text, TEXT_MAX).to_owned();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_alike = |other: &Entry| {
            (other.kind, other.peer, other.pid) == (entry.kind, entry.peer, entry.pid)
                && other.text == entry.text
        };
        let of_kind = entries.iter().filter(|other| other.kind == entry.kind).count();
        let alike = entries.iter().position(is_alike);
        let goes = alike
            .or_else(|| match of_kind >= OF_A_KIND {
                true => entries.iter().position(|other| other.kind == entry.kind),
                false => None,
            })
            .or_else(|| (entries.len() >= KEPT).then_some(0));
        if let Some(old) = goes.and_then(|at| entries.remove(at))
            && alike.is_some()
        {
            entry.count = entry.count.saturating_add(old.count);
        }
        entries.push_back(entry);
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

    fn entry(kind: Happening, number: u64, text: &str) -> Entry {
        Entry {
            unix_ms: number,
            kind,
            peer: Some(1),
            pid: None,
            text: text.to_owned(),
            count: 1,
        }
    }

    #[test]
    fn the_oldest_goes_and_texts_are_cut() {
        let journal = Journal::default();
        for number in 0..70 {
            let kind = [Happening::Closed, Happening::Lagging][number as usize % 2];
            journal.add(entry(kind, number, &format!("{number} {}", "ä".repeat(600))));
        }
        let entries = journal.entries();
        assert_eq!((entries.len(), entries[0].unix_ms), (KEPT, 6));
        assert!(entries.iter().all(|entry| entry.text.len() <= TEXT_MAX + 4));
    }

    #[test]
    fn what_happens_again_and_again_is_one_entry() {
        let journal = Journal::default();
        journal.add(entry(Happening::Panic, 1, "oh"));
        for number in 2..1_000 {
            journal.add(entry(Happening::Refused, number, "too many"));
            journal.add(entry(Happening::Refused, number, "no proof"));
        }
        let entries = journal.entries();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.unix_ms, entry.count)).collect();
        assert_eq!(seen, [(1, 1), (999, 998), (999, 998)]);
    }

    #[test]
    fn one_kind_does_not_push_out_the_others() {
        let journal = Journal::default();
        journal.add(entry(Happening::Panic, 1, "oh"));
        for number in 2..1_000 {
            journal.add(entry(Happening::Refused, number, &number.to_string()));
        }
        let entries = journal.entries();
        assert_eq!(entries.len(), 1 + OF_A_KIND);
        assert_eq!(
            (entries[0].kind, entries[1].unix_ms),
            (Happening::Panic, 1_000 - 32)
        );
    }
}

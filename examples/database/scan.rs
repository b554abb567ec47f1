//! A scan that is under way: how far a reader has come in the state that it began with.
//!
//! Owns the position, and what the reader's own transaction has written. Pure, and without the pairs themselves: `store.rs` keeps the
//! versions that a scan still has to see, and asks it for one page after the other.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What a reader still has to see. It keeps versions in the store until it is given back with `Store::scanned`.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Its number in the store.
    pub(super) id: u64,
    /// The state that it shows.
    pub(super) snapshot: u64,
    prefix: String,
    /// The last key that it has shown.
    last: Option<String>,
    /// What the reader's transaction had written when the scan began; `None`: deleted.
    own: BTreeMap<String, Option<String>>,
}

impl Scan {
    pub(super) const fn new(
        id: u64,
        snapshot: u64,
        prefix: String,
        own: BTreeMap<String, Option<String>>,
    ) -> Self {
        Self {
            id,
            snapshot,
            prefix,
            last: None,
            own,
        }
    }

    /// The entries of a map that it has not come to yet.
    pub(super) fn rest<'a, V>(
        &'a self,
        map: &'a BTreeMap<String, V>,
    ) -> impl Iterator<Item = (&'a String, &'a V)> {
        let from = match &self.last {
            Some(last) => Bound::Excluded(last.as_str()),
            None => Bound::Included(self.prefix.as_str()),
        };
        map.range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&self.prefix))
    }

    /// The next pairs by key, until they are `bytes` or more together: those of the state, and over them the transaction's own.
    pub(super) fn page<'a>(
        &self,
        state: impl Iterator<Item = (&'a String, &'a String)>,
        bytes: usize,
    ) -> Vec<(String, String)> {
        let (mut state, mut own) = (state.peekable(), self.rest(&self.own).peekable());
        let (mut page, mut held) = (Vec::new(), 0);
        while held < bytes {
            let first = match (state.peek(), own.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((theirs, _)), Some((ours, _))) => theirs.cmp(ours),
            };
            let theirs = state.next_if(|_| first.is_le());
            let ours = own.next_if(|_| first.is_ge());
            let pair = match (ours, theirs) {
                (Some((key, value)), _) => value.as_ref().map(|value| (key, value)),
                (None, theirs) => theirs,
            };
            if let Some((key, value)) = pair {
                held += key.len() + value.len();
                page.push((key.clone(), value.clone()));
            }
        }
        page
    }

    /// It has shown everything up to here.
    pub(super) fn shown(&mut self, page: &[(String, String)]) {
        if let Some((last, _)) = page.last() {
            self.last = Some(last.clone());
        }
    }
}

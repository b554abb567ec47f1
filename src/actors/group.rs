//! Things by receiver: so that each receiver gets one delivery for a turn.
//!
//! Pure. Runs of the same receiver are the common case and cost one comparison; many receivers cost one hash each.

use super::peer::PeerRef;
use super::table::Table;
use crate::message::PeerId;

/// How many receivers are searched one by one before a table is made.
const LINEAR_MAX: usize = 8;

/// Vectors of `T` by receiver, in the order in which the receivers first came.
#[derive(Debug)]
pub struct Grouped<T> {
    groups: Vec<(PeerRef, Vec<T>)>,
    last: usize,
    /// Things in all, and how many there were for each receiver the last time.
    things: usize,
    expected: usize,
    table: Table<PeerId, usize>,
}

impl<T> Default for Grouped<T> {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            last: 0,
            things: 0,
            expected: 0,
            table: Table::default(),
        }
    }
}

impl<T> Grouped<T> {
    /// Adds one thing for `to`.
    pub fn push(&mut self, to: &PeerRef, thing: T) {
        let at = self.find(to);
        if let Some((_, things)) = self.groups.get_mut(at) {
            things.push(thing);
            self.things = self.things.saturating_add(1);
        }
    }

    fn find(&mut self, to: &PeerRef) -> usize {
        let id = to.id();
        if self
            .groups
            .get(self.last)
            .is_some_and(|(peer, _)| peer.id() == id)
        {
            return self.last;
        }
        let known = if self.groups.len() <= LINEAR_MAX {
            self.groups.iter().position(|(peer, _)| peer.id() == id)
        } else {
            self.table.get(&id).copied()
        };
        self.last = known.unwrap_or_else(|| self.add(to));
        self.last
    }

    fn add(&mut self, to: &PeerRef) -> usize {
        let at = self.groups.len();
        self.groups.push((to.clone(), Vec::with_capacity(self.expected)));
        if at == LINEAR_MAX {
            self.table = self
                .groups
                .iter()
                .enumerate()
                .map(|(at, (peer, _))| (peer.id(), at))
                .collect();
        } else if at > LINEAR_MAX {
            self.table.insert(to.id(), at);
        }
        at
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> impl Iterator<Item = (PeerRef, Vec<T>)> {
        self.last = 0;
        let things = std::mem::take(&mut self.things);
        self.expected = things
            .checked_div(self.groups.len())
            .unwrap_or_default()
            .min(1024);
        self.table.clear();
        self.groups.drain(..)
    }
}

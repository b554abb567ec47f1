//! What selectors have found last.
//!
//! Owns the memory for it and its bound: when it is full, all is forgotten and found again when it is asked for. Whose turn it is
//! among those that match is remembered here too, and begins anew then. Knows nothing of labels.

use super::Slot;
use crate::actors::table::Table;

/// Selectors that are remembered.
const ENTRIES_MAX: usize = 16_384;
/// Bytes of all of them together.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Endpoints in all of them together.
const SLOTS_MAX: usize = 512 * 1024;

/// The endpoints that match one selector.
#[derive(Debug)]
pub(super) struct Found {
    /// In the order in which they joined.
    pub(super) slots: Vec<Slot>,
    /// They are right as of this change.
    pub(super) changes: u64,
    /// Any change may make them wrong.
    pub(super) depends_on_all: bool,
    /// Who had the last turn.
    last: Option<Slot>,
}

impl Found {
    /// The one behind the one that had the last turn.
    pub(super) fn next(&mut self) -> Option<Slot> {
        let after = self
            .last
            .map_or(0, |last| self.slots.partition_point(|slot| *slot <= last));
        let next = self.slots.get(after).or_else(|| self.slots.first()).copied();
        self.last = next;
        next
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Cache {
    by_expression: Table<Box<[u8]>, usize>,
    entries: Vec<Found>,
    slots: usize,
    bytes: usize,
}

impl Cache {
    pub(super) fn find(&self, expression: &[u8]) -> Option<usize> {
        self.by_expression.get(expression).copied()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Found> {
        self.entries.get_mut(at)
    }

    /// Remembers what was found, in the place where something older is (`known`) or a new one. Returns the place.
    pub(super) fn insert(
        &mut self,
        known: Option<usize>,
        expression: &[u8],
        slots: Vec<Slot>,
        changes: u64,
        depends_on_all: bool,
    ) -> usize {
        let before = known
            .and_then(|at| self.entries.get(at))
            .map_or(0, |found| found.slots.len());
        let held = self.slots.saturating_sub(before).saturating_add(slots.len());
        let bytes = self.bytes.saturating_add(expression.len());
        let full = self.entries.len() >= ENTRIES_MAX || bytes > BYTES_MAX;
        if held > SLOTS_MAX || (known.is_none() && full) {
            self.clear();
            return self.insert(None, expression, slots, changes, depends_on_all);
        }
        self.slots = held;
        if let Some(at) = known
            && let Some(found) = self.entries.get_mut(at)
        {
            found.slots = slots;
            found.changes = changes;
            found.depends_on_all = depends_on_all;
            return at;
        }
        self.bytes = bytes;
        let at = self.entries.len();
        self.by_expression.insert(expression.into(), at);
        self.entries.push(Found {
            slots,
            changes,
            depends_on_all,
            last: None,
        });
        at
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_and_go_on_behind_the_last_one_whatever_joins_and_leaves() {
        let mut cache = Cache::default();
        let at = cache.insert(None, b"x", vec![1, 4, 7], 1, false);
        let turns = |cache: &mut Cache, count: usize| -> Vec<Slot> {
            (0..count).filter_map(|_| cache.get_mut(at)?.next()).collect()
        };
        assert_eq!(turns(&mut cache, 5), [1, 4, 7, 1, 4]);
        assert_eq!(cache.insert(Some(at), b"x", vec![1, 5, 9], 2, false), at);
        assert_eq!(turns(&mut cache, 4), [5, 9, 1, 5]);
        cache.insert(Some(at), b"x", vec![], 3, false);
        assert!(turns(&mut cache, 1).is_empty());
    }

    #[test]
    fn it_holds_no_more_than_its_bounds() {
        let mut cache = Cache::default();
        for number in 0..ENTRIES_MAX * 2 + 1 {
            let expression = number.to_le_bytes().repeat(8);
            let at = cache.insert(None, &expression, vec![1, 2], 1, false);
            assert_eq!(cache.find(&expression), Some(at));
            assert!(cache.entries.len() <= ENTRIES_MAX);
            assert_eq!(cache.slots, cache.entries.len() * 2);
            assert_eq!(cache.bytes, cache.entries.len() * 64);
        }
        cache.clear();
        for number in 0..BYTES_MAX / 256 + 1 {
            cache.insert(None, &number.to_le_bytes().repeat(64), vec![], 1, false);
            assert!(cache.bytes <= BYTES_MAX);
        }
        let large = vec![0; SLOTS_MAX / 2 + 1];
        let first = cache.insert(None, b"first", large.clone(), 1, false);
        assert!(cache.find(b"first") == Some(first));
        cache.insert(None, b"second", large, 1, false);
        assert!(cache.find(b"first").is_none() && cache.slots <= SLOTS_MAX);
    }
}

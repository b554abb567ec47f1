//! Many deadlines, one timer: a queue and a heap that forget lazily.
//!
//! Pure. Most deadlines never pass, because their call is answered; removing an answered one costs nothing, it is skipped when it
//! surfaces, and both are rebuilt from the living when the dead outnumber them. Most come in the order in which they would pass,
//! because callers use one deadline for many calls: those wait in the queue, where to add and to skip one costs next to nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

/// Deadlines by key. The owner knows which keys still live.
#[derive(Debug)]
pub struct Deadlines<K: Ord> {
    /// Ascending.
    queue: VecDeque<(Instant, K)>,
    /// Those that came later than one that is to pass after them.
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            heap: BinaryHeap::new(),
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Adds a deadline. `living` counts the keys that are still wanted; `is_living` tells one.
    pub fn insert(&mut self, at: Instant, key: K, living: usize, is_living: impl Fn(K) -> bool) {
        if self.len() > living.saturating_mul(2).saturating_add(64) {
            self.queue.retain(|(_, key)| is_living(*key));
            self.heap.retain(|Reverse((_, key))| is_living(*key));
        }
        if self.queue.back().is_none_or(|(last, _)| *last <= at) {
            self.queue.push_back((at, key));
        } else {
            self.heap.push(Reverse((at, key)));
        }
    }

    fn len(&self) -> usize {
        self.queue.len().saturating_add(self.heap.len())
    }

    fn first(&self) -> Option<(Instant, K)> {
        let late = self.heap.peek().map(|Reverse(first)| *first);
        let first = self.queue.front().copied();
        first.into_iter().chain(late).min()
    }

    /// Takes out what [`Self::first`] returned.
    fn take(&mut self, first: (Instant, K)) {
        if self.queue.front() == Some(&first) {
            self.queue.pop_front();
        } else {
            self.heap.pop();
        }
    }

    /// The next key whose deadline is not after `now`.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let first = self.first().filter(|(at, _)| *at <= now)?;
        self.take(first);
        Some(first.1)
    }

    /// When to look again; dead keys at the front are dropped first.
    pub fn next(&mut self, is_living: impl Fn(K) -> bool) -> Option<Instant> {
        while let Some(first) = self.first() {
            if is_living(first.1) {
                return Some(first.0);
            }
            self.take(first);
        }
        None
    }

    /// Whether nothing is kept, so that the memory can go.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn expires_in_order_and_forgets_the_dead() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        let mut living = BTreeSet::new();
        for key in 0..10_000_u64 {
            living.insert(key);
            deadlines.insert(at(key), key, living.len(), |key| living.contains(&key));
            if key % 100 != 0 {
                living.remove(&key);
            }
        }
        assert!(
            deadlines.len() < 400,
            "{} kept for {}",
            deadlines.len(),
            living.len()
        );
        assert_eq!(
            deadlines.next(|key| key > 150 && living.contains(&key)),
            Some(at(200))
        );
        assert_eq!(deadlines.expired(at(199)), None);
        assert_eq!(deadlines.expired(at(350)), Some(200));
        assert_eq!(deadlines.next(|_| false), None);
        assert!(deadlines.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_order_they_pass_as_a_sorted_list_does(ats in proptest::collection::vec(0_u64..50, 0..40)) {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let mut deadlines = Deadlines::default();
            for (key, ms) in ats.iter().enumerate() {
                deadlines.insert(at(*ms), key, ats.len(), |_| true);
            }
            let mut expected: Vec<(u64, usize)> = ats.iter().enumerate().map(|(key, ms)| (*ms, key)).collect();
            expected.sort_unstable();
            for (ms, key) in expected {
                proptest::prop_assert_eq!(deadlines.next(|_| true), Some(at(ms)));
                proptest::prop_assert_eq!(deadlines.expired(at(ms)), Some(key));
            }
            proptest::prop_assert!(deadlines.is_empty());
        }
    }
}

//! Many deadlines, one timer: a heap that forgets lazily.
//!
//! Pure. Most deadlines never pass, because their call is answered; removing an answered one costs nothing, it is skipped when it
//! surfaces, and the heap is rebuilt from the living when the dead outnumber them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Deadlines by key. The owner knows which keys still live.
#[derive(Debug)]
pub struct Deadlines<K: Ord> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Adds a deadline. `living` counts the keys that are still wanted; `is_living` tells one.
    pub fn insert(&mut self, at: Instant, key: K, living: usize, is_living: impl Fn(K) -> bool) {
        if self.heap.len() > living.saturating_mul(2).saturating_add(64) {
            self.heap.retain(|Reverse((_, key))| is_living(*key));
        }
        self.heap.push(Reverse((at, key)));
    }

    /// The next key whose deadline is not after `now`.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, key))| key)
    }

    /// When to look again; dead keys at the front are dropped first.
    pub fn next(&mut self, is_living: impl Fn(K) -> bool) -> Option<Instant> {
        while let Some(Reverse((at, key))) = self.heap.peek() {
            if is_living(*key) {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// Whether nothing is kept, so that the memory can go.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
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
            deadlines.heap.len() < 400,
            "{} kept for {}",
            deadlines.heap.len(),
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
}

//! What messages in pieces, and items, hold until the actors that they are for have handled them.
//!
//! Owns the sum of it for one local peer, and its bound: nobody else's account has it, because the peer that sends them is given its
//! credit back for each piece, and one process's share of the broker's memory is less than one message may be. Knows no message. Called by
//! `dispatch` and `subscriber`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sum, and how large it may become.
#[derive(Debug)]
pub(super) struct Keeper {
    held: AtomicUsize,
    most: usize,
}

impl Keeper {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            most,
        })
    }

    /// A part of it, of nothing yet.
    pub(super) fn part(self: &Arc<Self>) -> Kept {
        Kept {
            keeper: self.clone(),
            bytes: 0,
        }
    }
}

/// What one message holds; dropping it gives that back.
pub(super) struct Kept {
    keeper: Arc<Keeper>,
    bytes: usize,
}

impl Kept {
    /// It holds so many bytes from now on. `false`: there is no room for that, and it holds what it did.
    #[must_use]
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.add(bytes.saturating_sub(self.bytes))
    }

    /// It holds so many bytes more. `false`: there is no room for that.
    #[must_use]
    pub(super) fn add(&mut self, more: usize) -> bool {
        let most = self.keeper.most;
        let grown = |held: usize| held.checked_add(more).filter(|held| *held <= most);
        let held = &self.keeper.held;
        let fits = held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, grown)
            .is_ok();
        if fits {
            self.bytes = self.bytes.saturating_add(more);
        }
        fits
    }

    /// It holds so many bytes fewer.
    pub(super) fn less(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.keeper.held.fetch_sub(bytes, Ordering::AcqRel);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.less(usize::MAX);
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_to_the_bound_together_and_give_all_back() {
        let keeper = Keeper::new(10);
        let (mut one, mut other) = (keeper.part(), keeper.part());
        assert!(one.grow(6) && other.grow(4));
        assert!(!other.grow(5), "beyond the bound");
        assert!(one.grow(6), "no more than it has");
        drop(one);
        assert!(other.grow(10));
        other.less(3);
        assert!(other.add(3) && !other.add(1));
        drop(other);
        assert_eq!(keeper.held.load(Ordering::Relaxed), 0);
    }
}

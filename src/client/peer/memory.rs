//! What one connection to another program may make this program keep: commands that wait, arrive in pieces, or stream items.
//!
//! Owns the count and its bound. It refuses to know what is kept, and what becomes of what does not fit; whoever keeps something has a
//! [`Hold`] of it. Used by [`super::super::incoming`], [`super::super::running`] and [`super::super::items`]. A broker bounds its peers
//! itself: to it nothing is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bound of one connection; the default has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Option<Arc<Bound>>);

#[derive(Debug)]
struct Bound {
    most: usize,
    held: AtomicUsize,
}

/// What is kept of one command. Given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    memory: Memory,
    bytes: usize,
}

impl Memory {
    /// At most so many bytes.
    pub(crate) fn bounded(most: usize) -> Self {
        let held = AtomicUsize::new(0);
        Self(Some(Arc::new(Bound { most, held })))
    }

    pub(crate) const fn is_bounded(&self) -> bool {
        self.0.is_some()
    }

    /// Whether so many bytes more may be kept.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.0.as_ref().is_none_or(|bound| {
            let held = bound.held.load(Ordering::Relaxed);
            held.checked_add(bytes).is_some_and(|held| held <= bound.most)
        })
    }

    /// Something that is empty so far.
    pub(crate) fn hold(&self) -> Hold {
        Hold {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

impl Hold {
    /// Keeps more. `false`: there is no room for it, and nothing has changed.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Some(bound) = &self.memory.0 else {
            return true;
        };
        let grown = bound
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|held| *held <= bound.most)
            });
        if grown.is_ok() {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        grown.is_ok()
    }

    /// Keeps so much less.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(bound) = &self.memory.0 {
            bound.held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_together_and_given_back() {
        let memory = Memory::bounded(100);
        let (mut one, mut other) = (memory.hold(), memory.hold());
        assert!(one.grow(60) && other.grow(40) && !other.grow(1));
        one.shrink(10);
        assert!(other.grow(10) && !one.grow(1));
        drop(one);
        assert!(other.grow(50) && !other.grow(usize::MAX));
        drop(other);
        assert!(memory.hold().grow(100));
    }

    #[test]
    fn without_a_bound_all_fits() {
        let mut hold = Memory::default().hold();
        assert!(hold.grow(usize::MAX) && hold.grow(usize::MAX));
    }
}

//! Connections of users who may not see anything: a few at a time, so that they can be told so and nobody else is kept out.
//!
//! Owns their places. Who is a stranger, `access` says; called when a connection is accepted, before anything of it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Strangers that are connected at once; more are closed unread.
const STRANGERS_MAX: usize = 8;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<AtomicUsize>);

/// The place of one; given back when its connection ends.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Strangers {
    /// A place for one more, if there is any.
    pub(super) fn enter(&self) -> Option<Place> {
        let more = |taken: usize| (taken < STRANGERS_MAX).then_some(taken.saturating_add(1));
        let entered = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.ok().map(|_| Place(self.0.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_no_more_until_one_leaves() {
        let strangers = Strangers::default();
        let mut places: Vec<_> = (0..STRANGERS_MAX).map_while(|_| strangers.enter()).collect();
        assert_eq!(places.len(), STRANGERS_MAX);
        assert!(strangers.enter().is_none());
        places.pop();
        assert!(strangers.enter().is_some());
    }
}

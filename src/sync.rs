//! Locks, atomics and the waker's cell of what several threads share, so that a scheduler can take their place in tests.
//!
//! Owns the choice: the standard ones in every build, and in the library's own tests with the feature `models` those of `shuttle`,
//! which runs each model under many interleavings. Knows nothing of who uses them; called by the accounts, the read gates, the inboxes
//! and the client's connection state.

#[cfg(test)]
#[cfg(feature = "models")]
pub(crate) mod explore;
pub(crate) mod slips;

#[cfg(not(all(test, feature = "models")))]
mod chosen {
    pub(crate) use futures::task::AtomicWaker;
    pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
}

#[cfg(all(test, feature = "models"))]
mod chosen {
    pub(crate) use super::explore::AtomicWaker;
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
}

pub(crate) use chosen::{AtomicWaker, Mutex, MutexGuard, atomic};

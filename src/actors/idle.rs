//! Since when a peer has next to nothing to read.
//!
//! Owns one word that its connection writes and TopicHub reads: what a subscriber costs others is counted from there (see
//! `topic_hub::hold`). It knows no queue and no clock; time comes in microseconds of the broker's life.

use super::deliver::Room;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// When the queue of a peer became short.
#[derive(Debug)]
pub struct Idle(AtomicUsize);

impl Idle {
    pub(super) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Of `queued` bytes of events so many leave. If they are much and what stays is little, there is nothing more to do since then.
    pub fn leaves(&self, queued: usize, bytes: usize, room: &Room, micros: usize) {
        if bytes >= room.little() && queued.saturating_sub(bytes) < room.little() {
            self.0.store(micros, Ordering::Release);
        }
    }

    /// Since when little is queued, if little is; 0 when nobody has told.
    #[must_use]
    pub fn since(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

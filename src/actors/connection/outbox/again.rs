//! Runs of events that several peers get, encoded once.
//!
//! Owns the bytes of the last run that was written and what they were made of. The next peer that gets the same run gets a copy, with
//! the number of its subscription. One for each arbiter, in its [`WriteBuf`](super::WriteBuf), and no larger than a write. It keeps
//! no batch alive. Pure; called by `write`.

use crate::actors::messages::EventItem;
use crate::message::frame::HEADER_LEN;
use crate::message::{Batch, SubscriptionId};
use std::sync::{Arc, Weak};

/// The last run.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Of a batch that is gone its place is kept until here is another one: no other batch is taken for it.
    batch: Weak<Batch>,
    run: Option<EventItem>,
    bytes: Vec<u8>,
    /// What its events are charged.
    charged: usize,
}

impl Again {
    /// Remembers `bytes`, all of the events of the run, if somebody else may want them.
    pub(super) fn keep(&mut self, batch: &Arc<Batch>, run: &EventItem, bytes: &[u8], charged: usize) {
        if Arc::strong_count(batch) < 2 {
            return;
        }
        self.batch = Arc::downgrade(batch);
        self.run = Some(EventItem { missed: 0, ..*run });
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        set_missed(&mut self.bytes, 0);
        self.charged = charged;
    }

    /// Adds the run to `out` when it is the one that is remembered, and takes no more than `room` bytes. Returns what its events are
    /// charged.
    pub(super) fn copy(
        &self,
        batch: &Arc<Batch>,
        run: &EventItem,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let last = self.run.as_ref()?;
        let same = last.frame == run.frame && last.count == run.count && last.mark == run.mark;
        if !same || self.bytes.len() > room || self.batch.as_ptr() != Arc::as_ptr(batch) {
            return None;
        }
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let copy = out.get_mut(start..).unwrap_or_default();
        if last.subscription != run.subscription {
            set_subscription(copy, run.subscription);
        }
        if run.missed > 0 {
            set_missed(copy, run.missed);
        }
        Some(self.charged)
    }
}

/// What the first event tells of those before it.
fn set_missed(frames: &mut [u8], missed: u32) {
    if let Some(aux) = frames.get_mut(16..20) {
        aux.copy_from_slice(&missed.to_le_bytes());
    }
}

/// Whose events they are.
fn set_subscription(mut frames: &mut [u8], subscription: SubscriptionId) {
    while let Some((head, rest)) = frames.split_first_chunk_mut::<HEADER_LEN>() {
        let [l0, l1, l2, l3, _, _, _, _, id @ .., _, _, _, _, _, _, _, _] = head;
        let body = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        id.copy_from_slice(&subscription.0.to_le_bytes());
        frames = rest.get_mut(body..).unwrap_or_default();
    }
}

//! What a subscription's full queue drops: the client's half of a [`SlowPolicy`].
//!
//! Owns the choice and the count of what is dropped. Called by the queue under its own lock, which is not that of the
//! connection.

use super::{Events, Gap, Run, State, charge};
use crate::client::dead::Dead;
use crate::client::subscription::SlowPolicy;
use std::collections::HashSet;
use std::sync::Arc;

/// A queue is full of so many attachments, however small their events are: the program has few descriptors.
const ATTACHMENTS_MAX: usize = 64;

impl State {
    /// Whether something new may be added. When not, the policy has seen to that except for counting it.
    pub(super) fn makes_room(&mut self, limit: usize, policy: SlowPolicy) -> bool {
        if self.closed {
            return false;
        }
        if self.admits(limit) {
            return true;
        }
        match policy {
            SlowPolicy::Hold => false,
            SlowPolicy::Disconnect => {
                self.closed = true;
                self.too_slow = true;
                false
            }
            SlowPolicy::DropOldest | SlowPolicy::Latest => true,
        }
    }

    /// Drops what the newest chunk has pushed out of a queue that was full. The newest itself stays.
    pub(super) fn shed(&mut self, limit: usize, policy: SlowPolicy, dead: &mut Dead) {
        let mut gap = Gap::default();
        if policy == SlowPolicy::Latest {
            self.keep_newest(limit, &mut gap, dead);
        }
        let newest = self.chunks.back().map_or(0, |chunk| chunk.charge);
        while self.chunks.len() > 1 && self.charged.saturating_sub(newest) >= limit {
            let Some(chunk) = self.chunks.pop_front() else {
                break;
            };
            self.charged = self.charged.saturating_sub(chunk.charge);
            gap.add(chunk.gap);
            gap.missed = gap.missed.saturating_add(chunk.events.lost());
            chunk.events.bury(dead);
        }
        if let Some(front) = self.chunks.front_mut() {
            front.gap.add(gap);
        }
    }

    /// Keeps the newest event of each topic.
    fn keep_newest(&mut self, limit: usize, gap: &mut Gap, dead: &mut Dead) {
        let mut seen = HashSet::new();
        let chunks = std::mem::take(&mut self.chunks);
        for mut chunk in chunks.into_iter().rev() {
            let before = chunk.charge;
            let lost = chunk.events.retain_newest(&mut seen, dead);
            gap.missed = gap.missed.saturating_add(lost);
            gap.add(std::mem::take(&mut chunk.gap));
            if lost > 0 {
                chunk.charge = chunk.events.charge(limit);
            }
            self.charged = self.charged.saturating_sub(before.saturating_sub(chunk.charge));
            if chunk.charge > 0 {
                self.chunks.push_front(chunk);
            }
        }
    }
}

impl Gap {
    fn add(&mut self, other: Self) {
        self.missed = self.missed.saturating_add(other.missed);
        self.interrupted |= other.interrupted;
    }
}

impl Events {
    /// How many events are lost with these, and with what the broker has told in front of each.
    pub(super) fn lost(&self) -> u64 {
        match self {
            Self::Frames { batch, next, count } => Run::new(batch, *next, *count).lost(batch),
            Self::Whole(whole) => whole.as_ref().map_or(0, |whole| whole.0.lost()),
        }
    }

    /// Drops the events whose topic is in `seen`, from the last to the first, and returns how many are lost.
    fn retain_newest(&mut self, seen: &mut HashSet<Vec<u8>>, dead: &mut Dead) -> u64 {
        match self {
            Self::Whole(whole) => {
                let old = whole.take_if(|whole| !seen.insert(whole.0.key.clone()));
                old.map_or(0, |old| {
                    let (head, _) = *old;
                    let lost = head.lost();
                    dead.bury(head.attachments);
                    lost
                })
            }
            Self::Frames { batch, next, count } => {
                let all = *next..next.saturating_add(*count);
                let mut kept: Vec<usize> = all
                    .rev()
                    .filter(|index| {
                        batch
                            .view(*index)
                            .is_some_and(|view| seen.insert(view.key.to_vec()))
                    })
                    .collect();
                if kept.len() == *count {
                    return 0;
                }
                kept.reverse();
                let before = Run::new(batch, *next, *count).lost(batch);
                let few = Arc::new(batch.extract(kept.iter().copied()));
                let lost = before.saturating_sub(Run::new(&few, 0, kept.len()).lost(&few));
                (*batch, *next, *count) = (few, 0, kept.len());
                lost
            }
        }
    }

    /// They are dropped: what is attached to them is for later.
    fn bury(self, dead: &mut Dead) {
        if let Self::Whole(Some(whole)) = self {
            dead.bury(whole.0.attachments);
        }
    }

    /// What is charged for attachments, beside the bytes.
    pub(super) fn charge_attached(&self, limit: usize) -> usize {
        let attached: usize = match self {
            Self::Frames { .. } => 0,
            Self::Whole(whole) => whole.as_ref().map_or(0, |whole| whole.0.attachments.len()),
        };
        attached.saturating_mul(limit / ATTACHMENTS_MAX)
    }

    fn charge(&self, limit: usize) -> usize {
        let size = match self {
            Self::Frames { batch, next, count } => Run::new(batch, *next, *count).charge(batch, limit),
            Self::Whole(whole) => whole.as_ref().map_or(0, |whole| charge(whole.1.len(), limit)),
        };
        size.saturating_add(self.charge_attached(limit))
    }
}

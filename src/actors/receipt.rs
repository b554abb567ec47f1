//! What the sender of messages is owed: exactly one outcome for each.
//!
//! [`Owed`] is that debt for a run of messages; [`Receipt`] is one receiver's part of it. Both are given by being settled, and by
//! being dropped, so that no way of losing a message leaves its sender without a word. When several receivers have the same
//! messages, the last one of them to settle one tells the worst that happened to it. Knows no actor.

use super::messages::Deliver;
use super::peer::PeerRef;
use crate::message::bus::{Outcome, Settlement};
use std::sync::{Arc, Mutex, PoisonError};

/// An outcome on its way to the sender, with what comes back of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What the sender is told.
    pub entry: Settlement,
    /// What its messages took on the wire, in bytes.
    pub bytes: usize,
}

/// A run of messages with consecutive numbers, all of one size, whose sender waits to hear of them.
#[derive(Debug)]
pub struct Owed {
    to: PeerRef,
    first: u64,
    count: u32,
    /// What each took on the wire.
    each: u32,
}

impl Owed {
    /// Messages of `to`, the first under its number `first`, `each` of so many bytes on the wire.
    #[must_use]
    pub fn new(to: PeerRef, first: u64, count: u32, each: usize) -> Self {
        Self {
            to,
            first,
            count,
            each: u32::try_from(each).unwrap_or(u32::MAX),
        }
    }

    /// Who waits.
    #[must_use]
    pub const fn sender(&self) -> &PeerRef {
        &self.to
    }

    /// How many are not settled.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes on the wire of each.
    #[must_use]
    pub const fn each(&self) -> usize {
        self.each as usize
    }

    /// So many more messages of the same size follow.
    pub const fn extend(&mut self, more: u32) {
        self.count = self.count.saturating_add(more);
    }

    /// Takes the last ones out: `count` stay.
    #[must_use]
    pub fn split_off(&mut self, count: u32) -> Self {
        let count = count.min(self.count);
        let rest = Self {
            to: self.to.clone(),
            first: self.first.wrapping_add(u64::from(count)),
            count: self.count.saturating_sub(count),
            each: self.each,
        };
        self.count = count;
        rest
    }

    /// What the first so many of them have come to.
    fn take(&mut self, count: u32, outcome: Outcome, may_have_arrived: bool, receivers: u16) -> Settled {
        let count = count.min(self.count);
        let entry = Settlement {
            first: self.first,
            count,
            outcome,
            may_have_arrived,
            receivers,
        };
        self.first = self.first.wrapping_add(u64::from(count));
        self.count = self.count.saturating_sub(count);
        Settled {
            entry,
            bytes: self.each().saturating_mul(count as usize),
        }
    }

    /// Tells the sender that nobody has got what is left.
    pub fn fail(mut self, outcome: Outcome) {
        self.tell(outcome, false);
    }

    fn tell(&mut self, outcome: Outcome, may_have_arrived: bool) {
        if self.count > 0 {
            let settled = self.take(self.count, outcome, may_have_arrived, 0);
            self.to.post(Deliver::Settled(vec![settled]));
        }
    }

    /// The debt as one receipt for each of several receivers, at least one.
    #[must_use]
    pub fn share(self, receivers: usize) -> Vec<Receipt> {
        if receivers <= 1 {
            return vec![Receipt::alone(self)];
        }
        let count = self.count;
        let left = u32::try_from(receivers).unwrap_or(u32::MAX);
        let each = Each {
            left,
            took: 0,
            worst: Outcome::Taken,
            arrived: false,
        };
        let tally = Tally {
            owed: self,
            each: vec![each; count as usize],
            next: 0,
        };
        let tally = Arc::new(Mutex::new(tally));
        let receipt = || Receipt {
            part: Part::Shared(tally.clone()),
            at: 0,
            left: count,
            accepted: false,
        };
        (0..receivers).map(|_| receipt()).collect()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        // Nobody has it any more: a step panicked, or what would have handled it has ended.
        self.tell(Outcome::Cancelled, false);
    }
}

/// What the receivers of one message have said.
#[derive(Clone, Debug)]
struct Each {
    /// Receivers that have said nothing.
    left: u32,
    took: u16,
    worst: Outcome,
    arrived: bool,
}

/// Messages that several receivers have.
#[derive(Debug)]
struct Tally {
    /// Those that are not settled.
    owed: Owed,
    each: Vec<Each>,
    /// The first that is not settled.
    next: usize,
}

impl Tally {
    /// One receiver's word about some of them, from its `at`-th on. What all have spoken of is told.
    fn settle(
        &mut self,
        at: u32,
        count: u32,
        outcome: Outcome,
        arrived: bool,
        told: &mut dyn FnMut(&PeerRef, Settled),
    ) {
        let spoken = self.each.iter_mut().skip(at as usize).take(count as usize);
        for each in spoken {
            each.left = each.left.saturating_sub(1);
            each.took = each.took.saturating_add(u16::from(outcome == Outcome::Taken));
            each.worst = each.worst.max(outcome);
            each.arrived |= arrived;
        }
        while let Some(each) = self.each.get(self.next).filter(|each| each.left == 0) {
            let same = |other: &&Each| {
                (other.left, other.took, other.worst, other.arrived)
                    == (0, each.took, each.worst, each.arrived)
            };
            let run = self.each.iter().skip(self.next).take_while(same).count();
            let count = u32::try_from(run).unwrap_or(u32::MAX);
            let settled = self.owed.take(count, each.worst, each.arrived, each.took);
            told(&self.owed.to, settled);
            self.next = self.next.saturating_add(run);
        }
    }
}

#[derive(Debug)]
enum Part {
    Alone(Owed),
    Shared(Arc<Mutex<Tally>>),
}

/// One receiver's part: so many messages that it is to take, in order.
#[derive(Debug)]
pub struct Receipt {
    part: Part,
    /// Messages before these that it has settled; of a shared run only.
    at: u32,
    left: u32,
    /// From now on the receiver may have got them, whatever happens.
    accepted: bool,
}

impl Receipt {
    /// For the only receiver.
    #[must_use]
    pub const fn alone(owed: Owed) -> Self {
        Self {
            at: 0,
            left: owed.count(),
            part: Part::Alone(owed),
            accepted: false,
        }
    }

    /// How many messages are not settled.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// The receiver has them from now on.
    pub const fn accept(&mut self) {
        self.accepted = true;
    }

    /// Settles the first so many. What is complete by that goes to `told`.
    pub fn settle(&mut self, count: u32, outcome: Outcome, told: &mut dyn FnMut(&PeerRef, Settled)) {
        let count = count.min(self.left);
        if count == 0 {
            return;
        }
        let arrived = self.accepted && outcome != Outcome::Attachments;
        match &mut self.part {
            Part::Alone(owed) => {
                let receivers = u16::from(outcome == Outcome::Taken);
                let settled = owed.take(count, outcome, arrived, receivers);
                told(&owed.to, settled);
            }
            Part::Shared(tally) => {
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.settle(self.at, count, outcome, arrived, told);
            }
        }
        self.at = self.at.saturating_add(count);
        self.left = self.left.saturating_sub(count);
    }

    /// Settles the last ones, so that `keep` are left. Nobody has told the receiver of them.
    pub fn refuse_beyond(&mut self, keep: u32, outcome: Outcome) {
        let keep = keep.min(self.left);
        let refused = self.left.saturating_sub(keep);
        if refused == 0 {
            return;
        }
        match &mut self.part {
            Part::Alone(owed) => owed.split_off(keep).fail(outcome),
            Part::Shared(tally) => {
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                let from = self.at.saturating_add(keep);
                tally.settle(from, refused, outcome, false, &mut tell);
            }
        }
        self.left = keep;
    }

    /// Settles all that is left.
    pub fn fail(mut self, outcome: Outcome) {
        self.settle(self.left, outcome, &mut tell);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.settle(self.left, Outcome::ReceiverGone, &mut tell);
    }
}

/// Tells the sender at once, by a delivery of its own.
fn tell(to: &PeerRef, settled: Settled) {
    to.post(Deliver::Settled(vec![settled]));
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;

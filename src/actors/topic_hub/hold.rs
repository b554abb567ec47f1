//! Publishers that wait for slow subscribers, and for how long.
//!
//! A hold belongs to the subscriber. It lasts at most 100 ms without the subscriber's queue emptying to its resume mark; and the time in which
//! *others* stood idle for its sake is at most a tenth of all time. After that the subscriber is lagging: it holds nobody
//! until it has caught up. A publisher whose only subscriber is slow but reads is simply slowed to its pace.
//! Pure; called by TopicHub.

use crate::actors::peer_key::PeerKey;
use crate::message::PeerId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Others may stand idle for a subscriber one part in this many of the time.
const SHARE: u32 = 10;

/// One subscriber's standing.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Since when it holds its publishers.
    since: Option<Instant>,
    /// Events are counted as missed until it has caught up.
    lagging: bool,
    /// Idle time of others that it has caused and time has not yet made good, at `spent_at`.
    spent: Duration,
    spent_at: Option<Instant>,
}

impl Standing {
    /// Whether it is lagging.
    #[must_use]
    pub(super) const fn is_lagging(&self) -> bool {
        self.lagging
    }

    /// Begins to lag. `others_idle`: somebody had nothing to do while it was waited for.
    pub(super) fn lag(&mut self, now: Instant, others_idle: bool) {
        self.caught_up(now, others_idle);
        self.lagging = true;
    }

    /// Asks for a hold. `false`: its share is used up, it is to lag.
    pub(super) fn hold(&mut self, now: Instant, patience: Duration) -> bool {
        if self.since.is_some() {
            return true;
        }
        self.recover(now);
        if self.spent >= patience {
            return false;
        }
        self.since = Some(now);
        true
    }

    /// Its queue has emptied. `others_idle`: somebody had nothing to do while it was waited for.
    pub(super) fn caught_up(&mut self, now: Instant, others_idle: bool) {
        self.lagging = false;
        if let Some(since) = self.since.take()
            && others_idle
        {
            self.recover(now);
            self.spent = self.spent.saturating_add(now.saturating_duration_since(since));
        }
    }

    /// When its hold ends at the latest.
    #[must_use]
    pub(super) fn limit(&self, patience: Duration) -> Option<Instant> {
        self.since.and_then(|since| since.checked_add(patience))
    }

    fn recover(&mut self, now: Instant) {
        let past = self
            .spent_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.spent = self
            .spent
            .saturating_sub(past.checked_div(SHARE).unwrap_or_default());
        self.spent_at = Some(now);
    }
}

/// The grants that are held back, by publisher.
#[derive(Debug)]
pub(super) struct Holds<P> {
    held: BTreeMap<PeerId, Held<P>>,
}

/// One publisher's held grant.
#[derive(Debug)]
struct Held<P> {
    bytes: usize,
    blockers: Vec<P>,
    /// Others that heard the same events: idle ones say that the hold costs something.
    witnesses: Vec<P>,
}

impl<P> Default for Holds<P> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
        }
    }
}

/// How many witnesses are kept for one publisher: a sample is enough.
const WITNESSES: usize = 8;

impl<P: PeerKey> Holds<P> {
    /// Holds `bytes` of the publisher's credit until all `blockers` have caught up or lag.
    pub(super) fn add(
        &mut self,
        publisher: PeerId,
        bytes: usize,
        blockers: &[P],
        receivers: impl Iterator<Item = P>,
    ) {
        let held = self.held.entry(publisher).or_insert_with(|| Held {
            bytes: 0,
            blockers: Vec::new(),
            witnesses: Vec::new(),
        });
        held.bytes = held.bytes.saturating_add(bytes);
        for blocker in blockers {
            if !held.blockers.contains(blocker) {
                held.blockers.push(*blocker);
            }
        }
        for receiver in receivers.take(WITNESSES) {
            if held.witnesses.len() < WITNESSES
                && !held.blockers.contains(&receiver)
                && !held.witnesses.contains(&receiver)
            {
                held.witnesses.push(receiver);
            }
        }
    }

    /// Those who heard what the subscriber holds up.
    pub(super) fn witnesses(&self, blocker: P) -> impl Iterator<Item = P> {
        let of_blocker = self
            .held
            .values()
            .filter(move |held| held.blockers.contains(&blocker));
        of_blocker.flat_map(|held| held.witnesses.iter().copied())
    }

    /// The subscriber holds nobody any more. Returns the grants that nobody else holds.
    pub(super) fn release(&mut self, blocker: P) -> Vec<(PeerId, usize)> {
        let mut free = Vec::new();
        self.held.retain(|publisher, held| {
            held.blockers.retain(|other| *other != blocker);
            held.witnesses.retain(|other| *other != blocker);
            if held.blockers.is_empty() {
                free.push((*publisher, held.bytes));
            }
            !held.blockers.is_empty()
        });
        free
    }

    /// Forgets a publisher that is gone.
    pub(super) fn forget(&mut self, publisher: PeerId) {
        self.held.remove(&publisher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn idle_time_of_others_is_rationed_and_made_good() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut standing = Standing::default();
        assert!(standing.hold(at(0), PATIENCE));
        standing.caught_up(at(60), true);
        assert!(standing.hold(at(61), PATIENCE));
        standing.caught_up(at(121), true);
        assert!(!standing.hold(at(122), PATIENCE), "120 of 100 ms are spent");
        assert!(
            standing.hold(at(500), PATIENCE),
            "a tenth of the time since then is made good"
        );
        standing.caught_up(at(590), false);
        assert!(standing.hold(at(600), PATIENCE), "nobody was idle");
    }

    #[test]
    fn a_hold_ends_at_its_patience() {
        let start = Instant::now();
        let mut standing = Standing::default();
        assert!(standing.hold(start, PATIENCE));
        let limit = standing.limit(PATIENCE).unwrap();
        assert_eq!(limit, start + PATIENCE);
        for (ms, spent) in [(99, false), (100, true), (101, true)] {
            let mut standing = Standing::default();
            standing.hold(start, PATIENCE);
            standing.caught_up(start + Duration::from_millis(ms), true);
            let now = start + Duration::from_millis(ms);
            assert_eq!(
                !standing.hold(now, PATIENCE),
                spent,
                "{ms} ms of the time of others"
            );
        }
    }

    #[test]
    fn a_grant_waits_for_the_last_blocker() {
        let mut holds = Holds::<u32>::default();
        holds.add(PeerId(1), 10, &[7, 8], [7, 8, 9].into_iter());
        holds.add(PeerId(1), 5, &[8], [8].into_iter());
        holds.add(PeerId(2), 1, &[7], [7].into_iter());
        assert_eq!(holds.witnesses(7).collect::<Vec<_>>(), [9]);
        assert_eq!(holds.release(7), [(PeerId(2), 1)]);
        assert_eq!(holds.release(7), []);
        assert_eq!(holds.release(8), [(PeerId(1), 15)]);
    }
}

//! Publishers that wait for slow subscribers, and for how long.
//!
//! A hold belongs to the subscriber. It lasts at most 100 ms without progress of the subscriber, and the time in which *others* stood
//! idle for its sake alone is at most a tenth of all time. Counted is the time since the last of those who hear the same had nothing
//! left to do: while several have their turns one after the other, as when there are more processes than cores, each is waited
//! for only in its own. What others cost a subscriber is set off against that. Who has used up its part holds nobody, and
//! misses events once its queue is full; it is lagging then, until it has caught up.
//! A publisher whose only subscriber is slow but reads is simply slowed to its pace.
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
    /// Since when it holds its publishers, or has last made progress since then, and the bytes that it had taken by then.
    since: Option<(Instant, usize)>,
    /// Events are counted as missed until it has caught up.
    lagging: bool,
    /// Idle time of others that it has caused and time has not yet made good, at `spent_at`.
    spent: Duration,
    spent_at: Option<Instant>,
    /// Until when its own idle time is set off.
    idle_until: Option<Instant>,
}

impl Standing {
    /// Whether it is lagging.
    #[must_use]
    pub(super) const fn is_lagging(&self) -> bool {
        self.lagging
    }

    /// Since when others may have stood idle for it.
    #[must_use]
    pub(super) fn since(&self) -> Option<Instant> {
        self.since.map(|(since, _)| since)
    }

    /// Begins to lag. `idle`: for how long somebody had nothing to do while it was waited for.
    pub(super) fn lag(&mut self, now: Instant, idle: Duration) {
        self.caught_up(now, idle);
        self.lagging = true;
    }

    /// Asks for a hold when it has `taken` so many bytes, ever. `false`: its part is used up, nobody is to wait for it.
    pub(super) fn hold(&mut self, now: Instant, patience: Duration, taken: usize) -> bool {
        if self.since.is_some() {
            return true;
        }
        self.recover(now);
        if self.spent >= patience {
            return false;
        }
        self.since = Some((now, taken));
        true
    }

    /// Its patience is over when it has `taken` so many bytes, ever. `false`: they are not `enough` more, or its part is used up, and the
    /// hold is to end.
    pub(super) fn goes_on(
        &mut self,
        now: Instant,
        idle: Duration,
        patience: Duration,
        (taken, enough): (usize, usize),
    ) -> bool {
        let Some((_, before)) = self.since else {
            return false;
        };
        self.spend(now, idle);
        self.since = Some((now, taken));
        taken.wrapping_sub(before) >= enough && self.spent < patience
    }

    /// Its queue has emptied. `idle`: for how long somebody had nothing to do while it was waited for.
    pub(super) fn caught_up(&mut self, now: Instant, idle: Duration) {
        self.lagging = false;
        self.spend(now, idle);
        self.since = None;
    }

    /// It had nothing to do since then, because somebody else is waited for. Returns for how long.
    pub(super) fn was_idle(&mut self, since: Instant, now: Instant) -> Duration {
        let idle = now.saturating_duration_since(since);
        let counted = self.idle_until.map_or(since, |until| until.max(since));
        let more = now.saturating_duration_since(counted);
        self.spent = self.spent.saturating_sub(more);
        self.idle_until = Some(now);
        idle
    }

    /// When its hold ends at the latest, unless it makes progress.
    #[must_use]
    pub(super) fn limit(&self, patience: Duration) -> Option<Instant> {
        self.since().and_then(|since| since.checked_add(patience))
    }

    fn spend(&mut self, now: Instant, idle: Duration) {
        let Some(since) = self.since() else { return };
        if !idle.is_zero() {
            self.recover(now);
            let most = now.saturating_duration_since(since);
            self.spent = self.spent.saturating_add(idle.min(most));
        }
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

    /// The subscriber holds nobody any more. Returns the grants that nobody else holds. Where others still hold, it may stand
    /// idle for their sake from now on.
    pub(super) fn release(&mut self, blocker: P) -> Vec<(PeerId, usize)> {
        let mut free = Vec::new();
        self.held.retain(|publisher, held| {
            let before = held.blockers.len();
            held.blockers.retain(|other| *other != blocker);
            if held.blockers.is_empty() {
                free.push((*publisher, held.bytes));
            } else if held.blockers.len() < before
                && held.witnesses.len() < WITNESSES
                && !held.witnesses.contains(&blocker)
            {
                held.witnesses.push(blocker);
            }
            !held.blockers.is_empty()
        });
        free
    }

    /// The same for a subscriber that is gone.
    pub(super) fn remove(&mut self, subscriber: P) -> Vec<(PeerId, usize)> {
        let free = self.release(subscriber);
        for held in self.held.values_mut() {
            held.witnesses.retain(|other| *other != subscriber);
        }
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
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    const TAKEN: usize = 1_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn idle_time_of_others_is_rationed_and_made_good() {
        let start = Instant::now();
        let at = |at| start + ms(at);
        let mut standing = Standing::default();
        assert!(standing.hold(at(0), PATIENCE, TAKEN));
        standing.caught_up(at(60), ms(60));
        assert!(standing.hold(at(61), PATIENCE, TAKEN));
        standing.caught_up(at(121), ms(600));
        assert!(
            !standing.hold(at(122), PATIENCE, TAKEN),
            "120 of 100 ms are spent: no more than the hold has lasted"
        );
        assert!(
            standing.hold(at(500), PATIENCE, TAKEN),
            "a tenth of the time since then is made good"
        );
        standing.caught_up(at(590), Duration::ZERO);
        assert!(standing.hold(at(600), PATIENCE, TAKEN), "nobody was idle");
    }

    #[test]
    fn a_hold_ends_at_its_patience() {
        let start = Instant::now();
        let mut standing = Standing::default();
        assert!(standing.hold(start, PATIENCE, TAKEN));
        let limit = standing.limit(PATIENCE).unwrap();
        assert_eq!(limit, start + PATIENCE);
        for (after, spent) in [(99, false), (100, true), (101, true)] {
            let mut standing = Standing::default();
            standing.hold(start, PATIENCE, TAKEN);
            let now = start + ms(after);
            standing.caught_up(now, ms(after));
            assert_eq!(
                !standing.hold(now, PATIENCE, TAKEN),
                spent,
                "{after} ms of the time of others"
            );
        }
    }

    #[test]
    fn a_hold_goes_on_with_progress_that_costs_nobody_anything() {
        let start = Instant::now();
        const ENOUGH: usize = 10;
        for (idle, more, goes_on) in [
            (0, ENOUGH - 1, false),
            (0, ENOUGH, true),
            (99, ENOUGH, true),
            (100, ENOUGH, false),
        ] {
            let mut standing = Standing::default();
            let before = usize::MAX - 5;
            assert!(standing.hold(start, PATIENCE, before));
            let now = start + PATIENCE;
            let taken = before.wrapping_add(more);
            let verdict = standing.goes_on(now, ms(idle), PATIENCE, (taken, ENOUGH));
            assert_eq!(verdict, goes_on, "{idle} ms idle, {more} bytes taken");
            assert_eq!(standing.limit(PATIENCE), Some(now + PATIENCE));
        }
    }

    #[test]
    fn what_others_cost_is_set_off_once() {
        let start = Instant::now();
        let at = |at| start + ms(at);
        let mut standing = Standing::default();
        assert!(standing.hold(at(0), PATIENCE, TAKEN));
        standing.caught_up(at(100), ms(100));
        assert!(!standing.hold(at(100), PATIENCE, TAKEN));
        // Two others end their holds at almost the same time: that it was idle for both is counted once.
        assert_eq!(standing.was_idle(at(100), at(140)), ms(40));
        assert_eq!(standing.was_idle(at(110), at(140)), ms(30));
        assert_eq!(standing.spent, ms(60));
        assert_eq!(standing.was_idle(at(100), at(300)), ms(200));
        assert_eq!(standing.spent, Duration::ZERO, "nothing is saved up");
    }

    proptest! {
        /// Others are idle for its sake at most a tenth of the time and one patience, and no more than one hold beside that.
        #[test]
        fn a_slow_one_costs_others_a_tenth(steps in proptest::collection::vec((1..200_u64, 1..100_u64), 1..200)) {
            let start = Instant::now();
            let (mut now, mut standing, mut cost) = (start, Standing::default(), Duration::ZERO);
            for (between, lasts) in steps {
                now += ms(between);
                if standing.hold(now, PATIENCE, TAKEN) {
                    now += ms(lasts);
                    standing.caught_up(now, ms(lasts));
                    cost += ms(lasts);
                }
                prop_assert!(cost <= (now - start) / SHARE + PATIENCE * 2, "{cost:?} of {:?}", now - start);
            }
        }

        /// Who is served in turns with others is never refused, however long each turn is (but for a patience).
        #[test]
        fn turns_cost_nobody_a_hold(count in 2..9_usize, turn in 1..50_u64) {
            let mut now = Instant::now();
            let mut all: Vec<Standing> = (0..count).map(|_| Standing::default()).collect();
            for slow in (0..count).cycle().take(2_000) {
                let since = now;
                prop_assert!(all[slow].hold(since, PATIENCE, TAKEN));
                now += ms(turn);
                let others = (0..count).filter(|other| *other != slow);
                let idle = others.map(|other| all[other].was_idle(since, now)).max();
                all[slow].caught_up(now, idle.unwrap_or_default());
            }
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
        assert_eq!(
            holds.witnesses(8).collect::<Vec<_>>(),
            [9, 7],
            "it waits now as others do"
        );
        assert_eq!(holds.remove(7), []);
        assert_eq!(holds.witnesses(8).collect::<Vec<_>>(), [9]);
        assert_eq!(holds.release(8), [(PeerId(1), 15)]);
    }
}

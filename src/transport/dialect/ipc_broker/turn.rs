//! When a client of ipc-broker 1.1.5 can be told what it has not asked for.
//!
//! Owns the requests for which it waits, in their order, and the times between which it does not. Its library takes the next message for
//! the answer, whatever it is and whichever request it answers, and it has one request at a time; what it reads while it waits for nothing,
//! and is no event, it reads over. So what it has not asked for is told in its pauses, and an answer that it may not wait for any more is
//! kept out of the way of the next. Without a clock nothing is put off. Pure.

use crate::transport::dialect::said::Place;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Who has asked for nothing for so long pauses.
const PAUSE: Duration = Duration::from_millis(50);
/// Who has not paused for so long, but asks again and again, pauses from then on when it has asked for nothing for a shorter time.
const WITHOUT_PAUSE: Duration = Duration::from_millis(500);
const SHORT_PAUSE: Duration = Duration::from_millis(10);
/// Who has asked lately is told so much at once that it has not asked for, and then nothing for so long: it has to have read it before it asks
/// again, and its library ends a subscription of which its program has 16 events unread. What was held must not become such a flood.
const LATELY: Duration = Duration::from_secs(2);
const BURST: u32 = 4;
const BREATH: Duration = Duration::from_millis(5);
/// A request that comes so soon behind what was not asked for may have met it on its way.
const DOUBT: Duration = Duration::from_millis(20);
/// The answer to such a request is kept for so long: a client that asks again meanwhile has given it up.
const DOUBTED: Duration = Duration::from_millis(3);

/// Who asks before it is answered, and was told nothing for so long that it could have taken for the answer, is not the library: it finds
/// answers by their numbers.
const PROOF: Duration = Duration::from_millis(500);

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is written.
    Now,
    /// It is kept until the time that [`Turn::pause`] tells, and then it is written.
    Kept,
    /// Its client waits for it no more: it is written in a pause.
    Late,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Turn {
    now: Option<Instant>,
    /// It is told things that it has not asked for: events.
    listens: bool,
    waits: BTreeSet<Place>,
    /// The newest of them may have been taken for answered, until then.
    doubted: Option<(Place, Instant)>,
    /// When it asked, or was answered, last.
    active: Option<Instant>,
    /// Since when it has not paused.
    busy: Option<Instant>,
    /// When it was told last what it had not asked for.
    unasked: Option<Instant>,
    /// How many it was told in a row, and when that ends.
    burst: u32,
    breath: Option<Instant>,
    /// Until its next pause it finds answers by their numbers, so nothing is kept from it.
    overlaps: bool,
}

impl Turn {
    pub(super) const fn clock(&mut self, now: Instant) {
        self.now = Some(now);
    }

    pub(super) const fn now(&self) -> Option<Instant> {
        self.now
    }

    /// It has subscribed.
    pub(super) const fn listens(&mut self) {
        self.listens = true;
    }

    /// It asks, and takes the next message for the answer. `true`: it has given up the requests before.
    pub(super) fn asks(&mut self, place: Place) -> bool {
        let doubted = self.doubted.take();
        let paused = self.pauses();
        let proven = |now| self.unasked.is_none_or(|at| over(at, PROOF, now));
        let proof = !self.waits.is_empty() && self.now.is_some_and(proven);
        self.overlaps = proof || (self.overlaps && !paused);
        let given_up = !self.overlaps && doubted.is_some_and(|(last, _)| self.waits.contains(&last));
        if given_up {
            self.waits.clear();
        }
        self.waits.insert(place);
        if let Some(now) = self.now {
            let told = |at: Instant| !over(at, DOUBT, now);
            let doubt = !self.overlaps && self.unasked.is_some_and(told);
            self.doubted = later(now, DOUBTED).filter(|_| doubt).map(|until| (place, until));
            let long = self.active.is_none_or(|active| over(active, PAUSE, now));
            if paused && long {
                self.busy = None;
            }
            self.busy.get_or_insert(now);
            self.active = Some(now);
        }
        given_up
    }

    /// The answer is there.
    pub(super) fn answered(&mut self, place: Place) -> Way {
        if !self.waits.contains(&place) {
            return if self.overlaps { Way::Now } else { Way::Late };
        }
        let doubt = self.doubted.filter(|(doubted, _)| *doubted == place);
        if doubt.is_some_and(|(_, until)| self.now.is_some_and(|now| now < until)) {
            return Way::Kept;
        }
        self.written(place);
        Way::Now
    }

    /// The answer that was kept is written.
    pub(super) fn written(&mut self, place: Place) {
        self.waits.remove(&place);
        self.doubted = self.doubted.filter(|(doubted, _)| *doubted != place);
        self.active = self.now;
    }

    /// It is told what it has not asked for.
    pub(super) fn told(&mut self) {
        self.unasked = self.now;
        let lately = |now: Instant| self.active.is_some_and(|active| !over(active, LATELY, now));
        let Some(now) = self.now.filter(|now| lately(*now) && !self.overlaps) else {
            (self.burst, self.breath) = (0, None);
            return;
        };
        if self.breath.is_some_and(|until| until <= now) {
            self.burst = 0;
        }
        self.burst = self.burst.saturating_add(1);
        self.breath = later(now, BREATH);
    }

    /// When it may be told what it has not asked for, if nothing else is in the way: now, or when it has had time to read.
    pub(super) fn may_hear(&self) -> Option<Instant> {
        let breath = self.breath.filter(|_| self.burst >= BURST && !self.overlaps);
        breath.max(self.now)
    }

    /// Whether it may be told so now.
    pub(super) fn hears(&self) -> bool {
        !self.holds_events() && self.may_hear() <= self.now
    }

    /// Until when the answer to the newest request is kept.
    pub(super) fn kept_until(&self) -> Option<Instant> {
        self.doubted.map(|(_, until)| until)
    }

    /// It waits for an answer, and would take anything for it.
    pub(super) fn waits(&self) -> bool {
        !self.overlaps && !self.waits.is_empty()
    }

    /// It finds answers by their numbers.
    pub(super) const fn overlaps(&self) -> bool {
        self.overlaps
    }

    /// It waits for nothing, and has not for a while.
    pub(super) fn pauses(&self) -> bool {
        let long = |from: Instant| self.now.is_none_or(|now| from <= now);
        self.waits.is_empty() && self.pause_from().is_none_or(long)
    }

    /// When its pause begins, if it asks for nothing until then. `None`: it has never asked.
    fn pause_from(&self) -> Option<Instant> {
        let active = self.active?;
        let short = later(active, SHORT_PAUSE);
        let spent = self.busy.and_then(|busy| later(busy, WITHOUT_PAUSE));
        let short = short.zip(spent).map(|(short, spent)| short.max(spent));
        [later(active, PAUSE), short].into_iter().flatten().min()
    }

    /// Events are to wait.
    pub(super) fn holds_events(&self) -> bool {
        !self.overlaps && (self.waits() || !self.pauses())
    }

    /// When its pause begins, if something may wait for that.
    pub(super) fn pause(&self) -> Option<Instant> {
        let waiting = self.waits.is_empty() && self.listens && !self.pauses();
        self.pause_from().filter(|_| waiting)
    }
}

fn later(at: Instant, span: Duration) -> Option<Instant> {
    at.checked_add(span)
}

fn over(since: Instant, span: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= span
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn events_go_in_pauses_and_short_ones_at_last() {
        let (mut turn, start) = (Turn::default(), Instant::now());
        turn.clock(start);
        turn.listens();
        assert!(!turn.holds_events(), "nothing was asked");
        assert!(!turn.asks(1));
        assert!(turn.holds_events());
        assert_eq!(turn.answered(1), Way::Now);
        assert!(turn.holds_events(), "the next request may be on its way");
        assert_eq!(turn.pause(), Some(start + PAUSE));
        turn.clock(start + PAUSE);
        assert!(!turn.holds_events() && turn.pause().is_none());
        // Every 5 ms it asks, and never pauses; every 20 ms, and it does after a while.
        for (every, told) in [(5, false), (20, true)] {
            let begun = start + 10 * PAUSE;
            let (mut heard, mut gaps) = (None, 0);
            for step in 0..1_000_u64 {
                let now = begun + Duration::from_millis(step * every);
                turn.clock(now);
                if step > 0 && turn.hears() {
                    heard = heard.or(Some(now - begun));
                    gaps += 1;
                }
                turn.asks(step + 10);
                turn.answered(step + 10);
                assert!(turn.holds_events(), "not behind an answer");
            }
            let wait = heard.map(|wait| wait >= WITHOUT_PAUSE && wait < WITHOUT_PAUSE + 25 * MS);
            assert_eq!(wait, told.then_some(true), "{heard:?}");
            assert_eq!(gaps > 900, told, "{gaps}: each of them, from then on");
            turn = Turn::default();
            turn.listens();
        }
    }

    #[test]
    fn who_asks_sometimes_is_told_so_much_at_once() {
        let (mut turn, start) = (Turn::default(), Instant::now());
        turn.clock(start);
        turn.listens();
        for _ in 0..1_000 {
            assert!(turn.hears(), "it has never asked");
            turn.told();
        }
        let start = start + DOUBT;
        turn.clock(start);
        turn.asks(1);
        assert_eq!(turn.answered(1), Way::Now);
        let mut now = start + PAUSE;
        let mut told = 0;
        while now < start + LATELY {
            turn.clock(now);
            let before = told;
            while turn.hears() {
                turn.told();
                told += 1;
            }
            assert!(told - before <= BURST, "{told}");
            now = turn.may_hear().unwrap();
            assert!(now <= start + PAUSE + BREATH * (told / BURST), "{told}");
        }
        assert!(told > 1_000, "{told}");
        turn.clock(start + LATELY);
        for _ in 0..1_000 {
            assert!(turn.hears(), "it has not asked for long");
            turn.told();
        }
    }

    #[test]
    fn who_asks_again_has_given_up_what_it_took_for_answered() {
        let (mut turn, start) = (Turn::default(), Instant::now());
        turn.clock(start);
        turn.told();
        turn.clock(start + MS);
        assert!(!turn.asks(1));
        assert_eq!(turn.answered(1), Way::Kept);
        assert!(turn.asks(2), "it asks again before it is answered");
        assert_eq!(turn.answered(1), Way::Late);
        turn.clock(start + MS + DOUBTED);
        assert_eq!(turn.answered(2), Way::Now);
        turn.clock(start + DOUBT);
        assert!(!turn.asks(3));
        assert_eq!(turn.answered(3), Way::Now, "what was told is long read");
        turn.asks(4);
        assert!(!turn.asks(5), "several at once are no sign without a doubt");
        assert_eq!((turn.answered(4), turn.answered(5)), (Way::Now, Way::Now));
    }

    #[test]
    fn who_asks_much_at_once_is_kept_from_nothing() {
        let (mut turn, start) = (Turn::default(), Instant::now());
        turn.clock(start);
        turn.listens();
        turn.told();
        assert!(!turn.asks(1));
        turn.clock(start + 200 * MS);
        assert!(turn.asks(2), "it may have taken what it was told for the answer");
        turn.clock(start + 300 * MS);
        assert_eq!(turn.answered(1), Way::Late);
        turn.clock(start + 400 * MS);
        assert!(!turn.asks(3) && !turn.overlaps(), "and this one as well");
        turn.clock(start + 600 * MS);
        assert!(!turn.asks(4) && turn.overlaps() && !turn.holds_events());
        turn.told();
        assert!(!turn.asks(5), "nothing is doubted");
        for place in [5, 1, 4, 2, 3] {
            assert_eq!(turn.answered(place), Way::Now);
        }
        // After a pause it may be another part of the program.
        turn.clock(start + 600 * MS + PAUSE);
        assert!(!turn.asks(6) && turn.holds_events());
    }
}

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
/// Events wait for a pause for so long; then they go behind the next answer.
const WITHOUT_PAUSE: Duration = Duration::from_secs(2);
/// A request that comes so soon behind what was not asked for may have met it on its way.
const DOUBT: Duration = Duration::from_millis(20);
/// The answer to such a request is kept for so long: a client that asks again meanwhile has given it up.
const DOUBTED: Duration = Duration::from_millis(3);

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
    /// Events went behind its last answer.
    released: bool,
    /// When it was told last what it had not asked for.
    unasked: Option<Instant>,
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
        let given_up = self
            .doubted
            .take()
            .is_some_and(|(last, _)| self.waits.contains(&last));
        if given_up {
            self.waits.clear();
        }
        let paused = self.pauses();
        self.waits.insert(place);
        if let Some(now) = self.now {
            let doubt = self
                .unasked
                .is_some_and(|at| now.saturating_duration_since(at) < DOUBT);
            self.doubted = later(now, DOUBTED).filter(|_| doubt).map(|until| (place, until));
            if paused || std::mem::take(&mut self.released) {
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
            return Way::Late;
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
        self.released = self.waits.is_empty() && self.is_spent();
    }

    /// It is told what it has not asked for.
    pub(super) const fn told(&mut self) {
        self.unasked = self.now;
    }

    /// Until when the answer to the newest request is kept.
    pub(super) fn kept_until(&self) -> Option<Instant> {
        self.doubted.map(|(_, until)| until)
    }

    /// It waits for an answer.
    pub(super) fn waits(&self) -> bool {
        !self.waits.is_empty()
    }

    /// It waits for nothing, and has not for a while.
    pub(super) fn pauses(&self) -> bool {
        let long = |active: Instant| self.now.is_none_or(|now| over(active, PAUSE, now));
        self.waits.is_empty() && self.active.is_none_or(long)
    }

    /// Events are to wait.
    pub(super) fn holds_events(&self) -> bool {
        self.waits() || (!self.pauses() && !self.released)
    }

    fn is_spent(&self) -> bool {
        let spent = |since: Instant| self.now.is_some_and(|now| over(since, WITHOUT_PAUSE, now));
        self.busy.is_some_and(spent)
    }

    /// When its pause begins, if something may wait for that.
    pub(super) fn pause(&self) -> Option<Instant> {
        let active = self
            .active
            .filter(|_| self.waits.is_empty() && self.listens && !self.pauses());
        active.and_then(|active| later(active, PAUSE))
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
    fn events_go_in_pauses_or_behind_an_answer_at_last() {
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
        let mut now = start + PAUSE;
        for place in 2..10_000 {
            now += MS;
            turn.clock(now);
            turn.asks(place);
            turn.answered(place);
            if !turn.holds_events() {
                let held = now - (start + PAUSE);
                assert!(held > WITHOUT_PAUSE && held < WITHOUT_PAUSE + 5 * MS, "{held:?}");
                return;
            }
        }
        panic!("events wait for ever");
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
}

//! What became of the calls of each object: how many, how they ended, how long they took.
//!
//! Owns the counters of an object, kept beside it by Registry, and [`Tracked`], the part of them that travels with the one answer that a
//! call is owed: however the call ends, it is counted once. Knows no queue and no connection. Counters are written by all threads.

use super::histogram::Histogram;
use super::said::Said;
use super::tap::Tap;
use super::trace::{Outcome, Trace};
use crate::actors::table::Table;
use crate::error::CallError;
use crate::message::frame::FrameView;
use crate::message::{Kind, PeerId, Ticket};
use crate::metrics::Counter;
use std::sync::Arc;
use std::time::Duration;

/// The name under which the rest is counted: nobody can register it.
pub const OTHERS: &str = "sys.others";
/// Objects that are counted each by itself; the calls of more are counted as [`OTHERS`]. They take a kilobyte each, so those that nobody has
/// any more are given up when there are twice as many as the last time.
const SWEPT_AT: usize = 1_024;
/// The most of them.
const OBJECTS_MAX: usize = 4_096;

/// The counters of one object.
#[derive(Debug)]
pub struct ObjectTally {
    /// The object; [`OTHERS`] for those beyond the limit, together.
    pub object: Box<str>,
    /// Calls that were given to an owner.
    pub calls: Counter,
    /// Those of them that want no answer.
    pub one_way: Counter,
    /// Bytes of the calls' payloads.
    pub bytes: Counter,
    /// Calls that their owner has answered, errors included.
    pub answered: Counter,
    /// Those of them that were answered with an error.
    pub refused: Counter,
    /// Calls that ended without an answer of their owner: cancelled, too late, or the owner is gone.
    pub broken: Counter,
    /// From when the owner's connection took the call until its last answer.
    pub times: Histogram,
    tap: Arc<Tap>,
}

impl ObjectTally {
    fn new(object: &str, tap: Arc<Tap>) -> Arc<Self> {
        Arc::new(Self {
            object: object.into(),
            calls: Counter::default(),
            one_way: Counter::default(),
            bytes: Counter::default(),
            answered: Counter::default(),
            refused: Counter::default(),
            broken: Counter::default(),
            times: Histogram::default(),
            tap,
        })
    }

    /// Calls that are not answered yet.
    #[must_use]
    pub fn open(&self) -> u64 {
        let ended = self.answered.get().saturating_add(self.broken.get());
        let owed = self.calls.get().saturating_sub(self.one_way.get());
        owed.saturating_sub(ended)
    }

    /// Calls that ended with an error, whoever made it.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.refused.get().saturating_add(self.broken.get())
    }
}

/// All objects that were called.
#[derive(Debug)]
pub struct Tallies {
    objects: Table<Box<[u8]>, Arc<ObjectTally>>,
    /// Those of names without an owner are given up when there are so many.
    sweep_at: usize,
    /// Objects that were not found since then: a sweep that frees nothing is not tried again at once.
    misses: usize,
    /// Beyond the limit.
    others: Arc<ObjectTally>,
    /// The last one asked for: calls come in runs of one object.
    last: Arc<ObjectTally>,
    tap: Arc<Tap>,
}

impl Tallies {
    /// Nobody was called yet.
    #[must_use]
    pub fn new(tap: Arc<Tap>) -> Self {
        let others = ObjectTally::new(OTHERS, tap.clone());
        Self {
            objects: Table::default(),
            sweep_at: SWEPT_AT,
            misses: 0,
            last: others.clone(),
            others,
            tap,
        }
    }

    /// The counters of an object that has an owner. `is_there`: whether a name has an owner, asked when there are too many: those of
    /// names without one are given up first, and what they counted goes to the rest.
    pub fn of(&mut self, object: &[u8], is_there: impl Fn(&str) -> bool) -> &Arc<ObjectTally> {
        if self.last.object.as_bytes() == object {
            return &self.last;
        }
        if !self.objects.contains_key(object) {
            self.misses = self.misses.saturating_add(1);
            if self.objects.len() >= self.sweep_at && self.misses >= self.sweep_at.div_euclid(2) {
                self.misses = 0;
                self.make_room(is_there);
                self.sweep_at = self.objects.len().saturating_mul(2).clamp(SWEPT_AT, OBJECTS_MAX);
            }
            if self.objects.len() < OBJECTS_MAX {
                let name = String::from_utf8_lossy(object);
                let tally = ObjectTally::new(&name, self.tap.clone());
                self.objects.insert(object.into(), tally);
            }
        }
        self.last = self.objects.get(object).unwrap_or(&self.others).clone();
        &self.last
    }

    /// The counters of an object, if it was called.
    #[must_use]
    pub fn get(&self, object: &str) -> Option<&Arc<ObjectTally>> {
        self.objects.get(object.as_bytes())
    }

    /// The counters of all objects, also of those that are gone.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ObjectTally>> {
        self.objects.values().chain([&self.others])
    }

    fn make_room(&mut self, is_there: impl Fn(&str) -> bool) {
        let others = self.others.clone();
        // What has open calls stays: they count in it when they end.
        self.objects.retain(|_, tally| {
            let kept = is_there(&tally.object) || Arc::strong_count(tally) > 1;
            if !kept {
                others.take_over(tally);
            }
            kept
        });
    }
}

impl ObjectTally {
    fn take_over(&self, other: &Self) {
        for (own, given) in [
            (&self.calls, &other.calls),
            (&self.one_way, &other.one_way),
            (&self.bytes, &other.bytes),
            (&self.answered, &other.answered),
            (&self.refused, &other.refused),
            (&self.broken, &other.broken),
        ] {
            own.add(given.get());
        }
        self.times.absorb(&other.times);
    }
}

/// A call that is owed an answer, as its object counts it. Dropped, it was broken off.
#[derive(Debug)]
pub struct Tracked {
    tally: Option<Arc<ObjectTally>>,
    callee: PeerId,
    /// Its line of the log, if anybody wants one.
    trace: Option<Box<Trace>>,
}

impl Tracked {
    /// A call that was given to this owner.
    #[must_use]
    pub const fn new(tally: Arc<ObjectTally>, callee: PeerId, trace: Option<Box<Trace>>) -> Self {
        Self {
            tally: Some(tally),
            callee,
            trace,
        }
    }

    /// The owner has answered, once more or for the last time. `taken`: how long ago its connection was given the call.
    pub fn answers(
        &mut self,
        view: &FrameView<'_>,
        (ticket, to): (Ticket, PeerId),
        last: bool,
        taken: Duration,
    ) {
        let Some(tally) = &self.tally else { return };
        // Of a message in pieces the beginning is shown, and its end.
        if tally.tap.is_on() && (last || view.header.kind != Kind::ReplyPiece) {
            let us = last.then(|| u64::try_from(taken.as_micros()).unwrap_or(u64::MAX));
            tally.tap.offer(&Said::answer(
                view,
                (self.callee, to),
                ticket,
                &tally.object,
                last,
                us,
            ));
        }
        if last && let Some(tally) = self.tally.take() {
            tally.times.add(taken);
            tally.answered.add(1);
            if let Some(trace) = self.trace.take() {
                trace.end(Outcome::Answered(view, taken));
            }
            if view.header.kind == Kind::Error {
                tally.refused.add(1);
            }
        }
    }

    /// The call ends without an answer of its owner.
    pub fn breaks(mut self, (ticket, to): (Ticket, PeerId), error: &CallError) {
        if let Some(tally) = self.tally.take() {
            tally.broken.add(1);
            if let Some(trace) = self.trace.take() {
                trace.end(Outcome::Failed(error));
            }
            if tally.tap.is_on() {
                tally.tap.offer(&Said::failure(to, ticket, &tally.object, error));
            }
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            tally.broken.add(1);
        }
        if let Some(trace) = self.trace.take() {
            trace.end(Outcome::Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Instant;

    #[test]
    fn more_objects_than_are_counted_cost_no_sweep_for_each_call() {
        let mut tallies = Tallies::new(Tap::new(Instant::now));
        let asked = Cell::new(0_usize);
        let calls = 50_000_usize;
        for call in 0..calls {
            let object = format!("o{}", call % 5_000);
            let is_there = |_: &str| {
                asked.set(asked.get() + 1);
                true
            };
            tallies.of(object.as_bytes(), is_there).calls.add(1);
        }
        let counted: u64 = tallies.iter().map(|tally| tally.calls.get()).sum();
        assert_eq!(counted, calls as u64);
        assert!(asked.get() < calls * 3, "{} look-ups", asked.get());
    }

    #[test]
    fn what_nobody_has_any_more_is_counted_with_the_rest() {
        let mut tallies = Tallies::new(Tap::new(Instant::now));
        for number in 0..1_000 {
            let tally = tallies.of(format!("o{number}").as_bytes(), |_| false);
            tally.calls.add(1);
            tally.answered.add(1);
            tally.times.add(Duration::from_micros(7));
        }
        let all = || tallies.iter();
        assert!(all().count() <= 2 * SWEPT_AT, "{}", all().count());
        assert_eq!(all().map(|tally| tally.calls.get()).sum::<u64>(), 1_000);
        assert_eq!(all().map(|tally| tally.times.read().count()).sum::<u64>(), 1_000);
    }
}

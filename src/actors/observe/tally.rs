//! What became of the calls of each object: how many, how they ended, how long they took.
//!
//! Owns the counters of an object, kept beside it by Registry, and [`Tracked`], the part of them that travels with the one answer that a
//! call is owed: however the call ends, it is counted once. Knows no queue and no connection. Counters are written by all threads.

use super::gathered::Gathered;
use super::histogram::Histogram;
use super::said::{Said, What};
use super::tap::Tap;
use super::trace::{Outcome, Trace};
use crate::actors::table::Table;
use crate::error::CallError;
use crate::message::frame::FrameView;
use crate::message::{Attachment, Flags, Kind, PeerId, Ticket};
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
    /// Calls that were not given to the owner, and are not among the calls: its queue was full, or it does not take what is attached.
    pub turned_away: Counter,
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
            turned_away: Counter::default(),
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
            (&self.turned_away, &other.turned_away),
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
    /// The call, or an answer to it, comes in pieces, and somebody monitors.
    gathered: Option<Box<Gathered>>,
}

impl Tracked {
    /// A call that was given to this owner. `gathered`: it comes in pieces.
    #[must_use]
    pub const fn new(
        tally: Arc<ObjectTally>,
        callee: PeerId,
        trace: Option<Box<Trace>>,
        gathered: Option<Box<Gathered>>,
    ) -> Self {
        Self {
            tally: Some(tally),
            callee,
            trace,
            gathered,
        }
    }

    /// Another piece of the call goes to its owner, or an item behind it.
    pub fn piece(&mut self, view: &FrameView<'_>, attachments: &[Attachment]) {
        if let Some(tally) = &self.tally {
            tally.bytes.add(view.brings().unwrap_or_default() as u64);
        }
        if let Some(mut call) = self.gathered.take_if(|gathered| gathered.is_call()) {
            call.add(view, attachments);
            if view.header.flags.has(Flags::CONTINUED) {
                self.gathered = Some(call);
            } else {
                call.tell(true);
            }
        }
    }

    /// The owner has answered, once more or for the last time. `taken`: how long ago its connection was given the call.
    pub fn answers(
        &mut self,
        (view, attachments): (&FrameView<'_>, &[Attachment]),
        ends: (Ticket, PeerId),
        last: bool,
        taken: Duration,
    ) {
        let Some(tally) = &self.tally else { return };
        if tally.tap.is_on() || self.gathered.is_some() {
            let us = last.then(|| u64::try_from(taken.as_micros()).unwrap_or(u64::MAX));
            self.told((view, attachments), ends, last, us);
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

    /// Monitors are told of an answer, of one in pieces when its last piece is there.
    #[cold]
    fn told(
        &mut self,
        (view, attachments): (&FrameView<'_>, &[Attachment]),
        (ticket, to): (Ticket, PeerId),
        last: bool,
        us: Option<u64>,
    ) {
        let Some(tally) = &self.tally else { return };
        let (begins, goes_on) = (
            view.header.kind != Kind::ReplyPiece,
            view.header.flags.has(Flags::CONTINUED),
        );
        if begins && let Some(before) = self.gathered.take() {
            // A call whose owner has not waited for all of it, or an answer that ends in an error.
            before.tell(false);
        }
        let said = Said::answer(view, (self.callee, to), ticket, &tally.object, last, us);
        let error = None;
        let what = What::Reply {
            ticket,
            last,
            us,
            error,
        };
        if begins && goes_on {
            self.gathered = Gathered::begin(&tally.tap, what, &said);
        } else if begins {
            tally.tap.offer(&said);
        } else if let Some(mut answer) = self.gathered.take() {
            answer.add(view, attachments);
            if goes_on {
                self.gathered = Some(answer);
            } else {
                answer.what = what;
                answer.tell(true);
            }
        } else if !goes_on {
            // Who monitors has come in the middle of it: this is its end, and no whole.
            let payload = (said.payload.0, &[][..]);
            tally.tap.offer(&Said { payload, ..said });
        }
    }

    /// The call ends without an answer of its owner.
    pub fn breaks(mut self, (ticket, to): (Ticket, PeerId), error: &CallError) {
        if let Some(tally) = self.tally.take() {
            tally.broken.add(1);
            if std::thread::panicking() {
                // A log that is others' code must not be called now.
                return;
            }
            if let Some(gathered) = self.gathered.take() {
                gathered.tell(false);
            }
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
        if std::thread::panicking() {
            return;
        }
        if let Some(gathered) = self.gathered.take() {
            gathered.tell(false);
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

    #[test]
    fn more_objects_than_are_counted_cost_no_sweep_for_each_call() {
        let mut tallies = Tallies::new(Tap::new());
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
        let mut tallies = Tallies::new(Tap::new());
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

//! When a service is started, waited for and given up.
//!
//! Owns the states of all services, each in its [`entry`]. Pure: Registry tells what happens and does what follows ([`Step`]). It refuses to know
//! who waits; whether anybody does is told where it matters.
//!
//! ```text
//!            wanted                registered
//!  Stopped ─────────► Starting ─────────────────► Running
//!     ▲  ▲              │  ▲                         │
//!     │  └── fails ─────┘  └─ pause over ─ Pausing   │ all its objects are gone
//!     │                                     ▲ wanted │ (and its process)
//!     └────────────────────────────────────────◄─────┘
//!  too many failures in a row: Resting, until it has rested; whoever asks meanwhile is told why
//! ```

mod entry;

pub use entry::Shown;

use super::launcher::{Failed, Order};
use super::service::{Service, Services};
use entry::{Entry, One};
use std::sync::Arc;
use std::time::Instant;

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// For the launcher.
    Order(Order),
    /// All that wait for objects of this service, as it is or was described, wait in vain, for this reason.
    Fail(Arc<Service>, String),
}

/// All services of a broker.
#[derive(Debug)]
pub struct States {
    services: Arc<Services>,
    entries: Vec<Entry>,
    /// The number of the last run of any.
    runs: u64,
    due: Option<Instant>,
}

impl States {
    /// All stopped.
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        let entries = services.all().iter().map(|one| Entry::stopped(one)).collect();
        Self {
            services,
            entries,
            runs: 0,
            due: None,
        }
    }

    /// Other descriptions take the place of those of now. What is described as before goes on as it is; what is described no more is not
    /// started any more, its start is called off, and what runs goes on until it ends. The caller tells afterwards which objects are
    /// there, and which of them are wanted.
    pub fn replace(&mut self, services: Arc<Services>, out: &mut Vec<Step>) {
        let before = std::mem::replace(&mut self.services, services);
        let entries = std::mem::take(&mut self.entries).into_iter();
        let mut left: Vec<_> = before.all().iter().zip(entries.map(Some)).collect();
        let place = |service: &Arc<Service>| {
            let mut same = left.iter_mut().filter(|(was, _)| was.is_same(service));
            let carried = same.find_map(|(was, entry)| Some((&**was, entry.take()?)));
            carried.map_or_else(
                || Entry::stopped(service),
                |(was, entry)| entry.described(was, service),
            )
        };
        self.entries = self.services.all().iter().map(place).collect();
        for (service, entry) in left {
            if let Some(entry) = entry {
                entry.taken_out(service, out);
            }
        }
        self.look_ahead();
    }

    /// The descriptions.
    #[must_use]
    pub const fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// When [`Self::time_passed`] is to be called next. O(1).
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Somebody wants an object of this service that is not there.
    ///
    /// # Errors
    /// Why it is not started.
    pub fn wanted(&mut self, index: usize, now: Instant, out: &mut Vec<Step>) -> Result<(), String> {
        let result = self.with(index, |one| one.wanted(now, out));
        self.look_ahead();
        result.unwrap_or(Ok(()))
    }

    /// Which object is there has changed. `waited`: whether somebody waits for one of its objects that is not there.
    pub fn seen(&mut self, object: &str, there: bool, waited: bool, now: Instant, out: &mut Vec<Step>) {
        let Some(index) = self.services.of(object) else {
            return;
        };
        self.with(index, |one| {
            let place = one.service.objects.iter().position(|own| own == object);
            let place = place.and_then(|place| one.entry.there.get_mut(place));
            let changed = place.is_some_and(|place| std::mem::replace(place, there) != there);
            if changed {
                one.changed(waited, now, out);
            }
        });
        self.look_ahead();
    }

    /// The objects of which [`Self::seen`] was told otherwise.
    #[must_use]
    pub fn changed(&self, there: impl Fn(&str) -> bool) -> Vec<String> {
        let objects = self.services.all().iter().flat_map(|service| &service.objects);
        let known = self.entries.iter().flat_map(|entry| &entry.there);
        let changed = objects
            .zip(known)
            .filter(|(object, known)| there(object) != **known);
        changed.map(|(object, _)| object.clone()).collect()
    }

    /// The service that was ordered to start under this number, and is described still.
    #[must_use]
    pub fn of_run(&self, run: u64) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.run == run && entry.alive)
    }

    /// What was ordered under this number has ended: a process, or the command that starts a unit, which may have succeeded.
    pub fn ended(
        &mut self,
        run: u64,
        how: Result<(), Failed>,
        waited: bool,
        now: Instant,
        out: &mut Vec<Step>,
    ) {
        if let Some(index) = self.of_run(run) {
            self.with(index, |one| one.ended(how, waited, now, out));
            self.look_ahead();
        }
    }

    /// The services that [`Self::time_passed`] is about.
    #[must_use]
    pub fn due_now(&self, now: Instant) -> Vec<usize> {
        let due = |entry: &Entry| entry.due().is_some_and(|due| due <= now);
        let all = self.entries.iter().enumerate();
        all.filter(|(_, entry)| due(entry))
            .map(|(index, _)| index)
            .collect()
    }

    /// Time has passed for this service. `waited`: whether somebody waits for an object of it that is not there.
    pub fn time_passed(&mut self, index: usize, waited: bool, now: Instant, out: &mut Vec<Step>) {
        self.with(index, |one| one.time_passed(waited, now, out));
        self.look_ahead();
    }

    /// How every service is.
    #[must_use]
    pub fn shown(&self, now: Instant) -> Vec<Shown> {
        self.entries.iter().map(|entry| entry.shown(now)).collect()
    }

    fn with<T>(&mut self, index: usize, step: impl FnOnce(&mut One<'_>) -> T) -> Option<T> {
        let service = self.services.get(index)?;
        let entry = self.entries.get_mut(index)?;
        Some(step(&mut One {
            service,
            entry,
            runs: &mut self.runs,
        }))
    }

    fn look_ahead(&mut self) {
        self.due = self.entries.iter().filter_map(Entry::due).min();
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;

//! When a service is started, waited for and given up.
//!
//! Owns the state of each service and its back-off. Pure: Registry tells what happens and does what follows ([`Step`]). It refuses to know
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

use super::launcher::Order;
use super::service::{Service, Services, Start};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who has been there for so long has not failed when it goes. Shorter where it rests for less.
const STEADY: Duration = Duration::from_secs(10);
/// The pause behind the first failure; each further one in a row doubles it.
const PAUSE: Duration = Duration::from_millis(100);

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// For the launcher.
    Order(Order),
    /// All that wait for objects of this service, as it is or was described, wait in vain, for this reason.
    Fail(Arc<Service>, String),
}

/// Where a service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    /// Until then one of its objects must be registered. `own`: by a run that was ordered for this start.
    Starting {
        until: Instant,
        own: bool,
    },
    /// It is wanted, but it has just failed.
    Pausing {
        until: Instant,
    },
    /// Somebody has one of its objects. What is missing beside them, and waited for, must come until `missing`.
    Running {
        missing: Option<Instant>,
    },
    /// It has failed too often.
    Resting {
        until: Instant,
        why: String,
    },
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// The last start that was ordered, by the number that no other run has; 0: none yet.
    run: u64,
    /// That one has not ended.
    alive: bool,
    /// It is being ended.
    ending: bool,
    /// Its process has ended without an error.
    fine: bool,
    /// When it registered, unless its end has been judged.
    registered: Option<Instant>,
    /// Which of its objects somebody has, in the order of the description.
    there: Vec<bool>,
    /// Failures in a row.
    failures: u32,
    /// Not before then is it started again.
    not_before: Option<Instant>,
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
        how: Result<(), String>,
        waited: bool,
        now: Instant,
        out: &mut Vec<Step>,
    ) {
        if let Some(index) = self.of_run(run) {
            self.with(index, |one| one.ended(how, waited, now, out));
            self.look_ahead();
        }
    }

    /// Time has passed. `waited` tells whether somebody waits for an object of the service that is not there.
    pub fn time_passed(&mut self, waited: impl Fn(usize) -> bool, now: Instant, out: &mut Vec<Step>) {
        let due = |entry: &Entry| entry.due().is_some_and(|due| due <= now);
        for index in 0..self.entries.len() {
            if !self.entries.get(index).is_some_and(due) {
                continue;
            }
            self.with(index, |one| one.time_passed(waited(index), now, out));
        }
        self.look_ahead();
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

impl Entry {
    fn stopped(service: &Service) -> Self {
        Self {
            state: State::Stopped,
            run: 0,
            alive: false,
            ending: false,
            fine: false,
            registered: None,
            there: vec![false; service.objects.len()],
            failures: 0,
            not_before: None,
        }
    }

    /// The same service under another description.
    fn described(mut self, was: &Service, is: &Service) -> Self {
        let there = |object: &String| {
            let mut before = was.objects.iter().zip(&self.there);
            before.any(|(name, there)| name == object && *there)
        };
        self.there = is.objects.iter().map(there).collect();
        if matches!(self.state, State::Running { .. }) && !self.is_there() {
            // What it has registered is its business no more.
            self.state = State::Stopped;
        }
        self
    }

    /// It is described no more.
    fn taken_out(&self, service: &Arc<Service>, out: &mut Vec<Step>) {
        if self.alive && !self.ending && self.registered.is_none() {
            out.push(Step::Order(Order::End { run: self.run }));
        }
        match self.state {
            State::Starting { .. } | State::Pausing { .. } | State::Running { missing: Some(_) } => {
                out.push(Step::Fail(
                    service.clone(),
                    "its description was taken out".into(),
                ));
            }
            State::Stopped | State::Running { missing: None } | State::Resting { .. } => {}
        }
    }

    const fn due(&self) -> Option<Instant> {
        match self.state {
            State::Starting { until, .. } | State::Pausing { until } => Some(until),
            State::Running { missing } => missing,
            State::Stopped | State::Resting { .. } => None,
        }
    }

    fn is_there(&self) -> bool {
        self.there.contains(&true)
    }
}

fn later(now: Instant, span: Duration) -> Instant {
    now.checked_add(span).unwrap_or(now)
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// One service in the hand.
struct One<'a> {
    service: &'a Arc<Service>,
    entry: &'a mut Entry,
    runs: &'a mut u64,
}

impl One<'_> {
    fn wanted(&mut self, now: Instant, out: &mut Vec<Step>) -> Result<(), String> {
        match &mut self.entry.state {
            State::Starting { .. } | State::Pausing { .. } => return Ok(()),
            State::Running { missing } => {
                let until = later(now, millis(self.service.start_ms));
                missing.get_or_insert(until);
                return Ok(());
            }
            State::Resting { until, why } if now < *until => {
                let left = until.saturating_duration_since(now).as_millis();
                return Err(format!("{why}; it is not started again for {left} ms"));
            }
            State::Resting { .. } => {
                self.entry.failures = 0;
                self.entry.not_before = None;
            }
            State::Stopped => {}
        }
        match self.entry.not_before.filter(|until| now < *until) {
            Some(until) => self.entry.state = State::Pausing { until },
            None => self.begin(now, out),
        }
        Ok(())
    }

    /// Starts it. A process that lives though its objects are gone may come back; only one that is being ended has a successor.
    fn begin(&mut self, now: Instant, out: &mut Vec<Step>) {
        let own = !self.entry.alive || self.entry.ending;
        let until = later(now, millis(self.service.start_ms));
        self.entry.state = State::Starting { until, own };
        if !self.entry.alive {
            self.order(out);
        }
    }

    fn order(&mut self, out: &mut Vec<Step>) {
        *self.runs = self.runs.saturating_add(1);
        self.entry.run = *self.runs;
        self.entry.alive = true;
        self.entry.ending = false;
        self.entry.fine = false;
        self.entry.registered = None;
        let (service, run) = (self.service.clone(), self.entry.run);
        out.push(Step::Order(Order::Start { service, run }));
    }

    /// Its objects have come or gone.
    fn changed(&mut self, waited: bool, now: Instant, out: &mut Vec<Step>) {
        let lives = self.lives();
        match (self.entry.is_there(), &mut self.entry.state) {
            (true, State::Running { missing }) => {
                if !waited {
                    *missing = None;
                } else if missing.is_none() {
                    *missing = Some(later(now, millis(self.service.start_ms)));
                }
            }
            (true, _) => {
                let missing = waited.then(|| later(now, millis(self.service.start_ms)));
                self.entry.registered = Some(now);
                self.entry.state = State::Running { missing };
            }
            // Its process may come back, or is about to end.
            (false, State::Running { .. }) if lives => {
                self.entry.state = State::Stopped;
                self.go_on(waited, now, out);
            }
            (false, State::Running { .. }) => self.over(waited, now, out),
            (false, _) => {}
        }
    }

    fn is_process(&self) -> bool {
        matches!(self.service.start, Start::Process(_))
    }

    /// Whether its process is there. What becomes of a unit systemd knows.
    fn lives(&self) -> bool {
        self.entry.alive && self.is_process()
    }

    fn ended(&mut self, how: Result<(), String>, waited: bool, now: Instant, out: &mut Vec<Step>) {
        self.entry.alive = false;
        self.entry.fine = self.is_process() && how.is_ok();
        let was_ending = std::mem::take(&mut self.entry.ending);
        match &self.entry.state {
            State::Starting { .. } if was_ending => {
                let until = later(now, millis(self.service.start_ms));
                self.entry.state = State::Starting { until, own: true };
                self.order(out);
            }
            State::Starting { own: true, .. } => match how {
                Err(why) => self.failed(why, now, out),
                Ok(()) if self.is_process() => {
                    self.failed(
                        "it ended, without an error, before it had registered".into(),
                        now,
                        out,
                    );
                }
                // The unit is up; now it has to register.
                Ok(()) => {}
            },
            // It had registered before, so this is its end, and the start that is wanted comes now.
            State::Starting { own: false, .. } => self.over(waited, now, out),
            State::Stopped | State::Pausing { .. } if self.entry.registered.is_some() => {
                self.over(waited, now, out);
            }
            // Its connection ends as well, later.
            State::Running { .. } | State::Stopped | State::Pausing { .. } | State::Resting { .. } => {}
        }
    }

    /// A start has come to nothing: everybody is told at once, and the next one has to wait.
    fn failed(&mut self, why: String, now: Instant, out: &mut Vec<Step>) {
        self.count(&why, now);
        self.fail(why, out);
    }

    fn fail(&self, why: String, out: &mut Vec<Step>) {
        out.push(Step::Fail(self.service.clone(), why));
    }

    /// It was there, and is there no more.
    fn over(&mut self, waited: bool, now: Instant, out: &mut Vec<Step>) {
        let enough = STEADY.min(millis(self.service.rest_ms));
        let since = self.entry.registered.take();
        let steady = since.is_some_and(|since| now.saturating_duration_since(since) >= enough);
        // What somebody else has started is not ours to count.
        // Nor what becomes of a unit, which systemd counts.
        if steady || self.entry.fine || self.entry.run == 0 || !self.is_process() {
            self.entry.failures = 0;
            self.entry.not_before = None;
            self.entry.state = State::Stopped;
        } else {
            self.count("it ended soon after it had registered", now);
        }
        self.go_on(waited, now, out);
    }

    fn go_on(&mut self, waited: bool, now: Instant, out: &mut Vec<Step>) {
        if waited && let Err(why) = self.wanted(now, out) {
            self.fail(why, out);
        }
    }

    fn count(&mut self, why: &str, now: Instant) {
        self.entry.failures = self.entry.failures.saturating_add(1).min(self.service.starts);
        let failures = self.entry.failures;
        if failures >= self.service.starts {
            let until = later(now, millis(self.service.rest_ms));
            let why = format!("{why} ({failures} failures in a row)");
            self.entry.state = State::Resting { until, why };
        } else {
            let pause = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
            let longest = millis(self.service.rest_ms).max(PAUSE);
            self.entry.not_before = Some(later(now, pause.min(longest)));
            self.entry.state = State::Stopped;
        }
    }

    fn time_passed(&mut self, waited: bool, now: Instant, out: &mut Vec<Step>) {
        let ms = self.service.start_ms;
        match &mut self.entry.state {
            State::Starting { until, .. } if *until <= now => {
                if self.entry.alive && !self.entry.ending {
                    self.entry.ending = true;
                    out.push(Step::Order(Order::End { run: self.entry.run }));
                }
                self.failed(
                    format!("it has registered none of its objects within {ms} ms"),
                    now,
                    out,
                );
            }
            State::Pausing { until } if *until <= now => match waited {
                true => self.begin(now, out),
                false => self.entry.state = State::Stopped,
            },
            State::Running { missing } if missing.is_some_and(|until| until <= now) => {
                *missing = None;
                if waited {
                    let why = format!("it runs, but has not registered this object within {ms} ms");
                    self.fail(why, out);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;

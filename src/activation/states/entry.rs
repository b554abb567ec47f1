//! One service: its state, and what each event makes of it.
//!
//! Owns its back-off, its budget and the texts of both. Pure. It refuses to know the other services; `states` calls it.

use super::Step;
use crate::activation::launcher::{Failed, Order};
use crate::activation::service::{Service, Start};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who has been there for so long has not failed when it goes. Shorter where it rests for less.
const STEADY: Duration = Duration::from_secs(10);
/// The pause behind the first failure; each further one in a row doubles it.
const PAUSE: Duration = Duration::from_millis(100);

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
    /// Somebody has one of its objects. What is missing beside them, and waited for, must come until `missing`. What has not come by then is
    /// not waited for again before `lacks`.
    Running {
        missing: Option<Instant>,
        lacks: Option<Instant>,
    },
    /// It has failed too often.
    Resting {
        until: Instant,
        why: String,
    },
}

#[derive(Debug)]
pub(super) struct Entry {
    state: State,
    /// The last start that was ordered, by the number that no other run has; 0: none yet.
    pub(super) run: u64,
    /// That one has not ended.
    pub(super) alive: bool,
    /// It is being ended.
    ending: bool,
    /// Its process has ended without an error.
    fine: bool,
    /// When it registered, unless its end has been judged.
    registered: Option<Instant>,
    /// Which of its objects somebody has, in the order of the description.
    pub(super) there: Vec<bool>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Not before then is it started again.
    not_before: Option<Instant>,
    /// How the last run ended, if with an error.
    how: Option<String>,
    /// Starts that were ordered.
    starts: u64,
    /// The last failure.
    last: Option<(Instant, String)>,
}

/// How a service is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `stopped`, `starting`, `pausing`, `running` or `resting`.
    pub state: &'static str,
    /// Until it is started (`pausing`), or may be again (`resting`), or is given up (`starting`).
    pub left: Option<Duration>,
    /// Whether a process of its lives, or a command that starts a unit.
    pub alive: bool,
    /// Starts that were ordered.
    pub starts: u64,
    /// Failures in a row.
    pub failures: u32,
    /// How long ago it failed last, and why.
    pub last: Option<(Duration, String)>,
}

impl Entry {
    pub(super) fn stopped(service: &Service) -> Self {
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
            how: None,
            starts: 0,
            last: None,
        }
    }

    /// How it is.
    pub(super) fn shown(&self, now: Instant) -> Shown {
        let (state, until) = match &self.state {
            State::Stopped => ("stopped", None),
            State::Starting { until, .. } => ("starting", Some(*until)),
            State::Pausing { until } => ("pausing", Some(*until)),
            State::Running { .. } => ("running", None),
            State::Resting { until, .. } if now < *until => ("resting", Some(*until)),
            State::Resting { .. } => ("stopped", None),
        };
        let ago = |at: Instant| now.saturating_duration_since(at);
        Shown {
            state,
            left: until.map(|until| until.saturating_duration_since(now)),
            alive: self.alive,
            starts: self.starts,
            failures: self.failures,
            last: self.last.as_ref().map(|(at, why)| (ago(*at), why.clone())),
        }
    }

    /// The same service under another description.
    pub(super) fn described(mut self, was: &Service, is: &Service) -> Self {
        let there = |object: &String| {
            let mut before = was.objects.iter().zip(&self.there);
            before.any(|(name, there)| name == object && *there)
        };
        self.there = is.objects.iter().map(there).collect();
        if matches!(self.state, State::Running { .. }) && !self.is_there() {
            // What it has registered is its business no more.
            self.state = State::Stopped;
        }
        // Who describes services again may have mended what failed.
        self.failures = 0;
        self.not_before = None;
        if matches!(self.state, State::Resting { .. }) {
            self.state = State::Stopped;
        }
        self
    }

    /// It is described no more.
    pub(super) fn taken_out(&self, service: &Arc<Service>, out: &mut Vec<Step>) {
        if self.alive && !self.ending && self.registered.is_none() {
            out.push(Step::Order(Order::End { run: self.run }));
        }
        match self.state {
            State::Starting { .. } | State::Pausing { .. } | State::Running { missing: Some(_), .. } => {
                out.push(Step::Fail(
                    service.clone(),
                    "its description was taken out".into(),
                ));
            }
            State::Stopped | State::Running { missing: None, .. } | State::Resting { .. } => {}
        }
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        match self.state {
            State::Starting { until, .. } | State::Pausing { until } => Some(until),
            State::Running { missing, .. } => missing,
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

pub(super) fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// One service in the hand.
pub(super) struct One<'a> {
    pub(super) service: &'a Arc<Service>,
    pub(super) entry: &'a mut Entry,
    pub(super) runs: &'a mut u64,
}

impl One<'_> {
    pub(super) fn wanted(&mut self, now: Instant, out: &mut Vec<Step>) -> Result<(), String> {
        match &mut self.entry.state {
            State::Starting { .. } | State::Pausing { .. } => return Ok(()),
            State::Running { lacks, .. } if lacks.is_some_and(|until| now < until) => {
                return Err(self.lacking());
            }
            State::Running { missing, .. } => {
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
        self.entry.how = None;
        self.entry.starts = self.entry.starts.saturating_add(1);
        let (service, run) = (self.service.clone(), self.entry.run);
        out.push(Step::Order(Order::Start { service, run }));
    }

    /// Its objects have come or gone.
    pub(super) fn changed(&mut self, waited: bool, now: Instant, out: &mut Vec<Step>) {
        let lives = self.lives();
        match (self.entry.is_there(), &mut self.entry.state) {
            (true, State::Running { missing, lacks }) => {
                *lacks = None;
                if !waited {
                    *missing = None;
                } else if missing.is_none() {
                    *missing = Some(later(now, millis(self.service.start_ms)));
                }
            }
            (true, _) => {
                let missing = waited.then(|| later(now, millis(self.service.start_ms)));
                self.entry.registered = Some(now);
                let lacks = None;
                self.entry.state = State::Running { missing, lacks };
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

    pub(super) fn ended(&mut self, how: Result<(), Failed>, waited: bool, now: Instant, out: &mut Vec<Step>) {
        self.entry.alive = false;
        let left = how.as_ref().is_err_and(|failed| failed.left);
        // How one ended that was left by an earlier broker nobody knows.
        self.entry.fine = self.is_process() && (how.is_ok() || left);
        let how = how.map_err(|failed| failed.why);
        self.entry.how = how.as_ref().err().cloned();
        let was_ending = std::mem::take(&mut self.entry.ending);
        match &self.entry.state {
            // Now there is room for one of its own; nothing has failed yet.
            State::Starting { own, .. } if was_ending || (left && *own) => {
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

    /// Why a call of one object fails while another is there.
    fn lacking(&self) -> String {
        let ms = self.service.start_ms;
        let other = self
            .service
            .objects
            .iter()
            .zip(&self.entry.there)
            .find(|(_, there)| **there);
        match other.filter(|_| self.is_process() && !self.entry.alive) {
            Some((other, _)) => format!(
                "{other:?} is provided by a program that this broker has not started, so it is not started beside it, and nothing has \
                 registered this object within {ms} ms"
            ),
            None => format!("it runs, but has not registered this object within {ms} ms"),
        }
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
            let how = self.entry.how.as_deref().unwrap_or("it lost its connection");
            self.count(&format!("it ended soon after it had registered: {how}"), now);
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
        self.entry.last = Some((now, why.to_owned()));
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

    pub(super) fn time_passed(&mut self, waited: bool, now: Instant, out: &mut Vec<Step>) {
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
            State::Running { missing, lacks } if missing.is_some_and(|until| until <= now) => {
                *missing = None;
                if waited {
                    *lacks = Some(later(now, millis(ms)));
                    let why = self.lacking();
                    self.entry.last = Some((now, why.clone()));
                    self.fail(why, out);
                }
            }
            _ => {}
        }
    }
}

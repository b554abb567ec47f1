//! Who hosts a bus, as one process sees it: what to do about what it learns.
//!
//! Owns the decisions and nothing else: whether to try for the lock, to host, to follow another process, to give up hosting. It takes no lock,
//! knows no socket and no clock. [`super::keeper`] performs the steps and tells what came of them. The promise that it makes together with
//! a lock that one process at a time can hold is that there are never two hosts, and never none while a process is there that may be one;
//! `election_worlds.rs` explores every order of events for that.

use std::time::Duration;

/// How often a process looks again while it waits and nothing tells it of changes; the longest pause.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The first pause of that.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// Pauses after hosting failed, from and to.
const FAILED: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Who has the bus's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lock {
    /// This process has just got it.
    Taken,
    /// Nobody has it; only told when it was not tried for.
    Free,
    /// Another process; `None`: the system does not tell which.
    Held(Option<u32>),
    /// This process, for a host of before that is still ending.
    Ending,
    /// It cannot be told, or not be taken, for now.
    Failed,
}

/// What a process learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Input {
    /// How many endpoints of this process want the bus, and how many of them let it host.
    Wanted {
        /// All of them.
        endpoints: usize,
        /// Those whose process may host for them.
        candidates: usize,
    },
    /// What came of [`Step::TryLock`] or [`Step::LookAtLock`]; told before anything else is.
    Lock(Lock),
    /// The broker listens.
    Started,
    /// The broker did not start, or has ended by itself.
    Failed,
    /// The broker has let go of the path and the lock, as [`Step::Stop`] asked.
    Stopped,
    /// The process that is followed has ended.
    HolderDied,
    /// The lock's file was touched.
    Changed,
    /// The pause of [`Step::LookAfter`] is over.
    PauseOver,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Try for the lock and tell what came of it.
    TryLock,
    /// See who has the lock, without trying for it.
    LookAtLock,
    /// Start the broker; the lock is held.
    Start,
    /// Give up the path and the lock, then send the endpoints to the next host.
    Stop,
    /// Give the lock back; the broker is gone.
    Release,
    /// Watch this process until told otherwise.
    Watch(u32),
    /// Look again after a pause, unless something happens before. Each input that leads to a step ends an earlier pause.
    LookAfter(Duration),
    /// Tell the endpoints that this process hosts.
    TellHere,
    /// Tell them that another one does.
    TellElsewhere(Option<u32>),
    /// Tell them that nobody does.
    TellNobody,
    /// Nothing is left to do, for good.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Nobody has asked yet.
    Idle,
    /// Nobody hosts, and this process may not or cannot for now.
    Waiting,
    /// A step about the lock was asked for. Its answer is the next input.
    Looking,
    Starting,
    Hosting,
    Following(Option<u32>),
    Stopping,
    Ended,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Election {
    phase: Phase,
    endpoints: usize,
    candidates: usize,
    /// Looks in a row that found nothing new, for the pauses.
    looks: u32,
    /// Attempts to host in a row that failed.
    failures: u32,
}

impl Election {
    pub(super) const fn new() -> Self {
        Self {
            phase: Phase::Idle,
            endpoints: 0,
            candidates: 0,
            looks: 0,
            failures: 0,
        }
    }

    /// What to do about an input, in order.
    pub(super) fn on(&mut self, input: Input) -> Vec<Step> {
        let mut steps = Vec::new();
        match input {
            Input::Wanted {
                endpoints,
                candidates,
            } => self.wanted(endpoints, candidates, &mut steps),
            Input::Lock(lock) => self.lock(lock, &mut steps),
            Input::Started => self.started(&mut steps),
            Input::Failed => self.failed(&mut steps),
            Input::Stopped => self.stopped(&mut steps),
            Input::HolderDied | Input::Changed => self.look_again(false, &mut steps),
            Input::PauseOver => self.look_again(true, &mut steps),
        }
        steps
    }

    fn wanted(&mut self, endpoints: usize, candidates: usize, steps: &mut Vec<Step>) {
        let first = self.endpoints == 0 && endpoints > 0;
        let may_now = self.candidates == 0 && candidates > 0;
        (self.endpoints, self.candidates) = (endpoints, candidates);
        match self.phase {
            Phase::Ended | Phase::Looking | Phase::Starting | Phase::Stopping => {}
            Phase::Hosting if candidates == 0 => self.stop(steps),
            Phase::Hosting => {}
            Phase::Idle | Phase::Waiting | Phase::Following(_) if endpoints == 0 => self.end(steps),
            Phase::Idle | Phase::Waiting | Phase::Following(_) if first || may_now => {
                self.look(false, steps);
            }
            Phase::Idle | Phase::Waiting | Phase::Following(_) => {}
        }
    }

    /// Whoever has failed to host tries again after its pause, and not because the lock that it gave back is free.
    fn look(&mut self, rested: bool, steps: &mut Vec<Step>) {
        self.phase = Phase::Looking;
        steps.push(match self.candidates > 0 && (rested || self.failures == 0) {
            true => Step::TryLock,
            false => Step::LookAtLock,
        });
    }

    fn look_again(&mut self, rested: bool, steps: &mut Vec<Step>) {
        match self.phase {
            Phase::Waiting | Phase::Following(_) => self.look(rested, steps),
            // Whoever has the lock need not look at it, nor does anybody before there is an endpoint.
            Phase::Idle
            | Phase::Looking
            | Phase::Starting
            | Phase::Hosting
            | Phase::Stopping
            | Phase::Ended => {}
        }
    }

    fn lock(&mut self, lock: Lock, steps: &mut Vec<Step>) {
        if self.phase != Phase::Looking {
            return;
        }
        if lock == Lock::Taken {
            self.looks = 0;
            self.phase = Phase::Starting;
            return steps.push(Step::Start);
        }
        match lock {
            Lock::Taken => {}
            Lock::Held(pid) => {
                self.phase = Phase::Following(pid);
                self.looks = 0;
                steps.push(Step::TellElsewhere(pid));
                match pid {
                    Some(pid) => steps.push(Step::Watch(pid)),
                    None => steps.push(Step::LookAfter(LOOK_AGAIN)),
                }
            }
            Lock::Free | Lock::Ending | Lock::Failed => {
                self.phase = Phase::Waiting;
                steps.push(Step::TellNobody);
                steps.push(Step::LookAfter(self.rest()));
                self.looks = more(self.looks);
            }
        }
    }

    fn started(&mut self, steps: &mut Vec<Step>) {
        if self.phase != Phase::Starting {
            return;
        }
        self.failures = 0;
        self.phase = Phase::Hosting;
        if self.candidates == 0 {
            return self.stop(steps);
        }
        steps.push(Step::TellHere);
    }

    fn stop(&mut self, steps: &mut Vec<Step>) {
        self.phase = Phase::Stopping;
        steps.push(Step::Stop);
    }

    fn failed(&mut self, steps: &mut Vec<Step>) {
        if !matches!(self.phase, Phase::Starting | Phase::Hosting) {
            return;
        }
        steps.push(Step::Release);
        if self.endpoints == 0 {
            return self.end(steps);
        }
        self.phase = Phase::Waiting;
        steps.push(Step::TellNobody);
        // Others get their turn meanwhile: what ails this process need not ail them.
        self.failures = more(self.failures);
        steps.push(Step::LookAfter(self.rest()));
    }

    fn rest(&self) -> Duration {
        match self.failures.checked_sub(1) {
            Some(before) if self.candidates > 0 => pause(FAILED, before),
            _ => pause((FIRST_LOOK, LOOK_AGAIN), self.looks),
        }
    }

    fn stopped(&mut self, steps: &mut Vec<Step>) {
        if self.phase != Phase::Stopping {
            return;
        }
        if self.endpoints == 0 {
            return self.end(steps);
        }
        steps.push(Step::TellNobody);
        self.look(false, steps);
    }

    fn end(&mut self, steps: &mut Vec<Step>) {
        self.phase = Phase::Ended;
        steps.push(Step::End);
    }
}

/// Counts up to where pauses are the longest anyway.
fn more(count: u32) -> u32 {
    count.saturating_add(1).min(8)
}

/// The pause before attempt `attempt` (from 0): from the first, doubling up to the longest.
fn pause((first, longest): (Duration, Duration), attempt: u32) -> Duration {
    first
        .saturating_mul(1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX))
        .min(longest)
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "election_worlds.rs"]
mod worlds;

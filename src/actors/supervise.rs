//! What happens when a core actor panics: the guard, the blame and the turn budget.
//!
//! actix's supervisor keeps mailbox and address over a restart, but catches no panic and counts none; this file adds both. Owns who
//! panicked when; it restarts nothing itself. Called by Registry and TopicHub around each frame.

use crate::config::Limits;
use crate::message::PeerId;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The time in which panics are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Runs one step. A panic ends the step, not the actor.
///
/// # Errors
/// The panic's message. What the step had changed is then not to be trusted.
pub fn guard<T>(step: impl FnOnce() -> T) -> Result<T, String> {
    // The caller throws away whatever the step may have left half changed.
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without text".into())
    })
}

/// How a core actor's state has got on with what it was given. Whoever drives it does what this asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// The next message may come.
    Done,
    /// The turn is over: `resume` after others had theirs, before the next message.
    Yield,
    /// A step has panicked: restart, then `resume`, before the next message.
    Restart,
    /// The same, and too many have made it panic: the broker ends for this reason.
    End(&'static str),
}

/// What follows from a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The author is closed and its process refused for a while.
    pub close_author: bool,
    /// The budget is spent: the broker ends.
    pub end: bool,
}

/// Who made a core actor panic, and when.
#[derive(Debug)]
pub struct Blame {
    per_author: usize,
    budget: usize,
    recent: VecDeque<(Instant, PeerId)>,
}

impl Blame {
    /// Nobody, yet.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self {
            per_author: limits.panics_per_author as usize,
            budget: limits.panic_budget as usize,
            recent: VecDeque::new(),
        }
    }

    /// Counts a panic. One author's panics count once for the budget: a single bad peer must not end the broker.
    pub fn record(&mut self, now: Instant, author: PeerId) -> Judgement {
        self.recent
            .retain(|(at, _)| now.saturating_duration_since(*at) < WINDOW);
        self.recent.push_back((now, author));
        let of_author = self.recent.iter().filter(|(_, other)| *other == author).count();
        let mut authors: Vec<PeerId> = self.recent.iter().map(|(_, author)| *author).collect();
        authors.sort_unstable();
        authors.dedup();
        Judgement {
            close_author: of_author >= self.per_author,
            end: authors.len() > self.budget,
        }
    }
}

/// How much a core actor handles before others on its arbiter get their turn.
#[derive(Debug, Default)]
pub struct Turn {
    bytes: usize,
    deliveries: usize,
}

impl Turn {
    const BYTES: usize = 256 * 1024;
    const DELIVERIES: usize = 4_096;

    /// Counts work. `true`: the turn is over.
    pub const fn spend(&mut self, bytes: usize, deliveries: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.deliveries = self.deliveries.saturating_add(deliveries);
        self.bytes >= Self::BYTES || self.deliveries >= Self::DELIVERIES
    }

    /// Whether so much of it is spent that a new one is to begin when the actor rests.
    #[must_use]
    pub const fn is_begun(&self) -> bool {
        self.bytes >= Self::BYTES / 16 || self.deliveries >= Self::DELIVERIES / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_author_is_closed_at_its_third_and_six_authors_end_the_broker() {
        let limits = Limits::default();
        let start = Instant::now();
        let mut blame = Blame::new(&limits);
        for (panic, closed) in [(1, false), (2, false), (3, true), (4, true)] {
            let judgement = blame.record(start, PeerId(9));
            assert_eq!(
                judgement,
                Judgement {
                    close_author: closed,
                    end: false
                },
                "panic {panic}"
            );
        }
        let mut blame = Blame::new(&limits);
        for author in 1..=6 {
            assert_eq!(blame.record(start, PeerId(author)).end, author == 6);
        }
        let mut blame = Blame::new(&limits);
        for author in 1..=12 {
            let at = start + Duration::from_secs(author * 3);
            assert!(!blame.record(at, PeerId(author)).end, "spread over time");
        }
    }

    #[test]
    fn a_turn_is_begun_long_before_it_is_over() {
        let mut turn = Turn::default();
        assert!(!turn.is_begun());
        assert!(!turn.spend(100, 255) && !turn.is_begun());
        assert!(!turn.spend(100, 1) && turn.is_begun());
        assert!(!Turn::default().spend(256 * 1024 - 1, 4_095));
        assert!(Turn::default().spend(0, 4_096) && Turn::default().spend(256 * 1024, 1));
    }

    #[test]
    fn the_guard_returns_the_text() {
        assert_eq!(guard(|| 7), Ok(7));
        assert_eq!(guard(|| panic!("number {}", 3)).unwrap_err(), "number 3");
    }
}

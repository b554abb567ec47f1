//! Wrong tokens of a label bus: whom they are counted for, and the answers that wait because there were too many.
//!
//! Owns the answers of one connection that are late. While one is, no other token of this connection is looked at: it would be as many
//! guesses as it likes to send at once. How many are too many is the rule of [`tokens`](crate::actors::tokens), by address or user. A
//! step of [`Session`](super::Session).

use crate::actors::tokens::{Failures, Source};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Answers that may wait; who asks more often does not want an answer.
const LATE_MAX: usize = 16;

/// See the module's documentation.
#[derive(Debug)]
pub struct Guesses {
    failures: Arc<Mutex<Failures>>,
    source: Option<Source>,
    late: Vec<u64>,
    until: Option<Instant>,
}

/// How a Join with a wrong token, or one that comes while the answer to such a one waits, is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Now,
    Late,
    /// By the end of the connection.
    End,
}

impl Guesses {
    /// None yet, of this source.
    #[must_use]
    pub const fn new(failures: Arc<Mutex<Failures>>, source: Option<Source>) -> Self {
        Self {
            failures,
            source,
            late: Vec::new(),
            until: None,
        }
    }

    /// Whether the answer to a wrong one waits, so that no other is looked at.
    pub(super) const fn is_waiting(&self) -> bool {
        self.until.is_some()
    }

    /// The Join of this number is refused.
    pub(super) fn refuse(&mut self, now: Instant, request: u64) -> Answer {
        if self.until.is_none() {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let delay = failures.delay(self.source, now);
            if delay.is_zero() {
                return Answer::Now;
            }
            self.until = now.checked_add(delay);
        }
        if self.late.len() >= LATE_MAX {
            return Answer::End;
        }
        self.late.push(request);
        Answer::Late
    }

    /// When [`Self::due`] is to be called next.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.until
    }

    /// The numbers of those that have waited long enough.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u64> {
        match self.until.is_some_and(|until| until <= now) {
            true => {
                self.until = None;
                std::mem::take(&mut self.late)
            }
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::tokens::{DELAY, FAILURES};

    #[test]
    fn too_many_wrong_ones_of_a_user_wait_on_whatever_connection_and_nobody_elses_do() {
        let failures = Arc::default();
        let of = |uid| Guesses::new(Arc::clone(&failures), Some(Source::User(uid)));
        let now = Instant::now();
        for request in 0..FAILURES {
            assert_eq!(of(1).refuse(now, u64::from(request)), Answer::Now);
        }
        let (mut sixth, mut other) = (of(1), of(2));
        assert_eq!(sixth.refuse(now, 7), Answer::Late);
        assert_eq!(other.refuse(now, 7), Answer::Now);
        assert!(sixth.is_waiting() && !other.is_waiting());
        assert_eq!(sixth.refuse(now, 8), Answer::Late);
        assert_eq!(
            (sixth.next_deadline(), sixth.due(now)),
            (Some(now + DELAY), vec![])
        );
        assert_eq!(sixth.due(now + DELAY), [7, 8]);
        assert!(!sixth.is_waiting() && sixth.next_deadline().is_none());
        for request in 0..LATE_MAX {
            assert_eq!(sixth.refuse(now, request as u64), Answer::Late);
        }
        assert_eq!(sixth.refuse(now, 99), Answer::End);
    }
}

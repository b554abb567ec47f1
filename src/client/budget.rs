//! How long the handlers of one read may keep their thread.
//!
//! Owns the count and the time; which call is next is [`super::running`]'s, its caller.

use std::time::{Duration, Instant};

/// Calls that are started before other tasks of the thread run, the socket's among them.
const BURST: u32 = 256;
/// What these calls may take together.
const BURST_TIME: Duration = Duration::from_millis(1);
/// The time is looked at after the first call, and then each time when so many more are done.
const LOOK_EVERY: u32 = 8;

/// What handlers may have of their thread before others on it get their turn.
#[derive(Debug)]
pub(crate) struct Budget {
    since: Instant,
    started: u32,
    pub(crate) spent: bool,
}

impl Budget {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            since: now,
            started: 0,
            spent: false,
        }
    }

    /// Whether one call more may start, which counts.
    pub(crate) fn allows(&mut self, now: impl FnOnce() -> Instant) -> bool {
        let look = self.started % LOOK_EVERY == 1;
        self.spent = self.spent
            || self.started >= BURST
            || (look && now().saturating_duration_since(self.since) >= BURST_TIME);
        self.started = self.started.saturating_add(1);
        !self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_by_count_or_by_time_and_asks_for_the_time_now_and_then() {
        let start = Instant::now();
        for (each_us, expected) in [(0, 256), (10, 105), (100, 17), (990, 9), (1_000, 1), (500_000, 1)] {
            let (mut budget, mut looks) = (Budget::new(start), 0);
            let mut allowed = 0;
            while budget.allows(|| {
                looks += 1;
                start + Duration::from_micros(each_us * allowed)
            }) {
                allowed += 1;
            }
            assert_eq!(allowed, expected, "{each_us} us each");
            assert!(looks <= allowed.div_ceil(8), "{looks} looks");
            assert!(budget.spent && !budget.allows(|| start), "it stays spent");
        }
    }
}

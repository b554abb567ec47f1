//! Whether a connection is busy enough for memory of its own.
//!
//! Owns the measure: reads, writes and their bytes within a second. It asks for the time only now and then. Called by
//! [`super::drive`].

use std::time::{Duration, Instant};

/// What counts like a read or a write, in bytes.
const BYTES: usize = 1024;
/// Reads and writes within [`WINDOW`] that make a connection a busy one.
const BUSY: u32 = 512;
const WINDOW: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Busy {
    /// Nobody has been told yet.
    watches: bool,
    score: u32,
    since: Instant,
}

impl Busy {
    /// `watches`: somebody wants to know.
    pub(crate) const fn new(watches: bool, now: Instant) -> Self {
        Self {
            watches,
            score: 0,
            since: now,
        }
    }

    /// A read or a write took so many bytes. True once: when the connection has become busy.
    pub(crate) fn did(&mut self, bytes: usize, now: impl FnOnce() -> Instant) -> bool {
        if !self.watches {
            return false;
        }
        let more = u32::try_from(bytes / BYTES).unwrap_or(BUSY);
        self.score = self.score.saturating_add(1).saturating_add(more);
        if self.score < BUSY {
            return false;
        }
        let now = now();
        let busy = now.saturating_duration_since(self.since) < WINDOW;
        (self.score, self.since) = (0, now);
        self.watches = !busy;
        busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_ones_or_few_large_ones_within_a_second() {
        let start = Instant::now();
        let after = |ms| move || start + Duration::from_millis(ms);
        for (bytes, each_ms, first) in [
            (0, 1, Some(512)),
            (0, 2, None),
            (512 * 1024, 900, Some(1)),
            (10_240, 10, Some(47)),
        ] {
            let mut busy = Busy::new(true, start);
            let told: Vec<u64> = (1..=600)
                .filter(|turn| busy.did(bytes, after(turn * each_ms)))
                .collect();
            assert_eq!(told.first().copied(), first, "{bytes} bytes each {each_ms} ms");
            assert!(told.len() <= 1, "told once");
        }
        let mut busy = Busy::new(false, start);
        assert!(!(0..600).any(|_| busy.did(1 << 20, after(0))));
    }

    #[test]
    fn a_slow_beginning_is_forgotten() {
        let start = Instant::now();
        let mut busy = Busy::new(true, start);
        let at = |ms| move || start + Duration::from_millis(ms);
        assert!(!(0..512).any(|_| busy.did(0, at(5_000))));
        assert!((0..512).any(|_| busy.did(0, at(5_100))));
    }
}

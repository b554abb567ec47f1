//! How a measurement goes, on one line of a terminal while it runs.
//!
//! Owns that line. Where standard error is no terminal it says nothing. Called by `measure`.

use super::measure::Side;
use std::io::{self, IsTerminal, Write};

/// The line.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
}

impl Progress {
    /// On standard error.
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Shows this in the place of what was there.
    pub(super) fn show(&self, text: &str) {
        if self.terminal {
            // Who cannot see it misses nothing: the table says it all.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        }
    }

    /// Shows how far it is and what came out so far.
    pub(super) fn round(&self, round: u32, rounds: u32, floor: &Side, broker: &Side) {
        let round = round.saturating_add(1);
        self.show(&format!(
            "round {round} of {rounds}: floor {}; broker {}",
            side(floor),
            side(broker)
        ));
    }

    /// Leaves nothing behind.
    pub(super) fn clear(&self) {
        self.show("");
    }
}

/// What came out on one way so far. In the first round one of them has not been used yet.
fn side(side: &Side) -> String {
    let rate = side.rate();
    if rate <= 0.0 {
        return "-".to_owned();
    }
    let half = side.latencies.micros(0.5);
    let half = half.map_or_else(String::new, |half| format!(", p50 {half:.1} µs"));
    format!("{rate:.0}/s{half}")
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Slice;
    use super::*;

    #[test]
    fn a_way_that_was_not_used_yet_has_no_rate() {
        let mut way = Side::new().unwrap();
        assert_eq!(side(&way), "-");
        way.add(&[Slice {
            timed: 500,
            nanos: 1_000_000_000,
            ..Slice::default()
        }]);
        assert_eq!(side(&way), "500/s");
    }
}

//! How often the log has a line of one kind: whoever causes them in a loop must not fill it.
//!
//! Owns the count of lines by kind in a window of time. What is not said is counted, and the next line of its kind tells the count;
//! metrics count everything. Asked by whoever writes a line that a peer can cause. Knows no peer and no text.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind in one window: enough to see who it is about.
const LINES: u32 = 10;
/// The window.
const WINDOW: Duration = Duration::from_secs(10);

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A connection that gets no place.
    Refused,
    /// One whose user nobody knows.
    Unproven,
    /// One that the policy does not let in.
    Denied,
    /// One that speaks a format that is not served.
    Foreign,
    /// One that is closed for what it sent.
    Protocol,
    /// One that is closed for a limit.
    Limit,
    /// One that is closed because it does not read.
    Slow,
    /// One that is closed because it took too long.
    Late,
    /// One that is closed for another reason.
    Other,
    /// A service that a client named.
    Service,
}

/// Kinds of lines.
const KINDS: usize = Line::Service as usize + 1;

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Hush([Mutex<Window>; KINDS]);

impl Hush {
    /// Whether a line of this kind is to be written now: how many of its kind were left out since the last one.
    #[must_use]
    pub fn may_say(&self, line: Line, now: Instant) -> Option<u64> {
        let window = self.0.get(line as usize)?;
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if window.since.is_none_or(is_over) {
            window.since = Some(now);
            window.said = 0;
        }
        if window.said >= LINES {
            window.unsaid = window.unsaid.saturating_add(1);
            return None;
        }
        window.said = window.said.saturating_add(1);
        Some(std::mem::take(&mut window.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_ten_lines_in_ten_seconds_and_the_next_one_tells_how_many_were_left_out() {
        let hush = Hush::default();
        let start = Instant::now();
        let said = |from: u64, count: u64, line| -> Vec<u64> {
            let all = (0..count).map(|n| start + Duration::from_millis(from + n));
            all.filter_map(|now| hush.may_say(line, now)).collect()
        };
        assert_eq!(said(0, 1_000, Line::Refused), [0; 10]);
        assert_eq!(said(1_000, 3, Line::Service), [0; 3], "each kind by itself");
        assert!(said(9_000, 999, Line::Refused).is_empty());
        assert_eq!(said(10_000, 2, Line::Refused), [990 + 999, 0]);
    }
}

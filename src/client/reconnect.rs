//! How long to wait before the next attempt to reach a broker.
//!
//! Owns the back-off and nothing else: it is told the random number and returns a duration. Called by the socket
//! actor between two attempts.

use std::time::Duration;

/// The first pause.
pub(crate) const FIRST: Duration = Duration::from_millis(50);
/// The longest pause: a client is back within this time of its broker, however long the broker was away.
pub(crate) const LONGEST: Duration = Duration::from_secs(1);

/// The pause before attempt `attempt` (from 0), spread by `random` so that many clients do not come at once.
///
/// It doubles from [`FIRST`] to [`LONGEST`]; the upper half of each pause is random.
pub(crate) fn pause(attempt: u32, random: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX));
    let whole = doubled.min(LONGEST);
    let half = whole / 2;
    let share = f64::from(random) / f64::from(u32::MAX);
    half.saturating_add(half.mul_f64(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let table = [
            (0, 0, 25),
            (0, u32::MAX, 50),
            (1, u32::MAX, 100),
            (4, 0, 400),
            (4, u32::MAX, 800),
            (5, u32::MAX, 1000),
            (5, 0, 500),
            (100_000, u32::MAX, 1000),
            (u32::MAX, 0, 500),
        ];
        for (attempt, random, expected) in table {
            assert_eq!(
                pause(attempt, random).as_millis(),
                expected,
                "attempt {attempt}, random {random}"
            );
        }
    }

    #[test]
    fn no_pause_leaves_its_range() {
        for attempt in 0..40 {
            for random in [0, 1, u32::MAX / 3, u32::MAX - 1, u32::MAX] {
                let pause = pause(attempt, random);
                assert!(pause >= FIRST / 2 && pause <= LONGEST, "{pause:?}");
            }
        }
    }
}

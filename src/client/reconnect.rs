//! How long to wait before the next attempt to reach a broker.
//!
//! Owns the back-off and nothing else: it is told the random number and returns a duration. Called by the socket
//! actor between two attempts.

use super::link::ROUND_LIMIT;
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

/// The longest pause where another broker is expected at once, and how many there are of them: the first second's.
const PROMPT: Duration = Duration::from_millis(20);
const PROMPT_ATTEMPTS: u32 = 60;

/// The same where another broker is expected at once: short pauses for a second, then as [`pause`].
pub(crate) fn prompt_pause(attempt: u32, random: u32) -> Duration {
    match attempt.checked_sub(PROMPT_ATTEMPTS) {
        Some(later) => pause(later, random),
        None => {
            let half = PROMPT / 2;
            half.saturating_add(half.mul_f64(f64::from(random) / f64::from(u32::MAX)))
        }
    }
}

/// The longest first round where another broker is expected at once.
const FIRST_ROUND: Duration = Duration::from_millis(250);

/// What round `attempt` (from 0) over all endpoints may take where another broker is expected at once: who answers nothing may be a socket that
/// a process has left to its child. The next round is twice as long, for a broker that only has much to do.
pub(crate) fn prompt_round(attempt: u32) -> Duration {
    FIRST_ROUND
        .saturating_mul(1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX))
        .min(ROUND_LIMIT)
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
    fn where_a_broker_is_expected_pauses_are_short_for_a_second() {
        let table = [
            (0, 0, 10),
            (0, u32::MAX, 20),
            (59, 0, 10),
            (59, u32::MAX, 20),
            (60, 0, 25),
            (61, u32::MAX, 100),
            (u32::MAX, 0, 500),
        ];
        for (attempt, random, expected) in table {
            assert_eq!(
                prompt_pause(attempt, random).as_millis(),
                expected,
                "{attempt} {random}"
            );
        }
        let shortest: Duration = (0..PROMPT_ATTEMPTS).map(|attempt| prompt_pause(attempt, 0)).sum();
        let longest: Duration = (0..PROMPT_ATTEMPTS)
            .map(|attempt| prompt_pause(attempt, u32::MAX))
            .sum();
        assert!(shortest <= Duration::from_secs(1) && longest >= Duration::from_secs(1));
    }

    #[test]
    fn rounds_double_up_to_the_longest() {
        let found: Vec<u128> = [0, 1, 4, 5, u32::MAX].map(|n| prompt_round(n).as_millis()).into();
        assert_eq!(found, [250, 500, 4_000, 5_000, 5_000]);
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

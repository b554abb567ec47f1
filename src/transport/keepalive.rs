//! When a silent peer is asked whether it is still there, and when it is given up.
//!
//! Owns the count of silent intervals; knows no socket, no frame and no clock: `now` comes in. The kernel's own keep-alive does
//! not see everything: it is answered by whatever ends the TCP connection, such as a tunnel or a proxy whose other half is
//! dead, and it rests while bytes wait to be taken. Used by the broker's connections and by the client's socket, over TCP only:
//! of every other transport the system tells when the peer has gone.

use std::time::{Duration, Instant};

/// Questions without any byte in return after which the peer has gone.
pub const QUESTIONS: u32 = 2;

/// The silence of one connection. A peer is asked when a whole interval brought nothing, again after the next one, and is
/// given up at the end of the third: at most four intervals after its last byte.
#[derive(Debug)]
pub struct Keepalive {
    every: Duration,
    next: Instant,
    heard: bool,
    asked: u32,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before [`Keepalive::next`].
    Nothing,
    /// Send a Ping; any byte is an answer.
    Ask,
    /// It has gone.
    Lost,
}

impl Keepalive {
    /// For a connection that begins `now`; `None` when `every` is 0, which turns it off.
    #[must_use]
    pub fn new(every: Duration, now: Instant) -> Option<Self> {
        let next = now.checked_add(every)?;
        (!every.is_zero()).then_some(Self {
            every,
            next,
            heard: false,
            asked: 0,
        })
    }

    /// The peer has sent something. Costs no look at the clock.
    pub const fn heard(&mut self) {
        self.heard = true;
    }

    /// When to look again.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// Looks. Late calls count as one interval: a process that was stopped itself must not give its peers up.
    pub fn due(&mut self, now: Instant) -> Due {
        if now < self.next {
            return Due::Nothing;
        }
        // Past the end of the clock there is no next interval.
        let Some(next) = now.checked_add(self.every) else {
            return Due::Nothing;
        };
        self.next = next;
        if std::mem::take(&mut self.heard) {
            self.asked = 0;
            return Due::Nothing;
        }
        if self.asked >= QUESTIONS {
            return Due::Lost;
        }
        self.asked = self.asked.saturating_add(1);
        Due::Ask
    }

    /// After how much silence a peer is given up at the latest, for messages.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.every.saturating_mul(QUESTIONS.saturating_add(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(15);

    #[test]
    fn silence_is_asked_twice_and_ends_within_four_intervals() {
        // Whether something was heard in each interval, and what is due at its end.
        let cases: &[(&[bool], &[Due])] = &[
            (&[false, false, false], &[Due::Ask, Due::Ask, Due::Lost]),
            (
                &[true, false, false, false],
                &[Due::Nothing, Due::Ask, Due::Ask, Due::Lost],
            ),
            (
                &[false, false, true, false, false, false],
                &[Due::Ask, Due::Ask, Due::Nothing, Due::Ask, Due::Ask, Due::Lost],
            ),
        ];
        for (heard, expected) in cases {
            let start = Instant::now();
            let mut silence = Keepalive::new(EVERY, start).unwrap();
            let mut now = start;
            let mut found = Vec::new();
            for heard in *heard {
                if *heard {
                    silence.heard();
                }
                assert_eq!(silence.due(now + EVERY / 2), Due::Nothing);
                now += EVERY;
                found.push(silence.due(now));
            }
            assert_eq!(found, *expected);
            // The last byte may have come at the very start of its interval.
            let last = heard.iter().rposition(|heard| *heard).unwrap_or(0);
            assert!(now - (start + EVERY * u32::try_from(last).unwrap()) <= silence.patience());
        }
    }

    #[test]
    fn who_was_stopped_itself_asks_before_it_gives_up() {
        let start = Instant::now();
        let mut silence = Keepalive::new(EVERY, start).unwrap();
        let late = start + EVERY * 100;
        assert_eq!(silence.due(late), Due::Ask);
        assert_eq!(silence.due(late), Due::Nothing);
        assert_eq!(silence.next(), late + EVERY);
    }

    #[test]
    fn no_interval_turns_it_off() {
        assert!(Keepalive::new(Duration::ZERO, Instant::now()).is_none());
    }
}

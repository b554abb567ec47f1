//! Which tokens the broker knows, and how many wrong ones it has seen, those of a label bus included.
//!
//! Owns the list (a name for each token) and the account of failures by source. Pure: no file, no clock, no socket.
//! `broker` gives it the tokens, `connection` asks it.

use crate::message::Token;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Failures of one source within [`WINDOW`] that are answered at once.
pub const FAILURES: u32 = 5;
/// See [`FAILURES`].
pub const WINDOW: Duration = Duration::from_secs(60);
/// How long the answer to each further failure waits.
pub const DELAY: Duration = Duration::from_secs(1);
/// Sources whose failures are counted; when there are more, all others wait.
const SOURCES: usize = 1_024;

/// Tokens with the names that they prove.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    known: Vec<(Box<str>, Token)>,
}

impl Tokens {
    /// None: nobody can come in by a token.
    #[must_use]
    pub const fn new() -> Self {
        Self { known: Vec::new() }
    }

    /// Whoever shows `token` is `name` from now on. Several tokens may prove one name, so that one can take over from
    /// another.
    pub fn insert(&mut self, name: &str, token: Token) {
        self.known.push((name.into(), token));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whose token it is. Every token is compared to its end, so that the time tells nothing of any.
    #[must_use]
    pub fn owner(&self, shown: &Token) -> Option<&str> {
        let mut owner = None;
        for (name, token) in &self.known {
            if bool::from(token.bytes().ct_eq(shown.bytes())) {
                owner = Some(name.as_ref());
            }
        }
        owner
    }
}

/// For whom failures are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address of the network.
    Address(IpAddr),
    /// A user of this machine.
    User(u32),
}

/// Counts failures by source.
#[derive(Debug, Default)]
pub struct Failures {
    seen: HashMap<Source, (Instant, u32)>,
}

impl Failures {
    /// One more failure of `source`: how long its answer is to wait.
    pub fn delay(&mut self, source: Option<Source>, now: Instant) -> Duration {
        let Some(source) = source else { return DELAY };
        let fresh = |since: Instant| now.saturating_duration_since(since) < WINDOW;
        if self.seen.len() >= SOURCES && !self.seen.contains_key(&source) {
            self.seen.retain(|_, (since, _)| fresh(*since));
            if self.seen.len() >= SOURCES {
                return DELAY;
            }
        }
        let (since, count) = self.seen.entry(source).or_insert((now, 0));
        if !fresh(*since) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > FAILURES { DELAY } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_owner_and_others_have_none() {
        let mut tokens = Tokens::new();
        assert_eq!(tokens.owner(&Token::new([0; 32])), None);
        for (name, fill) in [("a", 1), ("b", 2), ("a", 3)] {
            tokens.insert(name, Token::new([fill; 32]));
        }
        let cases = [
            (1, Some("a")),
            (2, Some("b")),
            (3, Some("a")),
            (4, None),
            (0, None),
        ];
        for (fill, owner) in cases {
            assert_eq!(tokens.owner(&Token::new([fill; 32])), owner, "{fill}");
        }
        // Every single bit counts.
        for bit in 0..256 {
            let mut bytes = [1_u8; 32];
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tokens.owner(&Token::new(bytes)), None, "bit {bit}");
        }
    }

    #[test]
    fn the_sixth_failure_in_a_minute_waits_and_others_do_not() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let (a, b) = (
            Some(Source::Address(IpAddr::from([127, 0, 0, 1]))),
            Some(Source::User(1000)),
        );
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..5 {
            assert_eq!(failures.delay(a, at(second)), Duration::ZERO, "{second}");
        }
        assert_eq!(failures.delay(a, at(5)), DELAY);
        assert_eq!(failures.delay(b, at(5)), Duration::ZERO);
        assert_eq!(failures.delay(a, at(59)), DELAY);
        assert_eq!(failures.delay(a, at(60)), Duration::ZERO, "a new minute");
    }

    #[test]
    fn many_sources_do_not_make_it_grow() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for source in 0..10_000_u32 {
            let expected = if source < 1_024 { Duration::ZERO } else { DELAY };
            assert_eq!(failures.delay(Some(Source::User(source)), now), expected);
        }
        assert_eq!(failures.seen.len(), SOURCES);
        let source = Some(Source::Address(IpAddr::from([9, 9, 9, 9])));
        assert_eq!(
            failures.delay(source, now + WINDOW),
            Duration::ZERO,
            "old ones are forgotten"
        );
        assert_eq!(failures.seen.len(), 1);
    }
}

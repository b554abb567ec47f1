//! What both binaries need to talk to people: text that cannot drive a terminal, and "did you mean".
//!
//! Owns the escaping rule for everything that came from a peer and the measure of likeness of names. It
//! refuses to know frames, settings and the broker. Called by the two binaries and by [`crate::settings`].

mod log;

pub use log::LogWriter;

use std::borrow::Cow;
use std::fmt::Write as _;

/// The longest name for which [`nearest`] looks for a likeness, in characters; the work grows with its square.
const LIKENESS_MAX: usize = 64;

/// Whether a character could change what a terminal shows of other text: control characters, and those that
/// reorder or break lines.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `text` with every character of [`is_unsafe`] written as an escape (`\n`, `\t`, `\r`, otherwise `\u{1b}`).
/// Borrows when there is nothing to escape.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unsafe(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The candidate most like `wanted`, when one is like enough to be a slip: at most a third of its letters
/// changed, added, dropped or swapped; letter case counts nothing.
#[must_use]
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().collect();
    if wanted.is_empty() || wanted.len() > LIKENESS_MAX {
        return None;
    }
    let allowed = wanted.len().div_ceil(3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LIKENESS_MAX.saturating_mul(4))
        .map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            (distance(&wanted, &letters), candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added, dropped or swapped with their neighbour to make `a` of `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        let mut left = i.saturating_add(1);
        row.push(left);
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX);
            let mut cost = at(&last, j).saturating_add(usize::from(x != y));
            cost = cost
                .min(left.saturating_add(1))
                .min(at(&last, j.saturating_add(1)).saturating_add(1));
            if let (Some(k), Some(h)) = (i.checked_sub(1), j.checked_sub(1))
                && a.get(k) == Some(y)
                && b.get(h) == Some(x)
            {
                cost = cost.min(at(&before, h).saturating_add(1));
            }
            row.push(cost);
            left = cost;
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_text_is_not() {
        let cases = [
            ("25.6°C", "25.6°C"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\x07\x7f", "\\u{7}\\u{7f}"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn slips_are_recognised() {
        let names = ["math", "sensor", "limits.outbox_bytes", "listen"];
        let cases = [
            ("mth", Some("math")),
            ("maht", Some("math")),
            ("MATH", Some("math")),
            ("sensors", Some("sensor")),
            ("limits.outbox_byte", Some("limits.outbox_bytes")),
            ("lsiten", Some("listen")),
            ("zebra", None),
            ("", None),
        ];
        for (wanted, expected) in cases {
            assert_eq!(nearest(wanted, names), expected, "{wanted}");
        }
    }

    #[test]
    fn distance_counts_a_swap_as_one() {
        let count =
            |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        let cases = [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ];
        for (a, b, expected) in cases {
            assert_eq!(count(a, b), expected, "{a} {b}");
        }
    }
}

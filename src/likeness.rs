//! "Did you mean": which of the names that exist is most like one that does not.
//!
//! Owns the measure of likeness. Pure; it refuses to know what the names are of. Asked for messages about settings, policies,
//! objects and commands.

/// The longest name for which [`nearest`] looks for a likeness, in characters; the work grows with its square.
const LIKENESS_MAX: usize = 64;

/// The candidate most like `wanted`, when one is like enough to be a slip: at most a third of its letters
/// changed, added, dropped or swapped; letter case counts nothing.
#[must_use]
#[cfg_attr(
    not(feature = "cli"),
    allow(unreachable_pub, reason = "the two programs use it as well")
)]
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().collect();
    if wanted.is_empty() || wanted.len() > LIKENESS_MAX {
        return None;
    }
    // Of four letters one: with two of them changed, every short word would be like any other.
    let allowed = wanted.len().saturating_add(1) / 3;
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
            ("math", Some("math")),
            ("mate", Some("math")),
            ("nope", None),
            ("meth0d", None),
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

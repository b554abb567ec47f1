//! Numbers, times and columns as people read them.
//!
//! Owns how each is rounded and how wide it may become. It knows nothing of brokers. Called by everything in this room.

use actix_ipc::terminal::printable;
use std::time::{SystemTime, UNIX_EPOCH};

/// With a comma between thousands: 1,234,567.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len().saturating_add(8));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How often a second: with a digit behind the point below 100, with commas above.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second == 0.0 {
        "0".to_owned()
    } else if per_second < 100.0 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

/// Bytes with a unit, three or four digits.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(power, _)| bytes >> power > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(power, unit)| {
            let value = bytes as f64 / (1_u64 << power) as f64;
            match value {
                value if value < 100.0 => format!("{value:.1} {unit}"),
                value => format!("{value:.0} {unit}"),
            }
        },
    )
}

/// A latency: 123 µs, 1.23 ms, 12.3 s.
pub(crate) fn micros(us: u64) -> String {
    let scaled = |value: f64, unit: &str| match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    };
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => scaled(us as f64 / 1e3, "ms"),
        _ => scaled(us as f64 / 1e6, "s"),
    }
}

/// How old something is, in its two largest units: 3 d 4 h, 12 min 5 s, 4.2 s.
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{:.1} s", ms as f64 / 1e3),
        60..3_600 => format!("{minutes} min {} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The time of day in UTC, to the microsecond.
pub(crate) fn time_of_day(unix_us: u64) -> String {
    let seconds = unix_us / 1_000_000;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{:06}", unix_us % 1_000_000)
}

/// The same to the second, of a time in milliseconds.
pub(crate) fn clock(unix_ms: u64) -> String {
    let text = time_of_day(unix_ms.saturating_mul(1_000));
    text.split('.').next().unwrap_or_default().to_owned()
}

/// Microseconds since 1970, now.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A peer's text, safe for a terminal; `-` for none.
pub(crate) fn safe(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        printable(text).into_owned()
    }
}

/// The number; `-` for none.
pub(crate) fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// At most so many characters, the last of them `…` when something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows below their headings, each column as wide as its widest cell.
pub(crate) fn table(headings: &[(&str, Side)], rows: &[Vec<String>]) -> String {
    let wide = |text: &str| text.chars().count();
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, (heading, _))| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| wide(cell))
                .chain([wide(heading)])
                .max()
                .unwrap_or_default()
        })
        .collect();
    let heading: Vec<String> = headings
        .iter()
        .map(|(heading, _)| (*heading).to_owned())
        .collect();
    let mut out = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::from(" ");
        for ((cell, width), (_, side)) in row.iter().zip(&widths).zip(headings) {
            line.push_str(&match side {
                Side::Left => format!("  {cell:width$}"),
                Side::Right => format!("  {cell:>width$}"),
            });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let counts = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        let rates = [(0.0, "0"), (0.26, "0.3"), (99.94, "99.9"), (1_234.6, "1,235")];
        for (number, text) in rates {
            assert_eq!(rate(number), text);
        }
        let sizes = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (200 << 20, "200 MiB"),
        ];
        for (number, text) in sizes {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn times() {
        let latencies = [
            (7, "7 µs"),
            (1_234, "1.23 ms"),
            (45_670, "45.7 ms"),
            (2_500_000, "2.50 s"),
            (400_000_000, "400 s"),
        ];
        for (us, text) in latencies {
            assert_eq!(micros(us), text);
        }
        let ages = [
            (50, "0.1 s"),
            (4_200, "4.2 s"),
            (725_000, "12 min 5 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ];
        for (ms, text) in ages {
            assert_eq!(age(ms), text);
        }
        assert_eq!(time_of_day(1_763_742_047_000_123), "16:20:47.000123");
        assert_eq!(clock(1_763_742_047_999), "16:20:47");
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["longer".to_owned(), "1,000".to_owned()],
        ];
        let text = table(&[("NAME", Side::Left), ("N", Side::Right)], &rows);
        assert_eq!(text, "   NAME        N\n   a           1\n   longer  1,000\n");
        assert_eq!(cut("exactly", 7), "exactly");
        assert_eq!(cut("too long", 4), "too…");
    }
}

//! Which limits make sense together.
//!
//! Owns the relations between the keys of `[limits]`; what each limit means is written at [`Limits`]. Called by `check`.

use crate::config::Limits;
use crate::message::frame::OVERHEAD_MAX;

/// Limits that must not be 0: nothing would work, or nothing would be noticed.
const ABOVE_ZERO: &[&str] = &[
    "connections",
    "default_deadline_ms",
    "frame_bytes",
    "frame_progress_ms",
    "handshake_ms",
    "max_deadline_ms",
    "message_bytes",
    "outbox_bytes",
    "panics_per_author",
    "publish_window",
    "read_bytes",
    "read_bytes_total",
    "stream_window",
];

/// The first of each pair is at most the second.
const AT_MOST: &[(&str, &str)] = &[
    ("default_deadline_ms", "max_deadline_ms"),
    ("frame_bytes", "message_bytes"),
    ("read_bytes", "read_bytes_total"),
    ("retained_bytes", "retained_bytes_total"),
];

/// Limits that are told to clients in 32 bits.
const ON_THE_WIRE: &[&str] = &[
    "frame_bytes",
    "message_bytes",
    "names",
    "open_calls",
    "publish_window",
    "stream_window",
    "subscriptions",
];

/// Complains of each relation that does not hold, under the key that somebody has `set`.
pub(super) fn check(limits: &Limits, set: &dyn Fn(&str) -> bool, complain: &mut dyn FnMut(&str, String)) {
    let numbers = serde_json::to_value(limits).unwrap_or_default();
    let value = |key: &str| {
        numbers
            .get(key)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_default()
    };
    let full = |key: &str| format!("limits.{key}");
    for key in ABOVE_ZERO.iter().filter(|key| value(key) == 0) {
        complain(&full(key), "must be above 0".into());
    }
    for (smaller, larger) in AT_MOST
        .iter()
        .filter(|(smaller, larger)| value(smaller) > value(larger))
    {
        let (low, high) = (value(smaller), value(larger));
        if set(&full(smaller)) || !set(&full(larger)) {
            complain(
                &full(smaller),
                format!("{low} is more than limits.{larger} {high}"),
            );
        } else {
            complain(
                &full(larger),
                format!("{high} is less than limits.{smaller} {low}"),
            );
        }
    }
    for key in ON_THE_WIRE {
        // A frame's body is its payload and what stands before it.
        let rest = if *key == "frame_bytes" { OVERHEAD_MAX } else { 0 };
        let most = u64::from(u32::MAX).saturating_sub(rest as u64);
        if value(key) > most {
            complain(
                &full(key),
                format!("{} is more than a frame can say, {most}", value(key)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_tables_exists() {
        let numbers = serde_json::to_value(Limits::default()).unwrap();
        let pairs = AT_MOST.iter().flat_map(|(smaller, larger)| [smaller, larger]);
        for key in ABOVE_ZERO.iter().chain(pairs).chain(ON_THE_WIRE) {
            assert!(numbers.get(key).is_some_and(serde_json::Value::is_u64), "{key}");
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_does_not_fit_the_wire_is_named() {
        let limits = Limits {
            stream_window: 1 << 32,
            message_bytes: u32::MAX as usize,
            frame_bytes: u32::MAX as usize,
            ..Limits::default()
        };
        let mut found = Vec::new();
        check(&limits, &|_| true, &mut |key, _| found.push(key.to_owned()));
        assert_eq!(found, ["limits.frame_bytes", "limits.stream_window"]);
    }
}

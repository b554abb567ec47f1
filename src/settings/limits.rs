//! Which limits make sense together.
//!
//! Owns the relations between the keys of `[limits]`; what each limit means is written at [`Limits`]. Called by `check`.

use crate::config::{CONNECTION_COST, Limits};
use crate::message::frame::OVERHEAD_MAX;
use crate::transport::ATTACHMENTS_MAX;
use crate::transport::ring::{RING_BYTES, is_ring_size};

/// Limits that must not be 0: nothing would work, or nothing would be noticed.
const ABOVE_ZERO: &[&str] = &[
    "connections",
    "default_deadline_ms",
    "descriptor_wait_ms",
    "dialect_document_bytes",
    "dialect_patience_ms",
    "endpoint_stall_ms",
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
    "user_part",
];

/// The first of each pair is at most the second.
const AT_MOST: &[(&str, &str)] = &[
    ("attachments", "descriptors"),
    ("default_deadline_ms", "max_deadline_ms"),
    ("descriptors", "descriptors_per_user"),
    ("descriptors_per_user", "descriptors_total"),
    ("endpoints", "endpoints_total"),
    ("frame_bytes", "message_bytes"),
    ("read_bytes", "read_bytes_total"),
];

/// Budgets that are shared, and what one process alone must get of each: half of one user's part.
const SHARED: &[(&str, Least)] = &[
    ("connections", Least::Number(1)),
    ("handshakes", Least::Number(1)),
    ("memory_bytes_total", Least::Number(CONNECTION_COST as u64)),
    ("memory_bytes_total", Least::Of("outbox_bytes")),
    ("memory_bytes_total", Least::Of("frame_bytes")),
    ("retained_bytes_total", Least::Of("retained_bytes")),
];

/// The least share of a process alone.
#[derive(Clone, Copy)]
enum Least {
    Number(u64),
    /// As much as this limit.
    Of(&'static str),
}

/// The most that `ring_bytes_total` may be: what 16,384 clients take of the largest size, more than any machine of today lends. A
/// larger one is a slip.
const RING_BYTES_TOTAL_MAX: u64 = 16_384 * 2 * RING_BYTES.1 as u64;

/// What a limit wants that is not any whole number; said of whatever else was written.
pub(super) fn wanted(key: &str) -> Option<String> {
    let (least, most) = RING_BYTES;
    match key {
        "limits.ring_bytes" => Some(format!("0 or a power of two from {least} to {most}")),
        "limits.ring_bytes_total" => Some(format!("a whole number from 0 to {RING_BYTES_TOTAL_MAX}")),
        _ => None,
    }
}

/// Limits that are told to clients in 32 bits.
const ON_THE_WIRE: &[&str] = &[
    "frame_bytes",
    "message_bytes",
    "names",
    "open_calls",
    "publish_window",
    "send_window",
    "stream_window",
    "subscriptions",
];

/// Limits that an account keeps in a `u32`, so that an idle connection holds little.
const KEPT_SMALL: &str = "outbox_bytes";

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
    check_shares(&value, set, complain);
    check_rings(&value, set, complain);
    if limits.attachments > ATTACHMENTS_MAX {
        let text = format!("at most {ATTACHMENTS_MAX}, not {}", limits.attachments);
        complain("limits.attachments", text);
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
    if value(KEPT_SMALL) > u64::from(u32::MAX) {
        let text = format!(
            "{} is more than a queue can have, {}",
            value(KEPT_SMALL),
            u32::MAX
        );
        complain(&full(KEPT_SMALL), text);
    }
}

/// What is shared must suffice for one process alone, and a queue for one publisher at full speed.
fn check_shares(
    value: &dyn Fn(&str) -> u64,
    set: &dyn Fn(&str) -> bool,
    complain: &mut dyn FnMut(&str, String),
) {
    let full = |key: &str| format!("limits.{key}");
    let parts = value("user_part").max(1).saturating_mul(2);
    for (key, least) in SHARED {
        let (total, share) = (value(key), value(key) / parts);
        match least {
            Least::Of(other) if value(other) > share && set(&full(other)) && !set(&full(key)) => complain(
                &full(other),
                format!(
                    "{} is more than one process alone gets of limits.{key}, {share}",
                    value(other)
                ),
            ),
            Least::Of(other) if value(other) > share => complain(
                &full(key),
                format!(
                    "{total} gives one process alone {share}, less than limits.{other} {}",
                    value(other)
                ),
            ),
            Least::Number(least) if *least > share => complain(
                &full(key),
                format!(
                    "{total} gives one process alone {share} (with limits.user_part); at least {least} must be"
                ),
            ),
            Least::Number(_) | Least::Of(_) => {}
        }
    }
    // An event is charged as its publish; four publishers at full speed fill a queue's share for events in one round.
    let quarter = value("outbox_bytes") / 4;
    if value("publish_window") > quarter {
        let key = if set("limits.publish_window") || !set("limits.outbox_bytes") {
            "limits.publish_window"
        } else {
            "limits.outbox_bytes"
        };
        complain(
            key,
            format!(
                "limits.publish_window {} is more than a quarter of limits.outbox_bytes, {quarter}: one publisher would overrun a subscriber's queue before it could be held",
                value("publish_window")
            ),
        );
    }
}

/// Shared memory is of a size that it can have, and there is some for one client.
fn check_rings(
    value: &dyn Fn(&str) -> u64,
    set: &dyn Fn(&str) -> bool,
    complain: &mut dyn FnMut(&str, String),
) {
    let (bytes, total) = (value("ring_bytes"), value("ring_bytes_total"));
    let full = "limits.ring_bytes_total";
    if total > RING_BYTES_TOTAL_MAX {
        complain(
            full,
            format!("wants {}, not {total}", wanted(full).unwrap_or_default()),
        );
    }
    if bytes == 0 {
        return;
    }
    if !u32::try_from(bytes).is_ok_and(is_ring_size) {
        let key = "limits.ring_bytes";
        return complain(
            key,
            format!("wants {}, not {bytes}", wanted(key).unwrap_or_default()),
        );
    }
    // One process gets half of all at most.
    let both = bytes.saturating_mul(2);
    if total / 2 >= both {
        return;
    }
    if set("limits.ring_bytes") || !set(full) {
        let text = format!(
            "both directions of {bytes} are {both} bytes, more than half of {full} {total}, which is the most that one process gets; to have no shared memory, set limits.ring_bytes to 0"
        );
        complain("limits.ring_bytes", text);
    } else {
        let text = format!(
            "half of {total}, the most that one process gets, is less than both directions of limits.ring_bytes, {both}; to have no shared memory, set limits.ring_bytes to 0"
        );
        complain(full, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_tables_exists() {
        let numbers = serde_json::to_value(Limits::default()).unwrap();
        let pairs = AT_MOST.iter().flat_map(|(smaller, larger)| [smaller, larger]);
        let shared = SHARED.iter().map(|(key, _)| key);
        for key in ABOVE_ZERO
            .iter()
            .chain(pairs)
            .chain(shared)
            .chain(ON_THE_WIRE)
            .chain([&KEPT_SMALL])
        {
            assert!(numbers.get(key).is_some_and(serde_json::Value::is_u64), "{key}");
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_does_not_fit_the_wire_is_named() {
        let limits = Limits {
            stream_window: 1 << 32,
            outbox_bytes: 1 << 32,
            message_bytes: u32::MAX as usize,
            frame_bytes: u32::MAX as usize,
            memory_bytes_total: 1 << 40,
            ..Limits::default()
        };
        let mut found = Vec::new();
        check(&limits, &|_| true, &mut |key, _| found.push(key.to_owned()));
        assert_eq!(
            found,
            [
                "limits.frame_bytes",
                "limits.stream_window",
                "limits.outbox_bytes"
            ]
        );
    }

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn shared_memory_has_a_size_that_it_can_have_and_fits_what_there_is() {
        // `ring_bytes`, `ring_bytes_total`, `memory_bytes_total`, the key that was set, the key that is complained of.
        #[rustfmt::skip]
        let cases = [
            (256 * KIB, 64 * MIB, 512 * MIB, "", ""),
            (0, 0, 512 * MIB, "", ""),
            (0, 7, 512 * MIB, "", ""),
            (64 * KIB, 256 * KIB, 512 * MIB, "", ""),
            (16 * MIB, 64 * MIB, 512 * MIB, "", ""),
            (1, 64 * MIB, 512 * MIB, "", "ring_bytes"),
            (32 * KIB, 64 * MIB, 512 * MIB, "", "ring_bytes"),
            (100_000, 64 * MIB, 512 * MIB, "", "ring_bytes"),
            (32 * MIB, 64 * MIB, 512 * MIB, "", "ring_bytes"),
            (256 * KIB, 1024 * KIB - 1, 512 * MIB, "", "ring_bytes"),
            (256 * KIB, 0, 512 * MIB, "ring_bytes_total", "ring_bytes_total"),
            (16 * MIB, 64 * MIB, 255 * MIB, "memory_bytes_total", ""),
            (256 * KIB, RING_BYTES_TOTAL_MAX as usize, 512 * MIB, "", ""),
            (256 * KIB, RING_BYTES_TOTAL_MAX as usize + 1, 512 * MIB, "", "ring_bytes_total"),
            (0, usize::MAX, 512 * MIB, "", "ring_bytes_total"),
        ];
        for (ring_bytes, ring_bytes_total, memory_bytes_total, set, expected) in cases {
            let limits = Limits {
                ring_bytes,
                ring_bytes_total,
                memory_bytes_total,
                ..Limits::default()
            };
            let mut found = Vec::new();
            let is_set = |key: &str| key.strip_prefix("limits.") == Some(set);
            check(&limits, &is_set, &mut |key, _| {
                found.push(key.replace("limits.", ""))
            });
            let expected: Vec<&str> = [expected].into_iter().filter(|key| !key.is_empty()).collect();
            assert_eq!(
                found, expected,
                "{ring_bytes} {ring_bytes_total} {memory_bytes_total}"
            );
        }
    }
}

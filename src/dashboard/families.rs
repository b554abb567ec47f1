//! Which metrics there are, from what `sys.broker` says.
//!
//! Owns their names, their units and how many there may be. It reads the four answers as JSON and takes what is missing for nothing: an older
//! broker says less. `docs/dashboard.md` has the table. Called by `routes`.

use super::exposition::{Exposition, Kind, Label};
use crate::metrics::Metrics;
use crate::text::printable;
use serde_json::Value;
use std::collections::BTreeSet;

/// Before every name.
const PREFIX: &str = "ipc_broker_";
/// The row of all objects that have none of their own, those that are gone among them.
const OTHERS: &str = "sys.others";
/// Objects with series of their own, and keys of topics: those with most traffic. The others are counted in the sums only, so that who makes
/// up names cannot fill a database.
const SERIES_MAX: usize = 100;
/// The upper ends of the buckets of latencies, in microseconds and in seconds as Prometheus writes them.
const BUCKETS: [(u64, &str); 19] = [
    (10, "0.00001"),
    (25, "0.000025"),
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// Everything, from the answers to `status`, `connections`, `objects` and `topics`.
pub(super) fn text(answers: &[Value]) -> String {
    let mut out = Exposition::default();
    let nothing = Value::Null;
    let mut answers = answers.iter();
    let mut next = || answers.next().unwrap_or(&nothing);
    let (status, connections, objects, topics) = (next(), next(), next(), next());
    broker(&mut out, status);
    process(&mut out, status);
    counters(&mut out, status);
    levels(&mut out, status);
    totals(&mut out, status);
    standings(&mut out, connections);
    of_objects(&mut out, objects);
    of_topics(&mut out, topics);
    out.text()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn rows<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1_000, milliseconds % 1_000)
}

fn broker(out: &mut Exposition, status: &Value) {
    let name = "ipc_broker_info";
    out.family(
        name,
        Kind::Gauge,
        "The broker: its version, its protocol and the name of this life of it.",
    );
    let protocol = number(status, "protocol").to_string();
    let labels = [
        ("version", string(status, "version")),
        ("protocol", &protocol),
        ("epoch", string(status, "epoch")),
    ];
    out.sample(name, &labels, 1);
    let uptime = seconds(number(status, "uptime_ms"));
    out.single(
        "ipc_broker_uptime_seconds",
        Kind::Gauge,
        "Seconds since the broker started.",
        uptime,
    );
    let name = "ipc_broker_restarts_total";
    out.family(
        name,
        Kind::Counter,
        "Times a core actor was restarted after a panic.",
    );
    let restarts = status.get("restarts").unwrap_or(&Value::Null);
    for actor in ["registry", "topic_hub"] {
        out.sample(name, &[("actor", actor)], number(restarts, actor));
    }
    let help = "Monitors that watch the traffic.";
    out.single(
        "ipc_broker_monitors",
        Kind::Gauge,
        help,
        number(status, "monitors"),
    );
}

/// The broker's process under the names that all clients of Prometheus give theirs. What its system does not tell has no series.
fn process(out: &mut Exposition, status: &Value) {
    let process = status.get("process").unwrap_or(&Value::Null);
    let known = |key: &str| process.get(key).and_then(Value::as_u64);
    if let Some(micros) = known("cpu_us") {
        let help = "Processor time that the broker's process has used, in seconds.";
        let spent = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        out.single("process_cpu_seconds_total", Kind::Counter, help, spent);
    }
    let levels = [
        (
            "resident_bytes",
            "process_resident_memory_bytes",
            "Memory that it has, in bytes.",
        ),
        (
            "virtual_bytes",
            "process_virtual_memory_bytes",
            "Addresses that it has, in bytes.",
        ),
        ("open_files", "process_open_fds", "Descriptors that it has open."),
        (
            "open_files_limit",
            "process_max_fds",
            "Descriptors that it may have open.",
        ),
    ];
    for (key, name, help) in levels {
        if let Some(value) = known(key) {
            out.single(name, Kind::Gauge, help, value);
        }
    }
    if let Some(started) = known("started_unix_ms") {
        let help = "When it was started, in seconds since 1970.";
        out.single("process_start_time_seconds", Kind::Gauge, help, seconds(started));
    }
}

/// Counters that have a family of their own.
const ELSEWHERE: [&str; 2] = ["registry_restarts", "topic_hub_restarts"];

/// Every other counter of `metrics.rs`; a level says in its description that it is one.
fn counters(out: &mut Exposition, status: &Value) {
    let metrics = status.get("metrics").unwrap_or(&Value::Null);
    let others = Metrics::DESCRIPTIONS
        .iter()
        .filter(|(name, _)| !ELSEWHERE.contains(name));
    for (name, help) in others {
        let value = number(metrics, name);
        if is_level(help) {
            out.single(&format!("{PREFIX}{name}"), Kind::Gauge, help, value);
        } else {
            out.single(&format!("{PREFIX}{name}_total"), Kind::Counter, help, value);
        }
    }
}

fn is_level(help: &str) -> bool {
    help.to_lowercase().contains("a level")
}

fn levels(out: &mut Exposition, status: &Value) {
    let helps = [
        ("connections", "Connections that live, handshake done or not."),
        ("locals", "Actors of the broker's process that are peers."),
        (
            "charged_connections",
            "Connections that are charged to a user (limits.connections).",
        ),
        (
            "charged_handshakes",
            "Connections before their welcome (limits.handshakes).",
        ),
        (
            "charged_memory_bytes",
            "Bytes that are charged to users (limits.memory_bytes_total).",
        ),
        (
            "read_bytes",
            "Bytes that were read and are not handled (limits.read_bytes_total).",
        ),
        (
            "descriptors",
            "Descriptors that were received and are not sent on (limits.descriptors_total).",
        ),
        (
            "ring_bytes",
            "Bytes of memory that is shared with clients (limits.ring_bytes_total).",
        ),
    ];
    let levels = status.get("levels").unwrap_or(&Value::Null);
    for (name, help) in helps {
        out.single(
            &format!("{PREFIX}{name}"),
            Kind::Gauge,
            help,
            number(levels, name),
        );
    }
    let accounts = status.get("accounts").and_then(Value::as_object);
    let families = [
        ("held", "budget_held", "What all users have of a budget together."),
        ("limit", "budget_limit", "How large a budget is."),
        ("users", "budget_users", "Users that have something of a budget."),
        (
            "processes",
            "budget_processes",
            "Processes that have something of a budget.",
        ),
    ];
    for (key, family, help) in families {
        let name = format!("{PREFIX}{family}");
        out.family(&name, Kind::Gauge, help);
        for (budget, held) in accounts.into_iter().flatten() {
            out.sample(&name, &[("budget", budget)], number(held, key));
        }
    }
}

fn totals(out: &mut Exposition, status: &Value) {
    let totals = status.get("totals").unwrap_or(&Value::Null);
    let gauges = [
        ("objects", "objects", "Names that are registered."),
        (
            "topics",
            "topics",
            "Keys that somebody subscribes: topics and patterns.",
        ),
        ("subscriptions", "subscriptions", "Subscriptions."),
        (
            "open",
            "calls_open",
            "Calls that were given to an owner and are not answered.",
        ),
    ];
    for (key, name, help) in gauges {
        out.single(&format!("{PREFIX}{name}"), Kind::Gauge, help, number(totals, key));
    }
    let counters = [
        (
            "calls",
            "calls_total",
            "Calls that were given to an owner, of all objects that there ever were.",
        ),
        (
            "errors",
            "call_errors_total",
            "Calls that ended with an error or were cancelled.",
        ),
    ];
    for (key, name, help) in counters {
        out.single(
            &format!("{PREFIX}{name}"),
            Kind::Counter,
            help,
            number(totals, key),
        );
    }
}

/// Connections come and go, and each would be series of its own: their sums only.
fn standings(out: &mut Exposition, connections: &Value) {
    let rows = rows(connections, "connections");
    let name = "ipc_broker_peers";
    out.family(name, Kind::Gauge, "Peers by how they keep up with their events.");
    for standing in ["ok", "holding", "lagging"] {
        let count = rows
            .iter()
            .filter(|row| string(row, "standing") == standing)
            .count();
        out.sample(name, &[("standing", standing)], count);
    }
    let sums = [
        (
            "queued_bytes",
            "peers_queued_bytes",
            "Bytes that wait to be written to peers.",
        ),
        (
            "event_bytes",
            "peers_event_bytes",
            "Bytes of events that wait to be written to peers.",
        ),
        (
            "owes",
            "peers_owed_calls",
            "Calls that peers were given and have not answered.",
        ),
        (
            "memory_bytes",
            "peers_memory_bytes",
            "Bytes that are charged to peers.",
        ),
    ];
    for (key, name, help) in sums {
        let sum = rows
            .iter()
            .fold(0_u64, |sum, row| sum.saturating_add(number(row, key)));
        out.single(&format!("{PREFIX}{name}"), Kind::Gauge, help, sum);
    }
}

fn of_objects(out: &mut Exposition, objects: &Value) {
    // What has no row of its own comes and goes in its sum: as a series it would be calls that never were.
    let rest = |row: &&Value| string(row, "name") != OTHERS;
    let all: Vec<Value> = rows(objects, "objects").iter().filter(rest).cloned().collect();
    let shown = series(&all, |row| printable(string(row, "name")));
    let families = [
        (
            "calls",
            "object_calls_total",
            Kind::Counter,
            "Calls that were given to an owner of the object.",
        ),
        (
            "errors",
            "object_errors_total",
            Kind::Counter,
            "Calls of the object that ended with an error or were cancelled.",
        ),
        (
            "refused",
            "object_refused_total",
            Kind::Counter,
            "Calls of the object that its owner was not given: its queue was full, or it does not take what is attached.",
        ),
        (
            "bytes",
            "object_bytes_total",
            Kind::Counter,
            "Bytes of the payloads of calls of the object.",
        ),
        (
            "open",
            "object_calls_open",
            Kind::Gauge,
            "Calls of the object that are not answered.",
        ),
        (
            "members",
            "object_members",
            Kind::Gauge,
            "Peers that serve the object.",
        ),
        (
            "queued",
            "object_queued",
            Kind::Gauge,
            "Peers that wait to own the object.",
        ),
    ];
    for (key, family, kind, help) in families {
        let name = format!("{PREFIX}{family}");
        out.family(&name, kind, help);
        for row in &shown {
            out.sample(&name, &[("object", string(row, "name"))], number(row, key));
        }
    }
    let help = "From the moment when its owner took the call to its last answer.";
    out.family("ipc_broker_object_latency_seconds", Kind::Histogram, help);
    for row in &shown {
        latency(out, row);
    }
    let left_out = number(objects, "left_out").saturating_add(left(all.len(), shown.len()));
    let help = "Objects without series of their own.";
    out.single("ipc_broker_objects_left_out", Kind::Gauge, help, left_out);
}

/// The rows that have series. Two names that are shown alike would be one series with two values: the first one has it.
fn series<'a, K: Ord>(rows: &'a [Value], shown: impl Fn(&'a Value) -> K) -> Vec<&'a Value> {
    let mut seen = BTreeSet::new();
    let once = rows.iter().filter(|row| seen.insert(shown(row)));
    once.take(SERIES_MAX).collect()
}

fn left(rows: usize, shown: usize) -> u64 {
    u64::try_from(rows.saturating_sub(shown)).unwrap_or(u64::MAX)
}

/// The broker's finer buckets, gathered: one is counted where all of it lies, so a latency is never shown shorter than it was.
fn latency(out: &mut Exposition, row: &Value) {
    let name = string(row, "name");
    let buckets: Vec<(u64, u64)> = rows(row, "histogram")
        .iter()
        .filter_map(|bucket| Some((bucket.get(0)?.as_u64()?, bucket.get(1)?.as_u64()?)))
        .collect();
    let up_to = |most: u64| -> u64 {
        let below = buckets.iter().filter(|(upper, _)| *upper <= most);
        below.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    };
    for (most, end) in BUCKETS {
        let labels: [Label<'_>; 2] = [("object", name), ("le", end)];
        out.sample("ipc_broker_object_latency_seconds_bucket", &labels, up_to(most));
    }
    let count = up_to(u64::MAX);
    let labels: [Label<'_>; 2] = [("object", name), ("le", "+Inf")];
    out.sample("ipc_broker_object_latency_seconds_bucket", &labels, count);
    // Without the exact sum, each call counts as its bucket's upper end.
    let sum = row.get("sum_us").and_then(Value::as_u64).unwrap_or_else(|| {
        buckets.iter().fold(0, |sum: u64, (upper, count)| {
            sum.saturating_add(upper.saturating_mul(*count))
        })
    });
    let sum = format!("{}.{:06}", sum / 1_000_000, sum % 1_000_000);
    out.sample("ipc_broker_object_latency_seconds_sum", &[("object", name)], sum);
    out.sample(
        "ipc_broker_object_latency_seconds_count",
        &[("object", name)],
        count,
    );
}

fn of_topics(out: &mut Exposition, topics: &Value) {
    let all = rows(topics, "topics");
    let is_pattern = |row: &Value| row.get("pattern").and_then(Value::as_bool) == Some(true);
    let shown = series(all, |row| {
        let names = [string(row, "object"), string(row, "topic")];
        (names.map(printable), is_pattern(row))
    });
    let families = [
        (
            "events",
            "topic_events_total",
            Kind::Counter,
            "Events that a subscribed key selected.",
        ),
        (
            "subscribers",
            "topic_subscribers",
            Kind::Gauge,
            "Subscriptions of the key.",
        ),
    ];
    for (key, family, kind, help) in families {
        let name = format!("{PREFIX}{family}");
        out.family(&name, kind, help);
        for row in &shown {
            let labels = [
                ("object", string(row, "object")),
                ("topic", string(row, "topic")),
                ("pattern", if is_pattern(row) { "true" } else { "false" }),
            ];
            out.sample(&name, &labels, number(row, key));
        }
    }
    let help = "Events that no subscription selected.";
    out.single(
        "ipc_broker_events_unheard_total",
        Kind::Counter,
        help,
        number(topics, "unheard"),
    );
    let help = "Values that are kept for later subscribers.";
    out.single(
        "ipc_broker_retained_values",
        Kind::Gauge,
        help,
        number(topics, "retained"),
    );
    let left_out = number(topics, "left_out").saturating_add(left(all.len(), shown.len()));
    let help = "Keys of topics without series of their own.";
    out.single("ipc_broker_topics_left_out", Kind::Gauge, help, left_out);
}

#[cfg(test)]
#[path = "families_tests.rs"]
mod tests;

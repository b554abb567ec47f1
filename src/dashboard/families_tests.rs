//! What the metrics say, read by a small strict parser of the format, for answers that a broker gives and for hostile ones.

use super::*;
use crate::metrics::Metrics;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// One family as it was read.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// Name and labels of a sample, and its value.
    samples: BTreeMap<(String, Vec<(String, String)>), f64>,
}

/// Reads the format as its description says, and fails on everything else: order, escapes, duplicates, names.
#[track_caller]
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut lines = text.lines();
    assert!(text.ends_with('\n') && !text.contains('\r'));
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a text");
            assert!(is_name(name) && !help.is_empty(), "{line}");
            let kind = lines
                .next()
                .unwrap()
                .strip_prefix("# TYPE ")
                .expect("a type behind the help");
            let (of, kind) = kind.split_once(' ').unwrap();
            assert_eq!(of, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            let family = Family {
                kind: kind.to_owned(),
                ..Family::default()
            };
            assert!(
                families.insert(name.to_owned(), family).is_none(),
                "{name} is there twice"
            );
            current = name.to_owned();
            continue;
        }
        let (name, labels, value) = sample(line);
        let family = families.get_mut(&current).expect("a family before its samples");
        let allowed: &[&str] = match family.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(
            allowed.iter().any(|ending| name == format!("{current}{ending}")),
            "{name} in {current}"
        );
        assert!(
            family.samples.insert((name, labels), value).is_none(),
            "twice: {line}"
        );
    }
    families
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

#[track_caller]
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                let (at, c) = chars.next().expect("a closing quote");
                match c {
                    '"' => break at,
                    '\\' => match chars.next().expect("an escape").1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        other => panic!("no escape: {other:?} in {line}"),
                    },
                    c => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = after.get(end + 1..).unwrap();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("a closing brace");
    }
    let value = rest.strip_prefix(' ').expect("one blank");
    assert!(!value.contains(' '), "no time behind the value: {line}");
    (name.to_owned(), labels, value.parse().expect("a number"))
}

fn one(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let family = families
        .iter()
        .filter(|(family, _)| name.starts_with(family.as_str()))
        .max_by_key(|(family, _)| family.len())
        .unwrap_or_else(|| panic!("no family {name}"))
        .1;
    let labels = labels
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect();
    let key = (name.to_owned(), labels);
    *family
        .samples
        .get(&key)
        .unwrap_or_else(|| panic!("no {key:?} in {family:#?}"))
}

fn answers() -> Vec<Value> {
    let status = json!({
        "epoch": "ab", "version": "1.2.3", "protocol": 1, "pid": 7, "uptime_ms": 61_005,
        "metrics": { "calls_routed": 12, "rings": 3 },
        "accounts": { "connections": { "held": 2, "limit": 9, "users": 1, "processes": 2 } },
        "levels": { "connections": 4, "ring_bytes": 65_536 },
        "restarts": { "registry": 2, "topic_hub": 0 }, "monitors": 1,
        "totals": { "objects": 3, "topics": 2, "subscriptions": 5, "calls": 10, "errors": 1, "open": 2 },
    });
    let connections = json!({ "connections": [
        { "peer": 1, "queued_bytes": 10, "event_bytes": 4, "owes": 1, "standing": "ok" },
        { "peer": 2, "queued_bytes": 32, "event_bytes": 8, "owes": 2, "standing": "lagging" },
    ] });
    let objects = json!({ "left_out": 1, "objects": [
        { "name": "math", "calls": 9, "errors": 1, "bytes": 64, "open": 0, "members": 2, "queued": 1,
          "sum_us": 2_500_001, "histogram": [[8, 1], [11, 2], [90, 3], [20_000_000, 2]] },
        { "name": "</script>\"\\\n\u{202e}x", "calls": 1, "errors": 0, "histogram": [] },
    ] });
    let topics = json!({ "unheard": 6, "retained": 2, "left_out": 0, "topics": [
        { "object": "sensor", "topic": "*", "pattern": true, "subscribers": 2, "events": 100 },
        { "object": "sensor", "topic": "*", "pattern": false, "subscribers": 1, "events": 3 },
    ] });
    vec![status, connections, objects, topics]
}

#[test]
fn every_number_has_its_place() {
    let families = parse(&text(&answers()));
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);
    let table: [Row<'_>; 22] = [
        (
            "ipc_broker_info",
            &[("version", "1.2.3"), ("protocol", "1"), ("epoch", "ab")],
            1.0,
        ),
        ("ipc_broker_uptime_seconds", &[], 61.005),
        ("ipc_broker_restarts_total", &[("actor", "registry")], 2.0),
        ("ipc_broker_monitors", &[], 1.0),
        ("ipc_broker_calls_routed_total", &[], 12.0),
        ("ipc_broker_rings", &[], 3.0),
        ("ipc_broker_connections", &[], 4.0),
        ("ipc_broker_ring_bytes", &[], 65_536.0),
        ("ipc_broker_budget_limit", &[("budget", "connections")], 9.0),
        ("ipc_broker_subscriptions", &[], 5.0),
        ("ipc_broker_calls_total", &[], 10.0),
        ("ipc_broker_call_errors_total", &[], 1.0),
        ("ipc_broker_peers", &[("standing", "lagging")], 1.0),
        ("ipc_broker_peers_queued_bytes", &[], 42.0),
        ("ipc_broker_peers_owed_calls", &[], 3.0),
        ("ipc_broker_object_calls_total", &[("object", "math")], 9.0),
        (
            "ipc_broker_object_calls_total",
            &[("object", "</script>\"\\\\n\\u{202e}x")],
            1.0,
        ),
        ("ipc_broker_objects_left_out", &[], 1.0),
        (
            "ipc_broker_topic_events_total",
            &[("object", "sensor"), ("topic", "*"), ("pattern", "true")],
            100.0,
        ),
        (
            "ipc_broker_topic_events_total",
            &[("object", "sensor"), ("topic", "*"), ("pattern", "false")],
            3.0,
        ),
        ("ipc_broker_events_unheard_total", &[], 6.0),
        ("ipc_broker_retained_values", &[], 2.0),
    ];
    for (name, labels, value) in table {
        assert_eq!(one(&families, name, labels), value, "{name} {labels:?}");
    }
}

#[test]
fn a_histogram_grows_and_its_end_is_its_count() {
    let families = parse(&text(&answers()));
    let name = "ipc_broker_object_latency_seconds";
    let bucket = |le: &str| {
        one(
            &families,
            &format!("{name}_bucket"),
            &[("object", "math"), ("le", le)],
        )
    };
    for (le, count) in [
        ("0.00001", 1.0),
        ("0.000025", 3.0),
        ("0.00005", 3.0),
        ("0.0001", 6.0),
        ("10", 6.0),
        ("+Inf", 8.0),
    ] {
        assert_eq!(bucket(le), count, "{le}");
    }
    let counts: Vec<f64> = BUCKETS.iter().map(|(_, le)| bucket(le)).collect();
    assert!(counts.is_sorted());
    assert_eq!(
        one(&families, &format!("{name}_count"), &[("object", "math")]),
        8.0
    );
    assert_eq!(
        one(&families, &format!("{name}_sum"), &[("object", "math")]),
        2.500_001
    );
    for (most, le) in BUCKETS {
        let told: f64 = le.parse().unwrap();
        assert!((told * 1e6 - most as f64).abs() < 1e-6, "{le}");
    }
}

#[test]
fn every_counter_is_there_with_what_it_says_of_itself() {
    let shown = text(&answers());
    let families = parse(&shown);
    let names: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    assert!(Metrics::DESCRIPTIONS.len() > 40);
    for (name, help) in Metrics::DESCRIPTIONS {
        if ELSEWHERE.contains(name) {
            assert!(!shown.contains(name), "{name} has a family of its own");
            continue;
        }
        let total = format!("ipc_broker_{name}_total");
        let level = format!("ipc_broker_{name}");
        assert_eq!(names.contains(total.as_str()), !is_level(help), "{name}: {help}");
        let name = if is_level(help) { level } else { total };
        assert!(
            shown.contains(&format!("# HELP {name} {}\n", help.trim())),
            "{name}"
        );
    }
    let snapshot = serde_json::to_value(Metrics::default().snapshot()).unwrap();
    let fields: BTreeSet<&str> = snapshot.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        Metrics::DESCRIPTIONS.iter().map(|(name, _)| *name).collect()
    );
}

#[test]
fn the_process_has_the_names_that_everybody_gives_it_where_they_are_known() {
    let mut all = answers();
    all[0]["process"] = json!({
        "cpu_us": 1_500_002, "resident_bytes": 7, "virtual_bytes": 8, "open_files": 9,
        "open_files_limit": null, "started_unix_ms": 1_763_742_047_250_u64,
    });
    let shown = text(&all);
    for line in [
        "process_cpu_seconds_total 1.500002",
        "process_resident_memory_bytes 7",
        "process_virtual_memory_bytes 8",
        "process_open_fds 9",
        "process_start_time_seconds 1763742047.250",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}");
    }
    assert!(!shown.contains("process_max_fds"), "not known");
    parse(&shown);
}

#[test]
fn what_has_no_row_of_its_own_is_no_series() {
    let mut all = answers();
    all[2] = json!({ "objects": [{ "name": "sys.others", "calls": 7 }, { "name": "a", "calls": 1 }] });
    let families = parse(&text(&all));
    assert_eq!(families["ipc_broker_object_calls_total"].samples.len(), 1);
}

#[test]
fn made_up_names_cannot_fill_a_database() {
    let objects: Vec<Value> = (0..1_000)
        .map(|i| json!({ "name": format!("o{i}"), "calls": 1_000 - i }))
        .collect();
    let topics: Vec<Value> = (0..1_000)
        .map(|i| json!({ "object": "o", "topic": format!("t{i}"), "events": 1_000 - i }))
        .collect();
    let mut answers = answers();
    answers[2] = json!({ "objects": objects, "left_out": 5 });
    answers[3] = json!({ "topics": topics });
    let families = parse(&text(&answers));
    assert_eq!(
        families["ipc_broker_object_calls_total"].samples.len(),
        SERIES_MAX
    );
    assert_eq!(
        families["ipc_broker_topic_events_total"].samples.len(),
        SERIES_MAX
    );
    let series = SERIES_MAX * (BUCKETS.len() + 3);
    assert_eq!(
        families["ipc_broker_object_latency_seconds"].samples.len(),
        series
    );
    assert_eq!(one(&families, "ipc_broker_objects_left_out", &[]), 905.0);
    assert_eq!(one(&families, "ipc_broker_topics_left_out", &[]), 900.0);
}

#[test]
fn names_that_are_shown_alike_are_one_series() {
    let named = |name: &str| json!({ "name": name, "calls": 1, "histogram": [[5, 1]] });
    let topic = |name: &str| json!({ "object": "o", "topic": name, "pattern": false, "events": 1 });
    let mut answers = answers();
    answers[2] = json!({ "objects": [named("a\u{202e}"), named("a\\u{202e}"), named("b")] });
    answers[3] = json!({ "topics": [topic("a\u{202e}"), topic("a\\u{202e}"), topic("b")] });
    let families = parse(&text(&answers));
    assert_eq!(one(&families, "ipc_broker_objects_left_out", &[]), 1.0);
    assert_eq!(one(&families, "ipc_broker_topics_left_out", &[]), 1.0);
}

#[test]
fn a_broker_that_says_nothing_is_no_trouble() {
    for answers in [
        vec![],
        vec![Value::Null; 4],
        vec![
            json!([1]),
            json!("x"),
            json!({"objects": 3}),
            json!({"topics": [1, {}]}),
        ],
    ] {
        let families = parse(&text(&answers));
        assert_eq!(one(&families, "ipc_broker_calls_total", &[]), 0.0);
    }
}

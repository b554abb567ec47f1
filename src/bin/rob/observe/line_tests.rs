//! Records of every kind as people see them.

use super::*;
use serde_json::{Value, json};

fn record(value: Value) -> Record {
    serde_json::from_value(value).unwrap()
}

const AT: u64 = 1_763_742_047_000_000;

#[test]
fn every_kind_has_its_line() {
    let table = [
        (
            json!({"at_us": AT, "kind": "call", "ticket": 9, "from": 7, "to": 8, "object": "math", "member": "add", "bytes": 12}),
            "16:20:47.000000  call      7 → 8        math.add                      12 B  #9",
        ),
        (
            json!({"at_us": AT + 150, "kind": "reply", "ticket": 9, "from": 8, "to": 7, "object": "math", "bytes": 3, "last": true, "us": 123}),
            "16:20:47.000150  reply     8 → 7        math.add                       3 B  #9  after 123 µs",
        ),
        (
            json!({"at_us": AT, "kind": "call", "ticket": 10, "from": 7, "to": null, "object": "mth", "member": "add", "bytes": 2_048}),
            "16:20:47.000000  call      7 → -        mth.add                    2.0 KiB  #10  nobody has the object",
        ),
        (
            json!({"at_us": AT + 40, "kind": "reply", "ticket": 10, "from": null, "to": 7, "object": "mth", "bytes": 0, "last": true,
                "error": "NoSuchObject", "text": "no object\n\"mth\""}),
            "16:20:47.000040  error     - → 7        mth.add                        0 B  #10  after 40 µs  NoSuchObject: no object\\n\"mth\"",
        ),
        (
            json!({"at_us": AT, "kind": "call", "ticket": 11, "from": 7, "to": 8, "object": "log", "member": "write", "bytes": 1, "one_way": true,
                "meta": {"traceparent": "00-ab"}}),
            "16:20:47.000000  one-way   7 → 8        log.write                      1 B  #11  traceparent=00-ab",
        ),
        (
            json!({"at_us": AT, "kind": "event", "from": 7, "object": "sensor", "member": "temperature", "bytes": 8, "subscribers": 2, "retain": true,
                "encoding": "json", "payload": "\"25\u{1b}[2J\"", "truncated": true}),
            "16:20:47.000000  event     7 → 2×       sensor.temperature             8 B  retained  \"25\\u{1b}[2J\"…",
        ),
        (
            json!({"at_us": AT, "kind": "event", "from": 7, "object": "raw", "member": "t", "bytes": 2, "subscribers": 0, "encoding": "postcard", "payload_hex": "0a0b"}),
            "16:20:47.000000  event     7 → 0×       raw.t                          2 B  postcard 0a0b",
        ),
        (
            json!({"at_us": AT, "kind": "presence", "what": "connected", "peer": 7, "pid": 12, "uid": 1000, "name": "demo"}),
            "16:20:47.000000  presence  7                                                connected  \"demo\" pid 12 uid 1000",
        ),
        (
            json!({"at_us": AT, "kind": "presence", "what": "subscribed", "peer": 7, "object": "sensor", "member": "**", "pattern": true}),
            "16:20:47.000000  presence  7            sensor.**                           subscribed (a pattern)",
        ),
        (
            json!({"at_us": AT, "kind": "\u{7}later"}),
            "16:20:47.000000  \\u{7}la…  - → -                                       0 B",
        ),
    ];
    let mut lines = Lines::new(false);
    for (value, expected) in table {
        assert_eq!(lines.line(&record(value)), format!("{expected}\n"));
    }
}

#[test]
fn items_of_a_stream_belong_to_their_call_until_the_last() {
    let mut lines = Lines::new(false);
    lines.line(&record(json!({"at_us": 0, "kind": "call", "ticket": 1, "from": 1, "to": 2, "object": "o", "member": "count"})));
    for (last, kind) in [(false, "item"), (false, "item"), (true, "reply")] {
        let line = lines.line(&record(json!({"at_us": 5, "kind": "reply", "ticket": 1, "from": 2, "to": 1, "object": "o", "last": last})));
        assert!(
            line.contains(kind) && line.contains("o.count") && line.contains("after 5 µs"),
            "{line}"
        );
    }
    let stray = lines.line(&record(
        json!({"at_us": 9, "kind": "reply", "ticket": 1, "from": 2, "to": 1, "object": "o", "last": true}),
    ));
    assert!(stray.contains("  o  ") && !stray.contains("after"), "{stray}");
}

#[test]
fn answers_of_another_broker_belong_to_none_of_the_calls_before() {
    let mut lines = Lines::new(false);
    lines.line(&record(
        json!({"at_us": 0, "kind": "call", "ticket": 1, "object": "o", "member": "m"}),
    ));
    lines.forget();
    let line = lines.line(&record(
        json!({"at_us": 5, "kind": "reply", "ticket": 1, "object": "o", "last": true}),
    ));
    assert!(!line.contains("o.m"), "{line}");
}

#[test]
fn columns_stay_where_they_are_with_long_names_and_colours() {
    let call = |member: &str| {
        record(
            json!({"at_us": 0, "kind": "call", "ticket": 1, "from": 1, "to": 2, "object": "object", "member": member}),
        )
    };
    let mut plain = Lines::new(false);
    plain.line(&call(&"m".repeat(300)));
    let after = plain.line(&call("short"));
    assert_eq!(
        after.chars().position(|c| c == '#'),
        Some(17 + 10 + 13 + SUBJECT_MAX + 2 + 8 + 2),
        "{after}"
    );
    let coloured = Lines::new(true).line(&call("m"));
    assert!(coloured.contains("\u{1b}[36mcall    \u{1b}[0m"), "{coloured:?}");
}

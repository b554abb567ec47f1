//! What came out, as a table for people and as one JSON object for programs.
//!
//! Owns the names of the figures, their units and how they are rounded; `docs/rob.md` says what they mean. Called by `bench`.

use super::latencies::Latencies;
use super::measure::{Measured, Side};
use crate::observe::words;
use serde_json::{Map, Value, json};

/// What the ratio compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ratio {
    /// The median of the broker by that of the floor: 1 is as fast, 2 takes twice as long.
    Latency,
    /// The rate of the broker by that of the floor: 1 is as fast, 0.5 half as fast.
    Rate,
}

/// The figures of one measurement.
#[derive(Debug)]
pub(super) struct Figures {
    /// `rpc`, `pubsub`, `bulk` or `idle`.
    pub(super) what: &'static str,
    /// What was asked for, as one line.
    pub(super) title: String,
    /// What is counted, in the plural.
    pub(super) unit: &'static str,
    /// Bytes of one.
    pub(super) payload: usize,
    /// What is compared with the floor.
    pub(super) ratio: Ratio,
    /// What was measured.
    pub(super) measured: Measured,
    /// The broker's memory for each connection, in bytes; `idle` only.
    pub(super) bytes_each: Option<Option<f64>>,
}

/// The percentiles that are shown: name in JSON, heading, part.
const PERCENTILES: [(&str, &str, f64); 4] = [
    ("p50_us", "p50 µs", 0.5),
    ("p90_us", "p90 µs", 0.9),
    ("p99_us", "p99 µs", 0.99),
    ("p999_us", "p99.9 µs", 0.999),
];

impl Figures {
    /// The ratio to the floor, when both could be measured.
    fn ratio(&self) -> Option<f64> {
        let Measured { floor, broker, .. } = &self.measured;
        let (ours, bare) = match self.ratio {
            Ratio::Latency => (broker.latencies.micros(0.5)?, floor.latencies.micros(0.5)?),
            Ratio::Rate => (broker.rate(), floor.rate()),
        };
        (bare > 0.0).then(|| ours / bare)
    }

    /// The broker's processor time for each, in µs.
    fn processor(&self) -> Option<f64> {
        let broker = &self.measured.broker;
        let spent = broker.processor? as f64 / 1_000.0;
        (broker.done > 0).then(|| spent / broker.done as f64)
    }

    /// Payload in 10⁶ bytes a second, where there is any.
    fn megabytes(&self, side: &Side) -> Option<f64> {
        (self.payload > 0).then(|| side.rate() * self.payload as f64 / 1e6)
    }

    /// One object. What is not known is null.
    pub(super) fn json(&self) -> Value {
        let Measured {
            floor,
            broker,
            totals,
            resident,
        } = &self.measured;
        let mut object = Map::new();
        let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
        add("bench", self.what.into());
        add("rate", rounded(Some(broker.rate())));
        add("mb_per_s", rounded(self.megabytes(broker)));
        for (name, _, part) in PERCENTILES {
            add(name, rounded(broker.latencies.micros(part)));
        }
        add("max_us", rounded(broker.latencies.longest()));
        add("lost", broker.lost.into());
        add("floor_rate", rounded(Some(floor.rate())));
        for (name, _, part) in PERCENTILES {
            add(&format!("floor_{name}"), rounded(floor.latencies.micros(part)));
        }
        let compared = match self.ratio {
            Ratio::Latency => "p50_us",
            Ratio::Rate => "rate",
        };
        add("ratio", rounded(self.ratio()));
        add("ratio_of", compared.into());
        add("broker_cpu_us_per_op", rounded(self.processor()));
        add("broker_rss_bytes", json!(resident));
        add("total", totals.sent.into());
        if self.unit == "events" {
            add("received", totals.received.into());
        }
        if let Some(bytes) = self.bytes_each {
            add("bytes_per_connection", rounded(bytes));
        }
        Value::Object(object)
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let Measured {
            floor,
            broker,
            resident,
            ..
        } = &self.measured;
        let mut heading = vec![String::new(), format!("{}/s", self.unit), "MB/s".to_owned()];
        heading.extend(PERCENTILES.iter().map(|(_, heading, _)| (*heading).to_owned()));
        heading.extend(["max µs".to_owned(), "lost".to_owned()]);
        let row = |name: &str, side: &Side| {
            let mut row = vec![name.to_owned(), rate(side.rate()), number(self.megabytes(side))];
            row.extend(cells(&side.latencies));
            row.push(side.lost.to_string());
            row
        };
        let rows = [heading, row("floor", floor), row("broker", broker)];
        let mut out = format!("{}\n", self.title);
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                match column {
                    0 => line.push_str(&format!("  {cell:width$}")),
                    _ => line.push_str(&format!("  {cell:>width$}")),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        let compared = match self.ratio {
            Ratio::Latency => "times the floor's p50 (less is better)",
            Ratio::Rate => "times the floor's rate (more is better)",
        };
        let singular = self.unit.trim_end_matches('s');
        let ratio = self
            .ratio()
            .map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        out.push_str(&format!("  broker: {ratio} {compared}\n"));
        out.push_str(&format!(
            "  broker: {} µs of processor time per {singular}, {} of memory\n",
            number(self.processor()),
            resident.map_or_else(|| "-".into(), memory),
        ));
        if let Some(bytes) = self.bytes_each {
            out.push_str(&format!(
                "  broker: {} bytes of memory per connection\n",
                number(bytes)
            ));
        }
        out
    }
}

fn cells(latencies: &Latencies) -> impl Iterator<Item = String> {
    let parts = PERCENTILES.iter().map(|(_, _, part)| latencies.micros(*part));
    parts.chain([latencies.longest()]).map(number)
}

/// With one digit behind the point below a thousand.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) if value < 1_000.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// Without digits behind the point, but for what happens a few times a second.
fn rate(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

/// Bytes with a unit; those that somebody asks for are whole ones, mostly.
pub(super) fn memory(bytes: u64) -> String {
    words::bytes(bytes).replace(".0 ", " ")
}

/// To three digits behind the point, which is more than a measurement knows.
fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!((value * 1_000.0).round() / 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Totals;
    use crate::bench::protocol::Slice;

    fn side(nanos: u64, lost: u64) -> Side {
        let mut side = Side::new().unwrap();
        let slice = Slice {
            done: 10,
            timed: 10,
            nanos: nanos * 10,
            lost,
            latencies: vec![(nanos, 10)],
        };
        side.add(&[slice.clone(), slice]);
        side
    }

    fn figures(ratio: Ratio) -> Figures {
        let mut broker = side(40_000, 3);
        broker.processor = Some(200_000);
        Figures {
            what: "rpc",
            title: "one title".into(),
            unit: "calls",
            payload: 1_000,
            ratio,
            measured: Measured {
                floor: side(20_000, 0),
                broker,
                totals: Totals {
                    sent: 21,
                    received: 0,
                },
                resident: None,
            },
            bytes_each: None,
        }
    }

    #[test]
    fn programs_get_every_figure_and_null_for_what_is_not_known() {
        let found = figures(Ratio::Latency).json();
        let expected = [
            ("rate", json!(50_000.0)),
            ("mb_per_s", json!(50.0)),
            ("lost", json!(6)),
            ("total", json!(21)),
            ("floor_rate", json!(100_000.0)),
            ("ratio_of", json!("p50_us")),
            ("broker_cpu_us_per_op", json!(10.0)),
            ("broker_rss_bytes", Value::Null),
        ];
        for (name, value) in expected {
            assert_eq!(found.get(name), Some(&value), "{name}");
        }
        let number = |name: &str| found.get(name).and_then(Value::as_f64).unwrap();
        for name in ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"] {
            assert!((number(name) / 40.0 - 1.0).abs() < 0.002, "{name}");
        }
        assert!((number("floor_p50_us") / 20.0 - 1.0).abs() < 0.002);
        assert!((number("ratio") - 2.0).abs() < 0.01);
    }

    #[test]
    fn a_ratio_of_rates_is_the_other_way_round() {
        let found = figures(Ratio::Rate).json();
        assert_eq!(found.get("ratio"), Some(&json!(0.5)));
        assert_eq!(found.get("ratio_of"), Some(&json!("rate")));
    }

    #[test]
    fn people_get_columns() {
        let text = figures(Ratio::Latency).table();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "one title");
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            [
                "calls/s", "MB/s", "p50", "µs", "p90", "µs", "p99", "µs", "p99.9", "µs", "max", "µs", "lost"
            ]
        );
        assert_eq!(lines[2].chars().count(), lines[3].chars().count());
        assert!(lines[4].contains("2.00 times the floor's p50"), "{text}");
        assert!(
            lines[5].contains("10.0 µs of processor time per call, - of memory"),
            "{text}"
        );
    }

    #[test]
    fn memory_has_units() {
        let table = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (8 << 20, "8 MiB"),
            (3 << 30, "3 GiB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(memory(bytes), expected);
        }
    }
}

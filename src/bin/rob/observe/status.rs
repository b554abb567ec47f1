//! `rob status`: how the broker is, on one page or as one JSON object.
//!
//! Owns what is said in which order. The rates are those of two looks a second apart, or of all the time since the broker's start, and
//! the page says which. Called by `commands`.

use super::ask::{ask, read};
use super::rates::Rates;
use super::shape::{Connection, Connections, Happening, Status};
use super::words::{self, Side, age, bytes, clock, count, known, rate, safe};
use crate::commands::session::Session;
use crate::exit::Failure;
use crate::options::Options;
use crate::output::compact;
use actix_ipc::IpcClient;
use clap::Args;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// How far apart the two looks are.
const BETWEEN: Duration = Duration::from_secs(1);

/// `rob status`.
#[derive(Args, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// Give the rates of all the time since the broker's start, at once, instead of those of the next second.
    #[arg(long)]
    pub(crate) since_start: bool,
}

/// Looks and prints.
pub(crate) async fn run(wanted: &Look, session: &mut Session) -> Result<(), Failure> {
    let page = look(&session.client, &session.options, wanted).await?;
    let text = if session.output.json() {
        format!("{}\n", compact(&page.json().to_string()))
    } else {
        page.text()
    };
    Ok(session.output.text(&text)?)
}

async fn look(client: &IpcClient, options: &Options, wanted: &Look) -> Result<Page, Failure> {
    let earlier = if wanted.since_start {
        None
    } else {
        let began = Instant::now();
        let status: Status = read("status", ask(client, options, "status").await?)?;
        // The time itself is what is waited for: rates are differences.
        let mut clock = tokio::time::interval_at((began + BETWEEN).into(), BETWEEN);
        clock.tick().await;
        Some((began, status))
    };
    let connections = ask(client, options, "connections").await?;
    let raw = ask(client, options, "status").await?;
    let status: Status = read("status", raw.clone())?;
    let over = match &earlier {
        Some((began, before)) if before.epoch == status.epoch => began.elapsed(),
        _ => Duration::from_millis(status.uptime_ms),
    };
    let before = earlier.as_ref().map(|(_, status)| status);
    Ok(Page {
        rates: Rates::between(before, &status, over),
        since_start: before.is_none_or(|before| before.epoch != status.epoch),
        connections: read("connections", connections.clone())?,
        raw_connections: connections,
        status,
        raw,
    })
}

/// What was seen.
struct Page {
    raw: Value,
    raw_connections: Value,
    status: Status,
    connections: Connections,
    rates: Rates,
    since_start: bool,
}

impl Page {
    /// The broker's own words, with the connections, the rates and who is slow beside them.
    fn json(&self) -> Value {
        let mut all: Map<String, Value> = self.raw.as_object().cloned().unwrap_or_default();
        let of = |key: &str| self.raw_connections.get(key).cloned().unwrap_or_default();
        all.insert("connections".into(), of("connections"));
        all.insert("connections_left_out".into(), self.connections.left_out.into());
        let slow: Vec<u64> = self.slow().map(|slow| slow.peer).collect();
        all.insert("slow".into(), slow.into());
        all.insert("rates".into(), rates_json(&self.rates, self.since_start));
        Value::Object(all)
    }

    fn slow(&self) -> impl Iterator<Item = &Connection> {
        self.connections.connections.iter().filter(|one| one.is_slow())
    }

    fn text(&self) -> String {
        let mut out = self.heading();
        out.push_str(&self.figures());
        out.push('\n');
        out.push_str(&connections(&self.connections));
        for slow in self.slow() {
            let who = format!(
                "{} (peer {}, pid {})",
                safe(&slow.name),
                slow.peer,
                known(slow.pid)
            );
            let what = if slow.standing == "lagging" {
                format!("has missed {} events", count(slow.missed))
            } else {
                "holds its publishers back".to_owned()
            };
            let queued = bytes(slow.queued_bytes);
            out.push_str(&format!(
                "Slow: {who} is {} and {what}; {queued} wait for it\n",
                safe(&slow.standing)
            ));
        }
        out.push_str(&recent(&self.status.recent));
        out
    }

    fn heading(&self) -> String {
        let status = &self.status;
        format!(
            "Broker {} (protocol {}), pid {}, up {}, epoch {}\nListens on: {}\n",
            safe(&status.version),
            status.protocol,
            known(status.pid),
            age(status.uptime_ms),
            safe(&status.epoch),
            status
                .endpoints
                .iter()
                .map(|endpoint| safe(endpoint))
                .collect::<Vec<_>>()
                .join(", "),
        )
    }

    fn figures(&self) -> String {
        let (status, rates) = (&self.status, &self.rates);
        let over = if self.since_start {
            format!("since the start, {}", age(status.uptime_ms))
        } else {
            format!("over {:.1} s", rates.over.as_secs_f64())
        };
        let restarts: Vec<String> = status
            .restarts
            .iter()
            .map(|(actor, times)| format!("{} {}", safe(actor), times.as_u64().unwrap_or_default()))
            .collect();
        format!(
            "Rates {over}: calls {}/s, errors {}/s, events {}/s in and {}/s out, {}/s read, {}/s written\n\
             Totals: calls {}, errors {}, open {}; events {} in, {} out, {} missed\n\
             Now: connections {}, objects {}, topics {}, subscriptions {}, monitors {}, memory {}\n\
             Restarts: {}\n",
            rate(rates.calls),
            rate(rates.errors),
            rate(rates.events_in),
            rate(rates.events_out),
            bytes(rates.bytes_in.round() as u64),
            bytes(rates.bytes_out.round() as u64),
            count(status.calls()),
            count(status.errors()),
            count(status.totals.open),
            count(status.metric("events_published")),
            count(status.metric("events_delivered")),
            count(status.metric("events_missed")),
            count(status.level("connections")),
            count(status.totals.objects),
            count(status.totals.topics),
            count(status.totals.subscriptions),
            count(status.monitors),
            bytes(status.level("charged_memory_bytes")),
            if restarts.is_empty() {
                "-".to_owned()
            } else {
                restarts.join(", ")
            },
        )
    }
}

/// The rates for programs.
pub(super) fn rates_json(rates: &Rates, since_start: bool) -> Value {
    let rounded = |rate: f64| (rate * 1_000.0).round() / 1_000.0;
    json!({
        "over_ms": u64::try_from(rates.over.as_millis()).unwrap_or(u64::MAX),
        "since_start": since_start,
        "calls_per_s": rounded(rates.calls),
        "errors_per_s": rounded(rates.errors),
        "events_in_per_s": rounded(rates.events_in),
        "events_out_per_s": rounded(rates.events_out),
        "bytes_in_per_s": rounded(rates.bytes_in),
        "bytes_out_per_s": rounded(rates.bytes_out),
    })
}

fn connections(all: &Connections) -> String {
    use Side::{Left, Right};
    let headings = [
        ("PEER", Right),
        ("NAME", Left),
        ("PRINCIPAL", Left),
        ("PID", Right),
        ("UID", Right),
        ("AGE", Right),
        ("OBJECTS", Right),
        ("SUBS", Right),
        ("OWES", Right),
        ("QUEUED", Right),
        ("READ", Right),
        ("WRITTEN", Right),
        ("MISSED", Right),
        ("STANDING", Left),
    ];
    let row = |one: &Connection| {
        vec![
            one.peer.to_string(),
            words::cut(&safe(&one.name), 32),
            words::cut(&safe(one.principal.as_deref().unwrap_or_default()), 32),
            known(one.pid),
            known(one.uid),
            age(one.age_ms),
            count(one.objects),
            count(one.subscriptions),
            count(one.owes),
            bytes(one.queued_bytes),
            bytes(one.bytes_in),
            bytes(one.bytes_out),
            count(one.missed),
            safe(&one.standing),
        ]
    };
    let rows: Vec<Vec<String>> = all.connections.iter().map(row).collect();
    if rows.is_empty() {
        return "Connections: none\n".to_owned();
    }
    let mut out = format!("Connections:\n{}", words::table(&headings, &rows));
    if all.left_out > 0 {
        out.push_str(&format!("   and {} more\n", count(all.left_out)));
    }
    out
}

fn recent(happenings: &[Happening]) -> String {
    if happenings.is_empty() {
        return String::new();
    }
    let row = |one: &Happening| {
        vec![
            clock(one.unix_ms),
            safe(&one.kind),
            known(one.peer),
            known(one.pid),
            match one.count {
                0 | 1 => safe(&one.text),
                times => format!("{}, {} times", safe(&one.text), count(times)),
            },
        ]
    };
    let rows: Vec<Vec<String>> = happenings.iter().map(row).collect();
    let headings = ["TIME (UTC)", "KIND", "PEER", "PID", "WHAT"].map(|heading| (heading, Side::Left));
    format!("\nRecent:\n{}", words::table(&headings, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let raw = json!({
            "epoch": "5eed", "version": "0.1.0", "protocol": 1, "pid": 4242, "uptime_ms": 7_500_000, "endpoints": ["unix:/run/b.sock"],
            "metrics": {"events_published": 1_000, "events_delivered": 2_000, "events_missed": 3, "bytes_in": 2_048},
            "levels": {"connections": 2, "charged_memory_bytes": 65_536},
            "restarts": {"registry": 1, "topic_hub": 0}, "monitors": 1,
            "totals": {"objects": 3, "topics": 2, "subscriptions": 4, "calls": 1_234, "errors": 5, "open": 6},
            "recent": [{"unix_ms": 1_763_742_047_000_u64, "kind": "lagging", "peer": 8, "pid": null, "text": "too\u{1b}slow"}],
            "later": true,
        });
        let connections = json!({"connections": [
            {"peer": 7, "name": "demo", "pid": 99, "uid": 1000, "age_ms": 4_200, "standing": "ok", "bytes_in": 10, "owes": 2},
            {"peer": 8, "name": "\u{1b}[2J", "principal": "sensor", "age_ms": 90_000, "queued_bytes": 4_194_304, "missed": 12, "standing": "lagging"},
        ], "left_out": 1});
        let status: Status = serde_json::from_value(raw.clone()).unwrap();
        Page {
            rates: Rates::between(None, &status, Duration::from_secs(1_000)),
            since_start: true,
            connections: serde_json::from_value(connections.clone()).unwrap(),
            raw_connections: connections,
            status,
            raw,
        }
    }

    #[test]
    fn people_read_one_page() {
        let expected = "\
Broker 0.1.0 (protocol 1), pid 4242, up 2 h 5 min, epoch 5eed
Listens on: unix:/run/b.sock
Rates since the start, 2 h 5 min: calls 1.2/s, errors 0.0/s, events 1.0/s in and 2.0/s out, 2 B/s read, 0 B/s written
Totals: calls 1,234, errors 5, open 6; events 1,000 in, 2,000 out, 3 missed
Now: connections 2, objects 3, topics 2, subscriptions 4, monitors 1, memory 64.0 KiB
Restarts: registry 1, topic_hub 0

Connections:
   PEER  NAME       PRINCIPAL  PID   UID         AGE  OBJECTS  SUBS  OWES   QUEUED  READ  WRITTEN  MISSED  STANDING
      7  demo       -           99  1000       4.2 s        0     0     2      0 B  10 B      0 B       0  ok
      8  \\u{1b}[2J  sensor       -     -  1 min 30 s        0     0     0  4.0 MiB   0 B      0 B      12  lagging
   and 1 more
Slow: \\u{1b}[2J (peer 8, pid -) is lagging and has missed 12 events; 4.0 MiB wait for it

Recent:
   TIME (UTC)  KIND     PEER  PID  WHAT
   16:20:47    lagging  8     -    too\\u{1b}slow
";
        assert_eq!(page().text(), expected);
    }

    #[test]
    fn programs_read_the_brokers_own_words_and_more() {
        let json = page().json();
        let of = |pointer: &str| json.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(of("/later"), json!(true), "what rob does not know is passed on");
        assert_eq!(of("/totals/calls"), json!(1_234));
        assert_eq!(of("/slow"), json!([8]));
        assert_eq!(of("/connections/1/principal"), json!("sensor"));
        assert_eq!(of("/connections_left_out"), json!(1));
        assert_eq!(of("/rates/calls_per_s"), json!(1.234));
        assert_eq!(
            (of("/rates/over_ms"), of("/rates/since_start")),
            (json!(1_000_000), json!(true))
        );
    }

    #[test]
    fn a_broker_that_says_nothing_is_survived() {
        let page = Page {
            raw: json!({}),
            raw_connections: json!({}),
            status: Status::default(),
            connections: Connections::default(),
            rates: Rates::default(),
            since_start: true,
        };
        assert!(page.text().contains("Connections: none"));
        assert_eq!(page.json().get("connections"), Some(&Value::Null));
    }
}

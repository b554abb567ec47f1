//! `rob services`: the services that start on demand, and how each of them is.
//!
//! Owns what is said in which order. When a service is started the broker decides (docs/activation.md). Called by this room.

use super::ask::{ask, read};
use super::words::{self, Side, age, count, safe};
use crate::commands::session::Session;
use crate::exit::Failure;
use crate::output::compact;
use serde::Deserialize;

const METHOD: &str = "services";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Services {
    services: Vec<Service>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    objects: Vec<String>,
    objects_left_out: u64,
    kind: String,
    name: String,
    state: String,
    left_ms: Option<u64>,
    starts: u64,
    failures: u64,
    failed_ms: Option<u64>,
    failure: Option<String>,
}

/// Looks and prints.
pub(crate) async fn run(session: &mut Session) -> Result<(), Failure> {
    let raw = ask(&session.client, &session.options, METHOD).await?;
    let text = if session.output.json() {
        format!("{}\n", compact(&raw.to_string()))
    } else {
        page(&read(METHOD, raw)?)
    };
    Ok(session.output.text(&text)?)
}

fn page(all: &Services) -> String {
    if all.services.is_empty() {
        return "Services: none is described (ipc-broker --activation)\n".to_owned();
    }
    let headings = [
        ("OBJECTS", Side::Left),
        ("STATE", Side::Left),
        ("STARTS", Side::Right),
        ("FAILURES", Side::Right),
        ("KIND", Side::Left),
        ("NAME", Side::Left),
    ];
    let rows: Vec<Vec<String>> = all.services.iter().map(row).collect();
    let mut out = format!("Services:\n{}", words::table(&headings, &rows));
    for service in &all.services {
        if let Some((ago, why)) = service.failed_ms.zip(service.failure.as_deref()) {
            let first = service.objects.first().map_or("", String::as_str);
            out.push_str(&format!(
                "{} failed {} ago: {}\n",
                safe(first),
                age(ago),
                safe(why)
            ));
        }
    }
    out
}

fn row(service: &Service) -> Vec<String> {
    let mut objects = service
        .objects
        .iter()
        .map(|object| safe(object))
        .collect::<Vec<_>>()
        .join(", ");
    if service.objects_left_out > 0 {
        objects.push_str(&format!(" and {} more", count(service.objects_left_out)));
    }
    let state = match service.left_ms {
        Some(left) => format!("{} ({} left)", safe(&service.state), age(left)),
        None => safe(&service.state),
    };
    vec![
        words::cut(&objects, 48),
        state,
        count(service.starts),
        count(service.failures),
        safe(&service.kind),
        safe(&service.name),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_read_a_line_for_each_service_and_one_for_each_failure() {
        let all = json!({"services": [
            {"objects": ["math", "math.log"], "kind": "process", "name": "/usr/bin/math", "state": "running", "starts": 1},
            {"objects": ["\u{1b}[2J"], "objects_left_out": 3, "kind": "user_unit", "name": "x.service", "state": "resting", "left_ms": 4_200,
             "starts": 1_234, "failures": 5, "failed_ms": 90_000, "failure": "exit \u{1b}status: 7", "later": true},
        ]});
        let expected = "\
Services:
   OBJECTS               STATE                 STARTS  FAILURES  KIND       NAME
   math, math.log        running                    1         0  process    /usr/bin/math
   \\u{1b}[2J and 3 more  resting (4.2 s left)   1,234         5  user_unit  x.service
\\u{1b}[2J failed 1 min 30 s ago: exit \\u{1b}status: 7
";
        assert_eq!(page(&serde_json::from_value(all).unwrap()), expected);
    }

    #[test]
    fn no_service_is_said_with_how_to_have_one() {
        assert!(page(&Services::default()).contains("--activation"));
    }
}

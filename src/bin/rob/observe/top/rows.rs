//! The tables of `rob top`: which columns they have, and what stands in each cell.
//!
//! Owns how a number is written and what it is compared by. It knows no terminal. Called by `view` and `draw`.

use super::sample::Sample;
use super::view::Tab;
use crate::observe::rates::Pace;
use crate::observe::shape::{Connection, Object, Topic};
use crate::observe::words::{Side, age, bytes, count, known, micros, rate, safe};
use std::cmp::Ordering;

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    /// Above it.
    pub(super) heading: &'static str,
    /// In characters; of the first text column the least, as it takes what is left.
    pub(super) width: u16,
    /// Where its cells stand.
    pub(super) side: Side,
    /// Only where there is much room.
    pub(super) wide: bool,
    /// Takes what is left.
    pub(super) grows: bool,
}

const fn left(heading: &'static str, width: u16) -> Column {
    Column {
        heading,
        width,
        side: Side::Left,
        wide: false,
        grows: false,
    }
}

const fn right(heading: &'static str, width: u16) -> Column {
    Column {
        side: Side::Right,
        ..left(heading, width)
    }
}

const fn name(heading: &'static str) -> Column {
    Column {
        grows: true,
        ..left(heading, 14)
    }
}

const fn wide(column: Column) -> Column {
    Column { wide: true, ..column }
}

const OBJECTS: &[Column] = &[
    name("NAME"),
    right("CALLS/S", 10),
    right("CALLS", 13),
    right("ERRORS", 9),
    right("OPEN", 6),
    right("P50", 8),
    right("P99", 8),
    wide(right("MEMBERS", 7)),
    wide(right("WAITING", 7)),
    wide(left("OWNER", 14)),
];

const TOPICS: &[Column] = &[
    name("TOPIC"),
    right("EVENTS/S", 10),
    right("EVENTS", 13),
    right("SUBSCRIBERS", 11),
    wide(left("KEY", 7)),
    wide(left("PEERS", 40)),
];

const CONNECTIONS: &[Column] = &[
    right("PEER", 6),
    name("NAME"),
    right("PID", 8),
    right("READ/S", 10),
    right("WRITTEN/S", 10),
    right("OBJECTS", 7),
    right("SUBS", 5),
    left("STANDING", 8),
    wide(right("UID", 6)),
    wide(left("PRINCIPAL", 14)),
    wide(right("AGE", 13)),
];

const QUEUES: &[Column] = &[
    right("PEER", 6),
    name("NAME"),
    right("PID", 8),
    right("QUEUED", 9),
    right("EVENTS", 9),
    right("OWES", 6),
    right("MISSED", 9),
    left("STANDING", 8),
    wide(right("MEMORY", 9)),
    wide(right("READ", 9)),
    wide(right("WRITTEN", 9)),
];

/// The columns of a tab.
pub(super) const fn columns(tab: Tab) -> &'static [Column] {
    match tab {
        Tab::Objects => OBJECTS,
        Tab::Topics => TOPICS,
        Tab::Connections => CONNECTIONS,
        Tab::Queues => QUEUES,
    }
}

/// The column that the rows of a tab are ordered by at first: by what is most in the way.
pub(super) const fn first_sort(tab: Tab) -> usize {
    match tab {
        Tab::Objects | Tab::Topics => 1,
        Tab::Connections => 4,
        Tab::Queues => 3,
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    /// What stands there.
    pub(super) text: String,
    /// What it is compared by, where that is a number.
    number: Option<f64>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// As many as the tab has columns.
    pub(super) cells: Vec<Cell>,
    /// Which of several equal rows is first.
    pub(super) key: String,
    /// Something is wrong with it.
    pub(super) alarming: bool,
}

/// Which of two rows has less in a column: numbers before texts, and what is not known before both.
pub(super) fn compare(a: &Row, b: &Row, column: usize) -> Ordering {
    match (a.cells.get(column), b.cells.get(column)) {
        (Some(a), Some(b)) => match (a.number, b.number) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.text.to_lowercase().cmp(&b.text.to_lowercase()),
        },
        _ => Ordering::Equal,
    }
}

fn text(text: String) -> Cell {
    Cell { text, number: None }
}

fn number(text: String, number: u64) -> Cell {
    Cell {
        text,
        number: Some(number as f64),
    }
}

fn counted(value: u64) -> Cell {
    number(count(value), value)
}

fn sized(value: u64) -> Cell {
    number(bytes(value), value)
}

fn paced(per_second: f64) -> Cell {
    Cell {
        text: rate(per_second),
        number: Some(per_second),
    }
}

fn streamed(per_second: f64) -> Cell {
    Cell {
        text: bytes(per_second.round() as u64),
        number: Some(per_second),
    }
}

/// What is not known is less than everything that is.
fn perhaps(value: Option<u64>, show: impl Fn(u64) -> String) -> Cell {
    Cell {
        text: value.map_or_else(|| "-".to_owned(), show),
        number: Some(value.map_or(-1.0, |value| value as f64)),
    }
}

/// All rows of a tab.
pub(super) fn rows(tab: Tab, sample: &Sample) -> Vec<Row> {
    match tab {
        Tab::Objects => sample
            .objects
            .iter()
            .map(|(one, pace)| object(one, pace))
            .collect(),
        Tab::Topics => sample
            .topics
            .iter()
            .map(|(one, rate)| topic(one, *rate))
            .collect(),
        Tab::Connections => {
            let all = sample.connections.iter();
            all.map(|(one, read, written)| connection(one, *read, *written))
                .collect()
        }
        Tab::Queues => sample.connections.iter().map(|(one, ..)| queue(one)).collect(),
    }
}

fn object(one: &Object, pace: &Pace) -> Row {
    let owner = one.owner.as_ref().map_or_else(
        || "-".to_owned(),
        |owner| format!("{} {}", owner.peer, safe(&owner.name)),
    );
    Row {
        cells: vec![
            text(safe(&one.name)),
            paced(pace.calls),
            counted(one.calls),
            counted(one.errors),
            counted(one.open),
            perhaps(pace.p50_us, micros),
            perhaps(pace.p99_us, micros),
            counted(one.members),
            counted(one.queued),
            text(owner),
        ],
        key: one.name.clone(),
        alarming: pace.errors > 0.0,
    }
}

fn topic(one: &Topic, rate: f64) -> Row {
    let peers: Vec<String> = one.peers.iter().map(ToString::to_string).collect();
    let name = format!("{}.{}", safe(&one.object), safe(&one.topic));
    Row {
        cells: vec![
            text(name.clone()),
            paced(rate),
            counted(one.events),
            counted(one.subscribers),
            text(if one.pattern { "pattern" } else { "exact" }.to_owned()),
            text(peers.join(" ")),
        ],
        key: name,
        alarming: false,
    }
}

/// Connections of one name are in the order of their numbers.
fn key(one: &Connection) -> String {
    format!("{:020}", one.peer)
}

fn connection(one: &Connection, read: f64, written: f64) -> Row {
    Row {
        cells: vec![
            number(one.peer.to_string(), one.peer),
            text(safe(&one.name)),
            perhaps(one.pid, |pid| pid.to_string()),
            streamed(read),
            streamed(written),
            counted(one.objects),
            counted(one.subscriptions),
            text(safe(&one.standing)),
            text(known(one.uid)),
            text(safe(one.principal.as_deref().unwrap_or_default())),
            number(age(one.age_ms), one.age_ms),
        ],
        key: key(one),
        alarming: one.is_slow(),
    }
}

fn queue(one: &Connection) -> Row {
    Row {
        cells: vec![
            number(one.peer.to_string(), one.peer),
            text(safe(&one.name)),
            perhaps(one.pid, |pid| pid.to_string()),
            sized(one.queued_bytes),
            sized(one.event_bytes),
            counted(one.owes),
            counted(one.missed),
            text(safe(&one.standing)),
            sized(one.memory_bytes),
            sized(one.bytes_in),
            sized(one.bytes_out),
        ],
        key: key(one),
        alarming: one.is_slow(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_each_column() {
        let sample = Sample {
            objects: vec![(Object::default(), Pace::default())],
            topics: vec![(Topic::default(), 0.0)],
            connections: vec![(Connection::default(), 0.0, 0.0)],
            ..Sample::default()
        };
        for tab in Tab::ALL {
            assert_eq!(rows(tab, &sample)[0].cells.len(), columns(tab).len(), "{tab:?}");
            assert_eq!(
                columns(tab).iter().filter(|column| column.grows).count(),
                1,
                "{tab:?}"
            );
            assert_eq!(columns(tab)[first_sort(tab)].side, Side::Right, "{tab:?}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_names_as_words() {
        let row = |name: &str, calls: u64, p50: Option<u64>| {
            let pace = Pace {
                p50_us: p50,
                ..Pace::default()
            };
            let one = Object {
                name: name.into(),
                calls,
                ..Object::default()
            };
            object(&one, &pace)
        };
        let (a, b) = (row("b", 900, Some(2_000)), row("A", 1_000, None));
        assert_eq!(compare(&a, &b, 2), Ordering::Less);
        assert_eq!(compare(&a, &b, 0), Ordering::Greater);
        assert_eq!(
            compare(&a, &b, 5),
            Ordering::Greater,
            "what is not known is least"
        );
        assert_eq!(compare(&a, &b, 99), Ordering::Equal);
    }
}

//! Two looks at the broker, and what happened between them.
//!
//! Owns how counts become rates and how two histograms become the latencies of the time between. No clock: each look has its time
//! with it. Called by `status` and `top`.

use super::shape::{Connection, Object, Status, Topic};
use std::collections::HashMap;
use std::time::Duration;

/// By how much the counts of the whole broker grew, by the second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    /// Over which time.
    pub(crate) over: Duration,
    /// Calls of programs.
    pub(crate) calls: f64,
    /// Calls that ended with an error.
    pub(crate) errors: f64,
    /// Events published.
    pub(crate) events_in: f64,
    /// Events queued to subscribers.
    pub(crate) events_out: f64,
    /// Read from all peers.
    pub(crate) bytes_in: f64,
    /// Written to all peers.
    pub(crate) bytes_out: f64,
}

impl Rates {
    /// Between two looks that are `over` apart. Without an earlier one: since the broker's start.
    pub(crate) fn between(before: Option<&Status>, now: &Status, over: Duration) -> Self {
        let nothing = Status::default();
        let before = before
            .filter(|before| before.epoch == now.epoch)
            .unwrap_or(&nothing);
        let metric = |name: &str| per_second(before.metric(name), now.metric(name), over);
        Self {
            over,
            calls: per_second(before.calls(), now.calls(), over),
            errors: per_second(before.errors(), now.errors(), over),
            events_in: metric("events_published"),
            events_out: metric("events_delivered"),
            bytes_in: metric("bytes_in"),
            bytes_out: metric("bytes_out"),
        }
    }
}

/// How often a second something happened that was counted `before` and `now`. A count that is smaller than before began again.
pub(crate) fn per_second(before: u64, now: u64, over: Duration) -> f64 {
    let grown = now.checked_sub(before).unwrap_or(now);
    let seconds = over.as_secs_f64();
    if seconds > 0.0 {
        grown as f64 / seconds
    } else {
        0.0
    }
}

/// What was counted of an object.
#[derive(Clone, Debug, Default)]
struct Counted {
    calls: u64,
    errors: u64,
    histogram: Vec<(u64, u64)>,
}

/// What the broker said of its parts at one moment, by what they are.
#[derive(Debug, Default)]
pub(crate) struct Before {
    objects: HashMap<String, Counted>,
    topics: HashMap<(String, String, bool), u64>,
    connections: HashMap<u64, (u64, u64)>,
}

impl Before {
    /// Remembers what is needed of it.
    pub(crate) fn of(connections: &[Connection], objects: &[Object], topics: &[Topic]) -> Self {
        let object = |object: &Object| {
            let counted = Counted {
                calls: object.calls,
                errors: object.errors,
                histogram: object.histogram.clone(),
            };
            (object.name.clone(), counted)
        };
        let topic = |topic: &Topic| {
            (
                (topic.object.clone(), topic.topic.clone(), topic.pattern),
                topic.events,
            )
        };
        let connection = |one: &Connection| (one.peer, (one.bytes_in, one.bytes_out));
        Self {
            objects: objects.iter().map(object).collect(),
            topics: topics.iter().map(topic).collect(),
            connections: connections.iter().map(connection).collect(),
        }
    }

    /// What an object did since.
    pub(crate) fn object(&self, now: &Object, over: Duration) -> Pace {
        let nothing = Counted::default();
        let before = self.objects.get(&now.name).unwrap_or(&nothing);
        let answered = since(&before.histogram, &now.histogram);
        Pace {
            calls: per_second(before.calls, now.calls, over),
            errors: per_second(before.errors, now.errors, over),
            p50_us: percentile(&answered, 50),
            p99_us: percentile(&answered, 99),
        }
    }

    /// Events a second of a topic since.
    pub(crate) fn topic(&self, now: &Topic, over: Duration) -> f64 {
        // Looking up by borrowed parts would need a key type of its own, for a table of some hundred rows a second.
        let key = (now.object.clone(), now.topic.clone(), now.pattern);
        per_second(
            self.topics.get(&key).copied().unwrap_or_default(),
            now.events,
            over,
        )
    }

    /// Bytes a second from and to a connection since.
    pub(crate) fn connection(&self, now: &Connection, over: Duration) -> (f64, f64) {
        let (bytes_in, bytes_out) = self.connections.get(&now.peer).copied().unwrap_or_default();
        (
            per_second(bytes_in, now.bytes_in, over),
            per_second(bytes_out, now.bytes_out, over),
        )
    }
}

/// What one object did in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    /// Calls a second.
    pub(crate) calls: f64,
    /// Of those that ended with an error.
    pub(crate) errors: f64,
    /// The median of the answers in the interval; none when there was none.
    pub(crate) p50_us: Option<u64>,
    /// Their 99th percentile.
    pub(crate) p99_us: Option<u64>,
}

/// The answers of the time between two histograms. One that lost answers began again.
fn since(before: &[(u64, u64)], now: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let earlier: HashMap<u64, u64> = before.iter().copied().collect();
    let grown = now.iter().map(|(upper, count)| {
        let before = earlier.get(upper).copied().unwrap_or_default();
        count.checked_sub(before).map(|grown| (*upper, grown))
    });
    let grown: Option<Vec<_>> = grown.collect();
    grown.unwrap_or_else(|| now.to_vec())
}

/// The upper end of the bucket in which that part of the answers lies.
pub(crate) fn percentile(histogram: &[(u64, u64)], percent: u64) -> Option<u64> {
    let total = histogram
        .iter()
        .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let wanted = total.saturating_mul(percent).div_ceil(100).max(1);
    let mut seen = 0_u64;
    histogram.iter().find_map(|(upper, count)| {
        seen = seen.saturating_add(*count);
        (seen >= wanted).then_some(*upper)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rates_are_differences_by_time() {
        let status = |calls: u64, published: u64| -> Status {
            let value =
                json!({"epoch": "a", "totals": {"calls": calls}, "metrics": {"events_published": published}});
            serde_json::from_value(value).unwrap()
        };
        let (before, now) = (status(100, 50), status(296, 50));
        let rates = Rates::between(Some(&before), &now, SECOND * 2);
        assert_eq!((rates.calls, rates.events_in), (98.0, 0.0));
        let start = Rates::between(None, &now, SECOND * 2);
        assert_eq!((start.calls, start.events_in), (148.0, 25.0));
        let mut other = status(5, 6);
        other.epoch = "b".into();
        let restarted = Rates::between(Some(&before), &other, SECOND);
        assert_eq!(
            (restarted.calls, restarted.events_in),
            (5.0, 6.0),
            "another broker counts from zero"
        );
        assert_eq!(per_second(7, 9, Duration::ZERO), 0.0);
    }

    #[test]
    fn percentiles_are_of_the_interval() {
        let table: [(&[_], u64, Option<u64>); 6] = [
            (&[], 50, None),
            (&[(10, 0)], 50, None),
            (&[(10, 1)], 99, Some(10)),
            (&[(10, 50), (20, 50)], 50, Some(10)),
            (&[(10, 50), (20, 50)], 51, Some(20)),
            (&[(10, 98), (20, 1), (99, 1)], 99, Some(20)),
        ];
        for (histogram, percent, expected) in table {
            assert_eq!(
                percentile(histogram, percent),
                expected,
                "{histogram:?} {percent}"
            );
        }
        let object = |calls: u64, histogram: &[(u64, u64)]| Object {
            name: "o".into(),
            calls,
            histogram: histogram.to_vec(),
            ..Object::default()
        };
        let before = Before::of(&[], &[object(100, &[(10, 100)])], &[]);
        let pace = before.object(&object(104, &[(10, 100), (500, 4)]), SECOND);
        assert_eq!(
            (pace.calls, pace.p50_us, pace.p99_us),
            (4.0, Some(500), Some(500))
        );
        let idle = before.object(&object(100, &[(10, 100)]), SECOND);
        assert_eq!((idle.calls, idle.p50_us), (0.0, None));
        let again = before.object(&object(2, &[(7, 2)]), SECOND);
        assert_eq!(
            (again.calls, again.p50_us),
            (2.0, Some(7)),
            "a new owner counts from zero"
        );
    }
}

//! What `sys.broker` answers, as types.
//!
//! Owns the names of the keys that rob reads. A broker may say more than is here, and an older one less: what is missing is nothing
//! or zero. It asks nobody; `ask` does. Called by everything in this room.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The answer to `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// Which life of the broker it is.
    pub(crate) epoch: String,
    /// Of its program.
    pub(crate) version: String,
    /// Of the wire.
    pub(crate) protocol: u64,
    /// Its process.
    pub(crate) pid: Option<u64>,
    /// In milliseconds.
    pub(crate) uptime_ms: u64,
    /// Where it listens.
    pub(crate) endpoints: Vec<String>,
    /// Counters, by name.
    pub(crate) metrics: Map<String, Value>,
    /// What is so high now, by name.
    pub(crate) levels: Map<String, Value>,
    /// Restarts after a panic, by actor.
    pub(crate) restarts: Map<String, Value>,
    /// Who watches the traffic.
    pub(crate) monitors: u64,
    /// Of all objects and topics together.
    pub(crate) totals: Totals,
    /// What was worth a note, the newest last.
    pub(crate) recent: Vec<Happening>,
}

impl Status {
    /// A counter.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        number(&self.metrics, name)
    }

    /// A level.
    pub(crate) fn level(&self, name: &str) -> u64 {
        number(&self.levels, name)
    }

    /// Calls of programs: the broker's sums are without those of its own objects, which who looks makes.
    pub(crate) const fn calls(&self) -> u64 {
        self.totals.calls
    }

    /// Those of them that ended with an error.
    pub(crate) const fn errors(&self) -> u64 {
        self.totals.errors
    }

    /// Panics that the core actors have survived.
    pub(crate) fn restarted(&self) -> u64 {
        self.restarts.values().filter_map(Value::as_u64).sum()
    }
}

fn number(of: &Map<String, Value>, name: &str) -> u64 {
    of.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// The sums in [`Status`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    /// Registered names.
    pub(crate) objects: u64,
    /// What is subscribed, each key once.
    pub(crate) topics: u64,
    /// All of them.
    pub(crate) subscriptions: u64,
    /// Calls that were given to an owner.
    pub(crate) calls: u64,
    /// Calls that ended with an error.
    pub(crate) errors: u64,
    /// Calls that are not answered yet.
    pub(crate) open: u64,
}

/// Something worth a note.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Happening {
    /// When, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// In a word.
    pub(crate) kind: String,
    /// Whose connection.
    pub(crate) peer: Option<u64>,
    /// Whose process.
    pub(crate) pid: Option<u64>,
    /// In a sentence.
    pub(crate) text: String,
    /// How often.
    pub(crate) count: u64,
}

/// The answer to `connections`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Connections {
    /// Those that are told of.
    pub(crate) connections: Vec<Connection>,
    /// How many are not.
    pub(crate) left_out: u64,
}

/// One connection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Connection {
    /// Its number.
    pub(crate) peer: u64,
    /// Its process, where that is known.
    pub(crate) pid: Option<u64>,
    /// Its user, where that is known.
    pub(crate) uid: Option<u64>,
    /// What it declares to be.
    pub(crate) name: String,
    /// Who it has proven to be.
    pub(crate) principal: Option<String>,
    /// An actor of the broker's own process.
    pub(crate) local: bool,
    /// How long it has been there.
    pub(crate) age_ms: u64,
    /// What waits to be written to it.
    pub(crate) queued_bytes: u64,
    /// The events in that.
    pub(crate) event_bytes: u64,
    /// Calls that it was given and has not answered.
    pub(crate) owes: u64,
    /// What it has of the broker's memory.
    pub(crate) memory_bytes: u64,
    /// Read from it.
    pub(crate) bytes_in: u64,
    /// Written to it.
    pub(crate) bytes_out: u64,
    /// Frames read from it.
    pub(crate) frames_in: u64,
    /// Frames written to it.
    pub(crate) frames_out: u64,
    /// Names that it has.
    pub(crate) objects: u64,
    /// What it hears.
    pub(crate) subscriptions: u64,
    /// Events that it missed.
    pub(crate) missed: u64,
    /// `ok`, `holding` or `lagging`.
    pub(crate) standing: String,
}

impl Connection {
    /// Whether it is slower than what it is sent.
    pub(crate) fn is_slow(&self) -> bool {
        !matches!(self.standing.as_str(), "" | "ok")
    }
}

/// The answer to `objects`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Objects {
    /// Those that are told of, most called first.
    pub(crate) objects: Vec<Object>,
    /// How many are not.
    pub(crate) left_out: u64,
}

/// One object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Object {
    /// Its name.
    pub(crate) name: String,
    /// Who has it.
    pub(crate) owner: Option<Owner>,
    /// How many have it, where it is a group.
    pub(crate) members: u64,
    /// Who waits to get it.
    pub(crate) queued: u64,
    /// Calls given to an owner.
    pub(crate) calls: u64,
    /// Calls that ended with an error.
    pub(crate) errors: u64,
    /// Calls that are not answered yet.
    pub(crate) open: u64,
    /// Payload of its calls.
    pub(crate) bytes: u64,
    /// Latencies: the upper end of a bucket in microseconds, and how many are in it. Ascending.
    pub(crate) histogram: Vec<(u64, u64)>,
}

/// Who has an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Owner {
    /// The connection.
    pub(crate) peer: u64,
    /// The process, where that is known.
    pub(crate) pid: Option<u64>,
    /// What it declares to be.
    pub(crate) name: String,
}

/// The answer to `topics`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Topics {
    /// What is subscribed, each key once.
    pub(crate) topics: Vec<Topic>,
    /// Events that nobody heard.
    pub(crate) unheard: u64,
    /// Values that later subscribers get first.
    pub(crate) retained: u64,
    /// How many topics are not told of.
    pub(crate) left_out: u64,
}

/// One key that somebody subscribed to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Topic {
    /// The object, or the pattern for it.
    pub(crate) object: String,
    /// The topic, or the pattern for it.
    pub(crate) topic: String,
    /// Whether both are patterns.
    pub(crate) pattern: bool,
    /// Who hears it.
    pub(crate) subscribers: u64,
    /// Events that it selected.
    pub(crate) events: u64,
    /// Some of the subscribers' connections.
    pub(crate) peers: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn todays_broker_and_a_later_one_are_both_read() {
        let earlier: Status =
            serde_json::from_value(json!({"epoch": "ab", "metrics": {"holds": 2}})).unwrap();
        assert_eq!((earlier.metric("holds"), earlier.metric("lagging")), (2, 0));
        assert_eq!((earlier.calls(), earlier.level("connections")), (0, 0));
        let later = json!({"totals": {"calls": 10, "errors": 3}, "new": [1], "pid": null});
        let later: Status = serde_json::from_value(later).unwrap();
        assert_eq!((later.calls(), later.errors()), (10, 3));
    }

    #[test]
    fn a_histogram_is_pairs() {
        let object: Object =
            serde_json::from_value(json!({"name": "o", "histogram": [[1, 5], [8, 2]], "p50_us": null}))
                .unwrap();
        assert_eq!(object.histogram, [(1, 5), (8, 2)]);
    }
}

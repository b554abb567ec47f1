//! One look at everything that the broker counts, beside the one before.
//!
//! Owns what belongs to one sample and how it is told to programs. Called by `top`.

use crate::exit::Failure;
use crate::observe::ask::{ask, read};
use crate::observe::rates::{Before, Pace, Rates};
use crate::observe::shape::{Connection, Connections, Object, Objects, Status, Topic, Topics};
use crate::observe::status::rates_json;
use crate::options::Options;
use actix_ipc::IpcClient;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Remembers the look before.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    last: Option<(Instant, Status, Before)>,
}

/// What was seen, and what happened since the look before.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Of the broker as a whole.
    pub(super) status: Status,
    /// Its growth.
    pub(super) rates: Rates,
    /// There was no look before: the rates are those since the broker's start.
    pub(super) since_start: bool,
    /// With what was read from and written to each a second.
    pub(super) connections: Vec<(Connection, f64, f64)>,
    /// With what each did.
    pub(super) objects: Vec<(Object, Pace)>,
    /// With events a second.
    pub(super) topics: Vec<(Topic, f64)>,
    /// Events that nobody heard.
    pub(super) unheard: u64,
    /// Rows that the broker left out.
    pub(super) left_out: LeftOut,
}

/// How many rows the broker left out of each list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftOut {
    pub(super) connections: u64,
    pub(super) objects: u64,
    pub(super) topics: u64,
}

impl LeftOut {
    fn sum(self) -> u64 {
        let two = self.connections.saturating_add(self.objects);
        two.saturating_add(self.topics)
    }
}

impl Sampler {
    /// Looks now.
    ///
    /// # Errors
    /// When the broker does not answer; the next look is compared with the one before this.
    pub(super) async fn look(&mut self, client: &IpcClient, options: &Options) -> Result<Sample, Failure> {
        let connections: Connections = read("connections", ask(client, options, "connections").await?)?;
        let objects: Objects = read("objects", ask(client, options, "objects").await?)?;
        let topics: Topics = read("topics", ask(client, options, "topics").await?)?;
        let status: Status = read("status", ask(client, options, "status").await?)?;
        Ok(self.seen(Instant::now(), status, connections, objects, topics))
    }

    /// Puts a look beside the one before.
    pub(super) fn seen(
        &mut self,
        at: Instant,
        status: Status,
        connections: Connections,
        objects: Objects,
        topics: Topics,
    ) -> Sample {
        // Another broker has counted nothing of this one.
        let last = self
            .last
            .take()
            .filter(|(_, before, _)| before.epoch == status.epoch);
        let uptime = Duration::from_millis(status.uptime_ms);
        let over = last
            .as_ref()
            .map_or(uptime, |(before, ..)| at.saturating_duration_since(*before));
        let rates = Rates::between(last.as_ref().map(|(_, status, _)| status), &status, over);
        let nothing = Before::default();
        let before = last.as_ref().map_or(&nothing, |(.., before)| before);
        let left_out = LeftOut {
            connections: connections.left_out,
            objects: objects.left_out,
            topics: topics.left_out,
        };
        let now = Before::of(&connections.connections, &objects.objects, &topics.topics);
        let sample = Sample {
            rates,
            since_start: last.is_none(),
            connections: paired(connections.connections, |one| before.connection(one, over))
                .map(|(one, (read, written))| (one, read, written))
                .collect(),
            objects: paired(objects.objects, |one| before.object(one, over)).collect(),
            topics: paired(topics.topics, |one| before.topic(one, over)).collect(),
            unheard: topics.unheard,
            left_out,
            status: status.clone(),
        };
        self.last = Some((at, status, now));
        sample
    }
}

fn paired<T, U>(all: Vec<T>, with: impl Fn(&T) -> U) -> impl Iterator<Item = (T, U)> {
    all.into_iter().map(move |one| {
        let other = with(&one);
        (one, other)
    })
}

impl Sample {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        let rounded = |rate: f64| (rate * 1_000.0).round() / 1_000.0;
        let object = |(one, pace): &(Object, Pace)| {
            json!({"name": one.name, "owner": one.owner.as_ref().map(|owner| owner.peer), "members": one.members, "queued": one.queued,
                "calls": one.calls, "errors": one.errors, "open": one.open, "bytes": one.bytes,
                "calls_per_s": rounded(pace.calls), "errors_per_s": rounded(pace.errors), "p50_us": pace.p50_us, "p99_us": pace.p99_us})
        };
        let topic = |(one, rate): &(Topic, f64)| {
            json!({"object": one.object, "topic": one.topic, "pattern": one.pattern, "subscribers": one.subscribers,
                "events": one.events, "events_per_s": rounded(*rate)})
        };
        let connection = |(one, read, written): &(Connection, f64, f64)| {
            json!({"peer": one.peer, "pid": one.pid, "uid": one.uid, "name": one.name, "principal": one.principal, "age_ms": one.age_ms,
                "queued_bytes": one.queued_bytes, "event_bytes": one.event_bytes, "owes": one.owes, "memory_bytes": one.memory_bytes,
                "bytes_in": one.bytes_in, "bytes_out": one.bytes_out, "bytes_in_per_s": rounded(*read), "bytes_out_per_s": rounded(*written),
                "objects": one.objects, "subscriptions": one.subscriptions, "missed": one.missed, "standing": one.standing})
        };
        json!({
            "uptime_ms": self.status.uptime_ms,
            "epoch": self.status.epoch,
            "rates": rates_json(&self.rates, self.since_start),
            "totals": {
                "calls": self.status.calls(),
                "errors": self.status.errors(),
                "open": self.status.totals.open,
                "events_published": self.status.metric("events_published"),
                "events_delivered": self.status.metric("events_delivered"),
                "events_missed": self.status.metric("events_missed"),
                "unheard": self.unheard,
                "restarts": self.status.restarted(),
            },
            "objects": self.objects.iter().map(object).collect::<Vec<_>>(),
            "topics": self.topics.iter().map(topic).collect::<Vec<_>>(),
            "connections": self.connections.iter().map(connection).collect::<Vec<_>>(),
            "left_out": self.left_out.sum(),
        })
    }
}

//! The surveys as JSON: what `sys.broker` answers.
//!
//! Owns the keys, which docs/observe.md lists, and the order of the lists: each has the rows that come first, `most` of them, and the list
//! to write them into. Knows no actor; called by the built-in object.

use super::listing::{Listing, first_of};
use super::survey::{HubSurvey, ObjectSurvey, PeerSurvey, ReceiverSurvey, RegistrySurvey, TopicSurvey};
use super::tally::{OTHERS, ObjectTally};
use crate::message::metadata::RESERVED_PREFIX;
use crate::message::{PeerId, key};
use crate::policy::OLD_BROKER;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Entries of a list, when nothing is said.
pub const LIMIT: usize = 1_000;
/// The most that can be asked for: they must fit into a frame.
pub const LIMIT_MAX: usize = 20_000;

/// A row of the connections.
#[derive(Debug, Serialize)]
pub struct Connection<'a> {
    peer: u64,
    pid: Option<u32>,
    uid: Option<u32>,
    name: &'a str,
    principal: Option<&'a str>,
    local: bool,
    format: &'static str,
    age_ms: u64,
    queued_bytes: usize,
    event_bytes: usize,
    owes: u32,
    memory_bytes: usize,
    bytes_in: u64,
    bytes_out: u64,
    frames_in: u64,
    frames_out: u64,
    objects: usize,
    subscriptions: usize,
    missed: u64,
    standing: &'static str,
}

/// Who is connected. The busiest first. `micros`: the broker's age.
#[must_use]
pub fn connections<'a>(
    names: &'a RegistrySurvey,
    topics: &HubSurvey,
    micros: u64,
    most: usize,
) -> (Listing, Vec<Connection<'a>>) {
    let receivers: HashMap<PeerId, &ReceiverSurvey> = topics
        .receivers
        .iter()
        .map(|receiver| (receiver.peer, receiver))
        .collect();
    let rows = names
        .peers
        .iter()
        .map(|survey| connection(survey, receivers.get(&survey.peer.id()).copied(), micros))
        .collect();
    let by = |row: &Connection<'_>| (Reverse(row.frames_in.saturating_add(row.frames_out)), row.peer);
    let there = names.peers.len().saturating_add(names.peers_left_out);
    let listing = Listing::new("connections", there, Map::new());
    (listing, first_of(rows, most, |a, b| by(a).cmp(&by(b))))
}

fn connection<'a>(survey: &'a PeerSurvey, receiver: Option<&ReceiverSurvey>, micros: u64) -> Connection<'a> {
    let PeerSurvey {
        peer,
        objects,
        came_us,
    } = survey;
    let passed = peer.passed();
    let known = |number: u32, unknown: u32| (number != unknown).then_some(number);
    Connection {
        peer: peer.id().0,
        pid: known(peer.origin.pid, 0),
        uid: known(peer.origin.uid, u32::MAX),
        name: peer.name(),
        principal: peer.principal.name.as_deref(),
        local: peer.is_local(),
        format: peer.format(),
        age_ms: micros.saturating_sub(*came_us as u64).div_euclid(1000),
        queued_bytes: peer.account.queued(),
        event_bytes: peer.account.events(),
        owes: peer.account.load(),
        memory_bytes: peer.account.memory.reserved(),
        bytes_in: passed.bytes_in,
        bytes_out: passed.bytes_out,
        frames_in: passed.frames_in,
        frames_out: passed.frames_out,
        objects: *objects,
        subscriptions: receiver.map_or(0, |receiver| receiver.subscriptions),
        missed: receiver.map_or(0, |receiver| receiver.missed),
        standing: receiver.map_or("ok", |receiver| receiver.standing),
    }
}

/// Which objects there are, and what became of their calls: those that somebody has before those that are gone, and of both those that
/// are called most first.
#[must_use]
pub fn objects(survey: &RegistrySurvey, most: usize) -> (Listing, Vec<&ObjectSurvey>) {
    // Read once: they go on counting while the rows are put in order.
    let calls = |object: &ObjectSurvey| object.tally.as_ref().map_or(0, |tally| tally.calls.get());
    let all = survey
        .objects
        .iter()
        .map(|object| ((object.owner.is_none(), Reverse(calls(object))), object))
        .collect();
    let rows = first_of(all, most, |(a, one), (b, other)| {
        (a, &one.name).cmp(&(b, &other.name))
    });
    let shown = survey.objects.iter().filter(|object| object.owner.is_some());
    let beyond = survey.registered.saturating_sub(shown.count());
    let there = survey.objects.len().saturating_add(beyond);
    let listing = Listing::new("objects", there, Map::new());
    (listing, rows.into_iter().map(|(_, object)| object).collect())
}

/// A row of the objects.
#[must_use]
pub fn object(survey: &ObjectSurvey) -> Value {
    let owner = survey.owner.as_ref().map(|peer| {
        json!({
            "peer": peer.id().0,
            "pid": (peer.origin.pid != 0).then_some(peer.origin.pid),
            "uid": (peer.origin.uid != u32::MAX).then_some(peer.origin.uid),
            "name": peer.name(),
        })
    });
    let count = |read: fn(&ObjectTally) -> u64| survey.tally.as_ref().map_or(0, |tally| read(tally));
    let times = survey
        .tally
        .as_ref()
        .map(|tally| tally.times.read())
        .unwrap_or_default();
    let most = (times.count() > 0).then_some(times.most);
    json!({
        "name": survey.name,
        "owner": owner,
        "members": survey.members,
        "queued": survey.queued,
        "calls": count(|tally| tally.calls.get()),
        "one_way": count(|tally| tally.one_way.get()),
        "errors": count(ObjectTally::errors),
        "refused": count(|tally| tally.turned_away.get()),
        "open": count(ObjectTally::open),
        "bytes": count(|tally| tally.bytes.get()),
        "sum_us": times.sum,
        "p50_us": times.permille(500),
        "p90_us": times.permille(900),
        "p99_us": times.permille(990),
        "max_us": most,
        "histogram": times.buckets,
    })
}

/// What is subscribed to. What is published most first.
#[must_use]
pub fn topics(survey: &HubSurvey, most: usize) -> (Listing, Vec<&TopicSurvey>) {
    let rows = first_of(survey.topics.iter().collect(), most, |a, b| {
        (b.events, &a.key, a.pattern).cmp(&(a.events, &b.key, b.pattern))
    });
    let beside = Map::from_iter([
        ("unheard".to_owned(), survey.unheard.into()),
        ("retained".to_owned(), survey.retained.into()),
    ]);
    let there = survey.topics.len().saturating_add(survey.left_out);
    (Listing::new("topics", there, beside), rows)
}

/// A row of the topics.
#[must_use]
pub fn topic(survey: &TopicSurvey) -> Value {
    let (object, topic) = key::split(&survey.key);
    json!({
        "object": String::from_utf8_lossy(object),
        "topic": String::from_utf8_lossy(topic),
        "pattern": survey.pattern,
        "subscribers": survey.subscribers,
        "events": survey.events,
        "peers": survey.peers.iter().map(|peer| peer.0).collect::<Vec<_>>(),
    })
}

/// All objects and topics together, those that are gone included; but not the broker's own objects, so that looking changes nothing.
#[must_use]
pub fn totals(names: &RegistrySurvey, hub: &HubSurvey) -> Value {
    let counts = |object: &&ObjectSurvey| {
        &*object.name == OTHERS || !object.name.starts_with(RESERVED_PREFIX) && &*object.name != OLD_BROKER
    };
    let tallies = || {
        names
            .objects
            .iter()
            .filter(counts)
            .filter_map(|object| object.tally.as_ref())
    };
    let sum =
        |read: fn(&ObjectTally) -> u64| tallies().fold(0, |sum: u64, tally| sum.saturating_add(read(tally)));
    json!({
        "objects": names.registered,
        "topics": hub.topics.len(),
        "subscriptions": hub.subscriptions,
        "calls": sum(|tally| tally.calls.get()),
        "one_way": sum(|tally| tally.one_way.get()),
        "errors": sum(ObjectTally::errors),
        "refused": sum(|tally| tally.turned_away.get()),
        "open": sum(ObjectTally::open),
    })
}

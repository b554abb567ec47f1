//! Subscriptions, as the broker's list and its traffic tell of them.
//!
//! Owns what both mean, and what the list leaves out: it names some of the connections of a key, each once. No broker, no clock. Called by
//! `watch`.

use super::seen::{Kind, Thing, What};
use super::shape::{Topic, Topics};
use super::tap::Record;
use std::collections::HashSet;

/// Connections that the broker names of a key, at most.
const NAMED: usize = 32;

/// What a record says of a subscription.
pub(crate) fn subscription(record: &Record) -> Option<(What, Thing)> {
    let what = match record.what.as_deref()? {
        "subscribed" => What::Appeared,
        "unsubscribed" => What::Vanished,
        _ => return None,
    };
    let thing = Thing {
        kind: Kind::Subscription,
        name: record.object.clone()?,
        topic: Some(record.member.clone()?),
        pattern: record.pattern,
        peer: record.peer?,
        pid: 0,
        uid: None,
    };
    Some((what, thing))
}

/// The subscriptions that the broker tells of.
pub(crate) fn subscriptions(topics: &Topics) -> impl Iterator<Item = Thing> + '_ {
    topics.topics.iter().flat_map(|topic| {
        topic.peers.iter().map(|peer| Thing {
            peer: *peer,
            ..subject(topic)
        })
    })
}

/// What is subscribed to, whoever it is.
fn subject(topic: &Topic) -> Thing {
    Thing {
        kind: Kind::Subscription,
        name: topic.object.clone(),
        topic: Some(topic.topic.clone()),
        pattern: topic.pattern,
        peer: 0,
        pid: 0,
        uid: None,
    }
}

/// A connection may have subscribed several times, and is named once.
fn has_more(topic: &Topic) -> bool {
    topic.subscribers > topic.peers.len() as u64
}

/// What the broker has not told all subscriptions of.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    subjects: HashSet<Thing>,
    /// There are others, of which it has told none.
    others: bool,
}

impl Partial {
    /// Of one answer of the broker.
    pub(crate) fn of(topics: &Topics) -> Self {
        let subjects = topics.topics.iter().filter(|topic| has_more(topic));
        Self {
            subjects: subjects.map(subject).collect(),
            others: topics.left_out > 0,
        }
    }

    /// What there is to say of those whose connections it has not named, each with what is subscribed to.
    pub(crate) fn warnings(topics: &Topics) -> impl Iterator<Item = (Thing, String)> + '_ {
        let cut = |topic: &&Topic| topic.peers.len() >= NAMED && has_more(topic);
        topics.topics.iter().filter(cut).map(|topic| {
            let thing = subject(topic);
            let text = format!(
                "the broker names {} connections of the {} subscriptions to {}; the others are not shown until they vanish",
                topic.peers.len(),
                topic.subscribers,
                thing.subject()
            );
            (thing, text)
        })
    }

    /// Whether there may be more of this than was told.
    pub(crate) fn has(&self, thing: &Thing) -> bool {
        thing.kind == Kind::Subscription && (self.others || self.subjects.contains(&thing.apart_from_peer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, subscribers: u64, peers: u64) -> Topic {
        Topic {
            object: "o".to_owned(),
            topic: name.to_owned(),
            subscribers,
            peers: (1..=peers).collect(),
            ..Topic::default()
        }
    }

    #[test]
    fn what_was_not_named_is_known_to_be_missing() {
        let (all, twice, many) = (topic("all", 3, 3), topic("twice", 2, 1), topic("many", 40, 32));
        let mut topics = Topics {
            topics: vec![all.clone(), twice.clone(), many.clone()],
            ..Topics::default()
        };
        let has = |partial: &Partial, topic: &Topic| {
            let peer = 77;
            partial.has(&Thing {
                peer,
                ..subject(topic)
            })
        };
        let partial = Partial::of(&topics);
        assert_eq!(
            [&all, &twice, &many].map(|topic| has(&partial, topic)),
            [false, true, true]
        );
        let warnings: Vec<String> = Partial::warnings(&topics).map(|(_, text)| text).collect();
        assert_eq!(
            warnings,
            [
                "the broker names 32 connections of the 40 subscriptions to o.many; the others are not shown until they vanish"
            ],
            "whoever has subscribed twice is named"
        );
        topics.left_out = 1;
        assert!(has(&Partial::of(&topics), &topic("other", 1, 1)));
    }
}

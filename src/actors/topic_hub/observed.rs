//! What TopicHub shows of its work: events that it passes on, subscriptions that come and go, and a survey of what is there.
//!
//! Steps of [`State`] and its index, in a file of their own. Nothing here decides where anything goes.

use super::facts::{Effect, Fact};
use super::fan_out::Receiver;
use super::state::{Current, State};
use crate::actors::core::Shared;
use crate::actors::observe::journal::Happening;
use crate::actors::observe::said::{Presence, Said, What};
use crate::actors::observe::survey::{HubSurvey, LOOKED_AT_MAX, ReceiverSurvey};
use crate::actors::peers::Key;
use crate::message::{Flags, key};

/// Events of one topic, or the first frame of one in pieces. `heard`: how many subscriptions select each.
pub(super) fn note_events(shared: &Shared, current: &Current, (first, count): (u32, u32), subscribers: u32) {
    shared.tap.offer_run(count, |number| {
        let frame = first.saturating_add(number);
        let view = current.batch.view(frame as usize)?;
        let retain = view.header.flags.has(Flags::RETAIN);
        let what = What::Event { subscribers, retain };
        Some(Said::framed(what, &view, (current.from.id(), None)))
    });
}

/// A subscription's two halves as text.
fn halves(subscribed: &[u8]) -> (&str, &str) {
    let (object, topic) = key::split(subscribed);
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    (text(object), text(topic))
}

impl State {
    /// An event whose receivers were looked up last.
    pub(super) fn note_one(&self, current: &Current, frame: u32) {
        if self.shared.tap.is_on() {
            note_events(&self.shared, current, (frame, 1), self.index.last_matches());
        }
    }

    /// The effects of a step, before they are final, for those who watch who comes and goes.
    pub(super) fn note_presence(&self) {
        for effect in &self.effects {
            let (what, fact) = match effect {
                Effect::FactAdded(_, fact) => (Presence::Subscribed, Some(fact)),
                Effect::FactRemoved(ticket) => (Presence::Unsubscribed, self.facts.get(*ticket)),
            };
            let Some(Fact::Subscription(subscription)) = fact else {
                continue;
            };
            let peer = self.receivers.get(subscription.peer);
            let (object, topic) = halves(&subscription.key);
            let about = (object, topic, subscription.pattern);
            self.shared.tap.offer(&Said::of_peer(what, peer, about));
        }
    }

    /// A subscriber does not keep up.
    pub(super) fn note_lagging(&self, key: Key) {
        if let Some(peer) = self.receivers.get(key) {
            let (id, pid) = (peer.id(), peer.origin.pid);
            let text = "it does not keep up, and misses events until it does".to_owned();
            self.shared.happened(Happening::Lagging, Some(id), pid, text);
        }
    }

    /// What is there now.
    #[must_use]
    pub fn survey(&mut self) -> HubSurvey {
        let peers = &self.receivers;
        let named = |key| peers.get(key).map(|peer| peer.id());
        let (topics, left_out) = self.index.topics(LOOKED_AT_MAX, named);
        let receivers = self.receivers.keyed().take(LOOKED_AT_MAX);
        let receivers = receivers.map(|(key, peer)| {
            let keeps_up = self.receivers.own(key).map(Receiver::keeps_up);
            let (standing, missed) = keeps_up.unwrap_or(("ok", 0));
            ReceiverSurvey {
                peer: peer.id(),
                subscriptions: self.facts.subscriptions(key),
                missed,
                standing,
            }
        });
        let (unheard, retained) = (self.index.unheard(), self.index.retained_count());
        HubSurvey {
            topics,
            left_out,
            subscriptions: self.index.subscription_count(),
            receivers: receivers.collect(),
            unheard,
            retained,
        }
    }
}

impl Receiver {
    /// How it keeps up, in a word, and what it ever missed.
    fn keeps_up(&self) -> (&'static str, u64) {
        let standing = match (self.is_lagging(), self.holds_since()) {
            (true, _) => "lagging",
            (false, Some(_)) => "holding",
            (false, None) => "ok",
        };
        (standing, self.missed_ever)
    }
}

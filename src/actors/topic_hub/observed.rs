//! What TopicHub shows of its work: events that it passes on, subscriptions that come and go, and a survey of what is there.
//!
//! Steps of [`State`] and its index, in a file of their own. Nothing here decides where anything goes.

use super::facts::{Effect, Fact};
use super::fan_out::Receiver;
use super::state::{Current, State};
use crate::actors::core::Shared;
use crate::actors::observe::gathered::Gathered;
use crate::actors::observe::journal::Happening;
use crate::actors::observe::said::{Presence, Said, What};
use crate::actors::observe::survey::{HubSurvey, LOOKED_AT_MAX, ReceiverSurvey};
use crate::actors::peers::Key;
use crate::error::ErrorCode;
use crate::message::frame::FrameView;
use crate::message::key;

/// Events of one topic. `subscribers`: how many subscriptions select each.
pub(super) fn note_events(shared: &Shared, current: &Current, (first, count): (u32, u32), subscribers: u32) {
    shared.tap.offer_run(count, |number| {
        let frame = first.saturating_add(number);
        let view = current.batch.view(frame as usize)?;
        let what = What::event(view.header, subscribers, None);
        Some(Said::framed(what, &view, (current.from.id(), None)))
    });
}

/// An event in pieces is whole, or has ended with an error: who watches is told.
pub(super) fn note_ended(gathered: Option<Box<Gathered>>, ended: Result<(), ErrorCode>) {
    if let Some(mut gathered) = gathered {
        if let (What::Event { error, .. }, Err(code)) = (&mut gathered.what, ended) {
            *error = Some(code);
        }
        gathered.tell(ended.is_ok());
    }
}

/// A subscription's two halves as text.
fn halves(subscribed: &[u8]) -> (&str, &str) {
    let (object, topic) = key::split(subscribed);
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    (text(object), text(topic))
}

impl State {
    /// An event that so many subscriptions select, or that was refused.
    pub(super) fn note_one(&self, current: &Current, view: &FrameView<'_>, heard: Result<usize, ErrorCode>) {
        if self.shared.tap.is_on() {
            let subscribers = u32::try_from(heard.unwrap_or_default()).unwrap_or(u32::MAX);
            let what = What::event(view.header, subscribers, heard.err());
            self.shared
                .tap
                .offer(&Said::framed(what, view, (current.from.id(), None)));
        }
    }

    /// The first frame of an event in pieces that so many subscriptions select. What is kept of it, if somebody wants to see it.
    pub(super) fn note_begun(
        &self,
        current: &Current,
        view: &FrameView<'_>,
        heard: usize,
    ) -> Option<Box<Gathered>> {
        let tap = self.shared.tap.is_on().then_some(&self.shared.tap)?;
        let what = What::event(view.header, u32::try_from(heard).unwrap_or(u32::MAX), None);
        let said = Said::framed(what, view, (current.from.id(), None));
        let gathered = Gathered::begin(tap, what, &said);
        if gathered.is_none() {
            tap.offer(&said);
        }
        gathered
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

//! Tests of TopicHub's core: tables for single rules, properties for sequences of operations.

mod properties;
mod retained;
mod subscriptions;
mod turns;

use super::facts::{Effect, Facts, Policy, Retained, Subscription, Will};
use super::index::{
    Index, Match, NotSubscribed, RETAINED_OVERHEAD, RetainError, RetainLimits, SubscribeError,
};
use crate::message::{Encoding, Origin, PeerId, SubscriptionId, Ticket, key};
use bytes::Bytes;

pub(super) type Peer = u8;

pub(super) const LIMITS: RetainLimits = RetainLimits {
    value: 100,
    total: 100_000,
    user_part: 4,
};

/// An index with its table, driven as the actor drives it.
#[derive(Default)]
pub(super) struct Room {
    pub(super) index: Index<Peer>,
    pub(super) facts: Facts<Peer>,
    ticket: u64,
}

impl Room {
    fn step<R>(&mut self, act: impl FnOnce(&mut Index<Peer>, Ticket, &mut Vec<Effect<Peer>>) -> R) -> R {
        self.ticket += 1;
        let mut out = Vec::new();
        let result = act(&mut self.index, Ticket(self.ticket), &mut out);
        self.facts.commit(&mut out);
        result
    }

    pub(super) fn subscribe(&mut self, subscription: Subscription<Peer>) -> Result<(), SubscribeError> {
        self.step(|index, ticket, out| index.subscribe(ticket, subscription, out))
    }

    pub(super) fn unsubscribe(&mut self, peer: Peer, id: u64) -> Result<(), NotSubscribed> {
        self.step(|index, _, out| index.unsubscribe(peer, SubscriptionId(id), out))
    }

    pub(super) fn retain(
        &mut self,
        key: &[u8],
        payload: &str,
        limits: RetainLimits,
    ) -> Result<(), RetainError> {
        self.step(|index, ticket, out| index.retain(ticket, key, value(payload), limits, out))
    }

    pub(super) fn set_will(&mut self, peer: Peer, will: Will) -> Result<(), RetainError> {
        self.step(|index, ticket, out| index.set_will(ticket, peer, will, LIMITS, out))
    }

    pub(super) fn gone(&mut self, peer: Peer) -> Option<Will> {
        self.step(|index, _, out| index.gone(peer, out))
    }

    /// Who hears it, as sorted (peer, subscription) pairs.
    pub(super) fn heard(&mut self, key: &[u8], publisher: Peer) -> Vec<(Peer, u64)> {
        pairs(self.index.matching(key, publisher, |_, _| false))
    }

    pub(super) fn retained(&self, key: &[u8], pattern: bool) -> Vec<(Vec<u8>, Bytes)> {
        let all = self.index.retained_for(key, pattern);
        all.map(|(key, value)| (key.to_vec(), value.payload.clone()))
            .collect()
    }

    pub(super) fn rebuild(&mut self) {
        self.index = Index::rebuild(&self.facts);
    }

    /// A second room with the same facts and an index built from them.
    pub(super) fn rebuilt(&self) -> Self {
        Self {
            index: Index::rebuild(&self.facts),
            facts: self.facts.clone(),
            ticket: self.ticket,
        }
    }
}

pub(super) fn pairs(matches: &[Match<Peer>]) -> Vec<(Peer, u64)> {
    let mut pairs: Vec<_> = matches.iter().map(|to| (to.peer, to.subscription.0)).collect();
    pairs.sort_unstable();
    pairs
}

/// `object/event` as a key.
pub(super) fn topic(text: &str) -> Box<[u8]> {
    let (object, event) = text.split_once('/').unwrap();
    key::join(object, event).into()
}

pub(super) fn exact(peer: Peer, id: u64, text: &str) -> Subscription<Peer> {
    Subscription {
        peer,
        id: SubscriptionId(id),
        key: topic(text),
        pattern: false,
        no_local: false,
        group: None,
        policy: Policy::Hold,
    }
}

pub(super) fn pattern(peer: Peer, id: u64, text: &str) -> Subscription<Peer> {
    Subscription {
        pattern: true,
        ..exact(peer, id, text)
    }
}

pub(super) fn in_group(subscription: Subscription<Peer>, group: &str) -> Subscription<Peer> {
    Subscription {
        group: Some(group.into()),
        ..subscription
    }
}

pub(super) fn value(payload: &str) -> Retained {
    let origin = Origin {
        peer: PeerId(7),
        uid: 1,
        pid: 2,
    };
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Retained {
        encoding: Encoding::RAW,
        meta: Bytes::new(),
        payload,
        origin,
    }
}

pub(super) fn will(text: &str) -> Will {
    let key = if text.is_empty() {
        Box::default()
    } else {
        topic(text)
    };
    Will {
        key,
        retain: false,
        encoding: Encoding::RAW,
        meta: Bytes::new(),
        payload: Bytes::from_static(b"bye"),
    }
}

//! What the policy says to subscriptions, events and wills.
//!
//! Owns who may subscribe, which retained values and wills go on, and what is ended when there is another policy. Each event is
//! judged on its concrete topic where its receivers are looked up. Steps of TopicHub, in a file of their own.

use super::facts::{Fact, Subscription};
use super::fan_out::Receiver;
use super::index::{Index, Match};
use super::state::State;
use crate::actors::access::{self, Access};
use crate::actors::messages::{Control, Revise};
use crate::actors::peer::{PeerRef, error_frame};
use crate::actors::peers::{Key, Peers};
use crate::actors::supervise::{Progress, guard};
use crate::error::CallError;
use crate::message::key::split;
use crate::message::{Pattern, Ticket};
use crate::policy::{Right, Rights};

impl State {
    /// A list of its own of those who hear an event: see [`matching`].
    pub(super) fn who_hears(&mut self, key: &[u8], publisher: Key) -> Vec<Match<Key>> {
        let (index, access) = (&mut self.index, &mut self.access);
        matching(index, &self.receivers, access, key, publisher)
            .0
            .to_vec()
    }

    /// Whether the peer may hold this subscription: it may hear its topic, or some topic that its patterns could select.
    fn may_hold(&mut self, peer: &PeerRef, subscription: &Subscription<Key>) -> bool {
        let Subscription {
            peer: key,
            key: topic,
            pattern,
            ..
        } = subscription;
        if !pattern {
            return self.access.may(*key, peer, Right::Subscribe, topic);
        }
        let half = |bytes| {
            std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| Pattern::new(text).ok())
        };
        let (object, event) = split(topic);
        match (half(object), half(event)) {
            (Some(object), Some(event)) => self.access.may_hear_some(*key, peer, &object, &event),
            // The index refuses it, and says why.
            _ => true,
        }
    }

    pub(super) fn check_subscribe(
        &mut self,
        peer: &PeerRef,
        subscription: &Subscription<Key>,
    ) -> Result<(), CallError> {
        if self.may_hold(peer, subscription) {
            return Ok(());
        }
        self.shared.metrics.denied.add(1);
        Err(access::error(
            &peer.principal,
            Right::Subscribe,
            &subscription.key,
        ))
    }

    /// Whether the peer may publish this, asked for a will when it is left and when it is published.
    pub(super) fn check_publish(&self, peer: &PeerRef, topic: &[u8]) -> Result<(), CallError> {
        if topic.is_empty()
            || Rights::default().may(&self.shared.policy, &peer.principal, Right::Publish, topic)
        {
            return Ok(());
        }
        self.shared.metrics.denied.add(1);
        Err(access::error(&peer.principal, Right::Publish, topic))
    }

    /// There is another policy: ends subscriptions that may not be held any more, and tells whose they were.
    pub fn revise(&mut self, _: Revise) -> Progress {
        self.index.forget_recent();
        let tickets: Vec<Ticket> = self.facts.iter().map(|(ticket, _)| ticket).collect();
        for ticket in tickets {
            if let Err(panic) = guard(|| self.revise_one(ticket)) {
                // What cannot be judged is not kept.
                tracing::error!(
                    panic,
                    "a new policy made TopicHub panic over a subscription; it is ended"
                );
                self.effects.clear();
                self.facts.remove(ticket);
                self.broken = true;
            }
        }
        if self.broken {
            Progress::Restart
        } else {
            Progress::Done
        }
    }

    fn revise_one(&mut self, ticket: Ticket) {
        let Some(Fact::Subscription(subscription)) = self.facts.get(ticket).cloned() else {
            return;
        };
        let Some(peer) = self.receivers.get(subscription.peer).cloned() else {
            return;
        };
        let Err(error) = self.check_subscribe(&peer, &subscription) else {
            return;
        };
        // It was found a moment ago.
        let _ = self
            .index
            .unsubscribe(subscription.peer, subscription.id, &mut self.effects);
        self.commit();
        let memory = peer.account.memory.topics();
        if memory.is_reserved() {
            memory.settle(self.facts.counts(subscription.peer).bytes);
        }
        peer.tell(Control::Frame(error_frame(subscription.id.0, &error).into()));
    }
}

/// Who hears an event: those who subscribed and may, on this concrete topic. `true`: and the same event once more.
pub(super) fn matching<'i>(
    index: &'i mut Index<Key>,
    receivers: &Peers<Receiver>,
    access: &mut Access,
    key: &[u8],
    publisher: Key,
) -> (&'i [Match<Key>], bool) {
    let lagging = |peer, _| receivers.own(peer).is_some_and(Receiver::is_lagging);
    if !access.is_guarded() {
        return index.matching_run(key, publisher, lagging, |_| true);
    }
    let mut may_hear = |to| {
        let peer = receivers.get(to);
        peer.is_some_and(|peer| access.may(to, peer, Right::Subscribe, key))
    };
    index.matching_run(key, publisher, lagging, &mut may_hear)
}

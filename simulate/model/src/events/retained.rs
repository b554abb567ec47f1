//! Retained values: the last one of each topic, before anything else, once.
//!
//! Owns the rules `retained`, `retained-order`, `retained-stale`, `retained-missing`.

use super::publishes::Publish;
use super::{Events, Subscription};
use crate::run::{Found, Moment, Run, show};

impl Events {
    pub(super) fn retained_came(
        &mut self,
        run: &Run,
        index: usize,
        which: usize,
        lone: bool,
        now: Moment,
        found: &mut Found,
    ) {
        let (Some(subscription), Some(publish)) = (self.all.get(index), self.publishes.all.get(which)) else {
            return;
        };
        let what = format!(
            "retained value {} for subscription {}",
            show(&publish.bytes),
            subscription.id
        );
        let client = subscription.client;
        let same_topic = |at: &usize| {
            self.publishes
                .all
                .get(*at)
                .is_some_and(|other| other.topic == publish.topic)
        };
        if subscription.any_live {
            found.add(
                "retained-order",
                client,
                now.at,
                format!("{what} came behind live events"),
            );
        }
        let wanted =
            subscription.wants_retained && !(subscription.no_local && publish.publisher == client && lone);
        if !wanted || lone && !publish.retain || publish.bytes.is_empty() {
            found.add(
                "retained",
                client,
                now.at,
                format!("{what} was not asked for, or not retained"),
            );
        }
        if subscription.retained.iter().any(same_topic) {
            found.add(
                "retained",
                client,
                now.at,
                format!("{what} is the second one of its topic"),
            );
        }
        if lone && let Some(newer) = self.newer(run, publish, subscription) {
            let text = format!("{what} was replaced by {} before", show(&newer.bytes));
            found.add("retained-stale", client, now.at, text);
        }
        if let Some(subscription) = self.all.get_mut(index) {
            subscription.retained.insert(which);
        }
    }

    /// Values (and deletions) of the same topic.
    fn others<'a>(&'a self, publish: &'a Publish) -> impl Iterator<Item = &'a Publish> {
        let all = self.publishes.all.iter();
        all.filter(move |other| {
            other.retain && other.topic == publish.topic && !std::ptr::eq(*other, publish)
        })
    }

    /// A value that surely took its place before the subscription was asked for.
    fn newer<'a>(
        &'a self,
        run: &Run,
        publish: &'a Publish,
        subscription: &Subscription,
    ) -> Option<&'a Publish> {
        self.others(publish).find(|other| {
            let in_force = other.accepted.is_some_and(|(at, _)| at < subscription.arrived);
            in_force && self.publishes.precedes(run, publish, other)
        })
    }

    /// The values that must have come to this subscription when it was opened, and did not.
    pub(super) fn retained_missing<'a>(
        &'a self,
        run: &'a Run,
        subscription: &'a Subscription,
    ) -> impl Iterator<Item = &'a Publish> {
        let all = self.publishes.all.iter().enumerate();
        let due = move |publish: &Publish| {
            let accepted = publish.accepted.is_some_and(|(at, _)| at < subscription.arrived);
            let own = subscription.no_local && publish.publisher == subscription.client;
            let plain = publish.retain && publish.will.is_none() && !publish.bytes.is_empty();
            accepted && plain && !own && subscription.wants_retained && subscription.selects(&publish.topic)
        };
        let last = move |publish: &Publish| {
            !self.others(publish).any(|other| {
                let in_time = other.arrived <= subscription.done;
                in_time && !other.is_void() && !self.publishes.precedes(run, other, publish)
            })
        };
        all.filter(move |(at, publish)| due(publish) && !subscription.retained.contains(at) && last(publish))
            .map(|(_, publish)| publish)
    }

    /// How many retained values at most a subscription may have missed.
    pub(super) fn retained_possible(&self, subscription: &Subscription) -> u64 {
        if !subscription.wants_retained {
            return 0;
        }
        let all = self.publishes.all.iter().filter(|publish| {
            publish.retain && publish.arrived <= subscription.done && subscription.selects(&publish.topic)
        });
        let mut topics: Vec<_> = all.map(|publish| publish.topic.as_slice()).collect();
        topics.sort_unstable();
        topics.dedup();
        (topics.len() as u64).saturating_sub(subscription.retained.len() as u64)
    }
}

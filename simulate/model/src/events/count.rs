//! The sums at the end: what was published to a subscription is what it heard and what it was told to have missed.
//!
//! Owns the rules `gap-untold`, `gap-overtold`, `retained-missing`, `accepted`, `will`, `event-pieces` of a whole run.

use super::publishes::{Publish, Publishes};
use super::{Events, Subscription};
use crate::run::{Found, Run, show, step};

/// Whether a publish went to a subscription.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meant {
    Surely,
    Perhaps,
    No,
}

impl Events {
    /// Judges the whole run.
    pub(crate) fn finish(&self, run: &Run, drained: bool, found: &mut Found) {
        if !drained {
            return;
        }
        let live =
            |subscription: &&Subscription| run.lives(subscription.client) && subscription.leaving.is_none();
        for subscription in self.all.iter().filter(live) {
            for (which, _) in subscription.open.values() {
                let author = self.publishes.all.get(*which);
                if author
                    .is_some_and(|publish| publish.whole || publish.void || !run.lives(publish.publisher))
                {
                    let text = format!("subscription {} never got the end of a message", subscription.id);
                    found.add("event-pieces", subscription.client, u64::MAX, text);
                }
            }
            if subscription.group.is_none() {
                self.sum(run, subscription, found);
            }
        }
        self.groups(run, found);
        for (at, publish) in self.publishes.all.iter().enumerate() {
            self.accepted(at, publish, found);
            let author_lives = publish.will.is_some() && run.lives(publish.publisher);
            let heard = |subscription: &Subscription| {
                !subscription.blurred
                    && (subscription.live.contains(&at) || subscription.retained.contains(&at))
            };
            if author_lives && self.all.iter().any(heard) && self.is_alone(publish) {
                let text = format!("its will {} was published, and it lives", show(&publish.bytes));
                found.add("will", publish.publisher, u64::MAX, text);
            }
        }
    }

    /// Whether no other publish has the same content.
    fn is_alone(&self, publish: &Publish) -> bool {
        let same = |other: &&Publish| {
            (other.encoding, &other.meta, &other.bytes) == (publish.encoding, &publish.meta, &publish.bytes)
        };
        self.publishes.all.iter().filter(same).count() == 1
    }

    fn meant(&self, run: &Run, publish: &Publish, subscription: &Subscription) -> Meant {
        let own = subscription.no_local && publish.publisher == subscription.client;
        if publish.is_void() || own || !subscription.selects(&publish.topic) {
            return Meant::No;
        }
        let Some(author) = run.client(publish.publisher) else {
            return Meant::No;
        };
        if let Some(will) = &publish.will {
            if author.lives() || author.goodbye.is_some() || will.replaced {
                return Meant::No;
            }
            let published = Publishes::will_published(run, author, publish);
            return match published {
                Some(from) if from > subscription.done => Meant::Surely,
                _ => Meant::Perhaps,
            };
        }
        if self
            .publishes
            .by(run, publish)
            .is_some_and(|by| by < subscription.arrived)
        {
            return Meant::No;
        }
        let since = subscription
            .since
            .get(&publish.publisher)
            .copied()
            .unwrap_or(u64::MAX);
        let after = publish.arrived > subscription.done || publish.turn > since;
        let handled =
            publish.accepted.is_some() || author.is_owed() || self.publishes.evidence(publish).is_some();
        if after && handled && publish.is_sound(run) {
            Meant::Surely
        } else {
            Meant::Perhaps
        }
    }

    fn sum(&self, run: &Run, subscription: &Subscription, found: &mut Found) {
        let (mut untold, mut possible) = (0_u64, 0_u64);
        let mut example = None;
        for (at, publish) in self.publishes.all.iter().enumerate() {
            if subscription.live.contains(&at) {
                continue;
            }
            let meant = self.meant(run, publish, subscription);
            possible = possible.saturating_add(u64::from(meant != Meant::No));
            if meant == Meant::Surely {
                untold = untold.saturating_add(1);
                example = Some(publish);
            }
        }
        let missing: Vec<&Publish> = self.retained_missing(run, subscription).collect();
        let told = subscription.missed;
        let clear = !subscription.blurred;
        if let Some(publish) = missing.first().filter(|_| clear && missing.len() as u64 > told) {
            let text = format!(
                "subscription {} did not get the retained value {}",
                subscription.id,
                show(&publish.bytes)
            );
            found.add("retained-missing", subscription.client, u64::MAX, text);
        }
        if clear && untold > told {
            let text = format!(
                "subscription {}: {untold} events did not come ({} of step {} among them), {told} are told",
                subscription.id,
                example.map_or_else(String::new, |publish| show(&publish.bytes)),
                example.map_or(0, |publish| step(publish.arrived)),
            );
            found.add("gap-untold", subscription.client, u64::MAX, text);
        }
        let possible = possible.saturating_add(self.retained_possible(subscription));
        if told > possible {
            let text = format!(
                "subscription {}: {told} are told as missed, at most {possible} can be",
                subscription.id
            );
            found.add("gap-overtold", subscription.client, u64::MAX, text);
        }
    }

    /// A group whose members all lived has heard, together, what was published to it.
    fn groups(&self, run: &Run, found: &mut Found) {
        for (key, heard) in &self.groups {
            let members: Vec<&Subscription> = self
                .all
                .iter()
                .filter(|one| one.group_key().as_ref() == Some(key))
                .collect();
            let lived = |one: &&Subscription| {
                run.lives(one.client) && one.leaving.is_none() && !one.no_local && !one.blurred
            };
            let Some(first) = members.iter().min_by_key(|one| one.done) else {
                continue;
            };
            if !members.iter().all(lived) {
                continue;
            }
            let told: u64 = members.iter().map(|one| one.missed).sum();
            let all = self.publishes.all.iter().enumerate();
            let lost = all.filter(|(at, publish)| {
                !heard.contains(at)
                    && publish.arrived > first.done
                    && self.meant(run, publish, first) == Meant::Surely
            });
            let untold = lost.count() as u64;
            if untold > told {
                let text = format!(
                    "the group {}: {untold} events went to no member, {told} are told",
                    show(&key.0)
                );
                found.add("gap-untold", first.client, u64::MAX, text);
            }
        }
    }

    /// Accepted names no fewer than heard it, and no more than there were.
    fn accepted(&self, index: usize, publish: &Publish, found: &mut Found) {
        let Some((at, count)) = publish.accepted else {
            return;
        };
        let mut groups = Vec::new();
        let (mut heard, mut possible) = (0_u32, 0_u32);
        for subscription in self.all.iter().filter(|one| one.selects(&publish.topic)) {
            let own = subscription.no_local && subscription.client == publish.publisher;
            let whole = !subscription.open.values().any(|(open, _)| *open == index);
            let came = whole && subscription.live.contains(&index) && !subscription.blurred;
            heard = heard.saturating_add(u32::from(came));
            let group = subscription.group_key();
            let again = group.as_ref().is_some_and(|group| groups.contains(group));
            groups.extend(group.filter(|_| !own));
            possible = possible.saturating_add(u32::from(!again && !own && subscription.arrived < at));
        }
        // Who asked and never read its Done may have heard it, too.
        let possible = possible.saturating_add(self.unanswered);
        // Of a message in pieces they had heard the beginning; who lost the rest does not count.
        // Which members were in turn cannot be told by what one of them has asked for meanwhile.
        let above = count > possible && groups.is_empty();
        if (count < heard && !publish.in_pieces) || above {
            let text = format!(
                "{} was accepted for {count}: {heard} heard it, at most {possible} could",
                show(&publish.bytes)
            );
            found.add("accepted", publish.publisher, at, text);
        }
    }
}

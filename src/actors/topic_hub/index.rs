//! Who hears a topic: the routing decisions of TopicHub.
//!
//! Derived from [`Facts`] and disposable: every accepted change goes through [`Index::insert_fact`] in a live step
//! as in a rebuild, and leaves as effects for the table. An exact table serves exact subscriptions, a trie the
//! patterns; a key that was just looked up is answered from the last list. It refuses to know actors, sockets,
//! clocks and queues. Called by the TopicHub actor (one operation per frame) and by the simulator.
//!
//! Tickets must ascend.

mod counts;

pub use super::retained::{RETAINED_OVERHEAD, RetainError, RetainLimits};
pub use super::subscribers::Match;

use super::facts::{Effect, Fact, Facts, Retained, Subscription, Will};
use super::retained::RetainedValues;
use super::selector::Selector;
use super::subscribers::{Reuse, Subscriber, Subscribers};
use super::trie::Trie;
use crate::actors::peer_key::PeerKey;
use crate::actors::planted::{self, Bug};
use crate::actors::table::Table;
use crate::message::{Key, NameError, PatternError, SubscriptionId, Ticket};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Why a Subscribe was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The peer has a subscription of this number.
    #[error("subscription {0} is open already on this connection; each needs its own number")]
    Duplicate(SubscriptionId),
    /// The key is no topic.
    #[error("a topic is an object name and an event name: {0}")]
    Key(#[from] NameError),
    /// The key is no pattern.
    #[error("both halves of a pattern subscription are patterns: {0}")]
    Pattern(#[from] PatternError),
}

/// The peer has no subscription of this number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotSubscribed;

/// Where a subscription lies.
#[derive(Debug)]
struct Place {
    ticket: Ticket,
    key: Box<[u8]>,
    group: Option<Box<str>>,
    /// In the trie; otherwise in the exact table.
    wild: bool,
    /// It was written as a pattern.
    pattern: bool,
    slot: usize,
}

/// The last key and who hears it: a publisher sends runs of one topic.
#[derive(Debug)]
struct Recent<P> {
    key: Vec<u8>,
    publisher: Option<P>,
    reuse: Reuse,
    matches: Vec<Match<P>>,
    /// Events that were heard by these and are not counted with their topics yet.
    uncounted: u64,
}

impl<P: PeerKey> Recent<P> {
    fn serves(&self, key: &[u8], publisher: P) -> bool {
        match self.reuse {
            Reuse::Always => self.key == key,
            Reuse::SamePublisher => self.publisher == Some(publisher) && self.key == key,
            Reuse::Never => false,
        }
    }
}

/// A topic as the key of its entry. Usual topics lie in the table itself, and so does their one subscriber: with a million of
/// them, each place in memory that an event has to look at costs as much as all the rest of its routing.
type Topic = SmallVec<[u8; 56]>;

/// The index.
#[derive(Debug)]
pub struct Index<P> {
    exact: Table<Topic, Subscribers<P>>,
    patterns: Trie<P>,
    subscriptions: BTreeMap<(P, SubscriptionId), Place>,
    retained: RetainedValues,
    wills: BTreeMap<P, (Ticket, Will)>,
    recent: Recent<P>,
    /// Events that nobody heard.
    unheard: u64,
}

impl<P: PeerKey> Index<P> {
    /// An index without any fact.
    #[must_use]
    pub fn new() -> Self {
        Self {
            exact: Table::default(),
            patterns: Trie::new(),
            subscriptions: BTreeMap::new(),
            retained: RetainedValues::default(),
            wills: BTreeMap::new(),
            recent: Recent {
                key: Vec::new(),
                publisher: None,
                reuse: Reuse::Never,
                matches: Vec::new(),
                uncounted: 0,
            },
            unheard: 0,
        }
    }

    /// The index of these facts. Whose turn it is in a queue group is not a fact: groups begin anew.
    #[must_use]
    pub fn rebuild(facts: &Facts<P>) -> Self {
        let mut index = Self::new();
        for (ticket, fact) in facts.iter() {
            index.insert_fact(ticket, fact);
        }
        index
    }

    /// Puts one accepted fact in. A rebuild inserts all of them in ticket order; one that panics leaves an index
    /// that must be thrown away.
    pub fn insert_fact(&mut self, ticket: Ticket, fact: &Fact<P>) {
        match fact {
            Fact::Subscription(subscription) => self.insert_subscription(ticket, subscription),
            Fact::Retained { key, value } => {
                self.retained.insert(ticket, key, value.clone());
            }
            Fact::Will { peer, will } => {
                self.wills.insert(*peer, (ticket, will.clone()));
            }
        }
    }

    /// Opens a subscription.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing has changed then.
    pub fn subscribe(
        &mut self,
        ticket: Ticket,
        subscription: Subscription<P>,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), SubscribeError> {
        if self
            .subscriptions
            .contains_key(&(subscription.peer, subscription.id))
        {
            return Err(SubscribeError::Duplicate(subscription.id));
        }
        if subscription.pattern {
            Selector::parse(&subscription.key)?;
        } else {
            Key::pair(&subscription.key)?;
        }
        self.accept(ticket, Fact::Subscription(subscription), out);
        Ok(())
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// [`NotSubscribed`] when the peer has none of this number.
    pub fn unsubscribe(
        &mut self,
        peer: P,
        id: SubscriptionId,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), NotSubscribed> {
        let place = self.subscriptions.remove(&(peer, id)).ok_or(NotSubscribed)?;
        if !planted::is(Bug::UnsubscribeIgnored) {
            self.remove_place(&place);
        }
        out.push(Effect::FactRemoved(place.ticket));
        Ok(())
    }

    /// Who hears an event with this key: one match per subscription, one member per queue group. Of a group, the
    /// next member in turn that `lagging` does not name, or the next one when it names all. The order is not
    /// specified.
    ///
    /// The list stays valid while the index is borrowed. The same key again costs one comparison, until a
    /// subscription comes or goes (and unless a queue group hears it).
    pub fn matching(
        &mut self,
        key: &[u8],
        publisher: P,
        lagging: impl Fn(P, SubscriptionId) -> bool,
    ) -> &[Match<P>] {
        self.matching_where(key, publisher, lagging, |_| true)
    }

    /// The same among peers that may hear the topic. What `may_hear` says holds for the list, too: when it would say something
    /// else, [`forget_recent`](Self::forget_recent) is to be called.
    pub fn matching_where(
        &mut self,
        key: &[u8],
        publisher: P,
        lagging: impl Fn(P, SubscriptionId) -> bool,
        may_hear: impl FnMut(P) -> bool,
    ) -> &[Match<P>] {
        self.matching_run(key, publisher, lagging, may_hear).0
    }

    /// The same, and whether the next event of this key and publisher is heard by the same: no queue group has given a turn.
    pub fn matching_run(
        &mut self,
        key: &[u8],
        publisher: P,
        lagging: impl Fn(P, SubscriptionId) -> bool,
        mut may_hear: impl FnMut(P) -> bool,
    ) -> (&[Match<P>], bool) {
        if self.recent.serves(key, publisher) {
            self.count_more(1);
        } else {
            self.count_repeated();
            self.look_up(key, publisher, &lagging, &mut may_hear);
        }
        (&self.recent.matches, self.recent.reuse != Reuse::Never)
    }

    /// The next look-up looks again.
    pub const fn forget_recent(&mut self) {
        self.recent.reuse = Reuse::Never;
    }

    /// Keeps the last value of a topic; an empty payload clears it. The key must be a checked topic.
    ///
    /// # Errors
    /// [`RetainError`]; the topic's present value stays then.
    pub fn retain(
        &mut self,
        ticket: Ticket,
        key: &[u8],
        value: Retained,
        limits: RetainLimits,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), RetainError> {
        if value.payload.is_empty() {
            out.extend(self.retained.remove(key).map(Effect::FactRemoved));
            return Ok(());
        }
        self.retained.check(key, &value, limits)?;
        if planted::is(Bug::RetainedNotReplaced) && self.retained.get(key).is_some() {
            return Ok(());
        }
        out.extend(
            self.retained
                .insert(ticket, key, value.clone())
                .map(Effect::FactRemoved),
        );
        out.push(Effect::FactAdded(
            ticket,
            Fact::Retained {
                key: key.into(),
                value,
            },
        ));
        Ok(())
    }

    /// The last values that a subscription with this key selects, sorted by key. An exact key costs one look-up, a
    /// pattern a look at the keys that begin as it does before its first wildcard. Whether a `no_local`
    /// subscriber published a value itself, its `origin` tells.
    pub fn retained_for(&self, key: &[u8], pattern: bool) -> impl Iterator<Item = (&[u8], &Retained)> {
        let selector = pattern.then(|| Selector::parse(key).ok()).flatten();
        let exact = if pattern { None } else { self.retained.get(key) };
        exact.into_iter().chain(
            selector
                .into_iter()
                .flat_map(|selector| self.retained.select(selector)),
        )
    }

    /// What all retained values cost, in bytes.
    #[must_use]
    pub const fn retained_bytes(&self) -> usize {
        self.retained.bytes()
    }

    /// Sets the peer's will in the place of the present one; an empty key takes that back. Any other key must be a
    /// checked topic.
    ///
    /// # Errors
    /// [`RetainError::TooLarge`] when it is larger than a retained value may be; the present will stays then.
    pub fn set_will(
        &mut self,
        ticket: Ticket,
        peer: P,
        will: Will,
        limits: RetainLimits,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), RetainError> {
        limits.check_value(&will.meta, &will.payload)?;
        self.take_will(peer, out);
        if !will.key.is_empty() {
            self.accept(ticket, Fact::Will { peer, will }, out);
        }
        Ok(())
    }

    /// Removes all that the peer has (its retained values stay) and returns its will, for the caller to publish
    /// when the connection died. O(its own facts · log of all).
    pub fn gone(&mut self, peer: P, out: &mut Vec<Effect<P>>) -> Option<Will> {
        let all = (peer, SubscriptionId(0))..=(peer, SubscriptionId(u64::MAX));
        let ids: Vec<SubscriptionId> = self.subscriptions.range(all).map(|((_, id), _)| *id).collect();
        for id in ids {
            // It was found a moment ago.
            let _ = self.unsubscribe(peer, id, out);
        }
        self.take_will(peer, out)
    }

    fn accept(&mut self, ticket: Ticket, fact: Fact<P>, out: &mut Vec<Effect<P>>) {
        self.insert_fact(ticket, &fact);
        out.push(Effect::FactAdded(ticket, fact));
    }

    fn take_will(&mut self, peer: P, out: &mut Vec<Effect<P>>) -> Option<Will> {
        let (ticket, will) = self.wills.remove(&peer)?;
        out.push(Effect::FactRemoved(ticket));
        Some(will)
    }

    fn look_up(
        &mut self,
        key: &[u8],
        publisher: P,
        lagging: &impl Fn(P, SubscriptionId) -> bool,
        may_hear: &mut impl FnMut(P) -> bool,
    ) {
        let Self {
            exact,
            patterns,
            recent,
            ..
        } = self;
        recent.key.clear();
        recent.key.extend_from_slice(key);
        recent.publisher = Some(publisher);
        recent.matches.clear();
        recent.reuse = Reuse::Never;
        let mut reuse = Reuse::Always;
        if let Some(subscribers) = exact.get_mut(key) {
            subscribers.count(1);
            subscribers.collect(publisher, lagging, may_hear, &mut reuse, &mut recent.matches);
        }
        if !patterns.is_empty() {
            patterns.walk(key, &mut |subscribers| {
                subscribers.count(1);
                subscribers.collect(publisher, lagging, may_hear, &mut reuse, &mut recent.matches);
            });
        }
        recent.reuse = reuse;
        if recent.matches.is_empty() {
            self.unheard = self.unheard.saturating_add(1);
        }
    }

    fn insert_subscription(&mut self, ticket: Ticket, subscription: &Subscription<P>) {
        let Subscription {
            peer,
            id,
            key,
            pattern,
            no_local,
            group,
            policy,
        } = subscription;
        let to = Match {
            peer: *peer,
            subscription: *id,
            with_key: *pattern,
            policy: *policy,
        };
        let subscriber = Subscriber {
            ticket,
            no_local: *no_local,
            to,
        };
        self.count_repeated();
        // A pattern without wildcards selects one key: the exact table finds it without a walk.
        let wild = *pattern && Selector::parse(key).is_ok_and(|selector| selector.is_wild());
        let subscribers = if wild {
            self.patterns.get_or_insert(key)
        } else {
            self.exact.entry(Topic::from_slice(key)).or_default()
        };
        let slot = subscribers.insert(group.as_deref(), subscriber);
        let place = Place {
            ticket,
            key: key.clone(),
            group: group.clone(),
            wild,
            pattern: *pattern,
            slot,
        };
        self.subscriptions.insert((*peer, *id), place);
        self.recent.reuse = Reuse::Never;
    }

    fn remove_place(&mut self, place: &Place) {
        self.count_repeated();
        let Place {
            ticket,
            key,
            group,
            wild,
            pattern: _,
            slot,
        } = place;
        let found = if *wild {
            self.patterns.get_mut(key)
        } else {
            self.exact.get_mut(&**key)
        };
        let Some(subscribers) = found else { return };
        let moved = subscribers.remove(group.as_deref(), *slot, *ticket);
        if subscribers.is_empty() {
            if *wild {
                self.patterns.prune(key);
            } else {
                self.exact.remove(&**key);
            }
        }
        if let Some(moved) = moved.and_then(|to| self.subscriptions.get_mut(&(to.peer, to.subscription))) {
            moved.slot = *slot;
        }
        self.recent.reuse = Reuse::Never;
    }
}

#[cfg(test)]
impl<P: PeerKey> Index<P> {
    /// Whether nothing is left but retained values: no topic, no node, no place.
    pub(super) fn is_bare(&self) -> bool {
        self.exact.is_empty()
            && self.patterns.nodes() == 0
            && self.subscriptions.is_empty()
            && self.wills.is_empty()
    }
}

impl<P: PeerKey> Default for Index<P> {
    fn default() -> Self {
        Self::new()
    }
}

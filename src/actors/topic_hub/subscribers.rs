//! Those who subscribed with one key: plain subscribers, and queue groups of which one member hears an event.
//!
//! Owns whose turn it is in a group. It refuses to know keys and patterns. Called by
//! [`Index`](super::index::Index), which finds it in its exact table or in the pattern trie.

use super::facts::Policy;
use crate::actors::messages::EventMark;
use crate::actors::peer_key::PeerKey;
use crate::actors::planted::{self, Bug};
use crate::message::{SubscriptionId, Ticket};
use smallvec::SmallVec;

/// One subscription that hears an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Match<P> {
    /// The subscriber.
    pub peer: P,
    /// Its number for the subscription.
    pub subscription: SubscriptionId,
    /// Whether its events carry the key: it subscribed with a pattern.
    pub with_key: bool,
    /// What to do when it does not keep up.
    pub policy: Policy,
}

impl<P> Match<P> {
    /// How its events are to be treated and written.
    pub(super) fn mark(&self) -> EventMark {
        EventMark::default()
            .with_if(self.with_key, EventMark::WITH_KEY)
            .with_if(self.policy == Policy::DropOldest, EventMark::DROP_OLDEST)
            .with_if(self.policy == Policy::Latest, EventMark::LATEST)
    }
}

/// One subscriber.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber<P> {
    pub(super) ticket: Ticket,
    pub(super) no_local: bool,
    pub(super) to: Match<P>,
}

/// The members of one queue group, ascending by ticket.
#[derive(Debug)]
struct Group<P> {
    name: Box<str>,
    members: Vec<Subscriber<P>>,
    /// Who heard the last event. A ticket, not a position: members come and go without anybody losing a turn.
    last_turn: Ticket,
}

/// All subscribers of one key.
#[derive(Debug)]
pub(super) struct Subscribers<P> {
    /// One subscriber of a key is the usual case, and lies where the key lies.
    plain: SmallVec<[Subscriber<P>; 1]>,
    /// Sorted by name.
    groups: Vec<Group<P>>,
    /// Events that the key has selected.
    events: u64,
}

/// For how long a list of matches holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reuse {
    /// Until a subscription comes or goes.
    Always,
    /// The same, for the same publisher.
    SamePublisher,
    /// For this event only: a group gave somebody a turn.
    Never,
}

impl<P> Default for Subscribers<P> {
    fn default() -> Self {
        Self {
            plain: SmallVec::new(),
            groups: Vec::new(),
            events: 0,
        }
    }
}

impl<P: PeerKey> Subscribers<P> {
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty()
    }

    /// The key has selected so many events more.
    pub(super) const fn count(&mut self, events: u64) {
        self.events = self.events.saturating_add(events);
    }

    /// How many events the key has selected.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// Adds a subscriber. Returns its slot, which is to be kept for [`remove`](Self::remove).
    pub(super) fn insert(&mut self, group: Option<&str>, subscriber: Subscriber<P>) -> usize {
        let Some(name) = group else {
            self.plain.push(subscriber);
            return self.plain.len().saturating_sub(1);
        };
        match self.groups.binary_search_by(|group| (*group.name).cmp(name)) {
            Ok(position) => {
                if let Some(group) = self.groups.get_mut(position) {
                    let place = group
                        .members
                        .partition_point(|member| member.ticket < subscriber.ticket);
                    group.members.insert(place, subscriber);
                }
            }
            Err(position) => {
                let group = Group {
                    name: name.into(),
                    members: vec![subscriber],
                    last_turn: Ticket(0),
                };
                self.groups.insert(position, group);
            }
        }
        0
    }

    /// Removes a subscriber. A plain one is found at its slot, and the last one takes that slot: who that is, is
    /// returned. (Shifting all others would make the end of many subscribers of one topic quadratic.)
    pub(super) fn remove(&mut self, group: Option<&str>, slot: usize, ticket: Ticket) -> Option<Match<P>> {
        if let Some(name) = group {
            self.remove_member(name, ticket);
            return None;
        }
        if self
            .plain
            .get(slot)
            .is_some_and(|subscriber| subscriber.ticket == ticket)
        {
            self.plain.swap_remove(slot);
            return self.plain.get(slot).map(|moved| moved.to);
        }
        None
    }

    fn remove_member(&mut self, name: &str, ticket: Ticket) {
        let Ok(position) = self.groups.binary_search_by(|group| (*group.name).cmp(name)) else {
            return;
        };
        let Some(group) = self.groups.get_mut(position) else {
            return;
        };
        if let Ok(place) = group
            .members
            .binary_search_by_key(&ticket, |member| member.ticket)
        {
            group.members.remove(place);
        }
        if group.members.is_empty() {
            self.groups.remove(position);
        }
    }

    /// Adds those who hear an event of this publisher to `out`, and lowers `reuse` to what holds for them.
    pub(super) fn collect(
        &mut self,
        publisher: P,
        lagging: &impl Fn(P, SubscriptionId) -> bool,
        may_hear: &mut impl FnMut(P) -> bool,
        reuse: &mut Reuse,
        out: &mut Vec<Match<P>>,
    ) {
        for subscriber in &self.plain {
            if subscriber.no_local {
                *reuse = (*reuse).max(Reuse::SamePublisher);
            }
            if subscriber.hears(publisher) && may_hear(subscriber.to.peer) {
                out.push(subscriber.to);
            }
        }
        for group in &mut self.groups {
            *reuse = Reuse::Never;
            out.extend(group.turn(publisher, lagging, may_hear));
            if planted::is(Bug::QueueGroupTwice) {
                out.extend(group.turn(publisher, lagging, may_hear));
            }
        }
    }
}

impl<P: PeerKey> Subscriber<P> {
    fn hears(&self, publisher: P) -> bool {
        !(self.no_local && self.to.peer == publisher) || planted::is(Bug::NoLocalIgnored)
    }
}

impl<P: PeerKey> Group<P> {
    /// The next member that keeps up, or the next one when none does. It gets the turn.
    fn turn(
        &mut self,
        publisher: P,
        lagging: &impl Fn(P, SubscriptionId) -> bool,
        may_hear: &mut impl FnMut(P) -> bool,
    ) -> Option<Match<P>> {
        let next = self
            .members
            .partition_point(|member| member.ticket <= self.last_turn);
        let (had, not_yet) = self.members.split_at_checked(next)?;
        let mut chosen = None;
        for member in not_yet.iter().chain(had) {
            if !member.hears(publisher) || !may_hear(member.to.peer) {
                continue;
            }
            if !lagging(member.to.peer, member.to.subscription) {
                chosen = Some(member);
                break;
            }
            chosen = chosen.or(Some(member));
        }
        let chosen = chosen?;
        self.last_turn = chosen.ticket;
        Some(chosen.to)
    }
}

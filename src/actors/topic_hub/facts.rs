//! What TopicHub has accepted: subscriptions, retained values and wills, as a plain table.
//!
//! Owns the facts and how many of them each peer has. It changes only by the effects of a completed step, so it
//! survives a panic of the index, which is rebuilt from it in ticket order. It refuses to know how topics are
//! matched. Called by the TopicHub actor ([`Facts::commit`]) and by
//! [`Index::rebuild`](super::index::Index::rebuild).

use crate::actors::peer_key::PeerKey;
use crate::message::{Encoding, Origin, SubscriptionId, Ticket, key};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What happens to the events of a subscriber that does not keep up. The codes cross the wire in Subscribe's `aux`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Policy {
    /// Its publishers are held back for a bounded time, then events are missed and counted.
    #[default]
    Hold,
    /// The subscriber is disconnected.
    Disconnect,
    /// Its oldest queued event of the subscription makes room.
    DropOldest,
    /// Only the latest event of each topic stays queued.
    Latest,
}

impl Policy {
    /// The policy with this code.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Hold),
            1 => Some(Self::Disconnect),
            2 => Some(Self::DropOldest),
            3 => Some(Self::Latest),
            _ => None,
        }
    }
}

/// One subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription<P> {
    /// The subscriber.
    pub peer: P,
    /// Its number for it, unique among its own.
    pub id: SubscriptionId,
    /// `object 00 event`.
    pub key: Box<[u8]>,
    /// Whether both halves of the key are patterns.
    pub pattern: bool,
    /// Whether it wants nothing of what its own peer publishes.
    pub no_local: bool,
    /// Its queue group: of those with the same group and the same key text, one hears each event. (A topic that
    /// holds a literal `*` and the pattern of the same text select different events and do not share a group.)
    pub group: Option<Box<str>>,
    /// What to do when the subscriber does not keep up.
    pub policy: Policy,
}

/// A topic's last value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retained {
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// The metadata block, unread.
    pub meta: Bytes,
    /// The payload, unread.
    pub payload: Bytes,
    /// Who published it; it may be gone. Its `peer` is never used again, so a `no_local` subscriber can tell
    /// whether the value is its own.
    pub origin: Origin,
}

/// What to publish when a peer's connection dies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Will {
    /// `object 00 event`.
    pub key: Box<[u8]>,
    /// Whether to keep it as the topic's last value.
    pub retain: bool,
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// The metadata block, unread.
    pub meta: Bytes,
    /// The payload, unread.
    pub payload: Bytes,
}

/// One accepted fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact<P> {
    /// A subscription; it goes when its peer goes.
    Subscription(Subscription<P>),
    /// The last value of a topic, one per key; it outlives its publisher.
    Retained {
        /// `object 00 event`.
        key: Box<[u8]>,
        /// The value.
        value: Retained,
    },
    /// A will, at most one per peer; it goes when its peer goes.
    Will {
        /// Whose will it is.
        peer: P,
        /// What to publish.
        will: Will,
    },
}

impl<P: PeerKey> Fact<P> {
    /// What it is charged to its peer, in bytes: what it holds and its places in the table and the index. Retained values have a
    /// budget of their own.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Subscription(subscription) => subscription_cost(subscription),
            Self::Will { will, .. } => will_cost(will),
            Self::Retained { .. } => 0,
        }
    }

    /// Whose fact it is: who answers for it when it makes the index panic. A retained value is nobody's.
    #[must_use]
    pub const fn peer(&self) -> Option<P> {
        match self {
            Self::Subscription(subscription) => Some(subscription.peer),
            Self::Will { peer, .. } => Some(*peer),
            Self::Retained { .. } => None,
        }
    }
}

/// What a fact is charged beside what it holds: its places in the tables, which grow by doubling.
const OVERHEAD: usize = 1_024;
/// What each level of a pattern is charged. A node of the trie has about twice as many bytes with its table, and at least two patterns
/// share it. `tests/pattern_memory.rs` counts them.
const LEVEL: usize = 512;

/// What a subscription costs. Its key is in the table, in the index, cut into levels when it is a pattern, and in the gateway of a client
/// of an older format.
#[must_use]
pub fn subscription_cost<P>(subscription: &Subscription<P>) -> usize {
    let group = subscription.group.as_ref().map_or(0, |group| group.len());
    let text = subscription.key.len().saturating_add(group);
    // Of a pattern without a star no level has a node, but that is the index' business.
    let levels = if subscription.pattern {
        levels(&subscription.key)
    } else {
        0
    };
    OVERHEAD
        .saturating_add(text.saturating_mul(4))
        .saturating_add(levels.saturating_mul(LEVEL))
}

/// Levels of both halves, and the boundary between them.
fn levels(key: &[u8]) -> usize {
    let ends = key.iter().filter(|byte| matches!(**byte, b'.' | key::SEPARATOR));
    ends.count().saturating_add(2)
}

/// What a will costs: it is in the table and in the index.
#[must_use]
pub const fn will_cost(will: &Will) -> usize {
    let text = will.key.len().saturating_mul(2);
    let bytes = will.meta.len().saturating_add(will.payload.len());
    OVERHEAD.saturating_add(text).saturating_add(bytes)
}

/// How many subscriptions a peer has, and what its facts cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Subscriptions.
    pub subscriptions: usize,
    /// What all its facts cost, see [`Fact::cost`].
    pub bytes: usize,
}

/// What a step of the index asks of the table, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect<P> {
    /// Add a fact.
    FactAdded(Ticket, Fact<P>),
    /// Remove a fact.
    FactRemoved(Ticket),
}

/// The table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts<P> {
    by_ticket: BTreeMap<Ticket, Fact<P>>,
    counts: BTreeMap<P, Counts>,
}

impl<P: PeerKey> Facts<P> {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            by_ticket: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Applies the effects of a completed step and leaves `effects` empty.
    pub fn commit(&mut self, effects: &mut Vec<Effect<P>>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::FactAdded(ticket, fact) => self.add(ticket, fact),
                Effect::FactRemoved(ticket) => {
                    self.remove(ticket);
                }
            }
        }
    }

    /// Takes a fact out: a step withdrew it, or it makes the index panic.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Fact<P>> {
        let fact = self.by_ticket.remove(&ticket)?;
        if let Some(peer) = fact.peer()
            && let Some(counts) = self.counts.get_mut(&peer)
        {
            let one = usize::from(matches!(fact, Fact::Subscription(_)));
            counts.subscriptions = counts.subscriptions.saturating_sub(one);
            counts.bytes = counts.bytes.saturating_sub(fact.cost());
            if *counts == Counts::default() {
                self.counts.remove(&peer);
            }
        }
        Some(fact)
    }

    /// The fact with this ticket.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&Fact<P>> {
        self.by_ticket.get(&ticket)
    }

    /// All facts in ticket order.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Fact<P>)> {
        self.by_ticket.iter().map(|(ticket, fact)| (*ticket, fact))
    }

    /// How many subscriptions the peer has, for its limit. O(log peers).
    #[must_use]
    pub fn subscriptions(&self, peer: P) -> usize {
        self.counts(peer).subscriptions
    }

    /// The same with what all its facts cost. O(log peers).
    #[must_use]
    pub fn counts(&self, peer: P) -> Counts {
        self.counts.get(&peer).copied().unwrap_or_default()
    }

    /// How many facts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_ticket.len()
    }

    /// Whether there is no fact.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }

    fn add(&mut self, ticket: Ticket, fact: Fact<P>) {
        // A ticket is given once; should that ever fail, the counts must still add up.
        self.remove(ticket);
        if let Some(peer) = fact.peer() {
            let counts = self.counts.entry(peer).or_default();
            let one = usize::from(matches!(fact, Fact::Subscription(_)));
            counts.subscriptions = counts.subscriptions.saturating_add(one);
            counts.bytes = counts.bytes.saturating_add(fact.cost());
        }
        self.by_ticket.insert(ticket, fact);
    }
}

impl<P: PeerKey> Default for Facts<P> {
    fn default() -> Self {
        Self::new()
    }
}

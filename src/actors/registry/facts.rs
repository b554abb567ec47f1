//! What Registry has accepted: names, waits, watches and connections, as a plain table.
//!
//! Owns the facts and how many of them each peer has. It changes only by the effects of a completed step, so it
//! survives a panic of the index, which is rebuilt from it in ticket order. It refuses to know how facts are
//! searched or what follows from them. Called by the Registry actor ([`Facts::commit`]) and by
//! [`Index::rebuild`](super::index::Index::rebuild).

use super::sorted::Sorted;
use crate::actors::peer_key::PeerKey;
use crate::message::selector::Label;
use crate::message::{Pattern, PeerId, RequestId, Ticket};
use bytes::Bytes;

/// How calls are spread over the members of a worker group. The codes cross the wire in Register's `aux`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The member with the fewest open calls; round robin among equals.
    LeastBusy,
    /// Calls with equal `route.key` go to the same member; calls without one go round.
    Sticky,
}

impl Balance {
    /// The balance with this code.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::RoundRobin),
            1 => Some(Self::LeastBusy),
            2 => Some(Self::Sticky),
            _ => None,
        }
    }

    /// The name in listings and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastBusy => "least-busy",
            Self::Sticky => "sticky",
        }
    }
}

/// What a watch wants to hear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interest {
    /// Of names.
    pub names: bool,
    /// Of connections.
    pub connections: bool,
    /// Selects by object name, or by a connection's declared name; none selects all.
    pub pattern: Option<Pattern>,
}

impl Interest {
    pub(super) fn selects(&self, name: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(name))
    }

    /// The one name that it can select, when its pattern has no wildcard.
    pub(super) fn only_name(&self) -> Option<&str> {
        self.pattern
            .as_ref()
            .map(Pattern::as_str)
            .filter(|text| !text.contains('*'))
    }
}

/// A claim to a name, as a fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named<P> {
    /// Whose claim it is.
    pub peer: P,
    /// The Register that made it; Ownership frames bear this number.
    pub request: RequestId,
    /// The name.
    pub object: Box<str>,
    /// Orders the claims to one name; the lowest owns it. The claim's own ticket, or the place of the owner
    /// that it replaced, so that a rebuilt index does not put the queue before it.
    pub place: Ticket,
    /// Whether another peer may replace this owner.
    pub allow_replace: bool,
    /// The balance of the group that it joined; none for a single owner.
    pub group: Option<Balance>,
    /// What the registrant says about the object, unread.
    pub description: Bytes,
}

/// One accepted fact. It belongs to `peer` and goes when the peer goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact<P> {
    /// A claim to a name: its owner, a place in its queue, or a member of its group. Boxed, because every idle connection is a fact.
    Name(Box<Named<P>>),
    /// Somebody waits until all of these names are registered. Its ticket is that of the request.
    Wait {
        /// Who waits.
        peer: P,
        /// The Wait, or the call that waits for its object.
        request: RequestId,
        /// The names, sorted, each once.
        names: Box<[Box<str>]>,
    },
    /// Somebody wants to be told of changes.
    Watch {
        /// Who watches.
        peer: P,
        /// The Watch; notices bear this number.
        request: RequestId,
        /// What it wants to hear.
        interest: Interest,
    },
    /// A peer is connected.
    Connection {
        /// The peer.
        peer: P,
        /// Its public number.
        id: PeerId,
        /// The name that it declared; empty when it declared none.
        name: Box<str>,
    },
    /// An endpoint of the label bus.
    Endpoint {
        /// Whose it is.
        peer: P,
        /// Its number there.
        request: RequestId,
        /// Its labels, sorted, each once.
        labels: Box<[Label]>,
        /// It may be given Unix sockets.
        sockets: bool,
    },
    /// Messages wait for an endpoint that matches.
    Seek {
        /// Who sent them.
        peer: P,
        /// What they wait for.
        selector: Box<[u8]>,
        /// What they take, in bytes on the wire.
        bytes: usize,
    },
}

impl<P: PeerKey> Fact<P> {
    /// What it is charged, in bytes: what it holds and its places in the table and the index. A connection is charged as a whole
    /// elsewhere.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Name(named) => name_cost(&named.object, &named.description),
            Self::Wait { names, .. } => wait_cost(names),
            Self::Watch { interest, .. } => watch_cost(interest),
            Self::Connection { .. } => 0,
            Self::Endpoint { labels, .. } => endpoint_cost(labels),
            Self::Seek { selector, bytes, .. } => seek_cost(selector, *bytes),
        }
    }

    /// Whose fact it is: who answers for it when it makes the index panic.
    #[must_use]
    pub const fn peer(&self) -> P {
        match self {
            Self::Name(named) => named.peer,
            Self::Wait { peer, .. }
            | Self::Watch { peer, .. }
            | Self::Connection { peer, .. }
            | Self::Endpoint { peer, .. }
            | Self::Seek { peer, .. } => *peer,
        }
    }
}

/// What a fact is charged beside what it holds.
const OVERHEAD: usize = 512;

/// What a claim to a name costs.
#[must_use]
pub const fn name_cost(object: &str, description: &[u8]) -> usize {
    OVERHEAD
        .saturating_add(object.len().saturating_mul(2))
        .saturating_add(description.len())
}

/// What a wait costs: each name has a place of its own in the index.
#[must_use]
pub fn wait_cost(names: &[Box<str>]) -> usize {
    let names = names
        .iter()
        .map(|name| name.len().saturating_mul(2).saturating_add(OVERHEAD / 4));
    names.fold(OVERHEAD, usize::saturating_add)
}

/// What a watch costs.
#[must_use]
pub fn watch_cost(interest: &Interest) -> usize {
    let pattern = interest
        .pattern
        .as_ref()
        .map_or(0, |pattern| pattern.as_str().len());
    OVERHEAD.saturating_add(pattern.saturating_mul(2))
}

/// What an endpoint costs: each label has a place of its own in the index.
#[must_use]
pub fn endpoint_cost(labels: &[Label]) -> usize {
    let labels = labels.iter().map(|label| {
        label
            .as_str()
            .len()
            .saturating_mul(2)
            .saturating_add(OVERHEAD / 4)
    });
    labels.fold(OVERHEAD, usize::saturating_add)
}

/// What messages of so many bytes cost that wait for a match.
#[must_use]
pub const fn seek_cost(selector: &[u8], bytes: usize) -> usize {
    OVERHEAD
        .saturating_add(selector.len().saturating_mul(3))
        .saturating_add(bytes)
}

/// What a watch is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// The name has an owner, or its group a first member.
    NameAppeared,
    /// The name lost its owner, or its group the last member.
    NameVanished,
    /// A connection is there.
    ConnectionAppeared,
    /// A connection ended.
    ConnectionGone,
}

impl Notice {
    /// The number in Notice's `aux`.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::NameAppeared => 1,
            Self::NameVanished => 2,
            Self::ConnectionAppeared => 3,
            Self::ConnectionGone => 4,
        }
    }
}

/// What a step of the index asks the actor to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect<P> {
    /// Add to the table.
    FactAdded(Ticket, Fact<P>),
    /// Remove from the table.
    FactRemoved(Ticket),
    /// Tell the registrant that it owns the name now, or that it was replaced and holds nothing.
    Ownership {
        /// The registrant.
        peer: P,
        /// Its Register.
        request: RequestId,
        /// Whether it got the name (or lost it).
        acquired: bool,
    },
    /// Tell a wait that all its names are there. The wait is over.
    Present {
        /// Who waited.
        peer: P,
        /// Its Wait or call.
        request: RequestId,
        /// Under which the broker knows that; the asker may have given its number to another by now.
        ticket: Ticket,
    },
    /// Tell a watch.
    Notice {
        /// Who watches.
        peer: P,
        /// Its Watch.
        request: RequestId,
        /// What happened.
        what: Notice,
        /// The object's name, or the declared name of the connection.
        name: Box<str>,
        /// Whose name or connection it is (or was).
        origin: P,
    },
    /// What waits under this ticket waits no more.
    Found {
        /// The ticket of its fact.
        ticket: Ticket,
        /// An endpoint that matches has joined; else who sent it is gone.
        matched: bool,
    },
}

/// How many facts a peer has, for its limits; that it is connected has none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Names that it owns, and its places in queues and groups.
    pub names: usize,
    /// Its open waits and watches together, and its messages that wait for a match.
    pub watches: usize,
    /// Its endpoints.
    pub endpoints: usize,
    /// What all of them cost, see [`Fact::cost`].
    pub bytes: usize,
}

impl Counts {
    /// The count that the fact is part of.
    const fn of<P>(&mut self, fact: &Fact<P>) -> Option<&mut usize> {
        match fact {
            Fact::Name(_) => Some(&mut self.names),
            Fact::Wait { .. } | Fact::Watch { .. } | Fact::Seek { .. } => Some(&mut self.watches),
            Fact::Endpoint { .. } => Some(&mut self.endpoints),
            Fact::Connection { .. } => None,
        }
    }
}

/// The table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts<P> {
    by_ticket: Sorted<Ticket, Fact<P>>,
    /// Of those who have more than a connection: an idle one has no place here.
    counts: Sorted<P, Counts>,
}

impl<P: PeerKey> Facts<P> {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            by_ticket: Sorted::new(),
            counts: Sorted::new(),
        }
    }

    /// Applies the effects of a completed step that are for the table and leaves the others in `effects`, in
    /// order. All of the table changes before anything is sent: a panic while sending finds it complete.
    pub fn commit(&mut self, effects: &mut Vec<Effect<P>>) {
        let ours = |effect: &mut Effect<P>| matches!(effect, Effect::FactAdded(..) | Effect::FactRemoved(_));
        for effect in effects.extract_if(.., ours) {
            match effect {
                Effect::FactAdded(ticket, fact) => self.add(ticket, fact),
                Effect::FactRemoved(ticket) => {
                    self.remove(ticket);
                }
                Effect::Ownership { .. }
                | Effect::Present { .. }
                | Effect::Notice { .. }
                | Effect::Found { .. } => {}
            }
        }
    }

    /// Takes a fact out: a step withdrew it, or it makes the index panic.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Fact<P>> {
        let fact = self.by_ticket.remove(ticket)?;
        if let Some(counts) = self.counts.get_mut(fact.peer()) {
            if let Some(count) = counts.of(&fact) {
                *count = count.saturating_sub(1);
                counts.bytes = counts.bytes.saturating_sub(fact.cost());
            }
            if *counts == Counts::default() {
                self.counts.remove(fact.peer());
            }
        }
        Some(fact)
    }

    /// The fact with this ticket.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&Fact<P>> {
        self.by_ticket.get(ticket)
    }

    /// All facts in ticket order.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Fact<P>)> {
        self.by_ticket.iter().map(|(ticket, fact)| (*ticket, fact))
    }

    /// How many facts the peer has. O(log peers).
    #[must_use]
    pub fn counts(&self, peer: P) -> Counts {
        self.counts.get(peer).copied().unwrap_or_default()
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
        let peer = fact.peer();
        let mut counts = self.counts(peer);
        if let Some(count) = counts.of(&fact) {
            *count = count.saturating_add(1);
            counts.bytes = counts.bytes.saturating_add(fact.cost());
            self.counts.insert(peer, counts);
        }
        self.by_ticket.insert(ticket, fact);
    }
}

impl<P: PeerKey> Default for Facts<P> {
    fn default() -> Self {
        Self::new()
    }
}

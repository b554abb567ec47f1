//! Who is connected, who waits for names, who watches names and connections.
//!
//! Owns the reverse tables that make a change cost only those who asked about it. It refuses to know who owns a
//! name: [`Index`](super::index::Index), its only caller, tells it when a name arrives or leaves.

use super::facts::{Effect, Interest, Notice};
use super::sorted::Sorted;
use crate::actors::peer_key::PeerKey;
use crate::message::{PeerId, RequestId, Ticket};
use std::collections::{BTreeMap, HashMap};

/// Those who asked about the same thing, in the order in which they asked.
type Askers<P> = BTreeMap<Ticket, (P, RequestId)>;

#[derive(Debug)]
struct Connection {
    ticket: Ticket,
    id: PeerId,
    name: Box<str>,
}

#[derive(Debug)]
struct Wait {
    ticket: Ticket,
    /// How many of the names are not registered now.
    missing: usize,
    names: Box<[Box<str>]>,
}

#[derive(Debug)]
struct Watch {
    ticket: Ticket,
    interest: Interest,
}

/// The tables.
#[derive(Debug)]
pub(super) struct Presence<P> {
    connections: Sorted<P, Connection>,
    waits: BTreeMap<(P, RequestId), Wait>,
    watches: BTreeMap<(P, RequestId), Watch>,
    /// The waits for each name.
    waiting: HashMap<Box<str>, Askers<P>>,
    /// The name watches that can select only one name, by that name.
    watching_one: HashMap<Box<str>, Askers<P>>,
    /// The other name watches.
    watching_many: Askers<P>,
    /// The connection watches.
    watching_connections: Askers<P>,
}

impl<P: PeerKey> Presence<P> {
    pub(super) fn new() -> Self {
        Self {
            connections: Sorted::new(),
            waits: BTreeMap::new(),
            watches: BTreeMap::new(),
            waiting: HashMap::new(),
            watching_one: HashMap::new(),
            watching_many: Askers::new(),
            watching_connections: Askers::new(),
        }
    }

    pub(super) fn has_wait(&self, peer: P, request: RequestId) -> bool {
        self.waits.contains_key(&(peer, request))
    }

    pub(super) fn has_watch(&self, peer: P, request: RequestId) -> bool {
        self.watches.contains_key(&(peer, request))
    }

    pub(super) fn is_connected(&self, peer: P) -> bool {
        self.connections.get(peer).is_some()
    }

    /// In the order of the peers' keys.
    pub(super) fn connections(&self) -> impl Iterator<Item = (P, PeerId, &str)> {
        self.connections
            .iter()
            .map(|(peer, connection)| (*peer, connection.id, &*connection.name))
    }

    pub(super) fn insert_connection(&mut self, ticket: Ticket, peer: P, id: PeerId, name: Box<str>) {
        self.connections.insert(peer, Connection { ticket, id, name });
    }

    /// `missing`: how many of the names are not registered now.
    pub(super) fn insert_wait(
        &mut self,
        ticket: Ticket,
        asker: (P, RequestId),
        names: Box<[Box<str>]>,
        missing: usize,
    ) {
        for name in &names {
            self.waiting
                .entry(name.clone())
                .or_default()
                .insert(ticket, asker);
        }
        self.waits.insert(
            asker,
            Wait {
                ticket,
                missing,
                names,
            },
        );
    }

    pub(super) fn insert_watch(&mut self, ticket: Ticket, asker: (P, RequestId), interest: Interest) {
        if interest.names {
            match interest.only_name() {
                Some(name) => self
                    .watching_one
                    .entry(name.into())
                    .or_default()
                    .insert(ticket, asker),
                None => self.watching_many.insert(ticket, asker),
            };
        }
        if interest.connections {
            self.watching_connections.insert(ticket, asker);
        }
        self.watches.insert(asker, Watch { ticket, interest });
    }

    pub(super) fn waiting_for(&self, name: &str) -> impl Iterator<Item = (Ticket, (P, RequestId))> {
        let askers = self.waiting.get(name).into_iter().flatten();
        askers.map(|(ticket, asker)| (*ticket, *asker))
    }

    /// Returns whether there was such a wait.
    pub(super) fn remove_wait(&mut self, asker: (P, RequestId), out: &mut Vec<Effect<P>>) -> bool {
        let Some(wait) = self.waits.remove(&asker) else {
            return false;
        };
        for name in &wait.names {
            forget(&mut self.waiting, name, wait.ticket);
        }
        out.push(Effect::FactRemoved(wait.ticket));
        true
    }

    /// Returns whether there was such a watch.
    pub(super) fn remove_watch(&mut self, asker: (P, RequestId), out: &mut Vec<Effect<P>>) -> bool {
        let Some(watch) = self.watches.remove(&asker) else {
            return false;
        };
        if let Some(name) = watch.interest.only_name() {
            forget(&mut self.watching_one, name, watch.ticket);
        }
        self.watching_many.remove(&watch.ticket);
        self.watching_connections.remove(&watch.ticket);
        out.push(Effect::FactRemoved(watch.ticket));
        true
    }

    /// Removes what the peer waits for and watches, so that no effect of its end is addressed to itself.
    pub(super) fn remove_askers_of(&mut self, peer: P, out: &mut Vec<Effect<P>>) {
        let all = (peer, RequestId(0))..=(peer, RequestId(u64::MAX));
        let waits: Vec<_> = self.waits.range(all.clone()).map(|(asker, _)| *asker).collect();
        let watches: Vec<_> = self.watches.range(all).map(|(asker, _)| *asker).collect();
        for asker in waits {
            self.remove_wait(asker, out);
        }
        for asker in watches {
            self.remove_watch(asker, out);
        }
    }

    /// Removes the connection and tells the watchers.
    pub(super) fn remove_connection(&mut self, peer: P, out: &mut Vec<Effect<P>>) {
        if let Some(connection) = self.connections.remove(peer) {
            out.push(Effect::FactRemoved(connection.ticket));
            self.tell_connection(Notice::ConnectionGone, &connection.name, peer, out);
        }
    }

    /// The name has a claim now and had none.
    pub(super) fn arrive(&mut self, name: &str) {
        self.recount(name, |missing| missing.saturating_sub(1));
    }

    /// The name had a claim and has none now.
    pub(super) fn leave(&mut self, name: &str) {
        self.recount(name, |missing| missing.saturating_add(1));
    }

    fn recount(&mut self, name: &str, change: impl Fn(usize) -> usize) {
        for asker in self.waiting.get(name).into_iter().flat_map(BTreeMap::values) {
            if let Some(wait) = self.waits.get_mut(asker) {
                wait.missing = change(wait.missing);
            }
        }
    }

    /// Ends the waits for this name that miss nothing any more, in the order in which they asked.
    pub(super) fn settle(&mut self, name: &str, out: &mut Vec<Effect<P>>) {
        let Some(askers) = self.waiting.get(name) else {
            return;
        };
        let is_over = |asker: &(P, RequestId)| self.waits.get(asker).is_some_and(|wait| wait.missing == 0);
        let over = askers.iter().filter(|(_, asker)| is_over(asker));
        let over: Vec<_> = over.map(|(ticket, asker)| (*ticket, *asker)).collect();
        for (ticket, (peer, request)) in over {
            self.remove_wait((peer, request), out);
            out.push(Effect::Present {
                peer,
                request,
                ticket,
            });
        }
    }

    /// Tells those who watch this name.
    pub(super) fn tell_name(&self, what: Notice, name: &str, origin: P, out: &mut Vec<Effect<P>>) {
        let one = self.watching_one.get(name).into_iter().flat_map(BTreeMap::values);
        let many = self
            .watching_many
            .values()
            .filter(|asker| self.selects(asker, name));
        out.extend(one.chain(many).map(|asker| notice(*asker, what, name, origin)));
    }

    /// Tells those who watch connections with this declared name.
    pub(super) fn tell_connection(&self, what: Notice, name: &str, origin: P, out: &mut Vec<Effect<P>>) {
        let askers = self
            .watching_connections
            .values()
            .filter(|asker| self.selects(asker, name));
        out.extend(askers.map(|asker| notice(*asker, what, name, origin)));
    }

    fn selects(&self, asker: &(P, RequestId), name: &str) -> bool {
        self.watches
            .get(asker)
            .is_some_and(|watch| watch.interest.selects(name))
    }
}

#[cfg(test)]
impl<P> Presence<P> {
    pub(super) fn is_bare(&self) -> bool {
        self.connections.is_empty()
            && self.waits.is_empty()
            && self.watches.is_empty()
            && self.waiting.is_empty()
            && self.watching_one.is_empty()
            && self.watching_many.is_empty()
            && self.watching_connections.is_empty()
    }
}

/// One notice for one watch.
pub(super) fn notice<P>((peer, request): (P, RequestId), what: Notice, name: &str, origin: P) -> Effect<P> {
    Effect::Notice {
        peer,
        request,
        what,
        name: name.into(),
        origin,
    }
}

/// Removes one asker, and the name's entry with the last one.
fn forget<P>(table: &mut HashMap<Box<str>, Askers<P>>, name: &str, ticket: Ticket) {
    if let Some(askers) = table.get_mut(name) {
        askers.remove(&ticket);
        if askers.is_empty() {
            table.remove(name);
        }
    }
}

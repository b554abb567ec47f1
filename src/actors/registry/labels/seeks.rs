//! Selectors that wait for an endpoint that matches.
//!
//! Owns who waits for what, by the labels that a match must have, so that a join looks only at those it may end. What waits behind
//! a selector is its ticket's business. Knows no message.

use super::driver::Driver;
use super::{Effect, Place};
use crate::actors::peer_key::PeerKey;
use crate::actors::table::Table;
use crate::message::Ticket;
use crate::message::selector::Selector;
use std::collections::{BTreeMap, BTreeSet};

/// One selector that waits.
#[derive(Debug)]
struct Seek<P> {
    peer: P,
    selector: Box<[u8]>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Seeks<P> {
    all: BTreeMap<Ticket, Seek<P>>,
    by_peer: BTreeSet<(P, Ticket)>,
    by_label: Table<Box<str>, BTreeSet<Ticket>>,
    /// Those that any endpoint may end.
    anywhere: BTreeSet<Ticket>,
}

/// The labels under which a selector waits; the same whenever it is asked.
fn driver<'s>(selector: &Selector<'s>) -> Driver<'s> {
    Driver::of(selector, |_| 1)
}

impl<P: PeerKey> Seeks<P> {
    pub(super) fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            by_peer: BTreeSet::new(),
            by_label: Table::default(),
            anywhere: BTreeSet::new(),
        }
    }

    pub(super) fn insert(&mut self, ticket: Ticket, peer: P, bytes: &[u8]) {
        let Ok(selector) = Selector::parse(bytes) else {
            return;
        };
        match driver(&selector) {
            Driver::All => {
                self.anywhere.insert(ticket);
            }
            Driver::Any(labels, _) => {
                for label in labels {
                    self.by_label.entry(label.into()).or_default().insert(ticket);
                }
            }
        }
        self.by_peer.insert((peer, ticket));
        let selector = bytes.into();
        self.all.insert(ticket, Seek { peer, selector });
    }

    /// Takes one out. Returns whether it was there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(seek) = self.all.remove(&ticket) else {
            return false;
        };
        self.by_peer.remove(&(seek.peer, ticket));
        self.anywhere.remove(&ticket);
        if let Ok(selector) = Selector::parse(&seek.selector)
            && let Driver::Any(labels, _) = driver(&selector)
        {
            for label in labels {
                if let Some(tickets) = self.by_label.get_mut(label) {
                    tickets.remove(&ticket);
                    if tickets.is_empty() {
                        self.by_label.remove(label);
                    }
                }
            }
        }
        true
    }

    /// Those of one peer.
    pub(super) fn of(&self, peer: P) -> Vec<Ticket> {
        let from = self.by_peer.range((peer, Ticket(0))..);
        let own = from.take_while(|(owner, _)| *owner == peer);
        own.map(|(_, ticket)| *ticket).collect()
    }

    /// An endpoint has joined: those that it ends are found, in the order in which they began to wait.
    pub(super) fn settle(&mut self, place: &Place<P>, out: &mut Vec<Effect<P>>) {
        let mut candidates = self.anywhere.clone();
        for label in &place.labels {
            candidates.extend(self.by_label.get(label.as_str()).into_iter().flatten());
        }
        for ticket in candidates {
            let Some(seek) = self.all.get(&ticket) else {
                continue;
            };
            let matches = Selector::parse(&seek.selector)
                .is_ok_and(|selector| selector.matches(|label| place.has(label)));
            if matches {
                self.remove(ticket);
                out.push(Effect::FactRemoved(ticket));
                out.push(Effect::Found {
                    ticket,
                    matched: true,
                });
            }
        }
    }
}

#[cfg(test)]
impl<P: PeerKey> Seeks<P> {
    pub(super) fn is_bare(&self) -> bool {
        self.all.is_empty() && self.by_peer.is_empty() && self.by_label.is_empty() && self.anywhere.is_empty()
    }
}

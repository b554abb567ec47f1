//! Which endpoints of the label bus match a selector, and which messages wait for one that does.
//!
//! Owns the endpoints in the order in which they joined, the list of endpoints of each label, and what was found last. A selector
//! is looked up by its bytes; when it was not, or something that it depends on has changed since, only the endpoints of its rarest
//! labels are looked at. It refuses to know messages, clocks and limits. Derived from facts and disposable, as all of the
//! [`Index`](super::index::Index) that it is a part of.

mod cache;
mod driver;
mod seeks;
mod steps;
#[cfg(test)]
mod tests;

pub use steps::{Endpoint, InUse};

use super::facts::Effect;
use crate::actors::peer_key::PeerKey;
use crate::actors::table::Table;
use crate::message::selector::{Label, Mode, Selector};
use crate::message::{RequestId, Ticket};
use cache::Cache;
use driver::Driver;
use seeks::Seeks;
use std::collections::BTreeMap;

/// A place among the endpoints; ascends in the order in which they joined.
type Slot = u32;

/// So many empty places are left before all are numbered anew.
const EMPTY_MAX: usize = 64;

/// An endpoint that is to get a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<P> {
    /// Its connection.
    pub peer: P,
    /// Its number there.
    pub endpoint: RequestId,
    /// It may be given Unix sockets.
    pub sockets: bool,
}

#[derive(Debug)]
struct Place<P> {
    ticket: Ticket,
    target: Target<P>,
    /// Sorted, each once.
    labels: Box<[Label]>,
}

impl<P> Place<P> {
    fn has(&self, label: &str) -> bool {
        self.labels
            .binary_search_by(|own| own.as_str().cmp(label))
            .is_ok()
    }
}

/// The endpoints that have one label.
#[derive(Debug, Default)]
struct Posting {
    /// Ascending.
    slots: Vec<Slot>,
    /// The last change.
    changed: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Labels<P> {
    places: Vec<Option<Place<P>>>,
    by_number: BTreeMap<(P, RequestId), Slot>,
    postings: Table<Label, Posting>,
    /// Joins and leaves so far.
    changes: u64,
    /// The last change that took a label's last endpoint.
    vanished: u64,
    cache: Cache,
    seeks: Seeks<P>,
}

impl<P: PeerKey> Labels<P> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            by_number: BTreeMap::new(),
            postings: Table::default(),
            changes: 0,
            vanished: 0,
            cache: Cache::default(),
            seeks: Seeks::new(),
        }
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    fn holds(&self, peer: P, number: RequestId) -> bool {
        self.by_number.contains_key(&(peer, number))
    }

    /// The numbers of a peer's endpoints.
    fn numbers_of(&self, peer: P) -> Vec<RequestId> {
        let from = self.by_number.range((peer, RequestId(0))..);
        let own = from.take_while(|((owner, _), _)| *owner == peer);
        own.map(|((_, number), _)| *number).collect()
    }

    /// Puts an endpoint behind those that are there. Its labels are sorted, each once.
    fn insert(&mut self, ticket: Ticket, target: Target<P>, labels: Box<[Label]>) {
        let slot = Slot::try_from(self.places.len()).unwrap_or(Slot::MAX);
        self.changes = self.changes.wrapping_add(1);
        for label in &labels {
            let posting = self.postings.entry(label.clone()).or_default();
            posting.slots.push(slot);
            posting.changed = self.changes;
        }
        self.by_number.insert((target.peer, target.endpoint), slot);
        self.places.push(Some(Place {
            ticket,
            target,
            labels,
        }));
    }

    /// Takes an endpoint out.
    fn remove(&mut self, peer: P, number: RequestId) -> Option<Ticket> {
        let slot = self.by_number.remove(&(peer, number))?;
        let place = self.places.get_mut(slot as usize)?.take()?;
        self.changes = self.changes.wrapping_add(1);
        for label in &place.labels {
            let Some(posting) = self.postings.get_mut(label) else {
                continue;
            };
            if let Ok(at) = posting.slots.binary_search(&slot) {
                posting.slots.remove(at);
            }
            posting.changed = self.changes;
            if posting.slots.is_empty() {
                self.postings.remove(label);
                self.vanished = self.changes;
            }
        }
        let empty = self.places.len().saturating_sub(self.by_number.len());
        if empty > self.by_number.len().saturating_add(EMPTY_MAX) {
            self.renumber();
        }
        Some(place.ticket)
    }

    /// Closes the gaps between the endpoints. Their order stays.
    fn renumber(&mut self) {
        let mut numbers = vec![0; self.places.len()];
        let mut next: Slot = 0;
        for (place, number) in self.places.iter().zip(&mut numbers) {
            *number = next;
            next = next.saturating_add(Slot::from(place.is_some()));
        }
        let renumbered = |slot: Slot| numbers.get(slot as usize).copied().unwrap_or(Slot::MAX);
        for slot in self.by_number.values_mut() {
            *slot = renumbered(*slot);
        }
        for posting in self.postings.values_mut() {
            posting
                .slots
                .iter_mut()
                .for_each(|slot| *slot = renumbered(*slot));
        }
        self.places.retain(Option::is_some);
        self.cache.clear();
    }

    /// Chooses who gets a message, in the order in which they joined, and hands each to `to`. Returns how many those are.
    pub(super) fn route(&mut self, selector: &Selector<'_>, mut to: impl FnMut(Target<P>)) -> usize {
        let at = self.find(selector);
        let Some(found) = self.cache.get_mut(at) else {
            return 0;
        };
        let places = &self.places;
        let mut give = |slot: Slot| {
            let place = places.get(slot as usize).and_then(Option::as_ref);
            place.into_iter().for_each(|place| to(place.target));
        };
        match selector.mode() {
            Mode::First => found.slots.first().copied().map_or(0, |slot| {
                give(slot);
                1
            }),
            Mode::RoundRobin => found.next().map_or(0, |slot| {
                give(slot);
                1
            }),
            Mode::Multicast => {
                found.slots.iter().copied().for_each(give);
                found.slots.len()
            }
        }
    }

    /// Where in the cache the endpoints of a selector are, as they are now.
    fn find(&mut self, selector: &Selector<'_>) -> usize {
        let known = self.cache.find(selector.expression());
        if let Some(at) = known
            && let Some(found) = self.cache.get_mut(at)
        {
            if found.changes == self.changes {
                return at;
            }
            let (postings, vanished) = (&self.postings, self.vanished);
            let changed = |label: &str| postings.get(label).map_or(vanished, |posting| posting.changed);
            if !found.depends_on_all && selector.labels().all(|label| changed(label) <= found.changes) {
                found.changes = self.changes;
                return at;
            }
        }
        let driver = self.driver(selector);
        let slots = self.evaluate(selector, &driver);
        let depends_on_all = matches!(driver, Driver::All);
        self.cache
            .insert(known, selector.expression(), slots, self.changes, depends_on_all)
    }

    fn driver<'s>(&self, selector: &Selector<'s>) -> Driver<'s> {
        Driver::of(selector, |label| {
            self.postings.get(label).map_or(0, |posting| posting.slots.len())
        })
    }

    fn evaluate(&self, selector: &Selector<'_>, driver: &Driver<'_>) -> Vec<Slot> {
        let matches = |slot: &Slot| {
            let place = self.places.get(*slot as usize).and_then(Option::as_ref);
            place.is_some_and(|place| selector.matches(|label| place.has(label)))
        };
        match driver {
            Driver::All => self.living().filter(matches).collect(),
            Driver::Any(labels, _) => {
                let postings = labels.iter().filter_map(|label| self.postings.get(*label));
                let mut slots: Vec<Slot> = postings
                    .flat_map(|posting| posting.slots.iter().copied())
                    .filter(matches)
                    .collect();
                if labels.len() > 1 {
                    slots.sort_unstable();
                    slots.dedup();
                }
                slots
            }
        }
    }

    fn living(&self) -> impl Iterator<Item = Slot> {
        let living = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.is_some());
        living.map(|(slot, _)| Slot::try_from(slot).unwrap_or(Slot::MAX))
    }
}

#[cfg(test)]
impl<P: PeerKey> Labels<P> {
    pub(super) fn is_bare(&self) -> bool {
        self.by_number.is_empty() && self.postings.is_empty() && self.seeks.is_bare()
    }
}

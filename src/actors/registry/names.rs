//! All names with their claims, and which peer holds which.
//!
//! Owns the rules of admission and the tables that find a claim from either side. It announces nothing and refuses
//! to know waits and watches: [`Index`](super::index::Index), its only caller, does that.

use super::claims::{Claim, Claims};
use super::facts::Balance;
use super::request::{NameView, RegisterError, Registered, Registration};
use crate::actors::peer_key::PeerKey;
use crate::actors::table::Table;
use crate::message::Ticket;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A name as the key of its entry. Usual names lie in the table itself: with a million of them, each place in memory that a call
/// has to look at costs as much as all the rest of its routing.
type NameKey = SmallVec<[u8; 32]>;

/// Names come checked, so they are text.
fn text(key: &NameKey) -> &str {
    std::str::from_utf8(key).unwrap_or_default()
}

/// How a Register fits what is there.
#[derive(Debug)]
pub(super) enum Admission {
    /// The peer has such a claim already.
    Held(Registered),
    /// The first claim to the name.
    First,
    /// One more member of the group.
    Join,
    /// Behind the owner.
    Queue,
    /// In the place of the owner, which is this one.
    Replace(Ticket),
}

/// A claim that was taken out.
#[derive(Debug)]
pub(super) struct Taken<P> {
    pub(super) claim: Claim<P>,
    /// It was the last one: there is no such name any more.
    pub(super) last: bool,
    /// It owned the name, alone.
    pub(super) owned: bool,
}

/// The tables.
#[derive(Debug)]
pub(super) struct Names<P> {
    by_name: Table<NameKey, Claims<P>>,
    /// The place of each claim, by peer and name.
    by_peer: BTreeMap<(P, Box<str>), Ticket>,
}

impl<P: PeerKey> Names<P> {
    pub(super) fn new() -> Self {
        Self {
            by_name: Table::default(),
            by_peer: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, object: &[u8]) -> Option<&Claims<P>> {
        self.by_name.get(object)
    }

    pub(super) fn get_mut(&mut self, object: &[u8]) -> Option<&mut Claims<P>> {
        self.by_name.get_mut(object)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many of these names there are not.
    pub(super) fn missing(&self, names: &[Box<str>]) -> usize {
        names
            .iter()
            .filter(|name| self.get(name.as_bytes()).is_none())
            .count()
    }

    pub(super) fn admit(&self, asked: &Registration<'_, P>) -> Result<Admission, RegisterError<P>> {
        let Some((claims, first)) = self
            .get(asked.object.as_bytes())
            .and_then(|all| Some((all, all.first()?)))
        else {
            return Ok(Admission::First);
        };
        let owner = first.peer;
        let held = self.place(asked.peer, asked.object).is_some();
        match (claims.balance(), asked.group) {
            (Some(balance), Some(wanted)) if balance != wanted => {
                Err(RegisterError::Mismatch { owner, balance })
            }
            (Some(_), Some(_)) if held => Ok(Admission::Held(Registered::Owner)),
            (Some(_), Some(_)) => Ok(Admission::Join),
            (Some(_), None) | (None, Some(_)) => Err(RegisterError::Taken { owner }),
            (None, None) if owner == asked.peer => Ok(Admission::Held(Registered::Owner)),
            (None, None) if held => Ok(Admission::Held(Registered::Queued)),
            (None, None) if asked.replace && first.allow_replace => Ok(Admission::Replace(first.place)),
            (None, None) if asked.queue => Ok(Admission::Queue),
            (None, None) => Err(RegisterError::Taken { owner }),
        }
    }

    /// Puts a claim in, in the order of the places. Returns whether it is the first to the name.
    pub(super) fn insert(&mut self, object: &str, group: Option<Balance>, claim: Claim<P>) -> bool {
        self.by_peer.insert((claim.peer, object.into()), claim.place);
        if let Some(claims) = self.by_name.get_mut(object.as_bytes()) {
            claims.insert(claim);
            return false;
        }
        self.by_name
            .insert(NameKey::from_slice(object.as_bytes()), Claims::new(group, claim));
        true
    }

    /// Takes a claim out, and the name with the last one.
    pub(super) fn take(&mut self, object: &str, place: Ticket) -> Option<Taken<P>> {
        let claims = self.by_name.get_mut(object.as_bytes())?;
        let (position, claim) = claims.remove(place)?;
        let owned = position == 0 && claims.balance().is_none();
        let last = claims.is_empty();
        if last {
            self.by_name.remove(object.as_bytes());
        }
        self.by_peer.remove(&(claim.peer, object.into()));
        Some(Taken { claim, last, owned })
    }

    /// The place of the peer's claim to this name.
    pub(super) fn place(&self, peer: P, object: &str) -> Option<Ticket> {
        self.by_peer.get(&(peer, object.into())).copied()
    }

    /// The peer's claims in the order of their places.
    pub(super) fn held_by(&self, peer: P) -> Vec<(Ticket, Box<str>)> {
        let from = self.by_peer.range((peer, Box::default())..);
        let own = from.take_while(|((holder, _), _)| *holder == peer);
        let mut held: Vec<_> = own.map(|((_, object), place)| (*place, object.clone())).collect();
        held.sort_unstable();
        held
    }

    /// In no order.
    pub(super) fn some(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(text)
    }

    /// Sorted by name.
    pub(super) fn sorted(&self) -> Vec<(&str, &Claims<P>)> {
        let mut all: Vec<_> = self
            .by_name
            .iter()
            .map(|(key, claims)| (text(key), claims))
            .collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    pub(super) fn view(&self, object: &[u8]) -> Option<NameView<'_, P>> {
        let (key, claims) = self.by_name.get_key_value(object)?;
        view(text(key), claims)
    }
}

#[cfg(test)]
impl<P> Names<P> {
    pub(super) fn is_bare(&self) -> bool {
        self.by_name.is_empty() && self.by_peer.is_empty()
    }
}

/// One name as List and Describe show it.
pub(super) fn view<'a, P: PeerKey>(name: &'a str, claims: &'a Claims<P>) -> Option<NameView<'a, P>> {
    let first = claims.first()?;
    let balance = claims.balance();
    let called = if balance.is_some() { usize::MAX } else { 1 };
    let peers = || claims.iter().map(|claim| claim.peer);
    Some(NameView {
        name,
        owner: first.peer,
        balance,
        members: peers().take(called).collect(),
        queue: peers().skip(called).collect(),
        description: &first.description,
    })
}

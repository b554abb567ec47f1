//! The peers that a core actor knows, under small keys that its index can copy.
//!
//! Owns the table of keys; a key is given again only after its peer is gone. Knows nothing of names and topics.

use super::peer::PeerRef;
use super::table::Table;
use crate::message::PeerId;

/// A core actor's key for a peer.
pub type Key = u32;

/// A key that no peer has.
pub const NOBODY: Key = u32::MAX;

/// Peers with something of the actor's own beside each.
#[derive(Debug)]
pub struct Peers<T> {
    places: Vec<Option<(PeerRef, T)>>,
    free: Vec<Key>,
    keys: Table<PeerId, Key>,
}

impl<T> Default for Peers<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            keys: Table::default(),
        }
    }
}

impl<T: Default> Peers<T> {
    /// The peer's key, new if it has none.
    pub fn add(&mut self, peer: &PeerRef) -> Key {
        if let Some(key) = self.keys.get(&peer.id()) {
            return *key;
        }
        let place = Some((peer.clone(), T::default()));
        let key = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len().saturating_sub(1)).unwrap_or(NOBODY)
        });
        if let Some(empty) = self.places.get_mut(key as usize) {
            *empty = place;
        }
        self.keys.insert(peer.id(), key);
        key
    }
}

impl<T> Peers<T> {
    /// The key of a peer.
    #[must_use]
    pub fn key(&self, peer: PeerId) -> Option<Key> {
        self.keys.get(&peer).copied()
    }

    /// The peer with this key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&PeerRef> {
        self.places.get(key as usize)?.as_ref().map(|(peer, _)| peer)
    }

    /// The peer with this key, and what belongs to it.
    pub fn entry(&mut self, key: Key) -> Option<(&PeerRef, &mut T)> {
        self.places
            .get_mut(key as usize)?
            .as_mut()
            .map(|(peer, own)| (&*peer, own))
    }

    /// What belongs to the peer with this key.
    #[must_use]
    pub fn own(&self, key: Key) -> Option<&T> {
        self.places.get(key as usize)?.as_ref().map(|(_, own)| own)
    }

    /// Forgets a peer; its key may be given again.
    pub fn remove(&mut self, peer: PeerId) -> Option<Key> {
        let key = self.keys.remove(&peer)?;
        if let Some(place) = self.places.get_mut(key as usize) {
            *place = None;
            self.free.push(key);
        }
        Some(key)
    }

    /// All peers, with their keys.
    pub fn keyed(&self) -> impl Iterator<Item = (Key, &PeerRef)> {
        let places = (0..).zip(&self.places);
        places.filter_map(|(key, place)| place.as_ref().map(|(peer, _)| (key, peer)))
    }

    /// All peers.
    pub fn iter(&self) -> impl Iterator<Item = &PeerRef> {
        self.places.iter().flatten().map(|(peer, _)| peer)
    }
}

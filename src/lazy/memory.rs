//! What all the clients of a lazy server hold together, in one number, and who makes room when it is too much.
//!
//! Owns the number and the choice; who asks, and what is read, is `server`'s business.
//!
//! # The rule of memory
//! - The number is the capacity of the buffers of all clients, both ways, beyond [`KEPT`] bytes of each.
//! - Every client may hold [`KEPT`] bytes, however many there are. For more, there must be room. If there is none, the process that holds most gives some back: its largest
//!   connection is ended. If that is the one that asks, it waits, and what it has sent stays in its socket.
//! - What a client had not read is written once more before that: one that reads is not ended for what it has read meanwhile.
//! - A response comes before one knows how large it is. So while there is no room for the largest one, a client with a response unread gets no
//!   further command carried out; and if the number is too large after a command, whoever holds most is ended, be it its client.

use super::budget::Limits;
use super::peer::{KEPT, Peer};
use super::wire::Status;
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// The number and its limit.
#[derive(Debug)]
pub(super) struct Memory {
    held: usize,
    limit: usize,
    /// What was held when somebody had to wait.
    wanted_at: usize,
    /// Who was ended and is to be forgotten.
    ended: Vec<usize>,
}

impl Memory {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            held: 0,
            limit: limits.memory_bytes,
            wanted_at: 0,
            ended: Vec::new(),
        }
    }

    /// Takes what a client holds now beyond what each may into the number.
    pub(super) const fn count<S: Read + Write>(&mut self, peer: &mut Peer<S>) {
        let counted = peer.held().saturating_sub(KEPT);
        self.held = self.held.saturating_sub(peer.counted).saturating_add(counted);
        peer.counted = counted;
    }

    /// A client is dropped.
    pub(super) const fn forget<S>(&mut self, peer: &Peer<S>) {
        self.held = self.held.saturating_sub(peer.counted);
    }

    pub(super) const fn has_room(&self, bytes: usize) -> bool {
        self.held.saturating_add(bytes) <= self.limit
    }

    /// Whether less is held than when somebody had to wait.
    pub(super) const fn has_grown_free(&self) -> bool {
        self.held < self.wanted_at
    }

    /// Whoever waited tries again.
    pub(super) const fn try_again(&mut self) {
        self.wanted_at = 0;
    }

    /// Who was ended since this was asked last.
    pub(super) fn take_ended(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.ended)
    }

    /// Makes room for the client at `key`; `false`: it has to wait.
    pub(super) fn make_room<S: Read + Write>(
        &mut self,
        peers: &mut [Option<Peer<S>>],
        key: usize,
        bytes: usize,
    ) -> bool {
        while !self.has_room(bytes) {
            match largest(peers) {
                Some(found) if found != key => self.lessen(peers, found),
                _ => {
                    self.wanted_at = self.wanted_at.max(self.held);
                    return false;
                }
            }
        }
        true
    }

    /// Sees to it that no more is held than may be.
    pub(super) fn keep<S: Read + Write>(&mut self, peers: &mut [Option<Peer<S>>]) {
        while !self.has_room(0)
            && let Some(found) = largest(peers)
        {
            self.lessen(peers, found);
        }
    }

    /// Writes what the client at `key` can take; ends it if that frees nothing.
    fn lessen<S: Read + Write>(&mut self, peers: &mut [Option<Peer<S>>], key: usize) {
        let Some(Some(peer)) = peers.get_mut(key) else {
            return;
        };
        let before = peer.counted;
        if peer.pending() > 0 {
            peer.writable = true;
            peer.write();
            self.count(peer);
        }
        if peer.counted >= before {
            let text = format!(
                "the clients of this server hold {} bytes together, its limit, and this one the most; try again",
                self.limit
            );
            peer.give_up(Status::Busy, &text);
            self.count(peer);
            self.ended.push(key);
        }
    }
}

/// The connection that holds most, of the process that holds most. `None`: none holds more than anyone may.
fn largest<S: Read + Write>(peers: &[Option<Peer<S>>]) -> Option<usize> {
    let mut processes: BTreeMap<Option<u32>, (usize, usize, usize)> = BTreeMap::new();
    for (key, peer) in peers.iter().enumerate() {
        let Some(peer) = peer else { continue };
        if peer.counted == 0 {
            continue;
        }
        let (all, most, which) = processes.entry(peer.pid).or_insert((0, 0, key));
        *all = all.saturating_add(peer.counted);
        if peer.counted > *most {
            (*most, *which) = (peer.counted, key);
        }
    }
    let (_, _, key) = processes.into_values().max_by_key(|(all, ..)| *all)?;
    Some(key)
}

//! The claims to one name: a single owner with its queue, or the members of a worker group.
//!
//! Owns their order and the choice of the one that gets a call. It refuses to know the other names, the watchers
//! and the table of facts. Called by [`Index`](super::index::Index) only.

use super::facts::Balance;
use crate::actors::peer_key::PeerKey;
use crate::message::{RequestId, Ticket};
use bytes::Bytes;

/// One claim.
#[derive(Debug)]
pub(super) struct Claim<P> {
    /// Orders the claims; unique among those to one name.
    pub(super) place: Ticket,
    pub(super) ticket: Ticket,
    pub(super) peer: P,
    pub(super) request: RequestId,
    pub(super) allow_replace: bool,
    pub(super) description: Bytes,
}

/// All claims to one name, never none.
#[derive(Debug)]
pub(super) struct Claims<P> {
    /// The balance of a group; without one the first claim owns the name and the others queue.
    balance: Option<Balance>,
    /// Whose the first claim is, here as well: a call to a single owner looks no further.
    first: P,
    /// Ascending by place. A vector, because a name with one claim is the usual case and must be small.
    claims: Vec<Claim<P>>,
    /// The place that had the last turn. A place, not a position: members come and go without anybody losing one.
    last_turn: Ticket,
}

impl<P: PeerKey> Claims<P> {
    pub(super) fn new(balance: Option<Balance>, first: Claim<P>) -> Self {
        Self {
            balance,
            first: first.peer,
            claims: vec![first],
            last_turn: Ticket(0),
        }
    }

    pub(super) const fn balance(&self) -> Option<Balance> {
        self.balance
    }

    /// The owner, or the oldest member.
    pub(super) fn first(&self) -> Option<&Claim<P>> {
        self.claims.first()
    }

    /// In order of their places: the owner and its queue, or the members.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Claim<P>> {
        self.claims.iter()
    }

    pub(super) fn insert(&mut self, claim: Claim<P>) {
        let position = self.claims.partition_point(|other| other.place < claim.place);
        self.claims.insert(position, claim);
        self.note_first();
    }

    /// Takes the claim with this place out, with its position. O(log claims) to find it.
    pub(super) fn remove(&mut self, place: Ticket) -> Option<(usize, Claim<P>)> {
        let position = self
            .claims
            .binary_search_by_key(&place, |claim| claim.place)
            .ok()?;
        let claim = self.claims.remove(position);
        self.note_first();
        Some((position, claim))
    }

    fn note_first(&mut self) {
        if let Some(claim) = self.claims.first() {
            self.first = claim.peer;
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Chooses who gets a call.
    #[inline]
    pub(super) fn pick(&mut self, sticky: Option<&[u8]>, load: impl Fn(P) -> u32) -> Option<P> {
        match (self.balance, sticky) {
            (None, _) => Some(self.first),
            (Some(Balance::Sticky), Some(key)) => self.rendezvous(key),
            (Some(Balance::LeastBusy), _) => {
                self.turn(|in_turn| in_turn.min_by_key(|claim| load(claim.peer)))
            }
            (Some(Balance::RoundRobin | Balance::Sticky), _) => self.turn(|in_turn| in_turn.next()),
        }
    }

    /// Chooses among the members, seen from the one after the last that had a turn, and gives it the turn.
    fn turn<'a>(
        &'a mut self,
        choose: impl FnOnce(&mut dyn Iterator<Item = &'a Claim<P>>) -> Option<&'a Claim<P>>,
    ) -> Option<P> {
        let next = self.claims.partition_point(|claim| claim.place <= self.last_turn);
        let (had, not_yet) = self.claims.split_at_checked(next)?;
        let chosen = choose(&mut not_yet.iter().chain(had))?;
        self.last_turn = chosen.place;
        Some(chosen.peer)
    }

    /// Highest random weight: each member gets a score from its place and the key, the highest wins. A member
    /// that goes takes only its own keys along, one that comes takes only those that it wins.
    fn rendezvous(&self, key: &[u8]) -> Option<P> {
        let key = fnv1a(key);
        self.claims
            .iter()
            .max_by_key(|claim| mix(key ^ mix(claim.place.0)))
            .map(|claim| claim.peer)
    }
}

/// FNV-1a, 64 bits. Not made against chosen keys, and it need not be: a caller that piles its own keys onto one
/// member could as well send them all with one key.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finaliser of splitmix64: every input bit changes every output bit with probability near one half, which
/// FNV-1a alone does not give for its last bytes.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

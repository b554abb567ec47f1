//! What messages in pieces, and items, hold until the actors that they are for have handled them.
//!
//! Owns the sum of it for one local peer, its bound, and what each sender has of that by the rule of `shares`: nobody else's account has
//! it, because the peer that sends them is given its credit back for each piece, and one process's share of the broker's memory is less
//! than one message may be. Knows no message. Called by `dispatch` and `subscriber`.

use crate::actors::peer::Peer;
use crate::actors::shares::{Shares, Who};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part (1/n) of the whole that one user has at most.
const USER_PART: usize = 2;
/// What one process may have while nobody else has anything, as a part (1/n) of the whole.
pub(super) const PROCESS_PART: usize = 2 * USER_PART;

/// The sum, and how large it may become.
#[derive(Debug)]
pub(super) struct Keeper(Mutex<Shares>);

impl Keeper {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Shares::new(most, USER_PART))))
    }

    /// What one message holds of a sender's part, nothing yet.
    pub(super) fn part(self: &Arc<Self>, who: Who) -> Kept {
        Kept {
            keeper: self.clone(),
            who,
            bytes: 0,
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose part a peer's messages have: its process's, or its own where the system does not tell that. Such connections are not one
/// process here: a message may be as large as the part of one.
pub(super) fn sender(peer: &Peer) -> Who {
    let origin = peer.origin;
    let who = peer.account.memory.who().unwrap_or(Who {
        uid: origin.uid,
        pid: origin.pid,
        connection: origin.peer.0,
    });
    let own = u32::try_from(who.connection & u64::from(u32::MAX)).unwrap_or_default();
    Who {
        pid: if who.pid == 0 { own } else { who.pid },
        connection: 0,
        ..who
    }
}

/// What one message holds; dropping it gives that back.
pub(super) struct Kept {
    keeper: Arc<Keeper>,
    who: Who,
    bytes: usize,
}

impl Kept {
    /// It holds so many bytes from now on. `false`: its sender has no room for that, and it holds what it did.
    #[must_use]
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.add(bytes.saturating_sub(self.bytes))
    }

    /// It holds so many bytes more. `false`: there is no room for that.
    #[must_use]
    pub(super) fn add(&mut self, more: usize) -> bool {
        let fits = self.keeper.shares().charge(self.who, more).is_ok();
        if fits {
            self.bytes = self.bytes.saturating_add(more);
        }
        fits
    }

    /// It holds so many bytes fewer.
    pub(super) fn less(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        if bytes > 0 {
            self.keeper.shares().release(self.who, bytes);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.less(usize::MAX);
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::inbox::Deaf;
    use crate::actors::peer::Account;
    use crate::message::{Origin, PeerId};

    fn process(uid: u32, pid: u32) -> Who {
        Who {
            uid,
            pid,
            connection: 0,
        }
    }

    #[test]
    fn parts_grow_to_the_bound_together_and_give_all_back() {
        let keeper = Keeper::new(10 * PROCESS_PART);
        let me = process(1, 1);
        let (mut one, mut other) = (keeper.part(me), keeper.part(me));
        assert!(one.grow(6) && other.grow(4));
        assert!(!other.grow(5), "beyond the bound");
        assert!(one.grow(6), "no more than it has");
        drop(one);
        assert!(other.grow(10));
        other.less(3);
        assert!(other.add(3) && !other.add(1));
        drop(other);
        assert!(keeper.shares().is_empty());
    }

    #[test]
    fn who_takes_all_it_can_get_leaves_room_for_others() {
        let keeper = Keeper::new(1_200 * PROCESS_PART);
        let takes = |who: Who| {
            let mut kept = keeper.part(who);
            let all = (0..).take_while(|_| kept.add(10)).count();
            (all * 10, kept)
        };
        let (first, _first) = takes(process(1, 1));
        assert_eq!(first, 1_200, "a whole message");
        let (second, _second) = takes(process(1, 2));
        assert_eq!(second, 400, "a third of what the first has left its user");
        let (stranger, _stranger) = takes(process(2, 3));
        assert!(stranger >= 1_000, "another user had {stranger}");
    }

    #[test]
    fn a_process_that_is_not_told_is_its_connection() {
        let sender_of = |peer: u64, pid: u32| {
            let origin = Origin {
                peer: PeerId(peer),
                uid: 7,
                pid,
            };
            sender(&Peer::new(origin, "", 0, Account::new(1, 1), Box::new(Deaf)))
        };
        assert_eq!(sender_of(1, 9), sender_of(2, 9));
        assert_ne!(sender_of(1, 0), sender_of(2, 0));
        assert_eq!(sender_of(3, 0), process(7, 3));
    }
}

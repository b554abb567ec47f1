//! What the peers of a core actor may do under the broker's policy.
//!
//! Owns the rights of each peer, by the actor's key for it, and the errors that follow. The decision is `policy`'s. Called by
//! Registry and TopicHub, where names and subscriptions are kept, and by Connection when a peer is welcomed.

use super::peer::PeerRef;
use super::peers::{Key, NOBODY};
use super::table::Table;
use crate::error::{CallError, ErrorCode};
use crate::message::{Pattern, PeerId};
use crate::policy::{Principal, Right, Rights, Slot, denial};
use std::sync::Arc;

/// Why this peer may not connect.
pub(super) fn refuses(slot: &Slot, who: &Principal) -> Option<String> {
    let may = Rights::default().may(slot, who, Right::Connect, b"");
    (!may).then(|| denial(who, Right::Connect, b""))
}

/// The error for somebody who may not do this.
pub(super) fn error(who: &Principal, right: Right, name: &[u8]) -> CallError {
    CallError::new(ErrorCode::Denied, denial(who, right, name)).ran(false)
}

/// The rights of all peers that were asked about.
#[derive(Debug)]
pub(super) struct Access {
    slot: Arc<Slot>,
    /// With whom they are of: a key may be given to another peer, and what was remembered must not go with it.
    rights: Table<Key, (PeerId, Rights)>,
}

impl Access {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        Self {
            slot,
            rights: Table::default(),
        }
    }

    /// The same, to be used while the rest of the actor's state is borrowed, and put back. If it is not, only what was remembered
    /// is lost: what stays asks the same policy.
    pub(super) fn lend(&mut self) -> Self {
        Self {
            slot: self.slot.clone(),
            rights: std::mem::take(&mut self.rights),
        }
    }

    /// Whether there is anything to ask about.
    #[inline]
    pub(super) fn is_guarded(&self) -> bool {
        self.slot.is_set()
    }

    /// Whether the peer may do this with the name.
    pub(super) fn may(&mut self, key: Key, peer: &PeerRef, right: Right, name: &[u8]) -> bool {
        !self.is_guarded() || self.ask(key, peer, |rights, slot, who| rights.may(slot, who, right, name))
    }

    /// Whether the peer may know that there is an object of this name.
    pub(super) fn sees(&mut self, key: Key, peer: &PeerRef, object: &str) -> bool {
        !self.is_guarded() || self.ask(key, peer, |rights, slot, who| rights.sees(slot, who, object))
    }

    /// Whether the peer may call the object, or some method of it.
    pub(super) fn may_call_some(&mut self, key: Key, peer: &PeerRef, object: &str) -> bool {
        !self.is_guarded()
            || self.ask(key, peer, |rights, slot, who| {
                rights.may_call_some(slot, who, object)
            })
    }

    /// Whether a subscription of the peer with these patterns may ever hear something.
    pub(super) fn may_hear_some(
        &mut self,
        key: Key,
        peer: &PeerRef,
        object: &Pattern,
        event: &Pattern,
    ) -> bool {
        !self.is_guarded()
            || self.ask(key, peer, |rights, slot, who| {
                rights.may_hear_some(slot, who, object, event)
            })
    }

    fn ask(
        &mut self,
        key: Key,
        peer: &PeerRef,
        question: impl FnOnce(&mut Rights, &Slot, &Principal) -> bool,
    ) -> bool {
        if key == NOBODY {
            // A peer that is gone already: nothing is remembered for it.
            return question(&mut Rights::default(), &self.slot, &peer.principal);
        }
        let new = || (peer.id(), Rights::default());
        let (of, rights) = self.rights.entry(key).or_insert_with(new);
        if *of != peer.id() {
            (*of, *rights) = new();
        }
        question(rights, &self.slot, &peer.principal)
    }

    /// The peer is gone; its key may be given to another one.
    pub(super) fn forget(&mut self, key: Key) {
        self.rights.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::inbox::Deaf;
    use crate::actors::peer::{Account, Peer};
    use crate::config::Limits;
    use crate::message::Origin;
    use crate::policy::{Policy, Rule, Selection, Who};

    fn peer(number: u64, uid: u32) -> PeerRef {
        let origin = Origin {
            peer: PeerId(number),
            uid,
            pid: 0,
        };
        let account = Account::new(Limits::default().outbox_bytes, 1);
        Peer::new(origin, "", 0, account, Box::new(Deaf))
    }

    #[test]
    fn what_is_remembered_of_one_peer_is_never_anothers() {
        let rule = Rule::allow([Who::Uid(1)]).named(Right::Own, Selection::object("x").unwrap());
        let mut access = Access::new(Arc::new(Slot::new(Some(Policy::new(vec![rule])))));
        let (owner, other) = (peer(7, 1), peer(8, 2));
        for key in [3, NOBODY] {
            for _ in 0..2 {
                assert!(access.may(key, &owner, Right::Own, b"x") && access.sees(key, &owner, "x"));
                assert!(!access.may(key, &other, Right::Own, b"x") && !access.sees(key, &other, "x"));
            }
        }
        access.forget(3);
        assert!(access.rights.is_empty());
    }
}

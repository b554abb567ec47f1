//! What the peers of a core actor may do under the broker's policy.
//!
//! Owns the rights of each peer, by the actor's key for it, and the errors that follow. The decision is `policy`'s. Called by
//! Registry and TopicHub, where names and subscriptions are kept, and by Connection when a peer is welcomed.

use super::peer::PeerRef;
use super::peers::Key;
use crate::error::{CallError, ErrorCode};
use crate::message::Pattern;
use crate::policy::{Principal, Right, Rights, Slot, denial};
use std::collections::HashMap;
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
    rights: HashMap<Key, Rights>,
}

impl Access {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        Self {
            slot,
            rights: HashMap::new(),
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
        !self.is_guarded()
            || self
                .rights
                .entry(key)
                .or_default()
                .may(&self.slot, &peer.principal, right, name)
    }

    /// Whether the peer may know that there is an object of this name.
    pub(super) fn sees(&mut self, key: Key, peer: &PeerRef, object: &str) -> bool {
        !self.is_guarded()
            || self
                .rights
                .entry(key)
                .or_default()
                .sees(&self.slot, &peer.principal, object)
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
            || self
                .rights
                .entry(key)
                .or_default()
                .may_hear_some(&self.slot, &peer.principal, object, event)
    }

    /// The peer is gone; its key may be given to another one.
    pub(super) fn forget(&mut self, key: Key) {
        self.rights.remove(&key);
    }
}

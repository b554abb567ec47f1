//! What the policy says to calls and publishes of this peer.
//!
//! Owns the question, the answer to the peer, and how loudly it is noted. Names and subscriptions are asked about where they
//! are kept, in Registry and TopicHub. Steps of [`Session`], in a file of their own.

use super::{Effects, Session};
use crate::actors::connection::open_calls::Parked;
use crate::error::{CallError, ErrorCode};
use crate::message::{CallId, Ticket};
use crate::policy::{Right, denial};

impl Session {
    /// The error for something that the policy denies; `None`: it is allowed, or there is no policy.
    #[inline]
    pub(super) fn denied(&mut self, right: Right, key: &[u8], effects: &mut Effects) -> Option<CallError> {
        let slot = self.policy.as_deref().filter(|slot| slot.is_set())?;
        let rights = self.rights.get_or_insert_default();
        if rights.may(slot, &self.me.principal, right, key) {
            return None;
        }
        effects.denied = effects.denied.saturating_add(1);
        self.denied = self.denied.saturating_add(1);
        let text = denial(&self.me.principal, right, key);
        if self.denied.is_power_of_two() {
            // One line for ever more of them: who asks in a loop must not fill the log.
            tracing::warn!(
                peer = self.me.id().0,
                pid = self.me.origin.pid,
                count = self.denied,
                "denied; {text}"
            );
        }
        Some(CallError::new(ErrorCode::Denied, text).ran(false))
    }

    /// The object of a call that waited is there: the error when the policy denies the call by now.
    pub fn denied_while_parked(&mut self, parked: &Parked) -> Option<CallError> {
        let slot = self.policy.as_deref().filter(|slot| slot.is_set())?;
        let key = parked.batch.view(parked.invoke.frame as usize)?.key;
        let rights = self.rights.get_or_insert_default();
        let may = rights.may(slot, &self.me.principal, Right::Call, key);
        let text = || denial(&self.me.principal, Right::Call, key);
        (!may).then(|| CallError::new(ErrorCode::Denied, text()).ran(false))
    }

    /// What this waits for will not come.
    pub fn fail_wait(&mut self, (call, ticket): (CallId, Ticket), error: &CallError, effects: &mut Effects) {
        if self.open.is_waiting(call, ticket) {
            self.cancel_with(call, error, effects);
        }
    }

    /// The policy has changed: what this peer waits for is no longer its to see.
    pub fn deny_wait(&mut self, (call, ticket): (CallId, Ticket), effects: &mut Effects) {
        if self.open.is_waiting(call, ticket) {
            effects.denied = effects.denied.saturating_add(1);
            let text = "policy: what this waits for may not be seen any more; the operator has changed the broker's policy";
            self.cancel_with(call, &CallError::new(ErrorCode::Denied, text).ran(false), effects);
        }
    }
}

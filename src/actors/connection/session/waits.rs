//! The ends of what a peer has asked and is not answered: taken back, given up, out of time.
//!
//! Owns who is told what then. Steps of [`Session`], in a file of their own.

use super::{Effects, Session};
use crate::actors::connection::open_calls::Parked;
use crate::actors::messages::{Control, RegistryItem};
use crate::actors::observe::refused::Refused;
use crate::actors::peer::{ReplyTo, error_frame};
use crate::actors::planted::{self, Bug};
use crate::error::{CallError, ErrorCode};
use crate::message::{CallId, Draft, Kind};
use std::time::Instant;

impl Session {
    pub(super) fn cancel_with(&mut self, call: CallId, error: &CallError, effects: &mut Effects) {
        let Some(open) = self.open.get_mut(call).filter(|open| !open.cancelled) else {
            return;
        };
        if open.callee.is_none() && open.waits {
            match open.silent {
                true => effects.dropped = effects.dropped.saturating_add(1),
                false => effects.send.push(error_frame(call.0, &error.clone().ran(false))),
            }
            effects.registry.push(RegistryItem::Unwait(call));
            self.refuse_parked(call, &error.clone().ran(false), effects);
            self.open.remove(call);
            return;
        }
        effects.send.push(error_frame(call.0, error));
        if let Some(callee) = open.callee.take() {
            if !planted::is(Bug::CancelNotPassed) {
                effects.tell.push((callee, Control::Cancel(open.ticket)));
            }
            self.open.remove(call);
        } else {
            // Registry has it, or had it: `Routed` or the answer will come and close the entry.
            open.cancelled = true;
            open.upload = None;
        }
    }

    /// A call that waits for its object has waited in vain: who watches is told.
    pub(super) fn refuse_parked(&mut self, call: CallId, error: &CallError, effects: &mut Effects) {
        if let Some(Parked { batch, invoke, .. }) = self.open.take_parked(call) {
            effects.refused.push(Refused {
                frame: invoke.frame,
                batch: Some(batch),
                ticket: invoke.ticket,
                silent: invoke.reply.is_none(),
                error: error.clone(),
            });
            // The entry is answered, or is about to be.
            invoke.reply.into_iter().for_each(ReplyTo::forget);
        }
    }

    /// The peer or the broker is leaving: what waits for objects ends with this error, what has begun goes on.
    pub fn give_up_waiting(&mut self, code: ErrorCode, effects: &mut Effects) {
        for call in self.open.waits() {
            self.cancel_with(call, &CallError::from(code), effects);
        }
    }

    /// The peer sends nothing more: calls of which something is still to come can never be done.
    pub fn give_up_unfinished(&mut self, effects: &mut Effects) {
        let text = "the connection's sending side ended before the rest of the call came";
        // Who has it may have begun, also when Registry's word of that is still on its way.
        let error = CallError::new(ErrorCode::Cancelled, text).ran(true);
        for call in self.open.unfinished() {
            self.cancel_with(call, &error, effects);
        }
    }

    /// Ends waits and calls whose time is over.
    pub fn expire(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(call) = self.open.expire(now) {
            effects.registry.push(RegistryItem::Unwait(call));
            let text = "the object was not registered before the deadline";
            let error = CallError::new(ErrorCode::Deadline, text).ran(false);
            self.refuse_parked(call, &error, effects);
            if self.open.remove(call).is_some_and(|open| open.silent) {
                effects.dropped = effects.dropped.saturating_add(1);
                continue;
            }
            effects.send.push(error_frame(call.0, &error));
        }
        while let Some(ticket) = self.slots.expire(now) {
            effects.send.push(Draft::new(Kind::Cancel, ticket.0).to_vec());
        }
        self.me.account.set_load(self.slots.len());
        self.expire_endpoints(now, effects);
        self.answer_guesses(now, effects);
    }

    /// When [`Self::expire`] is to be called next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let bus = self.bus_deadline();
        [self.open.next_deadline(), self.slots.next_deadline(), bus]
            .into_iter()
            .flatten()
            .min()
    }
}

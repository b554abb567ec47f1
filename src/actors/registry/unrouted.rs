//! Calls whose object nobody has: refused, or put aside until it is there.
//!
//! Owns which of the two, and within which limits. The call itself waits at its caller's connection; the fact that it does is Registry's.
//! Steps of Registry, in a file of their own.

use super::facts;
use super::observed::no_object;
use super::state::{Current, State, fail};
use crate::actors::messages::Invoke;
use crate::error::ErrorCode;
use crate::message::{Flags, RequestId};

impl State {
    pub(super) fn unrouted(&mut self, current: &Current, object: &[u8], invoke: Invoke) {
        self.shared.metrics.calls_unrouted.add(1);
        let name = String::from_utf8_lossy(object).into_owned();
        let header = current.batch.header(invoke.frame as usize);
        // Of what has no reply nobody would learn what became of it: it waits only for what is about to start.
        let waits = invoke.reply.is_some() && header.is_some_and(|header| header.flags.has(Flags::WAIT));
        if !waits && !self.is_described(&name) {
            let error = no_object(&name);
            if let Some(view) = current.batch.view(invoke.frame as usize) {
                self.note_unrouted(current, &invoke, &view, &error);
            }
            return invoke.reply.into_iter().for_each(|reply| reply.fail(&error));
        }
        if self.facts.counts(current.key).watches >= self.shared.limits.watches {
            let error = super::answer::too_many("watches", self.shared.limits.watches);
            return self.refused(invoke, ErrorCode::TooMany, &error.message);
        }
        let names = vec![Box::from(name.as_str())];
        if let Err(error) = self.room(current, facts::wait_cost(&names)) {
            return self.refused(invoke, error.code, &error.message);
        }
        if let Err(error) = self.want(&name) {
            return self.refused(invoke, error.code, &error.message);
        }
        let (ticket, request) = (self.ticket(), RequestId(invoke.waits_as().0));
        match self
            .index
            .wait(ticket, current.key, request, names, &mut self.effects)
        {
            Ok(false) => {
                self.commit();
                self.out.parked.push(invoke);
            }
            Ok(true) | Err(_) => self.refused(invoke, ErrorCode::Invalid, "this call waits already"),
        }
    }

    fn refused(&self, invoke: Invoke, code: ErrorCode, text: &str) {
        let dropped = u64::from(invoke.reply.is_none());
        self.shared.metrics.one_way_dropped.add(dropped);
        fail(invoke.reply, code, text);
    }
}

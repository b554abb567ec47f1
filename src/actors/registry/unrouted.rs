//! Calls whose object nobody has: refused, or put aside until it is there.
//!
//! Owns which of the two, and within which limits. The call itself waits at its caller's connection; the fact that it does is Registry's.
//! Steps of Registry, in a file of their own.

use super::facts;
use super::observed::no_object;
use super::state::{Current, State};
use crate::actors::messages::Invoke;
use crate::actors::peers::{Key, NOBODY};
use crate::error::{CallError, ErrorCode};
use crate::message::{Flags, RequestId};
use std::collections::HashMap;

/// Calls that wait at their callers' connections, until they are routed again or given up: nobody's later call for the same object may
/// overtake them.
#[derive(Debug, Default)]
pub(super) struct Coming {
    calls: HashMap<(Key, RequestId), Box<[u8]>>,
    objects: HashMap<Key, HashMap<Box<[u8]>, usize>>,
}

impl Coming {
    fn park(&mut self, caller: Key, call: RequestId, object: &[u8]) {
        // A caller that has gone is told nothing, and comes again with nothing.
        if caller != NOBODY && self.calls.insert((caller, call), object.into()).is_none() {
            let objects = self.objects.entry(caller).or_default();
            let count = objects.entry(object.into()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// The call is back, or will not come.
    pub(super) fn came(&mut self, caller: Key, call: RequestId) {
        let Some(object) = self.calls.remove(&(caller, call)) else {
            return;
        };
        let Some(objects) = self.objects.get_mut(&caller) else {
            return;
        };
        if let Some(count) = objects.get_mut(&object) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                objects.remove(&object);
            }
        }
        if objects.is_empty() {
            self.objects.remove(&caller);
        }
    }

    /// Whether calls of this caller for this object are to come.
    pub(super) fn awaits(&self, caller: Key, object: &[u8]) -> bool {
        !self.objects.is_empty()
            && self
                .objects
                .get(&caller)
                .is_some_and(|objects| objects.contains_key(object))
    }

    /// The caller is gone; its key may be given to another.
    pub(super) fn forget(&mut self, caller: Key) {
        if self.objects.remove(&caller).is_some() {
            self.calls.retain(|(of, _), _| *of != caller);
        }
    }
}

impl State {
    pub(super) fn unrouted(&mut self, current: &Current, object: &[u8], invoke: Invoke) {
        self.shared.metrics.calls_unrouted.add(1);
        let name = String::from_utf8_lossy(object).into_owned();
        let header = current.batch.header(invoke.frame as usize);
        // Of what has no reply nobody would learn what became of it: it waits only for what is about to start.
        let waits = invoke.reply.is_some() && header.is_some_and(|header| header.flags.has(Flags::WAIT));
        if !waits && !self.is_described(&name) {
            return self.turn_away(current, invoke, None, no_object(&name));
        }
        if self.facts.counts(current.key).watches >= self.shared.limits.watches {
            let error = super::answer::too_many("watches", self.shared.limits.watches);
            return self.refused(current, invoke, error);
        }
        let names = vec![Box::from(name.as_str())];
        if let Err(error) = self.room(current, facts::wait_cost(&names)) {
            return self.refused(current, invoke, error);
        }
        if let Err(error) = self.want(&name) {
            return self.refused(current, invoke, error);
        }
        let (ticket, request) = (invoke.ticket, RequestId(invoke.waits_as().0));
        match self
            .index
            .wait(ticket, current.key, request, names, &mut self.effects)
        {
            Ok(false) => {
                self.commit();
                self.coming.park(current.key, request, object);
                self.out.parked.push(invoke);
            }
            Ok(true) | Err(_) => {
                let error = CallError::new(ErrorCode::Invalid, "this call waits already");
                self.refused(current, invoke, error);
            }
        }
    }

    /// The object is there, but earlier calls of this caller for it are on their way back: this one goes the same way behind them.
    pub(super) fn behind(&mut self, current: &Current, object: &[u8], invoke: Invoke) {
        let call = invoke.waits_as();
        self.coming.park(current.key, RequestId(call.0), object);
        let ticket = invoke.ticket;
        self.out.parked.push(invoke);
        self.out.present.push((current.from.clone(), call, ticket));
    }

    fn refused(&self, current: &Current, invoke: Invoke, error: CallError) {
        let dropped = u64::from(invoke.reply.is_none());
        self.shared.metrics.one_way_dropped.add(dropped);
        self.turn_away(current, invoke, None, error.ran(false));
    }
}

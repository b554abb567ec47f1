//! Services that start because somebody wants their objects: what Registry does about [`States`].
//!
//! Owns the way from a call, a wait or a registration to the states, and from their steps to the launcher and to those who wait. When a
//! service starts and is given up is not decided here. Steps of Registry, in a file of their own.

use super::facts;
use super::observed::no_object;
use super::state::{Current, State, fail};
use crate::activation::{Order, Report, States, Step};
use crate::actors::core::Shared;
use crate::actors::messages::{Control, Invoke};
use crate::actors::observe::journal::Happening;
use crate::actors::peers::Key;
use crate::actors::supervise::{Progress, guard};
use crate::error::{CallError, ErrorCode};
use crate::message::{CallId, Flags, RequestId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The services of a broker that has some.
#[derive(Debug)]
pub(super) struct Activation {
    states: States,
    steps: Vec<Step>,
    orders: Vec<Order>,
}

impl Activation {
    pub(super) fn new(shared: &Shared) -> Option<Box<Self>> {
        let services = shared.services.get()?;
        let states = States::new(services.clone());
        (!services.is_empty()).then(|| {
            Box::new(Self {
                states,
                steps: Vec::new(),
                orders: Vec::new(),
            })
        })
    }
}

impl State {
    /// Whether a service is described that provides the object.
    pub(super) fn is_described(&self, object: &str) -> bool {
        let services = self.activation.as_ref().map(|one| one.states.services());
        services.is_some_and(|services| services.of(object).is_some())
    }

    /// Somebody is about to wait for this object, which is not there: its service, if it has one, is started.
    ///
    /// # Errors
    /// Why it is not: then there is nothing to wait for.
    pub(super) fn want(&mut self, object: &str) -> Result<(), CallError> {
        let now = self.shared.now();
        let Some(own) = &mut self.activation else {
            return Ok(());
        };
        let Some(index) = own.states.services().of(object) else {
            return Ok(());
        };
        if self.shared.stopping.load(Ordering::Acquire) {
            // Whoever waits now is told by its own connection.
            return Ok(());
        }
        let wanted = own.states.wanted(index, now, &mut own.steps);
        let result = wanted.map_err(|why| self.failure(index, &why));
        self.perform_steps();
        result
    }

    fn failure(&self, index: usize, why: &str) -> CallError {
        let service = self
            .activation
            .as_ref()
            .and_then(|own| own.states.services().get(index));
        let name = service.map_or("", |service| service.name());
        CallError::new(
            ErrorCode::ServiceFailed,
            format!("the service {name:?}, which provides the object: {why}"),
        )
        .ran(false)
    }

    /// Whether somebody waits for an object of the service that is not there.
    fn is_waited(&self, index: usize) -> bool {
        let service = self
            .activation
            .as_ref()
            .and_then(|own| own.states.services().get(index));
        let objects = service.map(|service| &service.objects);
        let missing = |object: &&String| self.index.owner(object.as_bytes()).is_none();
        objects.is_some_and(|objects| {
            objects
                .iter()
                .filter(missing)
                .any(|object| self.index.is_waited(object))
        })
    }

    /// The object may have come or gone.
    pub(super) fn observe(&mut self, object: &str) {
        let now = self.shared.now();
        let Some(index) = self
            .activation
            .as_ref()
            .and_then(|own| own.states.services().of(object))
        else {
            return;
        };
        let there = self.index.owner(object.as_bytes()).is_some();
        let waited = self.is_waited(index);
        if let Some(own) = &mut self.activation {
            own.states.seen(object, there, waited, now, &mut own.steps);
        }
        self.perform_steps();
    }

    /// Any objects may have come or gone.
    pub(super) fn observe_all(&mut self) {
        let Some(services) = self.activation.as_ref().map(|own| own.states.services().clone()) else {
            return;
        };
        for object in services.all().iter().flat_map(|service| &service.objects) {
            self.observe(object);
        }
    }

    /// A run of a service has ended.
    pub fn reported(&mut self, Report { service, run, how }: Report) -> Progress {
        self.guarded(move |state| {
            let (now, waited) = (state.shared.now(), state.is_waited(service));
            if let Some(own) = &mut state.activation {
                own.states.ended(service, run, how, waited, now, &mut own.steps);
            }
            state.perform_steps();
        })
    }

    /// When [`Self::services_due`] is to be called next.
    pub(super) fn next_service(&self) -> Option<Instant> {
        self.activation.as_ref().and_then(|own| own.states.due())
    }

    /// Ends the starts that have taken too long, and the pauses.
    pub(super) fn services_due(&mut self) -> Progress {
        let now = self.shared.now();
        if self.next_service().is_none_or(|due| now < due) {
            return Progress::Done;
        }
        self.guarded(move |state| {
            // Out of its place, because whether somebody waits is asked of all the rest.
            if let Some(mut own) = state.activation.take() {
                let services = own.states.services().clone();
                let waited = |index| {
                    let objects = services.get(index).map(|service| &service.objects);
                    let missing = |object: &&String| state.index.owner(object.as_bytes()).is_none();
                    objects
                        .is_some_and(|all| all.iter().filter(missing).any(|one| state.index.is_waited(one)))
                };
                own.states.time_passed(waited, now, &mut own.steps);
                state.activation = Some(own);
            }
            state.perform_steps();
        })
    }

    /// What the launcher is to do.
    pub fn take_orders(&mut self) -> Vec<Order> {
        self.activation
            .as_mut()
            .map(|own| std::mem::take(&mut own.orders))
            .unwrap_or_default()
    }

    fn guarded(&mut self, step: impl FnOnce(&mut Self)) -> Progress {
        let stepped = guard(|| step(self));
        if let Err(panic) = stepped {
            tracing::error!(panic, "a service made Registry panic; its index is made anew");
            self.effects.clear();
            self.broken = true;
            return Progress::Restart;
        }
        Progress::Done
    }

    fn perform_steps(&mut self) {
        let steps = match &mut self.activation {
            Some(own) if !own.steps.is_empty() => std::mem::take(&mut own.steps),
            _ => return,
        };
        for step in steps {
            match step {
                Step::Order(order) => {
                    if matches!(order, Order::Start { .. }) {
                        self.shared.metrics.services_started.add(1);
                    }
                    if let Some(own) = &mut self.activation {
                        own.orders.push(order);
                    }
                }
                Step::Fail(index, why) => self.fail_waiting(index, &why),
            }
        }
    }

    /// A call finds nobody: it waits, if it may, else it is answered.
    pub(super) fn unrouted(&mut self, current: &Current, object: &[u8], invoke: Invoke) {
        self.shared.metrics.calls_unrouted.add(1);
        let name = String::from_utf8_lossy(object).into_owned();
        let waits = current
            .batch
            .header(invoke.frame as usize)
            .is_some_and(|header| header.flags.has(Flags::WAIT));
        let Some(reply) = &invoke.reply else {
            // Nobody would learn what became of it, so it is not kept; but it may be what a service is to start for.
            let _ = self.want(&name);
            return;
        };
        if !waits && !self.is_described(&name) {
            let error = no_object(&name);
            if let Some(view) = current.batch.view(invoke.frame as usize) {
                self.note_unrouted(current, &invoke, &view, &error);
            }
            return invoke.reply.into_iter().for_each(|reply| reply.fail(&error));
        }
        if self.facts.counts(current.key).watches >= self.shared.limits.watches {
            let error = super::answer::too_many("watches", self.shared.limits.watches);
            return fail(invoke.reply, ErrorCode::TooMany, &error.message);
        }
        let names = vec![Box::from(name)];
        if let Err(error) = self.room(current, facts::wait_cost(&names)) {
            return fail(invoke.reply, error.code, &error.message);
        }
        let request = RequestId(reply.call().0);
        if let Err(error) = self.want(&String::from_utf8_lossy(object)) {
            return fail(invoke.reply, error.code, &error.message);
        }
        let ticket = self.ticket();
        match self
            .index
            .wait(ticket, current.key, request, names, &mut self.effects)
        {
            Ok(false) => {
                self.commit();
                self.out.parked.push(invoke);
            }
            Ok(true) | Err(_) => fail(invoke.reply, ErrorCode::Invalid, "this call waits already"),
        }
    }

    /// All that wait for objects of this service that are not there wait in vain.
    fn fail_waiting(&mut self, index: usize, why: &str) {
        self.shared.metrics.services_failed.add(1);
        let error = Arc::new(self.failure(index, why));
        tracing::warn!(%error, "a service failed");
        self.shared
            .happened(Happening::Service, None, 0, error.to_string());
        let Some(services) = self.activation.as_ref().map(|own| own.states.services().clone()) else {
            return;
        };
        let objects = services
            .get(index)
            .into_iter()
            .flat_map(|service| &service.objects);
        let missing = objects.filter(|object| self.index.owner(object.as_bytes()).is_none());
        let waiting: Vec<(Key, RequestId)> = missing
            .flat_map(|object| self.index.waiting_for(object))
            .collect();
        for (key, request) in waiting {
            self.index.unwait(key, request, &mut self.effects);
            if let Some(peer) = self.peers.get(key) {
                peer.tell(Control::WaitFailed(CallId(request.0), error.clone()));
            }
        }
        self.commit();
    }
}

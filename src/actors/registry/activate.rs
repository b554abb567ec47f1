//! Services that start because somebody wants their objects: what Registry does about [`States`].
//!
//! Owns the way from a call, a wait or a registration to the states, and from their steps to the launcher and to those who wait. When a
//! service starts and is given up is not decided here. Steps of Registry, in a file of their own.

use super::state::State;
use crate::activation::{Order, Report, Service, Services, Shown, States, Step};
use crate::actors::core::Shared;
use crate::actors::messages::Control;
use crate::actors::observe::journal::Happening;
use crate::actors::peers::Key;
use crate::actors::supervise::{Progress, guard};
use crate::error::{CallError, ErrorCode};
use crate::message::{CallId, RequestId, Ticket};
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
        let services = shared.services.get();
        (!services.is_empty()).then(|| Box::new(Self::of(services)))
    }

    fn of(services: Arc<Services>) -> Self {
        Self {
            states: States::new(services),
            steps: Vec::new(),
            orders: Vec::new(),
        }
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
        let service = own.states.services().get(index).cloned();
        let wanted = own.states.wanted(index, now, &mut own.steps);
        let result = wanted.map_err(|why| failure(service.as_deref(), &why));
        self.perform_steps();
        result
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

    /// Whether somebody waits for the object who may have it started.
    fn is_wanted(&mut self, object: &str) -> bool {
        let (index, peers, access) = (&self.index, &self.peers, &mut self.access);
        let mut askers = index.waiting_for(object).map(|(_, (key, _))| key);
        askers.any(|key| {
            peers
                .get(key)
                .is_some_and(|peer| access.may_call_some(key, peer, object))
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
        let Some(own) = &self.activation else { return };
        let there = |object: &str| self.index.owner(object.as_bytes()).is_some();
        for object in own.states.changed(there) {
            self.observe(&object);
        }
    }

    /// Other services are described. Who waits for an object of theirs starts them; who waits in vain now is told.
    pub fn redescribed(&mut self, services: Arc<Services>) -> Progress {
        self.guarded(move |state| {
            let own = state
                .activation
                .get_or_insert_with(|| Box::new(Activation::of(Arc::default())));
            own.states.replace(services.clone(), &mut own.steps);
            state.perform_steps();
            state.observe_all();
            for object in services.all().iter().flat_map(|service| &service.objects) {
                let missing = state.index.owner(object.as_bytes()).is_none();
                if missing
                    && state.is_wanted(object)
                    && let Err(error) = state.want(object)
                    && let Some(service) = services.of(object).and_then(|index| services.get(index))
                {
                    state.fail_waiting(service, error);
                }
            }
        })
    }

    /// A run of a service has ended.
    pub fn reported(&mut self, Report { run, how }: Report) -> Progress {
        self.guarded(move |state| {
            let now = state.shared.now();
            let service = state.activation.as_ref().and_then(|own| own.states.of_run(run));
            let waited = service.is_some_and(|index| state.is_waited(index));
            if let Some(own) = &mut state.activation {
                own.states.ended(run, how, waited, now, &mut own.steps);
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
            let due = state.activation.as_ref().map(|own| own.states.due_now(now));
            for index in due.unwrap_or_default() {
                let waited = state.is_waited(index);
                if let Some(own) = &mut state.activation {
                    own.states.time_passed(index, waited, now, &mut own.steps);
                }
            }
            state.perform_steps();
        })
    }

    /// How every service is.
    pub fn services(&self) -> Vec<(Arc<Service>, Shown)> {
        let now = self.shared.now();
        let Some(own) = &self.activation else {
            return Vec::new();
        };
        let all = own.states.services().all().iter().cloned();
        all.zip(own.states.shown(now)).collect()
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
                Step::Fail(service, why) => self.fail_waiting(&service, failure(Some(&service), &why)),
            }
        }
    }

    /// All that wait for objects of this service that are not there wait in vain, unless another service provides them now.
    fn fail_waiting(&mut self, service: &Arc<Service>, error: CallError) {
        self.shared.metrics.services_failed.add(1);
        let error = Arc::new(error);
        tracing::warn!(%error, "a service failed");
        self.shared
            .happened(Happening::Service, None, 0, error.to_string());
        let Some(services) = self.activation.as_ref().map(|own| own.states.services().clone()) else {
            return;
        };
        let missing = service.objects.iter().filter(|object| {
            let provider = services.of(object).and_then(|index| services.get(index));
            let own = provider.is_none_or(|provider| Arc::ptr_eq(provider, service));
            own && self.index.owner(object.as_bytes()).is_none()
        });
        let waiting: Vec<(Ticket, (Key, RequestId))> = missing
            .flat_map(|object| self.index.waiting_for(object))
            .collect();
        for (ticket, (key, request)) in waiting {
            self.index.unwait(key, request, &mut self.effects);
            if let Some(peer) = self.peers.get(key) {
                peer.tell(Control::WaitFailed(CallId(request.0), ticket, error.clone()));
            }
        }
        self.commit();
    }
}

fn failure(service: Option<&Service>, why: &str) -> CallError {
    let text = service.map_or_else(
        || why.to_owned(),
        |service| format!("the service of {service} has failed: {why}"),
    );
    CallError::new(ErrorCode::ServiceFailed, text).ran(false)
}

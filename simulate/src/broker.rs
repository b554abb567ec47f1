//! The broker of a run: the library's own Registry and TopicHub state, their mailboxes, and the way there for connections.
//!
//! Owns what actix owns in the real one: queues, the order of turns, the restart after a panic. Whose turn it is, `world` chooses.

use crate::clock;
use actix_ipc::actors::connection::perform::Rooms;
use actix_ipc::actors::core::Shared;
use actix_ipc::actors::messages::{Control, Deliver, Drained, Gone, HubBatch, Joined, RegistryBatch};
use actix_ipc::actors::peer::{Inbox, PeerRef};
use actix_ipc::actors::supervise::Progress;
use actix_ipc::actors::{registry, topic_hub};
use actix_ipc::config::Limits;
use actix_ipc::error::CloseReason;
use actix_ipc::message::{Epoch, PeerId};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What waits in Registry's mailbox.
#[derive(Debug)]
enum ToRegistry {
    Batch(RegistryBatch),
    Joined(Joined),
    Gone(Gone),
}

/// What waits in TopicHub's mailbox.
#[derive(Debug)]
enum ToHub {
    Batch(HubBatch),
    Gone(Gone),
    Drained(Drained),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mailboxes of the core.
#[derive(Debug)]
pub struct Mailboxes {
    shared: Arc<Shared>,
    registry: Mutex<VecDeque<ToRegistry>>,
    hub: Mutex<VecDeque<ToHub>>,
}

impl Rooms for Mailboxes {
    fn registry(&self, batch: RegistryBatch) {
        lock(&self.registry).push_back(ToRegistry::Batch(batch));
    }

    fn hub(&self, batch: HubBatch) {
        lock(&self.hub).push_back(ToHub::Batch(batch));
    }

    fn drained(&self, peer: PeerId) {
        lock(&self.hub).push_back(ToHub::Drained(Drained(peer)));
    }

    fn joined(&self, peer: PeerRef) {
        lock(&self.registry).push_back(ToRegistry::Joined(Joined(peer)));
    }

    fn gone(&self, peer: PeerId, in_order: bool) {
        lock(&self.registry).push_back(ToRegistry::Gone(Gone { peer, in_order }));
        lock(&self.hub).push_back(ToHub::Gone(Gone { peer, in_order }));
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// The mailbox of one connection.
#[derive(Clone, Debug, Default)]
pub struct Mailbox(Arc<Mutex<Option<VecDeque<Deliver>>>>);

impl Mailbox {
    /// An open one.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(Some(VecDeque::new()))))
    }

    /// The next delivery.
    pub fn pop(&self) -> Option<Deliver> {
        lock(&self.0).as_mut()?.pop_front()
    }

    /// Takes nothing more; what waits is dropped, as an actor's mailbox is.
    pub fn close(&self) {
        let left = lock(&self.0).take();
        drop(left);
    }
}

impl Inbox for Mailbox {
    fn post(&self, delivery: Deliver) {
        let refused = match lock(&self.0).as_mut() {
            Some(queue) => {
                queue.push_back(delivery);
                None
            }
            None => Some(delivery),
        };
        // Outside of the lock: a dropped answer is told to its asker.
        drop(refused);
    }
}

/// One of the two core actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Registry,
    TopicHub,
}

/// Whose frames a turn was about, for the blame.
pub type Author = Option<PeerId>;

/// The core.
#[derive(Debug)]
pub struct Broker {
    pub shared: Arc<Shared>,
    pub rooms: Arc<Mailboxes>,
    pub registry: registry::state::State,
    pub hub: topic_hub::state::State,
    /// The turn goes on before the next message.
    registry_goes_on: bool,
    hub_goes_on: bool,
    authors: [Author; 2],
    /// Why it cannot go on.
    pub failed: Option<&'static str>,
}

impl Broker {
    /// A broker with these limits at simulated time 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let shared = Shared::with_clock(limits, Epoch([7; 16]), clock::now);
        let rooms = Arc::new(Mailboxes {
            shared: shared.clone(),
            registry: Mutex::default(),
            hub: Mutex::default(),
        });
        Self {
            registry: registry::state::State::new(shared.clone()),
            hub: topic_hub::state::State::new(shared.clone()),
            shared,
            rooms,
            registry_goes_on: false,
            hub_goes_on: false,
            authors: [None; 2],
            failed: None,
        }
    }

    /// Whether this one has something to do.
    #[must_use]
    pub fn is_busy(&self, which: Which) -> bool {
        match which {
            Which::Registry => self.registry_goes_on || !lock(&self.rooms.registry).is_empty(),
            Which::TopicHub => self.hub_goes_on || !lock(&self.rooms.hub).is_empty(),
        }
    }

    /// One turn. Returns whose frames it handled.
    pub fn turn(&mut self, which: Which) -> Author {
        let progress = match which {
            Which::Registry => self.registry_turn(),
            Which::TopicHub => self.hub_turn(),
        };
        let goes_on = progress != Progress::Done;
        if let Progress::End(why) = progress {
            self.failed = Some(why);
            self.registry
                .tell_all(|| Control::Close(CloseReason::Internal, why.into()));
        }
        match which {
            Which::Registry => {
                self.registry_goes_on = goes_on;
                self.authors[0]
            }
            Which::TopicHub => {
                self.hub_goes_on = goes_on;
                self.authors[1]
            }
        }
    }

    fn registry_turn(&mut self) -> Progress {
        if self.registry_goes_on {
            return self.registry.resume();
        }
        let next = lock(&self.rooms.registry).pop_front();
        match next {
            None => Progress::Done,
            Some(ToRegistry::Batch(batch)) => {
                self.authors[0] = Some(batch.from.id());
                self.registry.handle(batch)
            }
            Some(ToRegistry::Joined(joined)) => self.registry.joined(joined),
            Some(ToRegistry::Gone(gone)) => self.registry.gone(gone),
        }
    }

    fn hub_turn(&mut self) -> Progress {
        if self.hub_goes_on {
            return self.hub.resume();
        }
        let next = lock(&self.rooms.hub).pop_front();
        match next {
            None => Progress::Done,
            Some(ToHub::Batch(batch)) => {
                self.authors[1] = Some(batch.from.id());
                self.hub.handle(batch)
            }
            Some(ToHub::Gone(gone)) => {
                self.authors[1] = Some(gone.peer);
                self.hub.gone(gone)
            }
            Some(ToHub::Drained(drained)) => {
                self.hub.drained(drained);
                Progress::Done
            }
        }
    }

    /// Ends the holds whose time has come.
    pub fn holds(&mut self) {
        if self.hub.due().is_some_and(|due| due <= clock::now()) {
            self.hub.holds_over();
        }
    }

    /// Begins to stop.
    pub fn drain(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.registry.tell_all(|| Control::Drain);
    }
}

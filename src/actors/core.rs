//! What all actors of one broker share: its limits, counters, addresses and who is refused.
//!
//! Owns no decision. Made once by `broker`, passed to every actor; nothing in it is a lock that is held across work.

use super::accounts::{Accounts, Budget};
use super::bus::BusOptions;
use super::connection::perform::Rooms;
use super::descriptors::Totals;
use super::messages::Control;
use super::observe::hush::Hush;
use super::observe::journal::{Entry, Happening, Journal};
use super::observe::tap::{Tap, unix_us};
use super::peer::PeerRef;
use super::quota::TotalGate;
use super::registry::Registry;
use super::supervise::Blame;
use super::tokens::{Failures, Source, Tokens};
use super::topic_hub::TopicHub;
use crate::activation::Described;
use crate::config::Limits;
use crate::error::CloseReason;
use crate::message::{Epoch, PeerId};
use crate::metrics::Metrics;
use crate::policy::{Principal, Slot};
use crate::text;
use crate::transport::dialect::Dialects;
use actix::Addr;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The name of this life of a program, for the other ends.
///
/// # Errors
/// The system has no randomness.
pub(crate) fn new_epoch() -> std::io::Result<Epoch> {
    let mut epoch = [0; 16];
    getrandom::fill(&mut epoch).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Epoch(epoch))
}

/// How long a process whose frames made the broker panic repeatedly is refused.
const BAN: Duration = Duration::from_secs(60);

/// Numbers and counters of one broker, without its actors.
#[derive(Debug)]
pub struct Shared {
    /// Every limit.
    pub limits: Arc<Limits>,
    /// Counters.
    pub metrics: Metrics,
    /// Who watches the traffic.
    pub tap: Arc<Tap>,
    /// The last notable happenings.
    pub journal: Journal,
    /// How often the log speaks of what peers can cause.
    pub hush: Hush,
    /// This life of the broker.
    pub epoch: Epoch,
    /// Numbers of calls and facts.
    pub tickets: Arc<AtomicU64>,
    /// What is asked of those who join the label bus that this broker hosts; nothing when it is an ordinary one.
    pub bus: OnceLock<Arc<BusOptions>>,
    /// The older formats that are understood; none where nothing was said.
    pub dialects: OnceLock<Dialects>,
    /// The services that are started when they are wanted.
    pub services: Described,
    /// What starts units, where it is not at its usual place; set once, before the broker starts.
    pub systemctl: OnceLock<PathBuf>,
    /// Who may do what.
    pub policy: Arc<Slot>,
    /// Read permits of all connections.
    pub gate: Arc<TotalGate>,
    /// What users and processes have.
    pub accounts: Arc<Accounts>,
    /// Descriptors of all connections.
    pub descriptors: Arc<Totals>,
    /// Until when connections that do not read descriptors which were sent to them are closed: the kernel takes no more.
    pub in_flight_full: Mutex<Option<Instant>>,
    /// Connections that live, handshake done or not.
    pub connections: AtomicUsize,
    /// Local peers that live.
    pub locals: AtomicUsize,
    /// The broker drains: nobody is welcomed any more.
    pub stopping: AtomicBool,
    /// Rung when the broker begins to stop: for connections that Registry does not know yet.
    pub stop_rung: tokio::sync::Notify,
    /// How often somebody has asked monitors to say how far they are.
    pub marks: AtomicU64,
    /// Connections that were ended while something was still queued for them.
    pub cut_off: AtomicUsize,
    /// Rung when a connection or a local peer has ended.
    pub connection_ended: tokio::sync::Notify,
    tokens: Mutex<Arc<Tokens>>,
    /// Who was let in last: connections of one program are one principal, kept once.
    last_principal: Mutex<Arc<Principal>>,
    /// Wrong tokens, those of a hosted bus included.
    pub(super) failures: Arc<Mutex<Failures>>,
    peers: AtomicU64,
    banned: Mutex<HashMap<u32, Instant>>,
    clock: fn() -> Instant,
    started: Instant,
}

impl Shared {
    /// The shared part of a broker with these limits.
    #[must_use]
    pub fn new(limits: Limits, epoch: Epoch) -> Arc<Self> {
        Self::with_clock(limits, epoch, Instant::now)
    }

    /// The same with a time of its own, for a simulation.
    #[must_use]
    pub fn with_clock(limits: Limits, epoch: Epoch, clock: fn() -> Instant) -> Arc<Self> {
        let gate = TotalGate::new(limits.read_bytes_total);
        let accounts = Accounts::new(&limits);
        Arc::new(Self {
            limits: Arc::new(limits),
            metrics: Metrics::default(),
            tap: Tap::new(),
            journal: Journal::default(),
            hush: Hush::default(),
            epoch,
            tickets: Arc::new(AtomicU64::new(1)),
            bus: OnceLock::new(),
            dialects: OnceLock::new(),
            services: Described::default(),
            systemctl: OnceLock::new(),
            policy: Arc::default(),
            gate,
            accounts,
            descriptors: Arc::default(),
            in_flight_full: Mutex::default(),
            connections: AtomicUsize::new(0),
            locals: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stop_rung: tokio::sync::Notify::new(),
            marks: AtomicU64::new(0),
            cut_off: AtomicUsize::new(0),
            connection_ended: tokio::sync::Notify::new(),
            tokens: Mutex::default(),
            last_principal: Mutex::default(),
            failures: Arc::default(),
            peers: AtomicU64::new(1),
            banned: Mutex::default(),
            clock,
            started: clock(),
        })
    }

    /// The older formats that are understood.
    pub fn dialects(&self) -> Dialects {
        self.dialects.get().copied().unwrap_or(Dialects::NONE)
    }

    /// The time as this broker sees it.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.clock)()
    }

    /// What peers are told when this broker has drained: a bus goes on at another process.
    pub(super) fn drain_reason(&self) -> CloseReason {
        match self.bus.get() {
            Some(_) => CloseReason::Moved,
            None => CloseReason::Draining,
        }
    }

    /// The time in microseconds of this broker's life: what fits into one word that threads share.
    pub(super) fn micros(&self, now: Instant) -> usize {
        let life = now.saturating_duration_since(self.started);
        usize::try_from(life.as_micros()).unwrap_or(usize::MAX)
    }

    /// The time that [`Self::micros`] tells.
    pub(super) fn instant(&self, micros: usize) -> Instant {
        let life = Duration::from_micros(micros as u64);
        self.started.checked_add(life).unwrap_or(self.started)
    }

    /// The tokens that are known now.
    pub(super) fn tokens(&self) -> Arc<Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The principal, shared with the one before when they are the same.
    pub(super) fn principal(&self, who: Principal) -> Arc<Principal> {
        let mut last = self.last_principal.lock().unwrap_or_else(PoisonError::into_inner);
        if **last != who {
            *last = Arc::new(who);
        }
        last.clone()
    }

    /// Knows these tokens from now on and no others. Connections that are open stay open.
    pub(super) fn set_tokens(&self, tokens: Tokens) {
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }

    /// Somebody at this address has not proven who it is: how long the answer is to wait.
    pub(super) fn failure(&self, address: Option<IpAddr>, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.delay(address.map(Source::Address), now)
    }

    /// What is in use now; each number by itself, not all at one instant.
    #[must_use]
    pub fn levels(&self) -> Levels {
        let held = |budget| self.accounts.level(budget).held;
        Levels {
            connections: self.connections.load(Ordering::Acquire),
            locals: self.locals.load(Ordering::Acquire),
            charged_connections: held(Budget::Connections),
            charged_handshakes: held(Budget::Handshakes),
            charged_memory_bytes: held(Budget::Memory),
            read_bytes: self.gate.used(),
            descriptors: self.descriptors.used(),
            ring_bytes: held(Budget::Rings),
        }
    }

    /// A number for a new peer; never given twice.
    #[must_use]
    pub fn next_peer(&self) -> PeerId {
        PeerId(self.peers.fetch_add(1, Ordering::Relaxed))
    }

    /// A core actor has panicked over a frame of `author`: tells who must know. `true`: its budget is spent.
    #[must_use]
    pub(super) fn blame(
        &self,
        blame: &mut Blame,
        actor: &'static str,
        author: &PeerRef,
        panic: &str,
    ) -> bool {
        self.metrics.panics.add(1);
        let (peer, pid) = (author.id().0, author.origin.pid);
        let restarts = match actor {
            "Registry" => &self.metrics.registry_restarts,
            _ => &self.metrics.topic_hub_restarts,
        };
        restarts.add(1);
        self.happened(
            Happening::Panic,
            Some(author.id()),
            pid,
            format!("{actor} panicked: {panic}"),
        );
        tracing::error!(actor, peer, pid, panic = %text::text(panic), "a core actor panicked; restarting it");
        let judgement = blame.record(self.now(), author.id());
        if judgement.close_author {
            // An actor of this process is closed, but the process, which is the broker's own, goes on.
            if !author.is_local() {
                self.ban(pid);
            }
            let text = "its frames made the broker fail repeatedly (limits.panics_per_author); its process may come back in a minute";
            author.tell(Control::Close(CloseReason::Blamed, text.into()));
        }
        judgement.end
    }

    /// Notes something that whoever looks after this broker should know.
    pub fn happened(&self, kind: Happening, peer: Option<PeerId>, pid: u32, text: String) {
        self.journal.add(Entry {
            unix_ms: unix_us().div_euclid(1000),
            kind,
            peer: peer.map(|peer| peer.0),
            pid: (pid != 0).then_some(pid),
            text,
            count: 1,
        });
    }

    /// Refuses the process from now on, for a minute.
    pub fn ban(&self, pid: u32) {
        if pid == 0 {
            return;
        }
        let mut banned = self.banned.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        banned.retain(|_, until| *until > now);
        banned.insert(pid, now.checked_add(BAN).unwrap_or(now));
    }

    /// Whether the process is refused now.
    #[must_use]
    pub fn is_banned(&self, pid: u32) -> bool {
        let banned = self.banned.lock().unwrap_or_else(PoisonError::into_inner);
        banned.get(&pid).is_some_and(|until| *until > self.now())
    }
}

/// What a broker has in use at one moment. All of it comes back to zero when its peers have gone and it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Levels {
    /// Connections that live, handshake done or not.
    pub connections: usize,
    /// Local peers that live, the broker's own object among them.
    pub locals: usize,
    /// Connections that are charged to a user (`limits.connections`).
    pub charged_connections: usize,
    /// Connections before their welcome that are charged to a user (`limits.handshakes`).
    pub charged_handshakes: usize,
    /// Bytes that are charged to users (`limits.memory_bytes_total`).
    pub charged_memory_bytes: usize,
    /// Bytes that were read and are not handled (`limits.read_bytes_total`).
    pub read_bytes: usize,
    /// Descriptors that were received and are not sent on (`limits.descriptors_total`).
    pub descriptors: usize,
    /// Bytes of memory that is shared with clients (`limits.ring_bytes_total`).
    pub ring_bytes: usize,
}

/// The shared part and the addresses of the core actors.
#[derive(Debug)]
pub struct Core {
    /// The shared part.
    pub shared: Arc<Shared>,
    /// Who has which object.
    pub registry: Addr<Registry>,
    /// Who hears which topic.
    pub hub: Addr<TopicHub>,
}

/// Tells Registry and TopicHub, when it is dropped at the latest, that a peer is gone.
#[derive(Debug)]
pub struct GoneGuard<R: Rooms = Core> {
    rooms: Arc<R>,
    /// Its number; nothing once it was told.
    peer: Option<NonZeroU64>,
}

impl<R: Rooms> GoneGuard<R> {
    /// A guard for a peer that has joined.
    #[must_use]
    pub const fn new(rooms: Arc<R>, peer: PeerId) -> Self {
        Self {
            rooms,
            peer: NonZeroU64::new(peer.0),
        }
    }

    /// Tells it now. `in_order`: the peer said goodbye.
    pub fn tell(&mut self, in_order: bool) {
        if let Some(peer) = self.peer.take() {
            self.rooms.gone(PeerId(peer.get()), in_order);
        }
    }
}

impl<R: Rooms> Drop for GoneGuard<R> {
    fn drop(&mut self) {
        self.tell(false);
    }
}

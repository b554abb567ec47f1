//! The same engine between two programs, without a broker: what each end says of itself, and what is different then.
//!
//! Owns what is known of the other end ([`Met`]), what this end offers ([`Offer`]), and the differences in sending: a call ends at its
//! deadline by the caller's own clock, goes only to a protocol that the other end serves, and a call without an answer waits for the
//! other end's window. The first frames are [`handshake`]'s, what comes in is checked by [`incoming`], and [`life`] carries one
//! connection that was accepted. It knows neither protocols nor servers: `protocol` calls it.

mod handshake;
pub(crate) mod incoming;
mod life;
pub(crate) mod memory;

pub(crate) use handshake::greet;
#[cfg(feature = "protocol")]
pub(crate) use handshake::{answer_of, let_in, receive_meet, refuse};
#[cfg(feature = "protocol")]
pub(crate) use life::work;
pub(crate) use life::{farewell, let_finish};

use super::builder::{ClientBuilder, Options, SharedMemory};
use super::exchange::MAX_PATIENCE;
use super::handle::{Handle, IpcClient};
use super::order::{Ticket, Wants};
use super::outgoing::Outgoing;
use super::shared::Shared;
use super::state::{GRACE, Phase, State, TICK};
use crate::config::peers::DEADLINE;
use crate::error::{CallError, CloseReason};
use crate::message::{Encoding, Epoch, Flags, Kind, Meet, Origin, Served, Terms, Welcome};
use crate::transport::{Endpoint, PeerCredentials, TlsClient};
use std::path::PathBuf;
use std::sync::Arc;

use std::time::{Duration, Instant};

/// A deadline of so many ticks is kept to a tick, any shorter one exactly.
const EXACT: u32 = 8;
/// How exactly.
const TICK_MIN: Duration = Duration::from_millis(2);

/// The moment from which a request's patience counts again: its answer, or what follows it, goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    role: Role,
    /// Exact to a tick.
    now: Instant,
}

impl Again {
    /// When its patience is over. Never early, and the clock is read for short ones only.
    #[inline]
    pub(crate) fn until(self, patience: Duration) -> Instant {
        match self.role {
            // Beyond the deadline, of which the broker tells, it is given far more than a tick.
            Role::Broker => self.now + patience,
            Role::Peer if patience >= TICK * EXACT => self.now + patience + TICK,
            Role::Peer => Instant::now() + patience,
        }
    }
}

/// What is at the other end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    #[default]
    Broker,
    Peer,
}

impl Role {
    /// How messages name it.
    pub(crate) const fn other(self) -> &'static str {
        match self {
            Self::Broker => "the broker",
            Self::Peer => "the peer",
        }
    }

    /// Where messages find a limit.
    pub(crate) const fn limits(self) -> &'static str {
        match self {
            Self::Broker => "limits.",
            Self::Peer => "RpcLimits::",
        }
    }

    /// How to raise a limit.
    pub(crate) fn raise(self, key: &str) -> String {
        match self {
            Self::Broker => crate::config::raise(key),
            Self::Peer => format!("raise RpcLimits::{key} in both programs: the smaller one holds"),
        }
    }

    /// What the end of a connection is told as, when the other end's goodbye has no text of its own.
    pub(crate) fn parted(self, reason: CloseReason) -> String {
        match (self, reason) {
            (_, CloseReason::Finished) => format!("{} ended it in order", self.other()),
            (Self::Peer, CloseReason::Draining) => "the peer is shutting down".to_owned(),
            (Self::Peer, CloseReason::Internal) => "the peer failed".to_owned(),
            _ => reason.to_string(),
        }
    }

    pub(crate) const fn is_peer(self) -> bool {
        matches!(self, Self::Peer)
    }
}

/// The error of a call of the protocol with this number and name to somebody, named last, who serves only these.
pub(crate) type Missing = fn(u64, &str, &[Served], &str) -> CallError;

/// What this end says of itself, and how it connects.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) meet: Meet,
    pub(crate) missing: Missing,
    pub(crate) deadline: Duration,
    /// What one attempt to connect may take.
    pub(crate) patience: Duration,
    pub(crate) keepalive: Duration,
    pub(crate) out_buffer: usize,
    /// Descriptors that are kept for calls of the other end which have not ended.
    pub(crate) descriptors: u32,
    /// What the other end may make this program keep, in bytes.
    pub(crate) memory: usize,
}

/// How a program reaches another one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) reconnect: bool,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) tls: TlsClient,
}

/// What is known of the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// The accepting end's number for the connection.
    pub(crate) number: u64,
    pub(crate) meet: Meet,
    pub(crate) credentials: PeerCredentials,
    /// The name that its certificate or token proves.
    pub(crate) proven: Option<String>,
}

impl Met {
    /// As handlers see it.
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            peer: crate::message::PeerId(self.number),
            uid: self.credentials.uid.unwrap_or(u32::MAX),
            pid: self.credentials.pid.unwrap_or(0),
        }
    }
}

impl IpcClient {
    /// Whether there is no connection and will be none.
    pub(crate) fn has_ended(&self) -> bool {
        let state = self.handle.shared.lock();
        state.closing.is_some() || matches!(state.phase, Phase::Closed(_))
    }
}

/// A handle of a connection that somebody else makes.
pub(crate) fn client_of(shared: &Arc<Shared>) -> IpcClient {
    IpcClient {
        handle: Arc::new(Handle::new(Arc::clone(shared))),
    }
}

/// The options of a connection to another program.
pub(crate) fn options(offer: Offer, way: Way) -> Options {
    let base = ClientBuilder::new().options;
    Options {
        endpoints: way.endpoints,
        name: offer.meet.name.clone(),
        reconnect: way.reconnect,
        deadline: Some(offer.deadline),
        encoding: Encoding::POSTCARD,
        out_buffer: offer.out_buffer.max(1),
        token_file: way.token_file,
        tls: way.tls,
        keepalive: offer.keepalive,
        shared_memory: SharedMemory::Never,
        // Nobody answers an offer.
        regions_from: usize::MAX,
        peer: Some(Arc::new(offer)),
        ..base
    }
}

/// The numbers of two ends, as the engine keeps those of a broker.
fn welcome(terms: Terms, epoch: Epoch) -> Welcome {
    Welcome {
        epoch,
        frame_bytes: terms.frame_bytes,
        message_bytes: terms.message_bytes,
        stream_window: terms.stream_window,
        open_calls: terms.open_calls,
        default_deadline_ms: u32::try_from(DEADLINE.as_millis()).unwrap_or(u32::MAX),
        max_deadline_ms: u32::MAX,
        attachments: terms.attachments,
        ..Welcome::default()
    }
}

/// The protocol of a command, by the first bytes of its value.
fn protocol(outgoing: &Outgoing) -> Option<u64> {
    let content = &outgoing.content;
    let id = content
        .bytes()
        .first_chunk::<8>()
        .filter(|_| content.encoding() == Encoding::PROTOCOL);
    id.map(|id| u64::from_le_bytes(*id))
}

impl State {
    /// When a request that is sent now is given up here, its patience between two answers, and whether the socket's task is to be woken
    /// to keep the time. A broker ends a call itself, and is given time for that; between two programs the caller does.
    pub(crate) fn expiry(&mut self, deadline: Option<Duration>) -> (Instant, Duration, bool) {
        let default = Duration::from_millis(u64::from(self.grants.default_deadline_ms));
        let patience = deadline.unwrap_or(default).min(MAX_PATIENCE);
        let (_, start) = self.coarse_now();
        let patience = match self.role {
            Role::Broker => patience.saturating_add(GRACE),
            Role::Peer => patience,
        };
        let finer = self.tick_for(patience);
        (self.again().until(patience), patience, start || finer)
    }

    /// See [`Again`].
    #[inline]
    pub(crate) const fn again(&self) -> Again {
        let Self { role, now, .. } = *self;
        Again { role, now }
    }

    /// A request with this patience begins, or goes on: the next tick comes in time for it. Returns whether the socket's task is to be
    /// woken for that.
    #[inline]
    pub(crate) fn tick_for(&mut self, patience: Duration) -> bool {
        if !self.role.is_peer() || patience >= TICK * EXACT {
            return false;
        }
        let tick = patience.clamp(TICK_MIN, TICK);
        let finer = tick < self.tick;
        self.tick = self.tick.min(tick);
        finer
    }

    /// How long the next tick is: between two programs until the first of the open deadlines, which the caller keeps by itself.
    pub(crate) fn next_tick(&self, first: Option<Instant>, now: Instant) -> Duration {
        let first = [first, self.order.until()].into_iter().flatten().min();
        match first.filter(|_| self.role.is_peer()) {
            Some(first) => first.saturating_duration_since(now).clamp(TICK_MIN, TICK),
            None => TICK,
        }
    }

    /// Whether another program serves what a call is for.
    ///
    /// # Errors
    /// It does not; not sent.
    #[inline]
    pub(crate) fn check_served(&self, outgoing: &Outgoing) -> Result<(), CallError> {
        if !self.role.is_peer() || outgoing.kind != Kind::Call {
            return Ok(());
        }
        let lacking = protocol(outgoing).and_then(|id| self.lacking(id, outgoing));
        lacking.map_or(Ok(()), Err)
    }

    /// What a request has to wait for before its first frame can be added. A grant of the window wakes all that wait for room.
    #[inline]
    pub(crate) fn held_back(&self, outgoing: &Outgoing, ticket: &Ticket) -> Option<Wants> {
        if !self.order.is_empty()
            && let Some(wants) = self.order.before(ticket, protocol(outgoing).unwrap_or_default())
        {
            return Some(wants);
        }
        if !self.out.has_room() {
            return Some(Wants::Room);
        }
        (self.is_charged(outgoing) && self.call_window <= 0)
            .then(|| Wants::Window(protocol(outgoing).unwrap_or_default()))
    }

    /// Whether the other end's window for calls without an answer bounds it. Then the number of open calls does not.
    #[inline]
    pub(crate) fn is_charged(&self, outgoing: &Outgoing) -> bool {
        self.role.is_peer() && outgoing.kind == Kind::Call && outgoing.flags.has(Flags::NO_REPLY)
    }

    fn lacking(&self, id: u64, outgoing: &Outgoing) -> Option<CallError> {
        let met = self.met.as_ref()?;
        if met.meet.protocols.iter().any(|served| served.id == id) {
            return None;
        }
        let (object, _) = crate::message::key::split(outgoing.key.as_bytes());
        Some((self.missing?)(
            id,
            &String::from_utf8_lossy(object),
            &met.meet.protocols,
            "the peer",
        ))
    }

    /// Takes a call without an answer, of so many bytes on the wire, from the other end's window.
    pub(crate) fn charge_call(&mut self, bytes: usize) {
        if self.role.is_peer() {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            self.call_window = self.call_window.saturating_sub(bytes);
        }
    }
}

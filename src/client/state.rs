//! Everything that handles and the socket's task of one client share under one lock.
//!
//! Owns the order of frames on the connection: whatever is added to [`State::out`] goes out in that order. Methods
//! here neither block nor wake: they return what is to be done when the lock is released.

use super::last_topic::LastTopic;
use super::lasting::Lasting;
use super::order::Order;
use super::outbox::{Claim, Outbox};
use super::peer::{Met, Missing, Role};
use super::request::Request;
use super::sends::Sends;
use super::slab::Slab;
use super::waiters::Waiters;
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Draft, Flags, Kind, PeerId, Welcome};
use crate::transport::Stream;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// What the client waits beyond a call's deadline before it gives up on a broker that is stopped.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How often open requests are looked through for ones that the broker has forgotten.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// A publish goes out from its own thread when the last write was longer ago: a burst is cheaper in one write.
const BURST: Duration = Duration::from_micros(50);

/// Bytes of publishes that go out together through shared memory, where calls and answers go one by one.
const EVENTS_AT_ONCE: usize = 8 * 1024;

/// Bytes of calls and answers that another program gets before the rest of a batch is there: some twenty small ones.
const AHEAD: usize = 1024;

/// What is copied into shared memory under the lock, in bytes; more goes as through a socket, while others may use the lock.
const THROUGH_MAX: usize = 64 * 1024;

/// Whether there is a connection.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Not now; the socket's task is trying.
    Down,
    /// The handshake is done.
    Up(Arc<Stream>),
    /// Never again; why.
    Closed(CallError),
}

/// A connection's way into shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// It may be asked for.
    Granted,
    Asked,
    /// The broker has not said its last word on the socket.
    Taken,
    /// There, or not to be had.
    Done,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// What is at the other end.
    pub(crate) role: Role,
    /// Who it is, when it is no broker.
    pub(crate) met: Option<Arc<Met>>,
    /// What calls of a protocol that it does not serve end with.
    pub(crate) missing: Option<Missing>,
    /// What may be sent to it without being given an answer, in bytes.
    pub(crate) call_window: i64,
    /// The same at the beginning.
    pub(crate) call_window_all: i64,
    pub(crate) out: Outbox,
    /// Who goes first when it has room again.
    pub(crate) order: Order,
    pub(crate) requests: Slab<Request>,
    pub(crate) lasting: Lasting,
    /// Bytes that may be published now.
    pub(crate) publish_window: i64,
    pub(crate) publishers: Waiters,
    pub(crate) last_topic: LastTopic,
    /// What was sent over the label bus.
    pub(crate) sends: Sends,
    /// Publishes in pieces that were dropped halfway, to be told to the broker when the window allows.
    pub(crate) void_publishes: Vec<u64>,
    /// How far this connection is on its way into shared memory.
    pub(crate) ring: Ring,
    /// What the broker granted.
    pub(crate) grants: Welcome,
    pub(crate) peer: PeerId,
    /// Counts connections, so that nothing of one is sent on the next.
    pub(crate) life: u64,
    /// The epoch of the connection before this one.
    pub(crate) epoch_before: Option<crate::message::Epoch>,
    /// The socket's task is at work and looks at [`State::out`] before it sleeps.
    pub(crate) io_active: bool,
    /// The socket's task has a timer running, and `now` is not older than a tick.
    pub(crate) ticking: bool,
    /// How exact deadlines are kept.
    pub(crate) tick: Duration,
    pub(crate) now: Instant,
    pub(crate) last_write: Instant,
    /// The last handle is gone, or `close` was called.
    pub(crate) closing: Option<Instant>,
    pub(crate) closed: Waiters,
    /// Wakers that nobody needs any more. They are dropped when the lock is released.
    pub(crate) dead: Vec<Waker>,
}

/// What asks for something behind this end's goodbye.
pub(crate) fn closed() -> CallError {
    CallError::new(ErrorCode::NotConnected, "this client was closed")
}

/// What to do once the lock is released.
#[derive(Debug)]
#[must_use]
pub(crate) enum Next {
    Nothing,
    /// Wake the socket's task.
    WakeSocket,
    /// Write right here: nobody else does, and nothing is in front.
    Write(Claim, Arc<Stream>),
}

/// Who brings a frame to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direct {
    /// The caller, when nothing else is on its way.
    Now,
    /// The caller, unless it has just written: the socket's task takes the rest of a burst together.
    Unhurried,
    /// The socket's task, with what others add meanwhile; through shared memory the caller.
    Together,
    /// The socket's task. The caller need not do what comes of it.
    No,
}

impl State {
    pub(crate) fn new(buffer: usize, role: Role, now: Instant) -> Self {
        Self {
            phase: Phase::Down,
            role,
            met: None,
            missing: None,
            call_window: 0,
            call_window_all: 0,
            out: Outbox::new(buffer),
            order: Order::default(),
            requests: Slab::new(0),
            lasting: Lasting::new(),
            publish_window: 0,
            publishers: Waiters::new(),
            last_topic: LastTopic::default(),
            sends: Sends::new(),
            void_publishes: Vec::new(),
            ring: Ring::Done,
            grants: Welcome::default(),
            peer: PeerId::default(),
            life: 0,
            epoch_before: None,
            io_active: false,
            ticking: false,
            tick: TICK,
            now,
            last_write: now,
            closing: None,
            closed: Waiters::new(),
            dead: Vec::new(),
        }
    }

    /// A waker that nobody needs any more: it may be the last that holds a task, whose end may need the lock.
    #[inline]
    pub(crate) fn bury(&mut self, waker: Option<Waker>) {
        self.dead.extend(waker);
    }

    /// Whether frames can be added now.
    ///
    /// # Errors
    /// NotConnected while there is no connection, or the reason of the end.
    #[inline]
    pub(crate) fn check_up(&self) -> Result<(), CallError> {
        if matches!(self.phase, Phase::Up(_)) && self.closing.is_none() {
            return Ok(());
        }
        self.why_not_up()
    }

    #[cold]
    fn why_not_up(&self) -> Result<(), CallError> {
        match &self.phase {
            Phase::Up(_) if self.closing.is_none() => Ok(()),
            Phase::Up(_) => Err(closed()),
            Phase::Down => Err(CallError::new(
                ErrorCode::NotConnected,
                format!(
                    "there is no connection to {} now; the library is trying to connect again",
                    self.role.other()
                ),
            )),
            Phase::Closed(error) => Err(error.clone()),
        }
    }

    /// Whether there is a connection that this end has not said goodbye on.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_)) && self.closing.is_none()
    }

    /// Whether a frame can be added at once.
    pub(crate) const fn takes_frames(&self) -> bool {
        self.is_up() && self.out.has_room()
    }

    /// Whether this connection carries these attachments.
    ///
    /// # Errors
    /// TooLarge when there are too many, Invalid when one is of a kind that does not travel over it; not sent.
    #[inline]
    pub(crate) fn check_attachments(&self, attachments: &Attachments) -> Result<(), CallError> {
        if attachments.is_empty() {
            return Ok(());
        }
        self.check_some(attachments)
    }

    fn check_some(&self, attachments: &Attachments) -> Result<(), CallError> {
        let granted = self.grants.attachments as usize;
        if attachments.len() > granted {
            let text = format!(
                "{} attachments at once, but at most {granted} travel over this connection",
                attachments.len()
            );
            return Err(CallError::new(ErrorCode::TooLarge, text).ran(false));
        }
        let Phase::Up(stream) = &self.phase else {
            return Ok(());
        };
        stream
            .check_attachments(attachments)
            .map_err(|error| CallError::new(ErrorCode::Invalid, error.to_string()).ran(false))
    }

    /// Adds a frame that no limit holds back, because it belongs to something that was admitted; none behind this end's goodbye.
    pub(crate) fn control(&mut self, draft: &Draft<'_>) -> Next {
        if !self.is_up() {
            return Next::Nothing;
        }
        let idle = self.out.is_idle();
        self.out.encode(draft);
        self.out.owe(draft.wire_len());
        self.after_push(idle, Direct::No)
    }

    /// Asks for something lasting, now or when there is a connection.
    pub(crate) fn ask_lasting(&mut self, key: u64, now: Instant) {
        if self.is_up() {
            let max_deadline = self.grants.max_deadline_ms;
            self.lasting.ask(key, &mut self.out, now, max_deadline);
        }
    }

    /// Tells the broker of publishes that end halfway, as far as the window allows.
    pub(crate) fn void_publishes(&mut self) -> Next {
        let idle = self.out.is_idle();
        while self.is_up() && self.publish_window > 0 {
            let Some(id) = self.void_publishes.pop() else {
                break;
            };
            let draft = Draft::new(Kind::PublishPiece, id).flags(Flags::ABORT);
            self.charge_publish(draft.wire_len());
            self.out.encode(&draft);
        }
        if self.out.is_ready() {
            self.after_push(idle, Direct::No)
        } else {
            Next::Nothing
        }
    }

    /// Asks for shared memory, if it may be had and nobody has asked.
    pub(crate) fn ask_for_ring(&mut self) {
        if self.ring == Ring::Granted && self.is_up() {
            self.ring = Ring::Asked;
            let _ = self.control(&Draft::new(Kind::Ring, 0));
        }
    }

    /// Takes the wire length of a publish from its window.
    pub(crate) fn charge_publish(&mut self, bytes: usize) {
        self.publish_window = self
            .publish_window
            .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Writes before the rest of a burst is there, where writing costs no system call: the next process can begin beside this one.
    #[inline]
    fn early(&mut self, direct: Direct) -> Option<Next> {
        let enough = match direct {
            Direct::Together | Direct::Now => 1,
            Direct::Unhurried => EVENTS_AT_ONCE,
            Direct::No => return None,
        };
        let Phase::Up(stream) = &self.phase else {
            return None;
        };
        if !(enough..=THROUGH_MAX).contains(&self.out.buffered())
            || !self.out.is_ready()
            || !stream.writes_to_ring()
        {
            return None;
        }
        match self
            .out
            .write_through(|bytes| stream.try_write(&[IoSlice::new(bytes)], &[]))
        {
            Some(true) if self.out.room.is_empty() && self.order.is_empty() => Some(Next::Nothing),
            // There is room now, and the socket's task tells those who wait for it.
            Some(true) => Some(Next::WakeSocket),
            // The memory is full, or the connection at its end: either is for the socket's task to see.
            Some(false) => Some(Next::WakeSocket),
            None => None,
        }
    }

    /// Brings out a part of many calls or answers before the rest is there: between two programs nobody else works on them meanwhile, and
    /// each would wait for all that the other has.
    #[inline]
    fn ahead(&mut self, direct: Direct) -> Option<Next> {
        if !self.role.is_peer()
            || direct != Direct::Together
            || self.out.buffered() < AHEAD
            || !self.out.is_ready()
        {
            return None;
        }
        let Phase::Up(stream) = &self.phase else {
            return None;
        };
        let stream = Arc::clone(stream);
        self.out.claim().map(|claim| Next::Write(claim, stream))
    }

    /// What to do about frames that were just added; `idle` is [`Outbox::is_idle`] from before.
    #[inline]
    pub(crate) fn after_push(&mut self, idle: bool, direct: Direct) -> Next {
        if let Some(next) = self.early(direct) {
            return next;
        }
        if let Some(next) = self.ahead(direct) {
            return next;
        }
        if self.io_active || !idle {
            return Next::Nothing;
        }
        let write = match direct {
            Direct::Now => true,
            Direct::Unhurried => {
                let now = Instant::now();
                let calm = now.duration_since(self.last_write) > BURST;
                self.last_write = now;
                calm
            }
            Direct::Together | Direct::No => false,
        };
        if let (true, Phase::Up(stream)) = (write, &self.phase) {
            let stream = Arc::clone(stream);
            if let Some(claim) = self.out.claim() {
                return Next::Write(claim, stream);
            }
        }
        Next::WakeSocket
    }

    /// The time, exact to a tick, and whether the socket's task must be woken to keep it so.
    pub(crate) fn coarse_now(&mut self) -> (Instant, bool) {
        let start = !self.ticking;
        if start {
            self.ticking = true;
            self.now = Instant::now();
        }
        (self.now, start)
    }

    /// Asks the broker to end the connection in order, after everything that was added.
    pub(crate) fn begin_close(&mut self) -> Next {
        if self.closing.is_some() {
            return Next::Nothing;
        }
        // A broker that is stopped does not answer the goodbye; the tick gives it up.
        self.coarse_now();
        let next = self.control(&Draft::goodbye(crate::error::CloseReason::Finished, ""));
        // It is the last frame.
        self.closing = Some(Instant::now());
        match next {
            // Nobody may come back to write it: the process may be about to exit.
            Next::WakeSocket => match &self.phase {
                Phase::Up(stream) => {
                    let stream = Arc::clone(stream);
                    self.out
                        .claim()
                        .map_or(Next::WakeSocket, |claim| Next::Write(claim, stream))
                }
                Phase::Down | Phase::Closed(_) => Next::WakeSocket,
            },
            other => other,
        }
    }

    /// Everything that waits for a connection to change looks again.
    pub(crate) fn drain_waiters(&mut self, woken: &mut Vec<Waker>) {
        self.out.room.drain(woken);
        self.order.wake_all(woken);
        self.publishers.drain(woken);
    }
}

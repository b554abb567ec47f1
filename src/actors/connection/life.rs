//! The life of one connection without its socket: what it reads, what it is delivered, what it has to write, and when to look again.
//!
//! Owns the phase, the session, the outbox and the limits in time. Bytes come in with [`Life::received`], deliveries with
//! [`Life::deliver`]; bytes go out with [`Life::fill`]. Whoever drives it (`io` and the actor, or the simulator) calls
//! [`Life::settle`] when nothing more is to be read and [`Life::time_passed`] when [`Life::next_deadline`] is there. Knows no actor
//! and no socket; the time is `Shared`'s.
//!
//! ```text
//!  Preface ──8 bytes──► Hello ──Hello frame──► Ready ──goodbye / EOF / drain──► Lingering ──queue empty──► over
//!      └───────wrong bytes: closed unanswered──────┴────protocol error: Goodbye with a reason ───────────────┘
//!  Refused ──first byte (or none in time)──► told why in its format, or nothing ──► over
//! ```

use super::carry::Carry;
use super::identity::{Evidence, Unproven};
use super::outbox::Outbox;
use super::perform::{self, Rooms};
use super::refused::Refusal;
use super::session::{Closing, Effects, RingStep, Session};
use super::slots::Slots;
use crate::actors::admission::Admission;
use crate::actors::core::GoneGuard;
use crate::actors::messages::{Control, Deliver};
use crate::actors::peer::{PeerRef, Post};
use crate::actors::quota::ReadGate;
use crate::actors::supervise::guard;
use crate::config::raise;
use crate::error::{CloseReason, ErrorCode};
use crate::message::frame::HELLO_BODY_MAX;
use crate::message::{Batch, Decoder, Draft, Kind};
use crate::transport::dialect::Dialect;
use crate::transport::keepalive::Keepalive;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a connection may take to finish its calls and its queue when the broker stops.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// So many bytes of the preface were right.
    Preface(u8),
    /// It is not let in, and learns why if its first byte is of a format that can say it.
    Refused(Box<Refusal>),
    /// The preface is complete; the next frame must be Hello.
    Hello,
    /// Everything is allowed.
    Ready(Session),
    /// Nothing is read any more; open calls are still answered, then the queue is flushed.
    Lingering(Session),
    /// The peer has not proven who it is, once too often; it is not read, and told so later.
    Unproven(Unproven),
    /// The goodbye is queued; when it is written, the connection is over.
    Closing,
}

/// Whether attachments travel over a connection that carries them only when its client expects them (Windows pipes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handles {
    /// It is known, to the stream as well.
    Settled,
    /// The client's Hello will say so.
    Asked,
    /// It has; the stream does not know yet.
    Agreed,
}

/// The connection is over: nothing is left to write, or the time for it has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// One connection, but for its socket.
#[derive(Debug)]
pub struct Life<R: Rooms> {
    // The session comes first, so that its slots answer before anybody hears that this peer is gone.
    pub(super) phase: Phase,
    pub(super) outbox: Outbox,
    pub(super) decoder: Decoder,
    /// Its process, as the kernel says.
    pub(super) pid: Option<NonZeroU32>,
    /// Who it is, until its Hello is answered.
    pub(super) evidence: Option<Box<Evidence>>,
    /// Attachments that one frame on this transport may carry; an idle connection should hold little.
    pub(super) max_attachments: u8,
    /// Whether those depend on what its Hello says.
    pub(super) handles: Handles,
    /// Descriptors of it that were received; nothing while there are none.
    pub(super) carry: Option<Box<Carry>>,
    /// What was read and is not handled yet; nothing before the first batch.
    gate: Option<Arc<ReadGate>>,
    /// The handshake must be done, or the drain be over, by then.
    pub(super) limit: Option<Instant>,
    /// Since when a started frame makes no progress.
    pub(super) waiting_since: Option<Instant>,
    /// Where the system does not tell that the peer has gone.
    pub(super) keepalive: Option<Box<Keepalive>>,
    pub(super) gone: Option<GoneGuard<R>>,
    pub(super) rooms: Arc<R>,
    /// The peer has taken a step into shared memory, which its socket does not know of yet.
    pub(super) ring_step: Option<RingStep>,
    /// The last batch was of events or of pieces.
    pub(super) brought_bulk: bool,
    /// The last batch was of messages of the label bus.
    pub(super) brought_messages: bool,
    /// The older format that its peer speaks.
    pub(super) dialect: Option<Dialect>,
    /// Events wait: the peer would take one for an answer.
    pub(super) holds_events: bool,
    /// Bytes of each direction of the shared memory that it may ask for; 0: none.
    pub(super) ring_bytes: u32,
    /// Whom others deliver to, from the welcome on.
    pub(super) me: Option<PeerRef>,
    /// Its places among all connections; `None` when it was not let in.
    pub(super) admission: Option<Admission>,
}

/// The gate of one peer, made when it is needed: who only listens has none.
fn gate<'a>(gate: &'a mut Option<Arc<ReadGate>>, rooms: &impl Rooms) -> &'a Arc<ReadGate> {
    gate.get_or_insert_with(|| {
        let shared = rooms.shared();
        ReadGate::new(shared.limits.read_bytes, shared.gate.clone())
    })
}

impl<R: Rooms> Life<R> {
    /// The life of a peer that has connected. One that was not let in is told why and closed: unread, where only our own format is spoken.
    #[must_use]
    pub fn new(
        rooms: Arc<R>,
        evidence: impl Into<Evidence>,
        max_attachments: u32,
        admitted: Result<Admission, Closing>,
    ) -> Self {
        let shared = rooms.shared();
        let limits = &shared.limits;
        let handshake = Duration::from_millis(u64::from(limits.handshake_ms));
        let granted = u32::try_from(limits.attachments).unwrap_or(u32::MAX);
        let evidence: Evidence = evidence.into();
        let mut outbox = Outbox::default();
        let silent = evidence.may_be_silent(shared.dialects());
        let (phase, patience, admission) = match admitted {
            Ok(admission) => {
                let patience = Some(handshake).filter(|_| !silent);
                (Phase::Preface(0), patience, Some(admission))
            }
            Err(closing) => {
                let phase = Refusal::of(closing, shared, &evidence, &mut outbox);
                (phase, Some(DRAIN_GRACE), None)
            }
        };
        Self {
            phase,
            outbox,
            decoder: Decoder::new(HELLO_BODY_MAX),
            pid: evidence.credentials.pid.and_then(NonZeroU32::new),
            evidence: Some(Box::new(evidence)),
            max_attachments: u8::try_from(max_attachments.min(granted)).unwrap_or(u8::MAX),
            handles: Handles::Settled,
            carry: None,
            gate: None,
            limit: patience.and_then(|patience| shared.now().checked_add(patience)),
            waiting_since: None,
            keepalive: None,
            gone: None,
            ring_step: None,
            brought_bulk: false,
            brought_messages: false,
            dialect: None,
            holds_events: false,
            ring_bytes: 0,
            me: None,
            admission,
            rooms,
        }
    }

    /// Whether the peer may be read: it is not being closed, and takes the answers to its own requests. Its gate must be open
    /// as well ([`Self::poll_gate`]).
    #[must_use]
    pub fn may_read(&self) -> bool {
        // Who does not read the answers to its own requests is not read either, until it does.
        !matches!(self.phase, Phase::Closing | Phase::Unproven(_))
            && self.outbox.own_bytes() <= self.rooms.shared().limits.outbox_bytes / 2
    }

    /// The name in the certificate that the peer has shown, for its Hello.
    pub fn certify(&mut self, name: Option<String>) {
        if let Some(evidence) = &mut self.evidence {
            evidence.certified = name;
        }
    }

    /// Ready while what was read and is not handled yet, of this peer and of all, is below its limits; otherwise the task is woken
    /// when it is.
    pub fn poll_gate(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.gate.is_none() && self.rooms.shared().gate.is_open() {
            return Poll::Ready(());
        }
        gate(&mut self.gate, &*self.rooms).poll_open(cx)
    }

    /// Bytes that were read and are not handled yet.
    #[must_use]
    pub fn unhandled(&self) -> usize {
        self.gate.as_ref().map_or(0, |gate| gate.used())
    }

    /// The same as [`Self::poll_gate`], without waiting.
    #[must_use]
    pub fn is_gate_open(&self) -> bool {
        let own = self.gate.as_ref();
        own.map_or_else(|| self.rooms.shared().gate.is_open(), |gate| gate.is_open())
    }

    /// Whether anything waits to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        match self.holds_events {
            true => !self.outbox.has_only_events(),
            false => !self.outbox.is_empty(),
        }
    }

    /// Whether it has written its last byte, when nothing is left over from earlier writes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing) && !self.has_output()
    }

    /// Whether the handshake is not done yet, so that Registry cannot tell it anything.
    #[must_use]
    pub const fn is_stranger(&self) -> bool {
        matches!(
            self.phase,
            Phase::Preface(_) | Phase::Refused(_) | Phase::Hello | Phase::Unproven(_)
        )
    }

    /// Whether it has not said anything yet.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        matches!(self.phase, Phase::Preface(0))
    }

    /// Whether bytes of the peer are still looked at.
    #[must_use]
    pub const fn is_listening(&self) -> bool {
        !matches!(self.phase, Phase::Lingering(_) | Phase::Closing)
    }

    /// What the peer may do and has done; `None` before the welcome and at the end.
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Ready(session) | Phase::Lingering(session) => Some(session),
            Phase::Preface(_) | Phase::Refused(_) | Phase::Hello | Phase::Unproven(_) | Phase::Closing => {
                None
            }
        }
    }

    /// The peer will send nothing more. `closed`: it does not read either.
    ///
    /// # Errors
    /// [`Over`]: there is nothing to stay for.
    pub fn end_of_file(&mut self, closed: bool) -> Result<(), Over> {
        match self.phase {
            Phase::Ready(_) if !closed => {
                self.linger(false);
                Ok(())
            }
            Phase::Lingering(_) if !closed => Ok(()),
            _ => Err(Over),
        }
    }

    /// Frames of one read. `read`: how many bytes it brought.
    pub(super) fn batch(&mut self, now: Instant, batch: Batch, read: usize, inbox: &dyn Fn() -> Post) {
        if batch.is_empty() {
            return;
        }
        self.rooms.metrics().batches.add(1);
        let batch = Arc::new(batch);
        if matches!(self.phase, Phase::Hello) {
            self.hello(&batch, inbox);
            if batch.len() == 1 {
                return;
            }
            // A client that does not wait for its welcome relies on defaults; its frames are as good as later ones.
            let rest = Arc::new(batch.extract(1..batch.len()));
            return self.frames(now, &rest, read);
        }
        self.frames(now, &batch, read);
    }

    fn frames(&mut self, now: Instant, batch: &Arc<Batch>, read: usize) {
        let Phase::Ready(session) = &mut self.phase else {
            return;
        };
        let ends =
            [0, batch.len().saturating_sub(1)].map(|index| batch.header(index).map(|header| header.kind));
        self.brought_messages = ends == [Some(Kind::Send); 2];
        let bulk = |kind| {
            matches!(
                kind,
                Some(Kind::Publish | Kind::PublishPiece | Kind::CallPiece | Kind::ReplyPiece | Kind::Send)
            )
        };
        self.brought_bulk = ends.into_iter().all(bulk);
        session.me().traffic().sent(batch.len());
        let permit = gate(&mut self.gate, &*self.rooms).take(batch.buffer_len().max(read));
        let (outbox, rooms) = (&mut self.outbox, &*self.rooms);
        let (ring, closing) = perform::with_effects(|effects| {
            session.handle(now, batch, effects);
            let ring = effects.ring.take();
            let closing = perform::perform(session, outbox, rooms, effects, Some(batch), Some(permit));
            (ring, closing)
        });
        self.ring_step = ring;
        let said_goodbye = session.said_goodbye();
        if let Some((reason, text)) = closing {
            self.close(reason, &text);
        }
        if said_goodbye {
            self.linger(true);
        }
        self.drain_if_idle();
    }

    pub(super) fn with_session(&mut self, step: impl FnOnce(&mut Session, &mut Effects)) {
        let (Phase::Ready(session) | Phase::Lingering(session)) = &mut self.phase else {
            return;
        };
        let (outbox, rooms) = (&mut self.outbox, &*self.rooms);
        let closing = perform::with_effects(|effects| {
            step(session, effects);
            perform::perform(session, outbox, rooms, effects, None, None)
        });
        if let Some((reason, text)) = closing {
            self.close(reason, &text);
        }
    }

    /// The peer sends nothing more: what it holds is withdrawn, what it asked is still answered.
    pub(super) fn linger(&mut self, in_order: bool) {
        let Phase::Ready(mut session) = std::mem::replace(&mut self.phase, Phase::Closing) else {
            return;
        };
        session.slots = Slots::default();
        if let Some(gone) = &mut self.gone {
            gone.tell(in_order);
        }
        self.phase = Phase::Lingering(session);
        self.limit_linger();
        self.with_session(|session, effects| {
            session.give_up_waiting(ErrorCode::Cancelled, effects);
            session.give_up_unfinished(effects);
            session.finish_endpoints(effects);
        });
        self.end_of_linger();
    }

    /// Goes on to the goodbye once no call is open.
    fn end_of_linger(&mut self) {
        if let Phase::Lingering(session) = &self.phase
            && session.open.is_empty()
        {
            self.outbox
                .push_goodbye(Draft::goodbye(CloseReason::Finished, "").to_vec());
            self.phase = Phase::Closing;
            let patience = Duration::from_millis(u64::from(self.rooms.shared().limits.frame_progress_ms));
            self.limit = self.rooms.shared().now().checked_add(patience);
        }
    }

    /// Ends the connection with a reason that the peer is told after all that is queued. The first reason counts.
    pub(super) fn close(&mut self, reason: CloseReason, text: &str) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        self.note_close(reason, text);
        self.with_session(|session, effects| session.finish(effects));
        if !matches!(reason, CloseReason::Draining | CloseReason::Moved)
            && let Phase::Ready(session) | Phase::Lingering(session) = &self.phase
        {
            // A peer that did wrong gets nothing more done; what others had asked before a drain still counts.
            session.me().account.close();
        }
        if !matches!(self.phase, Phase::Preface(_) | Phase::Refused(_)) {
            self.outbox.push_goodbye(Draft::goodbye(reason, text).to_vec());
        }
        self.phase = Phase::Closing;
        if let Some(gone) = &mut self.gone {
            gone.tell(false);
        }
        self.limit = self.rooms.shared().now().checked_add(DRAIN_GRACE);
    }

    /// A bug in this connection's own code ends this connection only. Nothing of its state is trusted any more.
    pub fn panicked(&mut self, panic: &str) {
        self.note_panic(panic);
        if let Phase::Ready(session) | Phase::Lingering(session) = &self.phase {
            session.me().account.close();
        }
        self.phase = Phase::Closing;
        self.outbox = Outbox::default();
        let text = "the broker failed while it handled this connection";
        self.outbox
            .push_goodbye(Draft::goodbye(CloseReason::Internal, text).to_vec());
        if let Some(gone) = &mut self.gone {
            gone.tell(false);
        }
        self.limit = self.rooms.shared().now().checked_add(DRAIN_GRACE);
    }

    /// What others have for this peer.
    pub fn deliver(&mut self, delivery: Deliver) {
        // Judged by what waits already, so that one legal frame always fits.
        let most = self.rooms.shared().limits.outbox_bytes;
        // Messages are charged until they are taken or their endpoint leaves; who leaves and joins without reading must not pile them up.
        let full = self.outbox.own_bytes() > most || self.outbox.message_bytes() > most.saturating_mul(2);
        let taken = guard(|| match delivery {
            Deliver::Control(Control::Drain) => self.drain(),
            Deliver::Control(Control::Close(reason, text)) => self.close(reason, &text),
            delivery => self.take(delivery),
        });
        if let Err(panic) = taken {
            self.panicked(&panic);
        } else if full && !matches!(self.phase, Phase::Closing) {
            self.close(
                CloseReason::SlowConsumer,
                &format!(
                    "it does not read what the broker tells it (limits.outbox_bytes); read faster, or {}",
                    raise("outbox_bytes")
                ),
            );
        }
    }

    fn take(&mut self, delivery: Deliver) {
        let ready = matches!(self.phase, Phase::Ready(_));
        let (Phase::Ready(session) | Phase::Lingering(session)) = &mut self.phase else {
            return;
        };
        let rooms = &*self.rooms;
        let closing = perform::deliver(session, &mut self.outbox, rooms, delivery, ready);
        if let Some((reason, text)) = closing {
            return self.close(reason, &text);
        }
        self.end_of_linger();
        self.drain_if_idle();
    }

    /// Goes on with an end that waited for open calls and answers.
    pub fn settle(&mut self) {
        if let Phase::Ready(session) | Phase::Lingering(session) = &self.phase {
            session.settle();
        }
        self.settle_carry();
        self.end_of_linger();
        self.drain_if_idle();
    }

    /// The end, before anything is freed: what others wait for from this peer is answered now.
    pub fn finish(&mut self) {
        self.with_session(|session, effects| session.finish(effects));
        let opened = self.gone.is_some();
        self.phase = Phase::Closing;
        if let Some(gone) = &mut self.gone {
            gone.tell(false);
        }
        let metrics = self.rooms.metrics();
        if opened {
            metrics.connections_closed.add(1);
            self.speakers().inspect(|count| count.lower(1));
        } else {
            metrics.connections_refused.add(1);
        }
    }
}

//! The Connection actor: one per socket. Frames in, deliveries in, effects out, one timer.
//!
//! It translates and performs; what a frame means is `session`'s decision, what waits to be written is `outbox`'s, reading and
//! writing is `io`'s. It is never restarted: whatever goes wrong closes this connection with a reason, and nothing else.
//!
//! ```text
//!  Preface ──8 bytes──► Hello ──Hello frame──► Ready ──goodbye / EOF / drain──► Lingering ──queue empty──► stopped
//!      └───────wrong bytes: closed unanswered──────┴────protocol error: Goodbye with a reason ───────────────┘
//! ```

mod io;
pub mod open_calls;
pub mod outbox;
pub mod perform;
pub mod session;
pub mod slots;

use super::core::{Core, GoneGuard};
use super::deliver::Room;
use super::messages::{Control, Deliver, Joined};
use super::peer::{Account, Inbox, Peer, error_frame};
use super::quota::ReadGate;
use super::supervise::guard;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::codec::body_limit;
use crate::message::frame::HELLO_BODY_MAX;
use crate::message::handshake::choose_version;
use crate::message::{Batch, Decoder, Draft, Hello, Kind, Origin, PROTOCOL_VERSION, Welcome};
use crate::transport::{PeerCredentials, Stream};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, Running};
use outbox::Outbox;
use session::{Closing, Effects, Session, goodbye_frame};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a connection may take to finish its calls and its queue when the broker stops.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

impl Inbox for Recipient<Deliver> {
    fn post(&self, delivery: Deliver) {
        self.do_send(delivery);
    }
}

/// Where a connection is in its life.
enum Phase {
    /// So many bytes of the preface were right.
    Preface(usize),
    /// The preface is complete; the next frame must be Hello.
    Hello,
    /// Everything is allowed.
    Ready(Box<Session>),
    /// Nothing is read any more; open calls are still answered, then the queue is flushed.
    Lingering(Box<Session>),
    /// The goodbye is queued; when it is written, the actor stops.
    Closing,
}

/// One socket's actor.
pub struct Connection {
    // The session comes first, so that its slots answer before anybody hears that this peer is gone.
    phase: Phase,
    outbox: Outbox,
    io: io::Io,
    decoder: Decoder,
    credentials: PeerCredentials,
    gate: Arc<ReadGate>,
    /// The handshake must be done, or the drain be over, by then.
    limit: Option<Instant>,
    gone: Option<GoneGuard>,
    core: Arc<Core>,
    _count: Option<CountGuard>,
}

/// Counts a living connection.
pub(super) struct CountGuard(Arc<Core>);

impl CountGuard {
    pub(super) fn new(core: Arc<Core>) -> Self {
        core.shared.connections.fetch_add(1, Ordering::AcqRel);
        Self(core)
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.shared.connection_ended.notify_waiters();
    }
}

impl Connection {
    /// An actor for a socket that was accepted; `stream` is registered on the arbiter that will run it. One that was not let in is
    /// told why, unread, and closed.
    pub(super) fn new(
        core: Arc<Core>,
        stream: Stream,
        credentials: PeerCredentials,
        admitted: Result<CountGuard, Closing>,
    ) -> Self {
        let limits = &core.shared.limits;
        let handshake = Duration::from_millis(u64::from(limits.handshake_ms));
        let mut outbox = Outbox::default();
        let (phase, patience, count) = match admitted {
            Ok(count) => (Phase::Preface(0), handshake, Some(count)),
            Err((reason, text)) => {
                outbox.push_goodbye(goodbye_frame(reason, &text));
                (Phase::Closing, DRAIN_GRACE, None)
            }
        };
        Self {
            phase,
            outbox,
            io: io::Io::new(stream, core.shared.clone()),
            decoder: Decoder::new(HELLO_BODY_MAX),
            credentials,
            gate: ReadGate::new(limits.read_bytes, core.shared.gate.clone()),
            limit: Instant::now().checked_add(patience),
            gone: None,
            _count: count,
            core,
        }
    }

    /// Frames of one read. `read`: how many bytes it brought.
    fn batch(&mut self, now: Instant, batch: Batch, read: usize, ctx: &Context<Self>) {
        if batch.is_empty() {
            return;
        }
        self.core.shared.metrics.batches.add(1);
        let batch = Arc::new(batch);
        if matches!(self.phase, Phase::Hello) {
            self.hello(&batch, ctx);
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
        let permit = self.gate.take(batch.buffer_len().max(read));
        let (outbox, core) = (&mut self.outbox, &*self.core);
        let closing = perform::with_effects(|effects| {
            session.handle(now, batch, effects);
            perform::perform(session, outbox, core, effects, Some(batch), Some(permit))
        });
        let said_goodbye = session.said_goodbye();
        if let Some((reason, text)) = closing {
            self.close(reason, &text);
        }
        if said_goodbye {
            self.linger(true);
        }
        self.drain_if_idle();
    }

    fn with_session(&mut self, step: impl FnOnce(&mut Session, &mut Effects)) {
        let (Phase::Ready(session) | Phase::Lingering(session)) = &mut self.phase else {
            return;
        };
        let (outbox, core) = (&mut self.outbox, &*self.core);
        let closing = perform::with_effects(|effects| {
            step(session, effects);
            perform::perform(session, outbox, core, effects, None, None)
        });
        if let Some((reason, text)) = closing {
            self.close(reason, &text);
        }
    }

    fn hello(&mut self, batch: &Batch, ctx: &Context<Self>) {
        let Some(view) = batch.view(0) else { return };
        let header = view.header;
        if header.kind != Kind::Hello {
            return self.close(CloseReason::Protocol, "the first frame must be Hello");
        }
        if choose_version(header.id, header.aux).is_none() {
            let text = format!(
                "this broker speaks protocol version {PROTOCOL_VERSION}; the client needs {} to {}",
                header.id, header.aux
            );
            return self.close(CloseReason::Version, &text);
        }
        if self.core.shared.stopping.load(Ordering::Acquire) {
            return self.close(CloseReason::Draining, CloseReason::Draining.text());
        }
        let Some(hello) = Hello::decode(view.payload) else {
            return self.close(CloseReason::Protocol, "the payload of Hello is malformed");
        };
        self.welcome(&hello, ctx);
    }

    fn welcome(&mut self, hello: &Hello, ctx: &Context<Self>) {
        let shared = &self.core.shared;
        let limits = shared.limits.clone();
        let origin = Origin {
            peer: shared.next_peer(),
            uid: self.credentials.uid.unwrap_or(u32::MAX),
            pid: self.credentials.pid.unwrap_or(0),
        };
        let account = Account::new(Room::new(&limits), (limits.publish_window / 4).max(1));
        let inbox = Box::new(ctx.address().recipient());
        let attachments = self.io.stream.max_attachments();
        let me = Peer::new(origin, &hello.name, attachments, account, inbox);
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let welcome = Welcome {
            epoch: shared.epoch,
            frame_bytes: number(limits.frame_bytes),
            message_bytes: number(limits.message_bytes),
            publish_window: number(limits.publish_window),
            stream_window: number(limits.stream_window),
            open_calls: number(limits.open_calls),
            names: number(limits.names),
            subscriptions: number(limits.subscriptions),
            default_deadline_ms: limits.default_deadline_ms,
            max_deadline_ms: limits.max_deadline_ms,
            attachments,
        };
        let frame = Draft::new(Kind::Welcome, origin.peer.0)
            .aux(PROTOCOL_VERSION)
            .payload(crate::message::Encoding::RAW, &welcome.encode())
            .to_vec();
        self.outbox.push_frame(frame.into());
        self.decoder.set_limit(body_limit(limits.frame_bytes));
        self.core.registry.do_send(Joined(me.clone()));
        self.gone = Some(GoneGuard::new(self.core.clone(), origin.peer));
        self.phase = Phase::Ready(Box::new(Session::new(me, limits, shared.tickets.clone())));
        self.limit = None;
        shared.metrics.connections_opened.add(1);
        tracing::debug!(peer = origin.peer.0, pid = origin.pid, name = ?hello.name, "connected");
    }

    /// The peer sends nothing more: what it holds is withdrawn, what it asked is still answered.
    fn linger(&mut self, in_order: bool) {
        let Phase::Ready(mut session) = std::mem::replace(&mut self.phase, Phase::Closing) else {
            return;
        };
        session.slots = slots::Slots::default();
        if let Some(gone) = &mut self.gone {
            gone.tell(in_order);
        }
        self.phase = Phase::Lingering(session);
        self.with_session(|session, effects| session.give_up_waiting(ErrorCode::Cancelled, effects));
        self.end_of_linger();
    }

    /// Goes on to the goodbye once no call is open.
    fn end_of_linger(&mut self) {
        if let Phase::Lingering(session) = &self.phase
            && session.open.is_empty()
        {
            self.outbox.push_goodbye(goodbye_frame(CloseReason::Finished, ""));
            self.phase = Phase::Closing;
            let patience = Duration::from_millis(u64::from(self.core.shared.limits.frame_progress_ms));
            self.limit = Instant::now().checked_add(patience);
        }
    }

    /// Ends the connection with a reason that the peer is told after all that is queued. The first reason counts.
    fn close(&mut self, reason: CloseReason, text: &str) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        if matches!(
            reason,
            CloseReason::Protocol | CloseReason::Window | CloseReason::Version
        ) {
            self.core.shared.metrics.protocol_errors.add(1);
            tracing::warn!(pid = ?self.credentials.pid, %reason, ?text, "closing a connection");
        }
        self.with_session(|session, effects| session.finish(effects));
        if reason != CloseReason::Draining
            && let Phase::Ready(session) | Phase::Lingering(session) = &self.phase
        {
            // A peer that did wrong gets nothing more done; what others had asked before a drain still counts.
            session.me().account.close();
        }
        if !matches!(self.phase, Phase::Preface(_)) {
            self.outbox.push_goodbye(goodbye_frame(reason, text));
        }
        self.phase = Phase::Closing;
        if let Some(gone) = &mut self.gone {
            gone.tell(false);
        }
        self.limit = Instant::now().checked_add(DRAIN_GRACE);
    }

    fn drain(&mut self) {
        match self.phase {
            Phase::Ready(_) => {
                self.with_session(Session::drain);
                self.limit = Instant::now().checked_add(DRAIN_GRACE);
                self.drain_if_idle();
            }
            Phase::Preface(_) | Phase::Hello => {
                self.close(CloseReason::Draining, CloseReason::Draining.text())
            }
            Phase::Lingering(_) | Phase::Closing => {}
        }
    }

    fn drain_if_idle(&mut self) {
        if let Phase::Ready(session) = &self.phase
            && session.is_draining()
            && session.open.is_empty()
            && session.slots.is_empty()
        {
            self.close(CloseReason::Draining, CloseReason::Draining.text());
        }
    }

    /// The handshake or the drain took too long.
    fn overdue(&mut self) -> bool {
        match &mut self.phase {
            Phase::Preface(_) | Phase::Hello => {
                self.close(CloseReason::Timeout, "the handshake took too long");
                true
            }
            Phase::Ready(session) if session.is_draining() => {
                let error = CallError::from(ErrorCode::Draining).ran(true);
                for call in session.open.calls() {
                    self.outbox.push_frame(error_frame(call.0, &error).into());
                }
                self.close(CloseReason::Draining, CloseReason::Draining.text());
                true
            }
            Phase::Ready(_) | Phase::Lingering(_) => true,
            Phase::Closing => {
                self.core.shared.cut_off.fetch_add(1, Ordering::AcqRel);
                false
            }
        }
    }

    /// A bug in this connection's own code ends this connection only. Nothing of its state is trusted any more.
    fn panicked(&mut self, panic: &str) {
        tracing::error!(pid = ?self.credentials.pid, panic, "a connection panicked; closing it");
        if let Phase::Ready(session) | Phase::Lingering(session) = &self.phase {
            session.me().account.close();
        }
        self.phase = Phase::Closing;
        self.outbox = Outbox::default();
        let text = "the broker failed while it handled this connection";
        self.outbox
            .push_goodbye(goodbye_frame(CloseReason::Internal, text));
        if let Some(gone) = &mut self.gone {
            gone.tell(false);
        }
        self.limit = Instant::now().checked_add(DRAIN_GRACE);
    }

    /// What others have for this peer.
    fn deliver(&mut self, delivery: Deliver) {
        let ready = matches!(self.phase, Phase::Ready(_));
        let (Phase::Ready(session) | Phase::Lingering(session)) = &mut self.phase else {
            return;
        };
        let core = &*self.core;
        let closing = perform::deliver(session, &mut self.outbox, core, delivery, ready);
        if let Some((reason, text)) = closing {
            return self.close(reason, &text);
        }
        self.end_of_linger();
        self.drain_if_idle();
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(io::Drive);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        // What others wait for from this peer is answered now, not when the actor's memory is freed.
        self.with_session(|session, effects| session.finish(effects));
        let opened = self.gone.is_some();
        self.phase = Phase::Closing;
        if let Some(gone) = &mut self.gone {
            gone.tell(false);
        }
        let metrics = &self.core.shared.metrics;
        if opened {
            metrics.connections_closed.add(1)
        } else {
            metrics.connections_refused.add(1)
        }
        Running::Stop
    }
}

impl Handler<Deliver> for Connection {
    type Result = ();

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) {
        // Judged by what waits already, so that one legal frame always fits.
        let full = self.outbox.own_bytes() > self.core.shared.limits.outbox_bytes;
        let taken = guard(|| match delivery {
            Deliver::Control(Control::Drain) => self.drain(),
            Deliver::Control(Control::Close(reason, text)) => self.close(reason, &text),
            delivery => self.deliver(delivery),
        });
        if let Err(panic) = taken {
            self.panicked(&panic);
        } else if full && !matches!(self.phase, Phase::Closing) {
            self.close(
                CloseReason::SlowConsumer,
                "it does not read what the broker tells it",
            );
        }
        // The I/O item of this context is polled after the mailbox and writes everything in one go.
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Lets [`io`] stop the actor without knowing its context type.
fn stop(ctx: &mut Context<Connection>) {
    ctx.stop();
}

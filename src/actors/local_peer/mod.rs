//! Actors of the broker's own process as objects, callers, publishers and subscribers, with no socket in between.
//!
//! A [`LocalHandle`] pushes the frames that a client would write into a port; the LocalPeer actor takes them as one batch through the same
//! Session and performs the effects with the same code as a Connection. What others deliver goes through the same outbox,
//! and from there into mailboxes instead of a socket.
//!
//! ```text
//!  LocalHandle, Responder ─► port ─► LocalPeer ─► Session ─► Registry, TopicHub, other peers
//!                                        ▲
//!  waiting futures, Recipient<ObjectCall>, Recipient<TopicEvent> ◄─ dispatch ◄─ outbox ◄─ Deliver
//! ```
//! It is never restarted. It ends when its last handle is dropped, with the broker, or when the broker closes it with a reason; whoever
//! waits then gets an error.

mod asked;
mod builtin;
mod dispatch;
mod handle;
mod items;
mod kept;
mod monitor;
mod object_call;
mod options;
mod pieces;
mod port;
mod questions;
mod subscriber;
mod topic_event;

pub(super) use builtin::start as start_builtin;
pub use handle::{LocalHandle, LocalReply, LocalSubscription, Registered};
pub use items::CallItems;
pub use object_call::{Caller, ObjectCall, Responder};
pub use options::{CallOptions, PublishOptions, ServeOptions, SubscribeOptions};
pub use port::Standing;
pub use topic_event::{MissedEvents, TopicEvent};

use super::connection::outbox::Outbox;
use super::connection::perform::{self, Rooms};
use super::connection::session::{Effects, Session};
use super::connection::slots::Slots;
use super::core::{Core, GoneGuard};
use super::messages::{Control, Deliver, EventItem, Joined};
use super::peer::{Account, Inbox, Peer};
use crate::config::Limits;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::metadata::METADATA_MAX;
use crate::message::{Batch, CallId, Flags, Kind, Origin, PeerId, SubscriptionId, Ticket};
use crate::text;
use crate::transport::PeerCredentials;
use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Running as Goes};
use kept::Keeper;
use object_call::Running;
use port::{Port, PortOwner, Pushed, Request};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

/// How long calls may take to finish when the broker stops.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// Takes from the port in one turn, before others on the arbiter get theirs.
const TAKES_PER_TURN: usize = 4;

/// One local peer's actor.
pub struct LocalPeer {
    // The session comes first, so that its slots answer before anybody hears that this peer is gone.
    session: Box<Session>,
    outbox: Outbox,
    objects: HashMap<Arc<str>, dispatch::Served>,
    standings: HashMap<CallId, tokio::sync::watch::Sender<Standing>>,
    subscribers: HashMap<SubscriptionId, subscriber::Subscriber>,
    /// Subscriptions with something to hand over.
    stirred: Vec<SubscriptionId>,
    requests: HashMap<CallId, Request>,
    running: HashMap<Ticket, Arc<Running>>,
    partial_calls: HashMap<Ticket, dispatch::PartialCall>,
    bounds: Bounds,
    /// What calls in pieces hold, and events.
    calls_kept: Arc<Keeper>,
    events_kept: Arc<Keeper>,
    partial_replies: HashMap<CallId, pieces::Partial>,
    /// The drain must be over by then.
    limit: Option<Instant>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Why it ends.
    over: Option<Over>,
    port: PortOwner,
    gone: GoneGuard,
    core: Arc<Core>,
    _count: CountGuard,
}

/// How much others may send to a local peer, in bytes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// One call.
    call: usize,
    /// Calls that came in pieces, all together until they are handled; events the same. One sender's process has a part of it.
    kept: usize,
    /// What sets both, for those who are refused.
    why: &'static str,
}

impl Bounds {
    /// Those of an embedder's: one message in pieces of a process fits, while others have none.
    fn of(limits: &Limits) -> Self {
        let whole = limits.message_bytes.saturating_add(METADATA_MAX);
        Self {
            call: usize::MAX,
            kept: limits
                .memory_bytes_total
                .max(whole.saturating_mul(kept::PROCESS_PART)),
            why: "limits.memory_bytes_total",
        }
    }

    /// How large a call in pieces may be, and what says so.
    fn piecewise(&self, limits: &Limits) -> (usize, &'static str) {
        match self.call < limits.message_bytes {
            true => (self.call, self.why),
            false => (limits.message_bytes, "limits.message_bytes"),
        }
    }
}

/// How it ends: what those who wait are told.
struct Over {
    error: CallError,
    in_order: bool,
}

/// Counts a living local peer.
struct CountGuard(Arc<Core>);

impl CountGuard {
    fn new(core: Arc<Core>) -> Self {
        core.shared.locals.fetch_add(1, Ordering::AcqRel);
        Self(core)
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.shared.locals.fetch_sub(1, Ordering::AcqRel);
        self.0.shared.connection_ended.notify_waiters();
    }
}

impl LocalPeer {
    /// A peer that joins at once; what its handles have pushed already is sent before this returns.
    fn new(
        core: Arc<Core>,
        (id, name): (PeerId, &str),
        port: PortOwner,
        bounds: Bounds,
        ctx: &Context<Self>,
    ) -> Self {
        let (shared, limits) = (&core.shared, core.shared.limits.clone());
        let own = PeerCredentials::current();
        let origin = Origin {
            peer: id,
            uid: own.uid.unwrap_or(u32::MAX),
            pid: own.pid.unwrap_or(0),
        };
        let account = Account::new(limits.outbox_bytes, (limits.publish_window / 4).max(1));
        let me = Peer::local(origin, name, account, Box::new(ctx.address()));
        core.registry.do_send(Joined(me.clone()));
        let mut peer = Self {
            session: Box::new(Session::new(me, limits, shared.tickets.clone())),
            outbox: Outbox::default(),
            objects: HashMap::new(),
            standings: HashMap::new(),
            subscribers: HashMap::new(),
            stirred: Vec::new(),
            requests: HashMap::new(),
            running: HashMap::new(),
            partial_calls: HashMap::new(),
            bounds,
            calls_kept: Keeper::new(bounds.kept),
            events_kept: Keeper::new(bounds.kept),
            partial_replies: HashMap::new(),
            limit: None,
            timer: None,
            over: None,
            port,
            gone: GoneGuard::new(core.clone(), id),
            _count: CountGuard::new(core.clone()),
            core,
        };
        if peer.core.shared.stopping.load(Ordering::Acquire) {
            // It came after everybody was told.
            peer.drain();
        }
        let pushed = peer.port.0.take(None);
        peer.pushed(pushed);
        peer
    }

    fn port(&self) -> &Arc<Port> {
        &self.port.0
    }

    /// Ready: the peer is over.
    fn drive(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        for _ in 0..TAKES_PER_TURN {
            let pushed = self.port().take(Some(cx));
            let idle = pushed.is_empty();
            self.pushed(pushed);
            self.dispatch();
            self.end_of_drain();
            if self.over.is_some() {
                return Poll::Ready(());
            }
            if idle {
                return self.poll_timer(cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends what handles and responders have pushed, as one batch.
    fn pushed(&mut self, pushed: Pushed) {
        let Pushed {
            bytes,
            requests,
            ready,
            leaving,
        } = pushed;
        self.requests
            .extend(requests.into_iter().map(|request| (request.id, request)));
        self.stirred.extend(ready);
        if !bytes.is_empty() {
            match Batch::from_bytes(bytes.into(), self.port().limits.frame_bytes) {
                Ok(batch) => self.frames(&Arc::new(batch)),
                Err(error) => {
                    tracing::error!(%error, "a local peer made a frame that is none");
                    self.close(CloseReason::Protocol, &error.to_string());
                }
            }
        }
        if leaving {
            self.over.get_or_insert_with(|| Over {
                error: port::gone(),
                in_order: true,
            });
        }
    }

    fn frames(&mut self, batch: &Arc<Batch>) {
        self.core.shared.metrics.batches.add(1);
        self.session.me().traffic().sent(batch.len());
        for header in batch.headers() {
            let last = match header.kind {
                Kind::Reply => !header.flags.has(Flags::MORE),
                kind => kind == Kind::Error,
            };
            if last && let Some(running) = self.running.remove(&Ticket(header.id)) {
                running.end_items();
            }
        }
        let (session, outbox, core) = (&mut self.session, &mut self.outbox, &*self.core);
        let closing = perform::with_effects(|effects| {
            session.handle(Instant::now(), batch, effects);
            perform::perform(session, outbox, core, effects, Some(batch), None)
        });
        self.close_with(closing);
    }

    fn with_session(&mut self, step: impl FnOnce(&mut Session, &mut Effects)) {
        let (session, outbox, core) = (&mut self.session, &mut self.outbox, &*self.core);
        let closing = perform::with_effects(|effects| {
            step(session, effects);
            perform::perform(session, outbox, core, effects, None, None)
        });
        self.close_with(closing);
    }

    fn close_with(&mut self, closing: Option<super::connection::session::Closing>) {
        if let Some((reason, text)) = closing {
            self.close(reason, &text);
        }
    }

    /// The broker ends this peer.
    fn close(&mut self, reason: CloseReason, text: &str) {
        if reason != CloseReason::Draining {
            tracing::warn!(name = %text::name(self.session.me().name()), %reason, text = %text::text(text), "closing a local peer");
        }
        let code = match reason {
            CloseReason::Draining => ErrorCode::Draining,
            _ => ErrorCode::BrokerGone,
        };
        self.over.get_or_insert_with(|| Over {
            error: CallError::new(code, text).ran(false),
            in_order: false,
        });
    }

    fn drain(&mut self) {
        self.with_session(Session::drain);
        self.limit = Instant::now().checked_add(DRAIN_GRACE);
    }

    fn end_of_drain(&mut self) {
        if self.session.is_draining() && self.session.open.is_empty() && self.session.slots.is_empty() {
            self.close(CloseReason::Draining, CloseReason::Draining.text());
        }
    }

    /// Events by subscription, each into its own outbox.
    fn events(&mut self, batch: &Arc<Batch>, items: Vec<EventItem>) {
        let Some(first) = items.first().map(|item| item.subscription) else {
            return;
        };
        if items.iter().all(|item| item.subscription == first) {
            return self.events_of(first, batch, items);
        }
        let mut parts: BTreeMap<SubscriptionId, Vec<EventItem>> = BTreeMap::new();
        for item in items {
            parts.entry(item.subscription).or_default().push(item);
        }
        for (subscription, items) in parts {
            self.events_of(subscription, batch, items);
        }
    }

    /// The subscription, once it was accepted.
    fn subscriber(&mut self, subscription: SubscriptionId) -> Option<&mut subscriber::Subscriber> {
        if !self.subscribers.contains_key(&subscription) {
            // Its acknowledgement may have come just before.
            self.dispatch_first();
        }
        self.subscribers.get_mut(&subscription)
    }

    /// An event in pieces comes next.
    fn begins(&mut self, subscription: SubscriptionId, message: u32, from: &Peer) {
        if let Some(subscriber) = self.subscriber(subscription) {
            subscriber.begins(message, kept::sender(from));
        }
    }

    fn events_of(&mut self, subscription: SubscriptionId, batch: &Arc<Batch>, mut items: Vec<EventItem>) {
        if self.subscriber(subscription).is_some()
            && let Some(subscriber) = self.subscribers.get_mut(&subscription)
        {
            subscriber.mark_missed(&mut items);
            let (session, core) = (&self.session, &*self.core);
            perform::events(session, &mut subscriber.outbox, core, batch.clone(), items);
            self.stirred.push(subscription);
            return;
        }
        // It was withdrawn while they were on their way.
        let charged = items
            .iter()
            .map(|item| super::connection::outbox::event_charge(batch, item))
            .sum();
        let me = self.session.me();
        if me.account.release_events(charged) {
            self.core.drained(me.id());
        }
    }

    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let Some(next) = [self.session.next_deadline(), self.limit]
                .into_iter()
                .flatten()
                .min()
            else {
                self.timer = None;
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next.into())));
            if timer.deadline() > next.into() || timer.is_elapsed() {
                timer.as_mut().reset(next.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if self.limit.is_some_and(|limit| limit <= now) {
                self.close(CloseReason::Draining, CloseReason::Draining.text());
                return Poll::Ready(());
            }
            self.with_session(|session, effects| session.expire(now, effects));
            self.dispatch();
        }
    }
}

impl Actor for LocalPeer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Drive);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Goes {
        self.with_session(|session, effects| session.finish(effects));
        // What others wait for from this peer is answered now, not when the actor's memory is freed.
        self.session.slots = Slots::default();
        let over = self.over.take().unwrap_or_else(|| Over {
            error: port::gone(),
            in_order: false,
        });
        self.gone.tell(over.in_order);
        self.running.drain().for_each(|(_, running)| running.cancel());
        self.port().close(over.error.clone());
        for (_, request) in self.requests.drain() {
            if let Some(waiter) = request.waiter {
                let _ = waiter.send(Err(over.error.clone().ran(true)));
            }
        }
        Goes::Stop
    }
}

impl Inbox for Addr<LocalPeer> {
    fn post(&self, delivery: Deliver) {
        self.do_send(delivery);
    }
}

impl Handler<Deliver> for LocalPeer {
    type Result = ();

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) {
        match delivery {
            Deliver::Control(Control::Drain) => self.drain(),
            Deliver::Control(Control::Close(reason, text)) => self.close(reason, &text),
            Deliver::Events(batch, items) => self.events(&batch, items),
            Deliver::Control(Control::Begins(subscription, message, from)) => {
                self.begins(subscription, message, &from);
            }
            delivery => {
                let (session, outbox, core) = (&mut self.session, &mut self.outbox, &*self.core);
                let closing = perform::deliver(session, outbox, core, delivery, true);
                self.close_with(closing);
            }
        }
        // The item of this context is polled after the mailbox and hands everything over in one go.
    }
}

impl std::fmt::Debug for LocalPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalPeer")
            .field("me", self.session.me())
            .finish_non_exhaustive()
    }
}

/// The item that drives the peer. It ends by stopping the actor.
struct Drive;

impl ActorFuture<LocalPeer> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut LocalPeer,
        ctx: &mut Context<LocalPeer>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let end = act.drive(cx);
        if end.is_ready() {
            ctx.stop();
        }
        end
    }
}

//! An event as an actor of this process gets it.
//!
//! Owns what the handler sees, and the charge that rides in it: an event counts against its peer's account until the actor
//! has handled it, so that a slow actor is held, lags and misses like a slow connection. Made by `subscriber`.

use super::kept::Kept;
use super::port::Port;
use crate::actors::core::Core;
use crate::actors::messages::Drained;
use crate::actors::peer::PeerRef;
use crate::message::{Metadata, Payload, SubscriptionId};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// An event for an actor that subscribed.
///
/// It counts as queued until it is dropped; an actor that keeps events slows its publishers down and then misses some. One that came in
/// pieces counts as such a call does ([`ObjectCall`](super::ObjectCall)), against what its publisher's process may have.
///
/// ```
/// use actix::{Actor, Context, Handler};
/// use actix_ipc::actors::{Broker, TopicEvent};
/// use actix_ipc::message::Payload;
///
/// struct Alarm(Option<tokio::sync::oneshot::Sender<f64>>);
/// impl Actor for Alarm {
///     type Context = Context<Self>;
/// }
/// impl Handler<TopicEvent> for Alarm {
///     type Result = ();
///     fn handle(&mut self, event: TopicEvent, _: &mut Context<Self>) {
///         assert_eq!((&*event.object, &*event.event, event.missed), ("boiler", "celsius", 0));
///         if let (Ok(celsius), Some(heard)) = (event.payload.decode(), self.0.take()) {
///             let _ = heard.send(celsius);
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// actix::System::new().block_on(async {
///     let broker = Broker::builder().start()?;
///     let local = broker.local("house")?;
///     let (sender, heard) = tokio::sync::oneshot::channel();
///     local.subscribe("boiler", "celsius", Alarm(Some(sender)).start().recipient()).await?;
///     local.publish("boiler", "celsius", Payload::json(&71.5)?).await?;
///     assert_eq!(heard.await?, 71.5);
///     broker.stop().await;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct TopicEvent {
    /// The first half of the topic.
    pub object: Arc<str>,
    /// The second half.
    pub event: Arc<str>,
    /// What was published.
    pub payload: Payload,
    /// What the publisher sent beside it.
    pub metadata: Metadata,
    /// Events of this subscription that were missed just before this one.
    pub missed: u32,
    /// It was published before the subscription was opened.
    pub retained: bool,
    pub(super) _charge: Option<InFlight>,
}

impl TopicEvent {
    /// An event that no broker has sent, to test a handler with.
    #[must_use]
    pub fn new(object: &str, event: &str, payload: Payload) -> Self {
        Self {
            object: object.into(),
            event: event.into(),
            payload,
            metadata: Metadata::new(),
            missed: 0,
            retained: false,
            _charge: None,
        }
    }
}

impl actix::Message for TopicEvent {
    type Result = ();
}

/// Events that were missed, told at once and not with the next event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedEvents {
    /// The first half of the subscription's topic or pattern.
    pub object: Arc<str>,
    /// The second half.
    pub event: Arc<str>,
    /// How many.
    pub count: u32,
}

impl actix::Message for MissedEvents {
    type Result = ();
}

/// No stop: events flow.
const FLOWING: usize = usize::MAX;

/// What a subscription's events share: how many are with the actor, and when more may follow.
pub(super) struct Flow {
    peer: PeerRef,
    core: Weak<Core>,
    port: Arc<Port>,
    id: SubscriptionId,
    in_flight: AtomicUsize,
    bytes: AtomicUsize,
    /// The peer has stopped, and goes on when no more than this many are in flight.
    resume_at: AtomicUsize,
}

impl Flow {
    pub(super) fn new(peer: PeerRef, core: Weak<Core>, port: Arc<Port>, id: SubscriptionId) -> Arc<Self> {
        Arc::new(Self {
            peer,
            core,
            port,
            id,
            in_flight: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            resume_at: AtomicUsize::new(FLOWING),
        })
    }

    /// Counts an event that goes to the actor.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> InFlight {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight {
            flow: self.clone(),
            bytes,
            _kept: None,
        }
    }

    /// How many events the actor has not handled.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether the actor has enough: so many events, or a quarter of what the queue may hold before its policy acts. What is with the
    /// actor cannot be dropped any more, so most must stay in the queue.
    pub(super) fn is_enough(&self, events: usize) -> bool {
        self.in_flight() >= events
            || self.bytes.load(Ordering::Relaxed) >= (self.peer.account.room().events_soft / 4).max(1)
    }

    /// Stops until `at` events are left. `false`: so few are left already.
    pub(super) fn stop_until(&self, at: usize) -> bool {
        self.resume_at.store(at, Ordering::SeqCst);
        !(self.in_flight() <= at && self.resume_at.swap(FLOWING, Ordering::SeqCst) != FLOWING)
    }

    /// Gives back what events were charged.
    pub(super) fn release(&self, bytes: usize) {
        if bytes > 0
            && self.peer.account.release_events(bytes)
            && let Some(core) = self.core.upgrade()
        {
            core.hub.do_send(Drained(self.peer.id()));
        }
    }
}

/// One event that is with its actor; dropping it gives its charge back.
pub(super) struct InFlight {
    flow: Arc<Flow>,
    bytes: usize,
    /// What came in pieces.
    _kept: Option<Kept>,
}

impl InFlight {
    /// The same with what its pieces hold.
    pub(super) fn keeping(mut self, kept: Kept) -> Self {
        self._kept = Some(kept);
        self
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InFlight({})", self.bytes)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let flow = &self.flow;
        flow.release(self.bytes);
        flow.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        let left = flow.in_flight.fetch_sub(1, Ordering::SeqCst).saturating_sub(1);
        let at = flow.resume_at.load(Ordering::SeqCst);
        if at != FLOWING && left <= at && flow.resume_at.swap(FLOWING, Ordering::SeqCst) != FLOWING {
            flow.port.ready(flow.id);
        }
    }
}

//! Subscribing: the builder, the stream of events, and callbacks.
//!
//! Owns the options of a subscription and its life: it is restored after a lost connection and ends when the
//! [`Subscription`] is dropped. What has arrived waits in [`super::event_queue`].

use super::call::invalid;
use super::event::{Event, Update};
use super::event_queue::{EventQueue, Reader};
use super::handle::{Handle, IpcClient};
use super::lasting::Fact;
use super::names::Key;
use super::runtime::Home;
use crate::error::CallError;
use crate::message::{Draft, Flags, Kind, Metadata, Pattern, metadata};
use crate::text;
use futures::Stream;
use futures::future::BoxFuture;
use serde_json::Value;
use std::future::IntoFuture;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// What becomes of events when a subscriber does not keep up: in the broker's queue for its connection, and in the
/// [`buffer`](SubscribeBuilder::buffer) of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SlowPolicy {
    /// Holds the publishers back for a moment (at most 100 ms, and a tenth of the time), then counts what is missed. A full
    /// buffer takes no newer events, and counts them.
    #[default]
    Hold,
    /// Ends the subscriber's connection. A full buffer ends the subscription: after what is in it come
    /// [`Update::TooSlow`] and the end.
    Disconnect,
    /// Drops the oldest events that wait, and counts them.
    DropOldest,
    /// Keeps only the newest event of each topic, and counts the others.
    Latest,
}

impl SlowPolicy {
    const fn code(self) -> u32 {
        match self {
            Self::Hold => 0,
            Self::Disconnect => 1,
            Self::DropOldest => 2,
            Self::Latest => 3,
        }
    }
}

/// A subscription that is being described. Made by [`IpcClient::subscribe`]; await it to subscribe.
#[derive(Clone, Debug)]
#[must_use = "a subscription is not made until it is awaited"]
pub struct SubscribeBuilder {
    handle: Arc<Handle>,
    object: String,
    topic: String,
    flags: Flags,
    policy: SlowPolicy,
    group: Option<String>,
    buffer: usize,
}

impl SubscribeBuilder {
    pub(crate) fn new(client: &IpcClient, object: &str, topic: &str) -> Self {
        Self {
            handle: Arc::clone(&client.handle),
            object: object.to_owned(),
            topic: topic.to_owned(),
            flags: Flags::NONE,
            policy: SlowPolicy::Hold,
            group: None,
            buffer: client.handle.shared.options.subscription_buffer,
        }
    }

    /// Takes both names as patterns: levels separated by `.`, `*` for one level, `**` for the rest.
    pub const fn pattern(mut self) -> Self {
        self.flags = self.flags.with(Flags::PATTERN);
        self
    }

    /// Joins a queue group: each event goes to one subscriber of the group.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// Not what this client publishes itself.
    pub const fn no_local(mut self) -> Self {
        self.flags = self.flags.with(Flags::NO_LOCAL);
        self
    }

    /// Not the values that were retained before.
    pub const fn without_retained(mut self) -> Self {
        self.flags = self.flags.with(Flags::NO_RETAINED);
        self
    }

    /// What the broker does when this client does not keep up. Default: [`SlowPolicy::Hold`].
    pub const fn policy(mut self, policy: SlowPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// What may wait unread in this program, in bytes; beyond it events are missed, and counted. One event counts as
    /// half of it at most, however large it is. Default: that of the client, 4 MiB.
    pub const fn buffer(mut self, bytes: usize) -> Self {
        self.buffer = if bytes == 0 { 1 } else { bytes };
        self
    }

    async fn open(self) -> Result<Subscription, CallError> {
        let key = Key::pair(&self.object, &self.topic)?;
        if self.flags.has(Flags::PATTERN) {
            for text in [&self.object, &self.topic] {
                Pattern::new(text).map_err(|error| invalid(error.to_string()))?;
            }
        }
        let mut block = Metadata::new();
        if let Some(group) = &self.group {
            block
                .insert(metadata::GROUP, group)
                .map_err(|error| invalid(error.to_string()))?;
        }
        let queue = Arc::new(EventQueue::new(
            &self.object,
            &self.topic,
            self.buffer,
            self.policy,
        ));
        let fact = Fact::Subscription(Arc::clone(&queue));
        let lasting = self.handle.ask(fact, |id| {
            Draft::new(Kind::Subscribe, id)
                .aux(self.policy.code())
                .flags(self.flags)
                .key(key.as_bytes())
                .meta(block.as_bytes())
                .to_vec()
        });
        let lasting = lasting.await?.0;
        Ok(Subscription {
            reader: Reader::new(queue),
            lasting,
        })
    }
}

impl IntoFuture for SubscribeBuilder {
    type Output = Result<Subscription, CallError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// A subscription: the stream of its events, in the order of each publisher and topic.
///
/// Retained values come first. Gaps are told by [`Event::missed`] and [`Event::interrupted`] of the event behind them;
/// [`next_update`](Self::next_update) also tells a gap with nothing behind it. After a lost connection it is
/// subscribed again and goes on. The stream ends when the client is closed or its connection is lost and not to be
/// made again. Dropping it unsubscribes; what is in flight is lost. Reading is cancel safe.
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    reader: Reader,
    lasting: super::handle::Lease,
}

impl Subscription {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.reader.poll_event(cx)).await
    }

    /// The next event or gap; `None` at the end.
    pub async fn next_update(&mut self) -> Option<Update> {
        std::future::poll_fn(|cx| self.reader.poll_update(cx)).await
    }

    /// Unsubscribes, as dropping it does.
    pub fn unsubscribe(self) {
        drop(self);
    }

    /// The client that it belongs to.
    #[must_use]
    pub fn client(&self) -> IpcClient {
        self.lasting.client()
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.reader.poll_event(cx)
    }
}

/// A subscription whose events go to a callback. Dropping this does not end it: see
/// [`unsubscribe`](Self::unsubscribe).
#[derive(Debug)]
pub struct CallbackSubscription {
    error: Option<CallError>,
    lease: Arc<Mutex<Option<super::handle::Lease>>>,
}

impl CallbackSubscription {
    /// Why it could not be made, when it could not. It is logged too.
    #[must_use]
    pub const fn error(&self) -> Option<&CallError> {
        self.error.as_ref()
    }

    /// Whether it was made.
    ///
    /// # Errors
    /// Why not.
    pub fn into_result(self) -> Result<Self, CallError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(self),
        }
    }

    /// Ends it. The callback is not called again once a call that is under way has returned.
    pub fn unsubscribe(self) {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lease) = lease {
            lease.end();
        }
    }
}

/// A callback that panics costs its event and nothing else.
fn guarded(callback: &impl Fn(Value), value: Value) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| callback(value))).is_err() {
        tracing::error!("the callback of a subscription panicked; it goes on with the next event");
    }
}

/// Subscribes and calls `callback` for every event, one after the other, where the calling task runs.
pub(crate) async fn subscribe_async<F>(
    client: &IpcClient,
    object: &str,
    topic: &str,
    callback: F,
) -> CallbackSubscription
where
    F: Fn(Value) + Send + 'static,
{
    let opened = match Home::current() {
        Ok(home) => SubscribeBuilder::new(client, object, topic)
            .open()
            .await
            .map(|made| (made, home)),
        Err(error) => Err(invalid(error.to_string())),
    };
    let (subscription, home) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(object = %text::name(object), topic = %text::name(topic), %error, "the subscription was not made");
            return CallbackSubscription {
                error: Some(error),
                lease: Arc::default(),
            };
        }
    };
    let Subscription { mut reader, lasting } = subscription;
    let lease = Arc::new(Mutex::new(Some(lasting)));
    let held = Arc::clone(&lease);
    home.spawn(Box::pin(async move {
        while let Some(event) = std::future::poll_fn(|cx| reader.poll_event(cx)).await {
            // What was taken before the end is not shown after it.
            if held.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                break;
            }
            if event.missed > 0 || event.interrupted {
                let (object, topic) = (text::name(event.object()), text::name(event.topic()));
                let Event { missed, interrupted, .. } = event;
                tracing::warn!(%object, %topic, missed, interrupted, "events were missed");
            }
            match event.decode() {
                Ok(value) => guarded(&callback, value),
                Err(error) => tracing::warn!(object = %text::name(event.object()), topic = %text::name(event.topic()), %error, "an event was not shown"),
            }
        }
        drop(held);
    }));
    CallbackSubscription { error: None, lease }
}

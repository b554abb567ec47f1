//! [`IpcClient`]: the handle that programs hold, and what keeps a connection alive.
//!
//! Owns the surface of the client; each method leads into the file of its subject. A connection lives as long as a
//! handle, a subscription, a registration or a watch of it does.

use super::after::{After, First};
use super::builder::ClientBuilder;
use super::call::{Call, CallBuilder};
use super::connect_error::ConnectError;
use super::connection_events::{ConnectionEvent, ConnectionEvents};
use super::handler::{Handler, Shared as SharedHandler, SharedObject};
use super::lasting::Fact;
use super::names::Key;
use super::outgoing::Outgoing;
use super::presence;
use super::publish::PublishBuilder;
use super::register::RegisterBuilder;
use super::shared::Shared;
use super::state::{Direct, Next, Phase, closed};
use super::subscription::{self, CallbackSubscription, SubscribeBuilder};
use crate::error::{CallError, ErrorCode};
use crate::message::{Draft, Epoch, Flags, Kind, Metadata, Payload, PeerId};
use crate::transport::Endpoint;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Shared by everything that needs the connection; the last one to go ends it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Asks for something lasting. Ready with its lease and the number of the broker's answer; while there is no
    /// connection it waits for one. Dropping the future gives it up.
    ///
    /// # Errors
    /// The broker's reason for refusing it, TooLarge, or that the client is closed.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        fact: Fact,
        frame: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<(Lease, u32), CallError> {
        let (first, answer) = oneshot::channel();
        let lease = self.add(fact, first, frame)?;
        match answer.await {
            Ok(Ok(number)) => Ok((lease, number)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CallError::from(ErrorCode::NotConnected)),
        }
    }

    fn add(
        self: &Arc<Self>,
        fact: Fact,
        first: First,
        frame: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Lease, CallError> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        match &state.phase {
            Phase::Closed(error) => return Err(error.clone()),
            Phase::Up(_) | Phase::Down if state.closing.is_some() => return Err(closed()),
            Phase::Up(_) | Phase::Down => {}
        }
        let frame_bytes = state.grants.frame_bytes as usize;
        let key = state
            .lasting
            .add(fact, Some(first), frame)
            .ok_or_else(|| CallError::from(ErrorCode::TooMany))?;
        if let Some(error) = state
            .lasting
            .get(key)
            .and_then(|entry| entry.too_large(frame_bytes))
        {
            state.lasting.forget(key);
            return Err(error);
        }
        let (_, start_clock) = state.coarse_now();
        let idle = state.out.is_idle();
        state.ask_lasting(key, Instant::now());
        let next = if state.out.is_ready() {
            state.after_push(idle, Direct::Now)
        } else {
            Next::Nothing
        };
        drop(guard);
        self.shared.perform(next);
        if start_clock {
            self.shared.io.wake();
        }
        Ok(Lease {
            handle: Arc::clone(self),
            key,
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
        self.shared.last_flush();
    }
}

/// Is the key of nothing.
const NO_KEY: u64 = 0;

/// Something lasting that is in force: given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) handle: Arc<Handle>,
    pub(crate) key: u64,
}

impl Lease {
    pub(crate) fn client(&self) -> IpcClient {
        IpcClient {
            handle: Arc::clone(&self.handle),
        }
    }
    /// Leaves it in force for as long as the connection lasts, without keeping that alive.
    fn keep(mut self) -> u64 {
        std::mem::replace(&mut self.key, NO_KEY)
    }

    /// Gives it up.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        let mut after = After::default();
        let mut state = shared.lock();
        let Some(entry) = state.lasting.forget(self.key) else {
            return;
        };
        let mut told = false;
        let draft = match &entry.what {
            Fact::Subscription(queue) => {
                queue.close(&mut after.wakers);
                Draft::new(Kind::Unsubscribe, self.key)
            }
            Fact::Object { name, .. } => Draft::new(Kind::Unregister, self.key).key(name.as_bytes()),
            Fact::Watch(queue) => {
                after.no_more(queue);
                Draft::new(Kind::Unwatch, self.key)
            }
            Fact::Wait { .. } => Draft::new(Kind::Cancel, self.key),
            Fact::Endpoint { port, joined } => {
                told = *joined && port.is_deaf();
                let text = "this endpoint has left the bus";
                port.end(CallError::new(ErrorCode::NotConnected, text), &mut after.wakers);
                Draft::new(Kind::Leave, self.key)
            }
            // It is taken back with an empty key.
            Fact::Will => Draft::new(Kind::Will, self.key),
        };
        let next = match state.lasting.give_up(self.key, draft.to_vec()) {
            Some(_) if !told => state.control(&draft),
            _ => Next::Nothing,
        };
        let report = state.take_report();
        drop(state);
        after.perform();
        shared.perform(next);
        if let Some(report) = report {
            shared.report(report);
        }
        drop(entry);
    }
}

/// A connection to a broker, for any number of tasks and threads.
///
/// Cloning is cheap and shares the connection, which ends in order when the last clone, subscription, registration and
/// watch is gone. Inside an actix System the socket lives on the current arbiter; elsewhere one background thread of
/// the process carries all sockets. The futures run on any executor.
///
/// A lost connection is made again (see [`ClientBuilder::reconnect`]): open calls end with an error that says whether
/// they may have run, registrations, subscriptions and watches are restored, and
/// [`connection_events`](Self::connection_events) tells it once.
#[derive(Clone, Debug)]
pub struct IpcClient {
    pub(crate) handle: Arc<Handle>,
}

impl IpcClient {
    /// Connects to the broker that `IPC_BROKER_ADDR` names, else at the first of the
    /// [default endpoints](super::endpoints()) where one answers. Cancel safe.
    ///
    /// # Errors
    /// Within a second when nobody listens; the error names every endpoint that was tried, the reason for each, and
    /// the command that starts a broker.
    pub async fn connect() -> Result<Self, ConnectError> {
        Self::builder().connect().await
    }

    /// The same, waiting up to `timeout` for a broker to start.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), after `timeout`.
    pub async fn connect_wait(timeout: Duration) -> Result<Self, ConnectError> {
        Self::builder().connect_wait(timeout).await
    }

    /// Connects to the broker at one endpoint.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_to(endpoint: Endpoint) -> Result<Self, ConnectError> {
        Self::builder().endpoint(endpoint).connect().await
    }

    /// A builder, for everything that has a default.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Calls `method` of `object` and decodes the answer. Calls of one client to one object arrive in the order in
    /// which their futures were first polled: one of more than 256 KiB is sent while it is polled, and those behind it wait at the object
    /// until it is sent or dropped. One that waits for room and is polled no
    /// more is overtaken, after a second at most. Dropping the future cancels the call.
    ///
    /// # Errors
    /// See [`Call`].
    pub fn remote_call<P: Serialize, R: DeserializeOwned>(
        &self,
        object: &str,
        method: &str,
        params: P,
    ) -> Call<R> {
        self.call(object, method).send(&params)
    }

    /// Describes a call, with its options.
    pub fn call<'a>(&'a self, object: &'a str, method: &'a str) -> CallBuilder<'a> {
        CallBuilder::new(self, object, method)
    }

    /// Publishes `value` to the topic made of `object` and `topic`. Await the result, or set options first.
    ///
    /// # Errors
    /// See [`Publish`](super::Publish).
    #[inline]
    pub fn publish<'a, 'v, T: Serialize + ?Sized>(
        &'a self,
        object: &'a str,
        topic: &'a str,
        value: &'v T,
    ) -> PublishBuilder<'a, 'v, T> {
        PublishBuilder::new(self, object, topic, value)
    }

    /// Publishes a payload as it is.
    ///
    /// # Errors
    /// See [`Publish`](super::Publish).
    #[inline]
    pub fn publish_payload<'a>(
        &'a self,
        object: &'a str,
        topic: &'a str,
        payload: Payload,
    ) -> PublishBuilder<'a, 'static, ()> {
        PublishBuilder::payload(self, object, topic, payload)
    }

    /// Subscribes to a topic. Await the result, or set options first; every event published after that is in the
    /// [`Subscription`](super::Subscription) or counted as missed.
    ///
    /// # Errors
    /// Invalid for names that are none, TooMany at the broker's limit, NotConnected when the client is closed. While
    /// there is no connection it waits for one.
    pub fn subscribe(&self, object: &str, topic: &str) -> SubscribeBuilder {
        SubscribeBuilder::new(self, object, topic)
    }

    /// Subscribes and calls `callback` with the value of every event, in order, on the run-time of the caller (a
    /// thread of the library for plain threads). What it returns need not be kept: the subscription lasts until the client is closed, or as long as
    /// the process. Values that are not JSON, and gaps, are logged.
    pub async fn subscribe_async<F>(&self, object: &str, topic: &str, callback: F) -> CallbackSubscription
    where
        F: Fn(Value) + Send + 'static,
    {
        subscription::subscribe_async(self, object, topic, callback).await
    }

    /// Registers an object. Await the result, or set options first; it is callable from then until the
    /// [`Registration`](super::Registration) is dropped.
    ///
    /// # Errors
    /// NameTaken with the owner's process, Invalid for a name that is none, TooMany at the broker's limit.
    pub fn register(&self, name: &str, handler: impl Handler) -> RegisterBuilder {
        RegisterBuilder::new(self, name, Arc::new(handler))
    }

    /// Registers an object of JSON values. As [`register`](Self::register).
    pub fn register_object(&self, name: &str, object: impl SharedObject + 'static) -> RegisterBuilder {
        RegisterBuilder::new(self, name, Arc::new(SharedHandler(object)))
    }

    /// Sets what the broker publishes when this connection ends without a goodbye, in place of an earlier will. Ready
    /// when the broker has it. It is set again after a reconnection.
    ///
    /// # Errors
    /// Invalid for names or metadata that are not allowed, TooLarge, Cancelled when it was taken back meanwhile, NotConnected when the
    /// client is closed. An earlier will may be forgotten then.
    pub async fn set_will(
        &self,
        object: &str,
        topic: &str,
        payload: Payload,
        metadata: Metadata,
        retained: bool,
    ) -> Result<(), CallError> {
        let key = Key::pair(object, topic)?;
        super::call::check_metadata(&metadata)?;
        let asked = self.handle.ask(Fact::Will, |id| {
            Draft::new(Kind::Will, id)
                .flags(Flags::NONE.with_if(retained, Flags::RETAIN))
                .key(key.as_bytes())
                .meta(metadata.as_bytes())
                .payload(payload.encoding, &payload.bytes)
                .to_vec()
        });
        let (lease, _) = asked.await?;
        // Before the lock is taken: what is left of the lease takes it too.
        let key = lease.keep();
        let other = self.handle.shared.lock().lasting.set_will(key);
        drop(other);
        Ok(())
    }

    /// Takes the will back, and what is being set: that ends as cancelled. Ready when the broker has forgotten it.
    ///
    /// # Errors
    /// NotConnected, BrokerGone or Deadline; it is not set again after a reconnection in any case.
    pub async fn clear_will(&self) -> Result<(), CallError> {
        let shared = &self.handle.shared;
        let mut after = After::default();
        let mut state = shared.lock();
        let taken = state.lasting.clear_will(&mut after);
        // It may have been all that a restoration waited for.
        let report = state.take_report();
        drop(state);
        after.perform();
        drop(taken);
        if let Some(report) = report {
            shared.report(report);
        }
        presence::acknowledge(self, Outgoing::plain(Kind::Will, Key::EMPTY)).await
    }

    /// What happens to the connection from now on.
    #[must_use]
    pub fn connection_events(&self) -> ConnectionEvents {
        let events = self.handle.shared.watchers.listen();
        match &self.handle.shared.lock().phase {
            Phase::Closed(error) => ConnectionEvents::ended(error.message.clone()),
            Phase::Down | Phase::Up(_) => events,
        }
    }

    /// Calls `callback` for every connection event, on the run-time of the caller.
    ///
    /// # Errors
    /// When a plain thread calls and no thread for callbacks could be started.
    pub fn on_connection_event(
        &self,
        callback: impl Fn(ConnectionEvent) + Send + 'static,
    ) -> std::io::Result<()> {
        let home = super::runtime::Home::current()?;
        let mut events = self.connection_events();
        home.spawn(Box::pin(async move {
            while let Some(event) = events.next().await {
                callback(event);
            }
        }));
        Ok(())
    }

    /// The number of this connection at the broker; 0 before the first one. Changes with each connection.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.handle.shared.lock().peer
    }

    /// Which life of the broker this client is or was last connected to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.handle.shared.lock().grants.epoch
    }

    /// Whether there is a connection right now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.handle.shared.lock().phase, Phase::Up(_))
    }

    /// Ready when the broker has read everything that was sent before: published events, calls without an answer.
    ///
    /// # Errors
    /// NotConnected, BrokerGone or Deadline: it is not known how far the broker came.
    pub async fn flush(&self) -> Result<(), CallError> {
        presence::ping(self).await.map(|_| ())
    }

    /// Says goodbye after everything that was sent, waits until the broker has read it (at most 2 s), and ends the
    /// connection for all clones. What they do afterwards fails with NotConnected.
    pub async fn close(self) {
        self.handle.shared.begin_close();
        self.handle.shared.closed_for_good().await;
    }

    /// Ready once the connection has ended for good, with the reason.
    pub async fn closed(&self) -> CallError {
        self.handle.shared.closed_for_good().await
    }
}

//! [`LocalHandle`]: what an actor or a future of this process asks of its broker.
//!
//! Turns each request into the frame that a client would send. It knows the port and no actor.

use super::Bounds;
use super::object_call::ObjectCall;
use super::options::{CallOptions, PublishOptions, ServeOptions, SubscribeOptions, milliseconds};
use super::port::{Answer, Port, PortOwner, Standing, Then, check};
use super::subscriber::Wanted;
use super::topic_event::TopicEvent;
use super::{LocalPeer, port};
use crate::actors::core::Core;
use crate::error::{CallError, ErrorCode};
use crate::message::{Draft, Flags, Kind, Metadata, Payload, metadata, name};
use actix::{Actor, ArbiterHandle, Recipient};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A place at the broker of this process, as a connection is one of another process: objects, subscriptions, calls, publishes.
///
/// Made by [`BrokerHandle::local`](crate::actors::BrokerHandle::local). Clones share the place; when the last one is dropped, its objects and
/// subscriptions are withdrawn and the calls that it still owes an answer end with [`ErrorCode::CalleeGone`]. The limits of a
/// connection hold for it, and a payload is at most `limits.frame_bytes` long. Subscribers of one handle share one account: a slow
/// actor among them can make the others miss events, so give it a handle of its own.
///
/// ```
/// use actix::{Actor, Context, Handler};
/// use actix_ipc::actors::{Broker, ObjectCall};
/// use actix_ipc::message::Payload;
///
/// struct Thermometer;
/// impl Actor for Thermometer {
///     type Context = Context<Self>;
/// }
/// impl Handler<ObjectCall> for Thermometer {
///     type Result = ();
///     fn handle(&mut self, call: ObjectCall, _: &mut Context<Self>) {
///         let _ = call.responder.reply_json(&21.5);
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// actix::System::new().block_on(async {
///     let broker = Broker::builder().start()?;
///     let local = broker.local("house")?;
///     local.serve("thermometer", Thermometer.start().recipient()).await?;
///     let celsius: f64 = local.call("thermometer", "read", Payload::default()).await?.decode()?;
///     assert_eq!(celsius, 21.5);
///     broker.stop().await;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct LocalHandle {
    place: Arc<Place>,
}

/// Withdraws everything when the last handle is dropped.
struct Place {
    port: Arc<Port>,
    name: Box<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.port.leave();
    }
}

impl fmt::Debug for LocalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalHandle")
            .field("name", &self.place.name)
            .finish_non_exhaustive()
    }
}

impl LocalHandle {
    /// A handle without an actor behind it yet.
    pub(super) fn new(port: Arc<Port>, name: &str) -> Self {
        let name = name.into();
        Self {
            place: Arc::new(Place { port, name }),
        }
    }

    /// Starts a local peer on the broker's arbiter.
    pub(in crate::actors) fn start(
        core: Option<Arc<Core>>,
        arbiter: &ArbiterHandle,
        name: &str,
    ) -> Result<Self, CallError> {
        if !name.is_empty() {
            name::check(name.as_bytes())
                .map_err(|error| CallError::new(ErrorCode::Invalid, format!("{name:?}: {error}")))?;
        }
        let core = core.ok_or_else(port::gone)?;
        let port = Port::new(core.shared.limits.clone());
        let handle = Self::new(port.clone(), name);
        let (owner, id, name) = (PortOwner(port), core.shared.next_peer(), name.to_owned());
        // When the arbiter has ended, the owner is dropped here, which closes the port.
        arbiter.spawn_fn(move || {
            LocalPeer::create(move |ctx| {
                let bounds = Bounds::of(&core.shared.limits);
                LocalPeer::new(core, (id, &name), owner, bounds, ctx)
            });
        });
        Ok(handle)
    }

    pub(super) fn port(&self) -> &Arc<Port> {
        &self.place.port
    }

    /// The name under which others see it; empty when it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Registers the object `object`, whose calls go to the actor from then on. When the actor has ended, the first call that finds
    /// it so withdraws the object; until then the name is taken.
    ///
    /// Not cancel safe: dropping the future does not take the registration back, [`Self::unserve`] does.
    ///
    /// # Errors
    /// [`ErrorCode::NameTaken`] (the text names the owner's process), [`ErrorCode::TooMany`], [`ErrorCode::Invalid`] for what is no
    /// name or begins with `sys.`, [`ErrorCode::BrokerGone`].
    pub async fn serve(&self, object: &str, actor: Recipient<ObjectCall>) -> Result<Registered, CallError> {
        self.serve_with(object, actor, ServeOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Self::serve`]; [`ErrorCode::NameTaken`] also for a group whose members asked for another balance.
    pub async fn serve_with(
        &self,
        object: &str,
        actor: Recipient<ObjectCall>,
        options: ServeOptions,
    ) -> Result<Registered, CallError> {
        if object.starts_with(metadata::RESERVED_PREFIX) {
            let text = format!("{object:?}: names that begin with `sys.` are the broker's own");
            return Err(CallError::new(ErrorCode::Invalid, text));
        }
        self.register(object, actor, options)?.finish().await
    }

    /// Sends a registration at once.
    pub(super) fn register(
        &self,
        object: &str,
        actor: Recipient<ObjectCall>,
        options: ServeOptions,
    ) -> Result<Registering, CallError> {
        let description = &options.description;
        check(&self.port().limits, &[object], description, &Metadata::new())?;
        let (sender, standing) = watch::channel(Standing::Queued);
        let draft = Draft::new(Kind::Register, self.port().id())
            .flags(options.flags)
            .aux(options.balance.map_or(0, |balance| balance as u32))
            .key(object.as_bytes())
            .payload(description.encoding, &description.bytes);
        let pending = self
            .port()
            .ask(&draft, Then::Serve(object.into(), actor, sender))?;
        Ok(Registering { pending, standing })
    }

    /// Gives up the object, or its place in the queue. Calls that the actor has already are still answered.
    ///
    /// # Errors
    /// [`ErrorCode::NotRegistered`], [`ErrorCode::BrokerGone`].
    pub async fn unserve(&self, object: &str) -> Result<(), CallError> {
        check(
            &self.port().limits,
            &[object],
            &Payload::default(),
            &Metadata::new(),
        )?;
        let draft = Draft::new(Kind::Unregister, self.port().id()).key(object.as_bytes());
        self.port()
            .ask(&draft, Then::Unserve(object.into()))?
            .await
            .map(|_| ())
    }

    /// Sends the actor what is published on the topic (`object`, `event`) from now on, its retained value first.
    ///
    /// Events arrive in the order of each publisher. Dropping what it returns does not end the subscription.
    ///
    /// # Errors
    /// [`ErrorCode::TooMany`], [`ErrorCode::Invalid`], [`ErrorCode::BrokerGone`].
    pub async fn subscribe(
        &self,
        object: &str,
        event: &str,
        actor: Recipient<TopicEvent>,
    ) -> Result<LocalSubscription, CallError> {
        self.subscribe_with(object, event, actor, SubscribeOptions::default())
            .await
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn subscribe_with(
        &self,
        object: &str,
        event: &str,
        actor: Recipient<TopicEvent>,
        options: SubscribeOptions,
    ) -> Result<LocalSubscription, CallError> {
        let mut block = Metadata::new();
        if let Some(group) = &options.group {
            block
                .insert(metadata::GROUP, group)
                .map_err(|error| CallError::new(ErrorCode::Invalid, error.to_string()))?;
        }
        check(&self.port().limits, &[object, event], &Payload::default(), &block)?;
        let wanted = Wanted {
            object: object.into(),
            event: event.into(),
            pattern: options.flags.has(Flags::PATTERN),
            recipient: actor,
            gaps: options.gaps,
        };
        let id = self.port().id();
        let draft = Draft::new(Kind::Subscribe, id)
            .flags(options.flags)
            .aux(options.policy as u32)
            .meta(block.as_bytes())
            .pair(object, event);
        self.port()
            .ask(&draft, Then::Subscribe(Box::new(wanted)))?
            .await?;
        let port = self.port().clone();
        Ok(LocalSubscription { port, id })
    }

    /// Publishes an event. Returns when it is on its way; waits while the publish window is closed (`limits.publish_window`), in the
    /// order in which publishers came. Cancel safe: when the future is dropped, the event was not published.
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`], [`ErrorCode::Invalid`], [`ErrorCode::BrokerGone`].
    pub async fn publish(&self, object: &str, event: &str, payload: Payload) -> Result<(), CallError> {
        self.publish_with(object, event, payload, PublishOptions::default())
            .await
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Self::publish`]. A retained value that is too large is dropped; [`Self::publish_acknowledged`] tells of it.
    pub async fn publish_with(
        &self,
        object: &str,
        event: &str,
        payload: Payload,
        options: PublishOptions,
    ) -> Result<(), CallError> {
        let draft = self.publish_draft(object, event, &payload, &options)?;
        self.port().publish(&draft).await
    }

    /// Publishes an event if the window is open at this moment: for handlers, which cannot wait.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when the window is closed, otherwise as [`Self::publish`].
    pub fn try_publish(
        &self,
        object: &str,
        event: &str,
        payload: &Payload,
        options: &PublishOptions,
    ) -> Result<(), CallError> {
        let draft = self.publish_draft(object, event, payload, options)?;
        if self.port().try_publish(&draft)? {
            return Ok(());
        }
        let text = "the publish window is closed (limits.publish_window); publish later";
        Err(CallError::new(ErrorCode::Overloaded, text))
    }

    /// Publishes an event and waits until the broker has accepted it. Returns to how many subscribers it was queued.
    ///
    /// # Errors
    /// As [`Self::publish`], [`ErrorCode::TooLarge`] also for a value that is too large to be retained.
    pub async fn publish_acknowledged(
        &self,
        object: &str,
        event: &str,
        payload: Payload,
        options: PublishOptions,
    ) -> Result<u32, CallError> {
        let mut draft = self.publish_draft(object, event, &payload, &options)?;
        draft.flags = draft.flags.with(Flags::ACK);
        let answer = self.port().publish_acknowledged(&draft).await?.await?;
        Ok(answer.aux)
    }

    fn publish_draft<'a>(
        &self,
        object: &'a str,
        event: &'a str,
        payload: &'a Payload,
        options: &'a PublishOptions,
    ) -> Result<Draft<'a>, CallError> {
        check(&self.port().limits, &[object, event], payload, &options.metadata)?;
        Ok(Draft::new(Kind::Publish, self.port().id())
            .flags(options.flags)
            .meta(options.metadata.as_bytes())
            .pair(object, event)
            .payload(payload.encoding, &payload.bytes))
    }

    /// Calls a method of an object, wherever it is served. Dropping the future cancels the call at its callee.
    ///
    /// # Errors
    /// [`CallError`] says what went wrong and whether the call may have run.
    pub async fn call(&self, object: &str, method: &str, payload: Payload) -> Result<Payload, CallError> {
        let options = CallOptions::default();
        let reply = self.call_with(object, method, payload, options).await?;
        Ok(reply.payload)
    }

    /// The same with options, and with the metadata of the reply.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_with(
        &self,
        object: &str,
        method: &str,
        payload: Payload,
        options: CallOptions,
    ) -> Result<LocalReply, CallError> {
        check(
            &self.port().limits,
            &[object, method],
            &payload,
            &options.metadata,
        )?;
        let draft = Draft::new(Kind::Call, self.port().id())
            .flags(options.flags)
            .aux(options.deadline_ms)
            .meta(options.metadata.as_bytes())
            .pair(object, method)
            .payload(payload.encoding, &payload.bytes);
        let pending = self.port().ask(&draft, Then::Nothing)?;
        // The frame has its own copy; the caller's must not live as long as the call.
        drop((payload, options));
        let Answer {
            payload, metadata, ..
        } = pending.cancelling().await?;
        Ok(LocalReply { payload, metadata })
    }

    /// Waits until all these objects are registered at once, at most for `deadline`. Cancel safe.
    ///
    /// # Errors
    /// [`ErrorCode::Deadline`], [`ErrorCode::Invalid`] for no name, a bad one or more than 256, [`ErrorCode::BrokerGone`].
    pub async fn wait_for(&self, objects: &[&str], deadline: Duration) -> Result<(), CallError> {
        let mut names = Vec::new();
        check(
            &self.port().limits,
            objects,
            &Payload::default(),
            &Metadata::new(),
        )?;
        for object in objects {
            names.push(u8::try_from(object.len()).unwrap_or(u8::MAX));
            names.extend_from_slice(object.as_bytes());
        }
        let payload = Payload::raw(names);
        let draft = Draft::new(Kind::Wait, self.port().id())
            .aux(milliseconds(deadline))
            .payload(payload.encoding, &payload.bytes);
        let pending = self.port().ask(&draft, Then::Nothing)?;
        pending.cancelling().await.map(|_| ())
    }

    /// What is registered and who is connected, as JSON: `{"objects": […], "connections": […]}`.
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`] when the list exceeds `limits.frame_bytes`, [`ErrorCode::BrokerGone`].
    pub async fn list(&self) -> Result<serde_json::Value, CallError> {
        let draft = Draft::new(Kind::List, self.port().id());
        self.json(&draft).await
    }

    /// One object's owner, members, queue and description, as JSON.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchObject`], [`ErrorCode::BrokerGone`].
    pub async fn describe(&self, object: &str) -> Result<serde_json::Value, CallError> {
        check(
            &self.port().limits,
            &[object],
            &Payload::default(),
            &Metadata::new(),
        )?;
        let draft = Draft::new(Kind::Describe, self.port().id()).key(object.as_bytes());
        self.json(&draft).await
    }

    async fn json(&self, draft: &Draft<'_>) -> Result<serde_json::Value, CallError> {
        let answer = self.port().ask(draft, Then::Nothing)?.await?;
        answer
            .payload
            .decode()
            .map_err(|error| CallError::new(ErrorCode::Encoding, error.to_string()))
    }
}

/// What a call was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// The value.
    pub payload: Payload,
    /// What the handler sent beside it.
    pub metadata: Metadata,
}

/// A registration that is under way.
pub(super) struct Registering {
    pending: port::Pending,
    standing: watch::Receiver<Standing>,
}

impl Registering {
    async fn finish(mut self) -> Result<Registered, CallError> {
        self.pending.await?;
        self.standing.mark_unchanged();
        Ok(Registered {
            standing: self.standing,
        })
    }
}

/// A registration that was accepted. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Registered {
    standing: watch::Receiver<Standing>,
}

impl Registered {
    /// Whether calls come to this process now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Waits for the next change of the standing; `None` when the object was given up. Cancel safe.
    pub async fn changed(&mut self) -> Option<Standing> {
        self.standing.changed().await.ok()?;
        Some(*self.standing.borrow_and_update())
    }
}

/// A subscription that was accepted. Dropping it does not end it.
pub struct LocalSubscription {
    port: Arc<Port>,
    id: u64,
}

impl LocalSubscription {
    /// Ends the subscription. When it returns, nothing more is handed to the actor; what its mailbox holds still comes.
    ///
    /// # Errors
    /// [`ErrorCode::NotRegistered`] when it had ended before, [`ErrorCode::BrokerGone`].
    pub async fn unsubscribe(self) -> Result<(), CallError> {
        let draft = Draft::new(Kind::Unsubscribe, self.id);
        self.port.ask(&draft, Then::Unsubscribe)?.await.map(|_| ())
    }
}

impl fmt::Debug for LocalSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSubscription")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

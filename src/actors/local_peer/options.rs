//! What a handle's requests can be asked for with. Plain values with builders; used by `handle`.

use super::topic_event::MissedEvents;
use crate::actors::registry::facts::Balance;
use crate::actors::topic_hub::facts::Policy;
use crate::message::{Flags, Metadata, Payload};
use actix::Recipient;
use std::time::Duration;

/// How an object is to be registered. The default: alone, and an error when the name is taken.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    pub(super) flags: Flags,
    pub(super) balance: Option<Balance>,
    pub(super) description: Payload,
}

impl ServeOptions {
    /// Waits in the queue while the name is taken.
    #[must_use]
    pub const fn queue(mut self) -> Self {
        self.flags = self.flags.with(Flags::QUEUE);
        self
    }

    /// Replaces an owner that allows it.
    #[must_use]
    pub const fn replace(mut self) -> Self {
        self.flags = self.flags.with(Flags::REPLACE);
        self
    }

    /// Lets others replace this one.
    #[must_use]
    pub const fn allow_replace(mut self) -> Self {
        self.flags = self.flags.with(Flags::ALLOW_REPLACE);
        self
    }

    /// Joins the worker group of the name; all members must ask for the same balance. A handle is one member: each further actor needs
    /// a handle of its own.
    #[must_use]
    pub const fn group(mut self, balance: Balance) -> Self {
        self.flags = self.flags.with(Flags::WORKER_GROUP);
        self.balance = Some(balance);
        self
    }

    /// What the object says of itself, as JSON; shown by `describe`.
    #[must_use]
    pub fn description(mut self, description: &serde_json::Value) -> Self {
        self.description = Payload::json(description).unwrap_or_default();
        self
    }
}

/// How events are to be heard. The default: one exact topic, with its retained value, its publishers held back for a bounded time.
#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    pub(super) flags: Flags,
    pub(super) policy: Policy,
    pub(super) group: Option<String>,
    pub(super) gaps: Option<Recipient<MissedEvents>>,
}

impl SubscribeOptions {
    /// Object and event are patterns: `*` is one level, `**` the rest.
    #[must_use]
    pub const fn pattern(mut self) -> Self {
        self.flags = self.flags.with(Flags::PATTERN);
        self
    }

    /// Not what the same handle (or a clone of it) publishes.
    #[must_use]
    pub const fn no_local(mut self) -> Self {
        self.flags = self.flags.with(Flags::NO_LOCAL);
        self
    }

    /// No values that were retained before.
    #[must_use]
    pub const fn no_retained(mut self) -> Self {
        self.flags = self.flags.with(Flags::NO_RETAINED);
        self
    }

    /// One subscriber of the group hears each event.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// What happens when the actor does not keep up.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Told of missed events behind which no event follows. Without it they are counted in the next event.
    #[must_use]
    pub fn gaps(mut self, recipient: Recipient<MissedEvents>) -> Self {
        self.gaps = Some(recipient);
        self
    }
}

/// How an event is to be published.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    pub(super) flags: Flags,
    pub(super) metadata: Metadata,
}

impl PublishOptions {
    /// Keeps it as the topic's last value for later subscribers; an empty payload clears the value.
    #[must_use]
    pub const fn retained(mut self) -> Self {
        self.flags = self.flags.with(Flags::RETAIN);
        self
    }

    /// Sends this beside the payload.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }
}

/// How an object is to be called. The default: `limits.default_deadline_ms`, and an error when there is no such object.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    pub(super) flags: Flags,
    pub(super) deadline_ms: u32,
    pub(super) metadata: Metadata,
}

impl CallOptions {
    /// The call ends after this time at the latest: at least 1 ms, at most `limits.max_deadline_ms`.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline_ms = milliseconds(deadline);
        self
    }

    /// Waits until the deadline for the object to be registered.
    #[must_use]
    pub const fn wait(mut self) -> Self {
        self.flags = self.flags.with(Flags::WAIT);
        self
    }

    /// Sends this beside the arguments.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }
}

/// A time as frames tell it; zero would mean "the default".
pub(super) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1)
}

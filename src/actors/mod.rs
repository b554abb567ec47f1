//! The broker: actix actors around pure state.
//!
//! ```text
//!                       Joined, Gone, RegistryBatch            Deliver::Calls
//!  Listener ─► Connection ───────────────────────► Registry ──────────────────► Connection (callee)
//!                  │  ▲ ▲                              │ Routed, answers             │
//!                  │  │ └──────────────────────────────┘                             │
//!                  │  └──────────────────── Deliver::Answers ────────────────────────┘
//!                  │ HubBatch                     Deliver::Events
//!                  └──────────────► TopicHub ──────────────────► Connection (subscribers)
//! ```
//! Actors of this process stand where a Connection stands, without a socket: see [`BrokerHandle::local`].
//!
//! Promises: calls of one connection to one object arrive in order, each at most once, each with exactly one outcome. Events of one
//! publisher on one topic arrive in order, at most once, with every gap told. Replies may overtake events. Only `bin`,
//! `bus` and embedders import this room, through [`Broker::builder`].

mod access;
pub mod account;
pub mod accounts;
pub mod admission;
mod bind;
pub mod broker;
mod builder;
pub mod bus;
pub mod connection;
pub mod copies;
pub mod core;
pub mod credit;
pub mod deadlines;
pub mod deliver;
pub mod descriptors;
pub mod group;
pub mod idle;
pub mod inbox;
pub mod inject;
mod listener;
pub mod local_peer;
pub mod memory;
pub mod messages;
#[cfg(test)]
#[cfg(feature = "models")]
mod models;
pub mod observe;
mod outcome;
pub mod peer;
pub mod peer_key;
pub mod peers;
pub mod planted;
pub mod quota;
pub mod receipt;
pub mod regions;
pub mod registry;
pub mod reply;
pub mod shares;
pub mod supervise;
mod table;
pub mod tokens;
pub mod topic_hub;
mod viewers;

pub use broker::{Broker, BrokerHandle};
pub use builder::BrokerBuilder;
pub use bus::BusOptions;
pub use core::Levels;
#[cfg(feature = "protocol")]
pub(crate) use core::new_epoch;
pub use local_peer::{
    CallItems, CallOptions, Caller, LocalHandle, LocalReply, LocalSubscription, MissedEvents, ObjectCall,
    PublishOptions, Registered, Responder, ServeOptions, Standing, SubscribeOptions, TopicEvent,
};
pub use outcome::{EndReason, StartError};

use actix::Message;
use messages::{CloseAll, Deliver, DrainAll, Drained, Gone, HubBatch, Joined, RegistryBatch, Revise};

macro_rules! unanswered {
    ($($message:ty),*) => { $(impl Message for $message { type Result = (); })* };
}

unanswered!(
    Deliver,
    RegistryBatch,
    HubBatch,
    Joined,
    Gone,
    Drained,
    DrainAll,
    CloseAll,
    Revise
);

/// Lets everything else that is ready run first.
async fn yield_once() {
    tokio::task::yield_now().await;
}

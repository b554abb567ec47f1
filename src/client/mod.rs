//! The client library: calls, events, presence and serving over one connection to a broker.
//!
//! Start with [`IpcClient`] in async code, [`blocking::Client`] in plain threads, and [`WorkerBuilder`] for a program
//! that only serves. Everything here works the same inside an actix System, under `#[tokio::main]`, and on threads of
//! other executors.
//!
//! # Promises
//!
//! *Calls* run at most once and end exactly once, at the latest one to two seconds after their deadline, which always exists (30 s
//! unless said otherwise). Their errors say whether the call may have run. Calls of one client to one object arrive in
//! order; answers come in any order. *Events* arrive at most once, in the order of each publisher and topic; what a
//! subscriber misses is counted and told. *Nothing waits without a bound*: callers wait for room in the out-buffer,
//! publishers for the broker's window, streams for their reader; unread events are counted as missed.
//!
//! # How it is built
//!
//! Owns the client's half of the protocol; knows nothing of the broker's actors. Handles and the socket's actor share
//! one [state](state::State) under a short lock. A handle encodes its frame into the out-buffer and writes it itself
//! when nothing else is on its way; the actor reads, completes slots and writes what handles have left.

mod after;
pub mod blocking;
mod brought;
mod budget;
mod builder;
mod busy;
mod call;
mod connect_error;
mod connection_events;
mod content;
mod control;
mod dead;
mod drive;
#[cfg_attr(
    not(feature = "bus"),
    allow(dead_code, reason = "only endpoints of the label bus use all of it")
)]
pub(crate) mod encoded;
mod endpoints;
mod event;
mod event_queue;
mod exchange;
mod failure;
mod handle;
mod handler;
mod here;
#[cfg(feature = "bus")]
mod hook;
mod inbound;
mod incoming;
mod items;
#[cfg_attr(
    not(feature = "bus"),
    allow(dead_code, reason = "only endpoints of the label bus use all of it")
)]
pub(crate) mod join;
mod large;
mod last_topic;
mod lasting;
mod line;
mod link;
mod methods;
#[cfg(test)]
#[cfg(feature = "models")]
mod models;
mod names;
mod order;
mod outbox;
mod outgoing;
mod patience;
#[cfg_attr(
    not(feature = "protocol"),
    allow(dead_code, reason = "only typed protocols use it")
)]
pub(crate) mod peer;
#[cfg_attr(
    not(feature = "bus"),
    allow(dead_code, reason = "only endpoints of the label bus use all of it")
)]
pub(crate) mod port;
mod presence;
mod proof;
mod publish;
pub(crate) mod queue;
mod reconnect;
mod register;
mod request;
mod respond;
mod running;
pub(crate) mod runtime;
#[cfg_attr(
    not(feature = "bus"),
    allow(dead_code, reason = "only endpoints of the label bus use all of it")
)]
mod sends;
mod serving;
mod settle;
mod shared;
mod slab;
mod socket;
mod state;
mod subscription;
mod turn;
#[cfg_attr(
    not(feature = "bus"),
    allow(dead_code, reason = "only endpoints of the label bus use all of it")
)]
mod undelivered;
mod upload;
pub(crate) mod waiters;
mod worker;

pub use builder::{ClientBuilder, SharedMemory};
#[cfg(feature = "protocol")]
pub(crate) use builder::{connect as connect_shared, new_shared};
pub use call::{Call, CallBuilder, PayloadCall, PayloadStream, ReplyStream, Sent};
pub use connect_error::{ConnectError, Refusal};
pub use connection_events::{ConnectionEvent, ConnectionEvents};
pub use endpoints::{ADDRESS_VARIABLE, endpoints, parse_address, token_file};
pub use event::{Event, Update};
pub use handle::IpcClient;
pub use handle::IpcClient as IPCClient;
#[cfg(feature = "protocol")]
pub(crate) use handler::written;
pub use handler::{CallContext, Handler, HandlerError, IncomingCall, Response, SharedObject};
#[cfg(feature = "bus")]
pub(crate) use hook::ClientHook;
pub use items::IncomingItems;
pub use lasting::Standing;
pub use methods::Methods;
pub use presence::{Notice, Watch, WatchScope};
pub use publish::{Acknowledged, Publish, PublishBuilder};
pub use register::{Balance, RegisterBuilder, Registration};
pub use request::Reply;
#[cfg(feature = "protocol")]
pub(crate) use running::ObjectServer;
#[cfg(feature = "protocol")]
pub(crate) use shared::Shared;
#[cfg(feature = "protocol")]
pub(crate) use socket::Patience;
pub use subscription::{CallbackSubscription, SlowPolicy, SubscribeBuilder, Subscription};
pub use undelivered::{Reason, Undelivered};
pub use worker::WorkerBuilder;

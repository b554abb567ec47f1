//! A local message broker made of actix actors, and the library to speak to it.
//!
//! Processes of one machine call each other's named objects, and publish and hear events, over Unix sockets, TCP, Windows named
//! pipes, or inside one process. Run the broker as the program `ipc-broker`, script it with `rob`, link the client
//! library ([`client`]), or embed the broker in your own actix program ([`actors`]).
//!
//! ```
//! use actix_ipc::actors::Broker;
//! use actix_ipc::client::{IpcClient, Methods};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! actix::System::new().block_on(async {
//!     let broker = Broker::builder().listen("mem:example".parse()?).start()?;
//!     let worker = IpcClient::connect_to("mem:example".parse()?).await?;
//!     let add = |(a, b): (i64, i64), _| async move { Ok(a + b) };
//!     let _math = worker.register("math", Methods::new().method("add", add)).await?;
//!     let caller = IpcClient::connect_to("mem:example".parse()?).await?;
//!     let sum: i64 = caller.remote_call("math", "add", (10, 32)).await?;
//!     assert_eq!(sum, 42);
//!     broker.stop().await;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! What is promised of calls and events stands in [`client`]; every limit, with its unit and reason, in
//! [`config::Limits`]; the bytes in `docs/protocol.md`.

#[cfg(feature = "broker")]
pub mod activation;
#[cfg(feature = "broker")]
pub mod actors;
#[cfg(feature = "bus")]
pub mod bus;
#[cfg(feature = "broker")]
pub mod client;
#[cfg(feature = "broker")]
pub mod config;
#[cfg(feature = "dashboard")]
pub mod dashboard;
#[cfg(feature = "broker")]
pub mod error;
#[cfg(feature = "lazy")]
pub mod lazy;
#[cfg(feature = "broker")]
mod likeness;
#[cfg(feature = "broker")]
pub mod message;
#[cfg(feature = "broker")]
pub mod metrics;
#[cfg_attr(
    not(feature = "bus"),
    allow(dead_code, reason = "what the label bus asks; builds with it check the rest")
)]
pub mod platform;
#[cfg(feature = "broker")]
pub mod policy;
#[cfg(feature = "protocol")]
pub mod protocol;
#[cfg(feature = "cli")]
pub mod settings;
#[cfg(feature = "broker")]
mod sync;
#[cfg(feature = "cli")]
pub mod terminal;
#[cfg(feature = "broker")]
pub mod text;
#[cfg(feature = "broker")]
#[cfg_attr(
    not(feature = "bus"),
    allow(dead_code, reason = "what the label bus asks; builds with it check the rest")
)]
pub mod transport;

#[cfg(feature = "broker")]
pub use actors::{Broker, BrokerHandle, EndReason, StartError};
#[cfg(feature = "broker")]
pub use async_trait::async_trait;
#[cfg(feature = "broker")]
pub use client::{
    CallContext, Event, Handler, HandlerError, IPCClient, IncomingCall, IpcClient, Methods, Response,
    SharedObject, Subscription, WorkerBuilder,
};
#[cfg(feature = "broker")]
pub use error::{CallError, CloseReason, ErrorCode};
#[cfg(feature = "broker")]
pub use message::{Encoding, Payload};
#[cfg(feature = "broker")]
pub use transport::Endpoint;

/// The README's Rust code is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The same for the guide to typed protocols.
#[cfg(all(doctest, feature = "protocol"))]
#[doc = include_str!("../docs/protocols.md")]
struct ProtocolGuide;

/// The same for the page about logs and tracing.
#[cfg(all(doctest, feature = "broker"))]
#[doc = include_str!("../docs/logging.md")]
struct LoggingPage;

/// The same for the pages for those who come from elsewhere.
#[cfg(all(doctest, feature = "bus"))]
#[doc = include_str!("../docs/from-dbus.md")]
#[doc = include_str!("../docs/from-nats.md")]
#[doc = include_str!("../docs/from-zeromq.md")]
struct FromElsewhere;

/// The same for the guide to the label bus.
#[cfg(all(doctest, feature = "bus"))]
#[doc = include_str!("../docs/bus.md")]
struct BusGuide;

//! Typed protocols: what two programs may say to each other, written once and checked by the compiler on both sides.
//!
//! [`protocol!`](macro@crate::protocol::protocol) makes a module of a protocol: a type for each request and answer, a `Sender` with one method for
//! each command, and a trait `Receive` for who answers them. One connection carries several protocols, and either end may call. The
//! same protocols work point to point ([`RpcServer`], [`RpcClient`]) and through the broker, where what answers is an object that
//! any client can find.
//!
//! # Point to point
//!
//! ```
//! use actix_ipc::protocol::{NoProtocol, Result, RpcClient, RpcServer, RpcServerHandler, protocol};
//!
//! protocol! {
//!     pub mod calc {
//!         add { a: i32, b: i32 } return i32;
//!     }
//! }
//!
//! struct Calculator;
//!
//! impl calc::Receive for Calculator {
//!     async fn add(&self, a: i32, b: i32) -> Result<i32> {
//!         Ok(a + b)
//!     }
//! }
//!
//! struct Service;
//!
//! impl RpcServerHandler for Service {
//!     type ReceiveRpc = calc::Receiver<Calculator>;
//!     type SendRpc = NoProtocol;
//!
//!     async fn on_rpc_connect(&self, _: &NoProtocol) -> Self::ReceiveRpc {
//!         calc::Receiver::new(Calculator)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let server = RpcServer::bind("mem:sums".parse()?, Service).await?;
//! let client = RpcClient::<calc::Sender>::connect(server.endpoint().clone(), ()).await?;
//! assert_eq!(client.sender.add(2, 3).await?, 5);
//! # client.close().await;
//! # server.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! Commands of one protocol and connection run one after the other, in the order in which they were sent, unless
//! [`RpcServerBuilder::concurrency`] gives that up. Every failure answers the caller, and says whether the command may have run; a call
//! ends at its deadline in any case. One-way commands wait while the other end is slow, so that memory stays flat at both ends, and
//! nobody tells what became of them. A lost connection is made again; what was under way ended with `BrokerGone`, here: the peer.
//!
//! # How it is built
//!
//! A command is a [`Call`](crate::message::Kind::Call): its key names the object and the command, its payload begins with the number
//! of the protocol ([`Encoding::PROTOCOL`](crate::message::Encoding::PROTOCOL)), which has the version in it, so that no command is
//! ever read by another definition. Owns the description of protocols ([`info`](ProtocolInfo)), the way from a typed command to a
//! call ([`Caller`]) and from a call to the code that answers it ([`Dispatch`]). It refuses to know sockets and frames, which are
//! the client library's. Called by the code that the macros make.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod actor;
mod caller;
mod client;
mod context;
mod describe;
mod dispatch;
mod error;
mod info;
mod names;
pub(crate) mod negotiate;
pub(crate) mod object;
mod peer;
mod pool;
mod registry;
mod server;
mod stream;

pub use crate::{registry, registry_for};
pub use actix_ipc_macros::{protocol, protocol_handler, protocol_sender};
pub use actor::ActorHandler;
pub use caller::{Caller, ProtocolSender};
pub use client::{RpcClient, RpcClientBuilder};
pub use context::context;
pub use dispatch::{Dispatch, Request};
pub use error::{Error, Result};
pub use info::{Answer, CommandInfo, FieldInfo, ProtocolInfo, ProtocolMetadata, Shape, protocol_id};
pub use peer::{NoProtocol, PeerInfo, RpcLimits};
pub use pool::RpcPool;
pub use registry::{NotAnswered, ProtocolRegistry, ProtocolRegistryBuilder, RegistryError, ServedTwice};
pub use server::{RpcServer, RpcServerBuilder, RpcServerHandler, ServeError};
pub use stream::{Incoming, Items};

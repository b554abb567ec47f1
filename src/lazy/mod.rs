//! A server without a thread: it answers local commands when your own loop asks it to.
//!
//! For programs that have a main loop already (a game, a bot, firmware tooling) and want to be asked and told things by their
//! user's other programs, with full access to their own state: no lock, no channel, no runtime. Nothing happens between two polls;
//! a poll that finds nothing is one system call and never waits.
//!
//! ```
//! use actix_ipc::lazy::{IpcServer, IpcServerCommand, client_send};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! enum Admin {
//!     Push { x: u64 },
//!     Sum,
//! }
//!
//! impl IpcServerCommand for Admin {
//!     type Response = u64;
//!     type Context<'a> = &'a mut Vec<u64>;
//!
//!     fn process<'a, 'b>(self, values: &'b mut Self::Context<'a>) -> u64 {
//!         match self {
//!             Self::Push { x } => {
//!                 values.push(x);
//!                 x
//!             }
//!             Self::Sum => values.iter().sum(),
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("admin.sock");
//! let mut server = IpcServer::<Admin>::new(&path)?;
//! let admin = std::thread::spawn(move || {
//!     client_send(&Admin::Push { x: 42 }, &path)?;
//!     client_send(&Admin::Sum, &path)
//! });
//! let mut values = vec![];
//! let mut handled = 0;
//! while handled < 2 {
//!     // … the program's own work …
//!     handled += server.handle_new_messages(&mut values)?;
//! }
//! assert_eq!(admin.join().unwrap()?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! The path of a command: `client_send` → socket → [`IpcServer::handle_new_messages`] reads what has come, finds whole commands (`wire`), gives them
//! one by one to [`IpcServerCommand::process`], and writes the answers. What did not fit, either way, waits in the connection (`peer`) until the next poll.
//!
//! # What is promised
//! - *Lazy*: no thread, no task, no timer. A poll handles what was there when it began, or less if a [`Budget`] says so.
//! - *Order*: commands of one connection are handled, and answered, in their order; connections take turns, one command each.
//! - *At most once*: a command is handled once or not at all; errors of the client say whether it may have been handled.
//! - *Bounded*: the size of a command and of a response, connections and memory have limits ([`Limits`]); a client that goes
//!   beyond one gets an error, and no client waits for another one.
//! - *Only this user*: the socket is for its user from the moment at which it exists; the other end's user (this one or root) is checked on both sides.
//!
//! The same commands can be served to the clients of a broker as well, see `serve_lazily` (feature `broker`).
//! Unix only; the feature `lazy` alone pulls in neither tokio nor actix.

#![cfg(unix)]

mod budget;
mod client;
mod peer;
mod server;
mod wire;

#[cfg(feature = "broker")]
mod asynchronous;
#[cfg(feature = "broker")]
mod method;
#[cfg(feature = "broker")]
mod object;

pub use crate::platform::place::PlaceError;
#[cfg(feature = "broker")]
pub use asynchronous::client_send_async;
pub use budget::{Budget, Limits};
pub use client::{Client, ClientError, TIMEOUT, client_send, client_send_within};
#[cfg(feature = "broker")]
pub use object::{LazyObject, WAITING_BYTES, WAITING_MAX, serve_lazily, serve_lazily_with};
pub use server::IpcServer;

use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// What a client can ask for, and what is done then.
///
/// On the wire a command and its response are in postcard, so fields must not be skipped or flattened by serde attributes; see
/// <https://postcard.jamesmunns.com/wire-format>. An enum whose variants are commands is the usual form.
pub trait IpcServerCommand: Serialize + for<'a> Deserialize<'a> + Debug {
    /// The answer.
    type Response: Serialize + for<'a> Deserialize<'a> + Debug;
    /// What a command may read and change, lent for one poll.
    type Context<'a>;

    /// Carries the command out. The loop waits meanwhile. A panic ends the poll as any panic does; the client gets an error that
    /// says so, and a server that is polled again goes on with the next command.
    fn process<'a, 'b>(self, context: &'b mut Self::Context<'a>) -> Self::Response;
}

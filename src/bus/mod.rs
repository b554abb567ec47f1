//! The label bus: endpoints of any processes that meet by the name of a bus, and send each other messages by what they are called.
//!
//! No broker has to run: the first process that [joins](join()) hosts the bus for the others, and when it ends another takes over.
//!
//! ```no_run
//! use actix_ipc::bus::{self, label};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = bus::Options::new("com.solar", label!("earth"), "");
//! let (sender, receiver) = bus::join::<String, String>(options, None)?;
//! sender.send(bus::Message::new(bus::Selector::unicast("moon"), "hello".to_string()))?;
//! println!("{}", receiver.recv(None)?.payload);
//! # Ok(())
//! # }
//! ```
//!
//! A broker that is there anyway can have the bus as well:
//!
//! ```
//! use actix_ipc::actors::{Broker, BusOptions};
//! use actix_ipc::bus::{Message, Options, Selector, join_async, label};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! actix::System::new().block_on(async {
//!     let bus: actix_ipc::Endpoint = "mem:bus-example".parse()?;
//!     let broker = Broker::builder().listen(bus.clone()).bus(BusOptions::new(b"token")).start()?;
//!     let options = |label| Options::new("", label, "token").at(bus.clone());
//!     let (_, earth) = join_async::<(), String>(options(label!("earth")), None).await?;
//!     let (moon, _) = join_async::<String, ()>(options(label!("moon")), None).await?;
//!     moon.send_async(Message::new(Selector::unicast("earth"), "hello".to_owned())).await?;
//!     assert_eq!(earth.recv_async().await?.payload, "hello");
//!     broker.stop().await;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Promises
//!
//! Messages of one sender to one receiver arrive in order, and none arrives twice. What does not arrive is told to its sender
//! ([`EndpointSender::undelivered`]). A receiver that is slow slows its senders; nothing waits without a bound. `docs/bus.md` is the guide.
//!
//! # How it is built
//!
//! Owns the library's side: labels, selectors, types, and how they become frames. [`host`] decides which process hosts, [`memory`] owns what
//! travels beside the bytes, the client library the connection with its windows and what was lost with a host. What the broker keeps
//! of endpoints nobody here knows. Called by programs.

mod endpoint;
mod error;
mod frame;
pub mod host;
mod join;
mod label;
pub mod memory;
mod message;
mod message_box;
mod options;
mod receive;
mod report;
mod seat;
mod selector;

#[doc(inline)]
pub use crate::__bus_label as label;
pub use crate::client::{Reason, Undelivered};
pub use crate::message::id::MessageId;
pub use crate::message::selector::SelectorError;
pub use actix_ipc_macros::{MessageBox, TypeUuid};
pub use endpoint::{EndpointSender, Receipt};
pub use error::{ConfirmError, JoinError, RecvError, SendError};
pub use join::{Ends, join, join_async};
pub use label::Label;
pub use memory::{MapError, MemoryRegion, MemoryRegistry, Object};
pub use message::{BytesMessage, Message};
#[doc(hidden)]
pub use message_box::are_distinct;
pub use message_box::{CodecError, MessageBox, TypeUuid, Uuid};
pub use options::Options;
pub use receive::EndpointReceiver;
pub use report::{Report, Reports};
pub use selector::{LabelOp, Selector, SelectorMode};

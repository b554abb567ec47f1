//! The label bus: endpoints of any processes that meet by the name of a bus, and send each other messages by what they are called.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bus = "mem:bus-module".parse::<actix_ipc::Endpoint>()?;
//! Ok(())
//! # }
//! ```
//!
//! Owns the library's side of the bus; the broker's side, and the bytes between them, are elsewhere. It refuses to know what the broker
//! keeps of endpoints.

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

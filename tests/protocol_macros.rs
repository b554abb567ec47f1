//! What the macros of typed protocols make, through a real broker and point to point, in both directions: every form of a command,
//! senders and receivers of several protocols, registries, actors, JSON. The crate's lints are those of a strict program.
#![deny(warnings, missing_docs, clippy::all)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what is not as expected fails the test"
)]

#[path = "protocol_macros/actors.rs"]
mod actors;
#[path = "support/broker.rs"]
mod broker;
#[path = "protocol_macros/forms.rs"]
mod forms;
#[cfg(unix)]
#[path = "protocol_macros/json.rs"]
mod json;
#[path = "protocol_macros/names.rs"]
mod names;
#[path = "protocol_macros/requests.rs"]
mod requests;
#[path = "protocol_macros/several.rs"]
mod several;
#[path = "protocol_macros/streams.rs"]
mod streams;
#[cfg(unix)]
#[path = "protocol_macros/unix.rs"]
mod unix;
#[path = "support/ways.rs"]
mod ways;

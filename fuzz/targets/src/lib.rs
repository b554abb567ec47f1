//! What is fuzzed: one plain function over bytes for each room that reads what a peer, a user or a file wrote.
//!
//! Owns the targets and the independent models that they are judged by. A target returns when the input was handled
//! as the documents say and panics when it was not. Three callers: `fuzz/` (cargo-fuzz, guided by coverage), the
//! program `fuzz-smoke` (100,000 executions of each on stable, in CI) and `tests/quick.rs` (2,000 of each).
//!
//! The models know the documents (`docs/protocol.md`, `docs/rob.md`, `docs/configuration.md`) and nothing of the code
//! under test: where they share a constant with it, a wrong constant would not be found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "what is not as expected fails the run"
)]

pub mod allocation;
pub mod corpus;
pub mod frames;
pub mod mutate;
pub mod names;
pub mod patterns;
pub mod payloads;
pub mod programs;
pub mod smoke;

mod bus;
mod connection;
mod gateway;
mod handshake;
mod hub;
mod input;
mod policy;
mod registry;
mod services;
mod settings;

// Signatures belong to the program `rob`.
#[allow(dead_code, unreachable_pub, reason = "the program uses the rest")]
#[path = "../../../src/bin/rob/signature.rs"]
mod signature;

/// A target: the bytes are its whole input.
pub type Target = fn(&[u8]);

/// Every target with its name, which is also the name of its folder in `fuzz/corpus` and of its file in
/// `fuzz/fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", frames::decoder),
    ("chunks", frames::chunks),
    ("handshake", handshake::payloads),
    ("connection", connection::life),
    ("gateway", gateway::gateway),
    ("patterns", patterns::patterns),
    ("names", names::names),
    ("metadata", names::metadata),
    ("signature", programs::signatures),
    ("services", services::descriptions),
    ("settings", settings::settings),
    ("policy", policy::policies),
    ("registry", registry::operations),
    ("hub", hub::operations),
    ("bus", bus::bus),
    ("payloads", payloads::payloads),
    ("endpoints", payloads::endpoints),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, target)| *target)
}

/// Runs the target of this name.
///
/// # Panics
/// When the input was not handled as the documents say, or there is no such target.
pub fn execute(name: &str, data: &[u8]) {
    target(name).expect("a target of this name")(data);
}

//! Connections over shared memory: honest and hostile ends, those that get none, and processes that die in the middle.
//!
//! `end.rs` is a client in system calls, `steps.rs` what it does to a broker, `clients.rs` is about the client library and what hostile brokers
//! do to it. The two queues in the memory are tested in `transport::unix::ring`, all features over rings in `conformance`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "../support/broker.rs"]
mod broker;
mod clients;
#[path = "../support/descriptors.rs"]
mod descriptors;
mod end;
mod hostile_brokers;
#[cfg(feature = "cli")]
mod kills;
#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/running.rs"]
mod running;
mod steps;
#[cfg(feature = "cli")]
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/until.rs"]
mod until;

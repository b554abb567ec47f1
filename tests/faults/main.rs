//! Faults of whole processes: killed, stopped, half-open, slow, silent, many. What each of them must not do to anybody else.
//!
//! How it works: [`rig`] holds the real broker process, [`roles`] are client processes (this test program once more) that keep journals,
//! [`run`] lets faults happen to them and [`check`] judges what they wrote. The other modules are one fault each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    clippy::mem_forget,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "../support/own_process.rs"]
mod own_process;
#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/mod.rs"]
mod support;

mod check;
mod cuts;
mod half_open;
mod handshakes;
mod journal;
mod kills;
mod partition;
mod rig;
mod roles;
mod run;
mod second;
mod slow;
mod soak;
mod stops;

//! The example programs of typed protocols: `basic`, `bidirectional`, `file_transfer`, `database` and `service_mesh`.
//!
//! Their states are tested here as pure code; the programs as processes, in demo mode and in terminals of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

mod bidirectional;
mod database;
#[cfg(unix)]
mod database_programs;
#[cfg(unix)]
mod file_programs;
mod file_transfer;
#[path = "../support/guard.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each harness brings its own, and a test may use two"
)]
mod guard;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
mod programs;
mod service_mesh;
#[cfg(unix)]
#[path = "../support/signals.rs"]
mod signals;
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
mod talks;
#[cfg(unix)]
#[path = "../support/terminal.rs"]
mod terminal;
#[cfg(unix)]
mod transfers;

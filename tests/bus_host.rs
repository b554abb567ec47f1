//! Who hosts a bus, in real processes: the first, then the next, never two, never none.
//!
//! How it works: each member of a bus is this test program once more, told by variables which bus, and by lines on its standard input what to
//! do ([`member`]). What it learns it says on standard error. Nothing is timed: what does not happen at all fails.
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
#![cfg(all(feature = "cli", any(target_os = "linux", windows)))]

#[path = "support/signals.rs"]
mod signals;
mod support;

#[path = "bus_host/crew.rs"]
mod crew;
#[path = "bus_host/daemon.rs"]
mod daemon;
#[path = "bus_host/hosting.rs"]
mod hosting;
#[path = "bus_host/member.rs"]
mod member;
#[cfg(unix)]
#[path = "bus_host/unix.rs"]
mod unix;

/// Does nothing by itself: it is a member of a bus in the tests, which name one.
#[test]
fn as_a_member() {
    member::run();
}

//! Waiting for what no frame and no event tells, such as the end of another connection.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is shared by many.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that nobody announces.
#[track_caller]
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

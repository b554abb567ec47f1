//! Waiting for what no frame and no event tells, such as the end of another connection.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until it is there: what changes tells nobody.
#[track_caller]
pub fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        // Others need the processor for it.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Looks until it is so.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    found(what, || holds().then_some(()));
}

/// The same in a task, while the others of its thread go on.
pub async fn until_with_others(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

//! The time of a simulated broker: it stands still until it is moved. Owns one number per thread.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

static BASE: OnceLock<Instant> = OnceLock::new();

thread_local! {
    static MS: Cell<u64> = const { Cell::new(0) };
}

/// The time as the broker sees it.
pub fn now() -> Instant {
    let base = *BASE.get_or_init(Instant::now);
    base.checked_add(Duration::from_millis(MS.get())).unwrap_or(base)
}

/// Milliseconds since the run began.
pub fn ms() -> u64 {
    MS.get()
}

/// Moves the time.
pub fn set(ms: u64) {
    MS.set(ms);
}

/// The millisecond at which a moment has come.
pub fn ms_of(moment: Instant) -> u64 {
    let base = *BASE.get_or_init(Instant::now);
    let since = moment.saturating_duration_since(base);
    u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

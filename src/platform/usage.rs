//! What a process of this machine has used: processor time and memory.
//!
//! Owns what is told; how the system is asked, `system` knows: Linux has files for it (`/proc`), Windows calls. Others tell it to privileged
//! callers or unsafe code only, so there the answer is `None`. It knows nothing of what the process does; `rob` calls it, and the broker's
//! own object for the broker itself.

#[cfg_attr(windows, path = "usage/windows.rs")]
#[cfg_attr(not(windows), path = "usage/proc.rs")]
mod system;

use serde::Serialize;

/// Processor time of all threads that the process has now, in ns; on Windows of those that have ended as well. Reading a process of another
/// user may be refused.
#[must_use]
pub fn processor_nanos(pid: u32) -> Option<u64> {
    system::processor_nanos(pid)
}

/// Resident memory, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    system::resident_bytes(pid)
}

/// What this process has used. What the system does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Own {
    /// Processor time of all its threads, those that have ended included, in µs.
    pub cpu_us: Option<u64>,
    /// Memory that it has, in bytes.
    pub resident_bytes: Option<u64>,
    /// Addresses that it has, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Open descriptors.
    pub open_files: Option<u64>,
    /// So many it may have.
    pub open_files_limit: Option<usize>,
    /// When it was started, in milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
}

/// Asks the system about this process, in some ten microseconds.
#[must_use]
pub fn own() -> Own {
    system::own()
}

//! What this process has, as the system counts it: memory, and what is open.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]
#![cfg_attr(
    windows,
    allow(
        unsafe_code,
        reason = "the system's counts have no safe interface; each use is proven"
    )
)]

/// Bytes of it that are in memory.
#[cfg(not(windows))]
pub fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

/// Bytes of it that are in memory.
#[cfg(windows)]
pub fn resident() -> usize {
    use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
    use windows_sys::Win32::System::Threading::GetCurrentProcess;
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    let size = u32::try_from(size_of_val(&counters)).unwrap();
    // SAFETY: the pseudo handle is always valid; the place has the size that is given.
    let told = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) };
    assert!(
        told != 0 && counters.WorkingSetSize > 0,
        "the system does not tell"
    );
    counters.WorkingSetSize
}

/// Its open descriptors; of Windows: handles.
#[cfg(not(windows))]
pub fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Its open handles.
#[cfg(windows)]
pub fn open() -> usize {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};
    let mut count = 0;
    // SAFETY: the pseudo handle is always valid; the place is.
    assert_ne!(
        unsafe { GetProcessHandleCount(GetCurrentProcess(), &raw mut count) },
        0
    );
    usize::try_from(count).unwrap()
}

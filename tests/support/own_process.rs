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

/// Bytes of it that are in memory; `None` on macOS, which does not tell it in a file.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn resident() -> Option<usize> {
    None
}

/// Bytes of it that are in memory.
#[cfg(target_os = "linux")]
pub fn resident() -> Option<usize> {
    Some(resident_of("self"))
}

/// The same of any process, by its name in `/proc`.
#[cfg(target_os = "linux")]
pub fn resident_of(process: &str) -> usize {
    // In units of 1,024 bytes, however large a page is.
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1_024
}

/// Bytes of it that are in memory.
#[cfg(windows)]
pub fn resident() -> Option<usize> {
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
    Some(counters.WorkingSetSize)
}

/// Bytes that it has in memory beyond what it had, where the system tells.
pub fn grown_since(before: Option<usize>) -> Option<usize> {
    Some(resident()?.saturating_sub(before?))
}

/// Its open descriptors; of Windows: handles.
#[cfg(not(windows))]
pub fn open() -> usize {
    std::fs::read_dir("/dev/fd").unwrap().count()
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

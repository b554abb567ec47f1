//! What the system of Windows tells of a process: its times and its working set.
//!
//! Owns the calls. What is made of them, `usage` knows, which calls this. Addresses and open files are not told: handles are of many kinds,
//! and nothing counts addresses.
#![allow(
    unsafe_code,
    reason = "the counters have no safe interface; each use is proven"
)]

use super::Own;
use crate::platform::process_handle::{ProcessHandle, UNTIL_1970};
use std::io;
use std::os::windows::io::AsRawHandle;
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_VM_READ};

/// A process that may be asked.
fn open(pid: u32) -> io::Result<ProcessHandle> {
    ProcessHandle::open(PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_VM_READ, pid)
}

fn resident(process: &ProcessHandle) -> Option<u64> {
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    // No structure of the system is longer than 4 GiB.
    let length = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: the handle is open while `process` is borrowed; the place is valid for the length that is announced.
    let told = unsafe { K32GetProcessMemoryInfo(process.as_raw_handle(), &raw mut counters, length) };
    (told != 0).then_some(counters.WorkingSetSize as u64)
}

pub(super) fn processor_nanos(pid: u32) -> Option<u64> {
    let (_, spent) = open(pid).ok()?.times().ok()?;
    spent.checked_mul(100)
}

pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    resident(&open(pid).ok()?)
}

pub(super) fn own() -> Own {
    let Ok(process) = open(std::process::id()) else {
        return Own::default();
    };
    let times = process.times().ok();
    let began = times.and_then(|(began, _)| began.checked_sub(UNTIL_1970));
    Own {
        cpu_us: times.map(|(_, spent)| spent.div_euclid(10)),
        resident_bytes: resident(&process),
        started_unix_ms: began.map(|began| began.div_euclid(10_000)),
        ..Own::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn this_process_has_used_something_since_it_began() {
        let (first, second) = (own(), own());
        assert!(
            first.cpu_us > Some(0) && second.cpu_us >= first.cpu_us,
            "{first:?} {second:?}"
        );
        assert!(first.resident_bytes > Some(0), "{first:?}");
        assert_eq!(first.started_unix_ms, second.started_unix_ms);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let age = first.started_unix_ms.and_then(|at| (now + 1_000).checked_sub(at));
        assert!(age.is_some_and(|age| age < 24 * 3_600_000), "{first:?} at {now}");
    }

    #[test]
    fn of_another_process_the_same_is_told_and_of_none_nothing() {
        let mut child = std::process::Command::new("cmd.exe");
        let mut child = child
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        assert!(resident_bytes(child.id()) > Some(0));
        assert!(processor_nanos(child.id()).is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(resident_bytes(u32::MAX), None);
        assert_eq!(processor_nanos(u32::MAX), None);
    }
}

//! What the system of Windows tells of a process: its times and its working set.
//!
//! Owns the calls. What is made of them, `usage` knows, which calls this. Addresses and open files are not told: handles are of many kinds,
//! and nothing counts addresses.
#![allow(
    unsafe_code,
    reason = "the counters have no safe interface; each use is proven"
)]

use super::Own;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_VM_READ,
};

/// From 1601, when the system's time begins, to 1970, in ms.
const UNTIL_1970_MS: u64 = 11_644_473_600_000;

/// A process that may be asked.
struct Process(OwnedHandle);

impl Process {
    fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_VM_READ, 0, pid) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this handle for this process; nobody else owns it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// When it began, and how long its threads have run, in units of 100 ns.
    fn times(&self) -> Option<(u64, u64)> {
        let [mut began, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
        // SAFETY: the handle is open while `self` is borrowed; the four places are valid.
        let told = unsafe {
            GetProcessTimes(
                self.0.as_raw_handle(),
                &raw mut began,
                &raw mut ended,
                &raw mut kernel,
                &raw mut user,
            )
        };
        (told != 0).then(|| (units(began), units(kernel).saturating_add(units(user))))
    }

    fn resident_bytes(&self) -> Option<u64> {
        let mut counters = PROCESS_MEMORY_COUNTERS::default();
        // No structure of the system is longer than 4 GiB.
        let length = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
        // SAFETY: the handle is open while `self` is borrowed; the place is valid for the length that is announced.
        let told = unsafe { K32GetProcessMemoryInfo(self.0.as_raw_handle(), &raw mut counters, length) };
        (told != 0).then_some(counters.WorkingSetSize as u64)
    }
}

const fn units(time: FILETIME) -> u64 {
    (time.dwHighDateTime as u64) << 32 | time.dwLowDateTime as u64
}

pub(super) fn processor_nanos(pid: u32) -> Option<u64> {
    let (_, spent) = Process::open(pid).ok()?.times()?;
    spent.checked_mul(100)
}

pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    Process::open(pid).ok()?.resident_bytes()
}

pub(super) fn own() -> Own {
    let Ok(process) = Process::open(std::process::id()) else {
        return Own::default();
    };
    let times = process.times();
    Own {
        cpu_us: times.map(|(_, spent)| spent.div_euclid(10)),
        resident_bytes: process.resident_bytes(),
        started_unix_ms: times.and_then(|(began, _)| began.div_euclid(10_000).checked_sub(UNTIL_1970_MS)),
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

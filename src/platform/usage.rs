//! What a process of this machine has used: processor time and memory.
//!
//! Owns reading Linux's `/proc`; other systems tell it to privileged callers or unsafe code only, so there the answer is
//! `None`. It knows nothing of what the process does; `rob` calls it.

/// Processor time of all threads that the process has now, in ns. Reading a process of another user may be refused.
#[must_use]
pub fn processor_nanos(pid: u32) -> Option<u64> {
    // By thread, because only there the time is in ns; the sum for the whole process is in steps of 10 ms.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let spent = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.reduce(u64::saturating_add)
}

/// Resident memory, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_there_has_used_something() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() > 0);
        assert!(processor_nanos(own).unwrap() > 0);
    }

    #[test]
    fn of_a_process_that_is_not_there_nothing_is_known() {
        // Above the highest number that the system gives.
        assert_eq!(resident_bytes(u32::MAX), None);
        assert_eq!(processor_nanos(u32::MAX), None);
    }
}

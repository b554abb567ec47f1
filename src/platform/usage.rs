//! What a process of this machine has used: processor time and memory.
//!
//! Owns reading Linux's `/proc`; other systems tell it to privileged callers or unsafe code only, so there the answer is
//! `None`, whatever lies at such a path. It knows nothing of what the process does; `rob` calls it, and the broker's own object for the broker itself.

use super::open_files;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A path below Linux's `/proc`. Elsewhere anybody may have put something there: Windows takes it for a path on the current drive.
fn proc(path: &str) -> Option<PathBuf> {
    cfg!(target_os = "linux").then(|| Path::new("/proc").join(path))
}

/// Processor time of all threads that the process has now, in ns. Reading a process of another user may be refused.
#[must_use]
pub fn processor_nanos(pid: u32) -> Option<u64> {
    // By thread, because only there the time is in ns; the sum for the whole process is in steps of 10 ms.
    let threads = std::fs::read_dir(proc(&format!("{pid}/task"))?).ok()?;
    let spent = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.reduce(u64::saturating_add)
}

/// Resident memory, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    memory(&pid.to_string()).map(|(resident, _)| resident)
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

/// Asks the system about this process: some files of `/proc`, in some ten microseconds.
#[must_use]
pub fn own() -> Own {
    let memory = memory("self");
    Own {
        cpu_us: cpu_us(),
        resident_bytes: memory.map(|(resident, _)| resident),
        virtual_bytes: memory.map(|(_, all)| all),
        open_files: open_descriptors(),
        open_files_limit: open_files::limit(),
        started_unix_ms: started_unix_ms(),
    }
}

fn cpu_us() -> Option<u64> {
    #[cfg(unix)]
    {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let seconds = u64::try_from(spent.tv_sec).ok()?;
        let micros = u64::try_from(spent.tv_nsec).ok()?.div_euclid(1_000);
        seconds.checked_mul(1_000_000)?.checked_add(micros)
    }
    #[cfg(not(unix))]
    None
}

/// Resident and virtual memory.
fn memory(process: &str) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(proc(&format!("{process}/status"))?).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((bytes("VmRSS:")?, bytes("VmSize:")?))
}

fn open_descriptors() -> Option<u64> {
    let folder = proc("self/fd")?;
    // Newer kernels say how many there are; to count tens of thousands takes a while.
    let told = std::fs::metadata(&folder).ok()?.len();
    if told > 0 {
        return Some(told);
    }
    let count = std::fs::read_dir(folder).ok()?.count();
    // One of them was for reading the folder.
    u64::try_from(count.saturating_sub(1)).ok()
}

/// From the age of the process, in ticks of the system's clock since its start; asked once.
fn started_unix_ms() -> Option<u64> {
    static STARTED: OnceLock<Option<u64>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        // Ticks of /proc are a hundredth of a second on all of Linux's machines.
        const TICK_MS: u64 = 10;
        let stat = std::fs::read_to_string(proc("self/stat")?).ok()?;
        // Behind the name, which may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
        let uptime = std::fs::read_to_string(proc("uptime")?).ok()?;
        let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let uptime = Duration::try_from_secs_f64(uptime).ok()?;
        let age = uptime.saturating_sub(Duration::from_millis(ticks.checked_mul(TICK_MS)?));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(now.saturating_sub(age).as_millis()).ok()
    })
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
    fn this_process_is_known_best() {
        let (first, file) = (own(), std::fs::File::open("/proc/self/stat").unwrap());
        let second = own();
        assert!(
            first.cpu_us > Some(0) && second.cpu_us >= first.cpu_us,
            "{first:?} {second:?}"
        );
        assert!(
            first.resident_bytes > Some(0) && first.virtual_bytes >= first.resident_bytes,
            "{first:?}"
        );
        assert!(first.open_files > Some(2), "{first:?}");
        assert_eq!(first.started_unix_ms, second.started_unix_ms);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(
            first.started_unix_ms.is_some_and(|at| at <= now + 1_000),
            "{first:?} at {now}"
        );
        drop(file);
    }

    #[test]
    fn of_a_process_that_is_not_there_nothing_is_known() {
        // Above the highest number that the system gives.
        assert_eq!(resident_bytes(u32::MAX), None);
        assert_eq!(processor_nanos(u32::MAX), None);
    }
}

#[cfg(test)]
#[cfg(not(target_os = "linux"))]
mod tests {
    #[test]
    fn what_lies_at_the_path_of_linux_is_not_believed() {
        // Under wine the path leads to the machine's own files.
        assert_eq!(super::proc("uptime"), None);
        assert_eq!(super::own().resident_bytes, None);
        assert_eq!(super::resident_bytes(std::process::id()), None);
    }
}

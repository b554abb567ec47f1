//! Other processes of this machine: whose children they are, whether they live, and their ends by force.
//!
//! Owns how the system is asked. It refuses to know what the processes do.
#![allow(
    dead_code,
    unreachable_pub,
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test; Windows has nothing safe for it"
)]

#[cfg(target_os = "linux")]
#[allow(unused_imports, reason = "each test file uses its own part of the harness")]
pub use linux::{children, is_gone, kill};
#[cfg(windows)]
pub use windows::{children, is_gone, kill};

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{Pid, Signal, kill_process};

    /// The children of a process, by age as far as their numbers tell.
    pub fn children(parent: u32) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").unwrap();
        let mut found: Vec<u32> = processes
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| stat(*pid).is_some_and(|(state, of)| of == parent && state != "Z"))
            .collect();
        found.sort_unstable();
        found
    }

    /// Whether it has ended. A zombie has; that it is not buried is its new parent's business.
    pub fn is_gone(pid: u32) -> bool {
        stat(pid).is_none_or(|(state, _)| state == "Z")
    }

    /// Ends it as `kill -9` does.
    pub fn kill(pid: u32) {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    /// State and parent of a process that is there.
    fn stat(pid: u32) -> Option<(String, u32)> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut words = text.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?.parse().ok()?))
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
    use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
    use windows_sys::Win32::System::Diagnostics::ToolHelp::{
        CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
    };
    use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_TERMINATE, TerminateProcess};

    /// The children of a process that run our programs, by age as far as the system tells. Beside them it has one that keeps its console.
    pub fn children(parent: u32) -> Vec<u32> {
        let ours = |entry: &&PROCESSENTRY32W| {
            let name: Vec<u16> = entry
                .szExeFile
                .iter()
                .copied()
                .take_while(|unit| *unit != 0)
                .collect();
            entry.th32ParentProcessID == parent && String::from_utf16_lossy(&name) == "rob.exe"
        };
        all()
            .iter()
            .filter(ours)
            .map(|entry| entry.th32ProcessID)
            .collect()
    }

    /// Whether it has ended.
    pub fn is_gone(pid: u32) -> bool {
        all().iter().all(|entry| entry.th32ProcessID != pid)
    }

    /// Ends it at once; its exit code is 9.
    pub fn kill(pid: u32) {
        // SAFETY: the call takes numbers only.
        let process = unsafe { OpenProcess(PROCESS_TERMINATE, 0, pid) };
        assert!(!process.is_null(), "{}", std::io::Error::last_os_error());
        // SAFETY: the call has just made this handle for this process; nobody else owns it.
        let process = unsafe { OwnedHandle::from_raw_handle(process) };
        // SAFETY: the handle is open, with the right that the call needs.
        assert_ne!(unsafe { TerminateProcess(process.as_raw_handle(), 9) }, 0);
    }

    fn all() -> Vec<PROCESSENTRY32W> {
        // SAFETY: the call takes numbers only.
        let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
        assert_ne!(
            snapshot,
            INVALID_HANDLE_VALUE,
            "{}",
            std::io::Error::last_os_error()
        );
        // SAFETY: the call has just made this handle for this process; nobody else owns it.
        let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
        let mut entry = PROCESSENTRY32W {
            dwSize: u32::try_from(size_of::<PROCESSENTRY32W>()).unwrap(),
            ..PROCESSENTRY32W::default()
        };
        let mut found = Vec::new();
        // SAFETY: the snapshot is open, and the entry is ours and says its length.
        let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
        while more != 0 {
            found.push(entry);
            // SAFETY: as above.
            more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
        }
        found
    }
}

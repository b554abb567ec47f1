//! A process of Windows that is held open.
//!
//! Owns the opening, and the system's times of a process and of the clock. What else is asked or done with the handle is its holder's
//! business: what a process has used (`usage`), its end (`watch`), who it is (the pipes).
#![allow(
    unsafe_code,
    reason = "processes of others have no safe interface; each use is proven"
)]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::time::{SystemTime, UNIX_EPOCH};
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::Threading::{GetProcessTimes, OpenProcess};

/// From 1601, when the system's time begins, to 1970, in its units of 100 ns.
pub(crate) const UNTIL_1970: u64 = 116_444_736_000_000_000;

/// A process that was there when it was opened. As long as this is held, its number is nobody else's.
#[derive(Debug)]
pub(crate) struct ProcessHandle(OwnedHandle);

impl ProcessHandle {
    /// With these rights (`PROCESS_…`).
    ///
    /// # Errors
    /// The system's: there is none, or it is not for this user.
    pub(crate) fn open(access: u32, pid: u32) -> io::Result<Self> {
        // SAFETY: the call takes plain values.
        let handle = unsafe { OpenProcess(access, 0, pid) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is not null, so it is new and ours to close.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// When it began, since 1601, and how long its threads have run, in units of 100 ns. It was opened to be asked.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn times(&self) -> io::Result<(u64, u64)> {
        let mut times = [FILETIME::default(); 4];
        let [began, ended, kernel, user] = &mut times;
        // SAFETY: the handle is open while `self` is borrowed; the four places are valid.
        let told = unsafe { GetProcessTimes(self.as_raw_handle(), began, ended, kernel, user) };
        if told == 0 {
            return Err(io::Error::last_os_error());
        }
        let [began, _, kernel, user] = times.map(units);
        Ok((began, kernel.saturating_add(user)))
    }

    #[cfg(test)]
    pub(crate) fn into_handle(self) -> OwnedHandle {
        self.0
    }
}

impl AsRawHandle for ProcessHandle {
    /// Open as long as this is borrowed.
    fn as_raw_handle(&self) -> RawHandle {
        self.0.as_raw_handle()
    }
}

/// Now, as [`ProcessHandle::times`] says it.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let units = u64::try_from(since.as_nanos() / 100).unwrap_or(u64::MAX);
    units.saturating_add(UNTIL_1970)
}

fn units(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

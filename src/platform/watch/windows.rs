//! The end of a process of Windows, told by one of the system's threads.
//!
//! Owns the process's handle and the wait for it; `untold` has what this system does not tell.
#![allow(
    unsafe_code,
    reason = "waiting for a process of somebody else's has no safe interface; each use is proven"
)]

use crate::platform::process_handle::ProcessHandle;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;
use tokio::sync::watch;
use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, PROCESS_SYNCHRONIZE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE,
};

/// The end of a process.
#[derive(Debug)]
pub(crate) struct End {
    over: watch::Receiver<bool>,
    /// First, so that it is gone before what it uses.
    _wait: Wait,
    _process: ProcessHandle,
}

impl End {
    /// Of the process that has this number now. `None`: there is none.
    ///
    /// # Errors
    /// The system refuses, or has no memory left.
    pub(crate) fn of(pid: u32) -> io::Result<Option<Self>> {
        let process = match ProcessHandle::open(PROCESS_SYNCHRONIZE, pid) {
            Ok(process) => process,
            Err(error) if error.raw_os_error() == Some(ERROR_INVALID_PARAMETER as i32) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (tell, over) = watch::channel(false);
        let wait = Wait::begin(&process, tell)?;
        Ok(Some(Self {
            over,
            _wait: wait,
            _process: process,
        }))
    }

    /// Ready once the process has ended. Cancel safe.
    pub(crate) async fn wait(&self) {
        // It is told, or told no more because this very value is going.
        let _ = self.over.clone().wait_for(|over| *over).await;
    }
}

/// A wait that the system has registered.
#[derive(Debug)]
struct Wait {
    handle: HANDLE,
    /// The system's threads use it until the wait is unregistered.
    tell: *mut watch::Sender<bool>,
}

// SAFETY: the handle may be used from any thread; what `tell` points to is shared with the system's threads only by reference, and its type is
// Sync.
unsafe impl Send for Wait {}
// SAFETY: as above; nothing is done through a shared reference to a wait.
unsafe impl Sync for Wait {}

impl Wait {
    fn begin(process: &ProcessHandle, tell: watch::Sender<bool>) -> io::Result<Self> {
        let mut wait = Self {
            handle: null_mut(),
            tell: Box::into_raw(Box::new(tell)),
        };
        // SAFETY: the process's handle is open now, and `End` closes it after it has dropped this; the place is valid; `ended` is what the
        // system is to call, and what it is given lives until `drop` has unregistered the wait.
        let begun = unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait.handle,
                process.as_raw_handle(),
                Some(ended),
                wait.tell.cast(),
                INFINITE,
                WT_EXECUTEONLYONCE,
            )
        };
        match begun {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(wait),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the wait was registered and is unregistered only here. With this value in the place of an event the call returns when
            // `ended` runs no more, and it is not called from there.
            unsafe { UnregisterWaitEx(self.handle, INVALID_HANDLE_VALUE) };
        }
        // SAFETY: it came from `Box::into_raw`, and nobody uses it any more.
        drop(unsafe { Box::from_raw(self.tell) });
    }
}

/// What the system calls when the process has ended.
unsafe extern "system" fn ended(tell: *mut c_void, _timed_out: bool) {
    // SAFETY: `Wait::begin` passed it, and `Wait::drop` frees it after the last call.
    let tell = unsafe { &*tell.cast::<watch::Sender<bool>>() };
    tell.send_replace(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[tokio::test]
    async fn the_end_of_a_process_is_told_to_all_who_wait() {
        // It waits for its input.
        let mut child = Command::new("cmd")
            .arg("/k")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let end = End::of(child.id()).unwrap().unwrap();
        let never = End::of(child.id()).unwrap().unwrap();
        assert!(!*end.over.borrow());
        drop(never);
        child.kill().unwrap();
        let both = async { tokio::join!(end.wait(), end.wait()) };
        tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
        end.wait().await;
        child.wait().unwrap();
        assert!(End::of(u32::MAX - 3).unwrap().is_none());
    }
}

//! Whether who reads a pipe has closed it.
//!
//! Owns which errors of the system say so. What then is to be done is the caller's: `rob` ends as a shell expects.

use std::io;

/// Whether a write failed because nobody reads the pipe any more. Windows has three errors for that, by who closed it, when and how; the
/// standard library takes two of them for [`io::ErrorKind::BrokenPipe`].
#[must_use]
pub fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || is_disconnected(error)
}

#[cfg(windows)]
fn is_disconnected(error: &io::Error) -> bool {
    error.raw_os_error() == Some(windows_sys::Win32::Foundation::ERROR_PIPE_NOT_CONNECTED as i32)
}

#[cfg(not(windows))]
const fn is_disconnected(_error: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Broken, no data, not connected.
    #[cfg(windows)]
    const CLOSED: &[i32] = &[109, 232, 233];
    #[cfg(windows)]
    const FULL: i32 = 112;
    #[cfg(not(windows))]
    const CLOSED: &[i32] = &[libc::EPIPE];
    #[cfg(not(windows))]
    const FULL: i32 = libc::ENOSPC;

    #[test]
    fn every_error_of_a_pipe_that_nobody_reads_is_one_and_a_full_disk_is_none() {
        for code in CLOSED {
            assert!(is_closed_pipe(&io::Error::from_raw_os_error(*code)), "{code}");
        }
        assert!(is_closed_pipe(&io::ErrorKind::BrokenPipe.into()));
        assert!(!is_closed_pipe(&io::Error::from_raw_os_error(FULL)));
    }
}

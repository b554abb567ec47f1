//! What a command made of its input.
//!
//! Owns the answer of `filter`, which is made differently on each system and says the same.

use std::process::ExitStatus;

/// What a command made of its input.
#[derive(Debug)]
pub struct Filtered {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub output: Vec<u8>,
    /// Whether that is all; otherwise it printed more than it may, and was killed for it.
    pub complete: bool,
}

impl Filtered {
    /// The signal that ended it; where there are no signals, none.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        #[cfg(unix)]
        return std::os::unix::process::ExitStatusExt::signal(&self.status);
        #[cfg(not(unix))]
        None
    }
}

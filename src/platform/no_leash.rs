//! Where the system has no process groups, none is held on to.
//!
//! Owns nothing; it is in the place of `leash` on such systems, where no commands are run either.

use std::io;

/// Nothing to hold on with.
#[derive(Debug)]
pub struct Leash(());

impl Leash {
    /// Starts nothing.
    ///
    /// # Errors
    /// Always.
    pub fn start() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

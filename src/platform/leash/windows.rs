//! Jobs that end with this process, however it ends: the system does it for those that are made so.
//!
//! Owns nothing but the wish; it is in the place of `leash` on Windows. `rob serve` has it, `filter` makes such jobs for who shows it.

use std::io;

/// The wish.
#[derive(Debug)]
pub struct Leash(());

impl Leash {
    /// There is nothing to start.
    ///
    /// # Errors
    /// Never.
    pub const fn start() -> io::Result<Self> {
        Ok(Self(()))
    }
}

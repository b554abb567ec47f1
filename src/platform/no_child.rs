//! Child processes where the system has no process groups: every attempt says so.
//!
//! Owns nothing; it is in the place of `child` on such systems. `activation` is the caller.

use std::io;
use std::process::{Command, ExitStatus};

/// There is none.
#[derive(Debug, Default)]
pub struct Group(());

impl Group {
    /// Does nothing.
    pub const fn end(&self, _: bool) {}
}

/// Starts nothing.
///
/// # Errors
/// Always.
pub fn run(_: Command, _: &Group, _: Option<&(dyn Fn(&str) + Sync)>) -> io::Result<ExitStatus> {
    let text = "services are started on Unix systems only";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

//! Commands as filters where the system has no process groups: every attempt says so.
//!
//! Owns nothing; it is in the place of `filter` on such systems. `rob serve` is the caller.

use super::child::Group;
use super::leash::Leash;
use std::io;
use std::process::{Command, ExitStatus};

/// What a command made of its input.
#[derive(Debug)]
pub struct Filtered {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub output: Vec<u8>,
    /// Whether that is all.
    pub complete: bool,
}

impl Filtered {
    /// The signal that ended it: there are none.
    #[must_use]
    pub const fn signal(&self) -> Option<i32> {
        None
    }
}

/// Starts nothing.
///
/// # Errors
/// Always.
pub fn filter(
    _: Command,
    _: &Group,
    _: &[u8],
    _: usize,
    _: &(dyn Fn(&str) + Sync),
    _: Option<&Leash>,
) -> io::Result<Filtered> {
    let text = "commands are run on Unix systems only";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// The command that would run a line of a shell.
#[must_use]
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

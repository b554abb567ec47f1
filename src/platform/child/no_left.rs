//! Processes that earlier ones have left, where the system does not show how a process was started: none is found.

/// A process that another one has left; there is none.
#[derive(Clone, Debug)]
pub enum Left {}

impl Left {
    /// Finds none.
    #[must_use]
    pub const fn find(_mark: (&str, &str), _argv: &[String]) -> Option<Self> {
        None
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        match *self {}
    }

    #[cfg_attr(not(unix), allow(dead_code, reason = "there is another way to end processes"))]
    pub(super) const fn signal(&self, _kill: bool) {
        match *self {}
    }

    pub(super) const fn wait(&self) {
        match *self {}
    }
}

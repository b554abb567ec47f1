//! Failures of system calls on purpose, and who looks on, for tests. Without the feature `inject-faults` this file does nothing.
//!
//! Owns the list of the places where a peer's socket meets the kernel, which of them fails next, and the observer who is told of
//! each. Each place asks [`fault`] before its call. The plan is the whole process's: a test that uses it has the process to itself.
#![cfg_attr(
    not(feature = "inject-faults"),
    allow(unreachable_pub, reason = "public in the builds of those tests only")
)]

use std::io;

/// A place where the kernel is asked something about one connection or one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "other systems have fewer of these places")
)]
#[non_exhaustive]
pub enum Site {
    /// Making, binding or watching a listening socket.
    Bind,
    /// Taking a connection from the queue.
    Accept,
    /// Options, peer and credentials of a connection that was just accepted or made.
    Identify,
    /// Watching a connection on the reactor of its thread.
    Register,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Writing with attachments, before it is written.
    Attach,
    /// Waiting until a full socket takes more.
    Space,
    /// Telling the peer that nothing follows.
    Shutdown,
    /// Connecting.
    Connect,
    /// Asking whose a TCP socket is.
    Owner,
    /// Making or taking memory that is shared with the peer.
    Ring,
}

#[cfg(feature = "inject-faults")]
impl Site {
    /// Every place.
    pub const ALL: [Self; 12] = [
        Self::Bind,
        Self::Accept,
        Self::Identify,
        Self::Register,
        Self::Read,
        Self::Write,
        Self::Attach,
        Self::Space,
        Self::Shutdown,
        Self::Connect,
        Self::Owner,
        Self::Ring,
    ];
}

#[cfg(feature = "inject-faults")]
mod plan {
    use super::Site;
    use std::io;
    use std::sync::{Mutex, OnceLock};

    /// What is to fail, with which error, and how often.
    static PLAN: Mutex<Option<(Site, i32, usize)>> = Mutex::new(None);

    static OBSERVER: OnceLock<fn(Site)> = OnceLock::new();

    /// From now on `observer` is told of every call that is about to be made, on the thread that makes it. The first observer stays.
    pub fn observe(observer: fn(Site)) {
        OBSERVER.get_or_init(|| observer);
    }

    /// The next `times` calls at `site` fail with this error of the system. Replaces an earlier plan.
    pub fn arm(site: Site, errno: i32, times: usize) {
        *crate::transport::lock(&PLAN) = Some((site, errno, times));
    }

    /// How many of the armed failures have not happened yet.
    #[must_use]
    pub fn left() -> usize {
        crate::transport::lock(&PLAN).map_or(0, |(_, _, left)| left)
    }

    /// Nothing fails any more. Returns how many of the armed failures did not happen.
    pub fn disarm() -> usize {
        crate::transport::lock(&PLAN)
            .take()
            .map_or(0, |(_, _, left)| left)
    }

    pub(in crate::transport) fn fault(site: Site) -> io::Result<()> {
        if let Some(observer) = OBSERVER.get() {
            observer(site);
        }
        match &mut *crate::transport::lock(&PLAN) {
            Some((armed, errno, left)) if *armed == site && *left > 0 => {
                *left = left.saturating_sub(1);
                Err(io::Error::from_raw_os_error(*errno))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "inject-faults")]
pub(super) use plan::fault;
#[cfg(feature = "inject-faults")]
pub use plan::{arm, disarm, left, observe};

/// Whether the call about to be made at `site` is to fail.
#[cfg(not(feature = "inject-faults"))]
#[inline]
pub(super) const fn fault(_: Site) -> io::Result<()> {
    Ok(())
}

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

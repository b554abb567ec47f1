//! What the two ends of an endpoint share: its place on the connection, and this process's interest in the bus.
//!
//! Owns the order in which they are given up, and the question whether this process is one that may use them. Called by `join`, which
//! makes it, and by both ends.

use super::host::{Attached, Host, is_forked};
use crate::client::blocking::block_on;
use crate::client::join::Joined;
use std::mem::ManuallyDrop;

/// See the module's documentation. The connection ends before the interest in the bus: while there is an endpoint, this process takes
/// over when the host ends.
#[derive(Debug)]
pub(crate) struct Seat {
    joined: Option<Joined>,
    /// `None` where the program named the host.
    attached: Option<Attached>,
}

impl Seat {
    pub(crate) const fn new(joined: Joined, attached: Option<Attached>) -> Self {
        let joined = Some(joined);
        Self { joined, attached }
    }

    /// The place on the connection; `None` in a process that was forked from the one that joined, whose locks and threads are not
    /// here.
    #[inline]
    pub(crate) fn joined(&self) -> Option<&Joined> {
        self.joined.as_ref().filter(|_| !is_forked())
    }

    /// Leaves the bus. If this process hosts it for this endpoint's sake alone, ready when it is handed over. In a forked child nothing.
    pub(crate) async fn leave(mut self) {
        if !is_forked() {
            leave(self.joined.take(), self.attached.take()).await;
        }
    }
}

/// The connection first: while there is an endpoint, this process takes over when the host ends.
async fn leave(joined: Option<Joined>, attached: Option<Attached>) {
    if let Some(joined) = joined {
        let client = joined.client();
        drop(joined);
        client.close().await;
    }
    if let Some(attached) = attached {
        // It was asked in the same process.
        let _ = attached.leave().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if is_forked() {
            // What it would lock may be held by a thread that this process does not have.
            let _ = ManuallyDrop::new(self.joined.take());
            return;
        }
        let hosts = |attached: &Attached| attached.host() == Host::Here;
        if self.attached.as_ref().is_some_and(hosts) && !std::thread::panicking() {
            // A program may end right after this, and others wait for what this host still owes them. A thread that runs an executor does
            // not wait: it may be the one that the hand-over needs.
            let _ = block_on(leave(self.joined.take(), self.attached.take()));
        }
    }
}

//! What the two ends of an endpoint share: its place on the connection, and this process's interest in the bus.
//!
//! Owns the order in which they are given up, and the question whether this process is one that may use them. Called by `join`, which
//! makes it, and by both ends.

use super::host::{Attached, is_forked};
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

    /// Leaves the bus. If this process hosts it for this endpoint's sake alone, ready when it is handed over.
    pub(crate) async fn leave(mut self) {
        let attached = self.attached.take();
        if let Some(joined) = self.joined.take().filter(|_| !is_forked()) {
            let client = joined.client();
            drop(joined);
            client.close().await;
        }
        if let Some(attached) = attached {
            attached.leave().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if is_forked() {
            // What it would lock may be held by a thread that this process does not have.
            let _ = ManuallyDrop::new(self.joined.take());
        }
    }
}

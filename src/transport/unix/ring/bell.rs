//! The bells of a ring: an eventfd that this end sleeps on, and one that wakes the other.
//!
//! Owns both and how a ring is heard; when one is due is [`super::Ring`]'s.

use super::super::watch;
use rustix::fd::OwnedFd;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Bells {
    own: AsyncFd<OwnedFd>,
    peers: OwnedFd,
}

impl Bells {
    pub(super) fn new(own: OwnedFd, peers: OwnedFd) -> io::Result<Self> {
        let own = watch(own, Interest::READABLE)?;
        Ok(Self { own, peers })
    }

    /// Ready once for what was rung since the last time.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The counter is never read: each ring is an edge of its own.
        ready!(self.own.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }

    /// Wakes the peer.
    pub(super) fn ring(&self) {
        // It fails when the counter is full, and then the peer has been woken more often than it can have slept.
        let _ = rustix::io::write(&self.peers, &1_u64.to_ne_bytes());
    }
}

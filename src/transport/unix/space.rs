//! Waiting until a Unix socket takes more.
//!
//! Owns what a socket waits for: space, the peer's reading of earlier descriptors, or fewer descriptors in flight.
//! Nothing is registered while it waits for nothing. Called by [`Stream`](super::Stream).

use super::descriptors::unread;
use super::{hung_up, watch};
use crate::platform::fork::Noted;
use crate::transport::inject::{Site, fault};
use crate::transport::lock;
use crate::transport::stream::Obstacle;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// The first and the longest pause where the kernel has no event.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// The kernel frees a message in two steps, so an empty queue may count as some bytes; a message counts as hundreds.
const EMPTY: usize = 128;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// An [`Obstacle`], or 0. Set by any thread that writes, cleared by the task that waited.
    obstacle: AtomicU8,
    /// Descriptors were sent, and the peer was not yet seen to have read everything.
    descriptors: AtomicBool,
    /// Nothing while the socket was never full.
    waiting: Mutex<Option<Box<Waiting>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// A duplicate of the socket.
    event: Option<Noted<AsyncFd<OwnedFd>>>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Pauses in a row.
    pauses: u32,
}

impl Space {
    pub(super) fn wait_for(&self, obstacle: Obstacle) {
        self.obstacle.store(obstacle as u8, Ordering::Release);
    }

    /// Nothing is waited for any more.
    pub(super) fn clear(&self) {
        self.obstacle.store(0, Ordering::Release);
    }

    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        [Obstacle::Full, Obstacle::Unread, Obstacle::InFlight]
            .into_iter()
            .find(|obstacle| *obstacle as u8 == self.obstacle.load(Ordering::Acquire))
    }

    pub(super) fn sent_descriptors(&self) {
        self.descriptors.store(true, Ordering::Release);
        if let Some(waiting) = &mut *lock(&self.waiting) {
            waiting.pauses = 0;
        }
    }

    /// Whether descriptors lie in the peer's queue, as far as the kernel tells.
    pub(super) fn holds_descriptors(&self, socket: BorrowedFd<'_>) -> bool {
        if !self.descriptors.load(Ordering::Acquire) {
            return false;
        }
        let holds = unread(socket).is_some_and(|bytes| bytes > EMPTY);
        if !holds {
            self.descriptors.store(false, Ordering::Release);
        }
        holds
    }

    pub(super) fn poll(&self, socket: &OwnedFd, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(obstacle) = self.obstacle() else {
            return Poll::Ready(Ok(()));
        };
        let mut place = lock(&self.waiting);
        let waiting = place.get_or_insert_default();
        let ready = match obstacle {
            Obstacle::InFlight => {
                ready!(waiting.poll_pause(cx));
                Ok(())
            }
            Obstacle::Full | Obstacle::Unread => {
                let unread = obstacle == Obstacle::Unread;
                ready!(waiting.poll_event(socket, cx, || unread && self.holds_descriptors(socket.as_fd())))
            }
        };
        waiting.event = None;
        if waiting.pauses == 0 {
            *place = None;
        }
        self.obstacle.store(0, Ordering::Release);
        Poll::Ready(ready)
    }
}

impl Waiting {
    /// Ready after a pause that is twice as long each time.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let long = PAUSES.0.saturating_mul(1 << self.pauses.min(16)).min(PAUSES.1);
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(long)));
        ready!(pause.as_mut().poll(cx));
        self.pause = None;
        self.pauses = self.pauses.saturating_add(1);
        Poll::Ready(())
    }

    /// Ready when the kernel reports space and `blocked` says no, which it is asked each time the peer has read.
    fn poll_event(
        &mut self,
        socket: &OwnedFd,
        cx: &mut Context<'_>,
        blocked: impl Fn() -> bool,
    ) -> Poll<io::Result<()>> {
        if self.event.is_none() {
            // Registering reports the present state as the first event, so space that appeared since the write is not
            // missed.
            let registered = fault(Site::Space)
                .and_then(|()| socket.try_clone())
                .and_then(|duplicate| watch(duplicate, Interest::WRITABLE))
                .map(Noted::new);
            match registered {
                Ok(event) => self.event = Some(event),
                // No descriptor is left to wait with: then by looking again after a while.
                Err(_) => return self.poll_pause(cx).map(Ok),
            }
        }
        let Some(event) = &self.event else {
            return Poll::Ready(Ok(()));
        };
        self.pauses = 0;
        loop {
            let mut guard = ready!(event.poll_write_ready(cx))?;
            if !blocked() || hung_up(socket.as_fd()) {
                return Poll::Ready(Ok(()));
            }
            guard.clear_ready();
        }
    }
}

//! Read permits: bytes that were read from sockets and are not handled yet, bounded per connection and in all.
//!
//! A Connection reads only while its gate is open. A [`Permit`] rides in the message to Registry or TopicHub and reopens the gate when
//! it is dropped there, in whatever way. Knows no actor: a waiting reader is a waker.

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::slips::{self, Slip};
use crate::sync::{AtomicWaker, Mutex};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

/// The bytes of all connections together.
#[derive(Debug)]
pub struct TotalGate {
    limit: usize,
    used: AtomicUsize,
    waiting: Mutex<VecDeque<Arc<ReadGate>>>,
}

impl TotalGate {
    /// A gate that is open below `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Whether anybody may be read.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.used() < self.limit
    }

    fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.limit {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for gate in waiting {
                // A swap sees what a reader did that found itself in the queue already: its waker is there.
                let again = slips::is(Slip::GateStaysQueued);
                gate.queued.swap(again, Ordering::SeqCst);
                gate.reader.wake();
            }
        }
    }

    fn wait(&self, gate: &Arc<ReadGate>) {
        if !gate.queued.swap(true, Ordering::SeqCst) {
            self.waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(gate.clone());
        }
    }
}

/// The bytes of one connection.
#[derive(Debug)]
pub struct ReadGate {
    limit: usize,
    used: AtomicUsize,
    blocked: AtomicBool,
    /// It waits for the total.
    queued: AtomicBool,
    reader: AtomicWaker,
    total: Arc<TotalGate>,
}

impl ReadGate {
    /// A gate that is open below `limit` bytes, and while the total is.
    #[must_use]
    pub fn new(limit: usize, total: Arc<TotalGate>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            total,
        })
    }

    /// Ready when the connection may read on; otherwise the task is woken when it may.
    pub fn poll_open(self: &Arc<Self>, cx: &Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        self.reader.register(cx.waker());
        self.blocked.store(true, Ordering::SeqCst);
        // A permit may have been dropped between the look and the registration. While its own limit is reached, its own permits
        // wake it, and it looks at the total then.
        if self.used() >= self.limit || slips::is(Slip::GateLooksOnce) {
            return Poll::Pending;
        }
        let room = self.total.is_open();
        if room && !slips::is(Slip::GateForgetsQueue) {
            return Poll::Ready(());
        }
        // Only its place in the queue wakes it for the total. Without one it must not look again: others may have taken the room.
        if !room {
            self.total.wait(self);
        }
        if self.is_open() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Whether the connection may read on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.used.load(Ordering::SeqCst) < self.limit && self.total.is_open()
    }

    /// Charges bytes that were read.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: usize) -> Permit {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        self.total.used.fetch_add(bytes, Ordering::AcqRel);
        Permit {
            gate: self.clone(),
            bytes,
        }
    }
}

/// Charged bytes; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<ReadGate>,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if slips::is(Slip::PermitInTwoSteps) {
            let before = self.gate.used.load(Ordering::SeqCst);
            self.gate.used.store(before - self.bytes, Ordering::SeqCst);
        } else {
            self.gate.used.fetch_sub(self.bytes, Ordering::SeqCst);
        }
        self.gate.total.release(self.bytes);
        if self.gate.blocked.swap(false, Ordering::SeqCst) {
            self.gate.reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    #[test]
    fn both_limits_close_the_gate_and_permits_open_it() {
        let total = TotalGate::new(150);
        let (one, two) = (
            ReadGate::new(100, total.clone()),
            ReadGate::new(100, total.clone()),
        );
        let waker = noop_waker();
        let cx = Context::from_waker(&waker);
        let first = one.take(100);
        assert!(one.poll_open(&cx).is_pending());
        assert!(two.poll_open(&cx).is_ready());
        let second = two.take(50);
        assert!(two.poll_open(&cx).is_pending());
        drop(first);
        assert!(one.poll_open(&cx).is_ready() && two.poll_open(&cx).is_ready());
        drop(second);
        assert_eq!(total.used(), 0);
    }
}

//! What one peer has sent and was sent, from its first frame on.
//!
//! Owns four numbers that only the peer's own connection writes, and anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one peer.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    frames_in: AtomicU64,
    frames_out: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes read from it.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// Frames that it sent.
    pub frames_in: u64,
    /// Calls, answers, events and messages that were queued for it.
    pub frames_out: u64,
}

/// Adds where there is one writer.
fn add(counter: &AtomicU64, more: usize) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more as u64);
    counter.store(sum, Ordering::Relaxed);
}

impl Traffic {
    /// Bytes were read from it.
    pub fn read(&self, bytes: usize) {
        add(&self.bytes_in, bytes);
    }

    /// Bytes were written to it.
    pub fn wrote(&self, bytes: usize) {
        add(&self.bytes_out, bytes);
    }

    /// It has sent frames.
    pub fn sent(&self, frames: usize) {
        add(&self.frames_in, frames);
    }

    /// Frames were queued for it.
    pub fn given(&self, frames: usize) {
        add(&self.frames_out, frames);
    }

    /// All of them.
    #[must_use]
    pub fn passed(&self) -> Passed {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Passed {
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            frames_in: read(&self.frames_in),
            frames_out: read(&self.frames_out),
        }
    }
}

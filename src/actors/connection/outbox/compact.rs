//! Copying out of a batch what a queue still wants of it, so that a small rest does not keep a large buffer alive.
//!
//! Owns when that is worth it, and where the frames lie afterwards. Pure; called for runs of events and of messages.

use crate::message::{Batch, Header};

/// The frames that are still wanted, in a batch of their own.
#[derive(Debug)]
pub(super) struct Compact {
    /// The batch.
    pub(super) batch: Batch,
    /// The number of each of its frames in the batch from which they came, ascending.
    frames: Vec<u32>,
}

impl Compact {
    /// Copies the frames of runs, each of a first frame and a count. `None`: they are a quarter of their buffer or more, and stay there.
    /// Several runs may name one frame: it is copied once. What follows each other does so in the copy.
    pub(super) fn of(batch: &Batch, runs: impl Iterator<Item = (u32, u32)>) -> Option<Self> {
        let buffer = batch.buffer_len();
        let mut frames: Vec<u32> = Vec::new();
        let mut kept = 0_usize;
        for (first, count) in runs {
            let named = first..first.saturating_add(count);
            for (frame, header) in named.zip(batch.headers_from(first as usize)) {
                kept = kept.saturating_add(Header::wire_len(header));
                frames.push(frame);
            }
            if kept.saturating_mul(4) >= buffer {
                return None;
            }
        }
        frames.sort_unstable();
        frames.dedup();
        let batch = batch.extract(frames.iter().map(|frame| *frame as usize));
        Some(Self { batch, frames })
    }

    /// Where a frame lies in the copy.
    pub(super) fn place(&self, frame: u32) -> u32 {
        let at = self.frames.partition_point(|earlier| *earlier < frame);
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}

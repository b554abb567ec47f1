//! Reading a region from one end to the other by copying.
//!
//! Owns the position and a buffer that stays in the processor's cache, which makes it as fast as reading in place. It works for every
//! kind of region.

use super::{MapError, MemoryRegion};
use std::io;
use std::ops::Range;

/// What a reader copies at once: a system call costs little against it, and it fits in a core's own cache.
const CHUNK: usize = 128 * 1024;

/// A part of a region, to be read once from its beginning. [`MemoryRegion::reader`] makes it.
#[derive(Debug)]
pub struct RegionReader<'a> {
    region: &'a MemoryRegion,
    left: Range<usize>,
    buffer: Vec<u8>,
}

impl<'a> RegionReader<'a> {
    pub(super) const fn new(region: &'a MemoryRegion, left: Range<usize>) -> Self {
        Self {
            region,
            left,
            buffer: Vec::new(),
        }
    }

    /// Bytes that are still to be read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Copies out the next part, at most 128 KiB. `None` at the end. Each byte is read once, so what was checked stays as it was.
    ///
    /// # Errors
    /// As for [`MemoryRegion::read_at`]; nothing of that part is passed then.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, MapError> {
        let length = self.left.len().min(CHUNK);
        if length == 0 {
            return Ok(None);
        }
        self.buffer.resize(length, 0);
        self.region.read_at(self.left.start, &mut self.buffer)?;
        self.left.start = self.left.start.saturating_add(length);
        Ok(Some(&self.buffer))
    }
}

impl io::Read for RegionReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.left.len().min(buffer.len());
        let into = buffer.get_mut(..length).unwrap_or_default();
        self.region.read_at(self.left.start, into)?;
        self.left.start = self.left.start.saturating_add(length);
        Ok(length)
    }
}

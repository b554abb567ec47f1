//! The memory that two processes share: a page of indexes, and the bytes of two directions.
//!
//! Owns the mapping and every access to it; what the indexes mean is [`super::Ring`]'s. It believes nothing that it reads: a peer
//! may write anywhere at any time, so indexes are single atomic words that are checked after they are read, and bytes are
//! copied out before anybody looks at them.

use rustix::fd::AsFd;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// Where the bytes begin: the indexes have a page of their own.
pub(super) const DATA_AT: usize = 4096;
/// The indexes of the second direction follow those of the first at this distance.
const LANE_STRIDE: usize = 1024;

/// One of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// From the one who made the memory.
    FromMaker,
    /// To the one who made the memory.
    ToMaker,
}

impl Lane {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::FromMaker => Self::ToMaker,
            Self::ToMaker => Self::FromMaker,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::FromMaker => 0,
            Self::ToMaker => 1,
        }
    }
}

/// One of a direction's words, by its distance from the direction's first one. Words of different writers lie in
/// different cache lines, two apart because processors fetch pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Word {
    /// Bytes ever written, modulo 2^32. Changed by the writer.
    Tail = 0,
    /// Messages with attachments ever sent over the socket, modulo 2^32. Changed by the writer.
    Attached = 4,
    /// Bytes ever read, modulo 2^32. Changed by the reader.
    Head = 128,
    /// 1: the reader sleeps. Set by the reader, cleared by who wakes it.
    ReaderSleeps = 256,
    /// 1: the writer waits for room. Set by the writer, cleared by who wakes it.
    WriterWaits = 384,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    /// Bytes of each direction; a power of two.
    capacity: u32,
}

// SAFETY: the mapping is plain memory without a tie to a thread. It is reached through atomic words and through copies whose
// callers take turns per direction (`Ring` holds a lock for each); the other process takes no turns in any case, which the
// copies allow for.
#[allow(unsafe_code, reason = "shared memory")]
unsafe impl Send for Memory {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "shared memory")]
unsafe impl Sync for Memory {}

/// The length of memory with this capacity for each direction.
pub(super) const fn length(capacity: u32) -> usize {
    DATA_AT.saturating_add((capacity as usize).saturating_mul(2))
}

impl Memory {
    /// Maps the whole of `file`, which has [`length`] bytes and can never become shorter (the caller has checked both).
    ///
    /// # Errors
    /// The system's.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) fn map(file: impl AsFd, capacity: u32) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing. Its pages exist for its whole life: the
        // file is sealed against shrinking.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length(capacity),
                protection,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, capacity })
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// One word of a direction.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) fn word(&self, lane: Lane, word: Word) -> &AtomicU32 {
        let at = lane.index() * LANE_STRIDE + word as usize;
        // SAFETY: `at` is below 4096, inside the mapping, and a multiple of 4; the mapping begins at a page. The word lives
        // as long as the mapping, which `self` owns. Both processes reach it by atomic operations only; a peer that does
        // not changes a number that is checked by its reader.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    /// Where the byte `position` of a direction lies, and how many bytes follow it before the direction wraps.
    fn place(&self, lane: Lane, position: u32) -> (usize, usize) {
        let offset = (position & self.capacity.wrapping_sub(1)) as usize;
        let lane_at = DATA_AT + lane.index() * self.capacity as usize;
        (lane_at + offset, self.capacity as usize - offset)
    }

    /// Copies bytes in, at most a capacity of them, from `position` on.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) fn copy_in(&self, lane: Lane, position: u32, bytes: &[u8]) {
        let bytes = bytes.get(..self.capacity as usize).unwrap_or(bytes);
        let (at, run) = self.place(lane, position);
        let (first, second) = bytes.split_at(run.min(bytes.len()));
        let (begin, _) = self.place(lane, 0);
        // SAFETY: `place` gives offsets of this direction inside the mapping, with `run` bytes behind the first before the
        // direction ends; the second part has at most `capacity` bytes from its beginning. The slices are private memory
        // and overlap no mapping. The peer may read or write the same bytes meanwhile: nobody but it is harmed by what it
        // reads then, and this process makes no reference to them.
        unsafe {
            std::ptr::copy_nonoverlapping(first.as_ptr(), self.start.as_ptr().add(at), first.len());
            std::ptr::copy_nonoverlapping(second.as_ptr(), self.start.as_ptr().add(begin), second.len());
        }
    }

    /// Copies bytes out, at most a capacity of them, from `position` on.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) fn copy_out(&self, lane: Lane, position: u32, into: &mut [u8]) {
        let most = into.len().min(self.capacity as usize);
        let (into, _) = into.split_at_mut(most);
        let (at, run) = self.place(lane, position);
        let (first, second) = into.split_at_mut(run.min(most));
        let (begin, _) = self.place(lane, 0);
        // SAFETY: as for `copy_in`. A peer that writes meanwhile makes the copy a mixture of bytes, each of them some byte;
        // the copy is private, and is judged after it is made.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr().add(at), first.as_mut_ptr(), first.len());
            std::ptr::copy_nonoverlapping(self.start.as_ptr().add(begin), second.as_mut_ptr(), second.len());
        }
    }
}

impl Drop for Memory {
    #[allow(unsafe_code, reason = "shared memory")]
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, of this length, and no reference into it outlives the value.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), length(self.capacity)) };
    }
}

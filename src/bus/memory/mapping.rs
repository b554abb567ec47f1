//! One mapping of shared memory, and slices of it.
//!
//! Owns the addresses and their end. It cannot know who else reaches the memory, so its slices are `unsafe` to take: `own`, `pooled`
//! and `frozen`, which can, are its only callers.

use super::system::{self, Descriptor};
use std::io;
use std::ptr::NonNull;
use std::slice;

/// Pages of shared memory in this process; none, for a size of zero. They begin at a page.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: a mapping is memory without a tie to a thread. It is reached by the slices below only, which follow the rules of
// references: shared ones from `&self`, an exclusive one from `&mut self`.
#[allow(unsafe_code, reason = "shared memory")]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "shared memory")]
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `size` bytes. No page is touched.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(memory: &Descriptor, size: usize, writable: bool) -> io::Result<Self> {
        if isize::try_from(size).is_err() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let start = match size {
            0 => NonNull::dangling(),
            _ => system::map(memory, size, writable)?,
        };
        Ok(Self { start, size })
    }

    /// All of it.
    ///
    /// # Safety
    /// While the slice lives, the memory has at least this many bytes and nobody changes them, in any process.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: `size` bytes from `start` on are mapped for reading as long as `self` lives (or there are none), at most
        // `isize::MAX` of them; every byte is initialised, the kernel gives zeros; that they exist and stay as they are is the
        // caller's promise.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }

    /// All of it, to change.
    ///
    /// # Safety
    /// It was mapped to be written. While the slice lives, the memory has at least this many bytes, and nobody else of this
    /// process reaches them, nor does anybody of another change them.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`; that the pages may be written and nobody else changes them is the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code, reason = "shared memory")]
    fn drop(&mut self) {
        if self.size > 0 {
            // SAFETY: `new` has mapped it with this size; slices borrow `self`, so none is left.
            unsafe { system::unmap(self.start, self.size) };
        }
    }
}

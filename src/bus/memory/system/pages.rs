//! Pages of shared memory: in this process's address space, and copied in and out (Unix).
//!
//! Owns mapping, unmapping and copying. Whether anybody may look at the pages is decided above.

use super::{Descriptor, RawDescriptor};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// Takes over a number that somebody else got.
///
/// # Safety
/// It is open and has no other owner.
#[allow(unsafe_code, reason = "a number has no owner that could be asked")]
pub(in crate::bus::memory) unsafe fn adopt(raw: RawDescriptor) -> Descriptor {
    // SAFETY: as the caller promises.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Maps the first `size` bytes, more than none, at a page. No page is touched.
///
/// # Errors
/// The system's, for want of addresses or because the descriptor may not be written.
#[allow(unsafe_code, reason = "shared memory")]
pub(in crate::bus::memory) fn map(
    descriptor: &Descriptor,
    size: usize,
    writable: bool,
) -> io::Result<NonNull<u8>> {
    let mut protection = ProtFlags::READ;
    protection.set(ProtFlags::WRITE, writable);
    // Whoever only reads needs no share in what is written: older kernels count a shared mapping of a descriptor that could be written
    // as a writer, whatever its protection, and refuse it for sealed memory.
    let flags = if writable {
        MapFlags::SHARED
    } else {
        MapFlags::PRIVATE
    };
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that this process uses.
    let start = unsafe { mmap(ptr::null_mut(), size, protection, flags, descriptor, 0) }?;
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Takes a mapping away.
///
/// # Safety
/// [`map`] has made it with this size, nobody refers into it, and nobody unmaps it again.
#[allow(unsafe_code, reason = "shared memory")]
pub(in crate::bus::memory) unsafe fn unmap(start: NonNull<u8>, size: usize) {
    // SAFETY: the pages are a whole mapping of `map`, without references into it, as the caller promises. It fails for no mapping
    // that exists.
    let _ = unsafe { munmap(start.as_ptr().cast(), size) };
}

/// Copies out what is there; less than asked for where the memory ends.
pub(in crate::bus::memory) fn read_at(
    memory: &Descriptor,
    offset: usize,
    into: &mut [u8],
) -> io::Result<usize> {
    whole(into.len(), |done| {
        let rest = into.get_mut(done..).unwrap_or_default();
        rustix::io::pread(memory, rest, offset.saturating_add(done) as u64)
    })
}

/// Copies in. The caller has checked that it fits.
pub(in crate::bus::memory) fn write_at(
    memory: &Descriptor,
    offset: usize,
    bytes: &[u8],
) -> io::Result<usize> {
    whole(bytes.len(), |done| {
        let rest = bytes.get(done..).unwrap_or_default();
        rustix::io::pwrite(memory, rest, offset.saturating_add(done) as u64)
    })
}

/// Reads or writes all of it with calls that may do a part; `done` of them so far. Returns what was done, which is less where the
/// memory ends.
fn whole(length: usize, mut step: impl FnMut(usize) -> rustix::io::Result<usize>) -> io::Result<usize> {
    let mut done = 0;
    while done < length {
        match rustix::io::retry_on_intr(|| step(done))? {
            0 => break,
            more => done = done.saturating_add(more),
        }
    }
    Ok(done)
}

//! Memory files for [`region`](crate::transport::region): the system's calls, and what may be concluded from their answers (Linux).
//!
//! # Why nothing that their sender does raises SIGBUS or changes a byte
//! A page of a mapping is missing when the file was cut off: a seal against shrinking, which no one can take off, excludes it. Bytes
//! change by writing: the seal against it is given only when nobody has a writable mapping, and excludes punched holes too. Both are
//! asked for before the length. A page that was never written would be made at the first look, for which there may be no memory:
//! so files with holes are refused. Huge pages may run out in the same way: files that have them are on another file system.

use super::descriptors::SEALED;
use crate::message::Attachment;
use crate::transport::passing;
use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

const NAME: &str = "actix-ipc-payload";
/// The file system of memory files with small pages, as `statfs` tells it (`TMPFS_MAGIC` of linux/magic.h).
const TMPFS: i128 = 0x0102_1994;
/// The unit in which `fstat` counts what a file takes up, in bytes.
const BLOCK: u64 = 512;

pub(in crate::transport) type Memory = OwnedFd;

pub(in crate::transport) fn create(length: usize) -> io::Result<Memory> {
    let memory = memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&memory, length as u64)?;
    Ok(memory)
}

/// Writes instead of copying into a mapping: a page that is written as a whole is not cleared before.
pub(in crate::transport) fn write(memory: &Memory, mut at: usize, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let done = rustix::io::retry_on_intr(|| rustix::io::pwrite(memory, bytes, at as u64))?;
        if done == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        at = at.saturating_add(done);
        bytes = bytes.get(done..).unwrap_or_default();
    }
    Ok(())
}

pub(in crate::transport) fn seal(memory: Memory) -> io::Result<Attachment> {
    fcntl_add_seals(&memory, SEALED)?;
    Ok(Arc::new(memory))
}

/// What is inside of an attachment that [`check`] has let pass.
#[derive(Debug)]
pub(in crate::transport) struct Checked(Attachment);

impl Checked {
    fn memory(&self) -> Option<&Memory> {
        self.0.downcast_ref()
    }
}

pub(in crate::transport) fn check(attachment: &Attachment, length: usize) -> Result<Checked, String> {
    let inside = passing::inside(attachment).map(Checked);
    let Some(checked) = inside.filter(|inside| inside.memory().is_some()) else {
        return Err("no descriptor".to_owned());
    };
    let memory = checked.memory().ok_or("no descriptor")?;
    // Only memory files answer this question.
    let seals =
        fcntl_get_seals(memory).map_err(|_| "a descriptor that has no seals, so it is no memory file")?;
    if !seals.contains(SEALED) {
        return Err("memory that is not sealed against changes".to_owned());
    }
    let system = |error: rustix::io::Errno| format!("memory that cannot be examined: {error}");
    if i128::from(fstatfs(memory).map_err(system)?.f_type) != TMPFS {
        return Err("memory with huge pages, which may run out".to_owned());
    }
    let facts = fstat(memory).map_err(system)?;
    let size = u64::try_from(facts.st_size).unwrap_or_default();
    if size != length as u64 {
        return Err(format!("memory of {size} bytes, announced as {length}"));
    }
    let there = u64::try_from(facts.st_blocks).unwrap_or_default();
    if there.saturating_mul(BLOCK) < size {
        return Err("memory with holes, for which there may be no pages".to_owned());
    }
    Ok(checked)
}

pub(in crate::transport) fn open(attachment: &Attachment, length: usize) -> Result<Bytes, String> {
    let checked = check(attachment, length)?;
    let memory = checked.memory().ok_or("no descriptor")?;
    if length == 0 {
        return Ok(Bytes::new());
    }
    match Mapping::new(memory, length) {
        Ok(mapping) => Ok(Bytes::from_owner(mapping)),
        Err(_) => copy(memory, length).map_err(|error| format!("memory that cannot be read: {error}")),
    }
}

/// All bytes, where no mapping can be had.
fn copy(memory: &Memory, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::retry_on_intr(|| rustix::io::pread(memory, &mut *rest, done as u64))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => done = done.saturating_add(more),
        }
    }
    Ok(bytes.into())
}

/// Pages of memory that never changes again.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// The first `length` bytes, more than none, of memory that was checked to have so many. No page is touched.
    #[allow(unsafe_code, reason = "a mapping is memory of another kind")]
    fn new(memory: &Memory, length: usize) -> io::Result<Self> {
        if isize::try_from(length).is_err() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // A private mapping: older kernels count a shared one of a descriptor that could be written as a writer, and refuse it for
        // sealed memory.
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that this process uses.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                memory,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }
}

// SAFETY: memory without a tie to a thread, which is only read.
#[allow(unsafe_code, reason = "a mapping is memory of another kind")]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "a mapping is memory of another kind")]
unsafe impl Sync for Mapping {}

impl AsRef<[u8]> for Mapping {
    #[allow(unsafe_code, reason = "a mapping is memory of another kind")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `length` bytes from `start` on are mapped for reading as long as `self` lives, at most `isize::MAX`, all of them
        // initialised by the kernel. `open` has made the mapping of memory for which the kernel has promised that it keeps this length
        // and that no process, this one included, writes to it any more.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code, reason = "a mapping is memory of another kind")]
    fn drop(&mut self) {
        // SAFETY: `new` has mapped exactly this, and slices borrow `self`, so none is left. It fails for no mapping that exists.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

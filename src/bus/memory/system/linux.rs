//! Memory as a memfd, and its seals (Linux).
//!
//! Owns the calls and what may be concluded from their answers.
//!
//! # Why nothing that a peer does raises SIGBUS
//! A page of a mapping is missing when the file was cut off: a seal against shrinking, which cannot be taken off, excludes it, and own
//! memory has it from the beginning. Punched holes are zeros, and a seal against writing excludes them too. Huge pages may run out:
//! files that have them are on another file system, and refused. A page that its maker never had (a hole) is taken by the first touch,
//! also by one that only reads, and charged to who touches; where memory may not be promised twice (`vm.overcommit_memory=2`) and all of
//! it is, that touch is the signal. So nothing with holes is mapped: its maker fills them before it seals, and who receives some all
//! the same copies. What is not mapped is copied by `pread`, which ends early where the file does and takes no page for a hole.
//!
//! Holes are found by the pages that the file has, which costs nothing. A sender that hides holes behind as many pages past the end, to
//! which it is charged itself, makes its receiver pay once more for them; where that could raise the signal the holes are looked for.

use super::{Descriptor, Examined, hold};
use crate::bus::memory::MapError;
use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, SeekFrom, Stat, fallocate, fcntl_add_seals,
    fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create, open, seek,
};
use rustix::io::{Errno, retry_on_intr};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

const NAME: &str = "actix-ipc-region";
/// The file system of memfds with small pages, as `statfs` tells it (`TMPFS_MAGIC` of linux/magic.h).
const TMPFS: i128 = 0x0102_1994;
/// Its length stays, and nobody may seal it further.
const LENGTH: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// What is taken at once, in bytes: less than what a signal that comes every few milliseconds lets through.
const PART: u64 = 8 * 1024 * 1024;

/// Zeros, reachable by this process only.
pub(in crate::bus::memory) fn create(size: usize) -> io::Result<Descriptor> {
    /// Linux before 6.3 does not know that memory is no program.
    static OLD: AtomicBool = AtomicBool::new(false);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut made = Err(Errno::INVAL);
    if !OLD.load(Ordering::Relaxed) {
        made = memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL);
    }
    if matches!(made, Err(Errno::INVAL)) {
        made = memfd_create(NAME, flags);
        OLD.store(made.is_ok(), Ordering::Relaxed);
    }
    let memory = made?;
    // Before it has a length: other processes of this user can open it by /proc, and cutting it off would raise SIGBUS here.
    fcntl_add_seals(&memory, SealFlags::SHRINK)?;
    ftruncate(&memory, size as u64)?;
    Ok(memory)
}

/// Takes the pages now if want of one would raise a signal at a touch.
///
/// # Errors
/// There are not so many.
pub(in crate::bus::memory) fn reserve(memory: &Descriptor, size: usize) -> io::Result<()> {
    match is_strict() && size > 0 {
        true => take_pages(memory, size as u64),
        false => Ok(()),
    }
}

/// Takes a page for each byte, in parts: a signal interrupts the system's work on one, which is lost then and begun again.
fn take_pages(memory: &Descriptor, size: u64) -> io::Result<()> {
    let mut at = 0_u64;
    while at < size {
        let part = PART.min(size.saturating_sub(at));
        retry_on_intr(|| fallocate(memory, FallocateFlags::empty(), at, part))?;
        at = at.saturating_add(part);
    }
    Ok(())
}

/// Whether the system promises no more memory than it has. Asked once; a setting that cannot be read is taken for the worst.
fn is_strict() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory");
        mode.map_or(true, |mode| mode.trim() == "2")
    })
}

/// Whether it has a page for each of its bytes, as far as counting them tells.
fn has_pages(stat: &Stat) -> bool {
    i128::from(stat.st_blocks).saturating_mul(512) >= i128::from(stat.st_size)
}

/// Whether each of its pages is there: looks at them all. The position of the file, which moves, is used by nobody.
fn has_no_hole(memory: &Descriptor, length: i64) -> bool {
    let hole = seek(memory, SeekFrom::Hole(0));
    length == 0 || hole.is_ok_and(|at| i128::from(at) >= i128::from(length))
}

/// From now on nobody changes it, in any process. Pages that were never touched are taken here: it is their maker who pays for them,
/// and a receiver may look at all of it in place.
///
/// # Errors
/// `ResourceBusy` while it is mapped for writing somewhere; `StorageFull` when there are not enough pages.
pub(in crate::bus::memory) fn freeze(memory: &Descriptor) -> io::Result<()> {
    let stat = fstat(memory)?;
    if !has_pages(&stat) {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        take_pages(memory, size)?;
    }
    Ok(fcntl_add_seals(memory, LENGTH | SealFlags::WRITE)?)
}

/// From now on its length stays; everybody who has it may write.
pub(in crate::bus::memory) fn fix_length(memory: &Descriptor) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, LENGTH)?)
}

/// From now on its length stays, and only mappings that exist already may write.
///
/// # Errors
/// `InvalidInput` before Linux 5.1.
pub(in crate::bus::memory) fn keep_for_writer(memory: &Descriptor) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, LENGTH | SealFlags::FUTURE_WRITE)?)
}

/// Whether memory of a registry can be kept from other writers and counted: since Linux 5.1, with `/proc`.
pub(in crate::bus::memory) fn can_use_again() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let memory = create(1).and_then(|memory| keep_for_writer(&memory).map(|()| memory));
        memory.and_then(|memory| reopen(&memory, false)).is_ok()
    })
}

/// What the system says about memory of somebody else.
pub(in crate::bus::memory) fn examine(descriptor: Arc<Descriptor>) -> Result<Examined, MapError> {
    // Only files in memory answer this question: reading no other could be trusted to end.
    let Ok(seals) = fcntl_get_seals(&descriptor) else {
        return Err(MapError::NotMemory("it has no seals, so it is no memfd"));
    };
    let system = MapError::system("examine the shared memory");
    let kind = fstatfs(&descriptor).map_err(|error| system(error.into()))?;
    if i128::from(kind.f_type) != TMPFS {
        return Err(MapError::NotMemory(
            "it has huge pages, which may run out at any touch",
        ));
    }
    // After the seals: a length that was read before them could have been cut since.
    let stat = fstat(&descriptor).map_err(|error| system(error.into()))?;
    let sealed = seals.contains(SealFlags::SHRINK | SealFlags::WRITE);
    let whole = sealed && has_pages(&stat) && (!is_strict() || has_no_hole(&descriptor, stat.st_size));
    Ok(Examined {
        length: u64::try_from(stat.st_size).unwrap_or_default(),
        immutable: whole,
        descriptor,
    })
}

/// A reference of its own to the same memory, which counts as one holder for as long as anybody has it: in this process, on its way,
/// or in others.
///
/// # Errors
/// The system's; where `/proc` is not mounted there is no such reference.
pub(in crate::bus::memory) fn reopen(memory: &Descriptor, writable: bool) -> io::Result<Descriptor> {
    let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let other = retry_on_intr(|| open(path.as_str(), access | OFlags::CLOEXEC, Mode::empty()))?;
    hold(&other)?;
    Ok(other)
}

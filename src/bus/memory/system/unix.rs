//! Memory as a file that has no name any more (Unix systems without memfds).
//!
//! Owns the calls. Nothing can be promised of such a file, whose owner may cut it off or write to it: receivers copy it, and a registry
//! does not use it again.

use super::{Descriptor, Examined, write_at};
use crate::bus::memory::MapError;
use rustix::fs::{FileType, Mode, OFlags, fstat, open, unlink};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;

/// How often another name is tried when there is a file with it.
const ATTEMPTS: usize = 16;
/// Written at once to take room on the disk.
const ZEROS: usize = 64 * 1024;

/// Zeros, reachable by this process only. The room is taken here: what is short of it is found as an error, and not by a signal at
/// the first touch.
pub(in crate::bus::memory) fn create(size: usize) -> io::Result<Descriptor> {
    let memory = unnamed()?;
    let zeros = vec![0; ZEROS.min(size)];
    let mut at = 0;
    while at < size {
        let part = zeros
            .get(..size.saturating_sub(at).min(ZEROS))
            .unwrap_or_default();
        match write_at(&memory, at, part)? {
            0 => return Err(io::ErrorKind::StorageFull.into()),
            written => at = at.saturating_add(written),
        }
    }
    Ok(memory)
}

/// [`create`] has taken them.
pub(in crate::bus::memory) const fn reserve(_: &Descriptor, _: usize) -> io::Result<()> {
    Ok(())
}

fn unnamed() -> io::Result<Descriptor> {
    let folder = std::env::temp_dir();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS {
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let path = folder.join(format!("actix-ipc-region-{number:016x}"));
        match open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                unlink(&path)?;
                return Ok(file);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Nothing can be promised; receivers copy.
pub(in crate::bus::memory) const fn freeze(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// Nothing can be promised; everybody copies.
pub(in crate::bus::memory) const fn fix_length(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// Others cannot be kept from writing.
pub(in crate::bus::memory) fn keep_for_writer(_: &Descriptor) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Others cannot be kept from writing.
pub(in crate::bus::memory) const fn can_use_again() -> bool {
    false
}

/// What the system says about memory of somebody else.
pub(in crate::bus::memory) fn examine(descriptor: Arc<Descriptor>) -> Result<Examined, MapError> {
    let doing = MapError::system("examine the shared memory");
    let stat = fstat(&descriptor).map_err(|error| doing(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(MapError::NotMemory("it is no plain file"));
    }
    Ok(Examined {
        length: u64::try_from(stat.st_size).unwrap_or_default(),
        immutable: false,
        descriptor,
    })
}

/// A file without a name cannot be opened again.
pub(in crate::bus::memory) fn reopen(_: &Descriptor, _: bool) -> io::Result<Descriptor> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Holders are not counted.
pub(in crate::bus::memory) const fn hold(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// Holders are not counted.
pub(in crate::bus::memory) const fn others(_: &Descriptor) -> io::Result<u32> {
    Ok(0)
}

//! Record locks of Windows: at most one process at a time holds a file's, and the file says which.
//!
//! Owns the locked range, far behind the file's content so that it keeps nobody from reading, and the content: the holder's number, then the
//! label. The system gives a lock back when its process ends, however it ends; the number stays then, so it counts only while somebody holds the
//! lock. The file is opened so that nobody can remove or rename it meanwhile. It is in the place of `record_lock`; `bus::host` is the caller.
#![allow(
    unsafe_code,
    reason = "locks of a part of a file have no safe interface; each use is proven"
)]

pub(crate) use super::lock_holder::Holder;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, ERROR_LOCK_VIOLATION};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_READ, FILE_SHARE_WRITE,
    LOCK_FILE_FLAGS, LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

/// Bytes of the holder's number at the file's beginning, the lowest one first.
const NUMBER_BYTES: usize = 4;
/// The most of a file's label that is kept and compared, in bytes.
const LABEL_MAX: usize = 4096;
/// Where the locked byte is, in units of 4 GiB.
const LOCKED_HIGH: u32 = 0x4000_0000;

/// A file whose lock can be taken. Dropping it gives the lock back.
#[derive(Debug)]
pub(crate) struct RecordLock {
    file: File,
    path: PathBuf,
    held: AtomicBool,
}

impl RecordLock {
    /// Opens the file, made when it is not there. The folder must be one in which nobody else can write.
    ///
    /// # Errors
    /// It is no plain file, or the system refuses.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
            .open(path)?;
        let there = file.metadata()?;
        if !there.is_file() || there.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
            let text = format!("{}: it is a link or a folder, and no lock file", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            held: AtomicBool::new(false),
        })
    }

    /// Takes the lock, without waiting. [`Holder::Nobody`]: it is this caller's now. [`Holder::Here`]: somebody else of this process has it.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn take(&self) -> io::Result<Holder> {
        if self.held.load(Ordering::Acquire) {
            return Ok(Holder::Here);
        }
        if !self.try_lock(LOCKFILE_EXCLUSIVE_LOCK)? {
            return self.named();
        }
        if let Err(error) = self.write_at(&std::process::id().to_le_bytes(), 0) {
            // Nobody would know who has it.
            self.unlock()?;
            return Err(error);
        }
        self.held.store(true, Ordering::Release);
        Ok(Holder::Nobody)
    }

    /// Who has the lock now. Somebody who tries for it at the same moment may not get it.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn holder(&self) -> io::Result<Holder> {
        if self.held.load(Ordering::Acquire) {
            return Ok(Holder::Here);
        }
        // Several may look at the same time.
        if !self.try_lock(0)? {
            return self.named();
        }
        self.unlock()?;
        Ok(Holder::Nobody)
    }

    /// Gives the lock back. For the one who took it.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn release(&self) -> io::Result<()> {
        // Whoever is next may be asked about before it has written its own.
        let written = self.write_at(&[0; NUMBER_BYTES], 0);
        self.unlock()?;
        self.held.store(false, Ordering::Release);
        written
    }

    /// Touches the file, so that whoever looks at it sees that something has changed.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn touch(&self) -> io::Result<()> {
        self.file.set_modified(SystemTime::now())
    }

    /// Writes into the file whose lock it is; for the holder. Only the beginning of a long label is kept.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn set_label(&self, label: &[u8]) -> io::Result<()> {
        self.write_at(label.get(..LABEL_MAX).unwrap_or(label), NUMBER_BYTES as u64)
    }

    /// Whether the file says that it is somebody else's lock. A file that says nothing may be anybody's.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn is_labelled_otherwise(&self, label: &[u8]) -> io::Result<bool> {
        let label = label.get(..LABEL_MAX).unwrap_or(label);
        let mut there = vec![0; LABEL_MAX];
        let length = self.read_at(&mut there, NUMBER_BYTES as u64)?;
        Ok(length > 0 && there.get(..length) != Some(label))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this file: nobody can remove it while it is open.
    #[allow(
        clippy::unused_self,
        reason = "the signature is that of systems where files can be removed"
    )]
    pub(crate) const fn is_there(&self) -> bool {
        true
    }

    /// Whom the file names, while somebody else has the lock.
    fn named(&self) -> io::Result<Holder> {
        let mut number = [0; NUMBER_BYTES];
        let length = self.read_at(&mut number, 0)?;
        Ok(match u32::from_le_bytes(number) {
            // It was taken a moment ago, or is only looked at.
            0 => Holder::Process(None),
            _ if length < NUMBER_BYTES => Holder::Process(None),
            pid if pid == std::process::id() => Holder::Here,
            pid => Holder::Process(Some(pid)),
        })
    }

    /// As much as there is, up to the buffer's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut length = 0_usize;
        loop {
            let part = buffer.get_mut(length..).unwrap_or_default();
            match self.file.seek_read(part, offset.saturating_add(length as u64))? {
                0 => return Ok(length),
                count => length = length.saturating_add(count),
            }
        }
    }

    fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.file.seek_write(bytes, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(count..).unwrap_or_default();
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }

    /// `false`: somebody has it, this very file apart.
    fn try_lock(&self, exclusive: LOCK_FILE_FLAGS) -> io::Result<bool> {
        let mut place = locked_byte();
        // SAFETY: the handle is open while `self` is borrowed and was not opened for overlapped use, so that the call is over when it
        // returns; `place` is valid until then.
        let locked = unsafe {
            LockFileEx(
                self.file.as_raw_handle(),
                exclusive | LOCKFILE_FAIL_IMMEDIATELY,
                0,
                1,
                0,
                &raw mut place,
            )
        };
        if locked != 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        let taken = |code: i32| [ERROR_LOCK_VIOLATION, ERROR_IO_PENDING].contains(&(code as u32));
        match error.raw_os_error().is_some_and(taken) {
            true => Ok(false),
            false => Err(error),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        let mut place = locked_byte();
        // SAFETY: as in `try_lock`.
        match unsafe { UnlockFileEx(self.file.as_raw_handle(), 0, 1, 0, &raw mut place) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl Drop for RecordLock {
    fn drop(&mut self) {
        if self.held.load(Ordering::Acquire) {
            // Closing the file gives it back as well, though not at once.
            let _ = self.release();
        }
    }
}

fn locked_byte() -> OVERLAPPED {
    let mut place = OVERLAPPED::default();
    place.Anonymous.Anonymous.OffsetHigh = LOCKED_HIGH;
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_lock_until_it_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let first = RecordLock::open(&path).unwrap();
        let second = RecordLock::open(&path).unwrap();
        assert_eq!(first.holder().unwrap(), Holder::Nobody);
        assert_eq!(first.take().unwrap(), Holder::Nobody);
        assert_eq!(first.take().unwrap(), Holder::Here);
        for _ in 0..2 {
            assert_eq!(second.take().unwrap(), Holder::Here);
            assert_eq!(second.holder().unwrap(), Holder::Here);
        }
        first.touch().unwrap();
        first.release().unwrap();
        assert_eq!(second.holder().unwrap(), Holder::Nobody);
        assert_eq!(second.take().unwrap(), Holder::Nobody);
        assert_eq!(first.holder().unwrap(), Holder::Here);
        drop(second);
        assert_eq!(first.take().unwrap(), Holder::Nobody);
    }

    #[test]
    fn the_file_names_its_holder_while_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let (held, asking) = (RecordLock::open(&path).unwrap(), RecordLock::open(&path).unwrap());
        held.take().unwrap();
        for (written, holder) in [
            (0_u32, Holder::Process(None)),
            (u32::MAX, Holder::Process(Some(u32::MAX))),
            (std::process::id(), Holder::Here),
        ] {
            held.write_at(&written.to_le_bytes(), 0).unwrap();
            assert_eq!(asking.holder().unwrap(), holder);
            assert_eq!(asking.take().unwrap(), holder);
        }
        // What a process that was ended has left.
        held.write_at(&u32::MAX.to_le_bytes(), 0).unwrap();
        held.unlock().unwrap();
        held.held.store(false, Ordering::Release);
        assert_eq!(asking.holder().unwrap(), Holder::Nobody);
    }

    #[test]
    fn what_is_no_lock_file_is_refused_and_what_is_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert!(RecordLock::open(folder.path()).is_err());
        let path = folder.path().join("x.lock");
        let lock = RecordLock::open(&path).unwrap();
        assert!(std::fs::remove_file(&path).is_err(), "it is open");
        assert!(lock.is_there());
    }

    #[test]
    fn the_label_tells_whose_lock_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let lock = RecordLock::open(&path).unwrap();
        let other = RecordLock::open(&path).unwrap();
        let long = vec![b'x'; 10 * LABEL_MAX];
        assert!(
            !lock.is_labelled_otherwise(b"a\0b").unwrap(),
            "nobody has said yet"
        );
        lock.take().unwrap();
        assert!(
            !other.is_labelled_otherwise(b"a\0b").unwrap(),
            "a number is no label"
        );
        lock.set_label(b"a\0b").unwrap();
        for (label, otherwise) in [(&b"a\0b"[..], false), (b"a\0", true), (b"", true), (&long, true)] {
            assert_eq!(
                other.is_labelled_otherwise(label).unwrap(),
                otherwise,
                "{label:?}"
            );
        }
        lock.set_label(&long).unwrap();
        assert!(!other.is_labelled_otherwise(&long).unwrap());
    }
}

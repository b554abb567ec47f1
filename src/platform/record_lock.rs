//! Record locks: at most one process at a time holds a file's, and the system says which.
//!
//! Owns what makes fcntl's locks usable: a process holds such a lock whoever in it asks, and loses it when *any* descriptor of the file is
//! closed. So every file is opened once per process, a table says what is held here, and nothing is closed while it is. In return a forked
//! child does not inherit the lock: it ends with the process that took it, whoever else has its descriptors. `bus::host` is the caller.

pub(crate) use super::lock_holder::Holder;

use super::lock::describe;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most of a file's label that is kept and compared, in bytes.
const LABEL_MAX: usize = 4096;

/// The files that are open, by device and inode.
static FILES: Mutex<Option<HashMap<Key, Opened>>> = Mutex::new(None);

type Key = (u64, u64);

#[derive(Debug)]
struct Opened {
    /// The first one is used. There are more when the file was put at another path meanwhile; none may be closed before all can be.
    files: Vec<File>,
    users: usize,
    held: bool,
}

/// A file whose lock can be taken. Dropping the last one of a file in this process releases the lock.
#[derive(Debug)]
pub(crate) struct RecordLock {
    key: Key,
    path: PathBuf,
}

fn table() -> MutexGuard<'static, Option<HashMap<Key, Opened>>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RecordLock {
    /// Opens the file, made with mode 0600 when it is not there. The folder must be one in which nobody else can write.
    ///
    /// # Errors
    /// It is no plain file of this user's, or the system refuses.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // Under the table's lock: between opening and noting, closing another descriptor of the file would go unseen.
        let mut table = table();
        let open = fs::statat(fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|there| key_of(&there));
        if let Some((key, opened)) = open.and_then(|key| Some((key, table.as_mut()?.get_mut(&key)?))) {
            opened.users += 1;
            return Ok(Self {
                key,
                path: path.to_owned(),
            });
        }
        let file = File::from(fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
        let there = fs::fstat(&file)?;
        let kind = FileType::from_raw_mode(there.st_mode);
        let wrong = |what: String| {
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{}: {what}", path.display()),
            ))
        };
        if kind != FileType::RegularFile {
            return wrong(format!("it is {}, and no lock file", describe(kind)));
        }
        if there.st_uid != rustix::process::geteuid().as_raw() {
            return wrong(format!("it belongs to uid {}", there.st_uid));
        }
        if there.st_nlink != 1 {
            return wrong("it has a second name (hard link), or was removed".into());
        }
        let key = key_of(&there);
        match table.get_or_insert_default().entry(key) {
            Entry::Occupied(mut entry) => {
                let opened = entry.get_mut();
                opened.users += 1;
                // Closing it would lose the lock.
                opened.files.push(file);
            }
            Entry::Vacant(entry) => {
                // Keeps the tidying of old files in $XDG_RUNTIME_DIR away, as its specification has it.
                let _ = fs::fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::SVTX);
                entry.insert(Opened {
                    files: vec![file],
                    users: 1,
                    held: false,
                });
            }
        }
        Ok(Self {
            key,
            path: path.to_owned(),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&File, &mut bool) -> io::Result<T>) -> io::Result<T> {
        let mut table = table();
        let opened = table.as_mut().and_then(|table| table.get_mut(&self.key));
        match opened {
            Some(Opened { files, held, .. }) => match files.first() {
                Some(file) => act(file, held),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Takes the lock, without waiting. [`Holder::Nobody`]: it is this caller's now. [`Holder::Here`]: somebody else of this process has it.
    ///
    /// # Errors
    /// The system refuses, or the file was removed (`NotFound`): then it is to be opened anew.
    pub(crate) fn take(&self) -> io::Result<Holder> {
        self.with(|file, held| {
            if *held {
                return Ok(Holder::Here);
            }
            match fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return holder(file),
                Err(error) => return Err(error.into()),
            }
            if !self.is_there() {
                // Who comes next makes a new file and locks that.
                fs::fcntl_lock(file, FlockOperation::NonBlockingUnlock)?;
                return Err(io::ErrorKind::NotFound.into());
            }
            *held = true;
            Ok(Holder::Nobody)
        })
    }

    /// Who has the lock now.
    ///
    /// # Errors
    /// The system refuses, or the file was removed (`NotFound`).
    pub(crate) fn holder(&self) -> io::Result<Holder> {
        self.with(|file, held| match *held {
            true => Ok(Holder::Here),
            false if !self.is_there() => Err(io::ErrorKind::NotFound.into()),
            false => holder(file),
        })
    }

    /// Gives the lock back. For the one who took it.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn release(&self) -> io::Result<()> {
        self.with(|file, held| {
            fs::fcntl_lock(file, FlockOperation::NonBlockingUnlock)?;
            *held = false;
            Ok(())
        })
    }

    /// Touches the file, so that whoever watches it looks at the lock again.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn touch(&self) -> io::Result<()> {
        let now = fs::Timespec {
            tv_sec: 0,
            tv_nsec: fs::UTIME_NOW,
        };
        let times = fs::Timestamps {
            last_access: now,
            last_modification: now,
        };
        self.with(|file, _| Ok(fs::futimens(file, &times)?))
    }

    /// Writes into the file whose lock it is; for the holder. Only the beginning of a long label is kept.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn set_label(&self, label: &[u8]) -> io::Result<()> {
        let label = label.get(..LABEL_MAX).unwrap_or(label);
        self.with(|file, _| file.write_all_at(label, 0))
    }

    /// Whether the file says that it is somebody else's lock. A file that says nothing may be anybody's.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn is_labelled_otherwise(&self, label: &[u8]) -> io::Result<bool> {
        let label = label.get(..LABEL_MAX).unwrap_or(label);
        self.with(|file, _| {
            let mut there = vec![0; LABEL_MAX];
            let mut length = 0_usize;
            loop {
                let part = there.get_mut(length..).unwrap_or_default();
                match file.read_at(part, length as u64) {
                    Ok(0) => break,
                    Ok(count) => length = length.saturating_add(count),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(length > 0 && there.get(..length) != Some(label))
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this file.
    pub(crate) fn is_there(&self) -> bool {
        fs::statat(fs::CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|there| key_of(&there) == self.key)
    }
}

impl Drop for RecordLock {
    fn drop(&mut self) {
        let mut table = table();
        let Some(table) = table.as_mut() else {
            return;
        };
        if let Entry::Occupied(mut entry) = table.entry(self.key) {
            let opened = entry.get_mut();
            opened.users = opened.users.saturating_sub(1);
            if opened.users == 0 {
                entry.remove();
            }
        }
    }
}

#[allow(clippy::unnecessary_cast, reason = "the types differ by system")]
const fn key_of(there: &Stat) -> Key {
    (there.st_dev as u64, there.st_ino as u64)
}

/// Who keeps this process from the lock.
fn holder(file: &File) -> io::Result<Holder> {
    Ok(match fcntl_getlk(file, &Flock::from(FlockType::WriteLock))? {
        None => Holder::Nobody,
        Some(lock) => Holder::Process(
            lock.pid
                .and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_process_has_a_lock_once_and_loses_it_only_by_giving_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let first = RecordLock::open(&path).unwrap();
        let second = RecordLock::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(first.holder().unwrap(), Holder::Nobody);
        assert_eq!(first.take().unwrap(), Holder::Nobody);
        // The system would give it to the same process again and again.
        assert_eq!(second.take().unwrap(), Holder::Here);
        assert_eq!(first.take().unwrap(), Holder::Here);
        // Closing a descriptor of the file would lose the lock; that of `second` is the same one.
        drop(second);
        let third = RecordLock::open(&path).unwrap();
        assert_eq!(third.holder().unwrap(), Holder::Here);
        first.release().unwrap();
        assert_eq!(third.holder().unwrap(), Holder::Nobody);
        assert_eq!(third.take().unwrap(), Holder::Nobody);
        // The last one takes it along.
        drop((first, third));
        assert_eq!(RecordLock::open(&path).unwrap().take().unwrap(), Holder::Nobody);
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_locks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let old = RecordLock::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(old.take().unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(old.holder().unwrap_err().kind(), io::ErrorKind::NotFound);
            assert!(!old.is_there());
            std::fs::write(&path, "").unwrap();
        }
        let new = RecordLock::open(&path).unwrap();
        assert_eq!(new.take().unwrap(), Holder::Nobody);
        drop(old);
        assert_eq!(new.holder().unwrap(), Holder::Here);
    }

    #[test]
    fn what_is_not_a_lock_file_of_this_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("folder")).unwrap();
        symlink(path("nowhere"), path("link")).unwrap();
        std::fs::write(path("one"), "").unwrap();
        std::fs::hard_link(path("one"), path("two")).unwrap();
        for name in ["folder", "link", "one", "two"] {
            assert!(RecordLock::open(&path(name)).is_err(), "{name}");
        }
        assert!(!path("nowhere").exists());
        if rustix::process::geteuid().is_root() {
            std::fs::write(path("foreign"), "").unwrap();
            std::os::unix::fs::chown(path("foreign"), Some(54_321), None).unwrap();
            let error = RecordLock::open(&path("foreign")).unwrap_err().to_string();
            assert!(error.contains("uid 54321"), "{error}");
        }
    }

    #[test]
    fn the_label_tells_whose_lock_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let lock = RecordLock::open(&folder.path().join("x.lock")).unwrap();
        let long = vec![b'x'; 10 * LABEL_MAX];
        assert!(
            !lock.is_labelled_otherwise(b"a\0b").unwrap(),
            "nobody has said yet"
        );
        lock.set_label(b"a\0b").unwrap();
        for (label, otherwise) in [(&b"a\0b"[..], false), (b"a\0", true), (b"", true), (&long, true)] {
            assert_eq!(lock.is_labelled_otherwise(label).unwrap(), otherwise, "{label:?}");
        }
        lock.set_label(&long).unwrap();
        assert!(!lock.is_labelled_otherwise(&long).unwrap());
        assert!(lock.is_labelled_otherwise(&long[1..LABEL_MAX]).unwrap());
    }
}

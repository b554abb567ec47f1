//! A lock file: at most one process at a time holds it, and it says which.
//!
//! Owns the rules for a file that may lie in a directory where others write (`/tmp`): a symbolic link is never
//! followed, a file that is not plainly a lock file of this user is never written. The lock is `flock`, so the
//! kernel releases it with the process, however that ends. `transport::unix` is the caller.

use super::process::holder;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Longest content of a lock file: the digits of a pid and a line feed, with room.
const CONTENT_MAX: u64 = 32;
/// How often the file may be replaced between opening and locking it before that is an error.
const ATTEMPTS: usize = 16;

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A living process of this user holds it.
    #[error("it is held by {}", holder(*pid))]
    Held {
        /// The process, if it has written it yet.
        pid: Option<u32>,
    },
    /// The file belongs to another user.
    #[error("it belongs to uid {uid}")]
    OtherUser {
        /// That user.
        uid: u32,
    },
    /// There is something that is not a lock file.
    #[error("it is {what}")]
    Foreign {
        /// What there is.
        what: &'static str,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A held lock. Dropping it removes the file, if it is still this one, and releases the lock.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock at `path` without waiting, creating the file with mode 0600, and writes this process's id into it.
    ///
    /// # Errors
    /// [`LockError`]; nothing was changed then, but for an empty file that may have been created.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        for _ in 0..ATTEMPTS {
            let mut file = open(path, OFlags::CREATE)?;
            check(&fs::fstat(&file).map_err(io::Error::from)?, &mut file)?;
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(LockError::Held {
                        pid: read_pid(&mut file)?,
                    });
                }
                Err(error) => return Err(LockError::Io(error.into())),
            }
            // The holder before us may have removed the file after we opened it: then the next process would lock
            // a new one while we hold this one.
            if !is_at(&file, path)? {
                continue;
            }
            let lock = Self {
                file,
                path: path.to_owned(),
            };
            lock.write_pid()?;
            return Ok(lock);
        }
        Err(LockError::Io(io::Error::other(
            "it was replaced again and again while it was opened",
        )))
    }

    /// What would keep [`acquire`](Self::acquire) from the lock, without touching anything. That somebody holds it is no such thing.
    ///
    /// # Errors
    /// [`LockError`], but never `Held`.
    #[cfg(feature = "cli")]
    pub fn look(path: &Path) -> Result<(), LockError> {
        match open(path, OFlags::empty()) {
            Ok(mut file) => check(&fs::fstat(&file).map_err(io::Error::from)?, &mut file),
            Err(LockError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write_pid(&self) -> io::Result<()> {
        fs::fchmod(&self.file, Mode::RUSR | Mode::WUSR)?;
        let mut file = &self.file;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Under the lock, so that no other holder's file can be meant. If it fails, an unlocked file stays behind,
        // which the next holder takes over.
        if is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = fs::unlink(&self.path);
        }
    }
}

fn open(path: &Path, or: OFlags) -> Result<File, LockError> {
    // NONBLOCK: a FIFO put there must not hold us up before we can look at it.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match fs::open(path, flags | or, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        // Say what is in the way, where the error code alone does not: EACCES may be a foreign user's file, in a
        // sticky directory even for root.
        Err(error) => match fs::lstat(path) {
            Ok(stat) => Err(refusal(&stat).unwrap_or_else(|| LockError::Io(error.into()))),
            Err(_) => Err(LockError::Io(error.into())),
        },
    }
}

/// Refuses what this user's broker has not made: writing into it could destroy somebody's data.
fn check(stat: &Stat, file: &mut File) -> Result<(), LockError> {
    if let Some(error) = refusal(stat) {
        return Err(error);
    }
    if stat.st_nlink > 1 {
        return Err(LockError::Foreign {
            what: "a file with a second name (hard link)",
        });
    }
    read_pid(file).map(|_| ())
}

fn refusal(stat: &Stat) -> Option<LockError> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Some(LockError::OtherUser { uid: stat.st_uid });
    }
    (kind != FileType::RegularFile).then(|| LockError::Foreign { what: describe(kind) })
}

fn read_pid(file: &mut File) -> Result<Option<u32>, LockError> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(CONTENT_MAX + 1).read_to_end(&mut text)?;
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let pid = std::str::from_utf8(text)
        .ok()
        .and_then(|digits| digits.parse().ok());
    pid.map_or(
        Err(LockError::Foreign {
            what: "a file that does not hold a process id",
        }),
        |pid| Ok(Some(pid)),
    )
}

/// Whether `path` itself (not what a link there points to) is the open `file`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = fs::fstat(file)?;
    match fs::statat(fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (open.st_dev, open.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A file's kind in words, for messages.
#[must_use]
pub fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "a file of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn refused(path: &Path) -> String {
        LockFile::acquire(path).unwrap_err().to_string()
    }

    #[test]
    fn one_holder_at_a_time_and_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let lock = LockFile::acquire(&path).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let pid = std::process::id();
        assert!(matches!(LockFile::acquire(&path), Err(LockError::Held { pid: Some(p) }) if p == pid));
        drop(lock);
        assert!(!path.exists());
        drop(LockFile::acquire(&path).unwrap());
    }

    #[test]
    fn a_dead_holders_file_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        for content in ["999999\n", ""] {
            std::fs::write(&path, content).unwrap();
            let before = std::fs::metadata(&path).unwrap().ino();
            let lock = LockFile::acquire(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().ino(), before);
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{}\n", std::process::id())
            );
            drop(lock);
        }
    }

    #[test]
    fn what_is_not_a_lock_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("data"), "precious data").unwrap();
        std::fs::write(path("one"), "1\n").unwrap();
        std::fs::hard_link(path("one"), path("two")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("link")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(path("fifo"))
                .status()
                .unwrap()
                .success()
        );
        let table = [
            ("data", "does not hold a process id"),
            ("two", "hard link"),
            ("link", "symbolic link"),
            ("directory", "directory"),
            ("fifo", "FIFO"),
        ];
        for (name, what) in table {
            let text = refused(&path(name));
            assert!(text.contains(what), "{name}: {text}");
        }
        assert_eq!(std::fs::read_to_string(path("data")).unwrap(), "precious data");
        assert!(!path("nowhere").exists());
    }

    #[test]
    fn a_replaced_file_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let lock = LockFile::acquire(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = LockFile::acquire(&path).unwrap();
        drop(lock);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}

//! A temporary folder that is removed with its owner, and where the owner was killed, by the next one of its kind.
//!
//! Owns how a living folder is told from a dead one: the owner holds a lock (`flock`) on the folder itself, or on Windows has it open so that
//! nobody may remove it, which the kernel releases with the process. No process numbers, which other namespaces and later processes have as well. What is in a folder is the
//! caller's business. `rob bench` calls it.

use std::io;
use std::path::Path;
#[cfg(windows)]
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The variable that says where temporary files go.
pub const VARIABLE: &str = if cfg!(windows) { "TMP" } else { "TMPDIR" };

/// Folders of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What their names begin with; six more characters follow.
    pub prefix: &'static str,
    /// The names that may be in one, those in a folder before the folder. A folder that holds anything else is left alone: it may be somebody's.
    pub contents: &'static [&'static str],
}

impl Kind {
    /// Whether anything in a folder there may be a socket. On macOS the names of temporary folders take half of what the path of one has.
    #[cfg(unix)]
    fn fits_in(self, place: &Path) -> bool {
        let longest = self.contents.iter().map(|name| name.len()).max();
        let folder = self.prefix.len().saturating_add(RANDOM);
        // With the slash before each.
        let own = folder.saturating_add(longest.unwrap_or(0)).saturating_add(2);
        place.as_os_str().len().saturating_add(own) <= crate::platform::place::PATH_MAX
    }

    /// Pipes are in no folder.
    #[cfg(windows)]
    const fn fits_in(self, _: &Path) -> bool {
        true
    }
}

/// A folder of this process. Dropping it removes the folder with all that is in it.
#[derive(Debug)]
pub struct Scratch {
    #[cfg(windows)]
    open: Option<std::fs::File>,
    folder: TempDir,
    #[cfg(unix)]
    _lock: Option<std::fs::File>,
}

impl Scratch {
    /// Makes a folder that only this user may enter, in the place for temporary files, after a look for those that are left of
    /// this user's processes that were killed. Where the path of a socket in it would be too long, the place is `/tmp`.
    ///
    /// # Errors
    /// When no folder can be made there.
    pub fn new(kind: Kind) -> io::Result<Self> {
        let place = std::env::temp_dir();
        match kind.fits_in(&place) {
            true => Self::new_in(&place, kind),
            false => Self::new_in(Path::new("/tmp"), kind),
        }
    }

    fn new_in(place: &Path, kind: Kind) -> io::Result<Self> {
        sweep(place, kind);
        Self::make(place, kind)
    }

    #[cfg(unix)]
    fn make(place: &Path, kind: Kind) -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            let folder = tempfile::Builder::new()
                .prefix(kind.prefix)
                .permissions(unix::private())
                .tempdir_in(place)?;
            // Between the making and the lock somebody may have taken the folder for a dead one.
            let lock = unix::lock(folder.path())?;
            if lock.is_some() || attempts == ATTEMPTS {
                return Ok(Self { folder, _lock: lock });
            }
            attempts = attempts.saturating_add(1);
        }
    }

    #[cfg(windows)]
    fn make(place: &Path, kind: Kind) -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            let folder = tempfile::Builder::new().prefix(kind.prefix).tempdir_in(place)?;
            // As above.
            let open = windows::hold(folder.path());
            if open.is_some() || attempts == ATTEMPTS {
                return Ok(Self { open, folder });
            }
            attempts = attempts.saturating_add(1);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What somebody has open cannot be removed there, and processes of the owner's that are told to end need a moment for it.
#[cfg(windows)]
impl Drop for Scratch {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        drop(self.open.take());
        let limit = Instant::now() + PATIENCE;
        while std::fs::remove_dir_all(self.folder.path())
            .is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            && Instant::now() < limit
        {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

/// How often a folder may vanish while it is made.
const ATTEMPTS: usize = 16;
/// What `tempfile` adds to the prefix, in characters.
const RANDOM: usize = 6;
/// How many names of the place are looked at: a place with more is not worth the time.
const LOOKED_AT: usize = 100_000;

/// Removes the folders of that kind whose owners are gone. What cannot be removed stays for the next time.
fn sweep(place: &Path, kind: Kind) {
    let Ok(entries) = std::fs::read_dir(place) else {
        return;
    };
    for entry in entries.take(LOOKED_AT).flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(kind.prefix));
        let is_ours = random.is_some_and(|rest| {
            rest.len() == RANDOM && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        // A link is none of ours.
        if is_ours && entry.file_type().is_ok_and(|entry| entry.is_dir()) {
            #[cfg(unix)]
            let _ = unix::remove_dead(&entry.path(), kind);
            #[cfg(windows)]
            let _ = windows::remove_dead(&entry.path(), kind);
        }
    }
}

/// Removes a folder that is dead, unless there is more in it than there may be.
fn remove(folder: &Path, kind: Kind) -> io::Result<()> {
    for name in kind.contents {
        let path = folder.join(name);
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
    }
    // Only when nothing is left in it.
    std::fs::remove_dir(folder)
}

#[cfg(windows)]
mod windows {
    use super::Kind;
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::Path;
    use windows_sys::Win32::Storage::FileSystem::{
        DELETE, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_LIST_DIRECTORY,
        FILE_SHARE_READ, FILE_SHARE_WRITE,
    };

    fn open(folder: &Path, access: u32) -> io::Result<File> {
        OpenOptions::new()
            .access_mode(access)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
            .open(folder)
    }

    /// Has a folder that was just made open, so that nobody can remove it; `None` when it is gone, or somebody looks whether it is dead.
    pub(super) fn hold(folder: &Path) -> Option<File> {
        open(folder, FILE_LIST_DIRECTORY).ok()
    }

    pub(super) fn remove_dead(folder: &Path, kind: Kind) -> io::Result<()> {
        // The system refuses it while its owner has it open.
        drop(open(folder, DELETE)?);
        super::remove(folder, kind)
    }
}

#[cfg(unix)]
mod unix {
    use super::Kind;
    use rustix::fs::{FlockOperation, Mode, OFlags, Stat};
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// The mode of a folder that only its user may enter.
    pub(super) fn private() -> std::fs::Permissions {
        std::os::unix::fs::PermissionsExt::from_mode(0o700)
    }

    fn open(folder: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::open(folder, flags, Mode::empty())?.into())
    }

    /// Whether the path still leads to what was opened.
    fn is_at(opened: &Stat, folder: &Path) -> bool {
        rustix::fs::lstat(folder)
            .is_ok_and(|there| (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino))
    }

    /// Locks a folder that was just made; `None` when it is gone, and where a file system knows no such locks.
    pub(super) fn lock(folder: &Path) -> io::Result<Option<File>> {
        let opened = match open(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        // Who looks for dead folders holds it for a moment only.
        let locked = rustix::fs::flock(&opened, FlockOperation::LockExclusive).is_ok();
        let there = is_at(&rustix::fs::fstat(&opened)?, folder);
        Ok((locked && there).then_some(opened))
    }

    pub(super) fn remove_dead(folder: &Path, kind: Kind) -> io::Result<()> {
        let opened = open(folder)?;
        let stat = rustix::fs::fstat(&opened)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive)?;
        if !is_at(&stat, folder) {
            return Ok(());
        }
        super::remove(folder, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const KIND: Kind = Kind {
        prefix: "scratch.tmp-",
        contents: &["one", "two.lock", "inner/three", "inner"],
    };

    fn left(place: &Path, name: &str, contents: &[&str]) -> PathBuf {
        let folder = place.join(name);
        std::fs::create_dir(&folder).unwrap();
        for name in contents {
            let above = Path::new(name).parent().unwrap();
            std::fs::create_dir_all(folder.join(above)).unwrap();
            std::fs::write(folder.join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn what_the_dead_have_left_is_removed_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let living = Scratch::new_in(place.path(), KIND).unwrap();
        std::fs::write(living.path().join("one"), "").unwrap();
        let dead = [
            left(place.path(), "scratch.tmp-AbCd01", &["one", "two.lock"]),
            left(place.path(), "scratch.tmp-AbCd02", &[]),
            left(place.path(), "scratch.tmp-AbCd06", &["inner/three"]),
        ];
        let foreign = [
            // A name of another length, something in it that is nobody's business, another prefix, no folder of its own.
            left(place.path(), "scratch.tmp-results", &["one"]),
            left(place.path(), "scratch.tmp-AbCd03", &["figures.json"]),
            left(place.path(), "scratch.tmp-AbCd07", &["inner/figures.json"]),
            left(place.path(), "other.tmp-AbCd04", &["one"]),
        ];
        let link = place.path().join("scratch.tmp-AbCd05");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&foreign[3], &link).unwrap();
        let second = Scratch::new_in(place.path(), KIND).unwrap();
        assert!(dead.iter().all(|folder| !folder.exists()));
        assert!(foreign.iter().all(|folder| folder.exists()));
        assert!(foreign[3].join("one").exists());
        assert_eq!(link.symlink_metadata().is_ok(), cfg!(unix));
        assert!(living.path().join("one").exists(), "its owner lives");
        let paths = [living.path().to_owned(), second.path().to_owned()];
        drop((living, second));
        assert!(paths.iter().all(|folder| !folder.exists()));
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_is_its_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let folder = Scratch::new_in(place.path(), KIND).unwrap();
        let mode = folder.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    #[cfg(unix)]
    fn a_socket_fits_into_it() {
        // The longest of its paths is `/scratch.tmp-AbCd01/inner/three`.
        let most = crate::platform::place::PATH_MAX - 1 - 18 - 1 - 11;
        for (length, fits) in [(most, true), (most + 1, false)] {
            let place = PathBuf::from("/".repeat(length));
            assert_eq!(KIND.fits_in(&place), fits, "{length}");
        }
    }

    #[test]
    fn there_must_be_a_place_for_it() {
        let place = tempfile::tempdir().unwrap();
        assert!(Scratch::new_in(&place.path().join("missing"), KIND).is_err());
    }
}

//! Files that nobody but their owner may read: tokens and the keys of certificates.
//!
//! Owns how they are opened (never through a link, judged by what was opened and not by what the path says), the
//! check of owner and mode, and making one. What is in them is the caller's business. Called by the client, by
//! `transport::tls` and by the daemon.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a secret was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The system refused; a link counts as that.
    #[error("{}: cannot be opened: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a plain file.
    #[error("{}: is not a plain file (links are not followed)", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error("{}: has mode {mode:04o}, so that others may know it; make a new one, or `chmod 600` it if nobody has read it", path.display())]
    TooWide {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody who is not this user and not root.
    #[error("{}: belongs to uid {uid}, not to this user or root", path.display())]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Somebody else owns it or may write it, by its access list.
    #[error("{}: {source}", path.display())]
    Untrusted {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It is larger than anything of its kind.
    #[error("{}: has more than {max} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most that is read, in bytes.
        max: usize,
    },
}

/// Reads a secret of at most `max` bytes. It blocks for as long as the file system takes.
///
/// Under Unix the file must be a plain one, belong to this user or root, and have no permission for group or others.
/// Elsewhere links are refused, and with the feature `cli` under Windows what anybody but this user, SYSTEM and administrators owns or may
/// write; who may read a file is decided by its folder there.
///
/// # Errors
/// [`SecretError`]; nothing of the content is in it.
pub fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let failed = |source| SecretError::Io {
        path: path.to_owned(),
        source,
    };
    let file = super::plain::open_any(path, false).map_err(failed)?;
    check(path, &file.metadata().map_err(failed)?)?;
    #[cfg(all(windows, feature = "cli"))]
    super::access::judge(&file).map_err(|source| SecretError::Untrusted {
        path: path.to_owned(),
        source,
    })?;
    // With all of its room from the start: a buffer that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(max.saturating_add(1)));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut content).map_err(failed)?;
    if content.len() > max {
        return Err(SecretError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    Ok(content)
}

/// Makes a file that only this user may read. It must not exist.
///
/// # Errors
/// What the system says; `AlreadyExists` when there is something at the path, a link included.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of a secret is of no use to anybody; the error is what counts.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Makes a folder, and those above it, that only this user may enter; one that exists is left as it is.
///
/// # Errors
/// What the system says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Looks whether somebody else could put files into a folder: it must be one itself, no link to one, belong to root or to this
/// user, and be writable by nobody else; the same with the feature `cli` under Windows. Elsewhere it must be there.
///
/// # Errors
/// What is wrong with the folder; `NotFound` when there is none.
pub fn check_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::{Mode, OFlags};
        use std::os::unix::fs::MetadataExt;
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(folder) => std::fs::File::from(folder),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                return wrong("is a symbolic link, or no folder".into());
            }
            Err(error) => return Err(error.into()),
        };
        let about = folder.metadata()?;
        if about.uid() != 0 && about.uid() != rustix::process::geteuid().as_raw() {
            return wrong(format!(
                "the folder belongs to uid {}, not to this user or root",
                about.uid()
            ));
        }
        if about.mode() & 0o022 != 0 {
            return wrong(format!(
                "others can write the folder (mode {:04o}); chmod go-w it",
                about.mode() & 0o7777
            ));
        }
        Ok(())
    }
    #[cfg(all(windows, feature = "cli"))]
    return super::access::judge_itself(path);
    #[cfg(not(any(unix, all(windows, feature = "cli"))))]
    std::fs::metadata(path).map(|_| ())
}

fn check(path: &Path, found: &std::fs::Metadata) -> Result<(), SecretError> {
    let path = || path.to_owned();
    if !found.is_file() {
        return Err(SecretError::NotAFile { path: path() });
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (uid, mode) = (found.uid(), found.mode() & 0o7777);
        if uid != 0 && uid != rustix::process::geteuid().as_raw() {
            return Err(SecretError::Owner { path: path(), uid });
        }
        if mode & 0o077 != 0 {
            return Err(SecretError::TooWide { path: path(), mode });
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_new_secret_is_only_for_its_owner_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/secret");
        create_folder(path.parent().unwrap()).unwrap();
        create(&path, b"content").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let above = folder.path().join("a").metadata().unwrap();
        assert_eq!(above.permissions().mode() & 0o077, 0);
        assert_eq!(read(&path, 7).unwrap().as_slice(), b"content");
        assert!(matches!(
            read(&path, 6),
            Err(SecretError::TooLarge { max: 6, .. })
        ));
        let again = create(&path, b"other").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn whatever_others_could_have_read_or_put_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, b"content").unwrap();
        for mode in [0o640, 0o604, 0o660, 0o610, 0o601, 0o666] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = read(&path, 100).unwrap_err();
            assert!(
                matches!(error, SecretError::TooWide { mode: m, .. } if m == mode),
                "{error}"
            );
            assert!(!error.to_string().contains("content"));
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
        assert!(read(&path, 100).is_ok());
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link, 100), Err(SecretError::Io { .. })));
        assert!(matches!(
            read(folder.path(), 100),
            Err(SecretError::NotAFile { .. })
        ));
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .arg("-m600")
            .arg(&fifo)
            .status();
        if made.is_ok_and(|status| status.success()) {
            assert!(matches!(read(&fifo, 100), Err(SecretError::NotAFile { .. })));
        }
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert!(matches!(
                read(&path, 100),
                Err(SecretError::Owner { uid: 65_534, .. })
            ));
        }
    }
}

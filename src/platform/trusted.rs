//! Files that decide who may do what, and must not have been written by just anybody.
//!
//! Owns the check of owner, mode and size of such a file, made on the open descriptor, so that nothing can be put in its place
//! between the look and the reading. What is in it is its reader's business. Called by the daemon, for policies and
//! descriptions of services.

use super::plain;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// The largest such file, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// The text of a file that belongs to root or to this user, and that nobody else can write.
///
/// # Errors
/// What is wrong with the file, or that it cannot be read (a process without descriptors left cannot).
pub fn read(path: &Path) -> io::Result<String> {
    let (file, about) = plain::open(path)?;
    judge(&file, &about)?;
    plain::text(plain::content(file, BYTES_MAX)?)
}

/// Whether a folder belongs to root or to this user, and nobody else can put files there.
///
/// # Errors
/// What is wrong with it.
pub fn folder(path: &Path) -> io::Result<()> {
    judge_folder(path, &std::fs::metadata(path)?)
}

/// The same of the folder at this very path: a link is refused, for whoever made it can turn it when it was looked at.
///
/// # Errors
/// What is wrong with it.
pub fn folder_itself(path: &Path) -> io::Result<()> {
    #[cfg(windows)]
    return super::access::judge_itself(path);
    #[cfg(not(windows))]
    {
        let about = std::fs::symlink_metadata(path)?;
        if !about.is_dir() {
            let error = "it is a link, or no folder";
            return Err(io::Error::new(io::ErrorKind::NotADirectory, error));
        }
        judge_folder(path, &about)
    }
}

/// Whether a file, and the folders in which it lies and is named, are such that nobody but root and this user can change or replace it.
///
/// # Errors
/// What is wrong with them.
pub fn file(path: &Path) -> io::Result<()> {
    let (file, about) = plain::open(path)?;
    judge(&file, &about)?;
    place(path)
}

/// Whether nobody else can put another file in the place of this one: of the folder in which it lies, and of the one in which it is named.
///
/// # Errors
/// What is wrong with them.
pub fn place(path: &Path) -> io::Result<()> {
    for path in [path.to_owned(), std::fs::canonicalize(path)?] {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let about = std::fs::metadata(parent)?;
        if is_shared(&about) {
            continue;
        }
        judge_folder(parent, &about).map_err(|error| {
            io::Error::new(error.kind(), format!("its folder {}: {error}", parent.display()))
        })?;
    }
    Ok(())
}

/// Whether everybody may put files there, but only their owners may move them, as in `/tmp`.
#[cfg(unix)]
fn is_shared(about: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    about.uid() == 0 && about.mode() & 0o1000 != 0
}

#[cfg(not(unix))]
const fn is_shared(_: &Metadata) -> bool {
    false
}

/// Why a program is not to be started: under Unix everybody can write it, under Windows anybody who is not this user, SYSTEM or an administrator
/// owns it or can write it. `None`: no such thing is known.
///
/// # Errors
/// What the system says when it is looked at.
pub fn wrong_program(path: &Path) -> io::Result<Option<String>> {
    #[cfg(windows)]
    {
        let judged = File::open(path).map(|file| super::access::judge(&file))?;
        match judged {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let open = std::fs::metadata(path)?.mode() & 0o002 != 0;
        Ok(open.then(|| "everybody can write it; chmod o-w it".into()))
    }
    #[cfg(not(any(unix, windows)))]
    std::fs::metadata(path).map(|_| None)
}

#[cfg(windows)]
fn judge(file: &File, _: &Metadata) -> io::Result<()> {
    super::access::judge(file)
}

#[cfg(windows)]
fn judge_folder(path: &Path, _: &Metadata) -> io::Result<()> {
    super::access::judge(&super::access::open_folder(path, true)?)
}

#[cfg(unix)]
fn judge(_: &File, about: &Metadata) -> io::Result<()> {
    judge_folder(Path::new(""), about)
}

#[cfg(unix)]
fn judge_folder(_: &Path, about: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let wrong = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    if about.uid() != 0 && Some(about.uid()) != crate::transport::current_uid() {
        return wrong(format!(
            "it belongs to uid {}; it must belong to root or to this user",
            about.uid()
        ));
    }
    if about.mode() & 0o022 != 0 {
        return wrong(format!(
            "others can write it (mode {:04o}); chmod go-w it",
            about.mode() & 0o7777
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(windows, ignore = "wine's mklink makes no junctions")]
    fn a_link_is_not_the_folder_itself() {
        let folder = tempfile::tempdir().unwrap();
        let [own, link] = ["own", "link"].map(|name| folder.path().join(name));
        std::fs::create_dir(&own).unwrap();
        folder_itself(&own).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&own, &link).unwrap();
        #[cfg(windows)]
        {
            // Nobody needs a right to make one of this kind.
            let made = std::process::Command::new("cmd")
                .args(["/c", "mklink", "/J"])
                .args([&link, &own])
                .output()
                .unwrap();
            assert!(made.status.success() && link.exists(), "{made:?}");
        }
        super::folder(&link).expect("what it leads to is trusted");
        assert_eq!(
            folder_itself(&link).unwrap_err().kind(),
            io::ErrorKind::NotADirectory
        );
    }

    #[test]
    fn a_program_is_trusted_with_the_folder_in_which_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, "text").unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        file(&path).unwrap();
        #[cfg(unix)]
        for (of, mode) in [(path.as_path(), 0o777), (folder.path(), 0o777)] {
            use std::os::unix::fs::PermissionsExt;
            let before = std::fs::metadata(of).unwrap().permissions();
            std::fs::set_permissions(of, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(file(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            std::fs::set_permissions(of, before).unwrap();
        }
    }

    #[test]
    fn a_program_of_everybody_is_not_to_be_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.exe");
        assert_eq!(wrong_program(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "text").unwrap();
        assert_eq!(wrong_program(&path).unwrap(), None);
        #[cfg(unix)]
        for (mode, good) in [(0o775, true), (0o777, false), (0o602, false)] {
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let wrong = wrong_program(&path).unwrap();
            assert_eq!(wrong.is_none(), good, "{mode:o}: {wrong:?}");
        }
    }

    #[test]
    fn only_what_nobody_else_can_write_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, "text").unwrap();
        #[cfg(unix)]
        for (mode, good) in [
            (0o600, true),
            (0o644, true),
            (0o440, true),
            (0o620, false),
            (0o602, false),
            (0o666, false),
        ] {
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let read = read(&path).map_err(|error| error.kind());
            let expected = if good {
                Ok("text".to_owned())
            } else {
                Err(io::ErrorKind::PermissionDenied)
            };
            assert_eq!(read, expected, "{mode:o}");
        }
        assert_eq!(
            read(folder.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        let large = folder.path().join("large");
        std::fs::write(&large, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(
            read(&large)
                .unwrap_err()
                .to_string()
                .contains("more than 1048576 bytes")
        );
    }
}

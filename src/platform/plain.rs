//! Plain files, opened and read such that nothing at their path can hold the process up.
//!
//! Owns the opening (a named pipe or a device does not block it), the look at what was opened, the limit of size, and which names are no files'. Whom a
//! file must belong to and what is in it is its reader's business. Called for settings, policies, secrets and certificates.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// What is said of anything else than a plain file.
const NO_FILE: &str =
    "it is no regular file (a folder, a named pipe or a device is not read); name a plain file";

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, NO_FILE)
}

/// Opens what is at the path without waiting for anybody: a named pipe without a writer opens at once. The caller must look
/// at what it got, as [`open`] does.
///
/// # Errors
/// What the system says; a link is an error unless `follow`.
pub(super) fn open_any(path: &Path, follow: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        if let Ok(flags) = i32::try_from(flags.bits()) {
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
        }
    }
    #[cfg(windows)]
    if !follow {
        // FILE_FLAG_OPEN_REPARSE_POINT: the link itself is opened, and is not a plain file.
        std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, 0x0020_0000);
    }
    options.open(path).map_err(|error| match error.kind() {
        // Windows opens no folder so, and says that access is denied.
        io::ErrorKind::PermissionDenied if path.is_dir() => no_file(),
        _ => error,
    })
}

/// Opens a regular file, through links too.
///
/// # Errors
/// What the system says; `InvalidInput` when there is something else at the path.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = open_any(path, true)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(no_file());
    }
    Ok((file, about))
}

/// All that is in an open file, of at most `max` bytes.
///
/// # Errors
/// What the system says; `FileTooLarge` when there is more.
pub fn content(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {max} bytes"),
        ));
    }
    Ok(content)
}

/// All that is in a regular file of at most `max` bytes.
///
/// # Errors
/// As for [`open`] and [`content`].
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    content(file, max)
}

/// The same for a text.
///
/// # Errors
/// As for [`read`]; `InvalidData` when it is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    text(read(path, max)?)
}

pub(super) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8; save it as UTF-8"))
}

/// What of a file's name Windows takes for a device, in any folder: the part before its first dot.
#[must_use]
pub fn device_in(name: &str) -> Option<&str> {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let lower = stem.to_ascii_lowercase();
    let numbered = |kind: &str| {
        let number = lower.strip_prefix(kind).unwrap_or_default();
        let mut letters = number.chars();
        let first = letters.next();
        first.is_some_and(|digit| "0123456789\u{b9}\u{b2}\u{b3}".contains(digit)) && letters.next().is_none()
    };
    let named = ["con", "prn", "aux", "nul", "conin$", "conout$"].contains(&lower.as_str());
    (named || numbered("com") || numbered("lpt")).then_some(stem)
}

#[cfg(test)]
mod everywhere {
    use super::*;

    #[test]
    fn a_folder_and_another_encoding_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_text(folder.path(), 4).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::InvalidInput, NO_FILE)
        );
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, b"\xff\xfea\0").unwrap();
        let error = read_text(&path, 4).unwrap_err().to_string();
        assert!(error.contains("save it as UTF-8"), "{error}");
    }

    #[test]
    fn devices_of_windows_are_known_by_their_names() {
        for (name, device) in [
            ("con", Some("con")),
            ("NUL.token", Some("NUL")),
            ("com1", Some("com1")),
            ("COM0.a.b", Some("COM0")),
            ("lpt9 .x", Some("lpt9")),
            ("lpt\u{b2}", Some("lpt\u{b2}")),
            ("conout$", Some("conout$")),
            ("console", None),
            ("com", None),
            ("com10", None),
            ("null.d", None),
            ("a.con", None),
            ("", None),
        ] {
            assert_eq!(device_in(name), device, "{name}");
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_up_to_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, fifo) = (
            folder.path().join("file"),
            folder.path().join("link"),
            folder.path().join("fifo"),
        );
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_text(&link, 4).unwrap(), "text");
        let large = read(&file, 3).unwrap_err();
        assert_eq!(large.to_string(), "it has more than 3 bytes");
        std::fs::write(&file, [0xff]).unwrap();
        assert_eq!(
            read_text(&file, 4).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        for path in [fifo.as_path(), folder.path(), Path::new("/dev/zero")] {
            let error = read(path, 4).unwrap_err().to_string();
            assert!(error.contains("no regular file"), "{}: {error}", path.display());
        }
    }
}

//! A file for a log that must not fill the disk.
//!
//! Owns where lines go and when the file is begun anew: what it held is kept beside it once, as `NAME.log.old`. What lines say is not its
//! business. `ipc-broker` writes to one when it runs where nobody reads its standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The largest such file, in bytes; what is kept beside it is of the same size at most.
pub const BYTES_MAX: u64 = 8 << 20;

/// The file; clones write to the same one.
#[derive(Clone, Debug)]
pub struct LogFile(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    length: u64,
    max: u64,
}

impl LogFile {
    /// Writes behind what is in the file, or to a new one.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, BYTES_MAX)
    }

    fn open_with(path: &Path, max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Inner {
            path: path.to_owned(),
            file,
            length,
            max,
        }))))
    }
}

impl Inner {
    /// Begins anew: what was written goes aside or, where that is refused, is lost. Where that is refused as well, the file goes on, and it is
    /// tried again when as much has been written once more: a log that is too long is better than one that says nothing.
    fn begin_anew(&mut self) {
        let mut old = self.path.clone().into_os_string();
        old.push(".old");
        let moved = std::fs::rename(&self.path, &old);
        match moved.and_then(|()| OpenOptions::new().append(true).create(true).open(&self.path)) {
            Ok(file) => self.file = file,
            // By a handle of its own: under Windows one that appends may not cut. The other one appends at the new end.
            Err(_) => drop(OpenOptions::new().write(true).truncate(true).open(&self.path)),
        }
        self.length = 0;
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = inner.length.saturating_add(bytes.len() as u64);
        if inner.length > 0 && after > inner.max {
            inner.begin_anew();
        }
        let written = inner.file.write(bytes)?;
        inner.length = inner.length.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_limit_and_what_came_last_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log");
        std::fs::write(&path, "before\n").unwrap();
        let mut log = LogFile::open_with(&path, 20).unwrap();
        for number in 10..20 {
            writeln!(log.clone(), "{number}").unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= 20);
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "14\n15\n16\n17\n18\n19\n"
        );
        let old = std::fs::read_to_string(folder.path().join("b.log.old")).unwrap();
        assert_eq!(old, "before\n10\n11\n12\n13\n");
        // A line that is longer than all is written whole, alone.
        log.write_all(&[b'x'; 30]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 30);
    }

    #[test]
    fn where_nothing_can_go_aside_the_old_is_lost_and_not_the_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log");
        // No system lets a file take the place of a folder.
        std::fs::create_dir(folder.path().join("b.log.old")).unwrap();
        let mut log = LogFile::open_with(&path, 21).unwrap();
        for number in 10..20 {
            writeln!(log, "{number}").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "17\n18\n19\n");
    }

    #[test]
    #[cfg(windows)]
    fn who_keeps_the_file_open_stops_no_line() {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_SHARE_READ: u32 = 1;
        const FILE_SHARE_WRITE: u32 = 2;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log");
        let mut log = LogFile::open_with(&path, 21).unwrap();
        // Who does not share deleting lets nobody rename it.
        let _viewer = OpenOptions::new()
            .read(true)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .open(&path)
            .unwrap();
        for number in 10..20 {
            writeln!(log, "{number}").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "17\n18\n19\n");
    }
}

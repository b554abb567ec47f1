//! The unfinished file: it stands beside the others as `NAME.part`, and becomes `NAME` when all of it is there.
//!
//! Owns what is done to it on disk, and that one server at a time has it open. It knows neither clients nor checksums; `server.rs` calls
//! it.

use super::transfer::{PART, TransferError};
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Tries to open a file that another server is just done with.
const TRIES: usize = 10;

/// An unfinished file, which nobody else writes as long as this exists.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: PathBuf,
}

/// Makes a folder that is only the user's, unless it is there.
pub(crate) async fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(folder).await
}

fn storage(path: &Path, error: &io::Error) -> TransferError {
    TransferError::Storage(format!("{}: {error}", path.display()))
}

impl Part {
    /// Opens the unfinished file of a name, and says how many bytes an earlier try has left there; after `restart`, none.
    pub(crate) async fn open(folder: &Path, name: &str, restart: bool) -> Result<(Self, u64), TransferError> {
        let path = folder.join(format!("{name}{PART}"));
        for _ in 0..TRIES {
            let opened = open_own(&path).await.map_err(|error| storage(&path, &error))?;
            let file = match opened {
                Opened::Own(file) => file,
                #[cfg(unix)]
                Opened::Moved => continue,
                Opened::Taken => break,
            };
            let part = Self { file, path };
            if restart {
                part.cut(0).await?;
            }
            let about = part.file.metadata().await;
            let have = about.map_err(|error| part.failed(&error))?.len();
            return Ok((part, have));
        }
        Err(TransferError::Busy(path))
    }

    fn failed(&self, error: &io::Error) -> TransferError {
        storage(&self.path, error)
    }

    /// Fills the buffer with the next bytes.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransferError> {
        let read = self.file.read_exact(buffer).await;
        read.map(drop).map_err(|error| self.failed(&error))
    }

    /// Leaves so many bytes.
    pub(crate) async fn cut(&self, bytes: u64) -> Result<(), TransferError> {
        self.file
            .set_len(bytes)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// Writes behind what was read or written last.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.file
            .write_all(bytes)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// What was written is the system's afterwards.
    pub(crate) async fn flush(&mut self) -> Result<(), TransferError> {
        self.file.flush().await.map_err(|error| self.failed(&error))
    }

    /// Puts the file in its place once it is on the disk. A link that stands there is replaced, and what it leads to is not touched.
    pub(crate) async fn become_whole(&self, whole: &Path, size: u64) -> Result<PathBuf, TransferError> {
        self.file.sync_all().await.map_err(|error| self.failed(&error))?;
        let there = self
            .file
            .metadata()
            .await
            .map_err(|error| self.failed(&error))?
            .len();
        if there != size {
            let text = format!("it has {there} bytes, and {size} were written: somebody else has changed it");
            return Err(self.failed(&io::Error::other(text)));
        }
        let moved = fs::rename(&self.path, whole).await;
        moved.map_err(|error| storage(whole, &error))?;
        Ok(whole.to_owned())
    }

    /// Takes the file away.
    pub(crate) async fn remove(&self) -> Result<(), TransferError> {
        fs::remove_file(&self.path)
            .await
            .map_err(|error| self.failed(&error))
    }
}

enum Opened {
    Own(File),
    /// Another server has it.
    Taken,
    /// Between opening and locking it, another server has put it in its place: the path leads to another file now, or to none.
    #[cfg(unix)]
    Moved,
}

/// Opens a file for this server alone. The system ends the lock with the program, however that ends.
#[cfg(unix)]
async fn open_own(path: &Path) -> io::Result<Opened> {
    use rustix::fs::{FlockOperation, OFlags, flock};
    use rustix::io::Errno;
    use std::os::unix::fs::MetadataExt as _;

    let file_only = |about: std::fs::Metadata| match about.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
    };
    // Said of a link too, which would be followed to whatever somebody else has chosen.
    if let Ok(about) = fs::symlink_metadata(path).await {
        file_only(about)?;
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    // Opening a pipe would wait for somebody; both flags also hold when the file was changed for something else just now.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits());
    options.custom_flags(flags.map_err(io::Error::other)?);
    let file = options.open(path).await?;
    let about = file.metadata().await?;
    file_only(about.clone())?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Opened::Taken),
        Err(error) => return Err(error.into()),
    }
    match fs::symlink_metadata(path).await {
        Ok(now) if (now.dev(), now.ino()) == (about.dev(), about.ino()) => Ok(Opened::Own(file)),
        Ok(_) => Ok(Opened::Moved),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Opened::Moved),
        Err(error) => Err(error),
    }
}

/// Opens a file for this server alone: nobody else may open it meanwhile, only move it.
#[cfg(windows)]
async fn open_own(path: &Path) -> io::Result<Opened> {
    const SHARE_DELETE: u32 = 4;
    const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    const SHARING_VIOLATION: i32 = 32;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.share_mode(SHARE_DELETE).custom_flags(OPEN_REPARSE_POINT);
    let file = match options.open(path).await {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => return Ok(Opened::Taken),
        Err(error) => return Err(error),
    };
    match file.metadata().await?.is_file() {
        true => Ok(Opened::Own(file)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
    }
}

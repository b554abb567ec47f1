//! Where the bytes come from that are sent: a file, or any number of made-up ones, so that there is something to send.
//!
//! Owns reading them from any place on, into a buffer of the caller: no more of them is in memory. `client.rs` calls it.

use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Bytes in order.
#[derive(Debug)]
pub(crate) enum Source {
    File { file: File, size: u64, path: PathBuf },
    Made { at: u64, size: u64 },
}

impl Source {
    /// The bytes of a file. What else can be opened, as a pipe or a device, has no size that could be told before.
    pub(crate) async fn open(path: &Path) -> io::Result<Self> {
        let named = |error| of(path, &error);
        // Looked at before it is opened: opening a pipe waits for who writes into it.
        let about = tokio::fs::metadata(path).await.map_err(named)?;
        if !about.is_file() {
            let kind = if about.is_dir() {
                "a folder"
            } else {
                "a pipe or a device"
            };
            return Err(wrong(path, &format!("it is {kind}; only files are sent")));
        }
        let mut file = File::open(path).await.map_err(named)?;
        let size = file.metadata().await.map_err(named)?.len();
        if size == 0 && file.read(&mut [0]).await.map_err(named)? > 0 {
            // As those in /proc.
            let text = "it says that it has 0 bytes and has some; copy it into a file, and send that";
            return Err(wrong(path, text));
        }
        let path = path.to_owned();
        Ok(Self::File { file, size, path })
    }

    /// So many bytes that look random and are the same each time.
    pub(crate) const fn made(size: u64) -> Self {
        Self::Made { at: 0, size }
    }

    pub(crate) const fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } | Self::Made { size, .. } => *size,
        }
    }

    /// The next read begins here.
    pub(crate) async fn seek(&mut self, to: u64) -> io::Result<()> {
        match self {
            Self::File { file, path, .. } => match file.seek(io::SeekFrom::Start(to)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(of(path, &error)),
            },
            Self::Made { at, .. } => {
                *at = to;
                Ok(())
            }
        }
    }

    /// Fills the buffer with the next bytes.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File { file, path, .. } => match file.read_exact(buffer).await {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(wrong(path, "it has become shorter meanwhile; send it again"))
                }
                Err(error) => Err(of(path, &error)),
            },
            Self::Made { at, .. } => {
                *at = fill(*at, buffer);
                Ok(())
            }
        }
    }
}

/// The system's error, with the path, which the system leaves out.
fn of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn wrong(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", path.display()))
}

/// Made-up bytes from the place `at` on; returns the place behind them. Each eight of them follow from their place alone.
pub(crate) fn fill(mut at: u64, buffer: &mut [u8]) -> u64 {
    let mut rest = buffer;
    while !rest.is_empty() {
        let word = mixed(at / 8).to_le_bytes();
        let skip = usize::try_from(at % 8).unwrap_or(0);
        let word = word.get(skip..).unwrap_or_default();
        let len = word.len().min(rest.len());
        let (now, later) = rest.split_at_mut(len);
        now.copy_from_slice(word.get(..len).unwrap_or_default());
        at += u64::try_from(len).unwrap_or(0);
        rest = later;
    }
    at
}

/// The finishing steps of SplitMix64: neighbours come out very different.
const fn mixed(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

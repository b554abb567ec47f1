//! What a transfer has of its file, and what it takes next.
//!
//! Owns the rules of a transfer: which names and sizes are taken, that each byte comes once and in its place, the checksum, where a
//! broken transfer goes on, and when progress is worth telling. Pure: it opens no file and no connection. `server.rs` and
//! `client.rs` ask it.

use std::fmt;
use std::path::PathBuf;

/// Longest name of a file, in bytes.
pub(crate) const NAME_MAX: usize = 255;
/// Smallest and largest chunk, in bytes.
pub(crate) const CHUNK: std::ops::RangeInclusive<u32> = 1024..=4 * 1024 * 1024;

/// Most bytes of what is there that are compared by one call, so that each is answered soon, however large the file is.
pub(crate) const CHECK_MAX: u64 = 16 * 1024 * 1024;

/// Why a transfer is refused, or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransferError {
    #[error("`{}` is no name for a file here: {reason}", name.escape_debug())]
    Name { name: String, reason: &'static str },
    #[error("the file has {size} bytes, and {most} are the most here")]
    TooLarge { size: u64, most: u64 },
    #[error("chunks of {bytes} bytes are not taken: {} to {} bytes", CHUNK.start(), CHUNK.end())]
    Chunk { bytes: u32 },
    #[error("a chunk for byte {came} came, and byte {expected} is the next: ask for the transfer again")]
    OutOfPlace { expected: u64, came: u64 },
    #[error("{came} bytes came for a file of {size}")]
    TooMuch { size: u64, came: u64 },
    #[error("{received} of {size} bytes are there: send the rest, or ask for the transfer again")]
    Unfinished { received: u64, size: u64 },
    #[error(
        "the checksum of what arrived is {arrived}, that of the file is {sent}: send it again from the beginning"
    )]
    Corrupt { arrived: Checksum, sent: Checksum },
    #[error("this connection has no transfer {0}; another connection may have taken it over")]
    NoTransfer(u64),
    #[error("this connection has {0} transfers open: finish some")]
    TooMany(usize),
    #[error(
        "{have} bytes are there, of which {from} are compared, and at most {CHECK_MAX} at once: not up to {to}"
    )]
    Check { from: u64, have: u64, to: u64 },
    #[error("another server is writing {}: start each with a --folder of its own", .0.display())]
    Busy(PathBuf),
    #[error("the file cannot be written: {0}")]
    Storage(String),
}

impl TransferError {
    /// The name by which a client tells it from others.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Name { .. } => "Name",
            Self::TooLarge { .. } => "TooLarge",
            Self::Chunk { .. } => "Chunk",
            Self::OutOfPlace { .. } => "OutOfPlace",
            Self::TooMuch { .. } => "TooMuch",
            Self::Unfinished { .. } => "Unfinished",
            Self::Corrupt { .. } => "Corrupt",
            Self::NoTransfer(_) => "NoTransfer",
            Self::TooMany(_) => "TooMany",
            Self::Check { .. } => "Check",
            Self::Busy(_) => "Busy",
            Self::Storage(_) => "Storage",
        }
    }
}

/// CRC-32 of bytes: it finds what goes wrong on the way; it is no proof against somebody who forges.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Checksum(pub(crate) u32);

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A checksum of what was seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summing(crc32fast::Hasher);

impl Summing {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn sum(&self) -> Checksum {
        Checksum(self.0.clone().finalize())
    }
}

/// A name that stays in its folder: one plain part of a path, and none of the names that end in `.part`, which are the server's own.
pub(crate) fn plain_name(name: &str) -> Result<&str, TransferError> {
    let reason = match name {
        "" => "it is empty",
        _ if name.len() > NAME_MAX - PART.len() => "it is too long",
        _ if name.ends_with(PART) => "such names are those of unfinished files",
        _ if name.contains(['/', '\\', ':']) => "it leads to another folder",
        _ if name.starts_with('.') => "it begins with a dot",
        _ if name.contains(char::is_control) => "it has a control character",
        _ => return Ok(name),
    };
    Err(TransferError::Name {
        name: name.to_owned(),
        reason,
    })
}

/// What stands behind the name of an unfinished file.
pub(crate) const PART: &str = ".part";

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Incoming {
    size: u64,
    received: u64,
    sum: Summing,
    /// What was received when progress was told last.
    told: u64,
}

impl Incoming {
    /// A transfer of a file of so many bytes, of which `received` are there already, with their checksum.
    pub(crate) const fn new(size: u64, received: u64, sum: Summing) -> Self {
        Self {
            size,
            received,
            sum,
            told: received,
        }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn sum(&self) -> Checksum {
        self.sum.sum()
    }

    /// Takes the next bytes. After an error the transfer is as before.
    pub(crate) fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<(), TransferError> {
        if offset != self.received {
            return Err(TransferError::OutOfPlace {
                expected: self.received,
                came: offset,
            });
        }
        let came = u64::try_from(bytes.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        let came = came.unwrap_or(u64::MAX);
        if came > self.size {
            return Err(TransferError::TooMuch {
                size: self.size,
                came,
            });
        }
        self.sum.add(bytes);
        self.received = came;
        Ok(())
    }

    /// What was received, when it is worth telling: each hundredth of the file, and the end. So a transfer tells at most 101 times.
    pub(crate) fn news(&mut self) -> Option<u64> {
        let step = self.size.div_ceil(100).max(1);
        let ended = self.received == self.size && self.told < self.size;
        if !ended && self.received - self.told < step {
            return None;
        }
        self.told = self.received;
        Some(self.received)
    }

    /// The end: all bytes are there, and they are those that were sent.
    pub(crate) fn finish(&self, sent: Checksum) -> Result<(), TransferError> {
        if self.received != self.size {
            return Err(TransferError::Unfinished {
                received: self.received,
                size: self.size,
            });
        }
        let arrived = self.sum();
        match arrived == sent {
            true => Ok(()),
            false => Err(TransferError::Corrupt { arrived, sent }),
        }
    }
}

/// Where a transfer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the first byte; nothing was there.
    Beginning,
    /// At this byte: what the server has is the same.
    Resume(u64),
    /// At the first byte, since what the server has is of another file.
    Restart,
}

/// Decides where to begin from what the server has, how much of that was compared, and the two checksums of that much.
pub(crate) fn start(have: u64, compared: u64, theirs: Checksum, own: Checksum) -> Start {
    match have {
        0 => Start::Beginning,
        _ if compared == have && theirs == own => Start::Resume(have),
        _ => Start::Restart,
    }
}

/// The first place that is this far, of a hundred.
pub(crate) fn place(hundredth: u64, total: u64) -> u64 {
    u64::try_from((u128::from(total) * u128::from(hundredth)).div_ceil(100)).unwrap_or(total)
}

/// How far it is, of a hundred.
pub(crate) fn percent(received: u64, total: u64) -> u64 {
    match total {
        0 => 100,
        _ => u64::try_from(u128::from(received.min(total)) * 100 / u128::from(total)).unwrap_or(100),
    }
}

/// A bar of so many characters: `[#####-----]  50%`.
pub(crate) fn bar(received: u64, total: u64, width: u64) -> String {
    let percent = percent(received, total);
    let full = usize::try_from(percent * width / 100).unwrap_or(0);
    let rest = usize::try_from(width).unwrap_or(0) - full;
    format!("[{}{}] {percent:3}%", "#".repeat(full), "-".repeat(rest))
}

/// Bytes as people write them.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

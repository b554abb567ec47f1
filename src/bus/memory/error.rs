//! Why memory could not be had, reached or handed on.
//!
//! Owns the error of the memory rooms and its texts. It knows no system call: what the system said comes along as it is.

use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Why a region could not be made, mapped, read, written, sealed or taken from a message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// Larger than any region may be.
    #[error("a region of {size} bytes is too large, the most is {max} bytes: use several regions")]
    TooLarge {
        /// What was asked for, in bytes.
        size: u64,
        /// The most, in bytes.
        max: u64,
    },
    /// A range that does not lie inside the region.
    #[error(
        "bytes {} to {} are not inside the region of {size} bytes",
        range.start,
        range.end
    )]
    OutOfRange {
        /// What was asked for; a start above the end is meant as it is.
        range: Range<usize>,
        /// Bytes of the region.
        size: usize,
    },
    /// It cannot be changed in place: others hold it, or may hold it again.
    #[error(
        "the region is shared: drop the other handles of this process before map(), or change it with write_at() if it was shared writable"
    )]
    Shared,
    /// It cannot be changed at all any more.
    #[error("the region is sealed and never changes again: make a new one")]
    Sealed,
    /// There is no slice of what another process may be changing.
    #[error(
        "the region may still change: seal() it before view(), or copy it out with read_at(), to_vec() or reader()"
    )]
    Changing,
    /// A region of a registry is written again after its use, so it cannot be sealed or shared for writing.
    #[error("the region belongs to a registry, which uses it again: make one with MemoryRegion::new()")]
    Pooled,
    /// The registry holds as much as its limits let it.
    #[error(
        "the registry has {regions} regions with {bytes} bytes in use, its limit: receivers keep them, or raise its limits"
    )]
    RegistryFull {
        /// Regions in use.
        regions: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The attachment that came is not memory: another kind of descriptor, or none at all.
    #[error("the attachment is no shared memory: {0}")]
    NotMemory(&'static str),
    /// The memory that came is shorter than its sender says.
    #[error(
        "the memory has {actual} bytes, its sender says {declared}: its sender is broken, or has cut it off"
    )]
    Truncated {
        /// What its sender says.
        declared: u64,
        /// What there is.
        actual: u64,
    },
    /// This process was forked from the one that made the memory, which may be changing it.
    #[error(
        "this process was forked from the one that made the region, and shares it: make a new region after a fork"
    )]
    Forked,
    /// It cannot be described in a message.
    #[error(transparent)]
    Entry(#[from] super::EntryError),
    /// The system refused, for want of memory, addresses or descriptors say.
    #[error("cannot {doing}: {error}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        #[source]
        error: Arc<io::Error>,
    },
}

impl MapError {
    /// For `map_err`: what was tried when the system refused.
    pub(super) fn system(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::System {
            doing,
            error: Arc::new(error),
        }
    }
}

impl From<MapError> for io::Error {
    fn from(error: MapError) -> Self {
        let kind = match &error {
            MapError::TooLarge { .. } | MapError::OutOfRange { .. } | MapError::Entry(_) => {
                io::ErrorKind::InvalidInput
            }
            MapError::Shared | MapError::Changing => io::ErrorKind::ResourceBusy,
            MapError::Sealed => io::ErrorKind::ReadOnlyFilesystem,
            MapError::Pooled | MapError::Forked => io::ErrorKind::Unsupported,
            MapError::RegistryFull { .. } => io::ErrorKind::QuotaExceeded,
            MapError::NotMemory(_) => io::ErrorKind::InvalidData,
            MapError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            MapError::System { error, .. } => error.kind(),
        };
        Self::new(kind, error)
    }
}

//! Moving a connection's bytes into memory that both ends share.
//!
//! Owns the question whether a stream can, and the four steps: offer, accept, and the moment of each direction. When they are taken
//! is agreed in frames (`Kind::Ring`), which are not known here. Only Unix sockets on Linux can.

use super::Stream;
use crate::message::Attachment;
use std::io;

/// The least and the most bytes of one direction of a ring.
pub const RING_BYTES: (u32, u32) = (64 * 1024, 16 * 1024 * 1024);

/// Whether a ring may have so many bytes for each direction.
#[must_use]
pub const fn is_ring_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes >= RING_BYTES.0 && bytes <= RING_BYTES.1
}

impl Stream {
    /// Whether [`offer_ring`](Self::offer_ring) may succeed on this transport and system.
    #[must_use]
    pub const fn has_rings(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unix(_) => true,
            _ => false,
        }
    }

    /// Makes shared memory with `bytes` for each direction, a power of two within [`RING_BYTES`]. What is returned is for
    /// the peer's [`accept_ring`](Self::accept_ring). No byte takes another way yet. `fits` is asked whether those descriptors may be had;
    /// when not, nothing of it is kept.
    ///
    /// # Errors
    /// `Unsupported`; `InvalidInput` for another size; `AlreadyExists` the second time; `QuotaExceeded` for what does not fit;
    /// else the system's, for lack of memory or descriptors.
    pub fn offer_ring(
        &self,
        bytes: u32,
        fits: impl Fn(&[Attachment]) -> bool,
    ) -> io::Result<Vec<Attachment>> {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.upgrade().offer(bytes, &fits),
            _ => {
                let _ = (bytes, fits);
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    /// Takes an offer back that the peer does not take, or has not been sent, with its memory. The peer may be offered another one.
    pub fn withdraw_ring(&mut self) {
        #[cfg(unix)]
        if let Self::Unix(stream) = self {
            stream.upgrade_mut().withdraw();
        }
    }

    /// Takes what a peer has offered. No byte takes another way yet.
    ///
    /// # Errors
    /// `InvalidData` for what is no offer of that size, or memory that could be taken away; else as
    /// [`offer_ring`](Self::offer_ring).
    pub fn accept_ring(&self, given: &[Attachment], bytes: u32) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.upgrade().accept(given, bytes),
            _ => {
                let _ = (given, bytes);
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    /// From now on bytes are written to the ring; attachments still go through the socket, and arrive no later than before.
    /// Reading and writing are from now on to be waited for in one task.
    pub fn write_to_ring(&self) {
        #[cfg(unix)]
        if let Self::Unix(stream) = self {
            stream.upgrade().start_writing();
        }
    }

    /// Whether bytes are written to a ring: without a system call, unless the peer sleeps.
    #[must_use]
    pub fn writes_to_ring(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.upgrade().writes(),
            _ => false,
        }
    }

    /// Whether bytes are read from a ring: without a system call.
    #[must_use]
    pub fn reads_from_ring(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.upgrade().reads(),
            _ => false,
        }
    }

    /// From now on bytes are read from the ring: the peer has written its last frame to the socket. `early`: the read that brought
    /// that frame has brought the attachments of the first message behind it as well, and the one byte that they came with.
    pub fn read_from_ring(&self, early: bool) {
        let _ = early;
        #[cfg(unix)]
        if let Self::Unix(stream) = self {
            stream.upgrade().start_reading(early);
        }
    }
}

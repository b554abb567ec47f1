//! Memory of a registry: one process writes it again and again, others read copies of it in between.
//!
//! Owns the only mapping that may write it, and the question whether anybody else holds it still. Which memory is used for what
//! the registry decides; a region has it on lease.

use super::mapping::Mapping;
use super::own::{Maker, Own};
use super::system::{self, Descriptor};
use super::{MapError, lock};
use std::sync::{Arc, Mutex};

/// Memory that only this process writes, and only while nobody else holds it.
#[derive(Debug)]
pub(super) struct Pooled {
    descriptor: Descriptor,
    mapping: Mapping,
    lent: bool,
    maker: Maker,
}

impl Pooled {
    /// New memory, zeros.
    ///
    /// # Errors
    /// The system's; also where it cannot keep other processes from writing.
    pub(super) fn create(size: usize) -> Result<Self, MapError> {
        let (descriptor, mapping) = Own::create(size)?.into_writer()?;
        Ok(Self {
            descriptor,
            mapping,
            lent: false,
            maker: Maker::here(),
        })
    }

    pub(super) const fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// All bytes, as their last use has left them.
    ///
    /// # Errors
    /// [`MapError::Shared`] from [`lend`](Self::lend) until [`reclaim`](Self::reclaim).
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) fn bytes(&mut self) -> Result<&mut [u8], MapError> {
        self.maker.check()?;
        if self.lent {
            return Err(MapError::Shared);
        }
        // SAFETY: `Own` has made the mapping for writing, of memory with this length that cannot shrink. It is the only one that may
        // write: before `into_writer` nobody else had a descriptor, and since then the system lets no descriptor write or be mapped to
        // write (by a seal, or by an access list that admits nobody); a forked child has the mapping too, and is refused by `maker`. This process reaches it by `self.mapping` only, which
        // the slice borrows. Others may read while it is written, if they break the rules; what they see then is theirs to bear.
        Ok(unsafe { self.mapping.bytes_mut() })
    }

    /// A reference for others, who can only read by it. It counts as one holder until its last copy is gone.
    ///
    /// # Errors
    /// The system's; where `/proc` is not mounted there is none.
    pub(super) fn lend(&mut self) -> Result<Descriptor, MapError> {
        let doing = "open the shared memory again for its receivers";
        let reader = system::reopen(&self.descriptor, false).map_err(MapError::system(doing))?;
        self.lent = true;
        Ok(reader)
    }

    /// Whether nobody else holds it (any more). One system call, none when it was not lent.
    pub(super) fn reclaim(&mut self) -> bool {
        if self.lent {
            // When the system does not answer, somebody may have it.
            self.lent = !matches!(system::others(&self.descriptor), Ok(0));
        }
        !self.lent
    }
}

/// Where memory is when no region of this process has it.
pub(super) type Home = Arc<Mutex<Option<Pooled>>>;

/// Memory that a region has. It goes home when the region's last handle in this process is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    memory: Option<Pooled>,
    home: Home,
}

impl Lease {
    /// What is at home, if anything is.
    pub(super) fn take(home: &Home) -> Option<Self> {
        let memory = lock(home).take()?;
        Some(Self {
            memory: Some(memory),
            home: home.clone(),
        })
    }

    /// # Errors
    /// [`MapError::Shared`] for what is at home already; that is not so before the lease is dropped.
    pub(super) fn memory(&mut self) -> Result<&mut Pooled, MapError> {
        self.memory.as_mut().ok_or(MapError::Shared)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *lock(&self.home) = self.memory.take();
    }
}

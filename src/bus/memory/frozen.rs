//! Memory that never changes again, as the system promises.
//!
//! Owns the one way to a slice of memory that another process made: the promise was asked for before, and nothing that anybody does
//! takes it back. `region` calls it for what was received and for what this process has sealed.

use super::MapError;
use super::mapping::Mapping;
use super::system::{Descriptor, Examined};
use std::sync::{Arc, OnceLock};

/// Immutable memory; mapped at the first look.
#[derive(Debug)]
pub(super) struct Frozen {
    descriptor: Arc<Descriptor>,
    size: usize,
    mapping: OnceLock<Mapping>,
}

impl Frozen {
    /// The first `size` bytes.
    ///
    /// # Errors
    /// The memory as it was, when there is no such promise or there are not so many bytes.
    pub(super) fn new(memory: Examined, size: usize) -> Result<Self, Examined> {
        if !memory.is_immutable() || memory.length() < size as u64 {
            return Err(memory);
        }
        Ok(Self {
            descriptor: memory.into_descriptor(),
            size,
            mapping: OnceLock::new(),
        })
    }

    pub(super) const fn descriptor(&self) -> &Arc<Descriptor> {
        &self.descriptor
    }

    /// All bytes. Mapped once, by one system call that touches no page.
    ///
    /// # Errors
    /// The system's, for want of addresses say.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) fn bytes(&self) -> Result<&[u8], MapError> {
        let mapping = match self.mapping.get() {
            Some(mapping) => mapping,
            None => {
                let new = Mapping::new(&self.descriptor, self.size, false)
                    .map_err(MapError::system("map the shared memory"))?;
                self.mapping.get_or_init(|| new)
            }
        };
        // SAFETY: `new` takes memory only that the system has promised (`Examined` is made by nobody else, of this very descriptor,
        // which `self` keeps) to have at least `size` bytes for ever and never to be written again, by any process, this one
        // included; the system makes that promise only when no writable mapping is left.
        Ok(unsafe { mapping.bytes() })
    }
}

//! Memory that nobody but its maker can reach yet.
//!
//! Owns [`Own`]: the descriptor leaves it only with the end of it, so until then its bytes are this process's alone. `region` decides
//! when that end has come, `pooled` makes its memory of one.

use super::MapError;
use super::mapping::Mapping;
use super::range;
use super::system::{self, Descriptor};
use std::io;
use std::sync::Arc;

/// Memory of this process alone. Zeros at first.
#[derive(Debug)]
pub(super) struct Own {
    descriptor: Descriptor,
    size: usize,
    mapping: Option<Mapping>,
    maker: Maker,
}

/// The process that made memory. A forked child has the same memory and believes that it is its alone; it may not change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maker(u32);

impl Maker {
    pub(super) fn here() -> Self {
        Self(std::process::id())
    }

    /// # Errors
    /// [`MapError::Forked`] in a child of it.
    pub(super) fn check(self) -> Result<(), MapError> {
        match self.0 == std::process::id() {
            true => Ok(()),
            false => Err(MapError::Forked),
        }
    }
}

/// The descriptor that others may have, or the memory as it was.
pub(super) type GivenAway = Result<Arc<Descriptor>, (Own, MapError)>;
/// A way to give memory away.
pub(super) type GiveAway = fn(Own) -> GivenAway;

impl Own {
    /// # Errors
    /// The system's, for want of descriptors say. Pages are taken at their first touch, not here.
    pub(super) fn create(size: usize) -> Result<Self, MapError> {
        let descriptor = system::create(size).map_err(MapError::system("make shared memory"))?;
        Ok(Self {
            descriptor,
            size,
            mapping: None,
            maker: Maker::here(),
        })
    }

    pub(super) const fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn mapped(&mut self) -> Result<&mut Mapping, MapError> {
        let mapping = match self.mapping.take() {
            Some(mapping) => mapping,
            None => system::reserve(&self.descriptor, self.size)
                .and_then(|()| Mapping::new(&self.descriptor, self.size, true))
                .map_err(MapError::system("map the shared memory"))?,
        };
        Ok(self.mapping.insert(mapping))
    }

    /// All bytes.
    ///
    /// # Errors
    /// The system's, for want of addresses say, or of memory where the system promises no more than it has.
    #[allow(unsafe_code, reason = "shared memory")]
    pub(super) fn bytes(&mut self) -> Result<&mut [u8], MapError> {
        self.maker.check()?;
        let mapping = self.mapped()?;
        // SAFETY: `mapped` maps for writing. `create` has made the memory with this length, which cannot shrink, and only `self` has a
        // descriptor of it (`descriptor` lends it for calls that neither write nor keep it). So no other process can reach it but a
        // forked child, in which every way to change it or to give it away is closed by `maker`; and nobody of this process
        // but through `&mut self`, which the slice borrows.
        Ok(unsafe { mapping.bytes_mut() })
    }

    /// Copies in: without a mapping by the system, which then need not clear the pages first.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`], and the system's.
    pub(super) fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<(), MapError> {
        let range = range::span(offset, bytes.len(), self.size)?;
        self.maker.check()?;
        if self.mapping.is_none() {
            let written = system::write_at(&self.descriptor, offset, bytes);
            return settled(written, bytes.len());
        }
        if let Some(place) = self.bytes()?.get_mut(range) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Gives the memory away such that nobody changes it any more: where the system can promise it, it does.
    ///
    /// # Errors
    /// The system's, with the memory as it was.
    pub(super) fn freeze(self) -> GivenAway {
        self.release(system::freeze, "seal the shared memory")
    }

    /// Gives the memory away, to be changed by everybody who gets it.
    ///
    /// # Errors
    /// The system's, with the memory as it was.
    pub(super) fn open(self) -> GivenAway {
        self.release(system::fix_length, "seal the length of the shared memory")
    }

    fn release(mut self, seal: fn(&Descriptor) -> io::Result<()>, doing: &'static str) -> GivenAway {
        if let Err(forked) = self.maker.check() {
            return Err((self, forked));
        }
        // A mapping that may write keeps the system from sealing.
        self.mapping = None;
        match seal(&self.descriptor) {
            Ok(()) => Ok(Arc::new(self.descriptor)),
            Err(error) => Err((self, MapError::system(doing)(error))),
        }
    }

    /// Keeps the only mapping that may ever write, with the descriptor.
    ///
    /// # Errors
    /// The system's: no such promise can be had.
    pub(super) fn into_writer(mut self) -> Result<(Descriptor, Mapping), MapError> {
        self.maker.check()?;
        self.mapped()?;
        let doing = "keep the shared memory from other writers";
        system::keep_for_writer(&self.descriptor).map_err(MapError::system(doing))?;
        match self.mapping {
            Some(mapping) => Ok((self.descriptor, mapping)),
            None => Err(MapError::Shared),
        }
    }
}

/// All of it was written, or the memory has ended before.
pub(super) fn settled(written: io::Result<usize>, length: usize) -> Result<(), MapError> {
    let written = written.map_err(MapError::system("write to the shared memory"))?;
    if written < length {
        return Err(MapError::Truncated {
            declared: length as u64,
            actual: written as u64,
        });
    }
    Ok(())
}

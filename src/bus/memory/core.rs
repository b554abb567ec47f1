//! What the handles of one region in this process share.
//!
//! Owns the memory of a region as it changes its kind: alone at first, then sealed, shared or lent, never back. What may be
//! done by a handle of whom `region` decides.

use super::frozen::Frozen;
use super::own::{GiveAway, Own, settled};
use super::pool::Free;
use super::pooled::Lease;
use super::system::{self, Descriptor};
use super::{Entry, Kind, MapError, lock, range};
use crate::message::Attachment;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The most bytes of a region: 64 GiB.
pub const SIZE_MAX: u64 = 64 << 30;
/// The most bytes that [`MemoryRegion::view`](super::MemoryRegion::view) copies, of memory that its sender could not seal: 256 MiB.
pub const COPY_MAX: usize = 256 << 20;

/// What the handles of this process share.
pub(super) struct Core {
    size: usize,
    tag: Option<Box<str>>,
    /// Whether the descriptor counts as a holder.
    counted: AtomicBool,
    /// Set once it is promised that the memory never changes.
    frozen: OnceLock<Frozen>,
    /// Immutable by its sender's word only.
    copied: OnceLock<Box<[u8]>>,
    memory: Mutex<Memory>,
    /// Called by the end of all handles.
    free: Mutex<Option<Free>>,
}

impl Drop for Core {
    fn drop(&mut self) {
        let free = self.free.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        free.into_iter().for_each(|free| free());
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("tag", &self.tag)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) enum Memory {
    /// Nobody else reaches it. No slice of it lives while the lock is taken: `map` needs the only handle for as long as its slice is used.
    Own(Own),
    /// As above; used again by a registry.
    Pooled(Lease),
    /// In `frozen`.
    Frozen,
    /// Others may change it, whatever the kind says.
    Loose(Arc<Descriptor>, Kind),
    /// A panic has cut a change of kind short.
    Lost,
}

impl Memory {
    /// Takes the descriptor out of memory that is this process's alone. What comes next the caller puts in its place.
    fn give_away(&mut self, seal: GiveAway) -> Result<Arc<Descriptor>, MapError> {
        let Self::Own(own) = mem::replace(self, Self::Lost) else {
            return Err(MapError::Shared);
        };
        seal(own).map_err(|(own, error)| {
            *self = Self::Own(own);
            error
        })
    }
}

impl Core {
    /// New memory of this process, zeros. `free` is called by the end of all handles.
    ///
    /// # Errors
    /// [`MapError::TooLarge`], and the system's.
    pub(super) fn alone(size: usize, tag: Option<&str>, free: Option<Free>) -> Result<Self, MapError> {
        check_size(size as u64)?;
        let core = Self::new(size, tag, false, Memory::Own(Own::create(size)?));
        *lock(&core.free) = free;
        Ok(core)
    }

    /// Memory that a registry lends.
    pub(super) fn leased(size: usize, tag: Option<&str>, lease: Lease) -> Self {
        Self::new(size, tag, false, Memory::Pooled(lease))
    }

    /// Memory that came with a message, as `MemoryRegion::from_attachment` documents it.
    pub(super) fn received(attachment: Attachment, entry: &Entry) -> Result<Self, MapError> {
        let descriptor = attachment
            .downcast::<Descriptor>()
            .map_err(|_| MapError::NotMemory("it is no descriptor of the system"))?;
        let size = check_size(entry.size())?;
        let mut memory = system::examine(descriptor)?;
        if memory.length() < entry.size() {
            return Err(MapError::Truncated {
                declared: entry.size(),
                actual: memory.length(),
            });
        }
        if entry.is_for_several() {
            memory = memory.reopened(entry.kind() == Kind::Writable);
        }
        let (promised, memory) = match Frozen::new(memory, size) {
            Ok(promised) => (Some(promised), Memory::Frozen),
            Err(loose) => (None, Memory::Loose(loose.into_descriptor(), entry.kind())),
        };
        let core = Self::new(size, entry.tag(), true, memory);
        promised.into_iter().for_each(|promised| core.promise(promised));
        Ok(core)
    }

    fn new(size: usize, tag: Option<&str>, counted: bool, memory: Memory) -> Self {
        Self {
            size,
            tag: tag.map(Into::into),
            counted: AtomicBool::new(counted),
            frozen: OnceLock::new(),
            copied: OnceLock::new(),
            memory: Mutex::new(memory),
            free: Mutex::default(),
        }
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Memory changes its kind once, so this is the first time.
    fn promise(&self, frozen: Frozen) {
        let _ = self.frozen.set(frozen);
    }

    pub(super) fn frozen(&self) -> Option<&Frozen> {
        self.frozen.get()
    }

    /// All bytes, to be changed in place. That no other handle has them is said by `&mut self`.
    pub(super) fn map(&mut self) -> Result<&mut [u8], MapError> {
        match self.memory.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Memory::Own(own) => own.bytes(),
            Memory::Pooled(lease) => lease.memory()?.bytes(),
            Memory::Frozen | Memory::Loose(_, Kind::Immutable) => Err(MapError::Sealed),
            Memory::Loose(..) | Memory::Lost => Err(MapError::Shared),
        }
    }

    pub(super) fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), MapError> {
        let range = range::span(offset, bytes.len(), self.size)?;
        let descriptor = match &mut *lock(&self.memory) {
            Memory::Own(own) => return own.write_at(offset, bytes),
            Memory::Pooled(lease) => {
                let all = lease.memory()?.bytes()?;
                all.get_mut(range)
                    .into_iter()
                    .for_each(|place| place.copy_from_slice(bytes));
                return Ok(());
            }
            Memory::Frozen | Memory::Loose(_, Kind::Immutable) => return Err(MapError::Sealed),
            Memory::Loose(descriptor, Kind::Writable) => descriptor.clone(),
            Memory::Loose(..) | Memory::Lost => return Err(MapError::Shared),
        };
        settled(system::write_at(&descriptor, offset, bytes), bytes.len())
    }

    pub(super) fn share_writable(&self) -> Result<(), MapError> {
        let memory = &mut *lock(&self.memory);
        match memory {
            Memory::Own(_) => {}
            Memory::Loose(_, Kind::Writable) => return Ok(()),
            Memory::Frozen | Memory::Loose(_, Kind::Immutable) => return Err(MapError::Sealed),
            Memory::Pooled(_) | Memory::Loose(_, Kind::Pooled) => return Err(MapError::Pooled),
            Memory::Lost => return Err(MapError::Shared),
        }
        let descriptor = memory.give_away(Own::open)?;
        *memory = Memory::Loose(descriptor, Kind::Writable);
        Ok(())
    }

    pub(super) fn seal(&self) -> Result<(), MapError> {
        let memory = &mut *lock(&self.memory);
        match memory {
            Memory::Own(_) => {}
            Memory::Frozen | Memory::Loose(_, Kind::Immutable) => return Ok(()),
            Memory::Pooled(_) | Memory::Loose(_, Kind::Pooled) => return Err(MapError::Pooled),
            Memory::Loose(..) | Memory::Lost => return Err(MapError::Shared),
        }
        let descriptor = memory.give_away(Own::freeze)?;
        // The promise is asked for as it would be of a peer's memory; a system that makes none gives no slices either.
        *memory = match system::examine(descriptor.clone()).map(|memory| Frozen::new(memory, self.size)) {
            Ok(Ok(frozen)) => {
                self.promise(frozen);
                Memory::Frozen
            }
            _ => Memory::Loose(descriptor, Kind::Immutable),
        };
        Ok(())
    }

    pub(super) fn copy(&self) -> Result<&[u8], MapError> {
        if let Some(copy) = self.copied.get() {
            return Ok(copy);
        }
        if !matches!(*lock(&self.memory), Memory::Loose(_, Kind::Immutable)) {
            return Err(MapError::Changing);
        }
        if self.size > COPY_MAX {
            return Err(MapError::TooLarge {
                size: self.size as u64,
                max: COPY_MAX as u64,
            });
        }
        let mut copy = room(self.size)?;
        self.read_at(0, &mut copy)?;
        Ok(self.copied.get_or_init(|| copy.into_boxed_slice()))
    }

    pub(super) fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), MapError> {
        let read = match self.shared_descriptor() {
            Some(descriptor) => system::read_at(&descriptor, offset, into),
            None => match &mut *lock(&self.memory) {
                Memory::Own(own) => system::read_at(own.descriptor(), offset, into),
                Memory::Pooled(lease) => system::read_at(lease.memory()?.descriptor(), offset, into),
                _ => return Err(MapError::Shared),
            },
        };
        let read = read.map_err(MapError::system("read the shared memory"))?;
        if read < into.len() {
            return Err(MapError::Truncated {
                declared: self.size as u64,
                actual: offset.saturating_add(read) as u64,
            });
        }
        Ok(())
    }

    /// The descriptor of memory that left this process's sole hands.
    fn shared_descriptor(&self) -> Option<Arc<Descriptor>> {
        if let Some(frozen) = self.frozen.get() {
            return Some(frozen.descriptor().clone());
        }
        match &*lock(&self.memory) {
            Memory::Loose(descriptor, _) => Some(descriptor.clone()),
            _ => None,
        }
    }

    pub(super) fn others(&self) -> u32 {
        let others = match self.shared_descriptor() {
            Some(descriptor) => system::others(&descriptor),
            None => match &mut *lock(&self.memory) {
                Memory::Pooled(lease) => match lease.memory() {
                    Ok(memory) => system::others(memory.descriptor()),
                    Err(_) => Ok(0),
                },
                _ => Ok(0),
            },
        };
        others.unwrap_or_default()
    }

    /// A descriptor for a message. When this process keeps handles, it counts apart from theirs.
    pub(super) fn hand_out(&self, kept: bool) -> Result<(Attachment, Kind), MapError> {
        if let Memory::Pooled(lease) = &mut *lock(&self.memory) {
            return Ok((Arc::new(lease.memory()?.lend()?), Kind::Pooled));
        }
        let unshared = self.shared_descriptor().is_none();
        if unshared {
            self.seal()?;
        }
        let descriptor = self.shared_descriptor().ok_or(MapError::Shared)?;
        let kind = match &*lock(&self.memory) {
            Memory::Loose(_, kind) => *kind,
            _ => Kind::Immutable,
        };
        if !self.counted.swap(true, Ordering::Relaxed) {
            // Only the count is wrong when it fails.
            let _ = system::hold(&descriptor);
        }
        match kept {
            true => Ok((another(&descriptor, kind == Kind::Writable), kind)),
            false => Ok((descriptor, kind)),
        }
    }
}

/// A reference that counts on its own; the same one where the system has none.
fn another(descriptor: &Arc<Descriptor>, writable: bool) -> Arc<Descriptor> {
    system::reopen(descriptor, writable).map_or_else(|_| descriptor.clone(), Arc::new)
}

fn check_size(size: u64) -> Result<usize, MapError> {
    let fits = usize::try_from(size).ok().filter(|_| size <= SIZE_MAX);
    fits.ok_or(MapError::TooLarge { size, max: SIZE_MAX })
}

/// Private memory for a copy. A peer says how much, so a failure is an error.
pub(super) fn room(size: usize) -> Result<Vec<u8>, MapError> {
    let mut copy = Vec::new();
    let doing = "get memory for a copy";
    copy.try_reserve_exact(size)
        .map_err(|_| MapError::system(doing)(std::io::ErrorKind::OutOfMemory.into()))?;
    copy.resize(size, 0);
    Ok(copy)
}

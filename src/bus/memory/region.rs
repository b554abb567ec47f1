//! Memory that several processes have at once.
//!
//! Owns [`MemoryRegion`] and what may be done with it when: in place while nobody else can reach it or nobody can change it, by copying
//! otherwise. The kinds of memory keep their own promises (`own`, `pooled`, `frozen`); messages are not known here.

use super::frozen::Frozen;
use super::own::{Own, settled};
use super::pool::Free;
use super::pooled::Lease;
use super::reader::RegionReader;
use super::system::{self, Descriptor};
use super::{Entry, Kind, MapError, lock, range};
use crate::message::Attachment;
use std::fmt;
use std::mem;
use std::ops::RangeBounds;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// The most bytes of a region: 64 GiB.
pub const SIZE_MAX: u64 = 64 << 30;
/// The most bytes that [`MemoryRegion::view`] copies, of memory that its sender could not seal: 256 MiB.
pub const COPY_MAX: usize = 256 << 20;

/// Shared memory, to be sent with messages. Clones are handles to the same memory; the last of this process to be dropped
/// gives this process's hold of it up.
///
/// A new one is this process's alone, and zeros: it is filled in place ([`map`](Self::map)) or by copying ([`write_at`](Self::write_at)).
/// Sending seals it, so that nobody can change it any more and every receiver may look at it in place ([`view`](Self::view)), unless it
/// was [shared for writing](Self::share_writable) or belongs to a registry.
///
/// Its memory begins at a page, so every region is aligned to 4 KiB at least. It costs one descriptor in each process that holds it.
///
/// ```
/// use actix_ipc::bus::memory::MemoryRegion;
///
/// let mut region = MemoryRegion::new(16 << 10);
/// let data = region.map(..).expect("Mapping failed");
/// data[0] = 0x10;
/// ```
#[derive(Clone, Debug)]
pub struct MemoryRegion {
    size: usize,
    core: Result<Arc<Core>, MapError>,
}

/// What the handles of this process share.
struct Core {
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
    free: Option<Free>,
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            free();
        }
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
enum Memory {
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

impl MemoryRegion {
    /// Memory of `size` bytes, zeros; they are taken from the system when they are first touched. It costs two system calls.
    ///
    /// A failure (too large, no descriptor left) shows at the first use: [`map`](Self::map), [`write_at`](Self::write_at), sending it.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self::made(
            size,
            None,
            check_size(size).and_then(|()| Own::create(size)).map(Memory::Own),
        )
    }

    /// Memory with a copy of `bytes`, sealed at once: the cheapest way to send bytes that are there already.
    ///
    /// # Errors
    /// As for [`write_at`](Self::write_at) and [`seal`](Self::seal).
    pub fn copy_of(bytes: &[u8]) -> Result<Self, MapError> {
        let region = Self::new(bytes.len());
        region.write_at(0, bytes)?;
        region.seal()?;
        Ok(region)
    }

    /// Memory that a registry lends.
    pub(super) fn leased(size: usize, tag: Option<&str>, lease: Lease) -> Self {
        Self::made(size, tag, Ok(Memory::Pooled(lease)))
    }

    /// New memory, for registries that cannot use theirs again. `free` is called when the last handle of this process is dropped.
    pub(super) fn unpooled(size: usize, tag: Option<&str>, free: Option<Free>) -> Self {
        let memory = check_size(size).and_then(|()| Own::create(size));
        let core = memory.map(|memory| {
            let mut core = Core::new(size, tag, false, Memory::Own(memory));
            core.free = free;
            Arc::new(core)
        });
        Self { size, core }
    }

    /// What shows at the first use.
    pub(super) const fn failed(size: usize, error: MapError) -> Self {
        Self {
            size,
            core: Err(error),
        }
    }

    fn made(size: usize, tag: Option<&str>, memory: Result<Memory, MapError>) -> Self {
        let core = memory.map(|memory| Arc::new(Core::new(size, tag, false, memory)));
        Self { size, core }
    }

    fn core(&self) -> Result<&Core, MapError> {
        self.core.as_deref().map_err(MapError::clone)
    }

    /// Bytes of the region.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// What its maker calls it: the tag it was allocated with.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.core.as_ref().ok()?.tag.as_deref()
    }

    /// A range of it, to be changed in place, while nobody else can reach it: before it is sent, sealed or shared, and while this is the
    /// only handle. Mapped once; a page is taken from the system at its first touch. Dropping the slice keeps the mapping.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`], [`MapError::Shared`], [`MapError::Sealed`]; for a region that could not be made the reason why,
    /// and the system's.
    pub fn map(&mut self, range: impl RangeBounds<usize>) -> Result<&mut [u8], MapError> {
        let core = self.core.as_mut().map_err(|error| error.clone())?;
        let range = range::resolve(&range, self.size)?;
        let core = Arc::get_mut(core).ok_or(MapError::Shared)?;
        let memory = core.memory.get_mut();
        let all = match memory.unwrap_or_else(std::sync::PoisonError::into_inner) {
            Memory::Own(own) => own.bytes()?,
            Memory::Pooled(lease) => lease.memory()?.bytes()?,
            Memory::Frozen | Memory::Loose(_, Kind::Immutable) => return Err(MapError::Sealed),
            Memory::Loose(..) | Memory::Lost => return Err(MapError::Shared),
        };
        part_mut(all, range)
    }

    /// A range of it in place, once nobody can change it any more: after [`seal`](Self::seal), or received so. Mapped at the first
    /// look, by one system call that touches no page.
    ///
    /// Memory that its sender meant to be immutable and could not seal (other systems than Linux) is copied as a whole at the first
    /// look, when it has at most [`COPY_MAX`] bytes.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`]; [`MapError::Changing`] when somebody may change it; [`MapError::TooLarge`] and
    /// [`MapError::Truncated`] for a copy; and the system's.
    pub fn view(&self, range: impl RangeBounds<usize>) -> Result<&[u8], MapError> {
        let core = self.core()?;
        let range = range::resolve(&range, self.size)?;
        let all = match core.frozen.get() {
            Some(frozen) => frozen.bytes()?,
            None => core.copy()?,
        };
        part(all, range)
    }

    /// Copies bytes out, of a region of any kind, from `offset` on. What others write meanwhile may be in it in part.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`]; [`MapError::Truncated`] when its maker has cut the memory off; and the system's.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), MapError> {
        range::span(offset, into.len(), self.size)?;
        self.core()?.read_at(offset, into)
    }

    /// Copies bytes in, from `offset` on: while the region is this process's alone, or when it is shared for writing. For
    /// the first filling of a large region it takes half the time of [`map`](Self::map).
    ///
    /// # Errors
    /// [`MapError::OutOfRange`], [`MapError::Shared`], [`MapError::Sealed`]; [`MapError::Truncated`] when its maker has cut the
    /// memory off; and the system's.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), MapError> {
        let core = self.core()?;
        let range = range::span(offset, bytes.len(), self.size)?;
        let descriptor = match &mut *lock(&core.memory) {
            Memory::Own(own) => return own.write_at(offset, bytes),
            Memory::Pooled(lease) => {
                part_mut(lease.memory()?.bytes()?, range)?.copy_from_slice(bytes);
                return Ok(());
            }
            Memory::Frozen | Memory::Loose(_, Kind::Immutable) => return Err(MapError::Sealed),
            Memory::Loose(descriptor, Kind::Writable) => descriptor.clone(),
            Memory::Loose(..) | Memory::Lost => return Err(MapError::Shared),
        };
        settled(system::write_at(&descriptor, offset, bytes), bytes.len())
    }

    /// A copy of a range.
    ///
    /// # Errors
    /// As for [`read_at`](Self::read_at); [`MapError::System`] when this process has not so much memory.
    pub fn to_vec(&self, range: impl RangeBounds<usize>) -> Result<Vec<u8>, MapError> {
        let range = range::resolve(&range, self.size)?;
        let mut copy = room(range.len())?;
        self.read_at(range.start, &mut copy)?;
        Ok(copy)
    }

    /// Reads a range from its beginning to its end in parts, by copying: for every kind of region, and about as fast as reading in place.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`]. Everything else shows at reading.
    pub fn reader(&self, range: impl RangeBounds<usize>) -> Result<RegionReader<'_>, MapError> {
        let range = range::resolve(&range, self.size)?;
        Ok(RegionReader::new(self, range))
    }

    /// Makes it immutable for ever, in every process; on systems that cannot promise that, for this process's handles. Its mapping is taken away,
    /// which takes the longer the more pages were touched. Sending does it too. Nothing happens to what is immutable already.
    ///
    /// # Errors
    /// [`MapError::Pooled`], [`MapError::Shared`] for one that is shared for writing; and the system's, `ResourceBusy` say while a
    /// forked child has it mapped.
    pub fn seal(&self) -> Result<(), MapError> {
        self.core()?.seal()
    }

    /// Lets everybody who gets it write to it: it is not sealed when it is sent. From now on it is read and written by copying.
    ///
    /// # Errors
    /// [`MapError::Pooled`], [`MapError::Sealed`]; and the system's.
    pub fn share_writable(&self) -> Result<(), MapError> {
        let core = self.core()?;
        let memory = &mut *lock(&core.memory);
        match mem::replace(memory, Memory::Lost) {
            Memory::Own(own) => {
                let (now, result) = match own.open() {
                    Ok(descriptor) => (Memory::Loose(descriptor, Kind::Writable), Ok(())),
                    Err((own, error)) => (Memory::Own(own), Err(error)),
                };
                *memory = now;
                result
            }
            other => {
                let result = match &other {
                    Memory::Loose(_, Kind::Writable) => Ok(()),
                    Memory::Frozen | Memory::Loose(_, Kind::Immutable) => Err(MapError::Sealed),
                    Memory::Pooled(_) | Memory::Loose(_, Kind::Pooled) => Err(MapError::Pooled),
                    Memory::Own(_) | Memory::Lost => Err(MapError::Shared),
                };
                *memory = other;
                result
            }
        }
    }

    /// Whether nobody, in any process, can change it any more, and it may be looked at in place.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.core.as_ref().is_ok_and(|core| core.frozen.get().is_some())
    }

    /// Who holds the memory: the handles of this process, and one for each other process that received it and each message on its
    /// way that holds it. What a process held that has died does not count; 0 for a region that could not be made.
    ///
    /// The kernel counts. One message to several receivers is one holder until they have taken it. Where `/proc` is not mounted
    /// (Linux), a handle that stays here and what was sent of it count as one. At most 1,024 others are counted. Other Unix systems count this
    /// process's handles only.
    #[must_use]
    pub fn ref_count(&self) -> u32 {
        let Ok(core) = &self.core else { return 0 };
        let here = u32::try_from(Arc::strong_count(core)).unwrap_or(u32::MAX);
        here.saturating_add(core.others())
    }

    /// Takes the region apart for a message: what carries it, and what describes it. What was this process's alone is sealed before.
    /// `several`: more than one receiver is to get it.
    ///
    /// No system call for the last handle of what was sealed before; one more (two in the first place) where this process keeps a handle, or the
    /// region belongs to a registry.
    ///
    /// # Errors
    /// As for [`seal`](Self::seal), except that memory of a registry is lent; the system's, for want of descriptors.
    pub fn into_attachment(self, several: bool) -> Result<(Attachment, Entry), MapError> {
        let core = self.core?;
        let kept = Arc::strong_count(&core) > 1;
        let (descriptor, kind) = core.hand_out(kept)?;
        let entry = Entry::new(core.size as u64, kind, several, core.tag.as_deref())?;
        Ok((descriptor, entry))
    }

    /// Puts together what came with a message. The memory is examined, not mapped: three system calls, and three more when it went to
    /// several receivers, so that this one counts on its own.
    ///
    /// # Errors
    /// [`MapError::NotMemory`] for another kind of descriptor; [`MapError::TooLarge`]; [`MapError::Truncated`] for less memory than
    /// the entry says; and the system's.
    pub fn from_attachment(attachment: Attachment, entry: &Entry) -> Result<Self, MapError> {
        let descriptor = attachment
            .downcast::<Descriptor>()
            .map_err(|_| MapError::NotMemory("it is no descriptor of the system"))?;
        let descriptor = match entry.is_for_several() {
            true => another(&descriptor, entry.kind() == Kind::Writable),
            false => descriptor,
        };
        let size = received_size(entry.size())?;
        let memory = system::examine(descriptor)?;
        if memory.length() < entry.size() {
            return Err(MapError::Truncated {
                declared: entry.size(),
                actual: memory.length(),
            });
        }
        let (frozen, memory) = match Frozen::new(memory, size) {
            Ok(frozen) => (Some(frozen), Memory::Frozen),
            Err(loose) => (None, Memory::Loose(loose.into_descriptor(), entry.kind())),
        };
        let core = Core::new(size, entry.tag(), true, memory);
        if let Some(frozen) = frozen {
            let _ = core.frozen.set(frozen);
        }
        Ok(Self {
            size,
            core: Ok(Arc::new(core)),
        })
    }
}

impl Core {
    fn new(size: usize, tag: Option<&str>, counted: bool, memory: Memory) -> Self {
        Self {
            size,
            tag: tag.map(Into::into),
            counted: AtomicBool::new(counted),
            frozen: OnceLock::new(),
            copied: OnceLock::new(),
            memory: Mutex::new(memory),
            free: None,
        }
    }

    fn seal(&self) -> Result<(), MapError> {
        let memory = &mut *lock(&self.memory);
        match memory {
            Memory::Own(_) => {}
            Memory::Frozen | Memory::Loose(_, Kind::Immutable) => return Ok(()),
            Memory::Pooled(_) | Memory::Loose(_, Kind::Pooled) => return Err(MapError::Pooled),
            Memory::Loose(..) | Memory::Lost => return Err(MapError::Shared),
        }
        let Memory::Own(own) = mem::replace(memory, Memory::Lost) else {
            return Err(MapError::Shared);
        };
        let descriptor = match own.freeze() {
            Ok(descriptor) => descriptor,
            Err((own, error)) => {
                *memory = Memory::Own(own);
                return Err(error);
            }
        };
        // The promise is asked for as it would be of a peer's memory; a system that makes none gives no slices either.
        *memory = match system::examine(descriptor.clone()).map(|memory| Frozen::new(memory, self.size)) {
            Ok(Ok(frozen)) => {
                let _ = self.frozen.set(frozen);
                Memory::Frozen
            }
            _ => Memory::Loose(descriptor, Kind::Immutable),
        };
        Ok(())
    }

    fn copy(&self) -> Result<&[u8], MapError> {
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

    fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), MapError> {
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

    fn others(&self) -> u32 {
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
    fn hand_out(&self, kept: bool) -> Result<(Attachment, Kind), MapError> {
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

fn check_size(size: usize) -> Result<(), MapError> {
    received_size(size as u64).map(drop)
}

fn received_size(size: u64) -> Result<usize, MapError> {
    let fits = usize::try_from(size).ok().filter(|_| size <= SIZE_MAX);
    fits.ok_or(MapError::TooLarge { size, max: SIZE_MAX })
}

/// Private memory for a copy. A peer says how much, so a failure is an error.
fn room(size: usize) -> Result<Vec<u8>, MapError> {
    let mut copy = Vec::new();
    let doing = "get memory for a copy";
    copy.try_reserve_exact(size)
        .map_err(|_| MapError::system(doing)(std::io::ErrorKind::OutOfMemory.into()))?;
    copy.resize(size, 0);
    Ok(copy)
}

fn part(all: &[u8], range: std::ops::Range<usize>) -> Result<&[u8], MapError> {
    let size = all.len();
    all.get(range.clone()).ok_or(MapError::OutOfRange { range, size })
}

fn part_mut(all: &mut [u8], range: std::ops::Range<usize>) -> Result<&mut [u8], MapError> {
    let size = all.len();
    all.get_mut(range.clone())
        .ok_or(MapError::OutOfRange { range, size })
}

//! Memory that several processes have at once.
//!
//! Owns [`MemoryRegion`] and what may be done with it when: in place while nobody else can reach it or nobody can change it, by copying
//! otherwise. The kinds of memory keep their own promises (`own`, `pooled`, `frozen`); messages are not known here.

use super::core::{Core, room};
use super::pool::Free;
use super::pooled::Lease;
use super::reader::RegionReader;
use super::{Entry, MapError, range};
use crate::message::Attachment;
use std::ops::RangeBounds;
use std::sync::Arc;

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

impl MemoryRegion {
    /// Memory of `size` bytes, zeros; they are taken from the system when they are first touched. It costs three system calls.
    ///
    /// A failure (too large, no descriptor left) shows at the first use: [`map`](Self::map), [`write_at`](Self::write_at), sending it.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self::unpooled(size, None, None)
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
        Self {
            size,
            core: Ok(Arc::new(Core::leased(size, tag, lease))),
        }
    }

    /// New memory, for registries that cannot use theirs again. `free` is called when the last handle of this process is dropped.
    pub(super) fn unpooled(size: usize, tag: Option<&str>, free: Option<Free>) -> Self {
        let core = Core::alone(size, tag, free).map(Arc::new);
        Self { size, core }
    }

    /// What shows at the first use.
    pub(super) const fn failed(size: usize, error: MapError) -> Self {
        Self {
            size,
            core: Err(error),
        }
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
        self.core.as_ref().ok()?.tag()
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
        let all = Arc::get_mut(core).ok_or(MapError::Shared)?.map()?;
        let size = all.len();
        all.get_mut(range.clone())
            .ok_or(MapError::OutOfRange { range, size })
    }

    /// A range of it in place, once nobody can change it any more: after [`seal`](Self::seal), or received so. Mapped at the first
    /// look, by one system call that touches no page.
    ///
    /// Memory that its sender meant to be immutable and could not seal (other systems than Linux), or that has holes (other senders than
    /// this library), is copied as a whole at the first look, when it has at most [`COPY_MAX`](super::COPY_MAX) bytes.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`]; [`MapError::Changing`] when somebody may change it; [`MapError::TooLarge`] and
    /// [`MapError::Truncated`] for a copy; and the system's.
    pub fn view(&self, range: impl RangeBounds<usize>) -> Result<&[u8], MapError> {
        let core = self.core()?;
        let range = range::resolve(&range, self.size)?;
        let all = match core.frozen() {
            Some(frozen) => frozen.bytes()?,
            None => core.copy()?,
        };
        let size = all.len();
        all.get(range.clone()).ok_or(MapError::OutOfRange { range, size })
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
        self.core()?.write_at(offset, bytes)
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
        self.core()?.share_writable()
    }

    /// Whether nobody, in any process, can change it any more, and it may be looked at in place.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        let core = self.core.as_ref();
        core.is_ok_and(|core| core.frozen().is_some())
    }

    /// Who holds the memory: the handles of this process, and one for each other process that received it and each message on its
    /// way that holds it. What a process held that has died does not count; 0 for a region that could not be made.
    ///
    /// The kernel counts. One message to several receivers is one holder until they have taken it. Where `/proc` is not mounted
    /// (Linux), a handle that stays here and what was sent of it count as one. At most 1,024 others are counted. Other Unix systems count this
    /// process's handles only. On Windows the registry that the memory belongs to counts too.
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
        let entry = Entry::new(core.size() as u64, kind, several, core.tag())?;
        Ok((descriptor, entry))
    }

    /// Puts together what came with a message. The memory is examined, not mapped: three system calls, and three more when it went to
    /// several receivers, so that this one counts on its own.
    ///
    /// # Errors
    /// [`MapError::NotMemory`] for another kind of descriptor; [`MapError::TooLarge`]; [`MapError::Truncated`] for less memory than
    /// the entry says; and the system's.
    pub fn from_attachment(attachment: Attachment, entry: &Entry) -> Result<Self, MapError> {
        let core = Core::received(attachment, entry)?;
        Ok(Self {
            size: core.size(),
            core: Ok(Arc::new(core)),
        })
    }
}

//! Regions that are used again, for who sends many.
//!
//! Owns [`MemoryRegistry`]: making, lending and giving up. Which memory is taken `pool` decides; whether it is done the kernel says
//! (`pooled`).

use super::pool::{Free, Pool, size_class};
use super::pooled::{Home, Lease, Pooled};
use super::{EntryError, MapError, MemoryRegion, SIZE_MAX, TAG_MAX, lock, system};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often allocations look after all memory by themselves.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much a registry may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Bytes of all its regions together, in use or not. Default: 1 GiB.
    pub bytes: usize,
    /// Regions, in use or not. Each takes one descriptor, and one more while it is on its way. Default: 256.
    pub regions: usize,
    /// How long a region stays that nobody uses. Default: 5 s.
    pub idle: Duration,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            regions: 256,
            idle: Duration::from_secs(5),
        }
    }
}

/// Regions that are used again once all their holders are done with them or dead: for frames that come one after the other. Filling
/// memory a second time takes a tenth of the time of the first.
///
/// A region is in use from its allocation until the last handle of it is dropped here, and every process that received it and every
/// message on its way has given it up: by `drop`, or by dying. The kernel keeps that count, so nobody has to say so. Then
/// it is handed out again, with the bytes of its last use in it.
///
/// Because it will be written again, receivers of such a region read it by copying ([`MemoryRegion::reader`]); [`MemoryRegion::view`] is
/// refused. Nobody but this process can write to it. A receiver that breaks the rules can at worst end the use of a region early for those that got
/// the same message and have not taken it yet.
///
/// On systems where memory cannot be used again (other Unix systems than Linux; Linux before 5.1 or without `/proc`) every region is a new one, and
/// immutable once it is sent.
///
/// ```
/// use actix_ipc::bus::memory::MemoryRegistry;
///
/// let mut registry = MemoryRegistry::default();
/// let mut frame = registry.alloc(8 << 20, None);
/// frame.map(..)?[0] = 1;
/// # Ok::<(), actix_ipc::bus::memory::MapError>(())
/// ```
pub struct MemoryRegistry {
    pool: Pool<Home>,
    looked: Instant,
    reuses: bool,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::with_limits(RegistryLimits::default())
    }
}

impl MemoryRegistry {
    /// An empty registry.
    #[must_use]
    pub fn with_limits(limits: RegistryLimits) -> Self {
        Self {
            pool: Pool::new(limits),
            looked: Instant::now(),
            reuses: system::can_use_again(),
        }
    }

    /// A region of at least `min` bytes, at most a quarter more or a full page: one of the same tag that is done, else a new one. Its
    /// bytes are those of its last use, or zeros. The tag (at most 255 bytes) travels with it.
    ///
    /// Up to nine system calls; two where the next region is done. A failure shows at the region's first use: the limits
    /// ([`MapError::RegistryFull`]), the size, the tag, or the system's.
    pub fn alloc(&mut self, min: usize, tag: Option<&str>) -> MemoryRegion {
        self.allocate(min, tag, None)
    }

    /// The same; `free` is called once all holders of this use of the region are done or dead, by the next [`maintain`](Self::maintain)
    /// or allocation that notices it, or by dropping the registry then. When the registry is dropped before, it is never called.
    ///
    /// Where memory is not used again it is called when the last handle of this process is dropped.
    pub fn alloc_with_free(
        &mut self,
        min: usize,
        tag: Option<&str>,
        free: impl FnOnce() + Send + 'static,
    ) -> MemoryRegion {
        self.allocate(min, tag, Some(Box::new(free)))
    }

    /// Looks whose holders are done, calls what waits for that, and gives up what nobody has used for the idle time. Allocations do it about
    /// once a second by themselves. One system call for each region in use.
    pub fn maintain(&mut self) {
        self.look(Instant::now(), false);
    }

    /// Regions that it has, in use or not, and their bytes.
    #[must_use]
    pub const fn held(&self) -> (usize, usize) {
        self.pool.held()
    }

    /// Whether memory is used again at all. Where not, every region is a new one, and immutable once it is sent.
    #[must_use]
    pub const fn uses_again(&self) -> bool {
        self.reuses
    }

    fn look(&mut self, now: Instant, all: bool) {
        let mut due = Vec::new();
        self.looked = now;
        self.pool.maintain(now, all, &mut due, is_done);
        due.into_iter().for_each(|free| free());
    }

    fn allocate(&mut self, min: usize, tag: Option<&str>, mut free: Option<Free>) -> MemoryRegion {
        let size = match check(min, tag) {
            Ok(size) => size,
            Err(error) => return MemoryRegion::failed(min, error),
        };
        if !self.reuses {
            return MemoryRegion::unpooled(size, tag, free);
        }
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) >= LOOK_EVERY {
            self.look(now, false);
        }
        let shelf = tag.unwrap_or_default();
        let mut due = Vec::new();
        let lent = self.pool.lend(size, shelf, &mut free, &mut due, is_done);
        let lease = lent.and_then(Lease::take);
        // Also a callback that panics finds the registry as it should be.
        due.into_iter().for_each(|free| free());
        match lease {
            Some(lease) => MemoryRegion::leased(size, tag, lease),
            None => self.make(size, tag, free, now),
        }
    }

    fn make(&mut self, size: usize, tag: Option<&str>, free: Option<Free>, now: Instant) -> MemoryRegion {
        if !self.pool.has_room(size) {
            self.look(now, true);
        }
        if !self.pool.has_room(size) {
            let (regions, bytes) = self.pool.held();
            return MemoryRegion::failed(size, MapError::RegistryFull { regions, bytes });
        }
        let home: Home = match Pooled::create(size) {
            Ok(memory) => Arc::new(Mutex::new(Some(memory))),
            Err(error) => return MemoryRegion::failed(size, error),
        };
        let Some(lease) = Lease::take(&home) else {
            return MemoryRegion::failed(size, MapError::Shared);
        };
        self.pool.add(size, tag.unwrap_or_default(), home, free);
        MemoryRegion::leased(size, tag, lease)
    }
}

fn check(min: usize, tag: Option<&str>) -> Result<usize, MapError> {
    if let Some(length) = tag.map(str::len).filter(|length| *length > TAG_MAX) {
        return Err(EntryError::LongTag(length).into());
    }
    let size = size_class(min).filter(|size| *size as u64 <= SIZE_MAX);
    size.ok_or(MapError::TooLarge {
        size: min as u64,
        max: SIZE_MAX,
    })
}

/// Whether no handle of this process has it, and nobody else does.
fn is_done(home: &Home) -> bool {
    lock(home).as_mut().is_some_and(Pooled::reclaim)
}

impl Drop for MemoryRegistry {
    fn drop(&mut self) {
        self.look(self.looked, true);
    }
}

impl fmt::Debug for MemoryRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (regions, bytes) = self.held();
        f.debug_struct("MemoryRegistry")
            .field("regions", &regions)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

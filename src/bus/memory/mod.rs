//! Memory and other kernel objects that travel with messages.
//!
//! Owns [`Object`] (any descriptor), [`MemoryRegion`] (memory that several processes have at once, without copying it) and
//! [`MemoryRegistry`] (regions that are used again). It knows descriptors and attachments, and no message, selector or socket: the
//! bus takes regions apart into an attachment and an [`Entry`] and puts them together again.
//!
//! # Three kinds of sharing
//! Whose memory a receiver looks at decides what it may get:
//!
//! | kind | made by | who may still write | the receiver reads |
//! |---|---|---|---|
//! | immutable | [`MemoryRegion::new`], when it is sent or by [`seal`](MemoryRegion::seal) | nobody: the system promises it | in place ([`view`](MemoryRegion::view)) |
//! | pooled | [`MemoryRegistry::alloc`] | its sender, after its receivers are done | by copying |
//! | writable | [`share_writable`](MemoryRegion::share_writable) | everybody | by copying |
//!
//! A `&[u8]` of memory that somebody else might change would let a broken or hostile peer cause undefined behaviour here. So there is none:
//! such memory is copied out by the system, with [`read_at`](MemoryRegion::read_at), [`to_vec`](MemoryRegion::to_vec) or
//! [`reader`](MemoryRegion::reader), and judged afterwards.
//!
//! # Which one is fast
//! Measured with 8 MiB (`cargo bench --bench memory`, medians on two busy cores of an AMD EPYC): filling fresh memory takes 4.6 ms
//! through [`map`](MemoryRegion::map) and 2.2 ms through [`write_at`](MemoryRegion::write_at), since the system clears fresh pages that
//! are mapped, but not those that it overwrites; filling memory of a registry again 0.13 ms while it is in the cache, 0.35 ms when not.
//! Reading all of it takes 0.67 ms in place and 0.41 ms through a [`reader`](MemoryRegion::reader), which makes no page faults. So
//! frames belong into a registry, and what is made once into a region of its own. Handing memory over costs the same for every size.
//!
//! # No descriptor is trusted
//! What came with a message is examined before it is mapped. Memory that could be cut off, has holes, or is none, is never mapped, so no
//! sender can raise SIGBUS in a receiver. Sealed memory with holes, which this library does not send, is copied as a whole by `view`:
//! mapped, each page of a hole would be taken at its first touch and charged to its reader. A sender can hide holes by reserving as much
//! memory past the end, and so make its readers pay once more for what it has paid itself; where the system promises no more memory
//! than it has (`vm.overcommit_memory=2`, as it was when the process first looked) such holes are looked for as well, at the price of a
//! look at each page (10 ns each).
//!
//! # When a process dies
//! The count of holders is kept by the kernel, as record locks of open files (on Windows as handles). A crash takes them off as
//! `drop` does, also what was still on its way.

mod core;
pub mod entry;
mod error;
mod frozen;
mod mapping;
mod object;
mod own;
mod pool;
#[cfg(test)]
mod pool_tests;
mod pooled;
mod range;
mod reader;
mod region;
#[cfg(test)]
mod region_tests;
mod registry;
mod system;

pub use self::core::{COPY_MAX, SIZE_MAX};
pub use entry::{Entry, EntryError, Kind, TAG_MAX};
pub use error::MapError;
pub use object::Object;
pub use reader::RegionReader;
pub use region::MemoryRegion;
pub use registry::{MemoryRegistry, RegistryLimits};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guard of `mutex`, also after a panic of its last holder: what these mutexes hold is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What each system has for memory between processes.
//!
//! Owns the system calls, behind the same functions on every system: making memory, promises about its length and content, a
//! further reference that is counted on its own, copying in and out, and how many others hold it. It knows no region and no
//! registry.
//!
//! | | Linux | other Unix systems | Windows |
//! |---|---|---|---|
//! | memory | memfd | unlinked file | section |
//! | it never changes | seals | no promise: receivers copy | no promise: receivers copy |
//! | used again by a registry | yes | no | yes |
//! | holders | record locks, one for each open file | not counted | handles |

#[cfg(target_os = "linux")]
mod holders;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod pages;
#[cfg(all(unix, not(target_os = "linux")))]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(super) use holders::{hold, others};
#[cfg(target_os = "linux")]
pub(super) use linux::{
    can_use_again, create, examine, fix_length, freeze, keep_for_writer, reopen, reserve,
};
#[cfg(unix)]
pub(super) use pages::{adopt, map, read_at, unmap, write_at};
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) use unix::{
    can_use_again, create, examine, fix_length, freeze, hold, keep_for_writer, others, reopen, reserve,
};
#[cfg(windows)]
pub(super) use windows::{
    adopt, can_use_again, create, examine, fix_length, freeze, hold, keep_for_writer, map, others, read_at,
    reopen, reserve, unmap, write_at,
};

use std::sync::Arc;

/// What owns a kernel object.
#[cfg(unix)]
pub(super) type Descriptor = std::os::fd::OwnedFd;
/// What owns a kernel object.
#[cfg(windows)]
pub(super) type Descriptor = std::os::windows::io::OwnedHandle;

/// A kernel object's number.
#[cfg(unix)]
pub(super) type RawDescriptor = std::os::fd::RawFd;
/// A kernel object's number.
#[cfg(windows)]
pub(super) type RawDescriptor = std::os::windows::io::RawHandle;

/// Memory that was looked at. Only [`examine`] makes one, so what it says is what the system has said of this descriptor.
#[derive(Debug)]
pub(super) struct Examined {
    descriptor: Arc<Descriptor>,
    length: u64,
    immutable: bool,
}

impl Examined {
    /// The same memory by a reference that counts on its own; by this one where the system has none. Only what was examined is opened
    /// again: to open a named pipe or a device may wait, or do something.
    pub(super) fn reopened(self, writable: bool) -> Self {
        match reopen(&self.descriptor, writable) {
            Ok(other) => Self {
                descriptor: Arc::new(other),
                ..self
            },
            Err(_) => self,
        }
    }

    pub(super) fn into_descriptor(self) -> Arc<Descriptor> {
        self.descriptor
    }

    /// Its bytes when it was looked at; for ever, when it is immutable.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Whether the system promises that its content and length never change again, and that its pages can always be had.
    pub(super) const fn is_immutable(&self) -> bool {
        self.immutable
    }
}

//! Making the memory and the bells of a ring, and taking what another process made.
//!
//! Owns the three descriptors and their order: the memory (a sealed memfd), the bell of who receives the offer, the bell of who
//! makes it. A peer's descriptors are checked here once; afterwards nothing that it can do takes the memory away.

use super::memory::{Lane, length};
use super::{Bells, Memory, Ring};
use crate::message::Attachment;
use crate::transport::inject::{Site, fault};
use crate::transport::ring::{RING_BYTES, is_ring_size};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    FallocateFlags, MemfdFlags, OFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fcntl_getfl,
    fstat, ftruncate, memfd_create,
};
use std::io;
use std::sync::Arc;

/// The seals that make the mapping safe: nobody can take its pages away.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The bits of a mode that say what a file is; nothing of them is set for what has no name anywhere, as an eventfd.
const KIND: u32 = 0o170_000;

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A new ring with so many bytes for each direction, and what its other end needs.
///
/// # Errors
/// The system's, for lack of memory or descriptors. `InvalidInput` for a capacity that is no power of two between the bounds.
pub(in crate::transport) fn make(capacity: u32) -> io::Result<(Ring, Vec<Attachment>)> {
    if !is_ring_size(capacity) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a ring has a power of two of bytes, from {} to {}, not {capacity}",
                RING_BYTES.0, RING_BYTES.1
            ),
        ));
    }
    fault(Site::Ring)?;
    let file = memfd_create("actix-ipc-ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let size = length(capacity) as u64;
    ftruncate(&file, size)?;
    // What is short of memory is found here, as an error, and not by a signal at the first touch.
    fallocate(&file, FallocateFlags::empty(), 0, size)?;
    fcntl_add_seals(&file, SEALS)?;
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let (theirs, ours) = (eventfd(0, flags)?, eventfd(0, flags)?);
    let given = vec![
        Arc::new(file.try_clone()?) as Attachment,
        Arc::new(theirs.try_clone()?),
        Arc::new(ours.try_clone()?),
    ];
    let (memory, bells) = (Memory::map(&file, capacity)?, Bells::new(ours, theirs)?);
    Ok((Ring::new(memory, Lane::FromMaker, bells), given))
}

/// The other end of a ring that a peer made.
///
/// # Errors
/// `InvalidData` for what is not an offer: other descriptors, memory of another size or that could be taken away. The
/// system's, for lack of memory or descriptors.
pub(in crate::transport) fn take(given: &[Attachment], capacity: u32) -> io::Result<Ring> {
    if !is_ring_size(capacity) {
        return Err(invalid("the ring's size is none"));
    }
    let [file, ours, theirs] = given else {
        return Err(invalid("a ring comes with three descriptors"));
    };
    let descriptor = |one: &Attachment| {
        let inside = crate::transport::passing::inside(one);
        inside
            .as_ref()
            .and_then(|one| one.downcast_ref::<OwnedFd>())
            .ok_or_else(|| invalid("a ring comes with descriptors"))?
            .try_clone()
    };
    fault(Site::Ring)?;
    let (file, ours, theirs) = (descriptor(file)?, descriptor(ours)?, descriptor(theirs)?);
    let seals = fcntl_get_seals(&file).map_err(|_| invalid("the memory of the ring is no memfd"))?;
    if !seals.contains(SealFlags::SHRINK) || !seals.contains(SealFlags::SEAL) {
        return Err(invalid("the memory of the ring is not sealed against shrinking"));
    }
    if u64::try_from(fstat(&file)?.st_size).ok() != Some(length(capacity) as u64) {
        return Err(invalid("the memory of the ring has another size than it says"));
    }
    for bell in [&ours, &theirs] {
        check_bell(bell)?;
    }
    let (memory, bells) = (Memory::map(file.as_fd(), capacity)?, Bells::new(ours, theirs)?);
    Ok(Ring::new(memory, Lane::ToMaker, bells))
}

/// A bell is written to by whoever wakes the peer: a pipe or a socket could end the process with a signal, a file would be changed, and
/// what waits would make the peer wait.
fn check_bell(bell: &OwnedFd) -> io::Result<()> {
    if fstat(bell)?.st_mode & KIND != 0 {
        return Err(invalid("a bell of the ring is no eventfd"));
    }
    if !fcntl_getfl(bell)?.contains(OFlags::NONBLOCK) {
        return Err(invalid("a bell of the ring may wait when it is rung"));
    }
    Ok(())
}

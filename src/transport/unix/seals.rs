//! What the kernel promises about memory behind a descriptor: the seals of a memfd.
//!
//! Owns the question, and which seals make which promise. Seals can be added and never taken off, so an answer stays true. Who
//! may get such a descriptor is not decided here; the broker and `bus/memory` ask. Other systems have no seals, so nothing is
//! promised there.

use crate::message::Attachment;
use crate::transport::passing;
use rustix::fd::{AsFd, OwnedFd};

/// Whether an attachment is memory whose content and length can never change again, in any process: a memfd that is sealed
/// against shrinking, growing, writing and further seals. It may then be given to any number of receivers.
#[must_use]
pub fn is_sealed_immutable(attachment: &Attachment) -> bool {
    passing::inside(attachment)
        .as_ref()
        .and_then(|inside| inside.downcast_ref::<OwnedFd>())
        .is_some_and(is_immutable)
}

/// The same for a descriptor.
#[cfg(target_os = "linux")]
pub fn is_immutable(descriptor: impl AsFd) -> bool {
    use rustix::fs::{SealFlags, fcntl_get_seals};
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    // What is no memfd has no seals, and the kernel says so with an error.
    fcntl_get_seals(descriptor).is_ok_and(|seals| seals.contains(all))
}

/// The same for a descriptor: this system has no seals.
#[cfg(not(target_os = "linux"))]
pub fn is_immutable(_: impl AsFd) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    use std::sync::Arc;

    #[test]
    fn immutable_is_what_has_all_four_seals() {
        let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        for (seals, expected) in [
            (SealFlags::empty(), false),
            (all - SealFlags::SHRINK, false),
            (all - SealFlags::GROW, false),
            (all - SealFlags::WRITE, false),
            (all - SealFlags::SEAL, false),
            ((all - SealFlags::WRITE) | SealFlags::FUTURE_WRITE, false),
            (all, true),
            (all | SealFlags::FUTURE_WRITE, true),
        ] {
            let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
            ftruncate(&file, 4096).unwrap();
            fcntl_add_seals(&file, seals).unwrap();
            let attachment = Arc::new(file) as Attachment;
            assert_eq!(is_sealed_immutable(&attachment), expected, "{seals:?}");
            let passing = crate::transport::Passing::wrap(attachment, Box::new(()));
            assert_eq!(
                is_sealed_immutable(&passing),
                expected,
                "in a broker's hands: {seals:?}"
            );
            passing_ends(&passing);
        }
    }

    fn passing_ends(held: &Attachment) {
        passing::release(held);
        assert!(!is_sealed_immutable(held), "it was given up");
    }

    #[test]
    fn what_is_no_memory_is_not_immutable() {
        let (pipe, _other) = std::io::pipe().unwrap();
        let file = tempfile::tempfile().unwrap();
        let others: [Attachment; 3] = [
            Arc::new(OwnedFd::from(pipe)),
            Arc::new(OwnedFd::from(file)),
            Arc::new(7_u8),
        ];
        for other in &others {
            assert!(!is_sealed_immutable(other));
        }
    }
}

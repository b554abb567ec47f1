//! Regions over sockets: what a hostile sender can do to a receiver, and the other way round.
//!
//! Owns what happens within one process; `memory_processes` has others, and their deaths.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]
#![cfg(target_os = "linux")]

#[path = "regions/passing.rs"]
mod passing;

use actix_ipc::bus::memory::{COPY_MAX, Entry, Kind, MapError, MemoryRegion, MemoryRegistry};
use actix_ipc::message::Attachment;
use passing::{entry, memory, receive, receive_region, send, send_region};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{FallocateFlags, SealFlags, fallocate, ftruncate};
use rustix::io::Errno;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const LENGTH: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A receiver of memory, with the sender's descriptor of it kept.
fn received(memory: &OwnedFd, size: u64, kind: Kind) -> Result<MemoryRegion, MapError> {
    let (near, far) = UnixStream::pair().unwrap();
    send(&near, memory, &entry(size, kind));
    receive_region(&far)
}

fn descriptor(attachment: &Attachment) -> &OwnedFd {
    attachment.downcast_ref().unwrap()
}

/// Those that are about content and length; brokers ask for them.
fn seals(attachment: &Attachment) -> SealFlags {
    let known = LENGTH | SealFlags::WRITE | SealFlags::FUTURE_WRITE;
    rustix::fs::fcntl_get_seals(descriptor(attachment)).unwrap() & known
}

/// Everything by which somebody could write to it, or cut it off.
fn assert_nobody_writes(memory: &OwnedFd) {
    let denied = |result: Result<(), Errno>| {
        assert!(
            matches!(result, Err(Errno::PERM | Errno::BADF | Errno::INVAL)),
            "{result:?}"
        )
    };
    denied(rustix::io::pwrite(memory, b"x", 0).map(drop));
    denied(ftruncate(memory, 0));
    denied(ftruncate(memory, 1 << 20));
    denied(fallocate(
        memory,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        0,
        4096,
    ));
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let again = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    denied(rustix::io::pwrite(&again, b"x", 0).map(drop));
    denied(ftruncate(&again, 0));
    denied(fallocate(
        &again,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        0,
        4096,
    ));
}

#[test]
fn a_sent_region_is_seen_as_it_was_and_nobody_changes_it() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut region = MemoryRegion::new(8192);
    region.map(4000..4100).unwrap().fill(9);
    send_region(&near, region, false);
    let (attachment, entry) = receive(&far);
    assert_eq!(seals(&attachment), LENGTH | SealFlags::WRITE);
    assert_nobody_writes(descriptor(&attachment));
    let region = MemoryRegion::from_attachment(attachment, &entry).unwrap();
    assert!(region.is_immutable());
    let seen = region.view(..).unwrap();
    assert!(seen[4000..4100].iter().all(|byte| *byte == 9));
    assert_eq!(seen.iter().filter(|byte| **byte != 0).count(), 100);
    // Passed on as it came.
    send_region(&near, region, true);
    assert_eq!(receive_region(&far).unwrap().view(4000..4001).unwrap(), [9]);
}

#[test]
fn nobody_cuts_memory_off_before_it_is_sent() {
    let mut region = MemoryRegion::new(12_345);
    region.map(..).unwrap()[0] = 1;
    let mut tried = 0;
    // As another process of this user can. It is known by its length.
    for open in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = open.unwrap().path();
        if !std::fs::metadata(&path).is_ok_and(|about| about.len() == 12_345) {
            continue;
        }
        if let Ok(other) = std::fs::OpenOptions::new().write(true).open(&path) {
            assert_eq!(ftruncate(&other, 0), Err(Errno::PERM));
            tried += 1;
        }
    }
    assert!(tried > 0);
    assert_eq!(region.map(..).unwrap()[0], 1);
}

#[test]
fn memory_of_a_registry_is_written_by_its_maker_only() {
    let mut registry = MemoryRegistry::default();
    let (attachment, _) = registry.alloc(8192, None).into_attachment(false).unwrap();
    assert_eq!(seals(&attachment), LENGTH | SealFlags::FUTURE_WRITE);
    assert_nobody_writes(descriptor(&attachment));
}

#[test]
fn a_sender_that_cuts_memory_off_raises_no_signal() {
    for kind in [Kind::Immutable, Kind::Pooled, Kind::Writable] {
        let memory = memory(16_384, SealFlags::empty());
        let region = received(&memory, 16_384, kind).unwrap();
        let copied = received(&memory, 16_384, kind).unwrap();
        assert!(!region.is_immutable());
        if kind == Kind::Immutable {
            assert_eq!(copied.view(16_383..).unwrap(), [7], "copied as a whole");
        }
        ftruncate(&memory, 5000).unwrap();
        assert_eq!(region.to_vec(4990..5000).unwrap(), [7; 10]);
        let cut = region.to_vec(4990..5001).unwrap_err();
        assert!(
            matches!(
                cut,
                MapError::Truncated {
                    declared: 16_384,
                    actual: 5000
                }
            ),
            "{cut}"
        );
        let mut reader = region.reader(..).unwrap();
        assert!(matches!(reader.next_chunk(), Err(MapError::Truncated { .. })));
        match kind {
            Kind::Immutable => {
                assert!(matches!(region.view(..), Err(MapError::Truncated { .. })));
                assert!(region.view(..).is_err(), "not half a copy either");
                assert_eq!(copied.view(16_383..).unwrap(), [7], "the copy stays");
            }
            _ => assert!(matches!(region.view(..), Err(MapError::Changing))),
        }
        ftruncate(&memory, 0).unwrap();
        assert!(matches!(
            region.read_at(0, &mut [0]),
            Err(MapError::Truncated { actual: 0, .. })
        ));
    }
}

#[test]
fn holes_are_zeros_and_only_in_memory_that_may_change() {
    for seals in [SealFlags::SHRINK, LENGTH, LENGTH | SealFlags::FUTURE_WRITE] {
        let memory = memory(8192, seals);
        let region = received(&memory, 8192, Kind::Immutable).unwrap();
        assert!(!region.is_immutable(), "{seals:?}");
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&memory, hole, 0, 4096) {
            Ok(()) => assert_eq!(region.view(4095..4097).unwrap(), [0, 7], "{seals:?}"),
            Err(_) => assert_eq!(region.view(4095..4097).unwrap(), [7, 7], "{seals:?}"),
        }
    }
    let memory = memory(8192, LENGTH | SealFlags::WRITE);
    assert!(
        received(&memory, 8192, Kind::Writable).unwrap().is_immutable(),
        "more than was promised"
    );
    assert_nobody_writes(&memory);
}

#[test]
fn what_cannot_be_read_without_waiting_is_refused() {
    let (pipe, _pipe) = std::io::pipe().unwrap();
    let (socket, _socket) = UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let folder = std::fs::File::open("/").unwrap();
    let path = rustix::fs::open("/dev/shm", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
    let dir = tempfile::tempdir().unwrap();
    let named = dir.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &named, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    // Opened for both, so that it does not wait; opened again for reading, it would.
    let named = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&named)
        .unwrap();
    let others = [
        pipe.into(),
        socket.into(),
        file.into(),
        folder.into(),
        named.into(),
    ];
    for other in others.into_iter().chain(path) {
        for kind in [Kind::Immutable, Kind::Writable] {
            for several in [false, true] {
                let entry = Entry::new(4, kind, several, None).unwrap();
                let other = Arc::new(other.try_clone().unwrap());
                let refused = MemoryRegion::from_attachment(other, &entry).unwrap_err();
                assert!(matches!(refused, MapError::NotMemory(_)), "{refused}");
            }
        }
    }
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING | rustix::fs::MemfdFlags::HUGETLB;
    // Where the system has them.
    if let Ok(huge) = rustix::fs::memfd_create("test", flags) {
        rustix::fs::fcntl_add_seals(&huge, LENGTH | SealFlags::WRITE).unwrap();
        let refused = received(&huge, 0, Kind::Immutable).unwrap_err();
        assert!(matches!(refused, MapError::NotMemory(_)), "{refused}");
    }
}

#[test]
fn a_receiver_copies_no_more_than_it_must() {
    let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    // It has no pages: a sender declares much for nothing.
    ftruncate(&memory, 60 << 30).unwrap();
    let region = received(&memory, 60 << 30, Kind::Immutable).unwrap();
    let refused = region.view(..).unwrap_err();
    assert!(
        matches!(refused, MapError::TooLarge { max, .. } if max == COPY_MAX as u64),
        "{refused}"
    );
    assert_eq!(region.to_vec(59 << 30..(59 << 30) + 3).unwrap(), [0; 3]);
    let refused = received(&memory, 65 << 30, Kind::Immutable).unwrap_err();
    assert!(matches!(refused, MapError::TooLarge { .. }), "{refused}");
}

#[test]
fn a_region_cannot_be_sealed_while_somebody_may_write_it() {
    // Somebody else's mapping, as a forked child would have one.
    let memory = memory(4096, SealFlags::empty());
    let other = received(&memory, 4096, Kind::Writable).unwrap();
    other.write_at(0, &[1]).unwrap();
    assert!(
        matches!(other.seal(), Err(MapError::Shared)),
        "not its maker's any more"
    );
    assert_eq!(rustix::io::pwrite(&memory, b"x", 0), Ok(1));
    assert_eq!(other.to_vec(..1).unwrap(), *b"x");
}

#[test]
fn holders_are_counted_across_sockets() {
    let (near, far) = UnixStream::pair().unwrap();
    let region = MemoryRegion::copy_of(b"x").unwrap();
    let kept = region.clone();
    assert_eq!(kept.ref_count(), 2);
    send_region(&near, region, false);
    assert_eq!(kept.ref_count(), 2, "one here, one on its way");
    let one = receive_region(&far).unwrap();
    assert_eq!((kept.ref_count(), one.ref_count()), (2, 2));
    let clone = one.clone();
    assert_eq!(
        (kept.ref_count(), one.ref_count()),
        (2, 3),
        "another process counts as one"
    );
    send_region(&near, kept.clone(), true);
    drop((one, clone));
    assert_eq!(kept.ref_count(), 2, "on its way to several");
    let (attachment, entry) = receive(&far);
    let several = [0; 3].map(|_| MemoryRegion::from_attachment(attachment.clone(), &entry).unwrap());
    drop(attachment);
    assert_eq!((kept.ref_count(), several[0].ref_count()), (4, 4));
    drop(several);
    assert_eq!(kept.ref_count(), 1);
    send_region(&near, kept, false);
    drop(near);
    let last = receive_region(&far).unwrap();
    assert_eq!((last.ref_count(), last.view(..).unwrap()), (1, &b"x"[..]));
}

#[test]
fn shared_memory_is_written_from_both_ends() {
    let (near, far) = UnixStream::pair().unwrap();
    let region = MemoryRegion::new(4096);
    region.share_writable().unwrap();
    for several in [false, true] {
        send_region(&near, region.clone(), several);
        let other = receive_region(&far).unwrap();
        other.write_at(10, &[3]).unwrap();
        region.write_at(11, &[4]).unwrap();
        assert_eq!(region.to_vec(10..12).unwrap(), [3, 4]);
        assert_eq!(other.to_vec(10..12).unwrap(), [3, 4]);
        region.write_at(10, &[0, 0]).unwrap();
    }
}

#[test]
fn an_entry_that_lies_about_the_kind_gives_nothing_that_may_change_in_place() {
    for (seals, kinds) in [
        (SealFlags::empty(), 3),
        (LENGTH, 3),
        (LENGTH | SealFlags::FUTURE_WRITE, 3),
    ] {
        let memory = memory(4096, seals);
        let mut tried = 0;
        for kind in [Kind::Immutable, Kind::Pooled, Kind::Writable] {
            for several in [false, true] {
                let entry = Entry::new(4096, kind, several, None).unwrap();
                let mut region =
                    MemoryRegion::from_attachment(Arc::new(memory.try_clone().unwrap()), &entry).unwrap();
                assert!(!region.is_immutable());
                assert!(region.map(..).is_err());
                if let Ok(seen) = region.view(..) {
                    let before = seen.to_vec();
                    let _ = rustix::io::pwrite(&memory, &[tried], 0);
                    assert_eq!(seen, before, "{kind:?}");
                }
            }
            tried += 1;
        }
        assert_eq!(tried, kinds);
    }
}

//! When memory of a registry is used again, and when not.
//!
//! Owns what happens within one process; `memory_processes` has others, and their deaths. Nothing here starts a process: between its
//! fork and its program a child holds everything that its parent does, so that memory would be done a moment later.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]

use actix_ipc::bus::memory::{Kind, MapError, MemoryRegion, MemoryRegistry, RegistryLimits, TAG_MAX};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A region that is marked, so that it is known again.
fn marked(registry: &mut MemoryRegistry, mark: u8) -> MemoryRegion {
    let mut region = registry.alloc(5000, Some("frames"));
    region.map(..).unwrap()[0] = mark;
    region
}

fn mark(region: &MemoryRegion) -> u8 {
    region.to_vec(..1).unwrap()[0]
}

fn sent(region: MemoryRegion) -> MemoryRegion {
    let (attachment, entry) = region.into_attachment(false).unwrap();
    MemoryRegion::from_attachment(attachment, &entry).unwrap()
}

#[test]
fn memory_is_used_again_once_all_holders_are_done() {
    let mut registry = MemoryRegistry::default();
    if !registry.uses_again() {
        return;
    }
    let first = marked(&mut registry, 1);
    assert_eq!((first.size(), first.tag()), (8192, Some("frames")));
    let kept = first.clone();
    let received = sent(first);
    assert_eq!((mark(&received), received.tag()), (1, Some("frames")));
    let second = marked(&mut registry, 2);
    assert_eq!(mark(&received), 1);
    drop(kept);
    let third = marked(&mut registry, 3);
    assert_eq!((mark(&received), mark(&second), registry.held().0), (1, 2, 3));
    drop(received);
    let again = registry.alloc(8192, Some("frames"));
    assert_eq!(
        (mark(&again), registry.held().0),
        (1, 3),
        "as its last use has left it"
    );
    drop((second, third, again));
    for (min, tag, known) in [
        (8193, Some("frames"), 0),
        (4096, Some("frames"), 0),
        (8000, None, 0),
    ] {
        assert_eq!(mark(&registry.alloc(min, tag)), known, "{min} {tag:?}");
    }
}

#[test]
fn memory_on_its_way_is_held() {
    let mut registry = MemoryRegistry::default();
    if !registry.uses_again() {
        return;
    }
    let (attachment, entry) = marked(&mut registry, 1).into_attachment(true).unwrap();
    assert_eq!((entry.kind(), entry.is_for_several()), (Kind::Pooled, true));
    assert_eq!(mark(&marked(&mut registry, 2)), 2);
    let receivers = [0; 3].map(|_| MemoryRegion::from_attachment(attachment.clone(), &entry).unwrap());
    // On Windows every handle counts, the registry's own as well.
    let registry_counts = u32::from(cfg!(windows));
    if cfg!(target_os = "linux") {
        assert_eq!(receivers[0].ref_count(), 4, "and the message, which counts once");
    }
    drop(attachment);
    assert_eq!(
        receivers[0].ref_count(),
        3 + registry_counts,
        "each counts on its own"
    );
    let [one, two, three] = receivers;
    drop((one, three));
    drop(registry.alloc(5000, Some("frames")));
    assert_eq!(mark(&two), 1);
    drop(two);
    let both = [0; 2].map(|_| registry.alloc(5000, Some("frames")));
    let mut marks = both.each_ref().map(mark);
    marks.sort_unstable();
    assert_eq!((marks, registry.held().0), ([1, 2], 2));
}

#[test]
fn a_receiver_reads_by_copying_and_cannot_write() {
    let mut registry = MemoryRegistry::default();
    if !registry.uses_again() {
        return;
    }
    let region = marked(&mut registry, 1);
    assert!(matches!(region.seal(), Err(MapError::Pooled)));
    assert!(matches!(region.share_writable(), Err(MapError::Pooled)));
    region.write_at(1, &[2]).unwrap();
    let mut kept = region.clone();
    let mut received = sent(region);
    assert!(
        matches!(kept.map(..), Err(MapError::Shared)),
        "while somebody has it"
    );
    assert!(matches!(kept.write_at(0, &[9]), Err(MapError::Shared)));
    assert!(matches!(received.map(..), Err(MapError::Shared)));
    assert!(matches!(received.view(..), Err(MapError::Changing)));
    assert!(matches!(received.write_at(0, &[9]), Err(MapError::Shared)));
    assert_eq!(received.to_vec(..3).unwrap(), [1, 2, 0]);
}

#[test]
fn callbacks_run_when_the_last_holder_is_done() {
    let mut registry = MemoryRegistry::default();
    if !registry.uses_again() {
        return;
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = || {
        let calls = calls.clone();
        move || {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    let held = || calls.load(Ordering::Relaxed);
    let received = sent(registry.alloc_with_free(100, None, counter()));
    registry.maintain();
    assert_eq!(held(), 0, "a receiver has it");
    drop(received);
    registry.maintain();
    registry.maintain();
    assert_eq!(held(), 1);
    drop(registry.alloc_with_free(100, None, counter()));
    drop(registry.alloc(100, None));
    assert_eq!(held(), 2, "noticed by the next use");
    drop(registry.alloc_with_free(100, None, counter()));
    let out = registry.alloc_with_free(100, None, counter());
    drop(registry);
    assert_eq!(held(), 3, "what is out is never called");
    drop(out);
    assert_eq!(held(), 3);
}

#[test]
fn limits_are_kept_and_told() {
    let mut registry = MemoryRegistry::with_limits(RegistryLimits {
        bytes: 3 * 8192,
        regions: 2,
        idle: Duration::from_secs(3600),
    });
    if !registry.uses_again() {
        return;
    }
    let [one, two] = [1, 2].map(|mark| marked(&mut registry, mark));
    let mut full = registry.alloc(1, None);
    let refused = full.map(..).unwrap_err();
    assert!(
        matches!(
            refused,
            MapError::RegistryFull {
                regions: 2,
                bytes: 16384
            }
        ),
        "{refused}"
    );
    drop(two);
    // What lies idle under another tag makes room.
    let mut third = registry.alloc(16384, None);
    assert_eq!(third.map(..).unwrap().len(), 16384);
    assert_eq!(registry.held(), (2, 8192 + 16384));
    assert!(registry.alloc(1, None).map(..).is_err());
    drop((one, third));
    assert!(
        registry.alloc(3 * 8192 + 1, None).map(..).is_err(),
        "more than all of it"
    );
    assert!(registry.alloc(usize::MAX, None).map(..).is_err());
    let long = "x".repeat(TAG_MAX + 1);
    assert!(matches!(
        registry.alloc(1, Some(&long)).map(..),
        Err(MapError::Entry(_))
    ));
}

#[test]
fn regions_outlive_their_registry() {
    let mut registry = MemoryRegistry::default();
    let mut region = registry.alloc(100, None);
    let received = sent(registry.alloc(100, None));
    drop(registry);
    region.map(..).unwrap()[0] = 1;
    assert_eq!((mark(&sent(region)), mark(&received)), (1, 0));
}

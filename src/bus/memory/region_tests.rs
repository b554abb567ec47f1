//! Tests of regions within one process: what may be done when, and that nothing reaches beyond the memory.

use super::*;
use crate::message::Attachment;
use proptest::prelude::*;
use std::io::Read;
use std::sync::Arc;

/// What a receiver gets.
fn sent(region: MemoryRegion) -> MemoryRegion {
    let (attachment, entry) = region.into_attachment(false).unwrap();
    MemoryRegion::from_attachment(attachment, &entry).unwrap()
}

#[test]
fn new_memory_is_zeros_at_a_page_and_can_be_filled() {
    let mut region = MemoryRegion::new(10_000);
    let data = region.map(..).unwrap();
    assert_eq!(data.as_ptr().addr() % 64, 0);
    assert!(data.len() == 10_000 && data.iter().all(|byte| *byte == 0));
    data[9_999] = 7;
    region.map(5..6).unwrap()[0] = 5;
    region.write_at(6, &[6]).unwrap();
    assert_eq!(region.to_vec(5..7).unwrap(), [5, 6]);
    assert!(matches!(region.view(..), Err(MapError::Changing)));
    let other = sent(region);
    let seen = other.view(..).unwrap();
    assert_eq!((seen[5], seen[6], seen[9_999], seen.len()), (5, 6, 7, 10_000));
    assert_eq!(other.view(9_999..).unwrap(), [7]);
}

#[test]
fn sealed_memory_never_changes_again() {
    let mut region = MemoryRegion::copy_of(b"frame").unwrap();
    assert_eq!(region.is_immutable(), cfg!(target_os = "linux"));
    for _ in 0..2 {
        assert!(matches!(region.map(..), Err(MapError::Sealed)));
        assert!(matches!(region.write_at(0, b"x"), Err(MapError::Sealed)));
        assert!(matches!(region.share_writable(), Err(MapError::Sealed)));
        region.seal().unwrap();
        assert_eq!(region.view(..).unwrap(), b"frame");
        region = sent(region);
    }
}

#[test]
fn a_region_of_no_bytes_is_one() {
    let mut region = MemoryRegion::new(0);
    assert!(region.map(..).unwrap().is_empty());
    region.write_at(0, &[]).unwrap();
    assert!(matches!(
        region.write_at(0, &[1]),
        Err(MapError::OutOfRange { .. })
    ));
    let other = sent(region);
    assert_eq!(other.size(), 0);
    assert!(other.view(..).unwrap().is_empty());
    assert!(matches!(other.view(0..1), Err(MapError::OutOfRange { .. })));
}

#[test]
fn one_that_is_too_large_fails_at_its_first_use() {
    for size in [
        usize::MAX,
        isize::MAX as usize,
        usize::try_from(SIZE_MAX).unwrap() + 1,
    ] {
        let mut region = MemoryRegion::new(size);
        assert_eq!(region.size(), size);
        assert!(matches!(region.map(..1), Err(MapError::TooLarge { .. })));
        assert!(matches!(region.write_at(0, b"x"), Err(MapError::TooLarge { .. })));
        assert!(matches!(region.clone().seal(), Err(MapError::TooLarge { .. })));
        assert!(matches!(
            region.read_at(0, &mut [0]),
            Err(MapError::TooLarge { .. })
        ));
        assert_eq!(region.ref_count(), 0);
        assert!(matches!(
            region.into_attachment(false),
            Err(MapError::TooLarge { .. })
        ));
    }
    let told = MapError::TooLarge {
        size: 1 << 40,
        max: SIZE_MAX,
    }
    .to_string();
    assert!(
        told.contains("1099511627776 bytes") && told.contains("68719476736"),
        "{told}"
    );
}

#[test]
fn ranges_outside_of_it_are_refused_everywhere() {
    let mut region = MemoryRegion::new(100);
    #[expect(clippy::reversed_empty_ranges, reason = "what is refused")]
    let outside = [0..101, 101..101, 50..49, usize::MAX..usize::MAX, 0..usize::MAX];
    for range in outside.clone() {
        assert!(
            matches!(region.map(range.clone()), Err(MapError::OutOfRange { .. })),
            "{range:?}"
        );
        assert!(
            matches!(region.to_vec(range.clone()), Err(MapError::OutOfRange { .. })),
            "{range:?}"
        );
        assert!(matches!(region.reader(range), Err(MapError::OutOfRange { .. })));
    }
    for (offset, length) in [(100, 1), (99, 2), (usize::MAX, 1), (usize::MAX, 0)] {
        let mut room = vec![0; length];
        assert!(matches!(
            region.read_at(offset, &mut room),
            Err(MapError::OutOfRange { .. })
        ));
        assert!(matches!(
            region.write_at(offset, &room),
            Err(MapError::OutOfRange { .. })
        ));
    }
    region.seal().unwrap();
    for range in outside {
        assert!(matches!(region.view(range), Err(MapError::OutOfRange { .. })));
    }
}

#[test]
fn handles_of_one_process_keep_each_other_from_changing_it_in_place() {
    let mut one = MemoryRegion::new(10);
    let mut two = one.clone();
    assert_eq!(one.ref_count(), 2);
    assert!(matches!(one.map(..), Err(MapError::Shared)));
    assert!(matches!(two.map(..), Err(MapError::Shared)));
    two.write_at(0, b"x").unwrap();
    drop(two);
    assert_eq!(one.map(..).unwrap()[0], b'x');
    let kept = one.clone();
    let other = sent(one);
    assert_eq!(kept.view(..1).unwrap(), b"x", "what was kept is sealed too");
    assert_eq!(other.view(..1).unwrap(), b"x");
    assert!(matches!(kept.write_at(0, b"y"), Err(MapError::Sealed)));
}

#[test]
fn what_is_shared_for_writing_is_copied() {
    let mut region = MemoryRegion::new(8);
    region.map(..).unwrap()[0] = 1;
    region.share_writable().unwrap();
    region.share_writable().unwrap();
    let kept = region.clone();
    let mut other = sent(region);
    other.write_at(1, &[2]).unwrap();
    kept.write_at(2, &[3]).unwrap();
    for handle in [&kept, &other] {
        assert_eq!(handle.to_vec(..4).unwrap(), [1, 2, 3, 0]);
        assert!(matches!(handle.view(..), Err(MapError::Changing)));
        assert!(matches!(handle.seal(), Err(MapError::Shared)));
        assert!(!handle.is_immutable());
    }
    assert!(matches!(other.map(..), Err(MapError::Shared)));
}

#[test]
fn what_is_no_memory_is_refused() {
    let entry = Entry::new(4, Kind::Immutable, false, None).unwrap();
    let (pipe, _) = std::io::pipe().unwrap();
    let mut others: Vec<Attachment> = vec![
        Arc::new(7_u8),
        Object::from(system::Descriptor::from(pipe)).into_attachment(),
    ];
    if cfg!(target_os = "linux") {
        others.push(Object::from(tempfile::tempfile().unwrap()).into_attachment());
    }
    for other in others {
        let refused = MemoryRegion::from_attachment(other, &entry).unwrap_err();
        assert!(matches!(refused, MapError::NotMemory(_)), "{refused}");
    }
}

#[test]
fn memory_that_is_shorter_than_its_description_is_refused() {
    let (attachment, _) = MemoryRegion::new(4096).into_attachment(false).unwrap();
    for kind in [Kind::Immutable, Kind::Pooled, Kind::Writable] {
        let described = |size| Entry::new(size, kind, false, None).unwrap();
        let refused = MemoryRegion::from_attachment(attachment.clone(), &described(4097)).unwrap_err();
        assert!(
            matches!(
                refused,
                MapError::Truncated {
                    declared: 4097,
                    actual: 4096
                }
            ),
            "{refused}"
        );
        let refused = MemoryRegion::from_attachment(attachment.clone(), &described(u64::MAX)).unwrap_err();
        assert!(matches!(refused, MapError::TooLarge { .. }), "{refused}");
        let part = MemoryRegion::from_attachment(attachment.clone(), &described(5)).unwrap();
        assert_eq!(part.to_vec(..).unwrap(), [0; 5]);
        assert!(part.read_at(5, &mut [0]).is_err(), "only what was described");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn holes_are_paid_for_by_who_made_them_and_read_without_taking_pages() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
    const SIZE: usize = 1 << 20;
    let charged = |attachment: &Attachment| {
        let memory = attachment.downcast_ref::<system::Descriptor>().unwrap();
        fstat(memory).unwrap().st_blocks * 512
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let sparse = memfd_create("sparse", flags).unwrap();
    ftruncate(&sparse, SIZE as u64).unwrap();
    rustix::io::pwrite(&sparse, b"x", 5).unwrap();
    fcntl_add_seals(&sparse, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE).unwrap();
    let sparse: Attachment = Arc::new(sparse);
    let before = charged(&sparse);
    let entry = Entry::new(SIZE as u64, Kind::Immutable, false, None).unwrap();
    let received = MemoryRegion::from_attachment(sparse.clone(), &entry).unwrap();
    assert!(!received.is_immutable(), "not mapped");
    let seen = received.view(..).unwrap();
    assert!(
        seen[5] == b'x' && seen.iter().map(|byte| usize::from(*byte)).sum::<usize>() == usize::from(b'x')
    );
    assert_eq!(charged(&sparse), before, "looking at it takes no page");

    let mut own = MemoryRegion::new(SIZE);
    own.map(..).unwrap()[5] = b'x';
    let (attachment, entry) = own.into_attachment(false).unwrap();
    assert!(
        charged(&attachment) >= SIZE as i64,
        "its maker pays for all of it"
    );
    let received = MemoryRegion::from_attachment(attachment, &entry).unwrap();
    assert!(received.is_immutable() && received.view(..).unwrap()[5] == b'x');
}

#[test]
fn a_reader_reads_each_byte_once() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let region = MemoryRegion::copy_of(&bytes).unwrap();
    let mut all = Vec::new();
    let mut reader = region.reader(1..).unwrap();
    assert_eq!(reader.remaining(), 299_999);
    while let Some(chunk) = reader.next_chunk().unwrap() {
        all.extend_from_slice(chunk);
    }
    assert_eq!(all, bytes[1..]);
    assert_eq!(reader.remaining(), 0);
    all.clear();
    region.reader(5..200_000).unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(all, bytes[5..200_000]);
}

#[test]
fn regions_and_registries_may_be_used_from_any_thread() {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<MemoryRegion>();
    shared::<Object>();
    shared::<MapError>();
    moved::<MemoryRegistry>();
}

#[test]
fn an_object_is_its_own_owner() {
    let (attachment, _) = MemoryRegion::new(1).into_attachment(false).unwrap();
    let shared = attachment.clone();
    let one = Object::from_attachment(attachment).unwrap();
    let two = Object::from_attachment(shared).unwrap();
    let three = two.try_clone().unwrap();
    drop((one, two));
    assert!(Object::from_attachment(three.into()).is_ok());
    let wrong = Object::from_attachment(Arc::new("text")).unwrap_err();
    assert_eq!(wrong.kind(), std::io::ErrorKind::InvalidData);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_holds_what_was_written(
        size in 1_usize..20_000,
        writes in proptest::collection::vec((any::<usize>(), proptest::collection::vec(any::<u8>(), 0..600), any::<bool>()), 0..12),
    ) {
        let (mut region, mut model) = (MemoryRegion::new(size), vec![0_u8; size]);
        for (at, bytes, in_place) in writes {
            let at = at % (size + 10);
            let place = model.get_mut(at..at + bytes.len());
            let written = match in_place {
                true => region.map(at..at + bytes.len()).map(|place| place.copy_from_slice(&bytes)),
                false => region.write_at(at, &bytes),
            };
            prop_assert_eq!(written.is_ok(), place.is_some());
            if let Some(place) = place {
                place.copy_from_slice(&bytes);
            }
        }
        prop_assert_eq!(&region.to_vec(..).unwrap(), &model);
        let other = sent(region);
        prop_assert_eq!(other.view(..).unwrap(), &model[..]);
    }
}

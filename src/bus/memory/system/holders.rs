//! Who holds memory, as the kernel knows it (Linux).
//!
//! Owns the record locks that are the count. Each holder is an *open file* of the memory (not a descriptor: duplicates, copies in
//! messages on their way, mappings and forked children belong to the same open file) with a read lock on a byte of its own, far
//! behind the data. The kernel takes the lock off when the last reference to that open file is gone, however its process ended.
//! Counting asks for the locks of the others. Nothing is written into the memory, so it may be sealed.
//!
//! A peer may lock what it likes: then memory counts as held for longer, or a count is wrong, which [`HOLDERS_MAX`] bounds. It cannot
//! take the lock of another open file off; of one that it shares it can.

use super::Descriptor;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the locks begin: behind all data.
const FIRST: i64 = 1 << 61;
/// The last byte that can be locked.
const LAST: i64 = i64::MAX - 1;
/// Holders that are counted; where there are more, it is this many.
pub(super) const HOLDERS_MAX: u32 = 1024;

/// A byte for one holder. Two that chose the same would count as one; of 2⁶² that does not happen by chance.
fn place() -> i64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = *SEED.get_or_init(|| getrandom::u64().unwrap_or_default());
    // A forked child has the same seed and the same counter.
    let process = u64::from(std::process::id()).rotate_left(32);
    let mixed = mix(seed ^ process).wrapping_add(mix(NEXT.fetch_add(1, Ordering::Relaxed)));
    FIRST.saturating_add((mix(mixed) >> 2).cast_signed()).min(LAST)
}

/// Spreads numbers that lie close together (the finalizer of SplitMix64).
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn request(memory: &Descriptor, command: i32, kind: i32, first: i64, length: i64) -> io::Result<libc::flock> {
    let narrow = |number: i32| libc::c_short::try_from(number).unwrap_or_default();
    let mut lock = libc::flock {
        l_type: narrow(kind),
        l_whence: narrow(libc::SEEK_SET),
        l_start: first,
        l_len: length,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, for it is borrowed; both commands read and write one `flock`, which lives for the call, and
    // neither keeps its address.
    #[allow(
        unsafe_code,
        reason = "rustix has locks of processes only, which a forked child and a second close lose"
    )]
    let done = unsafe { libc::fcntl(memory.as_raw_fd(), command, &raw mut lock) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock)
}

/// Makes this open file of the memory count.
///
/// # Errors
/// The system's.
pub(in crate::bus::memory) fn hold(memory: &Descriptor) -> io::Result<()> {
    request(memory, libc::F_OFD_SETLK, libc::F_RDLCK, place(), 1).map(drop)
}

/// How many other open files of the memory count, at most [`HOLDERS_MAX`]. One system call when there are none, two for each.
///
/// # Errors
/// The system's.
pub(in crate::bus::memory) fn others(memory: &Descriptor) -> io::Result<u32> {
    let mut unasked = vec![(FIRST, LAST)];
    let mut found = 0_u32;
    while let Some((first, last)) = unasked.pop() {
        if found >= HOLDERS_MAX {
            break;
        }
        let length = last.saturating_sub(first).saturating_add(1);
        let lock = request(memory, libc::F_OFD_GETLK, libc::F_WRLCK, first, length)?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            continue;
        }
        found = found.saturating_add(1);
        // A length of zero is all that follows.
        let end = match lock.l_len {
            0 => LAST,
            length => lock.l_start.saturating_add(length).saturating_sub(1),
        };
        if lock.l_start > first {
            unasked.push((first, lock.l_start.saturating_sub(1)));
        }
        if end < last {
            unasked.push((end.saturating_add(1), last));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::{create, reopen};
    use super::*;

    /// Waits until so many others count. A test of another thread that starts a process has all descriptors twice for a moment,
    /// so what was dropped may go late.
    fn counted(memory: &Descriptor, expected: u32) {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while others(memory).unwrap() != expected {
            assert!(
                std::time::Instant::now() < limit,
                "{} others",
                others(memory).unwrap()
            );
            std::thread::yield_now();
        }
    }

    #[test]
    fn each_open_file_counts_once_until_its_last_reference_is_gone() {
        let memory = create(4096).unwrap();
        counted(&memory, 0);
        let mut holders: Vec<Descriptor> = (0..20).map(|_| reopen(&memory, false).unwrap()).collect();
        counted(&memory, 20);
        assert_eq!(
            others(&holders[0]).unwrap(),
            19,
            "the memory itself holds no lock"
        );
        let duplicate = holders[0].try_clone().unwrap();
        holders.truncate(1);
        counted(&memory, 1);
        drop(holders);
        counted(&memory, 1);
        let mapping = super::super::map(&duplicate, 4096, false).unwrap();
        drop(duplicate);
        counted(&memory, 1);
        // SAFETY: mapped above, with this size; nothing refers into it.
        #[allow(unsafe_code, reason = "a test of the mapping itself")]
        unsafe {
            super::super::unmap(mapping, 4096);
        };
        counted(&memory, 0);
    }

    #[test]
    fn a_descriptor_on_its_way_counts() {
        let memory = create(4096).unwrap();
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let sent = reopen(&memory, false).unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let descriptors = [std::os::fd::AsFd::as_fd(&sent)];
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors)));
        let bytes = [io::IoSlice::new(b"x")];
        rustix::net::sendmsg(&near, &bytes, &mut control, rustix::net::SendFlags::empty()).unwrap();
        drop(sent);
        counted(&memory, 1);
        drop((near, far));
        counted(&memory, 0);
    }

    #[test]
    fn counting_ends_whatever_others_lock() {
        let memory = create(4096).unwrap();
        let other = reopen(&memory, false).unwrap();
        request(&other, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0).unwrap();
        assert_eq!(others(&memory).unwrap(), 1, "everything, to the end");
        request(&other, libc::F_OFD_SETLK, libc::F_UNLCK, 0, 0).unwrap();
        for at in 0..i64::from(HOLDERS_MAX) + 10 {
            request(&other, libc::F_OFD_SETLK, libc::F_RDLCK, FIRST + 2 * at, 1).unwrap();
        }
        assert_eq!(others(&memory).unwrap(), HOLDERS_MAX);
        request(&other, libc::F_OFD_SETLK, libc::F_UNLCK, 0, 0).unwrap();
        request(&other, libc::F_OFD_SETLK, libc::F_RDLCK, LAST, 1).unwrap();
        request(&other, libc::F_OFD_SETLK, libc::F_RDLCK, FIRST, 1).unwrap();
        assert_eq!(others(&memory).unwrap(), 2, "the first byte and the last");
    }

    #[test]
    fn places_are_behind_the_data_and_differ() {
        let places: std::collections::BTreeSet<i64> = (0..1000).map(|_| place()).collect();
        assert_eq!(places.len(), 1000);
        assert!(places.iter().all(|place| (FIRST..=LAST).contains(place)));
    }
}

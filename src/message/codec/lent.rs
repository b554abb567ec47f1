//! The buffers of large batches, used again.
//!
//! Owns the spare buffers of each thread that decodes. A batch has one until the last who holds any of it lets go, on whatever thread that
//! is; then it comes back. So bulk neither asks the allocator for each read nor gives pages back to the system that the next read touches
//! anew: half of what a message of 16 KiB cost its receiver. Pure. Called by [`super::Decoder`].

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Smaller batches have memory of their own, in bytes: the allocator is as fast for them.
const LEAST: usize = 16 * 1024;
/// Larger ones as well: of them there are few.
const MOST: usize = 256 * 1024;
/// What one thread keeps of buffers that nobody uses, in bytes: what a window of 1 MiB holds, and the reads beside it.
const KEPT: usize = 1536 * 1024;
/// The sizes of buffers are multiples of this, in bytes, so that one of a read fits the next.
const STEP: usize = 32 * 1024;

thread_local! {
    static SPARE: Arc<Spare> = Arc::default();
}

#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that comes back when it is dropped.
struct Lent {
    bytes: Vec<u8>,
    from: Arc<Spare>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // Who finds the list in use does not wait: in a forked child its holder may be a thread that is not there.
        let mut spare = match self.from.0.try_lock() {
            Ok(spare) => spare,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        if kept.saturating_add(bytes.capacity()) <= KEPT {
            spare.push(bytes);
        }
    }
}

/// The bytes of both in one lent buffer; `None` when that is not worth it, or too much.
pub(super) fn join(first: &[u8], second: &[u8]) -> Option<Bytes> {
    let total = first.len().saturating_add(second.len());
    if !(LEAST..=MOST).contains(&total) {
        return None;
    }
    let size = total.next_multiple_of(STEP);
    let mut lent = SPARE.with(|spare| {
        // Of its own size only: what is held of a batch is charged by its bytes, which are half of the buffer's at least.
        let fits = |bytes: &Vec<u8>| (size..size.saturating_add(STEP)).contains(&bytes.capacity());
        let mut list = spare.lock();
        // The last one that came back is the one that is still in the cache.
        let found = list.iter().rposition(fits).map(|place| list.remove(place));
        drop(list);
        Lent {
            bytes: found.unwrap_or_else(|| Vec::with_capacity(size)),
            from: Arc::clone(spare),
        }
    });
    lent.bytes.extend_from_slice(first);
    lent.bytes.extend_from_slice(second);
    Some(Bytes::from_owner(lent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Vec<usize> {
        SPARE.with(|spare| spare.lock().iter().map(Vec::capacity).collect())
    }

    #[test]
    fn a_buffer_comes_back_when_the_last_who_holds_a_part_lets_go() {
        let bytes = join(&[1; 10_000], &[2; 10_000]).unwrap();
        assert!(bytes[..10_000] == [1; 10_000] && bytes[10_000..] == [2; 10_000]);
        let (at, part) = (bytes.as_ptr(), bytes.slice(10..20));
        drop(bytes);
        assert!(kept().is_empty());
        std::thread::spawn(move || drop(part)).join().unwrap();
        assert_eq!(kept(), [STEP]);
        assert!(join(&[], &[0; 70_000]).is_some(), "a much larger one");
        let again = join(&[3; 17_000], &[]).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, 17_000));
    }

    #[test]
    fn what_is_kept_is_bounded_and_in_sizes_that_fit() {
        for (length, fits) in [
            (0, false),
            (LEAST - 1, false),
            (LEAST, true),
            (MOST, true),
            (MOST + 1, false),
        ] {
            assert_eq!(join(&vec![0; length], &[]).is_some(), fits, "{length}");
        }
        let many: Vec<Bytes> = (0..100)
            .map(|step| join(&vec![0; LEAST + step * 2_000], &[]).unwrap())
            .collect();
        drop(many);
        assert!(kept().iter().sum::<usize>() <= KEPT);
        let held: Vec<Bytes> = (0..100).map(|_| join(&[], &vec![0; 60_000]).unwrap()).collect();
        assert!(kept().iter().all(|size| !(65_536..131_072).contains(size)));
        drop(held);
        let end = std::thread::spawn(|| join(&[1; LEAST], &[]).unwrap())
            .join()
            .unwrap();
        assert_eq!(end[..], [1; LEAST], "it outlives its thread");
    }
}

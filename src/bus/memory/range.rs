//! Ranges of bytes that callers and peers give, checked against a region.
//!
//! Owns the arithmetic: no start or end is believed, and nothing overflows. Pure.

use super::MapError;
use std::ops::{Bound, Range, RangeBounds};

/// The bytes that `range` means in a region of `size` bytes.
///
/// # Errors
/// [`MapError::OutOfRange`] when they are not all inside, or the start lies behind the end.
pub(super) fn resolve(range: &impl RangeBounds<usize>, size: usize) -> Result<Range<usize>, MapError> {
    let start = match range.start_bound() {
        Bound::Included(start) => Some(*start),
        Bound::Excluded(before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.checked_add(1),
        Bound::Excluded(end) => Some(*end),
        Bound::Unbounded => Some(size),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= size => Ok(start..end),
        _ => Err(MapError::OutOfRange {
            range: start.unwrap_or(usize::MAX)..end.unwrap_or(usize::MAX),
            size,
        }),
    }
}

/// `length` bytes from `offset` on.
///
/// # Errors
/// As for [`resolve`].
pub(super) fn span(offset: usize, length: usize, size: usize) -> Result<Range<usize>, MapError> {
    match offset.checked_add(length) {
        Some(end) => resolve(&(offset..end), size),
        None => Err(MapError::OutOfRange {
            range: offset..usize::MAX,
            size,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_inside_is_a_range() {
        const M: usize = usize::MAX;
        let ends = |range: Result<Range<usize>, MapError>| range.ok();
        assert_eq!(ends(resolve(&.., 8)), Some(0..8));
        assert_eq!(ends(resolve(&.., 0)), Some(0..0));
        assert_eq!(ends(resolve(&(8..), 8)), Some(8..8));
        assert_eq!(ends(resolve(&(9..), 8)), None);
        assert_eq!(ends(resolve(&(..=7), 8)), Some(0..8));
        assert_eq!(ends(resolve(&(..=8), 8)), None);
        assert_eq!(ends(resolve(&(..=M), M)), None, "one past the largest number");
        assert_eq!(ends(resolve(&(0..M), 8)), None);
        assert_eq!(ends(resolve(&(Bound::Excluded(M), Bound::Unbounded), M)), None);
        assert_eq!(ends(span(M, 1, M)), None);
        assert_eq!(ends(span(1, M, M)), None);
        assert_eq!(ends(span(8, 0, 8)), Some(8..8));
    }

    proptest! {
        #[test]
        fn a_range_is_given_as_slices_take_it(start: usize, end: usize, size in 0_usize..64) {
            let bytes = vec![0_u8; size];
            let (start, end) = (start % 80, end % 80);
            let found = resolve(&(start..end), size).ok();
            prop_assert_eq!(found.map(|range| range.len()), bytes.get(start..end).map(<[u8]>::len));
            let spanned = span(start, end, size).ok();
            prop_assert_eq!(spanned.map(|range| range.len()), bytes.get(start..).and_then(|rest| rest.get(..end)).map(<[u8]>::len));
        }
    }
}

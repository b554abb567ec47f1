//! Which memory of a registry is used for what, used again, or given up.
//!
//! Owns the shelves (by tag and size), the order in which memory is asked whether it is done, the limits and the callbacks that are
//! due. Pure: whether memory is done its caller answers, time comes in as `now`.

use super::registry::RegistryLimits;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Memory that is asked in one allocation whether it is done. Who was asked goes to the end of its shelf, so that others are asked next time.
const ASKED_MAX: usize = 8;
/// The smallest memory, and the step of the small ones: a page of most systems.
const PAGE: usize = 4096;

/// What is to be called when all holders are done.
pub(super) type Free = Box<dyn FnOnce() + Send>;

/// All memory of a registry.
pub(super) struct Pool<T> {
    limits: RegistryLimits,
    shelves: BTreeMap<Box<str>, BTreeMap<usize, VecDeque<Place<T>>>>,
    regions: usize,
    bytes: usize,
}

struct Place<T> {
    item: T,
    free: Option<Free>,
    /// Since when it was seen done; `None` while it is used.
    idle_since: Option<Instant>,
}

/// The size of memory for `min` bytes: at most a quarter more, or full pages. Few sizes, so that memory fits again.
pub(super) fn size_class(min: usize) -> Option<usize> {
    let pages = min.max(1).checked_next_multiple_of(PAGE)?;
    let step = pages.checked_next_power_of_two()? / 8;
    pages.checked_next_multiple_of(step.max(PAGE))
}

impl<T> Pool<T> {
    pub(super) const fn new(limits: RegistryLimits) -> Self {
        Self {
            limits,
            shelves: BTreeMap::new(),
            regions: 0,
            bytes: 0,
        }
    }

    /// How many there are, and their bytes.
    pub(super) const fn held(&self) -> (usize, usize) {
        (self.regions, self.bytes)
    }

    /// Memory of at least `size` bytes and less than twice as many under this tag that is done. It is used from now on, and `free` is
    /// called once it is done again. What its last use has left to be called is put into `due`.
    pub(super) fn lend(
        &mut self,
        size: usize,
        tag: &str,
        free: &mut Option<Free>,
        due: &mut Vec<Free>,
        mut is_done: impl FnMut(&T) -> bool,
    ) -> Option<&T> {
        let sizes = self.shelves.get_mut(tag)?;
        let mut unasked = ASKED_MAX;
        for (_, shelf) in sizes.range_mut(size..size.saturating_mul(2)) {
            for _ in 0..shelf.len().min(unasked) {
                unasked = unasked.saturating_sub(1);
                shelf.rotate_left(1);
                let done = shelf.back().is_some_and(|place| is_done(&place.item));
                if !done {
                    continue;
                }
                let place = shelf.back_mut()?;
                due.extend(place.free.take());
                place.free = free.take();
                place.idle_since = None;
                return shelf.back().map(|place| &place.item);
            }
        }
        None
    }

    /// Whether memory of `size` bytes more keeps within the limits.
    pub(super) const fn has_room(&self, size: usize) -> bool {
        self.regions < self.limits.regions && self.bytes.saturating_add(size) <= self.limits.bytes
    }

    /// New memory, in use. The caller has asked for room.
    pub(super) fn add(&mut self, size: usize, tag: &str, item: T, free: Option<Free>) {
        let sizes = self.shelves.entry(tag.into()).or_default();
        sizes.entry(size).or_default().push_back(Place {
            item,
            free,
            idle_since: None,
        });
        self.regions = self.regions.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
    }

    /// Asks all of it whether it is done: what is to be called then is put into `due`, and what was done for the idle time, or for any time
    /// when `all` is to go, is given up.
    pub(super) fn maintain(
        &mut self,
        now: Instant,
        all: bool,
        due: &mut Vec<Free>,
        mut is_done: impl FnMut(&T) -> bool,
    ) {
        let idle = self.limits.idle;
        let (mut regions, mut bytes) = (0_usize, 0_usize);
        self.shelves.retain(|_, sizes| {
            sizes.retain(|size, shelf| {
                shelf.retain_mut(|place| {
                    let stays = !is_done(&place.item) || {
                        due.extend(place.free.take());
                        let since = *place.idle_since.get_or_insert(now);
                        !all && now.saturating_duration_since(since) < idle
                    };
                    regions = regions.saturating_add(usize::from(stays));
                    bytes = bytes.saturating_add(if stays { *size } else { 0 });
                    stays
                });
                !shelf.is_empty()
            });
            !sizes.is_empty()
        });
        (self.regions, self.bytes) = (regions, bytes);
    }
}

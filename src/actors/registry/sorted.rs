//! A sorted table in full pages, for what there is one of per connection and what comes in the order of its keys.
//!
//! Owns the order and the pages. A `BTreeMap` that is filled in order leaves each of its nodes half empty, which every idle connection
//! would pay for; here the last page is filled before the next one is begun. Two neighbours that fit on three quarters of a page become
//! one, so that what is left of many costs no more, and is found as fast, as if the others had never been. A key is found by
//! halving, twice. Knows nothing of what it keeps; used by `facts` and `presence`.

/// Entries of a full page.
const PAGE: usize = 32;
/// Neighbours with at most so many together are one page: with room left, so that the next keys do not part them again.
const TOGETHER: usize = PAGE / 4 * 3;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Sorted<K, V> {
    /// Never an empty one, and no two neighbours with [`TOGETHER`] or less; the keys ascend within a page and from page to page.
    pages: Vec<Vec<(K, V)>>,
    len: usize,
}

impl<K, V> Sorted<K, V> {
    pub(super) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flatten().map(|(key, value)| (key, value))
    }
}

/// Puts one more on a page that is not full. It grows by a quarter of a page, and never beyond a whole one.
fn put<T>(page: &mut Vec<T>, place: usize, entry: T) {
    if page.len() == page.capacity() {
        page.reserve_exact(PAGE.saturating_sub(page.len()).min(PAGE / 4));
    }
    page.insert(place, entry);
}

impl<K: Ord + Copy, V> Sorted<K, V> {
    /// The page that the key is in or belongs into, and its place there.
    fn find(&self, key: K) -> (usize, Result<usize, usize>) {
        let before = |page: &Vec<(K, V)>| page.first().is_some_and(|(first, _)| *first <= key);
        let at = self.pages.partition_point(before).saturating_sub(1);
        let place = self
            .pages
            .get(at)
            .map_or(Err(0), |page| page.binary_search_by_key(&key, |(key, _)| *key));
        (at, place)
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        let (page, place) = self.find(key);
        self.pages.get(page)?.get(place.ok()?).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let (page, place) = self.find(key);
        let found = self.pages.get_mut(page)?.get_mut(place.ok()?);
        found.map(|(_, value)| value)
    }

    /// The value that was there before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (at, place) = self.find(key);
        let Some(page) = self.pages.get_mut(at) else {
            self.begin(0, key, value);
            return None;
        };
        let place = match place {
            Ok(place) => {
                let old = page.get_mut(place);
                return old.map(|(_, old)| std::mem::replace(old, value));
            }
            Err(place) => place,
        };
        if page.len() < PAGE {
            put(page, place, (key, value));
            self.len = self.len.saturating_add(1);
        } else if place == PAGE {
            self.insert_behind(at.saturating_add(1), key, value);
        } else {
            let later = page.split_off(PAGE / 2);
            let next = at.saturating_add(1);
            self.pages.insert(next, later);
            // Half a page may go together with a small neighbour that the whole one was too large for.
            self.join(next);
            if let Some(before) = at.checked_sub(1) {
                self.join(before);
            }
            return self.insert(key, value);
        }
        None
    }

    /// A key between a full page and the page `at`, if there is one.
    fn insert_behind(&mut self, at: usize, key: K, value: V) {
        match self.pages.get_mut(at).filter(|page| page.len() < PAGE) {
            Some(page) => {
                put(page, 0, (key, value));
                self.len = self.len.saturating_add(1);
            }
            None => self.begin(at, key, value),
        }
    }

    fn begin(&mut self, at: usize, key: K, value: V) {
        let mut page = Vec::with_capacity(PAGE / 4);
        page.push((key, value));
        self.pages.insert(at, page);
        self.len = self.len.saturating_add(1);
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let (at, place) = self.find(key);
        let page = self.pages.get_mut(at)?;
        let (_, value) = place.ok().map(|place| page.remove(place))?;
        self.len = self.len.saturating_sub(1);
        if page.is_empty() {
            self.pages.remove(at);
        } else if page.len() <= page.capacity() / 4 {
            // What is left of many must not cost as much as they did.
            page.shrink_to_fit();
        }
        self.join(at);
        if let Some(before) = at.checked_sub(1) {
            self.join(before);
        }
        if self.pages.len() < self.pages.capacity() / 4 {
            self.pages.shrink_to(self.pages.len().saturating_mul(2));
        }
        Some(value)
    }

    /// Puts a page and the next one together, if they are small.
    fn join(&mut self, at: usize) {
        let next = at.saturating_add(1);
        let (Some(page), Some(later)) = (self.pages.get(at), self.pages.get(next)) else {
            return;
        };
        if page.len().saturating_add(later.len()) > TOGETHER {
            return;
        }
        let later = self.pages.remove(next);
        if let Some(page) = self.pages.get_mut(at) {
            page.reserve_exact(later.len());
            page.extend(later);
        }
    }
}

/// Equal when the same is in them, on whatever pages.
impl<K: PartialEq, V: PartialEq> PartialEq for Sorted<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for Sorted<K, V> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_comes_in_order_fills_its_pages() {
        let mut table = Sorted::new();
        for key in 0..1_000_u32 {
            assert_eq!(table.insert(key, ()), None);
        }
        let room: usize = table.pages.iter().map(Vec::capacity).sum();
        assert!(room <= 1_000 + PAGE, "{room}");
        for key in (0..1_000).filter(|key| key % 16 != 0) {
            assert_eq!(table.remove(key), Some(()));
        }
        let room: usize = table.pages.iter().map(Vec::capacity).sum();
        assert!(room <= table.len() * 4, "{room} for {}", table.len());
    }

    #[test]
    fn a_page_never_has_more_places_than_a_page() {
        let full = u32::try_from(PAGE).unwrap();
        // How many there are behind a full page, and whether one more comes between the two or at the end.
        for behind in [8, 9, 16, 20, 24, 25, 31] {
            for between in [true, false] {
                let mut table = Sorted::new();
                for key in (0..full).chain(full + 1..=full + behind) {
                    table.insert(key, key);
                }
                table.insert(if between { full } else { full * 3 }, 0);
                let places: Vec<usize> = table.pages.iter().map(Vec::capacity).collect();
                assert!(places.iter().all(|places| *places <= PAGE), "{places:?}");
            }
        }
    }

    #[test]
    fn halves_of_a_page_join_their_small_neighbours() {
        let few = u32::try_from(PAGE / 4).unwrap();
        let full = u32::try_from(PAGE).unwrap();
        for small_first in [false, true] {
            let mut table = Sorted::new();
            // Even keys: two full pages, of which one is then thinned out.
            for key in 0..full * 2 {
                table.insert(key * 2, ());
            }
            let thinned = if small_first { 0..full } else { full..full * 2 };
            for key in thinned.skip(few as usize) {
                table.remove(key * 2);
            }
            assert_eq!(table.pages.len(), 2);
            // A key for the middle of the full one.
            let full_begins = if small_first { full } else { 0 };
            table.insert((full_begins + full / 2) * 2 + 1, ());
            let sizes: Vec<usize> = table.pages.iter().map(Vec::len).collect();
            assert!(
                sizes.windows(2).all(|two| two[0] + two[1] > TOGETHER),
                "{sizes:?}"
            );
        }
    }

    /// Places on the pages.
    fn room(table: &Sorted<u32, u32>) -> usize {
        table.pages.iter().map(Vec::capacity).sum()
    }

    #[test]
    fn what_is_left_of_many_costs_what_a_few_cost() {
        const ALL: u32 = 100_000;
        // A permutation: a step that shares no factor with the number of keys.
        let any_order =
            |step: u32| (0..ALL).map(move |n| (u64::from(n) * u64::from(step) % u64::from(ALL)) as u32);
        for every in [2, 10, 32, 1_000, ALL] {
            let mut table = Sorted::new();
            for key in any_order(61_803) {
                assert_eq!(table.insert(key, key), None);
            }
            for key in any_order(38_197).filter(|key| key % every != 0) {
                assert_eq!(table.remove(key), Some(key));
            }
            let left = table.len();
            assert_eq!(left, (ALL / every) as usize);
            // On average neighbours have more than three eighths of a page each.
            assert!(
                table.pages.len() <= left / 12 + 1,
                "{} pages for {left}",
                table.pages.len()
            );
            assert!(
                room(&table) <= left * 3 + PAGE,
                "{} places for {left}",
                room(&table)
            );
            assert!(table.pages.capacity() <= table.pages.len() * 4 + 4);
            assert!((0..ALL).all(|key| table.get(key).is_some() == (key % every == 0)));
        }
    }

    #[test]
    fn who_comes_and_goes_leaves_nothing_behind() {
        let mut table = Sorted::new();
        for key in 0..100_000_u32 {
            table.insert(key, key);
            if key >= 100 {
                assert_eq!(table.remove(key - 100), Some(key - 100));
            }
            assert!(
                table.pages.len() <= 9,
                "{} pages for {}",
                table.pages.len(),
                table.len()
            );
        }
        assert!(room(&table) <= 300 && table.pages.capacity() <= 36);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec((0..300_u32, 0..4_u8), 0..1_500),
            removals in 0..2_u8,
        ) {
            let (mut table, mut model) = (Sorted::new(), BTreeMap::new());
            for (number, (key, what)) in steps.into_iter().enumerate() {
                match what {
                    // As many removals as insertions, or half as many.
                    n if n <= removals => prop_assert_eq!(table.remove(key), model.remove(&key)),
                    2 => prop_assert_eq!(table.get_mut(key), model.get_mut(&key)),
                    _ => prop_assert_eq!(table.insert(key, number), model.insert(key, number)),
                }
                prop_assert_eq!(table.get(key), model.get(&key));
                prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
            }
            prop_assert!(table.iter().eq(model.iter()));
            prop_assert!(table.pages.iter().all(|page| !page.is_empty() && page.len() <= PAGE));
            prop_assert!(table.pages.iter().all(|page| page.capacity() <= PAGE));
            prop_assert!(table.pages.windows(2).all(|two| two[0].len() + two[1].len() > TOGETHER));
        }
    }
}

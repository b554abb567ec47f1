//! A sorted table in full pages, for what there is one of per connection and what comes in the order of its keys.
//!
//! Owns the order and the pages. A `BTreeMap` that is filled in order leaves each of its nodes half empty, which every idle connection
//! would pay for; here the last page is filled before the next one is begun. A key is found by halving, twice. Knows nothing of what
//! it keeps; used by `facts` and `presence`.

/// Entries of a full page.
const PAGE: usize = 32;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Sorted<K, V> {
    /// Never an empty one; the keys ascend within a page and from page to page.
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
            page.reserve_exact(if page.len() == page.capacity() {
                PAGE / 4
            } else {
                0
            });
            page.insert(place, (key, value));
            self.len = self.len.saturating_add(1);
        } else if place == PAGE {
            self.begin(at.saturating_add(1), key, value);
        } else {
            let later = page.split_off(PAGE / 2);
            self.pages.insert(at.saturating_add(1), later);
            return self.insert(key, value);
        }
        None
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
        Some(value)
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

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((0..300_u32, 0..3_u8), 0..1_500)) {
            let (mut table, mut model) = (Sorted::new(), BTreeMap::new());
            for (number, (key, what)) in steps.into_iter().enumerate() {
                match what {
                    0 => prop_assert_eq!(table.remove(key), model.remove(&key)),
                    1 => prop_assert_eq!(table.get_mut(key), model.get_mut(&key)),
                    _ => prop_assert_eq!(table.insert(key, number), model.insert(key, number)),
                }
                prop_assert_eq!(table.get(key), model.get(&key));
                prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
            }
            prop_assert!(table.iter().eq(model.iter()));
            prop_assert!(table.pages.iter().all(|page| !page.is_empty() && page.len() <= PAGE));
        }
    }
}

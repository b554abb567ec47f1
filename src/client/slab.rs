//! Reusable slots, addressed by numbers that are never used twice in a row.
//!
//! Owns the numbering of everything that one client has open: a key is a slot's index with the slot's generation,
//! so an answer that comes late for a slot that was given to somebody else finds nothing. Pure; used by the
//! connection state for open requests and for lasting ones.

use crate::sync::slips::{self, Slip};

/// Bits of the generation in a key.
const GENERATION_BITS: u32 = 30;

/// A table of `T` whose keys go over the wire as ids.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    tag: u64,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// A table whose keys all carry the bits of `tag` (of the highest two), so that two tables never share one.
    pub(crate) const fn new(tag: u64) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            tag,
        }
    }

    /// How many values it holds.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.free.len())
    }

    /// Whether it holds nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores a value and returns its key; `None` when 2³² slots are in use.
    pub(crate) fn insert(&mut self, value: T) -> Option<u64> {
        if let Some(index) = self.free.pop() {
            let entry = self.entries.get_mut(index as usize)?;
            // Generation 0 is left out: with slot 0 it would make the key 0, which means that nobody waits.
            let next = u32::from(!slips::is(Slip::KeyUsedTwice));
            entry.generation = (entry.generation.wrapping_add(next) & ((1 << GENERATION_BITS) - 1)).max(1);
            entry.value = Some(value);
            return Some(self.key(index, entry_generation(&self.entries, index)));
        }
        let index = u32::try_from(self.entries.len()).ok()?;
        self.entries.push(Entry {
            generation: 1,
            value: Some(value),
        });
        Some(self.key(index, 1))
    }

    /// The value under `key`, when it is still there.
    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (index, generation) = self.split(key)?;
        let entry = self.entries.get_mut(index as usize)?;
        if entry.generation == generation {
            entry.value.as_mut()
        } else {
            None
        }
    }

    /// The value under `key`, when it is still there.
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let (index, generation) = self.split(key)?;
        let entry = self.entries.get(index as usize)?;
        if entry.generation == generation {
            entry.value.as_ref()
        } else {
            None
        }
    }

    /// Takes the value under `key` out and frees its slot.
    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let (index, generation) = self.split(key)?;
        let entry = self.entries.get_mut(index as usize)?;
        if entry.generation != generation {
            return None;
        }
        let value = entry.value.take()?;
        self.free.push(index);
        Some(value)
    }

    /// Drops the value under `key` in its place and frees its slot.
    pub(crate) fn vacate(&mut self, key: u64) {
        let entry = self
            .split(key)
            .and_then(|(index, generation)| Some((index, generation, self.entries.get_mut(index as usize)?)));
        if let Some((index, generation, entry)) = entry
            && entry.generation == generation
            && entry.value.is_some()
        {
            entry.value = None;
            self.free.push(index);
        }
    }

    /// Every value with its key, in the order of the slots.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let tag = self.tag;
        self.entries
            .iter_mut()
            .enumerate()
            .filter_map(move |(index, entry)| {
                let generation = entry.generation;
                let value = entry.value.as_mut()?;
                Some((tag | u64::from(generation) << 32 | index as u64, value))
            })
    }

    fn key(&self, index: u32, generation: u32) -> u64 {
        self.tag | u64::from(generation) << 32 | u64::from(index)
    }

    fn split(&self, key: u64) -> Option<(u32, u32)> {
        let tagged = (1_u64 << (32 + GENERATION_BITS)) - 1;
        if key & !tagged != self.tag {
            return None;
        }
        let index = u32::try_from(key & u64::from(u32::MAX)).ok()?;
        let generation = u32::try_from((key & tagged) >> 32).ok()?;
        Some((index, generation))
    }
}

fn entry_generation<T>(entries: &[Entry<T>], index: u32) -> u32 {
    entries.get(index as usize).map_or(0, |entry| entry.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_key_finds_nothing() {
        let mut slab = Slab::new(1 << 63);
        let first = slab.insert("a").unwrap();
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b").unwrap();
        assert_eq!(
            first & 0xffff_ffff,
            second & 0xffff_ffff,
            "the slot is used again"
        );
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"b")));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn keys_of_another_table_find_nothing() {
        let (mut requests, mut lasting) = (Slab::new(0), Slab::new(1 << 63));
        let key = requests.insert(1).unwrap();
        lasting.insert(2).unwrap();
        assert_eq!(lasting.get(key), None);
        assert_ne!(key, 0, "0 is no key: it means that nobody waits");
    }

    #[test]
    fn generations_wrap_without_an_overlap_into_the_tag() {
        let mut slab = Slab::new(1 << 63);
        let key = slab.insert(()).unwrap();
        slab.remove(key);
        slab.entries[0].generation = (1 << GENERATION_BITS) - 1;
        let key = slab.insert(()).unwrap();
        assert_eq!(key, 1 << 63 | 1 << 32);
        assert!(slab.get(key).is_some());
        assert_eq!(slab.iter_mut().map(|(key, ())| key).collect::<Vec<_>>(), [key]);
    }
}

//! Hash tables of the hot path: several look-ups for every call and event.
//!
//! Owns the choice of the hash: seeded for each table, and a tenth of the cost of the standard library's for a number. A peer that
//! could make its numbers or names collide all the same would meet tables that its limits bound. Knows no key.

use std::collections::HashMap;

/// A hash map whose hash is fast for small keys.
pub(super) type Table<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

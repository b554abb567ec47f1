//! What the pure cores ask of the key under which a core actor keeps a peer.
//!
//! Owns one bound and no data. The cores never look into a key: the actor around them turns it into an address,
//! the simulator and the tests use plain numbers.

use std::fmt::Debug;
use std::hash::Hash;

/// A small, copyable key for one peer. It may be given to another peer only after the core was told that the
/// first one is gone.
pub trait PeerKey: Copy + Ord + Hash + Debug {}

impl<T: Copy + Ord + Hash + Debug> PeerKey for T {}

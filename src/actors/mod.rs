//! The broker: its actors, and the pure cores that decide for them.

pub mod peer_key;
pub mod registry;
pub mod topic_hub;

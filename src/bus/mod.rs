//! The label bus: what travels with its messages.
pub mod memory;

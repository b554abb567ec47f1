//! Which connection hears which topic.

pub mod facts;
pub mod index;

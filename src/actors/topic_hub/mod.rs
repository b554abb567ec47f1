//! Which connection hears which topic.

pub mod facts;
pub mod index;
mod retained;
mod selector;
mod subscribers;
#[cfg(test)]
mod tests;
mod trie;

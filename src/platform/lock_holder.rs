//! Who has a record lock.
//!
//! Owns the answer, which is the same type for the locks of each system ([`record_lock`](super::record_lock)).

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Nobody.
    Nobody,
    /// This process.
    Here,
    /// Another process; without a number when the system does not tell (one of another pid namespace).
    Process(Option<u32>),
}

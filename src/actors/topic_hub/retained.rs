//! The topics' last values, sorted by key, and what they may cost.
//!
//! Owns the byte accounts and the search of the values that a new subscription selects. It refuses to know who
//! subscribes. Called by [`Index`](super::index::Index) only.

use super::facts::Retained;
use super::selector::Selector;
use crate::message::Ticket;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What one retained value is charged beside its bytes: its places in the table and the index.
pub const RETAINED_OVERHEAD: usize = 256;

/// What retained values may cost, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct RetainLimits {
    /// Metadata and payload of one value (`Limits::retained_bytes`).
    pub value: usize,
    /// All values with their keys and [`RETAINED_OVERHEAD`] each (`Limits::retained_bytes_total`).
    pub total: usize,
}

/// Why a value is not retained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RetainError {
    /// The value is too large.
    #[error(
        "a retained value or will has at most {limit} bytes with its metadata, this one has {bytes} (raise limits.retained_bytes)"
    )]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// There is no room among all values.
    #[error(
        "all retained values together have at most {limit} bytes, with this one they would have {bytes} (raise limits.retained_bytes_total, or clear some with an empty payload)"
    )]
    Full {
        /// What all would have.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl RetainLimits {
    pub(super) fn check_value(self, meta: &[u8], payload: &[u8]) -> Result<(), RetainError> {
        let bytes = meta.len().saturating_add(payload.len());
        if bytes > self.value {
            Err(RetainError::TooLarge {
                bytes,
                limit: self.value,
            })
        } else {
            Ok(())
        }
    }
}

/// The values.
#[derive(Debug, Default)]
pub(super) struct RetainedValues {
    by_key: BTreeMap<Box<[u8]>, (Ticket, Retained)>,
    bytes: usize,
}

impl RetainedValues {
    /// What all values cost.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the value may be put in (in the place of the present one of its key).
    pub(super) fn check(
        &self,
        key: &[u8],
        value: &Retained,
        limits: RetainLimits,
    ) -> Result<(), RetainError> {
        limits.check_value(&value.meta, &value.payload)?;
        let present = self.by_key.get(key).map_or(0, |(_, present)| cost(key, present));
        let bytes = self
            .bytes
            .saturating_sub(present)
            .saturating_add(cost(key, value));
        if bytes > limits.total {
            Err(RetainError::Full {
                bytes,
                limit: limits.total,
            })
        } else {
            Ok(())
        }
    }

    /// Puts a value in. Returns the ticket of the one that it replaced.
    pub(super) fn insert(&mut self, ticket: Ticket, key: &[u8], value: Retained) -> Option<Ticket> {
        let replaced = self.remove(key);
        self.bytes = self.bytes.saturating_add(cost(key, &value));
        self.by_key.insert(key.into(), (ticket, value));
        replaced
    }

    /// Takes a value out. Returns its ticket.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Ticket> {
        let (ticket, value) = self.by_key.remove(key)?;
        self.bytes = self.bytes.saturating_sub(cost(key, &value));
        Some(ticket)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<(&[u8], &Retained)> {
        self.by_key
            .get_key_value(key)
            .map(|(key, (_, value))| (&**key, value))
    }

    /// The values that a pattern selects, sorted by key. Looks at the keys that begin as the pattern does before
    /// its first wildcard.
    pub(super) fn select(&self, selector: Selector) -> impl Iterator<Item = (&[u8], &Retained)> {
        let prefix = selector.literal_prefix();
        let from = (Bound::Included(&*prefix), Bound::Unbounded);
        self.by_key
            .range::<[u8], _>(from)
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .filter(move |(key, _)| selector.matches(key))
            .map(|(key, (_, value))| (&**key, value))
    }
}

fn cost(key: &[u8], value: &Retained) -> usize {
    let parts = [
        key.len(),
        value.meta.len(),
        value.payload.len(),
        RETAINED_OVERHEAD,
    ];
    parts.into_iter().fold(0, usize::saturating_add)
}

//! The topics' last values, sorted by key, and what they may cost.
//!
//! Owns the byte accounts and the search of the values that a new subscription selects. It refuses to know who
//! subscribes. Called by [`Index`](super::index::Index) only.

use super::facts::Retained;
use super::selector::Selector;
use crate::actors::shares::{Shares, Who};
use crate::config::raise;
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
    /// One user gets at most the part `1/user_part` of that, its processes share it (`Limits::user_part`).
    pub user_part: usize,
}

/// Why a value is not retained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RetainError {
    /// The value is too large.
    #[error(
        "a retained value or will has at most {limit} bytes with its metadata, this one has {bytes} (limits.retained_bytes); {}",
        raise("retained_bytes")
    )]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// There is no room in the publisher's share.
    #[error(
        "with this value, retained values of this publisher's process would have {bytes} bytes, and its share of limits.retained_bytes_total is {share}; clear some with an empty payload, or {}",
        raise("retained_bytes_total")
    )]
    Full {
        /// What its values would have.
        bytes: usize,
        /// The most that they may have as things are.
        share: usize,
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
#[derive(Debug)]
pub(super) struct RetainedValues {
    by_key: BTreeMap<Box<[u8]>, (Ticket, Retained)>,
    /// Who has published how much of it; the publishers may be gone.
    shares: Shares,
}

impl Default for RetainedValues {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            shares: Shares::new(0, 1),
        }
    }
}

impl RetainedValues {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// What all values cost.
    pub(super) const fn bytes(&self) -> usize {
        self.shares.held()
    }

    /// Whether the value may be put in (in the place of the present one of its key).
    pub(super) fn check(
        &mut self,
        key: &[u8],
        value: &Retained,
        limits: RetainLimits,
    ) -> Result<(), RetainError> {
        limits.check_value(&value.meta, &value.payload)?;
        self.shares.set_budget(limits.total, limits.user_part);
        // As if the present value of the topic were gone already, whoever published it.
        let present = self
            .by_key
            .get(key)
            .map(|(_, present)| (who(present), cost(key, present)));
        if let Some((whose, cost)) = present {
            self.shares.release(whose, cost);
        }
        let cost = cost(key, value);
        let fits = self.shares.check(who(value), cost);
        if let Some((whose, cost)) = present {
            self.shares.add(whose, cost);
        }
        fits.map_err(|refused| RetainError::Full {
            bytes: refused.held.saturating_add(cost),
            share: refused.share,
        })
    }

    /// Puts a value in. Returns the ticket of the one that it replaced.
    pub(super) fn insert(&mut self, ticket: Ticket, key: &[u8], value: Retained) -> Option<Ticket> {
        let replaced = self.remove(key);
        self.shares.add(who(&value), cost(key, &value));
        self.by_key.insert(key.into(), (ticket, value));
        replaced
    }

    /// Takes a value out. Returns its ticket.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Ticket> {
        let (ticket, value) = self.by_key.remove(key)?;
        self.shares.release(who(&value), cost(key, &value));
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

/// Whose share a value is charged to.
const fn who(value: &Retained) -> Who {
    Who {
        uid: value.origin.uid,
        pid: value.origin.pid,
        connection: value.origin.peer.0,
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

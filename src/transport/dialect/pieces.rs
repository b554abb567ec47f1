//! Messages that come in pieces, for clients whose format has none.
//!
//! Owns what has arrived of each, up to the most that the client takes. Pure; called by the gateway.

use crate::message::Encoding;
use std::borrow::Cow;
use std::collections::HashMap;

/// Whose pieces they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// A call for the client, by the broker's number.
    Call(u64),
    /// The reply to a call of the client.
    Reply(u64),
    /// An event, by subscription and number of the message.
    Event(u64, u32),
}

/// A message in the making; without bytes once it has become too large.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    pub(super) encoding: Encoding,
    pub(super) bytes: Cow<'a, [u8]>,
    /// Object and method of a call.
    pub(super) key: Cow<'a, [u8]>,
    /// Whether somebody waits for the answer to the call.
    pub(super) answered: bool,
    /// The bytes that came in all.
    pub(super) length: usize,
}

impl Partial<'_> {
    /// The same, for longer than the frame that it came in.
    pub(super) fn kept(self) -> Partial<'static> {
        Partial {
            bytes: Cow::Owned(self.bytes.into_owned()),
            key: Cow::Owned(self.key.into_owned()),
            ..self
        }
    }
}

/// All that are arriving.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    partial: HashMap<Owner, Partial<'static>>,
}

impl Pieces {
    /// The first part of a message.
    pub(super) fn begin(&mut self, owner: Owner, partial: Partial<'static>) {
        self.partial.insert(owner, partial);
    }

    /// A further part. Returns the message with its last one; `None` for the bytes of one that has become larger than `most`.
    pub(super) fn add(
        &mut self,
        owner: Owner,
        part: &[u8],
        last: bool,
        most: usize,
    ) -> Option<Partial<'static>> {
        let partial = self.partial.get_mut(&owner)?;
        partial.length = partial.length.saturating_add(part.len());
        if partial.length > most {
            partial.bytes = Cow::Borrowed(&[]);
        } else {
            partial.bytes.to_mut().extend_from_slice(part);
        }
        if last { self.partial.remove(&owner) } else { None }
    }

    /// Takes a message out that has become larger than `most`.
    pub(super) fn beyond(&mut self, owner: Owner, most: usize) -> Option<Partial<'static>> {
        let beyond = self
            .partial
            .get(&owner)
            .is_some_and(|partial| partial.length > most);
        if beyond { self.partial.remove(&owner) } else { None }
    }

    /// The one of which most is kept.
    pub(super) fn largest(&self) -> Option<Owner> {
        let kept = self
            .partial
            .iter()
            .filter(|(_, partial)| !partial.bytes.is_empty());
        let largest = kept.max_by_key(|(_, partial)| partial.bytes.len());
        largest.map(|(owner, _)| *owner)
    }

    /// What is kept of them, in bytes.
    pub(super) fn held(&self) -> usize {
        self.partial.values().map(|partial| partial.bytes.len()).sum()
    }

    /// It will not be complete.
    pub(super) fn give_up(&mut self, owner: Owner) -> Option<Partial<'static>> {
        self.partial.remove(&owner)
    }
}

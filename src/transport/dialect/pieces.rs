//! Messages that come in pieces, for clients whose format has none.
//!
//! Owns what has arrived of each, up to the most that the client takes. Pure; called by the gateway.

use super::value;
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

/// Why a message cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// It has so many bytes, as it came or as JSON.
    Large(usize),
    /// JSON cannot say it.
    Unsayable(String),
}

impl Partial<'_> {
    /// The value as JSON, of at most so many bytes: text grows when it is written as JSON.
    pub(super) fn shown(&self, most: usize) -> Result<Cow<'_, str>, Hidden> {
        if self.length > most {
            return Err(Hidden::Large(self.length));
        }
        let value = value::json(self.encoding, &self.bytes).map_err(Hidden::Unsayable)?;
        match value.len() {
            length if length > most => Err(Hidden::Large(length)),
            _ => Ok(value),
        }
    }

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
    /// What is kept of them, in bytes.
    held: usize,
}

impl Pieces {
    /// The first part of a message.
    pub(super) fn begin(&mut self, owner: Owner, partial: Partial<'static>) {
        self.give_up(owner);
        self.held = self.held.saturating_add(partial.bytes.len());
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
        self.held = self.held.saturating_sub(partial.bytes.len());
        if partial.length > most {
            partial.bytes = Cow::Borrowed(&[]);
        } else {
            partial.bytes.to_mut().extend_from_slice(part);
        }
        self.held = self.held.saturating_add(partial.bytes.len());
        if last { self.give_up(owner) } else { None }
    }

    /// Takes a message out that has become larger than `most`.
    pub(super) fn beyond(&mut self, owner: Owner, most: usize) -> Option<Partial<'static>> {
        let beyond = self
            .partial
            .get(&owner)
            .is_some_and(|partial| partial.length > most);
        if beyond { self.give_up(owner) } else { None }
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
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// It will not be complete.
    pub(super) fn give_up(&mut self, owner: Owner) -> Option<Partial<'static>> {
        let partial = self.partial.remove(&owner)?;
        self.held = self.held.saturating_sub(partial.bytes.len());
        Some(partial)
    }
}

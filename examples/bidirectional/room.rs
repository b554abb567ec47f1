//! Who is in the room.
//!
//! Owns names and who has them. Pure: what reaches a member is a value of any type. `server.rs` asks it under a lock.

use std::collections::BTreeMap;

/// Most members.
pub(crate) const MEMBERS_MAX: usize = 1000;
/// Longest name, in bytes.
pub(crate) const NAME_MAX: usize = 40;
/// Longest message or question, in bytes: it is kept for each member that is slow.
pub(crate) const TEXT_MAX: usize = 4 * 1024;

/// Why the room refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RoomError {
    #[error("somebody else is `{0}`: choose another name")]
    NameTaken(String),
    #[error("`{}` is no name: 1 to {NAME_MAX} bytes without control characters", .0.escape_debug())]
    Name(String),
    #[error("this connection has no name yet: register first")]
    NotRegistered,
    #[error("there are {MEMBERS_MAX} people in the room")]
    Full,
    #[error("it is {0} bytes long, and {TEXT_MAX} are the most: say less at a time")]
    TooLong(usize),
}

impl RoomError {
    /// The name by which a client tells it from others.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::NameTaken(_) => "NameTaken",
            Self::Name(_) => "Name",
            Self::NotRegistered => "NotRegistered",
            Self::Full => "Full",
            Self::TooLong(_) => "TooLong",
        }
    }
}

/// A member: its name, and what reaches it.
pub(crate) type Member<S> = (String, S);

/// Everybody, by the number of the connection.
#[derive(Debug)]
pub(crate) struct Room<S> {
    members: BTreeMap<u64, Member<S>>,
}

impl<S> Default for Room<S> {
    fn default() -> Self {
        let members = BTreeMap::new();
        Self { members }
    }
}

/// Whether a text may be said.
pub(crate) const fn check(text: &str) -> Result<(), RoomError> {
    match text.len() {
        0..=TEXT_MAX => Ok(()),
        bytes => Err(RoomError::TooLong(bytes)),
    }
}

impl<S: Clone> Room<S> {
    /// Lets somebody in; who is in already gets another name.
    pub(crate) fn enter(&mut self, id: u64, name: &str, reach: S) -> Result<(), RoomError> {
        if name.is_empty() || name.len() > NAME_MAX || name.contains(char::is_control) {
            return Err(RoomError::Name(name.to_owned()));
        }
        let taken = self
            .members
            .iter()
            .any(|(other, (theirs, _))| *other != id && theirs == name);
        if taken {
            return Err(RoomError::NameTaken(name.to_owned()));
        }
        if self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&id) {
            return Err(RoomError::Full);
        }
        self.members.insert(id, (name.to_owned(), reach));
        Ok(())
    }

    /// Somebody is gone: the name that is free again.
    pub(crate) fn leave(&mut self, id: u64) -> Option<String> {
        self.members.remove(&id).map(|(name, _)| name)
    }

    /// The name of a connection.
    pub(crate) fn name(&self, id: u64) -> Result<String, RoomError> {
        let member = self.members.get(&id);
        member
            .map(|(name, _)| name.clone())
            .ok_or(RoomError::NotRegistered)
    }

    /// Everybody but one.
    pub(crate) fn others(&self, id: u64) -> Vec<Member<S>> {
        let others = self.members.iter().filter(|(other, _)| **other != id);
        others.map(|(_, member)| member.clone()).collect()
    }

    /// Everybody.
    pub(crate) fn everybody(&self) -> Vec<Member<S>> {
        self.members.values().cloned().collect()
    }
}

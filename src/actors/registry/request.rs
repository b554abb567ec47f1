//! What is asked of the index of names, and what it answers. Plain data; used by `index` and `names` of this room
//! and, through `index`, by the Registry actor.

use super::facts::Balance;
use crate::message::RequestId;
use bytes::Bytes;

/// What a Register asks for.
#[derive(Clone, Debug)]
pub struct Registration<'a, P> {
    /// The registrant.
    pub peer: P,
    /// Its Register.
    pub request: RequestId,
    /// The name.
    pub object: &'a str,
    /// Wait in the queue when the name is taken.
    pub queue: bool,
    /// Replace an owner that allows it.
    pub replace: bool,
    /// Others may replace this one.
    pub allow_replace: bool,
    /// Join a worker group with this balance; `queue`, `replace` and `allow_replace` mean nothing then.
    pub group: Option<Balance>,
    /// What the registrant says about the object.
    pub description: Bytes,
}

/// What an accepted Register got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// It owns the name, or is a member of its group.
    Owner,
    /// It is in the queue.
    Queued,
}

/// Why a Register was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisterError<P> {
    /// Another peer has the name, or a group has what was asked for alone (or the other way round).
    Taken {
        /// Its owner, or the oldest member of its group.
        owner: P,
    },
    /// The group has another balance; all members must ask for the same.
    Mismatch {
        /// The oldest member of the group.
        owner: P,
        /// The balance it has.
        balance: Balance,
    },
}

/// The peer has no claim to the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRegistered;

/// The peer has an open wait (or watch) of this number already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestInUse;

/// One name, for List and Describe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameView<'a, P> {
    /// The name.
    pub name: &'a str,
    /// Its owner, or the oldest member of its group.
    pub owner: P,
    /// The balance of its group, when it is one.
    pub balance: Option<Balance>,
    /// Who gets calls: the owner, or the members in the order in which they joined.
    pub members: Vec<P>,
    /// Who comes next, in order.
    pub queue: Vec<P>,
    /// What the owner (the oldest member) says about the object.
    pub description: &'a Bytes,
}

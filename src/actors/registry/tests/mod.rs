//! Tests of Registry's core: tables for single rules, properties for sequences of operations.

mod ended;
mod names;
mod presence;
mod properties;

use super::facts::{Balance, Effect, Facts, Interest, Notice};
use super::index::{Index, NotRegistered, RegisterError, Registered, Registration, RequestInUse};
use crate::message::{Pattern, PeerId, RequestId, Ticket};
use bytes::Bytes;

pub(super) type Peer = u8;
pub(super) type Effects = Vec<Effect<Peer>>;

/// An index with its table, driven as the actor drives it: each step commits, what is left is returned.
#[derive(Default)]
pub(super) struct Room {
    pub(super) index: Index<Peer>,
    pub(super) facts: Facts<Peer>,
    ticket: u64,
}

/// How to register, besides who and what.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Ask {
    pub(super) queue: bool,
    pub(super) replace: bool,
    pub(super) allow_replace: bool,
    pub(super) group: Option<Balance>,
}

pub(super) const PLAIN: Ask = Ask {
    queue: false,
    replace: false,
    allow_replace: false,
    group: None,
};
pub(super) const QUEUE: Ask = Ask { queue: true, ..PLAIN };
pub(super) const REPLACE: Ask = Ask {
    replace: true,
    ..PLAIN
};
pub(super) const REPLACEABLE: Ask = Ask {
    allow_replace: true,
    ..PLAIN
};

pub(super) const fn group(balance: Balance) -> Ask {
    Ask {
        group: Some(balance),
        ..PLAIN
    }
}

impl Room {
    fn step<R>(&mut self, act: impl FnOnce(&mut Index<Peer>, Ticket, &mut Effects) -> R) -> (R, Effects) {
        self.ticket += 1;
        let mut out = Vec::new();
        let result = act(&mut self.index, Ticket(self.ticket), &mut out);
        self.facts.commit(&mut out);
        (result, out)
    }

    /// The request's number is its peer's.
    pub(super) fn register(
        &mut self,
        peer: Peer,
        object: &str,
        ask: Ask,
    ) -> (Result<Registered, RegisterError<Peer>>, Effects) {
        let registration = Registration {
            peer,
            request: RequestId(peer.into()),
            object,
            queue: ask.queue,
            replace: ask.replace,
            allow_replace: ask.allow_replace,
            group: ask.group,
            description: Bytes::from(format!("{object} of {peer}")),
        };
        self.step(|index, ticket, out| index.register(ticket, registration, out))
    }

    pub(super) fn unregister(&mut self, peer: Peer, object: &str) -> (Result<(), NotRegistered>, Effects) {
        self.step(|index, _, out| index.unregister(peer, object, out))
    }

    pub(super) fn wait(
        &mut self,
        peer: Peer,
        request: u64,
        names: &[&str],
    ) -> (Result<bool, RequestInUse>, Effects) {
        let names = names.iter().map(|name| (*name).into()).collect();
        self.step(|index, ticket, out| index.wait(ticket, peer, RequestId(request), names, out))
    }

    pub(super) fn unwait(&mut self, peer: Peer, request: u64) -> bool {
        self.step(|index, _, out| index.unwait(peer, RequestId(request), out))
            .0
    }

    pub(super) fn watch(
        &mut self,
        peer: Peer,
        request: u64,
        interest: Interest,
    ) -> (Result<(), RequestInUse>, Effects) {
        self.step(|index, ticket, out| index.watch(ticket, peer, RequestId(request), interest, out))
    }

    pub(super) fn unwatch(&mut self, peer: Peer, request: u64) -> bool {
        self.step(|index, _, out| index.unwatch(peer, RequestId(request), out))
            .0
    }

    pub(super) fn connected(&mut self, peer: Peer, name: &str) -> Effects {
        let id = PeerId(u64::from(peer) + 100);
        self.step(|index, ticket, out| index.connected(ticket, peer, id, name.into(), out))
            .1
    }

    pub(super) fn gone(&mut self, peer: Peer) -> Effects {
        self.step(|index, _, out| index.gone(peer, out)).1
    }

    pub(super) fn route(&mut self, object: &str) -> Option<Peer> {
        self.index.route(object.as_bytes(), None, |_| 0)
    }

    /// Throws the index away.
    pub(super) fn rebuild(&mut self) {
        self.index = Index::rebuild(&self.facts);
    }

    /// A second room with the same facts and an index built from them.
    pub(super) fn rebuilt(&self) -> Self {
        Self {
            index: Index::rebuild(&self.facts),
            facts: self.facts.clone(),
            ticket: self.ticket,
        }
    }
}

pub(super) fn names(pattern: Option<&str>) -> Interest {
    Interest {
        names: true,
        connections: false,
        pattern: pattern.map(|text| Pattern::new(text).unwrap()),
    }
}

pub(super) fn connections(pattern: Option<&str>) -> Interest {
    Interest {
        names: false,
        connections: true,
        pattern: pattern.map(|text| Pattern::new(text).unwrap()),
    }
}

pub(super) fn told(peer: Peer, request: u64, what: Notice, name: &str, origin: Peer) -> Effect<Peer> {
    Effect::Notice {
        peer,
        request: RequestId(request),
        what,
        name: name.into(),
        origin,
    }
}

pub(super) fn ownership(peer: Peer, acquired: bool) -> Effect<Peer> {
    Effect::Ownership {
        peer,
        request: RequestId(peer.into()),
        acquired,
    }
}

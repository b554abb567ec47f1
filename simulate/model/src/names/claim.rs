//! One claim to a name, and the spans in which it may be and surely is in force.
//!
//! Owns the uncertainty: what a client was told, and when, against what the broker may have done before. It compares no claims but for
//! replacement.

use crate::run::Run;
use actix_ipc::message::Flags;

/// A span of steps: from the first, before the second.
pub(super) type Span = (u64, u64);

/// One Register that arrived, and what became of it.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) client: u32,
    pub(super) id: u64,
    pub(super) object: Vec<u8>,
    pub(super) flags: Flags,
    pub(super) balance: u32,
    pub(super) arrived: u64,
    /// When it was told that it is queued.
    pub(super) queued: Option<u64>,
    /// When it was told that it owns the name.
    pub(super) owner: Option<u64>,
    /// When it was refused, and the code.
    pub(super) refused: Option<(u64, u32)>,
    /// When it was told that it was replaced.
    pub(super) replaced: Option<u64>,
    /// When its Unregister arrived, and when that was answered.
    pub(super) given_up: Option<u64>,
    pub(super) withdrawn: Option<u64>,
    /// A panic may have come before or after its Unregister was carried out.
    pub(super) doubtful: bool,
}

impl Claim {
    pub(super) fn is_group(&self) -> bool {
        self.flags.has(Flags::WORKER_GROUP)
    }

    /// While it may be in force at the broker, as owner or in the queue.
    pub(super) fn may(&self, run: &Run) -> Option<Span> {
        match self.refused {
            // A panic may have come before or after the name was given.
            Some((_, code)) if code != 16 => return None,
            _ => {}
        }
        let mut until = u64::MAX;
        for told in [self.replaced, self.withdrawn].into_iter().flatten() {
            until = until.min(told);
        }
        let ended = run.client(self.client).and_then(|client| client.seen_ended());
        let given_up = self.given_up.filter(|_| !self.doubtful);
        for begun in [given_up, ended].into_iter().flatten() {
            until = until.min(run.settled_after(begun).unwrap_or(u64::MAX));
        }
        Some((self.arrived, until))
    }

    /// Until when nothing can have taken it away.
    pub(super) fn undisturbed(&self, run: &Run, all: &[Self]) -> u64 {
        let client = run.client(self.client);
        let mut until = client.map_or(0, |client| client.surely_until());
        until = self.given_up.unwrap_or(until).min(until);
        let mine = |claim: &&Self| claim.client == self.client && claim.object == self.object;
        if all
            .iter()
            .filter(mine)
            .any(|claim| claim.flags.has(Flags::ALLOW_REPLACE))
        {
            let rivals = all
                .iter()
                .filter(|claim| claim.object == self.object && claim.client != self.client);
            let replacing = rivals.filter(|claim| claim.flags.has(Flags::REPLACE));
            let taken = replacing
                .filter(|rival| rival.may(run).is_some_and(|(_, end)| end > self.arrived))
                .map(|claim| claim.arrived.max(self.arrived))
                .min();
            until = until.min(taken.unwrap_or(u64::MAX));
        }
        self.replaced.unwrap_or(until).min(until)
    }

    /// While it surely owns the name.
    pub(super) fn surely(&self, run: &Run, all: &[Self]) -> Option<Span> {
        let from = self.owner?;
        let until = self.undisturbed(run, all);
        (from < until).then_some((from, until))
    }
}

//! Names: who may own one when, and who surely does.
//!
//! Owns the claims that clients made and what they were told of them. Each claim has two spans: the time in which it *may* be in
//! force, and the time in which it *surely* is. `judge.rs` compares them at the end; Ownership frames are judged as they come.

mod claim;
mod judge;

use crate::Frame;
use crate::asks::Ask;
use crate::run::{Found, Run, show};
use actix_ipc::message::{Flags, Kind};
use claim::Claim;

/// A wait for names that was answered.
#[derive(Debug)]
struct Waited {
    client: u32,
    id: u64,
    names: Vec<Vec<u8>>,
    from: u64,
    /// Its deadline, in ms.
    due: u64,
    to: u64,
    /// The code of the error; `None`: Done.
    error: Option<u32>,
}

/// The rules' state.
#[derive(Debug, Default)]
pub(crate) struct Names {
    claims: Vec<Claim>,
    waits: Vec<Waited>,
}

impl Names {
    /// A frame that arrived.
    pub(crate) fn arrived(&mut self, client: u32, frame: &Frame, at: u64) {
        match frame.kind {
            Kind::Register => self.claims.push(Claim {
                client,
                id: frame.id,
                object: frame.key.clone(),
                flags: frame.flags,
                balance: frame.aux,
                arrived: at,
                queued: None,
                owner: None,
                refused: None,
                replaced: None,
                given_up: None,
                withdrawn: None,
                doubtful: false,
            }),
            Kind::Unregister => {
                let own = |claim: &&mut Claim| claim.client == client && claim.object == frame.key;
                for claim in self.claims.iter_mut().filter(own) {
                    claim.given_up = claim.given_up.or(Some(at));
                }
            }
            _ => {}
        }
    }

    /// A request about names was answered.
    pub(crate) fn answered(
        &mut self,
        run: &Run,
        client: u32,
        ask: &Ask,
        answer: &Frame,
        at: u64,
        found: &mut Found,
    ) {
        let done = answer.kind == Kind::Done;
        match ask.frame.kind {
            Kind::Register => self.registered(client, ask, answer, at, found),
            Kind::Unregister if done || answer.aux == 16 => {
                let asked = ask.asked.at;
                let own = |claim: &&mut Claim| {
                    claim.client == client && claim.object == ask.frame.key && claim.given_up == Some(asked)
                };
                for claim in self.claims.iter_mut().filter(own) {
                    claim.doubtful = !done;
                    claim.withdrawn = claim.withdrawn.or_else(|| done.then_some(at));
                }
            }
            Kind::Wait => {
                let error = (!done).then_some(answer.aux);
                self.waits.push(Waited {
                    client,
                    id: answer.id,
                    names: names_of(&ask.frame.payload),
                    from: ask.asked.at,
                    due: ask.asked.ms.saturating_add(run.patience(ask.frame.aux)),
                    to: at,
                    error,
                });
            }
            _ => {}
        }
    }

    fn registered(&mut self, client: u32, ask: &Ask, answer: &Frame, at: u64, found: &mut Found) {
        let before = self
            .claims
            .iter()
            .filter(|claim| claim.client == client && claim.object == ask.frame.key);
        let mut queueable = ask.frame.has(Flags::QUEUE) && !ask.frame.has(Flags::WORKER_GROUP);
        // Who asks again gets the same answer again.
        queueable |= before
            .clone()
            .any(|claim| claim.flags.has(Flags::QUEUE) && claim.arrived < ask.asked.at);
        let wanted = |claim: &&mut Claim| {
            claim.client == client && claim.id == answer.id && claim.arrived == ask.asked.at
        };
        let Some(claim) = self.claims.iter_mut().rev().find(wanted) else {
            return;
        };
        let what = show(&claim.object);
        match (answer.kind, answer.aux) {
            (Kind::Done, 0) => claim.owner = Some(at),
            (Kind::Done, 1) if queueable => claim.queued = Some(at),
            (Kind::Done, aux) => {
                let text = format!("Register {} of {what} was answered with {aux}", answer.id);
                found.add("register", client, at, text);
            }
            (_, code) => claim.refused = Some((at, code)),
        }
        let reserved = claim.object.starts_with(b"sys.") || claim.object == b"rob";
        if answer.kind == Kind::Done && (reserved || !crate::matcher::is_name(&claim.object)) {
            found.add("register", client, at, format!("{what} was given away"));
        }
    }

    /// A frame that the client read.
    pub(crate) fn received(&mut self, client: u32, frame: &Frame, at: u64, found: &mut Found) {
        if frame.kind != Kind::Ownership {
            return;
        }
        let mine = |claim: &Claim| claim.client == client && claim.id == frame.id;
        let Some((object, replaced)) = self.claims.iter().rev().find(|claim| mine(claim)).map(|claim| {
            let rivals = self
                .claims
                .iter()
                .filter(|rival| rival.client != client && rival.object == claim.object);
            let replaced = rivals
                .clone()
                .any(|rival| rival.flags.has(Flags::REPLACE) && rival.arrived <= at);
            (claim.object.clone(), replaced)
        }) else {
            return found.add(
                "ownership",
                client,
                at,
                format!("Ownership of registration {}, which it never made", frame.id),
            );
        };
        let what = show(&object);
        let mut own: Vec<&mut Claim> = self
            .claims
            .iter_mut()
            .filter(|claim| claim.client == client && claim.object == object && claim.refused.is_none())
            .collect();
        let live = |claim: &Claim| claim.replaced.is_none() && claim.withdrawn.is_none();
        match frame.aux {
            1 => {
                if !own
                    .iter()
                    .any(|claim| claim.queued.is_some() && claim.owner.is_none() && live(claim))
                {
                    found.add(
                        "ownership",
                        client,
                        at,
                        format!("inherits {what} without waiting for it"),
                    );
                }
                for claim in own
                    .iter_mut()
                    .filter(|claim| claim.queued.is_some() && live(claim))
                {
                    claim.owner = claim.owner.or(Some(at));
                }
            }
            0 => {
                let allowed = own
                    .iter()
                    .any(|claim| claim.flags.has(Flags::ALLOW_REPLACE) && live(claim));
                if !allowed || !replaced {
                    found.add(
                        "ownership",
                        client,
                        at,
                        format!("lost {what} to nobody who may replace it"),
                    );
                }
                let answered = |claim: &Claim| claim.owner.is_some() || claim.queued.is_some();
                for claim in own.iter_mut().filter(|claim| answered(claim) && live(claim)) {
                    claim.replaced = Some(at);
                }
            }
            other => found.add("ownership", client, at, format!("Ownership {other} of {what}")),
        }
    }

    /// The object of a client's registration.
    pub(crate) fn object_of(&self, client: u32, id: u64) -> Option<&[u8]> {
        let claim = self
            .claims
            .iter()
            .rev()
            .find(|claim| claim.client == client && claim.id == id);
        claim.map(|claim| claim.object.as_slice())
    }

    /// Whether the client may own the name at some time of the span.
    pub(crate) fn may_hold(&self, run: &Run, client: u32, object: &[u8], from: u64, to: u64) -> bool {
        let mut own = self
            .claims
            .iter()
            .filter(|claim| claim.client == client && claim.object == object);
        own.any(|claim| {
            claim
                .may(run)
                .is_some_and(|(since, until)| since <= to && from <= until)
        })
    }

    /// Who surely owned the name during the whole span.
    pub(crate) fn surely_held(&self, run: &Run, object: &[u8], from: u64, to: u64) -> Option<u32> {
        if object == b"rob" {
            return Some(u32::MAX);
        }
        let all = self.claims.iter().filter(|claim| claim.object == object);
        let sure = |claim: &&Claim| {
            claim
                .surely(run, &self.claims)
                .is_some_and(|(since, until)| since <= from && to < until)
        };
        all.clone().find(sure).map(|claim| claim.client)
    }

    /// Whether anybody had asked for the name by then.
    pub(crate) fn was_claimed(&self, object: &[u8], by: u64) -> bool {
        let builtin = object == b"rob" || object.starts_with(b"sys.");
        builtin
            || self
                .claims
                .iter()
                .any(|claim| claim.object == object && claim.arrived <= by)
    }

    /// Whether anybody who asked for the name has ended.
    pub(crate) fn claimant_ended(&self, run: &Run, object: &[u8]) -> bool {
        let mut claims = self.claims.iter().filter(|claim| claim.object == object);
        claims.any(|claim| {
            run.client(claim.client)
                .is_some_and(|client| client.ended().is_some())
        })
    }

    /// Whether the client ever asked for the name.
    pub(crate) fn asked_for(&self, client: u32, object: &[u8]) -> bool {
        self.claims
            .iter()
            .any(|claim| claim.client == client && claim.object == object)
    }

    /// Whether the name was ever a group's.
    pub(crate) fn was_group(&self, object: &[u8]) -> bool {
        self.claims
            .iter()
            .any(|claim| claim.object == object && claim.is_group())
    }
}

/// The names in a Wait.
fn names_of(mut payload: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    while let Some((length, rest)) = payload.split_first() {
        let Some((name, rest)) = rest.split_at_checked(usize::from(*length)) else {
            break;
        };
        names.push(name.to_vec());
        payload = rest;
    }
    names
}

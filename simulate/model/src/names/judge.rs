//! What claims together must not show.
//!
//! Owns the rules `two-owners`, `name-taken`, `queue-order`, `wait`, which need the whole run.

use super::claim::{Claim, Span};
use super::{Names, Waited};
use crate::run::{Found, Run, show, step};
use actix_ipc::message::Flags;

const fn meet(one: Span, other: Span) -> bool {
    one.0 < other.1 && other.0 < one.1
}

impl Names {
    /// Judges the whole run.
    pub(crate) fn finish(&self, run: &Run, found: &mut Found) {
        for (index, claim) in self.claims.iter().enumerate() {
            let rest = self.claims.get(index.saturating_add(1)..).unwrap_or(&[]);
            let rivals = |other: &&Claim| other.object == claim.object && other.client != claim.client;
            for other in rest.iter().filter(rivals) {
                self.one_owner(run, claim, other, found);
                self.first_come(run, claim, other, found);
                self.first_come(run, other, claim, found);
            }
            self.taken(run, claim, found);
        }
        self.waits.iter().for_each(|wait| self.waited(run, wait, found));
    }

    fn one_owner(&self, run: &Run, one: &Claim, other: &Claim, found: &mut Found) {
        let together = one.is_group() && other.is_group() && one.balance == other.balance;
        let spans = (one.surely(run, &self.claims), other.surely(run, &self.claims));
        if let (Some(first), Some(second)) = spans
            && meet(first, second)
            && !together
        {
            let text = format!(
                "{} belongs to it since step {} and to client {} since step {}",
                show(&one.object),
                step(first.0),
                other.client,
                step(second.0)
            );
            found.add("two-owners", one.client, first.0.max(second.0), text);
        }
    }

    /// `early` waited before `late` asked, and `late` inherits first.
    fn first_come(&self, run: &Run, early: &Claim, late: &Claim, found: &mut Found) {
        let (Some(queued), Some(owner)) = (early.queued, late.owner) else {
            return;
        };
        let still_waits = early.owner.is_none_or(|inherited| inherited > owner)
            && early.undisturbed(run, &self.claims) > owner;
        let patient = !early.flags.has(Flags::ALLOW_REPLACE);
        let earlier_claim = self.claims.iter().any(|claim| {
            claim.client == late.client && claim.object == late.object && claim.arrived < queued
        });
        if queued < late.arrived
            && still_waits
            && patient
            && !late.flags.has(Flags::REPLACE)
            && !earlier_claim
        {
            let text = format!(
                "{}: queued since step {}, and client {}, who asked at step {}, owns it first",
                show(&early.object),
                step(queued),
                late.client,
                step(late.arrived)
            );
            found.add("queue-order", early.client, owner, text);
        }
    }

    fn taken(&self, run: &Run, claim: &Claim, found: &mut Found) {
        let Some((at, 10)) = claim.refused else { return };
        let span = (claim.arrived, at.saturating_add(1));
        let holds = |other: &Claim| {
            let rival = other.client != claim.client
                || other.is_group() != claim.is_group()
                || other.balance != claim.balance;
            rival && other.object == claim.object && other.may(run).is_some_and(|other| meet(other, span))
        };
        if claim.object != b"rob" && !self.claims.iter().any(holds) {
            let text = format!("{} is taken, and nobody can have it", show(&claim.object));
            found.add("name-taken", claim.client, at, text);
        }
    }

    fn waited(&self, run: &Run, wait: &Waited, found: &mut Found) {
        let span = (wait.from, wait.to.saturating_add(1));
        match wait.error {
            None => {
                // All at one moment: the latest beginning of any claim, or of the wait, is such a moment if there is one.
                let begins = self
                    .claims
                    .iter()
                    .filter(|claim| wait.names.contains(&claim.object));
                let mut moments: Vec<u64> = begins.filter_map(|claim| Some(claim.may(run)?.0)).collect();
                moments.push(wait.from);
                moments.retain(|at| span.0 <= *at && *at < span.1);
                let there = |at: u64| wait.names.iter().all(|name| self.may_be_there(run, name, at));
                if !moments.into_iter().any(there) {
                    let names: Vec<_> = wait.names.iter().map(|name| show(name)).collect();
                    let text = format!(
                        "Wait {} for {names:?} is over, and they were never there together",
                        wait.id
                    );
                    found.add("wait", wait.client, wait.to, text);
                }
            }
            Some(7) => {
                let handled = run.was_handled_in_time(wait.from, wait.to, wait.due);
                let there = wait
                    .names
                    .iter()
                    .all(|name| self.surely_held(run, name, wait.from, wait.to).is_some());
                if handled && there {
                    let text = format!("Wait {} ended at its deadline, and all names were there", wait.id);
                    found.add("wait", wait.client, wait.to, text);
                }
            }
            Some(_) => {}
        }
    }

    fn may_be_there(&self, run: &Run, name: &[u8], at: u64) -> bool {
        let builtin = name == b"rob" || name.starts_with(b"sys.");
        let mut claims = self.claims.iter().filter(|claim| claim.object == name);
        builtin
            || claims.any(|claim| {
                claim
                    .may(run)
                    .is_some_and(|(since, until)| since <= at && at <= until)
            })
    }
}

impl Names {
    /// Every name that was ever asked for, once.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut all: Vec<_> = self.claims.iter().map(|claim| claim.object.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// Whether a name may be there when a drained run is over, and whether it surely is.
    pub(crate) fn at_the_end(&self, run: &Run, object: &[u8]) -> (bool, bool) {
        let mut claims = self.claims.iter().filter(|claim| claim.object == object);
        let in_force = |claim: &Claim| {
            let open = claim.may(run).is_some_and(|(_, until)| until == u64::MAX);
            // Who has left has nothing any more when all is drained.
            open && run.lives(claim.client) && (claim.given_up.is_none() || claim.doubtful)
        };
        let surely = claims.clone().any(|claim| {
            claim
                .surely(run, &self.claims)
                .is_some_and(|(_, until)| until == u64::MAX)
        });
        (claims.any(in_force), surely)
    }
}

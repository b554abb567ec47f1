//! What a caller gets: what its callee sent and nothing else, one end, and errors that hold.
//!
//! Owns the rules `unknown-id`, `after-outcome`, `forged`, `did-not-run`, `may-have-run`, `deadline`, `late`, `cancelled`, `internal`,
//! `call-credit`.

use super::{Call, Calls, Item, Outcome, is_builtin, object};
use crate::run::{Found, Moment, Run, show};
use crate::{Core, Frame};
use actix_ipc::message::{Flags, Kind};

/// Codes that a broker gives to calls that went nowhere.
const NEVER_RAN: &[u32] = &[1, 10, 11, 12, 13];

impl Calls {
    /// A client read a frame about a call of its own.
    pub(super) fn tell_caller(
        &mut self,
        run: &Run,
        client: u32,
        frame: &Frame,
        now: Moment,
        found: &mut Found,
    ) {
        let early = self.early.get(&super::answer_content(frame)).copied();
        let Some(call) = self.by_number(client, frame.id) else {
            let text = format!("{:?} {} is about no call of its own", frame.kind, frame.id);
            return found.add("unknown-id", client, now.at, text);
        };
        if call.muddled {
            return;
        }
        if frame.kind == Kind::CallCredit {
            return call.credited(frame, now, found);
        }
        if call.outcome.is_some() {
            let text = format!("{:?} {} came behind the end of its call", frame.kind, frame.id);
            return found.add("after-outcome", client, now.at, text);
        }
        let mut here = Found::default();
        if frame.kind == Kind::Error {
            call.failed(run, frame, now, &mut here);
        } else {
            call.replied(run, frame, now, &mut here);
        }
        match early {
            Some(sender) if !here.0.is_empty() => call.suspect = Some((sender, here.0)),
            _ => found.0.extend(here.0),
        }
    }
}

impl Call {
    fn add(&self, found: &mut Found, rule: &'static str, now: Moment, text: &str) {
        let what = show(object(&self.frame));
        found.add(
            rule,
            self.caller,
            now.at,
            format!("call {} to {what}: {text}", self.frame.id),
        );
    }

    fn credited(&mut self, frame: &Frame, now: Moment, found: &mut Found) {
        self.granted = self.granted.saturating_add(u64::from(frame.aux));
        let gave = match &self.given {
            Some(given) if given.odd => u64::MAX,
            Some(given) => given.gave,
            None => 0,
        };
        if (self.granted > self.charged || self.granted > gave) && !is_builtin(object(&self.frame)) {
            let text = format!(
                "{} bytes granted, {} spent, the callee gave {gave}",
                self.granted, self.charged
            );
            self.add(found, "call-credit", now, &text);
        }
    }

    fn replied(&mut self, run: &Run, frame: &Frame, now: Moment, found: &mut Found) {
        let continuing = self.got.last().is_some_and(|item| item.message.is_open());
        match (frame.kind, self.got.last_mut()) {
            (Kind::Reply, _) if !continuing => self.got.push(Item::begin(frame)),
            (Kind::ReplyPiece, Some(item)) if continuing => item.message.piece(frame),
            _ => return self.add(found, "forged", now, &format!("{:?} out of turn", frame.kind)),
        }
        if frame.has(Flags::MORE) && frame.kind == Kind::Reply && !self.frame.has(Flags::STREAM) {
            self.add(found, "forged", now, "a stream that was not asked for");
        }
        let at = self.got.len().saturating_sub(1);
        let Some(got) = self.got.last() else { return };
        let sent = self
            .given
            .as_ref()
            .map(|given| (given.odd, given.replies.get(at)));
        let true_to_callee = match sent {
            None => is_builtin(object(&self.frame)),
            Some((odd, sent)) => odd || sent.is_some_and(|sent| got.follows(sent)),
        };
        let (ends, in_pieces) = (got.ends(), self.got.len() > 1 || frame.kind == Kind::ReplyPiece);
        let void = got.message.is_void();
        if !true_to_callee {
            let text = match sent {
                None => "answered, and nobody was given it".to_owned(),
                Some((_, None)) => "its callee has not sent so many replies".to_owned(),
                Some((_, Some(sent))) => format!("got {got:?}, its callee sent {sent:?}"),
            };
            self.add(found, "forged", now, &text);
        }
        if ends {
            self.outcome = Some(Outcome {
                at: now,
                // An answer that was given up counts as an error of the handler.
                error: void.then_some((3, true)),
                callees_own: true,
            });
            if !in_pieces {
                self.in_time(run, now, found);
            }
        }
    }

    fn failed(&mut self, run: &Run, frame: &Frame, now: Moment, found: &mut Found) {
        let may_run = frame.has(Flags::MAY_HAVE_RUN);
        let same = |own: &Frame| {
            (own.aux, own.flags, own.encoding, &own.meta, &own.payload)
                == (
                    frame.aux,
                    frame.flags,
                    frame.encoding,
                    &frame.meta,
                    &frame.payload,
                )
        };
        let given = self.given.as_ref();
        let callees_own = given.is_some_and(|given| given.error.as_ref().is_some_and(same));
        self.outcome = Some(Outcome {
            at: now,
            error: Some((frame.aux, may_run)),
            callees_own,
        });
        self.in_time(run, now, found);
        if callees_own || given.is_some_and(|given| given.odd) {
            return;
        }
        if let Some(given) = given.filter(|_| !may_run) {
            let text = format!(
                "code {} says that it did not run, and client {} had it",
                frame.aux, given.callee
            );
            self.add(found, "did-not-run", now, &text);
        }
        let whole = !self.frame.has(Flags::CONTINUED);
        if may_run && whole && given.is_none() && NEVER_RAN.contains(&frame.aux) {
            let text = format!("code {} cannot have run, and says that it may", frame.aux);
            self.add(found, "may-have-run", now, &text);
        }
        self.reason(run, frame, now, found);
    }

    /// Whether the broker had reason to say so.
    fn reason(&self, run: &Run, frame: &Frame, now: Moment, found: &mut Found) {
        let due = self.due(run);
        let leaving = run.client(self.caller).is_some_and(|caller| !caller.lives());
        match frame.aux {
            2..=4 | 15 => self.add(
                found,
                "forged",
                now,
                &format!("code {} is a callee's to say", frame.aux),
            ),
            6 if !self.cancelled && !leaving => self.add(found, "cancelled", now, "cancelled by nobody"),
            7 if now.ms < due => {
                let text = format!("ended at {} ms, its deadline is {due} ms", now.ms);
                self.add(found, "deadline", now, &text);
            }
            16 if !run.panicked(Core::Registry, self.caller, self.arrived.at) => {
                self.add(found, "internal", now, "Internal, and no core panicked for it");
            }
            _ => {}
        }
    }

    fn due(&self, run: &Run) -> u64 {
        self.arrived.ms.saturating_add(run.patience(self.frame.aux))
    }

    /// Once the run is calm an outcome is not later than the deadline. A call or stream in pieces has a new one with each, and so
    /// has one with items.
    fn in_time(&self, run: &Run, now: Moment, found: &mut Found) {
        let extends = self.frame.has(Flags::STREAM)
            || self.frame.has(Flags::ITEMS)
            || !self.got.is_empty() && self.got.iter().any(|item| item.more);
        let Some(calm) = run.calm.filter(|_| !extends) else {
            return;
        };
        let begun = self
            .given
            .as_ref()
            .is_some_and(|given| given.replies.iter().any(|item| item.message.is_open()));
        if !begun && now.ms > self.due(run).max(calm.ms).saturating_add(run.setup.slack_ms) {
            let text = format!("ended at {} ms, its deadline is {} ms", now.ms, self.due(run));
            self.add(found, "late", now, &text);
        }
    }
}

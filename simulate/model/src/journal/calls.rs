//! The journals' calls: one outcome, handled at most once, errors that tell the truth.
//!
//! Owns the rules `one-outcome`, `handled-once`, `did-not-run`, `answered-by-nobody`, `late` and `not-registered`. Called by
//! [`super::check`].

use super::{Fact, Journal};
use crate::Violation;
use std::collections::{HashMap, HashSet};

/// What the journals say of one call.
#[derive(Default)]
struct Call<'a> {
    intent: Option<(u64, u64)>,
    outcomes: Vec<(u64, Option<&'a str>, bool)>,
    handled: Vec<&'a str>,
}

/// Checks all calls of a run.
pub(super) fn check(journals: &[Journal], slack_ms: u64) -> Vec<Violation> {
    let (mut calls, mut found) = (HashMap::<(&str, u64), Call<'_>>::new(), Vec::new());
    for journal in journals {
        let mut registered = HashSet::new();
        for line in &journal.lines {
            match &line.fact {
                Fact::Call { id, deadline_ms, .. } => {
                    let call = calls.entry((&journal.who, *id)).or_default();
                    if call.intent.replace((line.us, *deadline_ms)).is_some() {
                        found.push(violation(
                            "journal-format",
                            &journal.who,
                            *id,
                            "its number was used twice",
                        ));
                    }
                }
                Fact::Outcome { id, error, may_run } => {
                    let call = calls.entry((&journal.who, *id)).or_default();
                    call.outcomes.push((line.us, error.as_deref(), *may_run));
                }
                Fact::Registered { object, .. } => {
                    registered.insert(object.as_str());
                }
                Fact::Handled { caller, id, object } => {
                    calls.entry((caller, *id)).or_default().handled.push(&journal.who);
                    if !registered.contains(object.as_str()) {
                        let text = format!("{} got it without having registered {object}", journal.who);
                        found.push(violation("not-registered", caller, *id, &text));
                    }
                }
                _ => {}
            }
        }
    }
    let ended = |who: &str, wanted: &Fact| {
        let lines = journals.iter().filter(|journal| journal.who == who);
        lines
            .flat_map(|journal| &journal.lines)
            .any(|line| line.fact == *wanted)
    };
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by_key(|(key, _)| *key);
    for ((who, id), call) in &calls {
        judge(who, *id, call, &mut found);
        if call.outcomes.is_empty() && call.intent.is_some() && ended(who, &Fact::Finished) {
            found.push(violation(
                "one-outcome",
                who,
                *id,
                "its process finished and it has none",
            ));
        }
        if let (Some((begun, deadline)), [(ended_at, ..)]) = (call.intent, call.outcomes.as_slice()) {
            let limit = deadline.saturating_add(slack_ms).saturating_mul(1_000);
            let took = ended_at.saturating_sub(begun);
            if deadline > 0 && took > limit && !ended(who, &Fact::Paused) {
                let text = format!(
                    "it ended after {} ms, its deadline is {deadline} ms",
                    took / 1_000
                );
                found.push(violation("late", who, *id, &text));
            }
        }
    }
    found
}

fn judge(who: &str, id: u64, call: &Call<'_>, found: &mut Vec<Violation>) {
    if call.intent.is_none() {
        found.push(violation("invented", who, id, "nobody made this call"));
    }
    if call.outcomes.len() > 1 {
        let text = format!("it has {}: {:?}", call.outcomes.len(), call.outcomes);
        found.push(violation("one-outcome", who, id, &text));
    }
    if call.handled.len() > 1 {
        found.push(violation(
            "handled-once",
            who,
            id,
            &format!("handled by {:?}", call.handled),
        ));
    }
    for (_, error, may_run) in &call.outcomes {
        match (error, call.handled.as_slice()) {
            (Some(code), [worker, ..]) if !may_run => {
                let text = format!("{code} says that it did not run, and {worker} handled it");
                found.push(violation("did-not-run", who, id, &text));
            }
            (None, []) => found.push(violation(
                "answered-by-nobody",
                who,
                id,
                "answered, and nobody handled it",
            )),
            _ => {}
        }
    }
}

fn violation(rule: &'static str, who: &str, id: u64, text: &str) -> Violation {
    Violation {
        rule,
        text: format!("call {id} of {who}: {text}"),
    }
}

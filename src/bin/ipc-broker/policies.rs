//! What the daemon says about a policy without running: what it understood, and how it decides.
//!
//! Owns the texts for people. Decisions are `actix_ipc::policy`'s.

use super::{EXIT_IN_ORDER, EXIT_SETTINGS, Question, complain, say};
use actix_ipc::policy::{Policy, Principal, Right, Rule, check_name, sid};
use actix_ipc::terminal::{nearest, printable};

/// Denied, as an answer and not as a failure.
const EXIT_DENIED: u8 = 1;
/// The question is wrong.
const EXIT_USAGE: u8 = 2;

/// Says each rule in a line.
pub(crate) fn show(policy: &Policy) {
    let count = policy.rules().len();
    say(format_args!(
        "the policy has {count} rule{}",
        if count == 1 { "" } else { "s" }
    ));
    for rule in policy.rules() {
        let plain = rule.plain.iter().map(ToString::to_string);
        let named = rule.named.iter().map(|(right, names)| format!("{right} {names}"));
        let rights: Vec<String> = plain.chain(named).collect();
        say(format_args!(
            "line {}: {}: {}",
            rule.line,
            head(rule),
            printable(&rights.join(", "))
        ));
    }
}

fn head(rule: &Rule) -> String {
    let who: Vec<String> = rule.who.iter().map(ToString::to_string).collect();
    format!("[[{}]] for {}", rule.verdict.name(), printable(&who.join(", ")))
}

/// Answers a question from the policy alone.
pub(crate) fn explain(policy: Option<&Policy>, question: &Question) -> u8 {
    let Some(policy) = policy else {
        complain("there is no policy to ask; name one with --policy FILE");
        return EXIT_SETTINGS;
    };
    match asked(question) {
        Ok((who, right)) => answer(policy, &who, right, question),
        Err(text) => {
            complain(text);
            EXIT_USAGE
        }
    }
}

fn asked(question: &Question) -> Result<(Principal, Right), String> {
    let known = || Right::ALL.map(Right::name);
    let right = Right::ALL
        .into_iter()
        .find(|right| right.name() == question.right)
        .ok_or_else(|| {
            let near = nearest(&question.right, known());
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            format!(
                "{:?} is no right, which are {}{near}",
                question.right,
                known().join(", ")
            )
        })?;
    if right.has_names() && question.object.is_none() {
        return Err(format!(
            "{right} is about an object; name it, as in: policy explain --uid 1000 {right} math"
        ));
    }
    if let Some(name) = &question.name {
        check_name(name).map_err(|error| error.to_string())?;
    }
    let known_sid = match &question.sid {
        None => None,
        Some(text) => Some(sid(text).ok_or_else(|| format!("{text:?} is no SID"))?),
    };
    let who = Principal {
        uid: question.uid,
        sid: known_sid.map(Into::into),
        gids: (!question.gid.is_empty()).then(|| question.gid.clone().into()),
        name: question.name.as_deref().map(Into::into),
        local: false,
    };
    Ok((who, right))
}

fn answer(policy: &Policy, who: &Principal, right: Right, question: &Question) -> u8 {
    let object = question.object.as_deref().unwrap_or_default();
    let member = question.member.as_deref().unwrap_or_default();
    let decision = policy.decide(who, right, object, member);
    let rule = decision.rule.and_then(|place| policy.rules().get(place));
    match (decision.allowed, rule) {
        (allowed, Some(rule)) => {
            let what = if allowed { "allowed" } else { "denied" };
            say(format_args!(
                "{what} by the rule in line {}: {}",
                rule.line,
                head(rule)
            ));
        }
        (_, None) => say(format_args!(
            "denied: no rule speaks of it; [[allow]] with {right} would allow it"
        )),
    }
    let connects = policy.decide(who, Right::Connect, "", "").allowed;
    if decision.allowed && !connects {
        say("but this peer may not connect, so it is of no use");
    }
    match decision.allowed && connects {
        true => EXIT_IN_ORDER,
        false => EXIT_DENIED,
    }
}

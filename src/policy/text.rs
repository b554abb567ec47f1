//! A policy as text, in TOML.
//!
//! Owns the keys of a policy file and every complaint about one. Reading is total: whatever is not understood is an error with
//! its line, all of them are found in one go, and a text with any error gives no policy at all. It refuses to know where the
//! text comes from and how users are looked up. Called by the daemon; `docs/policy.md` is the reference.

mod values;

use super::Policy;
use super::rule::{Right, Rule, Selection, Verdict, Who};
use crate::terminal::nearest;
use std::collections::HashMap;
use std::fmt;
use toml_edit::{ArrayOfTables, ImDocument, Item, Table};
use values::Reader;

/// Rules in one policy, at most: each question of a peer looks at those that are about it.
const RULES_MAX: usize = 4_096;

/// The keys that say whom a rule is about.
const WHO: [&str; 7] = ["uid", "sid", "user", "gid", "group", "name", "everyone"];

/// Looks users and groups up by name.
pub trait Users {
    /// The user's number; `None` when there is no such user.
    fn uid(&self, name: &str) -> Option<u32>;
    /// The group's number; `None` when there is no such group.
    fn gid(&self, name: &str) -> Option<u32>;
    /// Whether this system tells users by SIDs, and has no tables of names.
    fn are_sids(&self) -> bool {
        false
    }
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1; 0 when it concerns the whole.
    pub line: u32,
    /// What is wrong and what to write instead.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong with a policy, in the order of the lines; at least one fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Reads a policy. Names of users and groups become numbers here and now.
///
/// # Errors
/// [`Faults`] lists everything that is wrong; there is no policy then, not even a part of one.
pub fn parse(text: &str, users: &dyn Users) -> Result<Policy, Faults> {
    let mut reader = Reader::new(text, users);
    let document = match ImDocument::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let message = format!("this is not TOML: {}", error.message().trim_end());
            return Err(Faults(vec![reader.fault(error.span(), message)]));
        }
    };
    let mut rules = Vec::new();
    for (name, item) in document.iter() {
        let verdict = [Verdict::Allow, Verdict::Deny]
            .into_iter()
            .find(|verdict| verdict.name() == name);
        let span = document
            .key(name)
            .and_then(toml_edit::Key::span)
            .or_else(|| item.span());
        match (verdict, item) {
            (Some(verdict), Item::ArrayOfTables(tables)) => {
                rules.extend(read_rules(&mut reader, verdict, tables));
            }
            (Some(_), _) => reader.complain(
                span,
                format!("{name} is a list of rules; begin each with [[{name}]] on a line of its own"),
            ),
            (None, _) => {
                let text = match nearest(name, ["allow", "deny"]) {
                    Some(near) => format!("{name:?} is unknown; did you mean [[{near}]]?"),
                    None => format!("{name:?} is unknown; a policy consists of [[allow]] and [[deny]] rules"),
                };
                reader.complain(span, text);
            }
        }
    }
    rules.sort_by_key(|rule| rule.line);
    reader.check_whole(&rules);
    reader.finish().map(|()| Policy::new(rules))
}

fn read_rules(reader: &mut Reader<'_>, verdict: Verdict, tables: &ArrayOfTables) -> Vec<Rule> {
    tables
        .iter()
        .map(|table| read_rule(reader, verdict, table))
        .collect()
}

fn read_rule(reader: &mut Reader<'_>, verdict: Verdict, table: &Table) -> Rule {
    let mut rule = match verdict {
        Verdict::Allow => Rule::allow([]),
        Verdict::Deny => Rule::deny([]),
    };
    rule.line = reader.line(table.span());
    let mut who_keys = Vec::new();
    for (name, item) in table.iter() {
        let span = table
            .key(name)
            .and_then(toml_edit::Key::span)
            .or_else(|| item.span());
        if let Some(who) = WHO.iter().find(|who| **who == name) {
            who_keys.push(*who);
            rule.who.extend(reader.who(who, item, span));
        } else if let Some(right) = Right::ALL.into_iter().find(|right| right.name() == name) {
            if right.has_names() {
                let names = reader.selections(right, item, span);
                rule.named.extend(names.into_iter().map(|names| (right, names)));
            } else if reader.is_true(name, item, span) {
                rule.plain.push(right);
            }
        } else {
            let known = WHO.into_iter().chain(Right::ALL.map(Right::name));
            let text = match nearest(name, known) {
                Some(near) => format!("unknown key {name:?}; did you mean {near}?"),
                None => format!(
                    "unknown key {name:?}; a rule has one of {}, and rights: {}",
                    WHO.join(", "),
                    Right::ALL.map(Right::name).join(", ")
                ),
            };
            reader.complain(span, text);
        }
    }
    let here = rule.line;
    match who_keys.as_slice() {
        [] => reader.complain_at(
            here,
            format!(
                "the rule does not say whom it is about; add one of {} (everyone = true)",
                WHO.join(", ")
            ),
        ),
        [_] => {}
        several => reader.complain_at(
            here,
            format!(
                "the rule is about {} at once, which could mean any or all of them; write one rule for each",
                several.join(" and ")
            ),
        ),
    }
    let speaks = Right::ALL.iter().any(|right| table.contains_key(right.name()));
    if !speaks {
        let text = format!(
            "the rule gives no right; add {}",
            Right::ALL.map(Right::name).join(", ")
        );
        reader.complain_at(here, text);
    }
    rule
}

/// One thing that one rule says of one principal.
type Atom<'a> = (&'a Who, Right, Option<&'a Selection>);

fn atoms(rule: &Rule) -> impl Iterator<Item = Atom<'_>> {
    let plain = rule.plain.iter().map(|right| (*right, None));
    let named = rule.named.iter().map(|(right, names)| (*right, Some(names)));
    let rights: Vec<_> = plain.chain(named).collect();
    rule.who.iter().flat_map(move |who| {
        rights
            .clone()
            .into_iter()
            .map(move |(right, names)| (who, right, names))
    })
}

fn said((who, right, names): &Atom<'_>) -> String {
    match names {
        Some(names) => format!("{right} {names} for {who}"),
        None => format!("{right} for {who}"),
    }
}

impl Reader<'_> {
    /// What only shows when all rules are there: none, too many, the same twice, nobody let in.
    fn check_whole(&mut self, rules: &[Rule]) {
        if self.has_faults() {
            return;
        }
        if rules.is_empty() {
            let text = "the policy has no rules, so nobody could do anything; add [[allow]] rules, \
                        beginning with one that has connect = true";
            return self.complain_at(0, text.into());
        }
        if rules.len() > RULES_MAX {
            let text = format!(
                "the policy has {} rules, at most {RULES_MAX}; select more names by each",
                rules.len()
            );
            return self.complain_at(0, text);
        }
        let mut seen: HashMap<Atom<'_>, (Verdict, u32)> = HashMap::new();
        for rule in rules {
            for atom in atoms(rule) {
                match seen.get(&atom) {
                    None => {
                        seen.insert(atom, (rule.verdict, rule.line));
                    }
                    Some((verdict, line)) if *verdict == rule.verdict => {
                        let text = format!(
                            "{} is said already in line {line}; remove one of them",
                            said(&atom)
                        );
                        self.complain_at(rule.line, text);
                    }
                    Some((verdict, line)) => {
                        let text = format!(
                            "line {line} has {} {}, and this rule the opposite, so one of them has no effect (deny wins); \
                             remove one",
                            verdict.name(),
                            said(&atom)
                        );
                        self.complain_at(rule.line, text);
                    }
                }
            }
        }
        let lets_in = |rule: &Rule| rule.verdict == Verdict::Allow && rule.plain.contains(&Right::Connect);
        if !rules.iter().any(lets_in) {
            let text = "no rule lets anybody connect; add connect = true to the rules of those who may";
            self.complain_at(0, text.into());
        }
    }
}

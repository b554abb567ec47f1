//! For every rule of the judge a history that keeps it and one that breaks it: the judge can fail, and does not cry wolf.
//!
//! Owns the table's reading. The histories stand in `rules/`, one file for each group of rules; `rules/history.rs` writes them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "what is not as expected fails the test"
)]

#[path = "rules/calls.rs"]
mod calls;
#[path = "rules/connection.rs"]
mod connection;
#[path = "rules/events.rs"]
mod events;
#[path = "rules/history.rs"]
mod history;
#[path = "rules/names.rs"]
mod names;

use history::History;

/// The rule, what its history is about, and the history: good, or bad when the flag is set.
pub type Case = (&'static str, &'static str, fn(&mut History, bool));

fn all() -> impl Iterator<Item = &'static Case> {
    [connection::CASES, calls::CASES, names::CASES, events::CASES]
        .into_iter()
        .flatten()
}

#[test]
fn good_histories_pass_and_bad_ones_are_caught() {
    let mut wrong = Vec::new();
    for (rule, about, case) in all() {
        for bad in [false, true] {
            let mut history = History::new();
            case(&mut history, bad);
            let found = history.finish();
            let caught = found.iter().any(|violation| violation.rule == *rule);
            if caught != bad || !bad && !found.is_empty() {
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                wrong.push(format!("{rule}, {about}, bad: {bad}: {found:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rules that the judge's source names, journals apart.
fn rules_of(folder: &std::path::Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("journal") {
            rules_of(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split("add(").skip(1) {
                let words = part.split('"');
                let before = words.clone().next().unwrap_or("").replace("found", "");
                let rule = words.clone().nth(1).unwrap_or("");
                let plain = rule
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '-');
                if before.trim_matches([',', ' ', '\n']).is_empty() && plain && !rule.is_empty() {
                    names.push(rule.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_rule_has_its_histories() {
    let mut names = Vec::new();
    rules_of(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut names,
    );
    names.sort();
    names.dedup();
    assert!(names.len() > 40, "{names:?}");
    names.retain(|name| !all().any(|(rule, ..)| rule == name));
    assert!(names.is_empty(), "without a history: {names:?}");
}

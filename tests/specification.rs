//! `SPECIFICATION.md` and `SECURITY.md` name tests; this file proves that they exist and that no promise is without one.
//!
//! It reads the documents and the sources as text; whether a test proves its sentence is for the reader.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A reference `path.rs::function` or a path of the repository, as it stands between backticks.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is wrong with a reference; `None` when it is right, or no reference.
fn wrong(reference: &str) -> Option<String> {
    let (path, function) = reference.split_once("::")?;
    if !path.ends_with(".rs") {
        return None;
    }
    let Ok(source) = fs::read_to_string(Path::new(ROOT).join(path)) else {
        return Some(format!("{reference}: there is no file {path}"));
    };
    let defined = source
        .lines()
        .filter_map(|line| line.trim().split_once("fn "))
        .any(|(_, rest)| rest.split('(').next() == Some(function));
    (!defined).then(|| format!("{reference}: {path} has no function {function}"))
}

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| property") && !line.starts_with("| speed")
    })
}

#[test]
fn every_promise_names_tests_that_exist() {
    let text = fs::read_to_string(Path::new(ROOT).join("SPECIFICATION.md")).expect("SPECIFICATION.md");
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for row in rows(&text) {
        if references(row).all(|reference| {
            !reference.contains(".rs::") && !reference.starts_with("cargo ") && !reference.starts_with("ci/")
        }) {
            complaints.push(format!("no test and no command in: {row}"));
        }
        for reference in references(row) {
            seen.insert(reference);
            complaints.extend(wrong(reference));
            if reference.starts_with("ci/") && !Path::new(ROOT).join(reference).exists() {
                complaints.push(format!("there is no {reference}"));
            }
        }
    }
    assert!(
        seen.len() > 40,
        "the tables were not understood: {} references",
        seen.len()
    );
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_promise_of_security_names_tests_that_exist_or_says_that_it_has_none() {
    let text = fs::read_to_string(Path::new(ROOT).join("SECURITY.md")).expect("SECURITY.md");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    // The first table is about actors, who promise nothing.
    let promises: Vec<&str> = rows
        .skip_while(|row| !row.starts_with("| promise"))
        .filter(|row| !row.starts_with("| promise"))
        .collect();
    assert!(promises.len() > 25, "{} promises", promises.len());
    let mut complaints = Vec::new();
    for row in promises {
        let test = row
            .trim_end_matches(" |")
            .rsplit(" | ")
            .next()
            .unwrap_or_default();
        if !test.starts_with("none: ") && !references(row).any(|reference| reference.contains(".rs::")) {
            complaints.push(format!("no test in: {row}"));
        }
        complaints.extend(references(row).filter_map(wrong));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_reference_that_is_wrong_is_told() {
    assert_eq!(
        wrong("tests/specification.rs::every_promise_names_tests_that_exist"),
        None
    );
    assert!(wrong("tests/specification.rs::nobody_wrote_this").is_some());
    assert!(wrong("tests/no_such_file.rs::test").is_some());
    assert_eq!(
        wrong("Broker::builder"),
        None,
        "a path of the code is no reference to a test"
    );
}

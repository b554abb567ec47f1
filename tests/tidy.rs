//! The house rules that a program can check, as tests. Each finding names file and line.
//!
//! Owns the rules; `tidy/rooms.rs` has the rooms and the exceptions, `tidy/dependencies.rs` what is asked of cargo, `tidy/source.rs` reading,
//! `tidy/windows.rs` what is left out on Windows. It refuses to know what clippy and rustfmt already check. CONTRIBUTING.md lists the rules for people.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/windows.rs"]
mod windows;

use rooms::*;
use source::{Finding, Source, closing, item_end, line_of, read_all, words};
use std::path::Path;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    folders
        .iter()
        .for_each(|folder| read_all(root(), folder, endings, &mut found));
    // A program of its own, outside of the workspace: other people's client libraries, each used as its people do.
    found.retain(|file| !file.path.starts_with("benches/peers/"));
    assert!(!found.is_empty(), "no file in {folders:?}");
    found
}

fn rust_files() -> Vec<Source> {
    files(
        &["src", "macros", "tests", "examples", "benches", "simulate"],
        &[".rs"],
    )
}

fn assert_tidy(files: &[Source], check: impl Fn(&Source) -> Vec<Finding>) {
    let findings: Vec<String> = files
        .iter()
        .flat_map(check)
        .map(|finding| finding.to_string())
        .collect();
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// The lines that `check` names in a file made up for the purpose.
fn fires(check: impl Fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    check(&Source::new(path, text))
        .into_iter()
        .map(|finding| finding.line)
        .collect()
}

fn matches_any(path: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == *pattern,
    })
}

fn opening(file: &Source) -> Vec<Finding> {
    match file.text.starts_with("//! ") {
        true => Vec::new(),
        false => vec![file.finding(
            1,
            "a file opens with `//!`: what it owns, what it refuses to know, who calls it",
        )],
    }
}

fn file_length(file: &Source) -> Vec<Finding> {
    match file.text.lines().count() {
        lines if lines > FILE_LINES => {
            vec![file.finding(lines, format!("{lines} lines, at most {FILE_LINES}: split it"))]
        }
        _ => Vec::new(),
    }
}

fn function_length(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in words(&file.code, "fn") {
        let rest = file.code[at + 2..].trim_start();
        // `fn(u8)` is a type.
        if !rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$') {
            continue;
        }
        let end = item_end(&file.code, at);
        let lines = line_of(&file.code, end) - line_of(&file.code, at) + 1;
        if lines > FUNCTION_LINES {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || "_$".contains(*c))
                .collect();
            let what = format!("fn {name} has {lines} lines, at most {FUNCTION_LINES}");
            findings.push(file.finding_at(&file.code, at, what));
        }
    }
    findings
}

fn purity(file: &Source) -> Vec<Finding> {
    if file.is_test() || !matches_any(&file.path, PURE) {
        return Vec::new();
    }
    let allowed = |word: &str| {
        IMPURE_ALLOWED
            .iter()
            .any(|(path, may, _)| *path == file.path && *may == word)
    };
    let said = IMPURE.iter().filter(|word| !allowed(word));
    said.flat_map(|word| {
        let places = words(&file.production, word).into_iter();
        places.map(move |at| {
            file.finding_at(&file.production, at, format!("a pure file does not say `{word}`"))
        })
    })
    .collect()
}

/// The rooms that a file mentions: `crate::room`, `super::room`, `crate::{room, …}`.
fn mentioned(code: &str) -> Vec<(usize, String)> {
    let name = |text: &str| {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found: Vec<(usize, String)> = Vec::new();
    for start in ["crate::", "super::"] {
        for at in words(code, start) {
            let from = at + start.len();
            if !code[from..].starts_with('{') {
                found.push((at, name(&code[from..])));
                continue;
            }
            let (mut at, end) = (from + 1, closing(code, from) - 1);
            while at < end {
                found.push((at, name(&code[at..end])));
                while at < end && code.as_bytes()[at] != b',' {
                    at = if code.as_bytes()[at] == b'{' {
                        closing(code, at)
                    } else {
                        at + 1
                    };
                }
                at += 1;
            }
        }
    }
    found
}

fn direction(file: &Source) -> Vec<Finding> {
    let rules = DIRECTIONS.iter().filter(|(room, _)| file.path.starts_with(room));
    let forbidden: Vec<&str> = rules
        .flat_map(|(_, forbidden)| forbidden.iter().copied())
        .collect();
    if file.is_test() || forbidden.is_empty() {
        return Vec::new();
    }
    let mentions = mentioned(&file.production).into_iter();
    mentions
        .filter(|(_, room)| forbidden.contains(&room.as_str()))
        .map(|(at, room)| {
            file.finding_at(
                &file.production,
                at,
                format!("this room must not mention `{room}`"),
            )
        })
        .collect()
}

fn platform(file: &Source) -> Vec<Finding> {
    let allowed = PLATFORM_ASKERS.iter().any(|(path, _)| *path == file.path);
    if allowed || file.is_test() || PLATFORM_ROOMS.iter().any(|room| file.path.starts_with(room)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for ask in ["cfg(", "cfg!(", "cfg_attr("] {
        for at in words(&file.production, ask) {
            let condition = &file.production[at..closing(&file.production, at + ask.len() - 1)];
            let about = ["unix", "windows", "target_os", "target_family", "target_env"];
            if about.iter().any(|word| !words(condition, word).is_empty()) {
                let what = format!("platform questions belong into {PLATFORM_ROOMS:?}");
                findings.push(file.finding_at(&file.production, at, what));
            }
        }
    }
    findings
}

fn unfinished(file: &Source) -> Vec<Finding> {
    // Written apart, so that this file passes.
    let marks = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    let places = marks
        .iter()
        .flat_map(|mark| words(&file.text, mark).into_iter().map(move |at| (mark, at)));
    places
        .map(|(mark, at)| file.finding_at(&file.text, at, format!("unfinished: `{mark}`")))
        .collect()
}

fn whitespace(file: &Source) -> Vec<Finding> {
    let numbered = file.text.lines().enumerate();
    let mut findings: Vec<Finding> = numbered
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
        .map(|(index, _)| file.finding(index + 1, "blanks at the end of the line"))
        .collect();
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        findings.push(file.finding(file.text.lines().count(), "a file ends with exactly one line end"));
    }
    findings
}

fn waiting(file: &Source) -> Vec<Finding> {
    if SLEEPERS.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    // To wait for a while is the same under another name; the library waits for what has a limit.
    let parks = file.path.starts_with("tests/").then_some("park_timeout(");
    let places = ["sleep("]
        .into_iter()
        .chain(parks)
        .flat_map(|word| words(&file.code, word));
    places
        .map(|at| file.finding_at(&file.code, at, "wait for the thing, not for time to pass"))
        .collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_tidy(&rust_files(), opening);
    assert_eq!(fires(opening, "src/a.rs", "use x;\n"), [1]);
    assert!(fires(opening, "src/a.rs", "//! Owns x.\n").is_empty());
}

#[test]
fn no_file_is_too_long() {
    assert_tidy(&files(&["src", "simulate", "tests"], &[".rs"]), file_length);
    assert_eq!(fires(file_length, "src/a.rs", &"\n".repeat(501)), [501]);
    assert!(fires(file_length, "src/a.rs", &"\n".repeat(500)).is_empty());
}

#[test]
fn no_function_is_too_long() {
    assert_tidy(&rust_files(), function_length);
    let function = |lines: usize| {
        format!(
            "\nfn f(a: [u8; 2]) -> fn(u8) {{ // {{\nlet s = \"}}\";{}}}\n",
            "\n".repeat(lines - 2)
        )
    };
    assert_eq!(fires(function_length, "src/a.rs", &function(71)), [2]);
    assert!(fires(function_length, "src/a.rs", &function(70)).is_empty());
    let declared = format!(
        "trait T {{ fn f(&self) -> u8; }}\nstruct S {{\n{}}}\n",
        "\n".repeat(100)
    );
    assert!(fires(function_length, "src/a.rs", &declared).is_empty());
}

#[test]
fn pure_files_are_pure() {
    assert_tidy(&files(&["src"], &[".rs"]), purity);
    let text =
        "//! actix\nuse tokio::time;\n#[cfg(test)]\nmod t { use actix::Actor; }\nlet now = Instant::now();\n";
    let mut lines = fires(purity, "src/actors/registry/index.rs", text);
    lines.sort_unstable();
    assert_eq!(lines, [2, 5]);
    assert!(fires(purity, "src/actors/registry/mod.rs", text).is_empty());
    assert!(fires(purity, "src/actors/registry/index_tests.rs", text).is_empty());
    assert_eq!(
        fires(purity, "src/message/frame.rs", "use tokio_util::codec;\n"),
        [1]
    );
    assert!(fires(purity, "src/message/codec/framed.rs", "use tokio_util::codec;\n").is_empty());
}

#[test]
fn dependencies_point_one_way() {
    assert_tidy(&files(&["src"], &[".rs"]), direction);
    let text = "use crate::{message::{actors, Kind}, client};\nuse crate::actors::Broker;\nlet x = super::client::y();\n";
    let mut lines = fires(direction, "src/transport/unix.rs", text);
    lines.sort_unstable();
    assert_eq!(lines, [1, 2, 3]);
    assert_eq!(fires(direction, "src/client/mod.rs", text), [2]);
    assert!(fires(direction, "src/bin/rob/main.rs", text).is_empty());
}

/// What judges the broker shares none of its decisions: of the library it has the alphabet only.
fn independence(file: &Source) -> Vec<Finding> {
    let places = words(&file.code, "actix_ipc::").into_iter();
    let foreign = places.filter(|at| {
        let rest = &file.code[at + "actix_ipc::".len()..];
        let room: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        !["message", "error"].contains(&room.as_str())
    });
    foreign
        .map(|at| file.finding_at(&file.code, at, "the judge imports `message` and `error` only"))
        .collect()
}

#[test]
fn the_judge_is_independent_of_what_it_judges() {
    assert_tidy(&files(&["simulate/model/src"], &[".rs"]), independence);
    let text = "use actix_ipc::message::Kind;\nuse actix_ipc::actors::Broker;\nuse actix_ipc::{message, actors};\n// actix_ipc::actors\n";
    assert_eq!(fires(independence, "simulate/model/src/a.rs", text), [2, 3]);
}

#[test]
fn platform_questions_stay_in_their_rooms() {
    assert_tidy(&files(&["src"], &[".rs"]), platform);
    let text = "#[cfg(test)]\nmod t;\n#[cfg(unix)]\nfn a() {}\nif cfg!(target_os = \"linux\") {}\n#[cfg(feature = \"unix\")]\n";
    let mut lines = fires(platform, "src/actors/broker.rs", text);
    lines.sort_unstable();
    assert_eq!(lines, [3, 5]);
    assert!(fires(platform, "src/transport/unix.rs", text).is_empty());
}

#[test]
fn nothing_is_unfinished() {
    assert_tidy(&rust_files(), unfinished);
    for mark in [
        concat!("to", "do!()"),
        concat!("unimple", "mented!(\"x\")"),
        concat!("// FIX", "ME: x"),
    ] {
        assert_eq!(
            fires(unfinished, "src/a.rs", &format!("\n{mark}\n")),
            [2],
            "{mark}"
        );
    }
    assert!(fires(unfinished, "src/a.rs", "mastodon()\n").is_empty());
}

#[test]
fn lines_end_where_they_end() {
    let mut all = files(
        &["src", "tests", "examples", "benches", "docs", "simulate"],
        &[".rs", ".md", ".json", ".py", ".toml"],
    );
    all.extend(
        files(&[""], &[".md", ".toml"])
            .into_iter()
            .filter(|file| !file.path.contains('/')),
    );
    assert_tidy(&all, whitespace);
    assert_eq!(fires(whitespace, "README.md", "a \nb\n"), [1]);
    assert_eq!(fires(whitespace, "README.md", "a\nb"), [2]);
    assert_eq!(fires(whitespace, "README.md", "a\n\n"), [2]);
}

#[test]
fn nobody_sleeps() {
    assert_tidy(
        &files(
            &["src", "tests", "examples", "benches", "simulate"],
            &[".rs", ".py"],
        ),
        waiting,
    );
    assert_eq!(
        fires(waiting, "tests/a.rs", "// sleep(1)\nthread::sleep(x);\n"),
        [2]
    );
    assert_eq!(fires(waiting, "tests/a.rs", "thread::park_timeout(x);\n"), [1]);
    assert!(fires(waiting, "src/a.rs", "thread::park_timeout(x);\n").is_empty());
    assert_eq!(fires(waiting, "tests/a.py", "time.sleep(1)\n"), [1]);
    for (path, reason) in SLEEPERS.iter().chain(PLATFORM_ASKERS) {
        assert!(
            root().join(path).exists() && !reason.is_empty(),
            "{path} is excepted and not there"
        );
    }
}

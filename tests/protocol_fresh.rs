//! What a program needs to use the macros: a crate with actix-ipc and tokio alone compiles and runs, in both editions, and a program
//! that departs from its protocol is told so at its own line.
//!
//! The programs are built in a workspace of their own in the target folder, without a network; what they share with this build is
//! taken from it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]

#[path = "support/broker.rs"]
mod broker;

use broker::Place;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The programs that are wrong. Each line with an error ends in `//~` and what the compiler says about it.
const WRONG: [&str; 5] = [
    "missing_method",
    "not_serialize",
    "same_number",
    "wrong_answer",
    "wrong_caller",
];

const SHARED: &str = r#"
[workspace]
resolver = "3"
members = ["fresh2021", "fresh2024", "wrong"]

[profile.dev]
debug = "line-tables-only"
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn package(name: &str, edition: u16) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"{edition}\"\n\n[dependencies]\nactix-ipc = {{ path = {:?} }}\n\
         tokio = {{ version = \"1\", features = [\"full\"] }}\n",
        root()
    )
}

/// Writes only what is another, so that nothing is built twice.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A workspace of new crates, and cargo in it.
fn workspace() -> PathBuf {
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("protocol_fresh");
    let source = |name: &str| {
        let path = root()
            .join("tests/protocol_fresh")
            .join(name)
            .with_extension("rs");
        fs::read_to_string(path).unwrap()
    };
    write(&workspace.join("Cargo.toml"), SHARED);
    let lock = workspace.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root().join("Cargo.lock"), lock).unwrap();
    }
    for edition in [2021, 2024] {
        let name = format!("fresh{edition}");
        write(
            &workspace.join(&name).join("Cargo.toml"),
            &package(&name, edition),
        );
        write(&workspace.join(&name).join("src/main.rs"), &source("program"));
    }
    write(&workspace.join("wrong/Cargo.toml"), &package("wrong", 2024));
    for name in WRONG {
        write(
            &workspace.join("wrong/src/bin").join(name).with_extension("rs"),
            &source(name),
        );
    }
    workspace
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Output {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--message-format=json"])
        .args(arguments)
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap()
}

/// What cargo and the compiler said, message by message.
fn messages(output: &Output) -> Vec<Value> {
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

#[test]
fn a_crate_with_actix_ipc_and_tokio_alone_compiles_and_runs() {
    let workspace = workspace();
    let place = Place::new();
    let broker = place.start();
    let built = cargo(&workspace, &["-p", "fresh2021", "-p", "fresh2024"]);
    let said = String::from_utf8_lossy(&built.stderr);
    let messages = messages(&built);
    let rendered: String = messages
        .iter()
        .filter_map(|message| message["message"]["rendered"].as_str())
        .collect();
    assert!(built.status.success(), "{said}{rendered}");
    let programs: Vec<&str> = messages
        .iter()
        .filter_map(|message| message["executable"].as_str())
        .collect();
    assert_eq!(programs.len(), 2, "{programs:?}");
    for program in programs {
        let ran = Command::new(program)
            .arg(broker.endpoint.to_string())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let printed = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(
            printed.trim(),
            "42 (\"one\", 1) 8 [0, 1, 2] Some(\"7\")",
            "{program}"
        );
    }
}

/// The line of an error in the program itself, and what the error says.
fn error(message: &Value) -> Option<(String, u64, String)> {
    let message = &message["message"];
    if message["level"] != "error" {
        return None;
    }
    let spans = message["spans"].as_array()?;
    let primary = spans.iter().find(|span| span["is_primary"] == true)?;
    let file = Path::new(primary["file_name"].as_str()?)
        .file_stem()?
        .to_str()?
        .to_owned();
    let rendered = message["rendered"].as_str()?.to_owned();
    Some((file, primary["line_start"].as_u64()?, rendered))
}

#[test]
fn a_program_that_departs_from_its_protocol_is_told_so_at_its_own_line() {
    let workspace = workspace();
    let built = cargo(&workspace, &["-p", "wrong", "--keep-going"]);
    assert!(!built.status.success(), "nothing was wrong");
    let said = String::from_utf8_lossy(&built.stderr);
    let mut errors: Vec<(String, u64, String)> = messages(&built).iter().filter_map(error).collect();
    for name in WRONG {
        let path = root()
            .join("tests/protocol_fresh")
            .join(name)
            .with_extension("rs");
        let text = fs::read_to_string(path).unwrap();
        for (line, text) in (1_u64..).zip(text.lines()) {
            let Some((_, expected)) = text.split_once("//~") else {
                continue;
            };
            let expected = expected.trim();
            let found = errors
                .iter()
                .position(|(file, at, text)| file == name && *at == line && text.contains(expected));
            let Some(found) = found else {
                panic!("{name}, line {line}: not {expected:?} but {errors:#?}{said}");
            };
            errors.remove(found);
            // Writing and reading a type are two errors of one cause.
            errors.retain(|(file, at, _)| file != name || *at != line);
        }
    }
    assert!(errors.is_empty(), "more than what is marked: {errors:#?}");
}

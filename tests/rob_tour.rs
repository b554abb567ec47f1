//! Every command that `docs/rob.md` shows, executed against the real binaries, and its output compared with the page.
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
#![cfg(all(feature = "cli", unix))]

#[path = "protocols/calc.rs"]
mod calc;
#[path = "console/mod.rs"]
mod console;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::client::Registration;
use actix_ipc::{IpcClient, Methods};
use console::{Runner, matches, sections};
use futures::executor::block_on;
use serde_json::json;
use support::Broker;

const PAGE: &str = include_str!("../docs/rob.md");

#[derive(serde::Deserialize)]
struct Args {
    a: i64,
    b: i64,
}

/// What `examples/worker.rs` serves.
fn math() -> Methods {
    Methods::new()
        .method(
            "add",
            |Args { a, b }, _| async move { Ok(json!({ "sum": a + b })) },
        )
        .method("mul", |Args { a, b }, _| async move {
            Ok(json!({ "product": a * b }))
        })
}

/// What the page says is running: the example worker's object, and one of typed protocols.
fn serve(broker: &Broker) -> [Registration; 2] {
    block_on(async {
        let endpoint = broker.endpoint().parse().unwrap();
        let client = IpcClient::builder().endpoint(endpoint).name("calculator");
        let client = client.connect().await.unwrap();
        let math = client.register("math", math()).await.unwrap();
        let calc = client
            .add_protocol("calc", calc::calc(&Default::default()))
            .await
            .unwrap();
        [math, calc]
    })
}

#[test]
fn every_command_of_the_page_prints_what_the_page_shows() {
    let broker = Broker::start();
    let objects = serve(&broker);
    let runner = Runner {
        programs: console::folder_of(env!("CARGO_BIN_EXE_rob")),
        folder: broker.folder().to_path_buf(),
        variables: vec![
            ("IPC_BROKER_ADDR", broker.endpoint().to_owned()),
            // This machine may be slower than a person.
            ("ROB_COMPLETE_PATIENCE_MS", "30000".to_owned()),
        ],
    };
    let sections = sections(PAGE);
    let commands: usize = sections.iter().map(|section| section.steps.len()).sum();
    assert!(commands >= 8, "the page shows {commands} commands");
    let outcome = runner.run(&sections);
    drop(objects);
    if let Err(differences) = outcome {
        panic!("docs/rob.md and rob differ:\n{differences}");
    }
}

#[test]
fn a_difference_is_found_and_named() {
    let page = "# a\n```console\n$ echo one\ntwo\n\n$ sh -c 'exit 3'\n$ echo $?\n3\n$ cat # in a terminal of its own\nno\n```\n";
    let folder = tempfile::tempdir().unwrap();
    let runner = Runner {
        programs: console::folder_of(env!("CARGO_BIN_EXE_rob")),
        folder: folder.path().to_path_buf(),
        variables: Vec::new(),
    };
    let differences = runner.run(&sections(page)).unwrap_err();
    let named: Vec<&str> = differences
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    assert_eq!(named, ["line 3: $ echo one", "line 9: $ cat"]);
}

#[test]
fn a_block_is_read_as_it_says() {
    let page = "text\n## One\n```console\n$ a \\\n> b\nout\n\n$ c   # in a terminal of its own\nx\n^C\n```\n```sh\n$ not this\n```\n## Two\n";
    let found = sections(page);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].heading, "One");
    let steps: Vec<_> = found[0]
        .steps
        .iter()
        .map(|step| {
            (
                step.line,
                step.command.as_str(),
                step.beside,
                step.expected.as_slice(),
            )
        })
        .collect();
    assert_eq!(steps[0], (4, "a \\\nb", false, &["out".to_owned()][..]));
    assert_eq!(steps[1], (8, "c", true, &["x".to_owned(), "^C".to_owned()][..]));
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let table = [
        ("a\nb", "a\nb", true),
        ("a\nb", "a", false),
        ("a", "a\nb", false),
        ("…", "", true),
        ("…\nz", "x\ny\nz", true),
        ("…\nz", "x\ny", false),
        ("took … µs of …", "took 12 µs of 3", true),
        ("took … µs", "took 12 ms", false),
        ("a   ", "a", true),
    ];
    for (expected, shown, same) in table {
        assert_eq!(
            matches(&lines(expected), &lines(shown)),
            same,
            "{expected:?} {shown:?}"
        );
    }
}

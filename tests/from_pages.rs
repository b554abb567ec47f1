//! The pages for those who come from D-Bus, NATS and ZeroMQ: what they show of ours exists, and prints what they say.
//!
//! Their Rust is compiled with the documentation tests (`src/lib.rs`).
#![cfg(all(feature = "cli", unix))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "console/mod.rs"]
mod console;
mod support;

use actix_ipc::{IpcClient, SharedObject, async_trait};
use console::{Runner, sections};
use futures::executor::block_on;
use serde_json::{Value, json};
use std::collections::HashMap;
use support::{Broker, broker_command, rob_command, run};

const PAGES: [(&str, &str); 3] = [
    ("from-dbus.md", include_str!("../docs/from-dbus.md")),
    ("from-nats.md", include_str!("../docs/from-nats.md")),
    ("from-zeromq.md", include_str!("../docs/from-zeromq.md")),
];

struct Math;

#[async_trait]
impl SharedObject for Math {
    async fn call(&self, method: &str, args: &Value) -> Value {
        let (a, b) = (args["a"].as_i64().unwrap(), args["b"].as_i64().unwrap());
        match method {
            "mul" => json!({ "product": a * b }),
            _ => json!({ "sum": a + b }),
        }
    }
}

#[test]
fn every_command_that_is_executed_prints_what_the_pages_show() {
    let broker = Broker::start();
    let client = block_on(async {
        let client = IpcClient::builder().endpoint(broker.endpoint().parse().unwrap());
        client.connect().await.unwrap()
    });
    let registration = block_on(async { client.register_object("math", Math).await.unwrap() });
    let runner = Runner {
        programs: console::folder_of(env!("CARGO_BIN_EXE_rob")),
        folder: broker.folder().to_path_buf(),
        variables: vec![("IPC_BROKER_ADDR", broker.endpoint().to_owned())],
    };
    for (name, page) in PAGES {
        let sections = sections(page);
        assert!(!sections.is_empty(), "{name} executes nothing");
        if let Err(differences) = runner.run(&sections) {
            panic!("docs/{name} and rob differ:\n{differences}");
        }
    }
    drop(registration);
    block_on(client.close());
}

/// The commands of ours in a page's tables: what stands in backquotes and begins with one of our programs, or goes on with it behind a pipe.
fn commands(page: &str) -> Vec<String> {
    let tables = page.lines().filter(|line| line.starts_with('|'));
    let spans = tables.flat_map(|line| line.split('`').skip(1).step_by(2).collect::<Vec<_>>());
    let parts = spans.flat_map(|span| span.split("\\|").map(str::trim).collect::<Vec<_>>());
    let ours = parts.filter(|part| part.starts_with("rob ") || part.starts_with("ipc-broker "));
    ours.map(str::to_owned).collect()
}

/// The words of a command without what is in quotes, whose options are another program's.
fn plain_words(command: &str) -> Vec<&str> {
    let unquoted: Vec<&str> = command.split('\'').step_by(2).collect();
    unquoted.iter().flat_map(|part| part.split_whitespace()).collect()
}

#[test]
fn every_command_of_the_tables_exists_with_its_options() {
    let mut helps: HashMap<Vec<String>, String> = HashMap::new();
    let mut missing = Vec::new();
    let mut count = 0;
    for (name, page) in PAGES {
        for command in commands(page) {
            count += 1;
            let words = plain_words(&command);
            let program = words[0];
            // Options of all commands may stand before the command, with or without a value.
            let commands = ["policy", "config", "token", "bench"];
            let first = words[1..].iter().position(|word| {
                !word.starts_with('-') && !word.chars().next().is_some_and(|c| c.is_ascii_digit())
            });
            let mut path: Vec<String> = Vec::new();
            if let Some(first) =
                first.filter(|first| program == "rob" || commands.contains(&words[first + 1]))
            {
                path.push(words[first + 1].to_owned());
                if commands.contains(&words[first + 1]) {
                    path.push(words[first + 2].to_owned());
                }
            }
            path.insert(0, program.to_owned());
            let help = helps.entry(path.clone()).or_insert_with(|| {
                let mut asked = match program {
                    "rob" => rob_command(),
                    _ => broker_command(),
                };
                let ended = run(asked.args(&path[1..]).arg("--help"));
                match ended.status.success() {
                    true => ended.stdout,
                    false => String::new(),
                }
            });
            if help.is_empty() {
                missing.push(format!(
                    "docs/{name}: `{command}`: there is no {}",
                    path.join(" ")
                ));
                continue;
            }
            for option in words.iter().filter(|word| word.starts_with("--")) {
                if !help.contains(&format!("{option} ")) && !help.contains(&format!("{option}\n")) {
                    missing.push(format!("docs/{name}: `{command}`: there is no {option}"));
                }
            }
        }
    }
    assert!(count > 30, "{count} commands");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn commands_are_found_in_tables_and_quotes_are_left_out() {
    let page = "| a | `tail -f x \\| nats pub y` | `tail -f x \\| rob send app log --lines s`, `rob list` |\n`rob not in a table`\n";
    assert_eq!(commands(page), ["rob send app log --lines s", "rob list"]);
    assert_eq!(
        plain_words("rob serve sum --exec 'jq --slurp add' --count 1"),
        ["rob", "serve", "sum", "--exec", "--count", "1"]
    );
}

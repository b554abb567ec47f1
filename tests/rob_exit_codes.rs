//! The table of exit codes in `docs/rob.md`, line by line, against the real binaries.
//!
//! Each line has a way to get there that a person may take, and each name of a code in it is answered by an object.
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
#![cfg(feature = "cli")]

#[path = "support/full.rs"]
mod full;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::client::{IncomingCall, Registration, Response};
use actix_ipc::error::ErrorCode;
use actix_ipc::{Handler, HandlerError, IpcClient, async_trait};
use futures::channel::mpsc::unbounded;
use futures::executor::block_on;
use support::{Broker, Ended, Process, endpoint_in, rob_command, run};

/// A line of the table: its codes, and the names of error codes that it says.
fn table() -> Vec<(Vec<i32>, Vec<String>)> {
    let page = include_str!("../docs/rob.md");
    let (_, section) = page.split_once("\n## Exit codes\n").expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let codes = cells[0].strip_prefix("| ")?;
        let codes: Option<Vec<i32>> = codes.split(", ").map(|code| code.parse().ok()).collect();
        let words = cells.get(2)?.split(|c: char| !c.is_alphanumeric());
        let names = words.filter(|word| ErrorCode::ALL.iter().any(|code| code.name() == *word));
        Some((codes?, names.map(str::to_owned).collect()))
    });
    rows.collect()
}

/// Answers each method with the error of that name.
struct Codes;

#[async_trait]
impl Handler for Codes {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let code = ErrorCode::ALL
            .iter()
            .find(|code| code.name() == &*call.context.method);
        Err(HandlerError {
            code: *code.unwrap(),
            ..HandlerError::new("on purpose")
        })
    }
}

fn serve_codes(broker: &Broker) -> Registration {
    block_on(async {
        let client = IpcClient::connect_to(broker.endpoint().parse().unwrap())
            .await
            .unwrap();
        client.register("codes", Codes).await.unwrap()
    })
}

/// An endpoint of another system.
const FOREIGN: &str = if cfg!(windows) {
    "--addr unix:/x list"
} else {
    "--addr pipe:x list"
};

#[test]
fn every_name_of_the_table_gives_the_code_of_its_line() {
    let broker = Broker::start();
    let _codes = serve_codes(&broker);
    let mut told = Vec::new();
    for (codes, names) in table() {
        for name in names {
            let ended = broker.rob(&format!("call codes {name}"));
            assert_eq!(ended.code(), codes[0], "{name}: {}", ended.stderr);
            assert!(ended.stderr.contains("on purpose"), "{name}: {}", ended.stderr);
            told.push(name);
        }
    }
    told.sort();
    let mut all: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    all.sort_unstable();
    assert_eq!(told, all, "each code is in one line of the table");
}

#[test]
fn every_line_of_the_table_can_be_reached() {
    for (codes, _) in table() {
        for code in codes {
            for (way, ended) in ways(code) {
                assert_eq!(signals::shown(ended.status), Some(code), "{way}: {ended:#?}");
            }
        }
    }
}

/// The ways to a code.
fn ways(code: i32) -> Vec<(&'static str, Ended)> {
    let broker = Broker::start();
    let math = objects::serve(broker.endpoint());
    let lines: &[&'static str] = match code {
        0 => &[
            "call math add {ii} a 1 b 2",
            "list",
            "wait math",
            "ping --count 1",
        ],
        1 => &["call math fail", "call math panic"],
        2 => &[
            "call",
            "call math add i",
            "list --count 2",
            "--addr nonsense list",
            FOREIGN,
            "listen a* t",
            "man nothing",
        ],
        3 => &["call mth add", "describe mth", "ping mth", "call math ad"],
        4 => &[
            "call math never --timeout 0.05",
            "listen o t --timeout 0.05",
            "wait mth --timeout 0.05",
        ],
        6 => &["serve math --exec cat"],
        5 | 7 | 8 | 130 | 141 | 143 => &[],
        other => panic!("docs/rob.md has a code {other} that no test reaches"),
    };
    let mut ways: Vec<_> = lines.iter().map(|line| (*line, broker.rob(line))).collect();
    match code {
        5 => ways.push(("no broker", without_a_broker())),
        7 => {
            let (items, gated) = unbounded::<i64>();
            drop(math);
            let math = objects::serve_gated(broker.endpoint(), Some(gated));
            let calling = broker.start_rob("call math gated");
            items.unbounded_send(1).unwrap();
            calling.line();
            let mut broker = broker;
            broker.process.kill();
            ways.push(("the broker is gone", calling.end()));
            drop(math);
        }
        8 => ways.push(("a full disk", full_disk(&broker))),
        130 => ways.extend(interrupted(&broker, signals::interrupt)),
        143 => ways.extend(interrupted(&broker, signals::terminate)),
        141 => ways.push(("a closed output", closed_output(&broker))),
        _ => {}
    }
    ways
}

fn without_a_broker() -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = endpoint_in(folder.path());
    run(rob_command().args(["--addr", &endpoint, "list"]))
}

fn full_disk(broker: &Broker) -> Ended {
    let mut command = broker.rob_command(["call", "math", "echo"]);
    Process::spawn_with(command.stdout(full::full())).end()
}

fn interrupted(broker: &Broker, ask: fn(&Process)) -> Vec<(&'static str, Ended)> {
    let lines = ["listen o t", "serve o --exec cat"];
    let ended = lines.map(|line| {
        let process = broker.start_rob(line);
        process.line();
        ask(&process);
        (line, process.end())
    });
    ended.into()
}

fn closed_output(broker: &Broker) -> Ended {
    let (reader, writer) = std::io::pipe().unwrap();
    // Endless: another test may just be starting a process, which holds a copy of the reader until it runs.
    let mut command = broker.rob_command("call math count i 1000000000000".split(' '));
    drop(reader);
    Process::spawn_with(command.stdout(writer)).end()
}

#[test]
fn a_strict_recording_that_misses_something_fails_also_when_nothing_came_any_more() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    for (strict, code) in [(true, 7), (false, 4)] {
        let file = folder.path().join(format!("{strict}.jsonl"));
        let mut command = broker.rob_command(["record", "--rate", "1", "--timeout", "3"]);
        command.arg(file.as_os_str()).args(strict.then_some("--strict"));
        let recording = Process::spawn(&mut command);
        recording.line();
        for number in 0..20 {
            block_on(client.publish("sensor", "t", &number).acknowledged()).unwrap();
        }
        let ended = recording.end();
        assert_eq!(ended.code(), code, "{ended:#?}");
        assert!(ended.stderr.contains("records were dropped"), "{ended:#?}");
    }
}

#[test]
fn a_benchmark_of_the_bus_leaves_nothing_however_it_ends() {
    for (arguments, ask, code) in [
        (["--seconds", "0.05"], None, 0),
        (["--seconds", "60"], Some(signals::interrupt as fn(&Process)), 130),
        (["--seconds", "60"], Some(signals::terminate), 143),
    ] {
        let place = tempfile::tempdir().unwrap();
        let mut command = rob_command();
        command.args(["bench", "bus"]).args(arguments);
        command
            .env(if cfg!(windows) { "TMP" } else { "TMPDIR" }, place.path())
            .env("XDG_RUNTIME_DIR", place.path());
        let bench = Process::spawn(&mut command);
        assert!(bench.line().starts_with("bus: "));
        let folder = std::fs::read_dir(place.path()).unwrap();
        assert_eq!(folder.count(), 1, "its folder is there");
        if let Some(ask) = ask {
            ask(&bench);
        }
        assert_eq!(bench.end().code(), code);
        let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

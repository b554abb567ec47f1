//! The Python client, written from `docs/protocol.md` alone, against the real broker: the proof that the document suffices.
//!
//! Needs `python3`; where there is none the tests say so and pass. `tests/python/commands.py` is the client as a program.
#![allow(
    clippy::unwrap_used,
    clippy::explicit_write,
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

mod support;

use actix_ipc::{Endpoint, IpcClient, Methods};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use support::{Broker, Process, command, run};

/// Whether there is a `python3` that is not too old. If not, that is said where the test harness does not hide it.
static PYTHON: LazyLock<bool> = LazyLock::new(|| {
    let check = "import sys; sys.exit(sys.version_info < (3, 8))";
    let found = Command::new("python3")
        .args(["-c", check])
        .stdin(Stdio::null())
        .output();
    let problem = match found {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!(
            "it is older than 3.8 or broken: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => error.to_string(),
    };
    writeln!(
        std::io::stderr(),
        "SKIPPED: the tests of the Python client need python3: {problem}"
    )
    .unwrap();
    false
});

fn script() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "python", "commands.py"]
        .iter()
        .collect()
}

/// The client with these arguments, on this endpoint.
fn python(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = command("python3");
    // No byte code beside the sources.
    command.arg("-B").arg(script()).arg(endpoint).args(arguments);
    command
}

/// Starts the client and waits until it is `ready`.
#[track_caller]
fn start(endpoint: &str, arguments: &[&str]) -> Process {
    let process = Process::spawn(&mut python(endpoint, arguments));
    assert_eq!(process.line(), "ready");
    process
}

/// Runs the client to its end and returns what it printed.
#[track_caller]
fn output(endpoint: &str, arguments: &[&str]) -> String {
    run(&mut python(endpoint, arguments)).success().trim().to_owned()
}

#[test]
fn python_calls_python() {
    if !*PYTHON {
        return;
    }
    let broker = Broker::start();
    let _worker = start(broker.endpoint(), &["serve", "math"]);
    let call = |method, args| output(broker.endpoint(), &["call", "math", method, args]);
    assert_eq!(call("add", r#"{"a": 10, "b": 32}"#), r#"{"sum": 42}"#);
    let refused = call("fail", r#""that""#);
    assert!(
        refused.contains("will not do that") && refused.contains(r#""code": 3, "may_have_run": true"#),
        "{refused}"
    );
    let unknown = call("power", "1");
    assert!(
        unknown.contains(r#""code": 2, "may_have_run": false"#),
        "{unknown}"
    );
    let nobody = output(broker.endpoint(), &["call", "nobody", "add", "1"]);
    assert!(nobody.contains(r#""code": 1, "may_have_run": false"#), "{nobody}");
}

#[test]
fn python_calls_rust_and_rust_calls_python() {
    if !*PYTHON {
        return;
    }
    let broker = Broker::start();
    let endpoint: Endpoint = broker.endpoint().parse().unwrap();
    let _worker = start(broker.endpoint(), &["serve", "python"]);
    actix::System::new().block_on(async {
        let client = IpcClient::connect_to(endpoint).await.unwrap();
        let multiply = |args: HashMap<String, i64>, _| async move { Ok(args["a"] * args["b"]) };
        let _rust = client
            .register("rust", Methods::new().method("mul", multiply))
            .await
            .unwrap();
        let (addr, mul) = (broker.endpoint().to_owned(), r#"{"a": 6, "b": 7}"#);
        let answer = actix_rt::task::spawn_blocking(move || output(&addr, &["call", "rust", "mul", mul]));
        assert_eq!(answer.await.unwrap(), "42");
        // Larger than a frame of the default size: Python puts the pieces together.
        let text = "x".repeat(17 * 1024 * 1024);
        let length: usize = client.remote_call("python", "length", &text).await.unwrap();
        assert_eq!(length, text.len());
    });
}

#[test]
fn rob_calls_python_over_either_transport() {
    if !*PYTHON {
        return;
    }
    let broker = Broker::start_with(|command| {
        command.args(["--listen", "tcp:127.0.0.1:0"]);
    });
    let line = broker.process.line();
    let tcp = line.strip_prefix("listening on ").unwrap();
    let _worker = start(tcp, &["serve", "math"]);
    let ended = broker.rob("call math add {ii} a 10 b 32");
    assert!(ended.success().contains("sum :: 42"), "{ended:?}");
}

#[test]
fn python_calls_the_broker_and_hears_rob() {
    if !*PYTHON {
        return;
    }
    let broker = Broker::start();
    let subscriber = start(broker.endpoint(), &["subscribe", "sensor", "temperature", "2"]);
    broker.rob("send sensor temperature s 25.6°C").success();
    assert_eq!(
        output(
            broker.endpoint(),
            &["publish", "sensor", "temperature", r#"{"celsius": 21.5}"#]
        ),
        "1"
    );
    assert_eq!(subscriber.line(), r#""25.6\u00b0C""#);
    assert_eq!(subscriber.line(), r#"{"celsius": 21.5}"#);
    assert_eq!(subscriber.line(), "missed 0");
    subscriber.end().success();
}

/// A process of ipc-server, beside clients of ours.
#[test]
fn the_diagrams_of_ipc_server_between_old_and_new() {
    if !*PYTHON {
        return;
    }
    let broker = Broker::start_with(|command| {
        command.args(["--listen", "tcp:127.0.0.1:0"]);
    });
    let line = broker.process.line();
    let address = line.strip_prefix("listening on tcp:").unwrap().to_owned();
    let old = |words: &[&str]| {
        let mut command = command("python3");
        command
            .arg("-B")
            .arg(script().with_file_name("old_server.py"))
            .arg(&address)
            .args(words);
        command
    };
    let sharer = Process::spawn(&mut old(&["serve", "an old object"]));
    assert_eq!(sharer.line(), "ready");
    let endpoint: Endpoint = broker.endpoint().parse().unwrap();
    actix::System::new().block_on(async {
        let client = IpcClient::connect_to(endpoint).await.unwrap();
        let multiply = |args: HashMap<String, i64>, _| async move { Ok(args["a"] * args["b"]) };
        let _rust = client
            .register("rust", Methods::new().method("mul", multiply))
            .await
            .unwrap();
        let mut events = client.subscribe("events", "event").await.unwrap();
        let mut diagrams = old(&["diagrams"]);
        let ended = actix_rt::task::spawn_blocking(move || run(&mut diagrams))
            .await
            .unwrap();
        assert_eq!(ended.success().trim(), "ok");
        for n in 0..100 {
            let event = events.next().await.unwrap();
            let value: HashMap<String, i64> = event.decode().unwrap();
            assert_eq!(value["n"], n);
        }
        let text = "é".repeat(5_000);
        let answer: String = client.remote_call("an old object", "m", &text).await.unwrap();
        assert_eq!(answer, text);
    });
    drop(sharer);
}

#[test]
fn a_publisher_that_needs_more_than_its_window_waits_for_credit() {
    if !*PYTHON {
        return;
    }
    let broker = Broker::start();
    // 72 values of 20 KiB are more than the default window of 1 MiB.
    let subscriber = start(broker.endpoint(), &["subscribe", "bulk", "data", "72"]);
    let value = format!("\"{}\"", "x".repeat(20 * 1024));
    let mut arguments = vec!["publish", "bulk", "data"];
    arguments.extend(std::iter::repeat_n(value.as_str(), 72));
    assert_eq!(
        output(broker.endpoint(), &arguments)
            .lines()
            .filter(|line| *line == "1")
            .count(),
        72
    );
    for _ in 0..72 {
        assert_eq!(subscriber.line().len(), value.len());
    }
    assert_eq!(subscriber.line(), "missed 0");
}

#[test]
fn a_broker_that_goes_is_told() {
    if !*PYTHON {
        return;
    }
    let mut broker = Broker::start();
    let worker = start(broker.endpoint(), &["serve", "math"]);
    // First: while the broker lives, dropping it waits for its clients to go.
    broker.process.kill();
    drop(broker);
    let ended = worker.end();
    assert!(
        !ended.status.success() && ended.stderr.contains("Closed: "),
        "{ended:?}"
    );
}

#[test]
fn the_client_is_small() {
    let client = script().with_file_name("ipc_client.py");
    let text = std::fs::read_to_string(client).unwrap();
    assert!(
        text.lines().count() <= 200,
        "{} lines, at most 200",
        text.lines().count()
    );
}

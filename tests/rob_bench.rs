//! `rob bench` with real processes: what it prints, that nothing is lost, and that whatever ends it ends all of it.
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
#![cfg(all(feature = "cli", any(target_os = "linux", windows)))]

#[path = "rob_bench/bus.rs"]
mod bus;
#[path = "rob_bench/ends.rs"]
mod ends;
#[path = "support/processes.rs"]
mod processes;
#[path = "rob_bench/refusals.rs"]
mod refusals;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use processes::{children, is_gone, kill};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::{Broker, Ended, Process, found, rob_command, run, until};
use tempfile::TempDir;

/// The figures that every measurement has.
const FIGURES: [&str; 10] = [
    "rate",
    "mb_per_s",
    "p50_us",
    "p90_us",
    "p99_us",
    "p999_us",
    "max_us",
    "floor_rate",
    "floor_p50_us",
    "ratio",
];

/// What is measured of the broker where the system tells it: processor time and memory.
const OF_BROKER: [&str; 2] = ["broker_cpu_us_per_op", "broker_rss_bytes"];

/// The variable that says where temporary files go.
const TEMPORARY: &str = if cfg!(windows) { "TMP" } else { "TMPDIR" };

fn bench(folder: &Path, line: &str) -> Command {
    let mut command = rob_command();
    command
        .env(TEMPORARY, folder)
        .arg("bench")
        .args(line.split_whitespace());
    command
}

/// The one object that a measurement prints, after a look at it and at what is left.
#[track_caller]
fn figures(folder: &TempDir, ended: &Ended) -> Value {
    let object: Value = serde_json::from_str(ended.success()).unwrap();
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    assert_eq!(ended.stderr, "", "no terminal, no progress");
    assert_eq!(object["lost"], 0, "{object}");
    for name in FIGURES {
        assert!(
            object[name].as_f64().is_some_and(|value| value > 0.0),
            "{name}: {object}"
        );
    }
    let rising: Vec<f64> = FIGURES[2..7]
        .iter()
        .map(|name| object[name].as_f64().unwrap())
        .collect();
    assert!(rising.is_sorted(), "{object}");
    assert!(is_empty(folder.path()), "the folder is left");
    object
}

/// Whether the system tells what the broker has used.
#[track_caller]
fn is_told(object: &Value) -> bool {
    // Wine knows a process' memory, and no times but its own.
    let least = |name| {
        if cfg!(windows) && name == OF_BROKER[0] {
            0.0
        } else {
            f64::MIN_POSITIVE
        }
    };
    let told = OF_BROKER.map(|name| object[name].as_f64().is_some_and(|value| value >= least(name)));
    assert!(
        told == [true; 2] || OF_BROKER.map(|name| object[name].is_null()) == [true; 2],
        "{object}"
    );
    told == [true; 2]
}

fn is_empty(folder: &Path) -> bool {
    folder.read_dir().unwrap().next().is_none()
}

#[test]
fn every_measurement_gives_every_figure_and_loses_nothing() {
    let table = [
        "rpc --seconds 0.2 --json",
        "rpc --seconds 0.2 --json --payload 1KiB --in-flight 8 --callers 2",
        // More on its way than sockets hold: nobody may wait to write to somebody who waits to write.
        "rpc --seconds 0.2 --json --payload 1MiB --in-flight 2",
        // More calls at once than one worker is given.
        "rpc --seconds 0.05 --json --callers 9 --in-flight 4096",
        "pubsub --seconds 0.2 --json",
        "pubsub --seconds 0.2 --json --payload 1kB --publishers 2 --subscribers 2 --topics 3",
        "pubsub --seconds 0.2 --json --payload 100KiB",
        "bulk --seconds 0.2 --json --size 1MiB",
    ];
    // So many calls at once take a minute under wine.
    let runs = |line: &&str| cfg!(unix) || !line.contains("--in-flight 4096");
    for line in table.into_iter().filter(runs) {
        let folder = tempfile::tempdir().unwrap();
        let object = figures(&folder, &run(&mut bench(folder.path(), line)));
        assert!(is_told(&object), "{object}");
        let name = line.split(' ').next();
        assert_eq!(object["bench"].as_str(), name);
        let compared = if name == Some("pubsub") { "rate" } else { "p50_us" };
        assert_eq!(object["ratio_of"], compared, "{line}");
        // The ratio is that of the figures beside it, but for rounding.
        let number = |name: &str| object[name].as_f64().unwrap();
        let ratio = number(compared) / number(&format!("floor_{compared}"));
        assert!(
            (number("ratio") - ratio).abs() <= 0.001 + ratio * 0.01,
            "{object}"
        );
    }
}

#[test]
fn idle_connections_are_counted_and_weighed() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&mut bench(folder.path(), "idle --connections 200 --json"));
    let object: Value = serde_json::from_str(ended.success()).unwrap();
    assert_eq!(object["lost"], 0, "{object}");
    for name in [
        "rate",
        "p50_us",
        "floor_p50_us",
        "ratio",
        "bytes_per_connection",
        "broker_rss_bytes",
    ] {
        assert!(
            object[name].as_f64().is_some_and(|value| value > 0.0),
            "{name}: {object}"
        );
    }
    assert_eq!(object["mb_per_s"], Value::Null, "nothing is sent");
    assert!(is_empty(folder.path()));
}

#[test]
fn events_too_small_for_a_time_have_no_latency() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&mut bench(
        folder.path(),
        "pubsub --payload 8 --seconds 0.2 --json",
    ));
    let object: Value = serde_json::from_str(ended.success()).unwrap();
    assert_eq!(
        (&object["lost"], &object["p50_us"]),
        (&Value::from(0), &Value::Null),
        "{object}"
    );
    assert!(object["rate"].as_f64().unwrap() > 0.0);
}

#[test]
fn people_get_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&mut bench(folder.path(), "rpc --seconds 0.2 --payload 1KiB"));
    let text = ended.success();
    for part in [
        "1 caller, 1 in flight each, 1 KiB",
        "private broker",
        "p99.9 µs",
        "\n  floor ",
        "\n  broker ",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn a_broker_that_runs_already_is_measured_too() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    for line in ["rpc --seconds 0.2 --json", "pubsub --seconds 0.2 --json"] {
        let mut command = bench(folder.path(), line);
        let object = figures(&folder, &run(command.args(["--addr", broker.endpoint()])));
        assert_eq!(
            is_told(&object),
            cfg!(unix),
            "a pipe does not say whose it is: {object}"
        );
    }
    // Who looks whose socket it is is no trouble to it.
    let status: Value = serde_json::from_str(broker.rob("--json status --since-start").success()).unwrap();
    for counter in ["connections_refused", "vanished", "protocol_errors"] {
        assert_eq!(status["metrics"][counter], 0, "{counter}: {status}");
    }
}

#[test]
fn a_broker_whose_process_is_not_known_has_no_processor_time() {
    let folder = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let broker = Broker::start_at(place, "tcp:127.0.0.1:0", |_| {});
    let mut command = bench(folder.path(), "rpc --seconds 0.2 --json");
    let ended = run(command.args(["--addr", broker.endpoint()]));
    let object: Value = serde_json::from_str(ended.success()).unwrap();
    assert_eq!(object["broker_cpu_us_per_op"], Value::Null);
    assert_eq!(object["broker_rss_bytes"], Value::Null);
    assert!(object["rate"].as_f64().unwrap() > 0.0);
}

/// A measurement of an hour, with all of its processes.
#[track_caller]
fn start(folder: &Path, line: &str, roles: usize) -> (Process, Vec<u32>) {
    let process = Process::spawn(&mut bench(folder, line));
    let all = found("all roles", || {
        Some(children(process.id())).filter(|found| found.len() == roles)
    });
    are_connected(&process, &all);
    (process, all)
}

/// Wine leaves a process for ever whose maker has been ended while it began: so these two have begun, the last ones and the one before.
#[cfg(windows)]
#[track_caller]
fn are_connected(process: &Process, roles: &[u32]) {
    let endpoint = format!("pipe:rob-bench-{}", process.id());
    found("two roles are connected", || {
        let asked = run(rob_command().args(["--addr", &endpoint, "--json", "status", "--since-start"]));
        let status: Value = serde_json::from_str(&asked.stdout).ok()?;
        let connections = status["connections"].as_array()?;
        let pids = connections.iter().filter_map(|one| one["pid"].as_u64());
        let ours = pids.filter(|pid| roles.iter().any(|role| u64::from(*role) == *pid));
        (ours.count() >= 2).then_some(())
    });
}

#[cfg(not(windows))]
const fn are_connected(_: &Process, _: &[u32]) {}

/// Nothing of the measurement is left.
#[track_caller]
fn assert_gone(folder: &Path, roles: &[u32]) {
    until("all roles have ended", || roles.iter().all(|pid| is_gone(*pid)));
    until("the folder is removed", || is_empty(folder));
}

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
#[path = "support/processes.rs"]
mod processes;
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

#[test]
fn what_is_wrong_is_said_before_anything_is_measured() {
    let missing = tempfile::tempdir().unwrap();
    let missing = support::endpoint_in(&missing.path().join("missing"));
    // Arguments, exit code, what must be said.
    let table = [
        ("", 2, "Usage"),
        ("rcp", 2, "unrecognized subcommand 'rcp'"),
        ("fetch", 2, "there are rpc, pubsub, bulk, idle, bus"),
        ("rpc --callers 0", 2, "a whole number from 1 to 64"),
        ("rpc --callers -1", 2, "invalid value '-1' for '--callers <N>'"),
        ("rpc --in-flight 0", 2, "from 1 to 4096"),
        ("rpc --in-flight 5000", 2, "from 1 to 4096"),
        ("rpc --payload 0", 2, "a size from 1 to"),
        ("rpc --payload 300MiB", 2, "(256 MiB)"),
        ("rpc --payload many", 2, "KiB"),
        ("rpc --seconds 0", 2, "a number of seconds from 0.05 to 3600"),
        ("rpc --seconds NaN", 2, "a number of seconds"),
        ("pubsub --payload 3MiB", 2, "(2 MiB)"),
        ("pubsub --publishers 0", 2, "from 1 to 64"),
        ("pubsub --subscribers 65", 2, "from 1 to 64"),
        ("pubsub --topics 0", 2, "from 1 to 4096"),
        ("bulk --size 0", 2, "a size from 1 to"),
        ("idle --connections 0", 2, "from 1 to 100000"),
        ("idle --addr nonsense", 2, "--addr"),
        // No process is there so soon.
        (
            "rpc --timeout 0.000001",
            4,
            "no process has said anything for 0.000001 s; --timeout SECONDS waits longer",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let told = table.map(|(line, code, part)| (line, run(&mut bench(folder.path(), line)), code, part));
    let nobody = run(bench(folder.path(), "rpc").args(["--addr", &missing]));
    for (line, ended, code, part) in told.into_iter().chain([("nobody", nobody, 5, &*missing)]) {
        assert_eq!(ended.code(), code, "{line}: {ended:?}");
        assert!(
            ended.stderr.contains(part),
            "{line}: {part:?} is missing: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{line}");
        assert!(is_empty(folder.path()), "{line}: the folder is left");
    }
    let folder = folder.path().join("missing");
    let ended = run(&mut bench(&folder, "rpc"));
    assert_eq!(ended.code(), 6, "{ended:?}");
    assert!(ended.stderr.contains(&format!("set {TEMPORARY}")), "{ended:?}");
}

/// The error that a measurement prints for programs.
#[track_caller]
fn error(ended: &Ended) -> Value {
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    let mut value: Value = serde_json::from_str(&ended.stderr).unwrap();
    let error = value["error"].take();
    assert_eq!(error["exit"], ended.code(), "{error}");
    assert_eq!(error["may_have_run"], false, "{error}");
    error
}

#[test]
fn a_limit_of_the_broker_that_is_measured_is_named() {
    // One process alone gets an eighth.
    let broker = Broker::start_with(|command| {
        command.env("IPC_BROKER_LIMITS__CONNECTIONS", "80");
    });
    let folder = tempfile::tempdir().unwrap();
    let mut command = bench(folder.path(), "idle --connections 20");
    let ended = run(command.args(["--addr", broker.endpoint()]));
    assert_eq!(ended.code(), 6, "{ended:?}");
    for part in [
        "the holder of connections: connection ",
        "the broker refused: too many connections: ",
        "limits.connections",
    ] {
        assert!(ended.stderr.contains(part), "{part:?}: {ended:?}");
    }
    let ended = run(command.arg("--json"));
    assert_eq!(ended.code(), 6, "{ended:?}");
    assert_eq!(error(&ended)["code"], "TooMany");
    assert!(is_empty(folder.path()));
}

#[test]
fn programs_are_told_what_ended_a_measurement() {
    let folder = tempfile::tempdir().unwrap();
    let missing = support::endpoint_in(&folder.path().join("missing"));
    let nobody = run(bench(folder.path(), "rpc --json").args(["--addr", &missing]));
    assert_eq!(error(&nobody)["code"], "NotConnected");
    let line = "rpc --json --timeout 0.000001";
    assert_eq!(error(&run(&mut bench(folder.path(), line)))["code"], "Timeout");
    let (process, roles) = start(folder.path(), "rpc --seconds 3600 --json", 4);
    kill(roles[0]);
    assert_eq!(error(&process.end())["code"], "Lost");
    assert_gone(folder.path(), &roles);
}

#[test]
#[cfg(unix)]
fn connections_beyond_the_limit_of_open_files_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // Who may raise the maximum has it raised.
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !Path::new("/usr/bin/setpriv").exists() {
        eprintln!("SKIPPED: without setpriv root has no limit of open files");
        return;
    }
    let limited = |arguments: &[&str]| {
        let renounce = "setpriv --bounding-set=-sys_resource ";
        let renounce = if is_root { renounce } else { "" };
        let script = format!("ulimit -n 256 && exec {renounce}\"$0\" bench idle \"$@\"");
        let mut command = support::command("sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_rob")])
            .args(arguments)
            .env("TMPDIR", folder.path());
        run(&mut command)
    };
    // This one is wrong whatever the limit is.
    let nonsense = limited(&["--addr", "nonsense"]);
    assert_eq!(nonsense.code(), 2, "{nonsense:?}");
    assert!(nonsense.stderr.contains("--addr"), "{nonsense:?}");
    let ended = limited(&["--connections", "1000", "--json"]);
    assert_eq!(ended.code(), 6, "{ended:?}");
    assert!(ended.stderr.contains("1264 open files"), "{ended:?}");
    assert!(ended.stderr.contains("ask for 160 connections"), "{ended:?}");
    assert!(is_empty(folder.path()));
}

#[test]
fn the_roles_are_nobodys_business() {
    let help = run(rob_command().args(["bench", "--help"]));
    assert!(help.success().contains("pubsub"), "{help:?}");
    assert!(!help.stdout.contains("role"), "{help:?}");
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

#[test]
fn whichever_process_is_killed_the_measurement_ends_and_nothing_is_left() {
    let table = [("rpc --seconds 3600", 4), ("pubsub --seconds 3600", 4)];
    for (line, count) in table {
        for victim in 0..count {
            let folder = tempfile::tempdir().unwrap();
            let (process, roles) = start(folder.path(), line, count);
            kill(roles[victim]);
            let ended = process.end();
            assert_eq!(ended.code(), 7, "{line}, role {victim}: {ended:?}");
            let how = if cfg!(windows) {
                "exit code: 9"
            } else {
                "signal: 9"
            };
            let killed = format!("(pid {}) ended before the measurement did: {how}", roles[victim]);
            assert!(ended.stderr.contains(&killed), "{ended:?}");
            assert_eq!(ended.stdout, "");
            assert_gone(folder.path(), &roles);
        }
    }
}

#[test]
fn signals_end_it_in_order() {
    for (interrupt, code) in [(true, 130), (false, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let (process, roles) = start(folder.path(), "rpc --seconds 3600", 4);
        if interrupt {
            // As ctrl+c does: everybody in the terminal gets it. On Windows they are at one console.
            #[cfg(unix)]
            roles.iter().for_each(|role| signals::interrupt_pid(*role));
            signals::interrupt(&process);
        } else {
            signals::terminate(&process);
        }
        let ended = process.end();
        assert_eq!(ended.code(), code, "{ended:?}");
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
        assert_gone(folder.path(), &roles);
    }
}

#[test]
fn processes_whose_measurement_was_killed_end_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, roles) = start(folder.path(), "pubsub --seconds 3600", 4);
    process.kill();
    assert_gone(folder.path(), &roles);
}

#[test]
fn what_is_left_when_all_are_killed_at_once_is_removed_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, roles) = start(folder.path(), "rpc --seconds 3600", 4);
    // A measurement beside it leaves it alone.
    let beside = run(&mut bench(folder.path(), "rpc --timeout 0.000001"));
    assert_eq!(beside.code(), 4, "{beside:?}");
    assert!(!is_empty(folder.path()), "the one that runs has its folder");
    // Whoever does nothing does nothing about the ends of the others.
    signals::freeze(process.id());
    roles.iter().for_each(|role| signals::freeze(*role));
    process.kill();
    roles.iter().for_each(|role| kill(*role));
    until("all roles have ended", || roles.iter().all(|pid| is_gone(*pid)));
    drop(process);
    assert!(!is_empty(folder.path()), "nobody was left to remove it");
    let next = run(&mut bench(folder.path(), "rpc --timeout 0.000001"));
    assert_eq!(next.code(), 4, "{next:?}");
    assert!(is_empty(folder.path()), "it is left");
}

//! What `rob bench` refuses, and what it says of a measurement that failed.

use super::*;

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

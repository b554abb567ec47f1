//! What `rob` says when something fails, to people and to programs, and its exit codes.
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

use futures::channel::mpsc::unbounded;
use serde_json::{Value, json};
use std::io::Read;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use support::{Broker, Process, rob_command, run, until};

#[test]
fn every_failure_has_its_exit_code_and_says_what_to_do() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let table = [
        (1, "call math fail", "rob: call math.fail: disk full"),
        (1, "call math panic", "rob: call math.panic: "),
        (2, "call math add s x", "rob: call math.add: "),
        (
            2,
            "call math add {ii} a 1 b",
            "rob: missing argument 4: an integer for position 3",
        ),
        (
            2,
            "call math add i 1 2",
            "rob: leftover argument \"2\": the signature \"i\" takes 1 argument",
        ),
        (
            2,
            "call",
            "error: the following required arguments were not provided",
        ),
        (
            2,
            "--addr nonsense list",
            "rob: --addr: `nonsense` is not an endpoint",
        ),
        (3, "call mth add i 1", "did you mean \"math\"?"),
        (3, "call weather now", "`rob list` shows what is registered"),
        (3, "describe maths", "did you mean \"math\"?"),
        (3, "call math ad i 1", "`rob describe math`"),
        (2, "call math add --timeot 3", "did you mean --timeout?"),
        (2, "send math add --lnes", "did you mean --lines?"),
        (
            2,
            "call math add --nonsense",
            "`rob call --help` shows those that there are",
        ),
        (2, "pub math add", "did you mean `send`?"),
        (2, "sub math add", "did you mean `listen`?"),
        (2, "introspect math", "did you mean `describe`?"),
        (2, "stats", "did you mean `status`?"),
        (
            4,
            "ping math --timeout 0.000001",
            "--timeout SECONDS waits longer",
        ),
        (
            4,
            "call math never --timeout 0.05",
            "--timeout SECONDS waits longer",
        ),
    ];
    for (code, line, part) in table {
        let ended = broker.rob(line);
        assert_eq!(ended.code(), code, "{line}: {ended:#?}");
        assert!(ended.stderr.contains(part), "{line}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{line}");
    }
}

#[test]
fn what_came_before_an_error_stays() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let ended = broker.rob("call math broken");
    assert_eq!((ended.code(), ended.stdout.as_str()), (1, "Result:\n1\n"));
    assert!(ended.stderr.contains("out of items"), "{}", ended.stderr);
}

#[test]
fn with_json_an_error_is_one_json_line_on_stderr() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let error = |line: &str| -> Value {
        let ended = broker.rob(line);
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        let mut value: Value = serde_json::from_str(&ended.stderr).unwrap();
        assert_eq!(value["error"]["exit"], ended.code());
        value["error"].take()
    };
    let failed = error("--json call math fail");
    assert_eq!(
        (&failed["code"], &failed["name"]),
        (&json!("Handler"), &json!("disk.full"))
    );
    assert_eq!(
        (&failed["value"], &failed["may_have_run"]),
        (&json!({ "free": 0 }), &json!(true))
    );
    let unknown = error("call mth add i 1 --json");
    assert_eq!(
        (&unknown["code"], &unknown["may_have_run"]),
        (&json!("NoSuchObject"), &json!(false))
    );
}

#[test]
fn no_broker_is_code_5_and_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = support::endpoint_in(folder.path());
    let ended = run(rob_command().args(["--addr", &endpoint, "list"]));
    assert_eq!(ended.code(), 5, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains(&format!("start one with `ipc-broker --listen {endpoint}`")),
        "{}",
        ended.stderr
    );
    let ended = run(rob_command().args(["--json", "--addr", &endpoint, "list"]));
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["may_have_run"]),
        (&json!("NotConnected"), &json!(false))
    );
}

#[test]
fn a_broker_that_refuses_is_code_6_and_is_quoted() {
    let broker = Broker::start_with(|command| {
        command.env("IPC_BROKER_LIMITS__CONNECTIONS", "8");
    });
    // All that one user's second process could have.
    #[cfg(unix)]
    let _first = std::os::unix::net::UnixStream::connect(broker.socket()).unwrap();
    #[cfg(not(unix))]
    let _first = {
        let name = broker.endpoint().strip_prefix("pipe:").unwrap();
        std::fs::File::options()
            .read(true)
            .write(true)
            .open(format!(r"\\.\pipe\{name}"))
            .unwrap()
    };
    let ended = broker.rob("list");
    assert_eq!(ended.code(), 6, "{ended:#?}");
    for part in [
        "the broker refused: too many connections: ",
        "asked for 1 more",
        "limits.connections",
        "IPC_BROKER_LIMITS__CONNECTIONS",
    ] {
        assert!(ended.stderr.contains(part), "{part:?}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("start one"), "{}", ended.stderr);
    let ended = broker.rob("--json list");
    assert_eq!(ended.code(), 6, "{ended:#?}");
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["may_have_run"]),
        (&json!("TooMany"), &json!(false))
    );
}

#[test]
fn a_transport_that_rob_lacks_is_named_and_nobody_is_told_to_start_a_broker() {
    let mut table = vec![
        if cfg!(windows) {
            ("unix:/x", "no Unix sockets on this platform")
        } else {
            ("pipe:x", "under Windows only")
        },
        ("mem:x", "a broker inside the same program"),
    ];
    if cfg!(not(feature = "tls")) {
        table.push(("tls:127.0.0.1:1", "the feature `tls`"));
    }
    for (endpoint, part) in table {
        let ended = run(rob_command().args(["--addr", endpoint, "list"]));
        assert_eq!(ended.code(), 2, "{ended:#?}");
        assert!(
            ended.stderr.contains(endpoint) && ended.stderr.contains(part),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("no broker"), "{}", ended.stderr);
    }
}

#[test]
fn with_json_a_wrong_command_line_is_one_json_line_as_well() {
    let table = [
        (
            "--json call",
            "the following required arguments were not provided",
        ),
        (
            "--json lst",
            "did you mean `list`? there are call, send, listen, list, describe, wait",
        ),
        ("bench --json fetch", "there are rpc, pubsub, bulk, idle, bus"),
        ("--json", "requires a subcommand"),
        ("--json bench", "a command is missing"),
        ("bench rpc --callers -1 --json", "a whole number from 1 to 64"),
        ("call math add i 1 2 --json", "leftover argument \"2\""),
        ("--json --addr nonsense list", "`nonsense` is not an endpoint"),
    ];
    for (line, part) in table {
        let ended = run(rob_command().args(line.split_whitespace()));
        assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""), "{line}");
        assert_eq!(ended.stderr.lines().count(), 1, "{line}: {}", ended.stderr);
        let value: Value = serde_json::from_str(&ended.stderr).unwrap();
        let error = &value["error"];
        assert_eq!(
            (&error["code"], &error["exit"], &error["may_have_run"]),
            (&json!("Usage"), &json!(2), &json!(false)),
            "{line}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(part), "{line}: {message}");
        assert!(!message.starts_with("error"), "{message}");
    }
    let help = run(rob_command().args(["--json", "--help"]));
    assert!(help.success().contains("Examples:"), "help is for people");
}

#[test]
fn a_limit_is_code_6() {
    let broker = Broker::start_with(|command| {
        command
            .env("IPC_BROKER_LIMITS__FRAME_BYTES", "1024")
            .env("IPC_BROKER_LIMITS__MESSAGE_BYTES", "1024");
    });
    let _math = objects::serve(broker.endpoint());
    let ended = broker.rob(&format!("call math echo s {}", "x".repeat(5_000)));
    assert_eq!(ended.code(), 6, "{ended:#?}");
    for part in [
        "the payload has 5002 bytes",
        "at most 1024 (limits.message_bytes)",
        "IPC_BROKER_LIMITS__MESSAGE_BYTES",
    ] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}

#[test]
fn the_end_of_the_object_or_of_the_broker_is_code_7() {
    let broker = Broker::start();
    let math = objects::serve(broker.endpoint());
    let (items, gated) = unbounded();
    drop(math);
    let math = objects::serve_gated(broker.endpoint(), Some(gated));
    let rob = broker.start_rob("--json call math gated");
    items.unbounded_send(1).unwrap();
    assert_eq!(rob.line(), "1");
    let mut broker = broker;
    broker.process.kill();
    let ended = rob.end();
    assert_eq!(ended.code(), 7, "{ended:#?}");
    drop(math);
}

#[test]
fn a_reader_that_has_gone_is_quiet() {
    let broker = Broker::start();
    let (items, gated) = unbounded();
    let _math = objects::serve_gated(broker.endpoint(), Some(gated));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let rob = Process::spawn_with(broker.rob_command(["call", "math", "gated"]).stdout(writer));
    items.unbounded_send(0).unwrap();
    let mut shown = [0; "Result:\n0\n".len()];
    reader.read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"Result:\n0\n");
    drop(reader);
    // Another test may just be starting a process, which holds a copy of the reader until it runs: one item is not enough.
    let mut item = 1;
    until("it has noticed", || {
        if items.is_empty() && items.unbounded_send(item).is_ok() {
            item += 1;
        }
        items.is_closed()
    });
    let ended = rob.end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (141, ""));
}

#[test]
fn a_full_disk_is_code_8() {
    let full = full::full();
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let again = full.try_clone().unwrap();
    let mut command = broker.rob_command(["call", "math", "echo"]);
    let ended = command.stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with("rob: the result cannot be written: "));
    let mut command = broker.rob_command(["--json", "call", "math", "echo"]);
    let ended = command.stdout(again).output().unwrap();
    let error: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["may_have_run"]),
        (&json!("Output"), &json!(true)),
        "the call was answered"
    );
}

#[test]
fn an_interrupt_ends_it_as_a_shell_expects() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let listening: Process = broker.start_rob("listen sensor temperature");
    assert!(listening.line().starts_with("Listening for: "));
    signals::interrupt(&listening);
    assert_eq!(signals::shown(listening.end().status), Some(130));
}

#[test]
fn a_wrong_variable_is_a_wrong_command_line() {
    let ended = run(rob_command().arg("list").env("IPC_BROKER_ADDR", "nonsense"));
    assert_eq!(ended.code(), 2, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("IPC_BROKER_ADDR: `nonsense` is not an endpoint")
            && ended.stderr.contains("tls:host:port or pipe:name"),
        "{ended:#?}"
    );
}

#[test]
fn one_slip_has_one_answer() {
    for line in ["cal math", "bench rpcc", "--json cal math"] {
        let ended = run(rob_command().args(line.split(' ')));
        assert_eq!(ended.stderr.matches("did you mean").count(), 1, "{ended:#?}");
        assert!(!ended.stderr.contains("similar"), "{ended:#?}");
    }
    let ended = run(rob_command().args(["call", "--hlep"]));
    assert!(
        ended
            .stderr
            .contains("Usage: rob call [OPTIONS] <OBJECT> <METHOD>"),
        "{ended:#?}"
    );
}

#[test]
fn help_that_cannot_be_written_is_code_8() {
    let full = full::full();
    for word in ["--help", "--version"] {
        let mut command = rob_command();
        let ended = command
            .arg(word)
            .stdout(full.try_clone().unwrap())
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(8), "{word}");
    }
}

#[cfg(unix)]
#[test]
fn another_users_broker_is_code_6_and_nobody_is_told_to_start_one() {
    const STRANGER: u32 = 54_321;
    let as_stranger = |command: &mut std::process::Command| {
        command.uid(STRANGER).gid(STRANGER);
        std::process::Command::output(command)
    };
    if !as_stranger(rob_command().arg("-v")).is_ok_and(|ended| ended.status.success()) {
        eprintln!("SKIPPED: another user cannot run this rob, or this user cannot become another");
        return;
    }
    let broker = Broker::start();
    std::fs::set_permissions(broker.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for line in ["list", "wait math", "wait math --timeout 9"] {
        let ended = as_stranger(&mut broker.rob_command(line.split(' '))).unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(6), "{line}: {told}");
        assert!(
            told.contains("the broker there is another user's") && !told.contains("start one"),
            "{line}: {told}"
        );
    }
}

//! `rob call`, `list` and `describe` against a real broker: what is printed, and the exit codes.
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

#[path = "support/objects.rs"]
mod objects;
#[path = "support/mod.rs"]
mod support;

use futures::channel::mpsc::unbounded;
#[cfg(unix)]
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Read;
#[cfg(unix)]
use std::os::unix::process::ExitStatusExt;
use support::{Broker, Process, rob_command, run};

#[test]
fn the_call_of_the_document() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let ended = broker.rob("call math add {ii} a 10 b 32");
    assert_eq!(ended.success(), "Result:\nMap:\n   sum :: 42\n");
    assert_eq!(ended.stderr, "");
}

#[test]
fn answers_for_people_and_for_programs() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let table = [
        ("call math echo", "Result:\nNull\n", "null\n"),
        ("call math echo n", "Result:\nNull\n", "null\n"),
        ("call math echo s 25.6°C", "Result:\n\"25.6°C\"\n", "\"25.6°C\"\n"),
        ("call math echo i -5", "Result:\n-5\n", "-5\n"),
        ("call math echo d 0.1", "Result:\n0.1\n", "0.1\n"),
        ("call math echo b true", "Result:\ntrue\n", "true\n"),
        ("call math echo s --json", "Result:\n\"--json\"\n", "\"--json\"\n"),
        (
            "call math echo [ii] 1 2",
            "Result:\nList:\n   0 :: 1\n   1 :: 2\n",
            "[1,2]\n",
        ),
        (
            "call math echo {s(i)} name hello sizes 42",
            "Result:\nMap:\n   name :: \"hello\"\n   sizes :: List:\n      0 :: 42\n",
            "{\"name\":\"hello\",\"sizes\":[42]}\n",
        ),
        (
            "call math echo j {\"z\":[]}",
            "Result:\nMap:\n   z :: List:\n",
            "{\"z\":[]}\n",
        ),
        (
            "call math raw",
            "Result:\nraw, 3 bytes: ff0001\n",
            "{\"encoding\":\"raw\",\"hex\":\"ff0001\",\"length\":3}\n",
        ),
        ("call math text", "Result:\n\"plain text\"\n", "\"plain text\"\n"),
        (
            "call math postcard",
            "Result:\npostcard, 1 byte: 07\n",
            "{\"encoding\":\"postcard\",\"hex\":\"07\",\"length\":1}\n",
        ),
        ("call math caller", "Result:\n\"rob\"\n", "\"rob\"\n"),
        (
            "call math count i 3",
            "Result:\n0\n\nResult:\n1\n\nResult:\n2\n",
            "0\n1\n2\n",
        ),
        ("call math count i 0", "", ""),
    ];
    for (line, people, programs) in table {
        assert_eq!(broker.rob(line).success(), people, "{line}");
        assert_eq!(
            broker.rob(&format!("--json {line}")).success(),
            programs,
            "{line}"
        );
    }
    assert_eq!(
        broker
            .rob("call math add {ii} a 1 b 2 --json --timeout 5")
            .success(),
        "{\"sum\":3}\n"
    );
}

#[test]
fn items_of_a_stream_are_shown_as_they_come() {
    let broker = Broker::start();
    let (items, gated) = unbounded();
    let _math = objects::serve_gated(broker.endpoint(), Some(gated));
    let rob = broker.start_rob("--json call math gated");
    for item in 0..3 {
        items.unbounded_send(item).unwrap();
        // The next item is not even made before this one is on the terminal.
        assert_eq!(rob.line(), item.to_string());
    }
    drop(items);
    assert_eq!(rob.end().success(), "");
}

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
        (3, "call math ad i 1", "`rob describe OBJECT`"),
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
        ended.stderr.contains(&endpoint) && ended.stderr.contains("`ipc-broker`"),
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

#[cfg(unix)]
#[test]
fn a_broker_that_refuses_is_code_6_and_is_quoted() {
    let broker = Broker::start_with(|command| {
        command.env("IPC_BROKER_LIMITS__CONNECTIONS", "8");
    });
    // All that one user's second process could have.
    let _first = std::os::unix::net::UnixStream::connect(broker.socket()).unwrap();
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
fn control_characters_of_a_peer_stay_off_the_terminal() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    for line in [
        "call math nasty",
        "--json call math nasty",
        "call math fail",
        "--json call math fail",
    ] {
        let ended = broker.rob(line);
        for text in [&ended.stdout, &ended.stderr] {
            assert!(
                !text.chars().any(|c| c != '\n' && c.is_control()),
                "{line}: {text:?}"
            );
            assert!(
                !text.lines().any(|line| line.starts_with("forged")),
                "{line}: {text:?}"
            );
        }
    }
}

#[test]
fn list_and_describe() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let text = broker.rob("list");
    let lines: Vec<Vec<&str>> = text
        .success()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let pid = std::process::id().to_string();
    assert_eq!(lines[0], ["Objects:"]);
    assert_eq!(lines[1], ["NAME", "OWNER", "PID", "PEER", "NOTE"]);
    assert_eq!(lines[2][..3], ["math", "worker", &pid]);
    assert!(lines.iter().any(|line| line.contains(&"rob")), "{}", text.stdout);

    let list: Value = serde_json::from_str(broker.rob("list --json").success()).unwrap();
    assert_eq!(list["objects"][0]["name"], "math");
    assert_eq!(list["objects"][0]["owner"]["pid"], std::process::id());
    let described: Value = serde_json::from_str(broker.rob("--json describe math").success()).unwrap();
    assert_eq!(described["description"]["methods"], json!(["add", "echo"]));
    let text = broker.rob("describe math");
    assert!(
        text.success()
            .starts_with("Result:\nMap:\n   description :: Map:\n"),
        "{}",
        text.stdout
    );
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
    while !items.is_closed() {
        if items.is_empty() && items.unbounded_send(item).is_ok() {
            item += 1;
        }
        std::thread::yield_now();
    }
    let ended = rob.end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (141, ""));
}

#[test]
fn a_full_disk_is_code_8() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full");
        return;
    };
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

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_as_a_shell_expects() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let listening: Process = broker.start_rob("listen sensor temperature");
    assert!(listening.line().starts_with("Listening for: "));
    listening.signal(Signal::INT);
    assert_eq!(listening.end().status.signal(), Some(2));
}

/// What `rob` prints on a terminal of its own.
fn on_a_terminal(broker: &Broker, line: &str, no_color: Option<&str>) -> Option<String> {
    let mut script = support::command("script");
    let rob = env!("CARGO_BIN_EXE_rob");
    script
        .args(["-qec", &format!("{rob} {line}"), "/dev/null"])
        .env("IPC_BROKER_ADDR", broker.endpoint())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR");
    script.envs(no_color.map(|value| ("NO_COLOR", value)));
    script
        .output()
        .ok()
        .map(|output| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn colour_is_for_terminals_and_never_with_no_color() {
    let broker = Broker::start();
    let Some(list) = on_a_terminal(&broker, "list", None) else {
        eprintln!("skipped: there is no `script` to make a terminal with");
        return;
    };
    assert!(list.contains("\u{1b}[1mObjects:\u{1b}[0m"), "{list:?}");
    let failed = on_a_terminal(&broker, "call mth add", None).unwrap();
    assert!(
        failed.contains("\u{1b}[1;31mrob:\u{1b}[0m call mth.add"),
        "{failed:?}"
    );
    for (line, no_color) in [
        ("list", Some("1")),
        ("call mth add", Some("1")),
        ("--json list", None),
        ("--json call mth add", None),
    ] {
        let shown = on_a_terminal(&broker, line, no_color).unwrap();
        assert!(
            !shown.is_empty() && !shown.contains('\u{1b}'),
            "{line}: {shown:?}"
        );
    }
    for line in ["list", "call mth add"] {
        let ended = run(broker
            .rob_command(line.split(' '))
            .env("CLICOLOR_FORCE", "1")
            .env_remove("NO_COLOR"));
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !shown.contains('\u{1b}'),
            "{line}: no terminal is there: {shown:?}"
        );
    }
}

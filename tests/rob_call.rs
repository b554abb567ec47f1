//! `rob call`, `list` and `describe` against a real broker: what is printed.
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
#[cfg(unix)]
#[path = "support/terminal.rs"]
mod terminal;

use futures::channel::mpsc::unbounded;
use serde_json::{Value, json};
use support::Broker;
#[cfg(unix)]
use support::run;

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

#[cfg(unix)]
const WATCH: &str = "watch --names";

/// What `rob` prints on a terminal of its own.
#[cfg(unix)]
fn on_a_terminal(broker: &Broker, line: &str, without: Option<(&str, &str)>) -> String {
    let mut variables = vec![
        ("IPC_BROKER_ADDR", broker.endpoint()),
        ("TERM", "xterm"),
        // Programs of a CI run often are on one; it makes no terminal a better one.
        ("CI", "true"),
    ];
    variables.extend(without);
    let rob = env!("CARGO_BIN_EXE_rob");
    let mut terminal = terminal::Terminal::start(rob, line.split(' '), &variables, (24, 200));
    // A watch lasts.
    if line == WATCH {
        support::until("its first lines", || terminal.screen().contains("sys.broker"));
        terminal.keys("\u{3}");
    }
    terminal.end();
    terminal.written()
}

#[cfg(unix)]
#[test]
fn colour_is_for_terminals_and_never_with_no_color() {
    let broker = Broker::start();
    let list = on_a_terminal(&broker, "list", None);
    assert!(list.contains("\u{1b}[1mObjects:\u{1b}[0m"), "{list:?}");
    let failed = on_a_terminal(&broker, "call mth add", None);
    assert!(
        failed.contains("\u{1b}[1;31mrob:\u{1b}[0m call mth.add"),
        "{failed:?}"
    );
    let coloured = on_a_terminal(&broker, WATCH, None);
    assert!(coloured.contains("\u{1b}[2m"), "{coloured:?}");
    let without = [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")];
    let plain = ["list", "call mth add", WATCH]
        .into_iter()
        .flat_map(|line| without.map(|without| (line, Some(without))));
    let json = ["--json list", "--json call mth add"].map(|line| (line, None));
    for (line, without) in plain.chain(json) {
        let shown = on_a_terminal(&broker, line, without);
        assert!(
            !shown.is_empty() && !shown.contains('\u{1b}'),
            "{line} {without:?}: {shown:?}"
        );
    }
    for line in ["list", "call mth add"] {
        let ended = run(broker.rob_command(line.split(' ')).env("CLICOLOR_FORCE", "1"));
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !shown.contains('\u{1b}'),
            "{line}: no terminal is there: {shown:?}"
        );
    }
}

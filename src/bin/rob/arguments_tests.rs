//! Where options may stand, and what is refused.

use super::*;
use crate::value::Value;
use std::time::Duration;

fn parse_line(line: &str) -> Result<Rob, Stop> {
    parse(
        std::iter::once("rob")
            .chain(line.split_whitespace())
            .map(Into::into),
    )
}

fn value_of(line: &str) -> (Value, Options) {
    match parse_line(line) {
        Ok(Rob {
            command: Command::Call(call),
            options,
            ..
        }) => (call.words.value, options),
        Ok(Rob {
            command: Command::Send(send),
            options,
            ..
        }) => (send.words.value, options),
        other => panic!("{line}: {other:?}"),
    }
}

fn value_and_options(line: &str) -> (String, Options) {
    match value_of(line) {
        (Value::Json(text), options) => (text, options),
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    match parse_line(line) {
        Err(Stop::Failure(failure)) => {
            assert_eq!(failure.exit, Exit::Usage);
            failure.message.lines().next().unwrap_or_default().to_owned()
        }
        Err(Stop::Clap(error)) => {
            assert_eq!(error.exit_code(), 2, "{error}");
            error.to_string().lines().next().unwrap_or_default().to_owned()
        }
        Ok(rob) => panic!("{line}: {rob:?}"),
    }
}

#[test]
fn definitions_are_consistent() {
    Rob::command().debug_assert();
}

#[test]
fn options_stand_before_the_signature_or_behind_its_arguments() {
    let json = Options {
        json: true,
        ..Options::default()
    };
    let table = [
        (
            "call math add {ii} a 10 b 32",
            r#"{"a":10,"b":32}"#,
            Options::default(),
        ),
        (
            "--json call math add {ii} a 10 b 32",
            r#"{"a":10,"b":32}"#,
            json.clone(),
        ),
        (
            "call --json math add {ii} a 10 b 32",
            r#"{"a":10,"b":32}"#,
            json.clone(),
        ),
        (
            "call math add --json {ii} a 10 b 32",
            r#"{"a":10,"b":32}"#,
            json.clone(),
        ),
        (
            "call math add {ii} a 10 b 32 --json",
            r#"{"a":10,"b":32}"#,
            json.clone(),
        ),
        ("call math now --json", "null", json.clone()),
        ("call math now", "null", Options::default()),
        ("call math echo s --json", r#""--json""#, Options::default()),
        ("call math echo s -- --json", r#""--""#, json.clone()),
        ("call math neg i -5", "-5", Options::default()),
        ("send math neg d -0.5 --json", "-0.5", json),
        ("call math neg s -v", r#""-v""#, Options::default()),
    ];
    for (line, value, options) in table {
        assert_eq!(value_and_options(line), (value.to_owned(), options), "{line}");
    }
    let (_, options) = value_and_options("call math add i 1 --timeout 0.5 --addr unix:/run/b");
    assert_eq!(options.timeout, Some(Duration::from_millis(500)));
    assert_eq!(options.addr.as_deref(), Some("unix:/run/b"));
    let (_, options) = value_and_options("--timeout 9 --json call math add i 1 --timeout 2");
    assert_eq!(
        (options.timeout, options.json),
        (Some(Duration::from_secs(2)), true)
    );
}

#[test]
fn a_value_may_come_from_standard_input() {
    let table = [
        ("call m f -", Value::Stdin),
        ("call m f - --json", Value::Stdin),
        ("send o t -", Value::Stdin),
        ("send o t s -", Value::Json("\"-\"".into())),
        ("send o t --lines", Value::Lines("j".into())),
        ("send o t --lines -", Value::Lines("j".into())),
        ("send o t --lines s --json", Value::Lines("s".into())),
        ("send --lines o t (b)", Value::Lines("(b)".into())),
    ];
    for (line, value) in table {
        assert_eq!(value_of(line).0, value, "{line}");
    }
    let table = [
        ("send o t --lines n", "must take one argument"),
        ("send o t --lines {ss}", "must take one argument"),
        ("send o t --lines (ss", "must take one argument"),
        ("send o t --lines x", "unexpected 'x' at position 1"),
        ("send o t --lines s word", "leftover argument \"word\""),
        ("call m f - word", "leftover argument \"word\""),
        ("call --lines m f", "unexpected argument '--lines'"),
    ];
    for (line, expected) in table {
        let refused = refusal(line);
        assert!(refused.contains(expected), "{line}: {refused}");
    }
}

#[test]
fn a_number_behind_payloads_is_never_the_object() {
    let table: [(&str, [Option<&str>; 2], u64); 7] = [
        ("monitor --payloads", [None, None], 256),
        ("monitor --payloads 5", [None, None], 5),
        ("monitor math --payloads 5", [Some("math"), None], 5),
        ("monitor math add --payloads 5", [Some("math"), Some("add")], 5),
        ("monitor --payloads 5 math add", [Some("math"), Some("add")], 5),
        (
            "--json monitor math --payloads 5 add",
            [Some("math"), Some("add")],
            5,
        ),
        ("monitor math add --payloads=5", [Some("math"), Some("add")], 5),
    ];
    for (line, [object, member], payloads) in table {
        match parse_line(line) {
            Ok(Rob {
                command: Command::Observe(Observe::Monitor(wanted)),
                ..
            }) => {
                let which = [&wanted.which.object, &wanted.which.member].map(Option::as_deref);
                assert_eq!(
                    (which, wanted.payloads),
                    ([object, member], Some(payloads)),
                    "{line}"
                );
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    let line = "monitor math add --payloads 9999999";
    assert!(refusal(line).contains("'9999999'"), "{}", refusal(line));
    let line = "monitor math add more --payloads 5";
    assert!(refusal(line).contains("'more'"), "{}", refusal(line));
}

#[test]
fn a_count_is_for_what_gives_many_results() {
    for line in [
        "--count 3 listen o t",
        "listen o t --count 3",
        "call m f i 1 --count 3",
    ] {
        assert_eq!(parse_line(line).unwrap().options.count, Some(3), "{line}");
    }
    for line in [
        "list --count 3",
        "send o t i 1 --count 3",
        "--count 3 describe m",
        "bench rpc --count 3",
    ] {
        assert!(
            refusal(line).starts_with("--count: only what gives many results"),
            "{line}"
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    let table = [
        (
            "call m f i 1 2",
            r#"leftover argument "2": the signature "i" takes 1 argument"#,
        ),
        (
            "call m f n 7",
            r#"leftover argument "7": the signature "n" takes 0 arguments"#,
        ),
        (
            "call m f i 1 --json 2",
            r#"leftover argument "2": the signature "i" takes 1 argument"#,
        ),
        (
            "call m f i 1 --jsn",
            r#"leftover argument "--jsn": the signature "i" takes 1 argument; did you mean --json?"#,
        ),
        (
            "call m f {ii} a 1 b",
            r#"missing argument 4: an integer for position 3 of the signature "{ii}""#,
        ),
        (
            "call m f i 1 --timeout never",
            "error: invalid value 'never' for '--timeout <SECONDS>': a number of seconds above 0, such as 2 or 0.5",
        ),
        (
            "call m f --timeout 0",
            "error: invalid value '0' for '--timeout <SECONDS>': a number of seconds above 0, such as 2 or 0.5",
        ),
        (
            "--timeout=-1 list",
            "error: invalid value '-1' for '--timeout <SECONDS>': a number of seconds above 0, such as 2 or 0.5",
        ),
        (
            "--timeout NaN list",
            "error: invalid value 'NaN' for '--timeout <SECONDS>': a number of seconds above 0, such as 2 or 0.5",
        ),
        ("lst", "error: unrecognized subcommand 'lst'"),
        (
            "listen o t --count 0",
            "error: invalid value '0' for '--count <N>': a whole number above 0",
        ),
        ("listen o t u", "error: unexpected argument 'u' found"),
        (
            "call m",
            "error: the following required arguments were not provided:",
        ),
    ];
    for (line, expected) in table {
        assert_eq!(refusal(line), expected, "{line}");
    }
}

#[test]
fn a_negative_number_is_a_wrong_number_and_no_option() {
    let table = [
        (
            "listen o t --count -3",
            "error: invalid value '-3' for '--count <N>': a whole number above 0",
        ),
        (
            "bench rpc --callers -1",
            "error: invalid value '-1' for '--callers <N>': a whole number from 1 to 64",
        ),
        (
            "bench idle --connections many",
            "error: invalid value 'many' for '--connections <N>': a whole number from 1 to 100000",
        ),
        (
            "bench rpc --seconds -0.5",
            "error: invalid value '-0.5' for '--seconds <SECONDS>': a number of seconds from 0.05 to 3600",
        ),
        (
            "bench bulk --size -8",
            "error: invalid value '-8' for '--size <SIZE>': a size from 1 to 268435456 (256 MiB), with B, KiB, MiB, kB, MB or no unit",
        ),
        (
            "--timeout -1 list",
            "error: invalid value '-1' for '--timeout <SECONDS>': a number of seconds above 0, such as 2 or 0.5",
        ),
    ];
    for (line, expected) in table {
        assert_eq!(refusal(line), expected, "{line}");
    }
}

#[test]
fn a_command_that_does_not_exist_is_answered_with_those_that_do() {
    let table = [
        (
            "fetch",
            "there are call, send, listen, list, describe, wait, ping, serve, status, services, watch, monitor, record, replay, top, bench",
        ),
        ("lst", "did you mean `list`? there are call, send"),
        ("bench fetch", "there are rpc, pubsub, bulk, idle, bus"),
        (
            "--json bench fetch --seconds 1",
            "there are rpc, pubsub, bulk, idle, bus",
        ),
    ];
    for (line, expected) in table {
        let Err(Stop::Clap(error)) = parse_line(line) else {
            panic!("{line}")
        };
        let text = error.to_string();
        assert!(text.contains(expected), "{line}: {text}");
        assert!(!text.contains("role"), "{text}");
    }
}

#[test]
fn version_and_help_end_well() {
    for line in ["-v", "-V", "--version"] {
        let Err(Stop::Clap(error)) = parse_line(line) else {
            panic!("{line}")
        };
        assert_eq!(error.exit_code(), 0);
        let expected = format!(
            "rob {} (protocol {})\n",
            env!("CARGO_PKG_VERSION"),
            actix_ipc::message::PROTOCOL_VERSION
        );
        assert_eq!(error.to_string(), expected, "{line}");
    }
    let Err(Stop::Clap(error)) = parse_line("--help") else {
        panic!()
    };
    assert!(error.to_string().contains("Examples:"));
}

/// Words that mean something somewhere, and some that do not.
const WORDS: &[&str] = &[
    "call",
    "send",
    "listen",
    "list",
    "describe",
    "wait",
    "ping",
    "serve",
    "status",
    "services",
    "watch",
    "monitor",
    "record",
    "replay",
    "top",
    "man",
    "completions",
    "bench",
    "rpc",
    "help",
    "--json",
    "--quiet",
    "--timeout",
    "--timeout=2",
    "0",
    "1e400",
    "-1",
    "--addr",
    "unix:/tmp/x",
    "--count",
    "3",
    "--exec",
    "cat",
    "--speed",
    "math",
    "add",
    "{ii}",
    "(ii)",
    "s",
    "-h",
    "--help",
    "-v",
    "-V",
    "--",
    "-",
    "",
    "\u{1b}",
    "--nothing",
    "--json=1",
    "j",
    "{\"a\":1}",
    "\u{202e}",
    "9223372036854775808",
];

proptest::proptest! {
    /// Any command line is read or refused; what is read as a value is JSON.
    #[test]
    fn any_words_are_read_or_refused(places in proptest::collection::vec(0..WORDS.len(), 0..12)) {
        let words: Vec<&str> = places.into_iter().map(|place| WORDS[place]).collect();
        let line = std::iter::once("rob").chain(words.iter().copied());
        match parse(line.map(Into::into)) {
            Ok(rob) => {
                if let Some(timeout) = rob.options.timeout {
                    proptest::prop_assert!(!timeout.is_zero(), "{words:?}");
                }
            }
            Err(Stop::Failure(failure)) => assert!(!format!("{failure:?}").is_empty()),
            Err(Stop::Clap(error)) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn every_help_has_examples_and_the_options_of_all() {
    fn check(command: &clap::Command, name: &str) {
        let own = command.get_subcommands().filter(|command| !command.is_hide_set());
        for below in own.filter(|command| command.get_name() != "help") {
            let name = format!("{name} {}", below.get_name());
            let help = below.clone().render_help().to_string();
            for word in ["Examples", "--json", "--timeout", "--count", "--quiet", "--addr"] {
                assert!(help.contains(word), "{name}: {word}");
            }
            check(below, &name);
        }
    }
    let mut rob = Rob::command();
    rob.build();
    check(&rob, "rob");
}

#[test]
fn json_that_came_without_its_quotes_is_sent_to_standard_input() {
    let hint = "the shell has taken its quotes, perhaps: `-` in place of the signature";
    for (line, told) in [
        ("call m f j {a:1}", true),
        ("call m f j [one,two]", true),
        (r#"call m f j {"a":}"#, false),
        ("call m f j one", false),
        ("call m f i {a:1}", false),
    ] {
        assert_eq!(refusal(line).contains(hint), told, "{line}: {}", refusal(line));
    }
}

#[test]
fn what_is_empty_is_told_with_its_place() {
    let table: [(&[&str], &str, &str); 12] = [
        (&["call", "", "x"], "<OBJECT>", "the name is empty"),
        (&["call", "x", ""], "<METHOD>", "the name is empty"),
        (&["send", "", "x"], "<OBJECT>", "the name is empty"),
        (&["send", "x", ""], "<TOPIC>", "the name is empty"),
        (&["listen", "", "x"], "<OBJECT>", "the name is empty"),
        (&["listen", "x", ""], "<TOPIC>", "the name is empty"),
        (&["describe", ""], "<OBJECT>", "the name is empty"),
        (&["ping", ""], "[OBJECT]", "the name is empty"),
        (&["wait", "x", ""], "<OBJECT>...", "the name is empty"),
        (&["serve", "", "--exec", "cat"], "<OBJECT>", "the name is empty"),
        (
            &["serve", "x", "--exec", ""],
            "--exec <COMMAND>",
            "the command is empty",
        ),
        (
            &["serve", "x", "--exec", " "],
            "--exec <COMMAND>",
            "the command is empty",
        ),
    ];
    for (words, place, why) in table {
        let words = ["rob"].iter().chain(words).map(OsString::from);
        match parse(words) {
            Err(Stop::Clap(error)) => {
                assert_eq!(error.exit_code(), 2, "{error}");
                let text = error.to_string();
                assert!(text.contains(&format!("for '{place}': {why}")), "{text}");
            }
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn an_option_that_powershell_made_is_told_as_what_it_was() {
    for line in [
        "listen o t -encodedCommand YQ== -inputFormat xml",
        "wait -encodedCommand YQ==",
    ] {
        match parse_line(line) {
            Err(Stop::Clap(error)) => {
                let text = error.to_string();
                assert!(text.contains("PowerShell has taken {…} for a block"), "{text}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

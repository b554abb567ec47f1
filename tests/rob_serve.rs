//! `rob serve` against a real broker: what a command is given, what its output means, and that nothing of it outlives its call.
//!
//! The commands, and how it is seen that they run, are those of the system's shell.
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
#[cfg_attr(unix, path = "serving/unix.rs")]
#[cfg_attr(not(unix), path = "serving/windows.rs")]
mod shell;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use shell::{alive, gone};
use std::fs::File;
use support::{Broker, Process, until};

/// Starts `rob serve OBJECT --exec LINE` with more words, and waits until it serves.
#[track_caller]
fn serve(broker: &Broker, object: &str, line: &str, more: &str) -> Process {
    let process = start(broker, object, line, more);
    assert_eq!(process.line(), format!("Serving {object}. Press ctrl+c to exit."));
    process
}

fn start(broker: &Broker, object: &str, line: &str, more: &str) -> Process {
    let mut command = broker.rob_command(["serve", object, "--exec", line]);
    command.args(more.split_whitespace()).current_dir(broker.folder());
    Process::spawn(support::with_rob_on_path(&mut command))
}

#[test]
fn what_a_command_prints_is_the_result() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    for (line, value, expected) in shell::RESULTS {
        let serving = serve(&broker, "o", line, "--count 1");
        let called = broker.rob(&format!("--json call o any {value}"));
        assert_eq!(called.success(), expected, "{line}");
        let ended = serving.end();
        let shown = ended.success();
        assert!(
            shown.starts_with("any for rob (process ") && shown.contains("): answered, "),
            "{shown}"
        );
    }
}

#[test]
fn a_value_of_any_size_goes_through() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let _serving = serve(&broker, "o", shell::GIVES_BACK, "--output-limit 2");
    let value = json!("ä".repeat(500_000));
    let path = broker.folder().join("large.json");
    std::fs::write(&path, value.to_string()).unwrap();
    let mut command = broker.rob_command(["--json", "call", "o", "any", "-"]);
    let called = support::run(command.stdin(File::open(path).unwrap()));
    assert_eq!(called.success(), format!("{value}\n"));
}

#[test]
fn an_exit_status_is_an_error_with_the_commands_words() {
    let broker = Broker::start();
    let serving = serve(&broker, "disk", shell::FAILS, "");
    let called = broker.rob("call disk free");
    assert_eq!(called.code(), 1, "{called:#?}");
    assert_eq!(
        called.stderr,
        "rob: call disk.free: no \\u{1b}[31mdisk (exit-status)\nMap:\n   exit :: 3\n"
    );
    // The command's lines are rob's own as well, and drive no terminal either.
    assert_eq!(serving.error_line(), "no \\u{1b}[31mdisk");
    assert!(serving.line().contains("failed with exit status 3"));
}

#[test]
#[cfg(unix)]
fn a_signal_is_an_error_with_its_number() {
    let broker = Broker::start();
    let _serving = serve(&broker, "quiet", "kill -9 $$", "");
    let called = broker.rob("call quiet x");
    assert_eq!(called.code(), 1);
    assert!(
        called
            .stderr
            .contains("signal 9 ended the command (exit-status)\nMap:\n   signal :: 9\n"),
        "{}",
        called.stderr
    );
}

#[test]
fn who_takes_too_long_is_killed_with_all_it_started() {
    let broker = Broker::start();
    shell::prepare(&broker);
    let serving = serve(&broker, "o", shell::HANGS, shell::SOON);
    let called = broker.start_rob("--json call o x");
    let alive = alive(&broker);
    gone(alive);
    let called = called.end();
    assert_eq!(called.code(), 1);
    let error: Value = serde_json::from_str(&called.stderr).unwrap();
    assert_eq!(error["error"]["name"], "timeout", "{error}");
    assert!(serving.line().contains("killed after --timeout"));
}

#[test]
fn a_call_that_is_given_up_ends_its_command() {
    let broker = Broker::start();
    shell::prepare(&broker);
    let serving = serve(&broker, "o", shell::HANGS, "");
    let mut called = broker.start_rob("call o x");
    let alive = alive(&broker);
    called.kill();
    gone(alive);
    assert!(serving.line().contains("killed: the caller has given up"));
}

#[test]
fn nothing_outlives_a_rob_that_is_killed() {
    let broker = Broker::start();
    shell::prepare(&broker);
    let mut serving = serve(&broker, "o", shell::HANGS, "");
    let called = broker.start_rob("call o any");
    let alive = alive(&broker);
    serving.kill();
    gone(alive);
    called.end();
}

#[test]
fn who_serves_can_be_ended_while_the_broker_hangs() {
    let broker = Broker::start();
    for asked in [
        &[signals::interrupt as fn(&Process)][..],
        &[signals::terminate as fn(&Process); 2],
    ] {
        let serving = serve(&broker, "o", "echo here", "");
        let hanging = signals::stop(&broker.process);
        for ask in asked {
            ask(&serving);
        }
        let ended = serving.end();
        drop(hanging);
        assert!([130, 143].contains(&ended.code()), "{}", ended.stderr);
        // The name is free again.
        until("nobody has it", || broker.rob("describe o").code() != 0);
    }
}

#[test]
fn who_prints_too_much_is_killed() {
    let broker = Broker::start();
    let serving = serve(&broker, "o", shell::PRINTS, "");
    let called = broker.rob("call o x");
    assert_eq!(called.code(), 1);
    assert!(
        called
            .stderr
            .contains("the command printed more than 1 MiB (output-limit)"),
        "{}",
        called.stderr
    );
    assert!(serving.line().contains("--output-limit"));
}

#[test]
fn as_many_run_at_the_same_time_as_are_allowed() {
    let broker = Broker::start();
    shell::prepare(&broker);
    let two = serve(&broker, "two", shell::MEETS, "--concurrency 2");
    let give = broker.start_rob("call two give");
    let take = broker.rob("--json call two take");
    assert_eq!(take.success(), shell::TAKEN);
    give.end().success();
    drop(two);
    let _math = objects::serve(broker.endpoint());
    let _one = serve(&broker, "one", shell::ALONE, "--concurrency 1");
    let calls: Vec<Process> = (0..12).map(|_| broker.start_rob("call one x")).collect();
    for call in calls {
        call.end().success();
    }
}

#[test]
fn a_name_that_is_taken_is_told_waited_for_or_shared() {
    let broker = Broker::start();
    let first = serve(&broker, "o", "echo first", "");
    let ended = start(&broker, "o", "echo second", "").end();
    assert_eq!(ended.code(), 6, "{ended:#?}");
    for part in ["serve o: ", "--queue", "--group"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let second = start(&broker, "o", "echo second", "--queue");
    assert_eq!(
        second.line(),
        "Waiting for o, which another has. Press ctrl+c to exit."
    );
    drop(first);
    assert_eq!(second.error_line(), "rob: o is this one's now");
    assert_eq!(broker.rob("--json call o x").success(), "\"second\"\n");
    drop(second);

    let _members = ["a", "b"].map(|name| serve(&broker, "g", &format!("echo {name}"), "--group"));
    let mut answers = [(); 4].map(|()| broker.rob("--json call g x").success().to_owned());
    answers.sort();
    assert_eq!(answers, ["\"a\"\n", "\"a\"\n", "\"b\"\n", "\"b\"\n"]);
}

#[test]
fn ctrl_c_gives_the_name_up_and_lets_commands_end() {
    let broker = Broker::start();
    shell::prepare(&broker);
    let serving = serve(&broker, "o", shell::WAITS, "");
    let called = broker.start_rob("--json call o x");
    let alive = alive(&broker);
    signals::interrupt(&serving);
    assert_eq!(
        serving.error_line(),
        "rob: o is given up; waiting for 1 command, ctrl+c kills what runs"
    );
    assert_eq!(broker.rob("call o x").code(), 3);
    shell::let_go(&broker);
    assert_eq!(called.end().success(), "7\n");
    assert_eq!(serving.end().code(), 130);
    gone(alive);
}

#[test]
fn a_second_signal_kills_what_runs() {
    let broker = Broker::start();
    shell::prepare(&broker);
    let serving = serve(&broker, "o", shell::HANGS, "");
    let called = broker.start_rob("call o x");
    let alive = alive(&broker);
    signals::terminate(&serving);
    serving.error_line();
    signals::terminate(&serving);
    assert_eq!(serving.end().code(), 143);
    gone(alive);
    assert_eq!(called.end().code(), 7);
}

#[test]
fn programs_get_a_line_for_each_call() {
    let broker = Broker::start();
    let serving = start(&broker, "o", shell::EXITS, "--json --count 2");
    assert_eq!(serving.error_line(), "Serving o. Press ctrl+c to exit.");
    assert_eq!(broker.rob("call o 0").code(), 0);
    assert_eq!(broker.rob("call o 4").code(), 1);
    let ended = serving.end();
    let lines: Vec<Value> = ended
        .success()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for (line, method, outcome, exit) in [(&lines[0], "0", "answered", 0), (&lines[1], "4", "failed", 4)] {
        assert_eq!(
            (&line["method"], &line["outcome"], &line["exit"], &line["caller"]),
            (&json!(method), &json!(outcome), &json!(exit), &json!("rob"))
        );
        assert!(line["pid"].as_u64().unwrap() > 0 && line["peer"].as_u64().unwrap() > 0);
    }
}

#[test]
fn it_serves_again_after_the_broker_came_back() {
    let broker = Broker::start();
    let serving = serve(&broker, "o", "echo here", "");
    let broker = broker.restart();
    serving.wait_for_error_line("connected again and serving");
    assert_eq!(broker.rob("--json call o x").success(), "\"here\"\n");
    // Before the broker, which is the younger one now.
    drop(serving);
}

#[test]
fn what_a_command_calls_is_at_the_same_broker() {
    let broker = Broker::start();
    let mut command = support::rob_command();
    command.args(["--addr", broker.endpoint(), "serve", "where"]);
    command.args(["--exec", shell::ADDRESS]);
    let serving = Process::spawn(&mut command);
    serving.line();
    let called = broker.rob("--json call where");
    assert_eq!(called.code(), 2, "a method is missing: {called:#?}");
    let called = broker.rob("--json call where is");
    assert_eq!(called.success(), format!("\"{}\"\n", broker.endpoint()));
}

#[test]
fn who_takes_too_long_is_told_with_what_the_command_said() {
    let broker = Broker::start();
    let _serving = serve(&broker, "slow", shell::COMPLAINS, "--timeout 5");
    let called = broker.rob("call slow now");
    assert_eq!(called.code(), 1, "{called:#?}");
    for part in ["did not end within 5 s", "I wait for the disk", "(timeout)"] {
        assert!(called.stderr.contains(part), "{called:#?}");
    }
}

#[test]
#[cfg(windows)]
fn what_a_caller_writes_is_never_a_command() {
    let broker = Broker::start();
    for line in [
        "echo %ROB_METHOD%",
        "echo %rob_caller:~0,3%",
        "set x=%TRACEPARENT%",
    ] {
        let ended = start(&broker, "o", line, "").end();
        assert_eq!(ended.code(), 2, "{line}: {ended:#?}");
        assert!(
            ended.stderr.contains("would be read as a part of the command"),
            "{ended:#?}"
        );
    }
    let _serving = serve(&broker, "o", "echo !ROB_METHOD!", "");
    let called = broker.rob("--json call o a-b");
    assert_eq!(called.success(), "\"a-b\"\n");
    // A line of which a part is read once more.
    let _serving = serve(&broker, "p", "echo !ROB_METHOD! !ROB_CALLER!| findstr /v x", "");
    for called in ["--json call p a&exit", "--json call o a&exit"] {
        let called = broker.rob(called);
        assert_eq!(called.code(), 2, "{called:?}");
        assert!(
            called.stderr.contains("signs that cmd.exe may read"),
            "{called:?}"
        );
    }
}

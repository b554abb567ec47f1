//! `rob wait` and `rob ping` against a real broker.
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
#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use support::{Broker, Process, rob_command, run, until};

#[test]
fn what_is_there_is_not_waited_for() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    assert_eq!(
        broker.rob("wait math sys.broker").success(),
        "Registered: math, sys.broker\n"
    );
    assert_eq!(broker.rob("wait math --quiet").success(), "");
    let line: Value = serde_json::from_str(broker.rob("wait math --json").success()).unwrap();
    assert_eq!(line["objects"][0], "math");
    assert!(line["waited_ms"].is_u64());
}

#[test]
fn what_comes_ends_the_waiting() {
    let broker = Broker::start();
    let waiting = broker.start_rob("wait math");
    let _math = objects::serve(broker.endpoint());
    assert_eq!(waiting.end().success(), "Registered: math\n");
}

#[test]
fn what_does_not_come_is_named() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let table = [
        (
            "wait weather math --timeout 0.1",
            "rob: wait: weather is not registered after 0.1 s, math is; --timeout SECONDS waits longer, `rob list` shows what is registered\n",
        ),
        (
            "wait mth --timeout 0.1",
            "rob: wait: mth is not registered after 0.1 s; did you mean \"math\"?\n",
        ),
        (
            "wait weather store --timeout 0.1",
            "rob: wait: weather, store are not registered after 0.1 s; --timeout SECONDS waits longer, `rob list` shows what is registered\n",
        ),
    ];
    for (line, expected) in table {
        let ended = broker.rob(line);
        assert_eq!((ended.code(), ended.stderr.as_str()), (4, expected), "{line}");
    }
}

#[test]
fn a_broker_is_waited_for_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = support::endpoint_in(folder.path());
    let ended = run(rob_command().args(["--addr", &endpoint, "wait", "math", "--timeout", "0.1"]));
    assert_eq!(ended.code(), 5, "{ended:#?}");
    let waiting = Process::spawn(rob_command().args(["--addr", &endpoint, "wait", "sys.broker"]));
    assert_eq!(
        waiting.error_line(),
        "rob: no broker is there yet; waiting for one"
    );
    let _broker = Broker::start_at(folder, &endpoint, |_| {});
    assert_eq!(waiting.end().success(), "Registered: sys.broker\n");
}

#[test]
fn round_trips_have_figures() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    for line in ["ping", "ping math", "ping sys.broker"] {
        let ended = broker.rob(line);
        let lines: Vec<&str> = ended.success().lines().collect();
        assert_eq!(lines.len(), 6, "{line}: {}", ended.stdout);
        assert!(lines[0].starts_with("1: ") && lines[0].ends_with(" µs"), "{line}");
        assert!(lines[5].starts_with("5 answered: min "), "{line}");
        let ended = broker.rob(&format!("{line} --count 3 --json"));
        let lines: Vec<Value> = ended
            .success()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let us: Vec<f64> = lines[..3]
            .iter()
            .map(|line| line["us"].as_f64().unwrap())
            .collect();
        let figure = |name: &str| lines[3][name].as_f64().unwrap();
        assert_eq!(lines[3]["count"], 3);
        assert_eq!(figure("min_us"), us.iter().copied().fold(f64::MAX, f64::min));
        assert_eq!(figure("max_us"), us.iter().copied().fold(0.0, f64::max));
        assert!(figure("min_us") <= figure("avg_us") && figure("avg_us") <= figure("max_us"));
    }
    let quiet = broker.rob("ping --quiet --count 2 --interval 0.01");
    assert_eq!(quiet.success().lines().count(), 1);
}

#[test]
fn nobody_there_is_no_answer() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let ended = broker.rob("ping mth");
    assert_eq!(ended.code(), 3);
    assert!(
        ended.stderr.contains("did you mean \"math\"?"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_is_no_name_of_an_object_is_no_answer_either() {
    let broker = Broker::start();
    let long = "x".repeat(256);
    for name in ["", "a\tb", long.as_str()] {
        let mut ping = rob_command();
        let ended = run(ping.args(["--addr", broker.endpoint(), "ping", name]));
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (2, ""),
            "{name:?}: {ended:#?}"
        );
        let why = if name.is_empty() {
            "error: invalid value ''"
        } else {
            "rob: ping "
        };
        assert!(ended.stderr.starts_with(why), "{}", ended.stderr);
    }
}

#[test]
fn a_broker_that_goes_while_it_is_waited_for_is_told() {
    let mut broker = Broker::start();
    let waiting = broker.start_rob("wait weather --timeout 8");
    // It says what it does, for whoever looks at who is there.
    until("it says so", || {
        broker.rob("list").success().contains("rob wait weather")
    });
    broker.process.kill();
    assert!(waiting.error_line().contains("the connection was lost"));
    let ended = waiting.end();
    assert_eq!(ended.code(), 5, "{ended:#?}");
    assert!(ended.stderr.contains("the broker is gone"), "{ended:#?}");
}

#[test]
fn round_trips_that_are_broken_off_have_figures() {
    let broker = Broker::start();
    let pinging = broker.start_rob("ping --interval 0.01 --count 1000000");
    assert!(pinging.line().starts_with("1: "));
    signals::interrupt(&pinging);
    let ended = pinging.end();
    assert_eq!(ended.code(), 130, "{ended:#?}");
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.contains(" answered: min "), "{ended:#?}");
}

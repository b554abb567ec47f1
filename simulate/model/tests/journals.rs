//! Journals that keep the promises, and for each rule one that does not.
//!
//! Owns the table. Every entry is a whole run: what each process wrote, in the format of `src/journal.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what is not as expected fails the test"
)]

use actix_ipc_model::journal::{Fact, Journal, Line, check};

/// A run of three processes: a worker, a caller (which also hears), a publisher. `rule` is what the change breaks.
struct Run {
    rule: &'static str,
    about: &'static str,
    /// Journal, line to be replaced (by its number; behind the end: added), new line (empty: taken out).
    change: (&'static str, usize, &'static str),
}

const WORKER: &[&str] = &[
    r#"{"us":10,"fact":"registered","object":"math","epoch":"e1"}"#,
    r#"{"us":130,"fact":"handled","caller":"caller","id":1,"object":"math"}"#,
    r#"{"us":230,"fact":"handled","caller":"caller","id":2,"object":"math"}"#,
];

const CALLER: &[&str] = &[
    r#"{"us":20,"fact":"subscribe","subscription":1,"pattern":"room *"}"#,
    r#"{"us":30,"fact":"subscribed","subscription":1,"epoch":"e1"}"#,
    r#"{"us":100,"fact":"call","id":1,"object":"math","deadline_ms":1}"#,
    r#"{"us":150,"fact":"outcome","id":1}"#,
    r#"{"us":200,"fact":"call","id":2,"object":"math"}"#,
    r#"{"us":250,"fact":"outcome","id":2,"error":"CalleeGone","may_run":true}"#,
    r#"{"us":300,"fact":"call","id":3,"object":"math"}"#,
    r#"{"us":310,"fact":"outcome","id":3,"error":"NoSuchObject","may_run":false}"#,
    r#"{"us":420,"fact":"event","subscription":1,"publisher":"publisher","topic":"room a","n":1,"missed":0}"#,
    r#"{"us":440,"fact":"event","subscription":1,"publisher":"publisher","topic":"room a","n":3,"missed":1}"#,
    r#"{"us":460,"fact":"gap","subscription":1,"missed":1}"#,
    r#"{"us":900,"fact":"finished"}"#,
];

const PUBLISHER: &[&str] = &[
    r#"{"us":400,"fact":"publish","topic":"room a","n":1}"#,
    r#"{"us":405,"fact":"acked","topic":"room a","n":1}"#,
    r#"{"us":410,"fact":"publish","topic":"room a","n":2}"#,
    r#"{"us":430,"fact":"publish","topic":"room a","n":3}"#,
    r#"{"us":450,"fact":"publish","topic":"room a","n":4}"#,
    r#"{"us":455,"fact":"acked","topic":"room a","n":4}"#,
    r#"{"us":470,"fact":"publish","topic":"room a","n":5}"#,
    r#"{"us":475,"fact":"refused","topic":"room a","n":5,"may_run":false}"#,
    r#"{"us":480,"fact":"publish","topic":"hall","n":1}"#,
    r#"{"us":500,"fact":"finished"}"#,
];

const RUNS: &[Run] = &[
    Run {
        rule: "one-outcome",
        about: "a second outcome",
        change: ("caller", 11, r#"{"us":890,"fact":"outcome","id":1}"#),
    },
    Run {
        rule: "one-outcome",
        about: "none in a process that finished",
        change: ("caller", 5, ""),
    },
    Run {
        rule: "handled-once",
        about: "handled again",
        change: (
            "worker",
            3,
            r#"{"us":240,"fact":"handled","caller":"caller","id":2,"object":"math"}"#,
        ),
    },
    Run {
        rule: "did-not-run",
        about: "it did",
        change: (
            "worker",
            3,
            r#"{"us":305,"fact":"handled","caller":"caller","id":3,"object":"math"}"#,
        ),
    },
    Run {
        rule: "answered-by-nobody",
        about: "no worker had it",
        change: ("worker", 1, ""),
    },
    Run {
        rule: "not-registered",
        about: "a worker that does not serve it",
        change: ("worker", 0, ""),
    },
    Run {
        rule: "invented",
        about: "a call that nobody made",
        change: (
            "worker",
            3,
            r#"{"us":240,"fact":"handled","caller":"caller","id":9,"object":"math"}"#,
        ),
    },
    Run {
        rule: "late",
        about: "a second behind its deadline",
        change: ("caller", 3, r#"{"us":1001101,"fact":"outcome","id":1}"#),
    },
    Run {
        rule: "event-once",
        about: "heard twice",
        change: (
            "caller",
            10,
            r#"{"us":460,"fact":"event","subscription":1,"publisher":"publisher","topic":"room a","n":3,"missed":1}"#,
        ),
    },
    Run {
        rule: "event-order",
        about: "an older one behind a newer one",
        change: (
            "caller",
            10,
            r#"{"us":460,"fact":"event","subscription":1,"publisher":"publisher","topic":"room a","n":2,"missed":1}"#,
        ),
    },
    Run {
        rule: "invented",
        about: "an event that was refused",
        change: (
            "caller",
            10,
            r#"{"us":460,"fact":"event","subscription":1,"publisher":"publisher","topic":"room a","n":5,"missed":1}"#,
        ),
    },
    Run {
        rule: "topic",
        about: "not what it asked for",
        change: (
            "caller",
            0,
            r#"{"us":20,"fact":"subscribe","subscription":1,"pattern":"room b"}"#,
        ),
    },
    Run {
        rule: "gap-untold",
        about: "an acknowledged event is lost at the end",
        change: ("caller", 10, ""),
    },
    Run {
        rule: "gap-untold",
        about: "what was overtaken is told too late",
        change: (
            "caller",
            9,
            r#"{"us":440,"fact":"event","subscription":1,"publisher":"publisher","topic":"room a","n":3,"missed":0}"#,
        ),
    },
    Run {
        rule: "gap-overtold",
        about: "more than there were",
        change: (
            "caller",
            10,
            r#"{"us":460,"fact":"gap","subscription":1,"missed":2}"#,
        ),
    },
    Run {
        rule: "journal-format",
        about: "a number used twice",
        change: ("caller", 4, r#"{"us":200,"fact":"call","id":1,"object":"math"}"#),
    },
];

fn journal(who: &str, lines: &[&str]) -> Journal {
    let mut text = lines.join("\n");
    text.push('\n');
    Journal::parse(who, &text).unwrap()
}

/// The rules that a run breaks.
fn rules(change: Option<(&str, usize, &str)>) -> Vec<&'static str> {
    let journals = [("worker", WORKER), ("caller", CALLER), ("publisher", PUBLISHER)].map(|(who, lines)| {
        let mut lines = lines.to_vec();
        if let Some((_, at, line)) = change.filter(|change| change.0 == who) {
            lines.splice(at.min(lines.len())..(at + 1).min(lines.len()), [line]);
        }
        lines.retain(|line| !line.is_empty());
        journal(who, &lines)
    });
    check(journals, 1_000).iter().map(|found| found.rule).collect()
}

#[test]
fn a_run_that_keeps_every_promise_passes() {
    assert!(rules(None).is_empty(), "{:?}", rules(None));
}

#[test]
fn each_broken_promise_is_named() {
    for run in RUNS {
        let found = rules(Some(run.change));
        assert!(
            found.contains(&run.rule),
            "{}, {}: {found:?}",
            run.rule,
            run.about
        );
    }
}

#[test]
fn a_loss_excuses_what_was_under_way_and_nothing_else() {
    let heard = |n: u64, missed: u64| {
        format!(
            r#"{{"us":{},"fact":"event","subscription":1,"publisher":"publisher","topic":"room a","n":{n},"missed":{missed}}}"#,
            400 + n
        )
    };
    let run = |events: &[String], end: &str| {
        let mut lines: Vec<&str> = CALLER[..2].to_vec();
        lines.extend(events.iter().map(String::as_str));
        lines.push(end);
        let found = check(
            [journal("caller", &lines), journal("publisher", PUBLISHER)],
            1_000,
        );
        found.iter().map(|found| found.rule).collect::<Vec<_>>()
    };
    let (lost, finished) = (r#"{"us":890,"fact":"lost"}"#, r#"{"us":890,"fact":"finished"}"#);
    assert!(run(&[heard(1, 0)], lost).is_empty());
    assert_eq!(run(&[heard(1, 0)], finished), ["gap-untold"]);
    // What was overtaken had to be told, loss or not.
    assert_eq!(
        run(&[heard(1, 0), heard(3, 0)], lost),
        ["gap-untold", "gap-untold"]
    );
    assert!(run(&[heard(1, 0), heard(3, 1)], lost).is_empty());
    // A restored subscription hears nothing again.
    let again = format!(
        "{lost}\n{}\n{}",
        r#"{"us":891,"fact":"subscribed","subscription":1,"epoch":"e2"}"#,
        heard(1, 0)
    );
    assert_eq!(run(&[heard(1, 0)], &again), ["event-once"]);
}

#[test]
fn a_torn_line_is_left_out_and_a_wrong_one_is_named() {
    let whole = Line {
        us: 7,
        fact: Fact::Gap {
            subscription: 1,
            missed: 2,
        },
    };
    let text = whole.to_json();
    assert_eq!(
        text,
        "{\"us\":7,\"fact\":\"gap\",\"subscription\":1,\"missed\":2}\n"
    );
    let torn = format!("{text}{{\"us\":8,\"fa");
    assert_eq!(Journal::parse("p", &torn).unwrap().lines, [whole]);
    let wrong = format!("{text}{{\"us\":8}}\n");
    let error = Journal::parse("p", &wrong).unwrap_err();
    assert!(error.text.starts_with("p, line 2: "), "{error}");
}

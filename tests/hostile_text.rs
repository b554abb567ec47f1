//! Text that would drive a terminal, forge a line of the log or hide itself, sent down every path on which a peer's text reaches a
//! person: no raw character of it comes out of the broker or of `rob`, and JSON stays JSON.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_debug_implementations,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/false_broker.rs"]
mod false_broker;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/signals.rs"]
mod signals;
mod support;

use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use actix_ipc::text::is_unsafe;
use false_broker::{FalseBroker, hear_greeting, say_and_swallow};
use raw::{Got, Raw};
use serde_json::Value;
use std::io::{Read, Write};
use support::{Broker, Ended, Process, rob_command, run};

/// Clears the screen, sets a colour by C1, forges a line, writes backwards, hides, deletes.
const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\nforged: all is well\r\u{202e}\u{200b}\u{2066}\u{e0041}\u{feff}\u{7f}\u{7}\u{1b}]0;title\u{7}";
/// What a name may hold of it.
const NAME: &str = "bidi\u{202e}\u{200b}\u{2066}\u{e0041}name";

/// Fails when the output holds a character that could drive a terminal, or a line that a peer made up.
#[track_caller]
fn assert_tame(what: &str, output: &str) {
    for line in output.split('\n') {
        let raw: Vec<char> = line.chars().filter(|c| is_unsafe(*c)).collect();
        assert!(raw.is_empty(), "{what}: {raw:?} in {line:?}");
        assert!(!line.starts_with("forged"), "{what}: {output:?}");
    }
}

#[track_caller]
fn assert_all_tame(what: &str, ended: &Ended) {
    assert_tame(&format!("{what}, stdout"), &ended.stdout);
    assert_tame(&format!("{what}, stderr"), &ended.stderr);
}

/// The lines of an output, each one value of JSON.
#[track_caller]
fn json_lines(what: &str, output: &str) -> Vec<Value> {
    let parse =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error} in {line:?}"));
    output.lines().map(parse).collect()
}

fn start() -> Broker {
    Broker::start_raw_with(|command| {
        command.args(["--log", "trace"]);
    })
}

/// The next call for this peer.
fn next_call(raw: &mut Raw) -> Got {
    loop {
        let got = raw.read();
        if got.kind == Kind::Call {
            return got;
        }
    }
}

type Answer = Box<dyn Fn(u64) -> Vec<Vec<u8>>>;

/// Every way in which an object's text comes back to its caller.
fn answers() -> Vec<(&'static str, Answer)> {
    let reply = |encoding: Encoding, payload: Vec<u8>, flags: Flags| -> Answer {
        Box::new(move |ticket| {
            let draft = Draft::new(Kind::Reply, ticket).flags(flags);
            vec![draft.payload(encoding, &payload).to_vec()]
        })
    };
    let error = |code: ErrorCode, encoding: Encoding, payload: Vec<u8>| -> Answer {
        Box::new(move |ticket| {
            let meta = [
                raw::meta("error.name", HOSTILE.as_bytes()),
                raw::meta("error.text", HOSTILE.as_bytes()),
            ]
            .concat();
            let draft = Draft::new(Kind::Error, ticket).aux(code.code()).meta(&meta);
            vec![draft.payload(encoding, &payload).to_vec()]
        })
    };
    let text = || HOSTILE.as_bytes().to_vec();
    // Valid JSON may hold what JSON does not ask to be escaped.
    let loose = || serde_json::to_vec(&serde_json::json!({ NAME: [HOSTILE, { HOSTILE: NAME }] })).unwrap();
    vec![
        ("a raw reply", reply(Encoding::RAW, text(), Flags::NONE)),
        ("a JSON reply", reply(Encoding::JSON, loose(), Flags::NONE)),
        (
            "what claims to be JSON",
            reply(Encoding::JSON, text(), Flags::NONE),
        ),
        ("an unknown encoding", reply(Encoding(200), text(), Flags::NONE)),
        (
            "an error's text",
            error(ErrorCode::Handler, Encoding::RAW, text()),
        ),
        (
            "an error's value",
            error(ErrorCode::Handler, Encoding::JSON, loose()),
        ),
        (
            "a panic's text",
            error(ErrorCode::HandlerPanicked, Encoding::RAW, text()),
        ),
        (
            "an unknown code",
            error(ErrorCode::Internal, Encoding::RAW, text()),
        ),
    ]
}

#[test]
fn answers_of_objects_reach_the_terminal_escaped() {
    let broker = start();
    let mut worker = Raw::connect_as(&broker.socket(), NAME);
    assert_eq!(worker.register(NAME).kind, Kind::Done);
    for (what, answer) in answers() {
        for json in [false, true] {
            let mut arguments = vec!["call", NAME, NAME];
            if json {
                arguments.insert(0, "--json");
            }
            let rob = Process::spawn(&mut broker.rob_command(arguments));
            let call = next_call(&mut worker);
            for frame in answer(call.id) {
                worker.stream.write_all(&frame).unwrap();
            }
            let ended = rob.end();
            assert_all_tame(what, &ended);
            if json {
                let lines = [json_lines(what, &ended.stdout), json_lines(what, &ended.stderr)].concat();
                assert_eq!(lines.len(), 1, "{what}: {ended:?}");
                if what == "a raw reply" {
                    assert_eq!(lines[0], HOSTILE, "escaped, but nothing of it is lost");
                }
                if what == "a JSON reply" {
                    assert_eq!(lines[0][NAME][0], HOSTILE);
                }
            }
        }
    }
    end(broker);
}

#[test]
fn names_and_descriptions_reach_lists_escaped() {
    let broker = start();
    let mut worker = Raw::connect_as(&broker.socket(), NAME);
    let description = serde_json::to_vec(&serde_json::json!({ NAME: HOSTILE })).unwrap();
    let id = worker.id();
    let register = Draft::new(Kind::Register, id).key(NAME.as_bytes());
    let done = worker.ask(&register.payload(Encoding::JSON, &description));
    assert_eq!(done.kind, Kind::Done, "{done:?}");
    // Who is second learns the first one's declared name.
    let mut second = Raw::connect(&broker.socket());
    let taken = second.register(NAME);
    assert_eq!(taken.error().0, ErrorCode::NameTaken);
    assert_tame("the text about a taken name", &taken.text());
    for arguments in [
        vec!["list"],
        vec!["describe", NAME],
        vec!["describe", "bidi\u{202e}missing"],
    ] {
        for json in [false, true] {
            let with_json = arguments.iter().chain(json.then_some(&"--json"));
            let ended = run(&mut broker.rob_command(with_json));
            assert_all_tame(arguments[0], &ended);
            if json {
                json_lines(arguments[0], &ended.stdout);
                json_lines(arguments[0], &ended.stderr);
            }
        }
    }
    end(broker);
}

#[test]
fn events_reach_a_listener_escaped() {
    let broker = start();
    let mut publisher = Raw::connect_as(&broker.socket(), NAME);
    for json in [false, true] {
        let mut arguments = vec!["listen", NAME, NAME, "--count", "2"];
        if json {
            arguments.push("--json");
        }
        let rob = Process::spawn(&mut broker.rob_command(arguments));
        let meta = raw::meta(NAME, HOSTILE.as_bytes());
        let mut sent = 0;
        // Until somebody hears it; then once more.
        while sent < 2 {
            let id = publisher.id();
            let draft = Draft::new(Kind::Publish, id)
                .flags(Flags::ACK)
                .meta(&meta)
                .pair(NAME, NAME);
            let accepted = publisher.ask(&draft.payload(Encoding::RAW, HOSTILE.as_bytes()));
            sent += accepted.aux;
        }
        let ended = rob.end();
        assert_all_tame("listen", &ended);
        if json {
            assert_eq!(json_lines("listen", &ended.stdout).len(), 2);
        }
    }
    end(broker);
}

#[test]
fn what_a_stranger_says_reaches_the_log_escaped() {
    let broker = start();
    let open = || Raw::open(&broker.socket());
    // A name that is none.
    let mut raw = open();
    let hello = [&[u8::try_from(HOSTILE.len()).unwrap()], HOSTILE.as_bytes()].concat();
    let frame = Draft::new(Kind::Hello, 1)
        .aux(1)
        .payload(Encoding::RAW, &hello)
        .to_vec();
    raw.stream
        .write_all(&[&PREFACE, frame.as_slice()].concat())
        .unwrap();
    let (reason, text) = raw.goodbye();
    assert_eq!(reason, CloseReason::Protocol);
    assert_tame("goodbye", &text);
    // Another protocol altogether, with our preface and without.
    for start in [&PREFACE[..], b""] {
        let mut raw = open();
        raw.stream
            .write_all(&[start, HOSTILE.as_bytes()].concat())
            .unwrap();
        let mut answer = Vec::new();
        let _ = raw.stream.read_to_end(&mut answer);
        assert_tame(
            "answer",
            &String::from_utf8_lossy(answer.get(24..).unwrap_or_default()),
        );
    }
    // Keys that are no names, in every request that has one.
    for kind in [
        Kind::Register,
        Kind::Describe,
        Kind::Subscribe,
        Kind::Publish,
        Kind::Call,
        Kind::Will,
        Kind::Watch,
    ] {
        for key in [
            HOSTILE.to_owned(),
            format!("{HOSTILE}\0{HOSTILE}"),
            format!("{NAME}\0{NAME}.**.x"),
        ] {
            let mut raw = Raw::connect_as(&broker.socket(), NAME);
            let id = raw.id();
            raw.send(
                &Draft::new(kind, id)
                    .flags(if kind == Kind::Publish {
                        Flags::ACK
                    } else {
                        Flags::NONE
                    })
                    .key(key.as_bytes()),
            );
            let got = raw.read();
            assert_tame(kind.name(), &got.text());
        }
    }
    // Metadata that only the broker writes.
    let mut raw = Raw::connect_as(&broker.socket(), NAME);
    let mut meta = vec![u8::try_from("sys.".len() + HOSTILE.len()).unwrap()];
    meta.extend_from_slice(b"sys.");
    meta.extend_from_slice(HOSTILE.as_bytes());
    meta.extend_from_slice(&[0, 0]);
    raw.send(&Draft::new(Kind::Call, 5).meta(&meta).pair("o", "m"));
    assert_tame("goodbye", &raw.goodbye().1);
    end(broker);
}

#[test]
fn what_a_false_broker_says_reaches_the_terminal_escaped() {
    let goodbye = Draft::new(Kind::Goodbye, 0)
        .aux(CloseReason::Denied.code())
        .payload(Encoding::RAW, HOSTILE.as_bytes())
        .to_vec();
    let hostile = [goodbye, HOSTILE.as_bytes().to_vec()];
    // Whatever the client does then is judged by its output.
    let broker = FalseBroker::new(move |mut stream, number| {
        hear_greeting(&mut stream);
        say_and_swallow(stream, &hostile[number % 2]);
    });
    let address = broker.endpoint.to_string();
    for format in [&["list"][..], &["list", "--json"]] {
        // A goodbye is a refusal; what is no frame comes from no broker.
        for code in [6, 5] {
            let ended = run(rob_command().args(format).args(["--addr", &address]));
            assert_eq!(ended.code(), code, "{ended:?}");
            assert_all_tame("a false broker", &ended);
        }
    }
}

/// Ends the broker and looks at everything it has printed.
#[track_caller]
fn end(broker: Broker) {
    let ended = everything_of(broker);
    assert!(
        ended.stderr.contains("connected"),
        "everything is logged: {}",
        ended.stderr
    );
    assert_all_tame("the broker", &ended);
}

#[track_caller]
fn everything_of(broker: Broker) -> Ended {
    let Broker { process, .. } = broker;
    signals::terminate(&process);
    let ended = process.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    ended
}

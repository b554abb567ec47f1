//! Malformed and hostile input on a connection, case by case, against one living broker on three transports.
//!
//! How it works: `*.txt` hold the families of cases as text (`language.rs` reads them), `wire.rs` is a client in raw frames over
//! any transport. For each case a connection is made, brought to its state and given the bytes; what comes back must be what
//! `docs/protocol.md` says. After each case a standing honest pair makes a call and an event, the broker lists exactly those who
//! are there, and at the end its counters agree with what was done to it.
//!
//! `MALFORMED=part cargo test --test malformed` runs the cases whose text contains `part`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "what is not as expected fails the test"
)]

mod honest;
mod language;
mod old;
mod wire;

use actix_ipc::config::Limits;
use actix_ipc::message::{Draft, Kind};
use actix_ipc::transport::dialect::Dialects;
use actix_ipc::{Broker, BrokerHandle, Endpoint};
use honest::Honest;
use language::{Case, End, State};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use wire::{Got, Wire};

const FAMILIES: &[(&str, &str)] = &[
    ("handshake", include_str!("handshake.txt")),
    ("headers", include_str!("headers.txt")),
    ("kinds", include_str!("kinds.txt")),
    ("names", include_str!("names.txt")),
    ("metadata", include_str!("metadata.txt")),
    ("requests", include_str!("requests.txt")),
    ("answers", include_str!("answers.txt")),
    ("pieces", include_str!("pieces.txt")),
    ("foreign", include_str!("foreign.txt")),
];

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Small, so that every limit can be met with few bytes. The files are written for these numbers.
fn limits() -> Limits {
    Limits {
        frame_bytes: 4096,
        message_bytes: 16_384,
        publish_window: 8192,
        stream_window: 4096,
        open_calls: 8,
        names: 4,
        subscriptions: 4,
        watches: 4,
        retained_bytes: 256,
        ..Limits::default()
    }
}

fn cases() -> Vec<Case> {
    let wanted = std::env::var("MALFORMED").unwrap_or_default();
    let mut all = Vec::new();
    for (family, text) in FAMILIES {
        all.extend(language::read(family, text));
    }
    all.retain(|case| case.title.contains(&wanted));
    all
}

#[test]
fn the_broker_outlives_every_case_exactly() {
    let cases = cases();
    let began = Instant::now();
    let wrong = play(&cases, PATIENCE);
    for (family, _) in FAMILIES {
        let count = cases.iter().filter(|case| case.family == *family).count();
        println!("{family:<10} {count:5} cases");
    }
    println!(
        "{} cases on each of 3 transports, {:.1} s",
        cases.len(),
        began.elapsed().as_secs_f64()
    );
    if cfg!(windows) {
        let halves = cases.iter().filter(|case| case.ends_sending).count();
        println!("{halves} of them not on the pipe, whose clients cannot end one direction alone");
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    if std::env::var_os("MALFORMED").is_none() {
        assert!(cases.len() >= 1000, "{} cases", cases.len());
    }
}

#[test]
fn what_is_not_as_written_is_seen() {
    // Each of these expects something else than what the document says.
    let false_ones = [
        "ready | Ping id=5 | Pong 6",
        "ready | Ping id=5 | nothing",
        "ready | Ping id=5 | Pong 5 ; Pong 5",
        "ready | Ping id=5 | goodbye 3",
        "ready | Welcome | nothing",
        "ready | Welcome | goodbye 4",
        "ready | Welcome | goodbye 3 (another text)",
        "ready | Goodbye aux=1 | closed",
        "fresh | preface ; Welcome | closed",
        "called | Reply id=$t data='x' | nothing ; caller: Reply (y)",
        "called | Reply id=$t data='x' | nothing ; caller: Error",
        "calling | Cancel id=5 | Error 5 7",
    ];
    for line in false_ones {
        let cases = language::read("false", line);
        assert_eq!(cases.len(), 1);
        // What never comes need not be awaited for long.
        assert!(!play(&cases, PATIENCE / 20).is_empty(), "{line}");
    }
}

/// Plays cases against a broker of their own, over every transport; returns what was wrong.
fn play(cases: &[Case], patience: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        // What is foreign here is so without the older formats; they have families of their own.
        let broker = start(folder.path(), Dialects::NONE);
        for endpoint in broker.endpoints().to_vec() {
            run(&broker, &endpoint, cases, patience, &mut wrong).await;
        }
        broker.stop().await;
    });
    wrong
}

fn start(folder: &std::path::Path, dialects: Dialects) -> BrokerHandle {
    let mut builder = Broker::builder().limits(limits()).dialects(dialects);
    for endpoint in transports(folder) {
        builder = builder.listen(endpoint);
    }
    builder.start().unwrap()
}

/// The cases of older formats, by family.
fn old_cases() -> [(&'static str, Vec<old::Case>); 2] {
    let lengths = include_str!("ipc_broker.txt");
    let documents = include_str!("ipc_server.txt");
    [
        (
            "ipc_broker",
            old::read("ipc_broker", old::Framing::Lengths, lengths),
        ),
        (
            "ipc_server",
            old::read("ipc_server", old::Framing::Documents, documents),
        ),
    ]
}

#[test]
fn the_broker_outlives_every_case_of_an_older_format() {
    let wanted = std::env::var("MALFORMED").unwrap_or_default();
    let mut wrong = Vec::new();
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let broker = start(folder.path(), Dialects::ALL);
        for endpoint in broker.endpoints().to_vec() {
            let mut honest = Honest::start(&endpoint).await;
            for (family, cases) in old_cases() {
                println!("{family:<10} {:5} cases over {endpoint}", cases.len());
                if wanted.is_empty() {
                    assert!(
                        old::distinct(&cases) >= 250,
                        "{family}: {}",
                        old::distinct(&cases)
                    );
                }
                let chosen = |case: &&old::Case| {
                    case.title.contains(&wanted) && (!case.ends_sending || ends_by_halves(&endpoint))
                };
                for case in cases.iter().filter(chosen) {
                    wrong.extend(old::play(case, &endpoint, PATIENCE, &mut honest).await);
                    if wrong.len() > 20 {
                        return;
                    }
                }
            }
            honest.end().await;
        }
        broker.stop().await;
        let metrics = broker.metrics();
        assert_eq!(
            (metrics.panics, metrics.connections_opened),
            (0, metrics.connections_closed)
        );
    });
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_is_not_heard_as_written_is_seen() {
    let false_ones = [
        (
            old::Framing::Lengths,
            r#"framed {"HasObject":{"object_name":"x"}} | nothing"#,
        ),
        (
            old::Framing::Lengths,
            r#"framed {"HasObject":{"object_name":"x"}} | heard true"#,
        ),
        (old::Framing::Lengths, "framed {} | closed"),
        (old::Framing::Lengths, "length 70000 | nothing"),
        (old::Framing::Documents, "text {} | nothing"),
        (old::Framing::Documents, "text {} | heard success"),
        (old::Framing::Documents, "text null | heard error"),
    ];
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let broker = start(folder.path(), Dialects::ALL);
        let endpoint = broker.endpoints()[0].clone();
        let mut honest = Honest::start(&endpoint).await;
        for (framing, line) in false_ones {
            let cases = old::read("false", framing, line);
            let wrong = old::play(&cases[0], &endpoint, PATIENCE / 20, &mut honest).await;
            assert!(wrong.is_some(), "{line}");
        }
        honest.end().await;
        broker.stop().await;
    });
}

fn transports(folder: &std::path::Path) -> Vec<Endpoint> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("malformed-{}-{number}", std::process::id());
    let local = if cfg!(unix) {
        format!("unix:{}", folder.join("b.sock").display())
    } else {
        format!("pipe:{name}")
    };
    let all = [local, "tcp:127.0.0.1:0".to_owned(), format!("mem:{name}")];
    all.map(|text| text.parse().unwrap()).into()
}

/// Whether a client can end one direction alone there.
fn ends_by_halves(endpoint: &Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Pipe(_))
}

/// Every case over one transport; then the counters.
async fn run(
    broker: &BrokerHandle,
    endpoint: &Endpoint,
    cases: &[Case],
    patience: Duration,
    wrong: &mut Vec<String>,
) {
    let before = broker.metrics();
    let mut honest = Honest::start(endpoint).await;
    let (mut welcomed, mut violations) = (0, 0);
    for case in cases {
        let carries = honest.worker.stream.max_attachments() > 0;
        let halves = case.ends_sending && !ends_by_halves(endpoint);
        if halves || case.needs_attachments.is_some_and(|needs| needs != carries) {
            continue;
        }
        let told = one(case, endpoint, patience, &mut honest).await;
        welcomed += u64::from(told.welcomed);
        violations += u64::from(matches!(case.expected.end, End::Goodbye(3..=5, _)));
        wrong.extend(
            told.wrong
                .map(|text| format!("{endpoint} {}: {text}", case.title)),
        );
        let exact = tokio::time::timeout(patience, honest.is_served()).await;
        let exact = exact.unwrap_or_else(|_| Err("the honest clients are not served".into()));
        if let Err(text) = exact {
            wrong.push(format!("{endpoint} after {}: {text}", case.title));
            return;
        }
        if wrong.len() > 20 {
            return;
        }
    }
    honest.end().await;
    let after = broker.metrics();
    let count = |name: &str, got: u64, wanted: u64, wrong: &mut Vec<String>| {
        if got != wanted {
            wrong.push(format!("{endpoint}: {name} is {got} instead of {wanted}"));
        }
    };
    let opened = after.connections_opened - before.connections_opened;
    count("connections_opened", opened, welcomed + 2, wrong);
    let closed = after.connections_closed - before.connections_closed;
    count("connections_closed", closed, opened, wrong);
    let told = after.protocol_errors - before.protocol_errors;
    count("protocol_errors", told, violations, wrong);
    count("panics", after.panics, 0, wrong);
}

/// What one case did.
struct Told {
    welcomed: bool,
    wrong: Option<String>,
}

async fn one(case: &Case, endpoint: &Endpoint, patience: Duration, honest: &mut Honest) -> Told {
    let mut wire = Wire::connect(endpoint).await;
    let mut told = Told {
        welcomed: false,
        wrong: None,
    };
    match tokio::time::timeout(patience, played(case, &mut wire, honest)).await {
        Ok(Ok(())) => {}
        Ok(Err(text)) => told.wrong = Some(text),
        Err(_) => told.wrong = Some(format!("no end within {patience:?}; so far {:?}", wire.queue)),
    }
    told.welcomed = wire.peer.is_some();
    let peer = wire.peer;
    drop(wire);
    if let Some(peer) = peer {
        let gone = tokio::time::timeout(patience, honest.until_gone(peer)).await;
        if !matches!(gone, Ok(Ok(()))) {
            told.wrong
                .get_or_insert_with(|| format!("peer {peer} is never gone"));
        }
        let ended = tokio::time::timeout(patience, honest.calls_ended());
        let ended = ended
            .await
            .unwrap_or_else(|_| Err("a call of the case has no end".into()));
        told.wrong = told.wrong.or_else(|| ended.err());
    }
    told
}

async fn played(case: &Case, wire: &mut Wire, honest: &mut Honest) -> Result<(), String> {
    let mut ticket = 0;
    match case.state {
        State::Fresh => {}
        State::Preface => wire.send(&actix_ipc::message::handshake::PREFACE).await,
        State::Ready => wire.greet().await?,
        State::Called(flags) => {
            wire.greet().await?;
            ticket = honest.call_case(wire, flags).await?;
        }
        State::Calling(flags) => {
            wire.greet().await?;
            honest.be_called(wire, flags).await?;
        }
    }
    wire.send(&case.bytes(ticket)).await;
    if case.ends_sending {
        let _ = wire.stream.shutdown_write();
    }
    let expected = &case.expected;
    let got = match &expected.end {
        End::Closed => {
            let rest = wire.rest().await?;
            if wire.received == 0 || wire.peer.is_some() {
                rest
            } else {
                return Err(format!("answered with {rest:?}"));
            }
        }
        End::Goodbye(reason, text) => {
            let mut rest = wire.rest().await?;
            let last = rest.pop().ok_or("the end without a goodbye")?;
            if last.kind != Kind::Goodbye || last.aux != *reason || !last.text().contains(text) {
                return Err(format!(
                    "{last:?} {:?} instead of goodbye {reason} ({text})",
                    last.text()
                ));
            }
            rest
        }
        End::Alive => {
            let got = wire.settle(expected.frames.len()).await?;
            if matches!(case.state, State::Calling(_)) {
                // Over TCP a client that closes looks like one that goes on reading.
                wire.send_frame(&Draft::new(Kind::Cancel, 5)).await;
            }
            got
        }
    };
    let got: Vec<&Got> = got.iter().filter(|got| got.kind != Kind::PublishCredit).collect();
    let fits = got.len() == expected.frames.len()
        && got
            .iter()
            .zip(&expected.frames)
            .all(|(got, wanted)| wanted.fits(got, ticket));
    if !fits {
        let texts: Vec<String> = got.iter().map(|got| got.text()).collect();
        return Err(format!("got {got:?} {texts:?} instead of {:?}", expected.frames));
    }
    match &expected.caller {
        Some(wanted) => honest.gets(wanted).await,
        None => Ok(()),
    }
}

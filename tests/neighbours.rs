//! A hostile process of the same user beside others: whatever it takes until it is refused, the others get what they ask for, and all
//! of it comes back when it is killed.
//!
//! The hostile process is this test program again, told by a variable what to do; it says `full` once it was refused. The broker is
//! the real one, in a process of its own. Times are not asserted here (`benches/neighbour.rs` measures them), counts are, exactly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use actix_ipc::client::blocking;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::Raw;
use std::io::Write;
use std::path::{Path, PathBuf};
use support::{Broker, Process, this_program};

const WHAT: &str = "HOSTILE_PROCESS_DOES";
const WHERE: &str = "HOSTILE_PROCESS_SOCKET";

/// Small budgets, so that a process reaches its share with the descriptors that it has.
const BUDGETS: &[(&str, &str)] = &[
    ("CONNECTIONS", "800"),
    ("HANDSHAKES", "160"),
    ("MEMORY_BYTES_TOTAL", "134217728"),
    ("RETAINED_BYTES_TOTAL", "4000000"),
];

fn broker() -> Broker {
    Broker::start_with(|command| {
        for (key, value) in BUDGETS {
            command.env(format!("IPC_BROKER_LIMITS__{key}"), value);
        }
    })
}

/// Starts the hostile process and waits until it has all that it can get.
fn hostile(what: &str, socket: &Path) -> Process {
    let mut command = this_program("the_hostile_process");
    let process = Process::spawn(command.env(WHAT, what).env(WHERE, socket));
    process.wait_for("full");
    process
}

/// What it does; without its variables this is no process of a test, and passes.
#[test]
fn the_hostile_process() {
    let (Ok(what), Ok(socket)) = (std::env::var(WHAT), std::env::var(WHERE)) else {
        return;
    };
    let socket = PathBuf::from(socket);
    match &*what {
        "connections" => connections(&socket),
        "handshakes" => handshakes(&socket),
        "frames" => frames(&socket),
        "names" => facts(&socket, Kind::Register),
        "subscriptions" => facts(&socket, Kind::Subscribe),
        "calls" => calls(&socket),
        "questions" => questions(&socket),
        "unread" => unread(&socket),
        "retained" => retained(&socket),
        other => panic!("{other}"),
    }
}

fn full(kept: impl Sized) {
    println!("full");
    std::io::stdout().flush().unwrap();
    // Keeps what it has until it is killed.
    loop {
        std::thread::park();
        std::hint::black_box(&kept);
    }
}

/// A connection, or the text of the goodbye.
fn try_connect(socket: &Path) -> Result<Raw, String> {
    let mut raw = Raw::open(socket);
    raw.greet("hostile");
    let first = raw.read();
    if first.kind == Kind::Welcome {
        Ok(raw)
    } else {
        Err(first.text())
    }
}

fn connections(socket: &Path) {
    let mut all = Vec::new();
    let text = loop {
        match try_connect(socket) {
            Ok(raw) => all.push(raw),
            Err(text) => break text,
        }
    };
    assert!(text.contains("limits.connections"), "{text}");
    assert_eq!(
        all.len(),
        99,
        "half of a quarter, less one: the two processes before it have next to nothing"
    );
    full(all);
}

fn handshakes(socket: &Path) {
    let mut all = Vec::new();
    loop {
        let mut raw = Raw::open(socket);
        // Half of a handshake. Who is refused may be closed before it has written.
        let _ = raw.stream.write_all(&PREFACE[..5]);
        all.push(raw);
        if all.len() == 40 {
            break;
        }
    }
    // The twenty places of a process alone are taken; those after them were told and closed.
    let (text, reason) = {
        let (reason, text) = all.last_mut().unwrap().goodbye();
        (text, reason)
    };
    assert!(text.contains("limits.handshakes"), "{reason:?} {text}");
    full(all);
}

fn frames(socket: &Path) {
    let payload = vec![0; 16 * 1024 * 1024];
    let frame = Draft::new(Kind::Publish, 0)
        .pair("h", "h")
        .payload(Encoding::RAW, &payload)
        .to_vec();
    let mut all = Vec::new();
    for _ in 0..8 {
        let Ok(mut raw) = try_connect(socket) else {
            continue;
        };
        let _ = raw.stream.write_all(&frame[..2 * 1024 * 1024]);
        all.push(raw);
    }
    full(all);
}

fn facts(socket: &Path, kind: Kind) {
    let mut raw = try_connect(socket).unwrap();
    let description = vec![b'd'; 50_000];
    for id in 10_u64.. {
        let name = format!("hostile.{id}.{}", "n".repeat(200));
        let got = raw.ask(&match kind {
            Kind::Register => Draft::new(kind, id)
                .key(name.as_bytes())
                .payload(Encoding::RAW, &description),
            _ => Draft::new(kind, id).pair(&name, &name),
        });
        if got.kind == Kind::Error {
            assert!(got.text().contains("limits.memory_bytes_total"), "{}", got.text());
            break;
        }
    }
    full(raw);
}

/// Calls that wait for an object that never comes, on many connections, until they are refused.
fn calls(socket: &Path) {
    let mut all = Vec::new();
    'all: loop {
        let Ok(mut raw) = try_connect(socket) else { break };
        for id in (1 << 32)..(1 << 32) + 4_000_u64 {
            raw.send(
                &Draft::new(Kind::Call, id)
                    .flags(Flags::WAIT)
                    .aux(3_600_000)
                    .pair("nobody", "m"),
            );
            if id % 100 == 0 {
                raw.ping();
                if raw
                    .kept()
                    .iter()
                    .any(|got| got.kind == Kind::Error && got.text().contains("memory_bytes_total"))
                {
                    all.push(raw);
                    break 'all;
                }
            }
        }
        all.push(raw);
    }
    full(all);
}

/// Questions in pieces that never end, until they are refused.
fn questions(socket: &Path) {
    let mut raw = try_connect(socket).unwrap();
    let payload = vec![b' '; 64_000];
    for id in 1_000.. {
        let first = Draft::new(Kind::Call, id)
            .flags(Flags::CONTINUED)
            .aux(3_600_000)
            .pair("sys.broker", "ping");
        raw.send(&first.payload(Encoding::JSON, &payload));
        let after = raw.id();
        raw.send(&Draft::new(Kind::Call, after).pair("sys.broker", "ping"));
        let got = raw.expect_one(&[Kind::Error, Kind::Reply]);
        if got.kind == Kind::Error {
            assert_eq!(got.error(), (ErrorCode::Overloaded, false), "{}", got.text());
            break;
        }
    }
    full(raw);
}

/// Subscribers that never read, and a publisher that fills their queues.
fn unread(socket: &Path) {
    let subscribers: Vec<Raw> = (0..20)
        .map_while(|_| try_connect(socket).ok())
        .map(|mut raw| {
            raw.subscribe("hostile", "flood");
            raw
        })
        .collect();
    let mut publisher = try_connect(socket).unwrap();
    let payload = vec![0; 60_000];
    for _ in 0..200 {
        publisher.publish("hostile", "flood", &payload);
    }
    full((subscribers, publisher));
}

fn retained(socket: &Path) {
    let mut raw = try_connect(socket).unwrap();
    let payload = vec![0; 50_000];
    for number in 0.. {
        let topic = format!("t{number}");
        let got = raw.publish_as("hostile", &topic, Flags::ACK.with(Flags::RETAIN), &payload);
        if got.kind == Kind::Error {
            assert!(
                got.text().contains("limits.retained_bytes_total"),
                "{}",
                got.text()
            );
            break;
        }
    }
    full(raw);
}

/// A question in two pieces is answered.
fn asks_in_pieces(raw: &mut Raw) {
    let id = raw.id();
    let first = Draft::new(Kind::Call, id)
        .flags(Flags::CONTINUED)
        .pair("sys.broker", "ping");
    raw.send(&first.payload(Encoding::JSON, &[b' '; 60_000]));
    let got = raw.ask(&Draft::new(Kind::CallPiece, id));
    assert_eq!(got.kind, Kind::Reply, "{}", got.text());
}

/// What all have of a budget.
fn held(raw: &mut Raw, budget: &str) -> u64 {
    let id = raw.id();
    let status = raw.ask(&Draft::new(Kind::Call, id).pair("sys.broker", "status"));
    status.json()["accounts"][budget]["held"].as_u64().unwrap()
}

fn all_held(raw: &mut Raw) -> [u64; 3] {
    ["connections", "handshakes", "memory_bytes_total"].map(|budget| held(raw, budget))
}

/// An honest process: everything that it asks for, it gets.
fn honest(socket: &Path) {
    let [mut worker, mut caller, mut subscriber] = [(); 3].map(|()| Raw::connect(socket));
    assert_eq!(worker.register("honest").kind, Kind::Done);
    let subscription = subscriber.subscribe("honest", "event");
    let payload = vec![7; 10_000];
    for round in 0..50_u8 {
        let id = caller.call("honest", Flags::NONE, &[round]);
        let call = worker.expect(Kind::Call);
        worker.reply(&call, &call.payload);
        assert_eq!(caller.answer(id).payload, [round]);
        let accepted = caller.publish("honest", "event", &payload);
        assert_eq!(
            (accepted.kind, accepted.aux),
            (Kind::Accepted, 1),
            "{}",
            accepted.text()
        );
        let event = subscriber.expect(Kind::Event);
        assert_eq!(
            (event.id, event.aux, event.payload.len()),
            (subscription, 0, 10_000)
        );
    }
    for number in 0..50 {
        assert_eq!(caller.register(&format!("honest.{number}")).kind, Kind::Done);
        subscriber.subscribe("honest", &format!("{number}"));
    }
    let retained = caller.publish_as("honest", "kept", Flags::ACK.with(Flags::RETAIN), &payload);
    assert_eq!(retained.kind, Kind::Accepted, "{}", retained.text());
    asks_in_pieces(&mut caller);
    // Nobody of it was disconnected meanwhile.
    [worker, caller, subscriber].iter_mut().for_each(Raw::ping);
}

fn beside(what: &str) {
    let broker = broker();
    let socket = broker.socket();
    let mut watcher = Raw::connect(&socket);
    // One connection, and what it is charged for itself.
    let before = [1, 0, 32 * 1024];
    assert_eq!(all_held(&mut watcher), before);
    let mut hostile = hostile(what, &socket);
    for _ in 0..2 {
        honest(&socket);
    }
    watcher.ping();
    hostile.kill();
    let back = (0..10_000).any(|_| all_held(&mut watcher) == before);
    assert!(
        back,
        "{:?} is held after {what}, {before:?} before",
        all_held(&mut watcher)
    );
    honest(&socket);
}

#[test]
fn beside_one_that_opens_all_connections_it_gets() {
    beside("connections");
}

#[test]
fn beside_one_that_leaves_handshakes_unfinished() {
    beside("handshakes");
}

#[test]
fn beside_one_that_leaves_frames_unfinished() {
    beside("frames");
}

#[test]
fn beside_one_that_registers_names_until_refused() {
    beside("names");
}

#[test]
fn beside_one_that_subscribes_until_refused() {
    beside("subscriptions");
}

#[test]
fn beside_one_that_leaves_calls_open_until_refused() {
    beside("calls");
}

#[test]
fn beside_one_that_leaves_questions_in_pieces_unfinished() {
    beside("questions");
}

#[test]
fn beside_one_that_does_not_read() {
    beside("unread");
}

#[test]
fn beside_one_that_retains_values_until_refused() {
    beside("retained");
}

/// Whether somebody gets a connection where programs connect; it is closed at once.
#[cfg(unix)]
fn connects(endpoint: &str) -> bool {
    let path = endpoint.strip_prefix("unix:").unwrap();
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

/// Whether somebody gets a connection where programs connect; it is closed at once.
#[cfg(not(unix))]
fn connects(endpoint: &str) -> bool {
    let name = endpoint.strip_prefix("pipe:").unwrap();
    let mut pipe = std::fs::OpenOptions::new();
    pipe.read(true)
        .write(true)
        .open(format!(r"\\.\pipe\{name}"))
        .is_ok()
}

#[test]
#[cfg_attr(
    windows,
    ignore = "nobody is next at a pipe: who asks for it most often gets it, and its access list lets only this user's programs ask"
)]
fn a_connect_flood_refuses_nobody_else() {
    let broker = broker();
    let (socket, endpoint) = (broker.socket(), broker.endpoint().to_owned());
    std::thread::scope(|scope| {
        let (until_dropped, goes_on) = std::sync::mpsc::channel::<()>();
        let flood = scope.spawn(|| {
            let (mut count, goes_on) = (0_u32, goes_on);
            while goes_on.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                count += u32::from(connects(&endpoint));
            }
            count
        });
        // Its end is that of the flood, also when something here fails.
        let flooding = until_dropped;
        for _ in 0..5 {
            honest(&socket);
            let client = blocking::Client::connect_to(endpoint.parse().unwrap());
            drop(client.unwrap());
        }
        drop(flooding);
        assert!(flood.join().unwrap() > 0);
    });
}

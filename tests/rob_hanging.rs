//! `rob` at a broker that lets clients in and then says nothing: every command ends by its time limit, and at the first ctrl+c.
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
#![cfg(all(feature = "cli", unix))]

#[path = "support/mod.rs"]
mod support;

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Draft, Encoding, Epoch, Kind, PROTOCOL_VERSION, Welcome};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use support::{Process, rob_command};

/// What hangs. Whoever asks it for something is told here.
struct Hanging {
    endpoint: String,
    asked: Receiver<()>,
    folder: tempfile::TempDir,
}

impl Hanging {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (asks, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let asks = asks.clone();
                std::thread::spawn(move || serve(stream, &asks));
            }
        });
        Self {
            endpoint: format!("unix:{}", path.display()),
            asked,
            folder,
        }
    }

    fn rob(&self, line: &str) -> Command {
        let mut command = rob_command();
        command.env("IPC_BROKER_ADDR", &self.endpoint);
        command
            .current_dir(self.folder.path())
            .args(line.split_whitespace());
        command
    }
}

/// Welcomes, and listens to what comes.
fn serve(mut stream: UnixStream, asks: &Sender<()>) {
    let mut preface = [0; 8];
    let mut decoder = Decoder::new(4096);
    let mut byte = [0; 1];
    if stream.read_exact(&mut preface).is_err() || preface != PREFACE {
        return;
    }
    loop {
        match stream.read(&mut byte) {
            Ok(1) if decoder.decode(&byte).unwrap().is_empty() => {}
            Ok(1) => break,
            _ => return,
        }
    }
    let welcome = Welcome {
        epoch: Epoch([7; 16]),
        frame_bytes: 1 << 20,
        message_bytes: 4 << 20,
        publish_window: 1 << 20,
        stream_window: 64 << 10,
        open_calls: 4_096,
        names: 100,
        subscriptions: 100,
        default_deadline_ms: 30_000,
        max_deadline_ms: 3_600_000,
        attachments: 0,
        ring_bytes: 0,
        send_window: 0,
        region_bytes: 0,
    };
    let frame = Draft::new(Kind::Welcome, 5)
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &welcome.encode())
        .to_vec();
    let mut buffer = vec![0; 1 << 16];
    if stream.write_all(&frame).is_ok() {
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
            let _ = asks.send(());
        }
    }
}

/// Every command that asks a broker for something, but those that have tests of their own.
const COMMANDS: [&str; 14] = [
    "call a b",
    "send a b",
    "listen a b",
    "list",
    "describe a",
    "wait a",
    "ping",
    "ping a",
    "status",
    "services",
    "watch --names",
    "monitor",
    "record -",
    "top --json --count 1",
];

#[test]
fn a_time_limit_ends_every_command() {
    let hanging = Hanging::start();
    // At the same time: the limit is longer than a slow machine takes to connect them all.
    let running = COMMANDS.map(|command| {
        let process = Process::spawn(&mut hanging.rob(&format!("{command} --timeout 4")));
        (command, process)
    });
    for (command, process) in running {
        let ended = process.end();
        assert_eq!(ended.code(), 4, "{command}: {ended:#?}");
        assert!(!ended.stderr.is_empty(), "{command}: {ended:#?}");
    }
}

#[test]
fn one_signal_ends_every_command() {
    for command in COMMANDS.iter().chain(&["serve a --exec cat", "top --json"]) {
        let hanging = Hanging::start();
        let process = Process::spawn(&mut hanging.rob(command));
        hanging.asked.recv().unwrap();
        process.signal(Signal::INT);
        let ended = process.end();
        let by_signal = ended.status.signal() == Some(2);
        assert!(
            by_signal || ended.status.code() == Some(130),
            "{command}: {ended:#?}"
        );
    }
}

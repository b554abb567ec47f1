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
#![cfg(feature = "cli")]

#[path = "support/false_broker.rs"]
mod false_broker;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::message::Decoder;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::transport::{Listener, Stream};
use false_broker::{welcome, welcome_frame};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, channel};
use support::{Process, rob_command};
use tokio::task::{LocalSet, spawn_local};

/// What hangs. Whoever asks it for something is told here.
struct Hanging {
    endpoint: String,
    asked: Receiver<()>,
    folder: tempfile::TempDir,
}

impl Hanging {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = support::endpoint_in(folder.path());
        let (asks, asked) = channel();
        let (bound, is_bound) = channel();
        let place = endpoint.parse().unwrap();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async move {
                let mut listener = Listener::bind(&place).unwrap();
                bound.send(()).unwrap();
                while let Ok(accepted) = poll_fn(|cx| listener.poll_accept(cx)).await {
                    let stream = accepted.socket.register().unwrap();
                    spawn_local(serve(stream, asks.clone()));
                }
            });
        });
        is_bound.recv().unwrap();
        Self {
            endpoint,
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

/// Whether ctrl+c ended it: by the signal, or in order with the code that a shell reports for it.
fn interrupted(status: ExitStatus) -> bool {
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(2) {
        return true;
    }
    status.code() == Some(130)
}

/// Waits for bytes; none when it has ended.
async fn read(stream: &Stream, buffer: &mut [u8]) -> usize {
    loop {
        if poll_fn(|cx| stream.poll_read_ready(cx)).await.is_err() {
            return 0;
        }
        match stream.try_read(buffer, &mut Vec::new()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.unwrap_or_default(),
        }
    }
}

/// Welcomes, and listens to what comes.
async fn serve(stream: Stream, asks: Sender<()>) {
    let mut decoder = Decoder::new(4096);
    let mut buffer = vec![0; 1 << 16];
    for expected in PREFACE {
        if read(&stream, &mut buffer[..1]).await != 1 || buffer[0] != expected {
            return;
        }
    }
    loop {
        if read(&stream, &mut buffer[..1]).await == 0 {
            return;
        }
        if !decoder.decode(&buffer[..1]).unwrap().is_empty() {
            break;
        }
    }
    let frame = welcome_frame(&welcome());
    if poll_fn(|cx| stream.poll_write_ready(cx)).await.is_err() {
        return;
    }
    if stream.try_write(&[IoSlice::new(&frame)], &[]).ok() != Some(frame.len()) {
        return;
    }
    while read(&stream, &mut buffer).await > 0 {
        let _ = asks.send(());
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
        hanging.asked.recv_timeout(support::PATIENCE).expect("it asks");
        signals::interrupt(&process);
        let ended = process.end();
        assert!(interrupted(ended.status), "{command}: {ended:#?}");
    }
}

/// Who starts a program in a process group of its own has it ignore ctrl+c.
#[test]
#[cfg(windows)]
#[ignore = "wine types ctrl+c to processes of the typer's own group alone; for Windows itself"]
fn ctrl_c_is_meant_also_where_it_was_ignored() {
    use std::os::windows::process::CommandExt;
    use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW};
    let hanging = Hanging::start();
    let mut command = hanging.rob("list");
    command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
    let process = Process::spawn_here(command.stdout(std::process::Stdio::piped()));
    hanging.asked.recv_timeout(support::PATIENCE).expect("it asks");
    signals::interrupt(&process);
    assert_eq!(process.end().code(), 130);
}

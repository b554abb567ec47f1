//! A log that nobody reads, that nobody can read, and a full disk: the broker serves, and counts what is lost.
//!
//! Owns the daemon's standard error and output. The queue in front of them is tested in `terminal`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(any(target_os = "linux", windows))]

#[path = "support/full.rs"]
mod full;
#[path = "support/signals.rs"]
mod signals;
mod support;

use actix_ipc::client::{IpcClient, Methods};
use futures::executor::block_on;
use futures::future::join_all;
use serde_json::Value;
use std::io::{PipeReader, PipeWriter};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is shared by many.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipe that takes nothing more, and its reading end.
#[cfg(unix)]
fn full_pipe() -> (PipeWriter, PipeReader) {
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    // As a program starts with it: it blocks.
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (writer, reader)
}

/// The same; the first lines of the log fill it.
#[cfg(not(unix))]
fn full_pipe() -> (PipeWriter, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (writer, reader)
}

fn dead_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

struct Daemon {
    child: Child,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(output: Stdio, error: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = support::endpoint_in(folder.path());
        let mut command: Command = support::broker_command();
        command.args(["--log", "trace", "--listen", &endpoint]);
        support::with_console(&mut command);
        let child = command.stdout(output).stderr(error).spawn().unwrap();
        let daemon = Self {
            child,
            endpoint,
            folder,
        };
        // There is nothing to read that would say when it listens.
        support::until("it listens", || daemon.connect().is_some());
        daemon
    }

    fn connect(&self) -> Option<IpcClient> {
        block_on(IpcClient::connect_to(self.endpoint.parse().unwrap())).ok()
    }
}

fn lost_logs(client: &IpcClient) -> u64 {
    let status: Value = block_on(client.remote_call("sys.broker", "status", ())).unwrap();
    status["metrics"]["lost_logs"]
        .as_u64()
        .expect("the counter is shown")
}

/// Calls and events go on while lines are lost; then it ends in order.
fn serves_on(mut daemon: Daemon) {
    let (callee, caller) = (daemon.connect().unwrap(), daemon.connect().unwrap());
    let twice = Methods::new().method("twice", |number: u64, _| async move { Ok(2 * number) });
    let registration = block_on(callee.register("o", twice).into_future()).unwrap();
    let mut heard = block_on(caller.subscribe("t", "e").into_future()).unwrap();
    let limit = Instant::now() + PATIENCE;
    let mut rounds = 0;
    while lost_logs(&caller) == 0 || rounds < 10 {
        assert!(Instant::now() < limit, "no line was lost in {rounds} rounds");
        // Whoever comes and goes is logged, and each call.
        daemon.connect().unwrap();
        let calls = (0..200).map(|_| caller.remote_call::<_, u64>("o", "twice", rounds));
        for answer in block_on(join_all(calls)) {
            assert_eq!(answer.unwrap(), 2 * rounds);
        }
        block_on(callee.publish("t", "e", &rounds).into_future()).unwrap();
        let event = block_on(heard.next()).unwrap();
        assert_eq!(event.payload.decode::<u64>().unwrap(), rounds);
        rounds += 1;
    }
    drop((registration, heard, callee, caller));
    signals::terminate_child(&daemon.child);
    let status = daemon.child.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_broker_serves_whatever_becomes_of_its_log() {
    let (full, _unread) = full_pipe();
    for error in [full::full().into(), dead_pipe(), full.into()] {
        serves_on(Daemon::start(Stdio::null(), error));
    }
}

#[test]
fn nor_does_it_wait_for_a_reader_of_its_output() {
    let (full, _unread) = full_pipe();
    let both = full.try_clone().unwrap();
    serves_on(Daemon::start(full.into(), both.into()));
}

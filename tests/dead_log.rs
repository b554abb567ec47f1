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
#![cfg(target_os = "linux")]

#[path = "support/raw.rs"]
mod raw;
mod support;

use actix_ipc::message::{Draft, Kind};
use raw::Raw;
use rustix::process::Signal;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is shared by many.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pipe that takes nothing more, and its reading end.
fn full_pipe() -> (OwnedFd, std::io::PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    // As a program starts with it: it blocks.
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (writer.into(), reader)
}

fn dead_pipe() -> OwnedFd {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full_disk() -> OwnedFd {
    std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(path: &Path, output: Stdio, error: Stdio) -> Daemon {
    let mut command: Command = support::broker_command();
    command
        .args(["--log", "trace", "--listen"])
        .arg(format!("unix:{}", path.display()));
    let daemon = Daemon(command.stdout(output).stderr(error).spawn().unwrap());
    let limit = Instant::now() + PATIENCE;
    // There is nothing to read that would say when it listens.
    while std::os::unix::net::UnixStream::connect(path).is_err() {
        assert!(Instant::now() < limit, "it does not listen");
        std::thread::yield_now();
    }
    daemon
}

fn lost_logs(raw: &mut Raw) -> u64 {
    let id = raw.id();
    let status = raw
        .ask(&Draft::new(Kind::Call, id).pair("sys.broker", "status"))
        .json();
    let counters = serde_json::to_string(&status).unwrap();
    let (_, rest) = counters
        .split_once("\"lost_logs\":")
        .expect("the counter is shown");
    rest.split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Calls and events go on while lines are lost; then it ends in order.
fn serves_on(mut daemon: Daemon, path: &Path) {
    let (mut callee, mut caller) = (Raw::connect(path), Raw::connect(path));
    callee.register("o");
    let topic = caller.subscribe("t", "e");
    let limit = Instant::now() + PATIENCE;
    let mut rounds = 0;
    while lost_logs(&mut caller) == 0 || rounds < 10 {
        assert!(Instant::now() < limit, "no line was lost");
        for _ in 0..50 {
            // Whoever comes and goes is logged.
            Raw::connect(path);
        }
        let call = caller.call("o", actix_ipc::message::Flags::NONE, b"x");
        let got = callee.expect(Kind::Call);
        callee.reply(&got, b"y");
        assert_eq!(caller.answer(call).payload, b"y");
        callee.publish("t", "e", b"v");
        let event = caller.expect(Kind::Event);
        assert_eq!((event.id, &event.payload[..]), (topic, &b"v"[..]));
        rounds += 1;
    }
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let status = daemon.0.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_broker_serves_whatever_becomes_of_its_log() {
    let (full, _unread) = full_pipe();
    for (what, error) in [("disk", full_disk()), ("dead", dead_pipe()), ("full", full)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{what}.sock"));
        serves_on(start(&path, Stdio::null(), error.into()), &path);
    }
}

#[test]
fn nor_does_it_wait_for_a_reader_of_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let (full, _unread) = full_pipe();
    let both = full.try_clone().unwrap();
    serves_on(start(&path, full.into(), both.into()), &path);
}

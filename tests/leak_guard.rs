//! The leak guard fires: whatever is left behind on purpose is told, and what is given back is not.
//!
//! Owns one leak of each kind that `support/guard.rs` looks for. That nothing leaks is what every other test of a broker shows,
//! because their harnesses ask the guard.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/guard.rs"]
mod guard;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;
mod support;

use actix_ipc::client::Methods;
use actix_ipc::client::blocking::Client;
use actix_ipc::config::Limits;
use actix_ipc::transport::Endpoint;
use guard::{AsBefore, PATIENCE, left, open_ends, socket_left, wait};
use raw::Raw;
use running::Running;
use std::io::{PipeWriter, Write};
use std::time::Duration;
use support::{Process, this_program};

/// What the guard says of leaks that do not end: asked once, for there is nothing to wait for.
fn told(left: impl Fn() -> Option<String>) -> String {
    wait(Duration::ZERO, left).expect_err("the leak is told")
}

#[test]
fn a_charge_that_is_not_given_back_is_told() {
    let broker = Running::start(Limits::default());
    let handle = broker.handle.clone();
    let mut client = broker.connect();
    client.ping();
    let text = told(|| left(&handle));
    assert!(text.contains("charges"), "{text}");
    assert!(text.contains("connections: 1"), "{text}");
    assert!(text.contains("charged_connections: 1"), "{text}");
    drop(client);
    broker.stop();
    wait(PATIENCE, || left(&handle)).unwrap();
}

#[test]
fn a_socket_left_on_disk_or_open_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    assert_eq!(socket_left(&path), None);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let file = format!("the file {}", path.display());
    assert_eq!(told(|| socket_left(&path)), file);
    let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(open_ends(&path), 2, "the client's end is not counted");
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    assert!(told(|| socket_left(&path)).contains("1 open sockets"));
    drop((client, accepted));
    assert_eq!(socket_left(&path), None);
    let lock = folder.path().join("b.sock.lock");
    std::fs::write(&lock, "1").unwrap();
    assert!(told(|| socket_left(&path)).contains("b.sock.lock"));
}

/// A broker process whose client stays has a descriptor more, until the client goes.
#[test]
fn a_descriptor_that_a_broker_process_keeps_is_told() {
    let broker = support::Broker::start();
    let guard = AsBefore::of(broker.process.id());
    let mut client = Raw::connect(&broker.socket());
    client.ping();
    let text = told(|| guard.left());
    assert!(text.contains("descriptors") && text.contains("socket:"), "{text}");
    drop(client);
    // Waits, and fails unless everything has come back.
    drop(guard);
}

const ROLE: &str = "LEAK_GUARD_ROLE";

/// This test's program again, as the child that leaks what it is asked to.
struct Leaking(Process, PipeWriter);

impl Leaking {
    fn start() -> Self {
        let (words, input) = std::io::pipe().unwrap();
        let mut command = this_program("leaks_what_it_is_asked_to");
        let process = Process::spawn(command.env(ROLE, "child").stdin(words));
        process.wait_for("ready");
        Self(process, input)
    }

    fn leak(&mut self, what: &str) {
        writeln!(self.1, "{what}").unwrap();
        self.0.wait_for("ready");
    }
}

/// Does nothing by itself: it is the child of the tests below.
#[test]
fn leaks_what_it_is_asked_to() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let mut kept = Vec::new();
    println!("ready");
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "descriptor" => kept.push(std::fs::File::open("/dev/null").unwrap()),
            "thread" => drop(std::thread::spawn(std::thread::park)),
            "close" => kept.clear(),
            endpoint => visit(&endpoint.parse().unwrap()),
        }
        println!("ready");
    }
}

/// A client comes, uses everything and goes, in order and by being dropped.
fn visit(endpoint: &Endpoint) {
    for close in [true, false] {
        let client = Client::connect_to(endpoint.clone()).unwrap();
        let add = Methods::new().method("add", |(a, b): (i32, i32), _| async move { Ok(a + b) });
        let registered = client.register("math", add).unwrap();
        assert_eq!(client.call::<_, i32>("math", "add", (1, 2)).unwrap(), 3);
        let mut events = client.subscribe("o", "e").unwrap();
        client.publish("o", "e", &7).unwrap();
        assert_eq!(events.next().unwrap().decode::<u8>().unwrap(), 7);
        drop((events, registered));
        if close {
            client.close().unwrap();
        }
    }
}

#[test]
fn clients_leave_nothing_in_their_own_process_nor_in_the_brokers() {
    let broker = support::Broker::start();
    let mut child = Leaking::start();
    // The first brings the threads that stay.
    child.leak(broker.endpoint());
    let guard = AsBefore::of(child.0.id());
    for _ in 0..10 {
        child.leak(broker.endpoint());
    }
    // Both guards wait: this one, and the broker's.
    drop(guard);
}

#[test]
fn a_descriptor_and_a_thread_of_a_process_are_told() {
    for (what, named) in [("descriptor", "/dev/null"), ("thread", "threads")] {
        let mut child = Leaking::start();
        let guard = AsBefore::of(child.0.id());
        assert_eq!(guard.left(), None);
        child.leak(what);
        let text = told(|| guard.left());
        assert!(text.contains(named), "{text}");
        // A guard that is dropped fails the test by itself; one of a process that has ended does not.
        drop(child);
        drop(guard);
    }
}

#[test]
fn a_guard_that_is_dropped_over_a_leak_fails_the_test() {
    let mut child = Leaking::start();
    let guard = AsBefore::of(child.0.id()).patience(Duration::ZERO);
    child.leak("descriptor");
    let fails = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(guard)));
    let text = fails.expect_err("it fails").downcast::<String>().unwrap();
    assert!(
        text.contains("the process leaks") && text.contains("/dev/null"),
        "{text}"
    );
    let guard = AsBefore::of(child.0.id());
    child.leak("close");
    drop(guard);
}

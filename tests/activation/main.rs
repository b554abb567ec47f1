//! Services that start when somebody calls: the real daemon, with real processes as services.
//!
//! The service is this test program itself in another role, told by variables of its description, so that what it does is known. Each start
//! leaves a line in a file; that is how starts are counted. A systemctl of our own is named by the settings; no real one is asked.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "what is not as expected fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod descriptions;
mod failures;
mod left;
mod old_clients;
mod processes;
mod scene;
mod shown;
mod starts;
mod units;

use actix_ipc::client::{Methods, blocking};
use scene::{ROLE, STARTS, end_with_parent};
use std::fs;
use std::io::Write;

/// Does nothing by itself: it is the service of the tests below.
#[test]
fn as_the_service() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut starts = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(std::env::var(STARTS).unwrap())
        .unwrap();
    writeln!(starts, "{}", std::process::id()).unwrap();
    match role.as_str() {
        "fail" => std::process::exit(7),
        "hang" => end_with_parent(),
        "stay" => {}
        _ => drop(std::thread::spawn(|| end_with_parent())),
    }
    assert!(std::env::var("IPC_BROKER_LISTEN").is_err());
    let client = blocking::Client::connect().unwrap();
    let noted = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let methods = Methods::new()
        .method("pid", |(): (), _| async { Ok(std::process::id()) })
        .method("variable", |(name,): (String,), _| async move {
            Ok(std::env::var(name).ok())
        })
        .method("open_files", |(): (), _| async {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            Ok(limit.current)
        })
        .method("note", {
            let noted = noted.clone();
            move |(text,): (String,), _| {
                noted.lock().unwrap().push(text);
                async { Ok(()) }
            }
        })
        .method("noted", move |(): (), _| {
            let noted = noted.lock().unwrap().clone();
            async { Ok(noted) }
        });
    let registration = client.register("math", methods);
    assert!(registration.is_ok(), "{registration:?}");
    eprintln!("serving \u{1b}[31m");
    if role == "crash" {
        std::process::exit(9);
    }
    let _ = client.serve();
}

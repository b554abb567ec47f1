//! What a console of Windows asks `ipc-broker.exe` for: ctrl+c and ctrl+break drain it.
//!
//! Each broker has a console of its own, without a window. Who presses the keys there is another process, this test program in another role, because a
//! process that joins a console leaves its own.
#![cfg(all(windows, feature = "cli"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part; keys are pressed by the system's calls"
)]

#[path = "support/mod.rs"]
mod support;

use actix_ipc::client::blocking;
use std::os::windows::process::CommandExt;
use std::process::Command;
use support::{Broker, endpoint_in, run};
use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_BREAK_EVENT, CTRL_C_EVENT, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, DETACHED_PROCESS};

/// Event, process whose console it is, and group.
const PRESS: &str = "ACTIX_IPC_TEST_PRESS";

/// Does nothing by itself: it presses the keys for the tests below.
#[test]
fn as_whoever_presses() {
    let Ok(what) = std::env::var(PRESS) else { return };
    let mut words = what.split(' ').map(|word| word.parse().unwrap());
    let [event, console, group] = [(); 3].map(|()| words.next().unwrap());
    let done = |what: &str, result: i32| assert_ne!(result, 0, "{what}: {}", std::io::Error::last_os_error());
    // SAFETY: the calls take plain values, and a function that may run on any thread at any time.
    unsafe {
        // Without a group the event is for all who are at the console, and this process is one of them.
        done("handle", SetConsoleCtrlHandler(Some(nothing_happens), 1));
        done("attach", AttachConsole(console));
        done("press", GenerateConsoleCtrlEvent(event, group));
    }
}

unsafe extern "system" fn nothing_happens(_: u32) -> i32 {
    1
}

fn press(event: u32, console: u32, group: u32) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "as_whoever_presses", "--nocapture"])
        .env(PRESS, format!("{event} {console} {group}"))
        .creation_flags(DETACHED_PROCESS);
    run(&mut command).success();
}

fn drains(flags: u32, signal: &str, press: impl FnOnce(u32)) {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = endpoint_in(folder.path());
    let broker = Broker::start_at(folder, &endpoint, |command| {
        command
            .args(["--log", "info"])
            .creation_flags(CREATE_NO_WINDOW | flags);
    });
    let client = blocking::Client::connect_to(endpoint.parse().unwrap()).unwrap();
    press(broker.process.id());
    broker
        .process
        .wait_for_error_line(&format!("{signal} received: draining"));
    drop(client);
    let Broker { process, .. } = broker;
    let ended = process.end();
    assert_eq!(ended.code(), 0, "{ended:#?}");
}

#[test]
#[ignore = "wine's GenerateConsoleCtrlEvent sends no ctrl+break: ERROR_INVALID_HANDLE, also without a group"]
fn ctrl_break_drains_the_broker() {
    drains(CREATE_NEW_PROCESS_GROUP, "SIGTERM", |pid| {
        press(CTRL_BREAK_EVENT, pid, pid);
    });
}

#[test]
fn ctrl_c_drains_the_broker() {
    // It cannot be meant for one group: who begins a group ignores it.
    drains(0, "SIGINT", |pid| press(CTRL_C_EVENT, pid, 0));
}

//! A member of a bus: a process that attaches, connects, and says what it learns.
//!
//! Owns the words of both directions. Lines in: `leave`, `ping`, `fork`, `end`. Lines out begin with `= `.

use actix_ipc::IpcClient;
#[cfg(unix)]
use actix_ipc::bus::host::{AttachError, is_forked};
use actix_ipc::bus::host::{AttachOptions, Attached, Host, attach};
use actix_ipc::client::ConnectionEvent;
use actix_ipc::client::blocking::block_on;
use std::io::BufRead;
use std::time::{Duration, Instant};

pub const BUS: &str = "ACTIX_IPC_TEST_BUS";
pub const MAY_HOST: &str = "ACTIX_IPC_TEST_MAY_HOST";
pub const LIMIT: &str = "ACTIX_IPC_TEST_LIMIT_MS";
/// Wait for a line before attaching.
pub const READY: &str = "ACTIX_IPC_TEST_READY";

fn say(text: impl std::fmt::Display) {
    // In one write, because threads say things, and past the lock of the standard library, which a forked child may find taken.
    let line = format!("= {text}\n");
    #[cfg(unix)]
    assert_eq!(
        rustix::io::write(std::io::stderr(), line.as_bytes()),
        Ok(line.len())
    );
    #[cfg(not(unix))]
    std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes()).unwrap();
}

fn name(host: Host) -> String {
    match host {
        Host::Nobody => "nobody".to_owned(),
        Host::Here => "here".to_owned(),
        Host::Forked => "forked".to_owned(),
        Host::Elsewhere { pid } => pid.map_or_else(|| "elsewhere".to_owned(), |pid| format!("at {pid}")),
    }
}

fn tell_hosts(attached: &Attached) {
    let mut hosts = attached.hosts();
    std::thread::spawn(move || {
        loop {
            let host = block_on(hosts.next()).unwrap();
            say(format_args!("host {}", name(host)));
        }
    });
}

fn tell_connections(client: &IpcClient) {
    let mut events = client.connection_events();
    std::thread::spawn(move || {
        while let Some(event) = block_on(events.next()).unwrap() {
            match event {
                ConnectionEvent::Lost { reason } => say(format_args!("lost {reason}")),
                ConnectionEvent::Reconnected { .. } => say("up"),
                _ => {}
            }
        }
    });
}

pub fn run() {
    let Ok(bus) = std::env::var(BUS) else {
        return;
    };
    let mut lines = std::io::stdin().lock().lines().map(Result::unwrap);
    if std::env::var_os(READY).is_some() {
        say("ready");
        lines.next();
    }
    let limit = std::env::var(LIMIT).map_or(20_000, |text| text.parse().unwrap());
    let options = AttachOptions {
        may_host: std::env::var_os(MAY_HOST).is_none_or(|value| value == "1"),
        until: Some(Instant::now() + Duration::from_millis(limit)),
        ..AttachOptions::default()
    };
    let attached = match block_on(attach(&bus, options)).unwrap() {
        Ok(attached) => attached,
        Err(error) => return say(format_args!("error {error}")),
    };
    say(format_args!("host {}", name(attached.host())));
    tell_hosts(&attached);
    let client = IpcClient::builder()
        .endpoint(attached.endpoint())
        .prompt_reconnect(true)
        .connect_wait(Duration::from_millis(limit));
    let client = match block_on(client).unwrap() {
        Ok(client) => client,
        Err(error) => return say(format_args!("no connection {error}")),
    };
    attached.look_after(&client);
    tell_connections(&client);
    say("up");
    for line in lines {
        match line.as_str() {
            "ping" => match block_on(client.ping()).unwrap() {
                Ok(_) => say("pong"),
                Err(error) => say(format_args!("no pong {error}")),
            },
            "host" => say(format_args!("is {}", name(attached.host()))),
            "stopped" => say(format_args!("stopped {:?}", attached.stopped_host())),
            #[cfg(unix)]
            "fork" => {
                let second = block_on(attach(&bus, AttachOptions::default())).unwrap().unwrap();
                fork(&attached, second);
            }
            #[cfg(unix)]
            "clone" => clone(),
            "twice" => {
                let second = block_on(attach(&bus, AttachOptions::default())).unwrap().unwrap();
                let both = (name(attached.host()), name(second.host()));
                drop(second);
                say(format_args!("twice {both:?}"));
            }
            "leave" => {
                block_on(client.close()).unwrap();
                block_on(attached.leave()).unwrap().unwrap();
                return say("left");
            }
            "end" => return say("ends"),
            other => panic!("{other:?}"),
        }
    }
}

/// Leaves a child behind that lives until it is killed.
#[cfg(unix)]
#[allow(unsafe_code, reason = "there is no safe fork")]
fn fork(attached: &Attached, second: Attached) {
    // SAFETY: the child does nothing that needs another thread of this process: it asks two questions and writes and waits with plain
    // system calls.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let answer = block_on(attach("any", AttachOptions::default())).unwrap();
        let mut hosts = attached.hosts();
        let told = [attached.host(), block_on(hosts.next()).unwrap()] == [Host::Forked; 2];
        let left = block_on(second.leave()).unwrap();
        let refused = matches!(
            (answer, left),
            (Err(AttachError::Forked), Err(AttachError::Forked))
        );
        say(format_args!(
            "child {} {} {}",
            std::process::id(),
            is_forked(),
            refused && told && attached.stopped_host().is_none(),
        ));
        loop {
            std::thread::park();
        }
    }
    assert!(pid > 0);
}

/// The same past the C library, so that nothing of ours runs in the child: it keeps every descriptor.
#[cfg(unix)]
#[allow(unsafe_code, reason = "there is no safe fork")]
fn clone() {
    // SAFETY: without flags but the signal for the end and without a stack of its own this is a fork. The child allocates nothing and takes
    // no lock: it waits with a plain system call until it is killed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid == 0 {
        loop {
            // SAFETY: `pause` takes nothing and touches no memory.
            unsafe { libc::pause() };
        }
    }
    assert!(pid > 0);
    say(format_args!("clone {pid}"));
}

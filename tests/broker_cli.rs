//! The daemon as its operator meets it: what it prints, how it ends, what it says when it cannot start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(feature = "cli")]

#[path = "support/signals.rs"]
mod signals;
mod support;

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Hello, Kind, PROTOCOL_VERSION, Payload};
use futures::executor::block_on;
use std::io::{Read, Write};
use std::path::PathBuf;
use support::{Broker, Process, broker_command, run, until};

const CANNOT_LISTEN: i32 = 73;
const SETTINGS: i32 = 78;

/// The file of a Unix socket, or of a pipe, of this endpoint.
fn file_of(endpoint: &str) -> PathBuf {
    match endpoint.strip_prefix("pipe:") {
        Some(name) => format!(r"\\.\pipe\{name}").into(),
        None => endpoint.strip_prefix("unix:").unwrap().into(),
    }
}

#[cfg(unix)]
use std::os::unix::net::UnixStream as Connection;
#[cfg(not(unix))]
type Connection = std::fs::File;

/// A connection that has said nothing.
#[cfg(unix)]
fn connect(endpoint: &str) -> std::io::Result<Connection> {
    Connection::connect(file_of(endpoint))
}

#[cfg(not(unix))]
fn connect(endpoint: &str) -> std::io::Result<Connection> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file_of(endpoint))
}

/// What the daemon calls that which [`signals::terminate`] does.
const STOP: &str = if cfg!(windows) {
    "request to stop"
} else {
    "SIGTERM"
};

#[test]
fn it_says_where_it_listens_and_ends_in_order() {
    for (ask, signal) in [
        (signals::terminate as fn(&Process), STOP),
        (
            signals::interrupt,
            if cfg!(windows) { "ctrl+c" } else { "SIGINT" },
        ),
        #[cfg(windows)]
        (signals::close_console, "end of the console"),
    ] {
        let broker = Broker::start();
        let endpoint = broker.endpoint().to_owned();
        connect(&endpoint).unwrap();
        let client = block_on(actix_ipc::IpcClient::connect_to(endpoint.parse().unwrap())).unwrap();
        ask(&broker.process);
        broker
            .process
            .wait_for_error_line(&format!("{signal} received: draining"));
        drop(client);
        let Broker { process, .. } = broker;
        let ended = process.end();
        assert_eq!(ended.code(), 0, "{ended:#?}");
        assert!(!file_of(&endpoint).exists(), "the socket is removed at the end");
    }
}

#[test]
fn every_endpoint_has_its_line_and_port_0_is_resolved() {
    let broker = Broker::start_with(|command| {
        command.args(["--listen", "tcp:127.0.0.1:0"]);
    });
    let line = broker.process.line();
    let port: u16 = line
        .strip_prefix("listening on tcp:127.0.0.1:")
        .unwrap()
        .parse()
        .unwrap();
    assert_ne!(port, 0);
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn a_second_broker_names_the_endpoint_and_the_first() {
    let broker = Broker::start();
    let ended = run(broker_command().args(["--listen", broker.endpoint()]));
    assert_eq!(ended.code(), CANNOT_LISTEN, "{ended:#?}");
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains(broker.endpoint()), "{}", ended.stderr);
    // A pipe does not say whose it is.
    let pid = broker.process.id().to_string();
    assert!(
        ended.stderr.contains(&pid) || cfg!(windows),
        "{pid}: {}",
        ended.stderr
    );
    connect(broker.endpoint()).expect("the first one still listens");
}

#[test]
fn an_endpoint_that_cannot_be_opened_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = if cfg!(unix) {
        support::endpoint_in(&folder.path().join("missing"))
    } else {
        format!("tcp:{}", taken.local_addr().unwrap())
    };
    let ended = run(broker_command().args(["--listen", &endpoint]));
    assert_eq!(ended.code(), CANNOT_LISTEN, "{ended:#?}");
    assert!(ended.stderr.contains(&endpoint), "{}", ended.stderr);
    // What no start could ever open is a wrong setting.
    let nowhere = if cfg!(unix) { "pipe:x" } else { "unix:/x" };
    for endpoint in ["tcp:0.0.0.0:0", nowhere] {
        let ended = run(broker_command().args(["--listen", endpoint]));
        assert_eq!(ended.code(), SETTINGS, "{ended:#?}");
        assert!(ended.stderr.contains(endpoint), "{}", ended.stderr);
    }
}

#[test]
fn a_dead_brokers_endpoint_is_taken_over() {
    let broker = Broker::start();
    let before = broker.process.id();
    let broker = broker.restart();
    assert_ne!(broker.process.id(), before);
    connect(broker.endpoint()).unwrap();
}

#[test]
fn nobody_has_to_read_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = support::endpoint_in(folder.path());
    let mut command = broker_command();
    command.args(["--listen", &endpoint, "--log", "info"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let process = Process::spawn_with(command.stdout(writer));
    // The parent's own end of the pipe goes with the command.
    drop(command);
    // The log tells the same to those who read that.
    until("it listens", || connect(&endpoint).is_ok());
    signals::terminate(&process);
    assert_eq!(process.end().code(), 0);
}

#[test]
fn version_and_help() {
    let version = run(broker_command().arg("--version"));
    let protocol = PROTOCOL_VERSION;
    assert_eq!(
        version.success(),
        format!("ipc-broker {} (protocol {protocol})\n", env!("CARGO_PKG_VERSION"))
    );
    let help = run(broker_command().arg("--help"));
    for part in [
        "--listen <ENDPOINT>",
        "--config <FILE>",
        "--arbiters <N>",
        "--log <FILTER>",
        "Examples:",
    ] {
        assert!(help.success().contains(part), "{part}");
    }
    assert_eq!(run(broker_command().arg("--lsiten")).code(), 2);
}

#[test]
fn config_show_tells_where_values_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    std::fs::write(&file, "arbiters = 2\n[limits]\nnames = 7\n").unwrap();
    let shown = run(broker_command()
        .args(["config", "show", "--log", "warn", "--config"])
        .arg(&file)
        .env("IPC_BROKER_LIMITS__HOLD_MS", "50")
        .env("IPC_BROKER_ADDR", "unix:/for/clients"));
    let text = shown.success();
    let squeezed: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        format!("arbiters = 2 # {}", file.display()),
        format!("limits.names = 7 # {}", file.display()),
        "limits.hold_ms = 50 # IPC_BROKER_LIMITS__HOLD_MS".into(),
        "log = \"warn\" # --log".into(),
        "limits.frame_bytes = 16777216 # default".into(),
    ] {
        assert!(squeezed.contains(&line), "{line}\n{text}");
    }
    let usual = if cfg!(unix) {
        "unix:/tmp/ipc_broker.sock"
    } else {
        "pipe:ipc_broker"
    };
    assert!(text.contains(usual), "{text}");
}

#[test]
fn config_check_names_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    std::fs::write(&file, "lsiten = []\narbiters = \"two\"\n").unwrap();
    let ended = run(broker_command().args(["config", "check"]).arg(&file));
    assert_eq!(ended.code(), SETTINGS);
    let file_name = file.display();
    let expected = format!(
        "ipc-broker: {file_name}: arbiters: wants a whole number from 0 to 1024, not \"two\"\n\
         ipc-broker: {file_name}: lsiten: unknown key; did you mean listen?\n"
    );
    assert_eq!((ended.stdout.as_str(), ended.stderr), ("", expected));
    std::fs::write(&file, "arbiters = 2\n").unwrap();
    assert_eq!(
        run(broker_command().args(["config", "check"]).arg(&file)).success(),
        "the settings are in order\n"
    );
}

#[test]
#[cfg(unix)]
fn config_check_finds_what_would_stop_the_start_and_all_of_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("plain.sock"), "somebody's file").unwrap();
    std::fs::write(
        path("policy.toml"),
        "[[allow]]\nuid = 1\nown = \"a\"\nconect = true\n",
    )
    .unwrap();
    std::fs::create_dir(path("tokens")).unwrap();
    std::fs::write(path("tokens/a.token"), "no token").unwrap();
    let long = format!("/tmp/{}.sock", "x".repeat(200));
    let text = format!(
        "listen = [\"unix:{}\", \"unix:{}\", \"unix:{long}\", \"pipe:x\"]\npolicy = \"{}\"\ntokens = \"{}\"\n\
         arbiters = -1\nlsten = []\n[limits]\nring_bytes = -1\nring_bytes_total = 1000000000000000\nopen_calls = \"x\"\n\
         default_deadline_ms = 7200000\n",
        path("missing/b.sock"),
        path("plain.sock"),
        path("policy.toml"),
        path("tokens"),
    );
    let file = path("broker.toml");
    std::fs::write(&file, text).unwrap();
    let ended = run(broker_command().args(["config", "check", &file]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (SETTINGS, ""));
    let expected = [
        format!("{file}: arbiters: wants a whole number from 0 to 1024, not -1"),
        format!("{file}: lsten: unknown key; did you mean listen?"),
        format!("{file}: limits.open_calls: wants a whole number, not \"x\""),
        format!("{file}: limits.ring_bytes: wants 0 or a power of two from 65536 to 16777216, not -1"),
        format!("{file}: limits.default_deadline_ms: 7200000 is more than limits.max_deadline_ms 3600000"),
        format!(
            "{file}: limits.ring_bytes_total: wants a whole number from 0 to 549755813888, not 1000000000000000"
        ),
        format!("{}: line 4: unknown key", path("policy.toml")),
        format!(
            "{file}: listen: unix:{}: cannot make a socket in its folder: ",
            path("missing/b.sock")
        ),
        format!(
            "{file}: listen: {} is a regular file; it was left alone",
            path("plain.sock")
        ),
        format!("{file}: listen: {long} has 210 bytes, but the path of a Unix socket has at most "),
        format!("{file}: listen: pipe:x: named pipes are there under Windows only"),
        format!("{file}: tokens: {}", path("tokens")),
    ];
    for expected in &expected {
        assert!(
            ended.stderr.contains(expected),
            "{expected}\nis missing:\n{}",
            ended.stderr
        );
    }
    assert_eq!(ended.stderr.lines().count(), expected.len(), "{}", ended.stderr);
    assert!(!folder.path().join("missing").exists(), "nothing was made");
}

#[test]
fn an_endpoint_that_a_broker_listens_at_is_nothing_wrong() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    std::fs::write(&file, format!("listen = [\"{}\"]\n", broker.endpoint())).unwrap();
    let ended = run(broker_command().args(["config", "check"]).arg(&file));
    assert_eq!(ended.success(), "the settings are in order\n");
}

#[test]
fn a_negative_number_is_a_wrong_number() {
    let ended = run(broker_command().args(["--arbiters", "-1"]));
    assert_eq!(ended.code(), 2);
    assert!(
        ended
            .stderr
            .contains("invalid value '-1' for '--arbiters <N>': a whole number from 0 to 1024"),
        "{}",
        ended.stderr
    );
}

/// A named pipe and a device where a file is wanted: told at once, with nobody to write or to read for ever.
#[test]
#[cfg(unix)]
fn what_is_no_plain_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let pipe = pipe.to_str().unwrap();
    for path in [pipe, "/dev/zero"] {
        for arguments in [
            vec!["config", "check", path],
            vec!["config", "check", "--config", path],
            vec!["config", "check", "--policy", path],
            vec!["--policy", path],
            vec!["--config", path],
        ] {
            let ended = run(broker_command().args(&arguments));
            assert_eq!(ended.code(), SETTINGS, "{arguments:?}");
            assert!(
                ended.stderr.contains(path) && ended.stderr.contains("no regular file"),
                "{arguments:?}: {}",
                ended.stderr
            );
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.toml");
    std::fs::write(&large, vec![b'\n'; (1 << 20) + 1]).unwrap();
    let ended = run(broker_command().args(["config", "check"]).arg(&large));
    assert_eq!(ended.code(), SETTINGS);
    assert!(
        ended.stderr.contains("more than 1048576 bytes"),
        "{}",
        ended.stderr
    );
}

#[test]
fn wrong_settings_keep_it_from_starting() {
    let ended = run(broker_command().env("IPC_BROKER_LISTN", "unix:/x"));
    assert_eq!(ended.code(), SETTINGS);
    assert_eq!(
        ended.stderr,
        "ipc-broker: IPC_BROKER_LISTN: unknown variable; did you mean IPC_BROKER_LISTEN?\n"
    );
}

/// A connection that has more queued for it than it ever reads.
fn deaf_subscriber(broker: &Broker) -> Connection {
    let mut deaf = connect(broker.endpoint()).unwrap();
    let hello = Hello::default().encode();
    let hello = Draft::new(Kind::Hello, 1)
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &hello);
    deaf.write_all(&[&PREFACE[..], &hello.to_vec()].concat()).unwrap();
    // It has been let in.
    deaf.read_exact(&mut [0]).unwrap();
    let subscribe = Draft::new(Kind::Subscribe, 2).key(b"o\0t");
    deaf.write_all(&subscribe.to_vec()).unwrap();
    let publisher = actix_ipc::IpcClient::connect_to(broker.endpoint().parse().unwrap());
    let publisher = block_on(publisher).unwrap();
    let publish = || {
        let payload = Payload::raw(vec![0; 64 * 1024]);
        block_on(publisher.publish_payload("o", "t", payload).acknowledged()).unwrap()
    };
    until("it is subscribed", || publish() != 0);
    for _ in 0..11 {
        publish();
    }
    deaf
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (second, code) in [
        (signals::interrupt as fn(&Process), 130),
        (signals::terminate, 143),
    ] {
        let broker = Broker::start();
        let _deaf = deaf_subscriber(&broker);
        signals::terminate(&broker.process);
        broker
            .process
            .wait_for_error_line(&format!("{STOP} received: draining"));
        second(&broker.process);
        let Broker { process, .. } = broker;
        let ended = process.end();
        assert_eq!(ended.code(), code, "{ended:#?}");
        assert!(
            ended.stderr.contains("while draining: ending at once"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn who_does_not_read_does_not_keep_it_from_ending() {
    let broker = Broker::start();
    let _deaf = deaf_subscriber(&broker);
    signals::terminate(&broker.process);
    let Broker { process, .. } = broker;
    let ended = process.end();
    assert_eq!(ended.code(), 0, "{ended:#?}");
}

//! The daemon under a service manager: what it tells, what feeds its watchdog, the sockets that are passed to it, its log in JSON.
//!
//! The service manager is this test: a datagram socket in its place, a listening socket at the number where systemd puts it. How many
//! and which datagrams come is looked at, never how fast.
#![cfg(all(feature = "cli", unix))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

mod support;

use actix_ipc::client::IpcClient;
use actix_ipc::terminal::is_unsafe;
use rustix::process::Signal;
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{PATIENCE, Process, broker_command, run};
use tempfile::TempDir;

/// What the daemon tells.
struct Told(UnixDatagram);

impl Told {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("the daemon tells nothing");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next one that is no food for the watchdog.
    fn next_state(&self) -> String {
        loop {
            let told = self.next();
            if !told.starts_with("WATCHDOG=1\n") {
                return told;
            }
        }
    }

    /// Everything that has come, without waiting.
    fn so_far(&self) -> Vec<String> {
        self.0.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.0.recv(&mut buffer) {
            all.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        self.0.set_nonblocking(false).unwrap();
        all
    }
}

struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn endpoint(&self) -> String {
        format!("unix:{}", self.path("b.sock").display())
    }

    /// The daemon with the manager's socket in its environment.
    fn broker(&self) -> Command {
        let mut command = broker_command();
        command
            .args(["--listen", &self.endpoint()])
            .env("HOME", self.folder.path())
            .env("NOTIFY_SOCKET", self.path("notify"));
        command
    }
}

#[test]
fn it_says_when_it_is_ready_reads_again_and_ends() {
    let scene = Scene::new();
    let told = Told::at(&scene.path("notify"));
    let broker = Process::spawn(&mut scene.broker());
    let ready = told.next();
    let listening = format!("READY=1\nSTATUS=listening on {}; ", scene.endpoint());
    assert!(ready.starts_with(&listening), "{ready}");
    std::os::unix::net::UnixStream::connect(scene.path("b.sock")).expect("it listens when it says so");

    broker.signal(Signal::HUP);
    let reloading = told.next();
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(usec.parse::<u64>().unwrap() > 0);
    assert!(told.next().starts_with(&listening));

    broker.signal(Signal::TERM);
    assert_eq!(told.next(), "STOPPING=1\nSTATUS=draining");
    assert_eq!(broker.end().code(), 0);
    assert_eq!(told.so_far(), [""; 0], "without WATCHDOG_USEC nobody is fed");
}

#[test]
fn a_manager_that_is_not_there_or_not_understood_keeps_nobody_from_starting() {
    let scene = Scene::new();
    for (value, said) in [
        (scene.path("nobody").display().to_string(), "could not be told"),
        ("vsock:2:1".to_owned(), "is told nothing"),
    ] {
        let broker = Process::spawn(scene.broker().env("NOTIFY_SOCKET", value));
        broker.wait_for_error_line(said);
        assert_eq!(broker.line(), format!("listening on {}", scene.endpoint()));
        broker.signal(Signal::TERM);
        assert_eq!(broker.end().code(), 0);
    }
}

#[test]
fn the_watchdog_is_fed_by_answers_alone() {
    let scene = Scene::new();
    let told = Told::at(&scene.path("notify"));
    let broker = Process::spawn(scene.broker().env("WATCHDOG_USEC", "400000"));
    assert!(told.next().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert!(told.next().starts_with("WATCHDOG=1\nSTATUS=listening on "));
    }

    // Who comes in finds somebody who accepts and never says a word: what a broker is that hangs.
    let socket = scene.path("b.sock");
    std::fs::rename(&socket, scene.path("aside")).unwrap();
    let silent = UnixListener::bind(&socket).unwrap();
    let first = silent.accept().unwrap();
    // It is behind a probe that was answered, and what that fed was told before this one began.
    told.so_far();
    let second = silent.accept().unwrap();
    let third = silent.accept().unwrap();
    assert_eq!(told.so_far(), [""; 0], "two probes came to nothing");
    broker.wait_for_error_line("the watchdog is not fed: ");
    drop((first, second, third, silent));

    // Its own socket is back: it is well again.
    std::fs::rename(scene.path("aside"), &socket).unwrap();
    assert!(told.next().starts_with("WATCHDOG=1\n"));
    broker.signal(Signal::TERM);
    assert!(told.next_state().starts_with("STOPPING=1\n"));
    assert_eq!(broker.end().code(), 0);
}

#[test]
fn a_broker_that_lets_its_own_user_not_in_is_fed_all_the_same() {
    let scene = Scene::new();
    let told = Told::at(&scene.path("notify"));
    let policy = scene.path("policy.toml");
    std::fs::write(&policy, "[[allow]]\nuid = 4242\nconnect = true\n").unwrap();
    let mut command = scene.broker();
    command
        .env("WATCHDOG_USEC", "400000")
        .arg("--policy")
        .arg(&policy);
    let broker = Process::spawn(&mut command);
    assert!(told.next().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert!(told.next().starts_with("WATCHDOG=1\n"));
    }
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().code(), 0);
}

/// The daemon behind a shell that puts what is its standard input where systemd puts a socket.
fn activated(scene: &Scene, socket: impl Into<OwnedFd>, arguments: &[&str]) -> Command {
    let mut command = support::command("/bin/sh");
    command
        .args([
            "-c",
            "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=ipc-broker.socket exec \"$0\" \"$@\"",
        ])
        .arg(env!("CARGO_BIN_EXE_ipc-broker"))
        .args(arguments)
        .env("HOME", scene.folder.path())
        .stdin(Stdio::from(socket.into()));
    command
}

fn ping(endpoint: &str) {
    let pong = run(support::rob_command()
        .args(["--json", "call", "sys.broker", "ping"])
        .env("IPC_BROKER_ADDR", endpoint));
    assert_eq!(pong.success(), "\"pong\"\n");
}

#[test]
fn a_passed_unix_socket_stands_in_the_place_of_its_endpoint_and_outlives_the_broker() {
    let scene = Scene::new();
    let socket = UnixListener::bind(scene.path("b.sock")).unwrap();
    for arguments in [&["--listen", &scene.endpoint()][..], &[]] {
        let mut command = activated(&scene, socket.try_clone().unwrap(), arguments);
        let broker = Process::spawn(&mut command);
        assert_eq!(broker.line(), format!("listening on {}", scene.endpoint()));
        ping(&scene.endpoint());
        broker.signal(Signal::TERM);
        let ended = broker.end();
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (0, ""),
            "no other endpoint: {ended:?}"
        );
        assert!(scene.path("b.sock").exists(), "it is the manager's");
    }
    // Who comes between two brokers waits for the next one.
    let endpoint = scene.endpoint();
    let early = std::thread::spawn(move || ping(&endpoint));
    let broker = Process::spawn(&mut activated(&scene, socket, &[]));
    early.join().unwrap();
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().code(), 0);
}

#[test]
fn a_passed_tcp_socket_is_beside_what_was_asked_for() {
    let scene = Scene::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let passed = format!("tcp:{}", socket.local_addr().unwrap());
    let broker = Process::spawn(&mut activated(&scene, socket, &["--listen", &scene.endpoint()]));
    assert_eq!(broker.line(), format!("listening on {passed}"));
    assert_eq!(broker.line(), format!("listening on {}", scene.endpoint()));
    ping(&scene.endpoint());
    ping(&passed);
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().code(), 0);
}

#[test]
fn a_socket_that_is_of_no_use_ends_the_start_and_is_named() {
    let scene = Scene::new();
    let connected = std::os::unix::net::UnixStream::pair().unwrap().0;
    let ended = run(&mut activated(&scene, connected, &[]));
    assert_eq!(ended.code(), 73, "{ended:?}");
    assert!(
        ended.stderr.contains("\"ipc-broker.socket\" does not listen"),
        "{}",
        ended.stderr
    );
    // Announced, and not there.
    let mut command = activated(&scene, UnixDatagram::unbound().unwrap(), &[]);
    let script = "exec 3<&- 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let arguments: Vec<_> = command.get_args().skip(2).map(ToOwned::to_owned).collect();
    command = support::command("/bin/sh");
    let ended = run(command.args(["-c", script]).args(arguments));
    assert_eq!(ended.code(), 73, "{ended:?}");
    assert!(ended.stderr.contains("descriptor 3"), "{}", ended.stderr);
}

/// As the units of `dist/systemd/system` run it. Only root can be other users.
#[test]
fn behind_roots_socket_the_broker_need_not_be_root_to_be_trusted() {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !rustix::process::geteuid().is_root() || !setpriv.exists() {
        eprintln!("SKIPPED: without root and setpriv there are no other users");
        return;
    }
    let scene = Scene::new();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    open(scene.folder.path(), 0o755);
    let socket = UnixListener::bind(scene.path("b.sock")).unwrap();
    open(&scene.path("b.sock"), 0o666);
    let policy = scene.path("policy.toml");
    std::fs::write(&policy, "[[allow]]\nuid = 4243\nconnect = true\nmonitor = true\n").unwrap();
    let programs: Vec<PathBuf> = [env!("CARGO_BIN_EXE_ipc-broker"), env!("CARGO_BIN_EXE_rob")]
        .into_iter()
        .map(|program| {
            // Where it was built, others may have no business.
            let copy = scene.path(Path::new(program).file_name().unwrap().to_str().unwrap());
            std::fs::copy(program, &copy).unwrap();
            open(&copy, 0o755);
            copy
        })
        .collect();
    let as_user = |uid: &str| format!("exec setpriv --reuid {uid} --regid {uid} --clear-groups");
    let mut command = support::command("/bin/sh");
    let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; ".to_owned();
    command
        .args(["-c", &(script + &as_user("4242") + " \"$@\""), "sh"])
        .arg(&programs[0])
        .args(["--system", "--policy"])
        .arg(&policy)
        .stdin(Stdio::from(OwnedFd::from(socket)));
    let broker = Process::spawn(&mut command);
    assert_eq!(broker.line(), format!("listening on {}", scene.endpoint()));
    for (uid, code) in [("4243", 0), ("4244", 6), ("0", 6)] {
        let mut call = support::command("/bin/sh");
        call.args(["-c", &(as_user(uid) + " \"$@\""), "sh"])
            .arg(&programs[1])
            .args(["call", "sys.broker", "ping"])
            .env("IPC_BROKER_ADDR", scene.endpoint());
        let ended = run(&mut call);
        assert_eq!(ended.code(), code, "uid {uid}: {ended:?}");
    }
    drop(broker);
}

#[test]
fn sockets_for_another_process_are_not_touched() {
    let scene = Scene::new();
    let mut command = scene.broker();
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let broker = Process::spawn(&mut command);
    assert_eq!(broker.line(), format!("listening on {}", scene.endpoint()));
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().code(), 0);
}

#[test]
fn services_inherit_neither_the_sockets_nor_the_variables() {
    let scene = Scene::new();
    let socket = UnixListener::bind(scene.path("b.sock")).unwrap();
    let services = scene.path("services.toml");
    let script = "env; for n in 3 4 5 6 7 8 9; do if true <&$n; then echo open=$n; fi; done 2>/dev/null; echo all=told";
    let text = format!("[[service]]\nobjects = [\"math\"]\nprocess = [\"/bin/sh\", \"-c\", {script:?}]\n");
    std::fs::write(&services, text).unwrap();
    let arguments = ["--activation", services.to_str().unwrap(), "--log", "info"];
    let mut command = activated(&scene, socket, &arguments);
    let told = Told::at(&scene.path("notify"));
    command
        .env("NOTIFY_SOCKET", scene.path("notify"))
        .env("WATCHDOG_USEC", "60000000");
    let broker = Process::spawn(&mut command);
    assert!(told.next().starts_with("READY=1\n"));
    let mut call = support::rob_command();
    call.args(["call", "math", "add"])
        .env("IPC_BROKER_ADDR", scene.endpoint());
    assert_eq!(run(&mut call).code(), 3);
    let mut seen = 0;
    loop {
        let line = broker.wait_for_error_line("service=");
        for taken_out in ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "open="] {
            assert!(!line.contains(taken_out), "{line}");
        }
        seen += usize::from(line.contains("IPC_BROKER_ADDR="));
        if line.contains("all=told") {
            break;
        }
    }
    assert_eq!(seen, 1, "what it prints is seen");
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().code(), 0);
}

/// A name that would forge fields and turn text around; control characters are refused in names.
const NAME: &str = "evil\",\"level\":\"ERROR\",\"x\":\"\u{202e}\u{200b}\\";
/// What a service prints, for `printf`: it would clear the screen, and forge a line.
const PRINTED: &str = r#"evil\033[2J\302\2331m"}{"level":"ERROR"}\r"#;

/// Lines of standard error from a start with this format: of a client with a hostile name, and of a service.
fn log_of(format: &str) -> (String, String, Vec<String>) {
    let scene = Scene::new();
    let services = scene.path("services.toml");
    let script = format!("printf '{PRINTED}'; echo");
    let process = format!("[\"/bin/sh\", \"-c\", {script:?}]");
    let text = format!("[[service]]\nobjects = [\"math\"]\nprocess = {process}\n");
    std::fs::write(&services, text).unwrap();
    let mut command = broker_command();
    command
        .args([
            "--listen",
            &scene.endpoint(),
            "--log-format",
            format,
            "--activation",
        ])
        .arg(&services)
        .env("IPC_BROKER_LOG", "debug")
        .env("HOME", scene.folder.path());
    let broker = Process::spawn(&mut command);
    broker.line();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let builder = IpcClient::builder().endpoint(scene.endpoint().parse().unwrap());
        let client = builder.name(NAME).connect().await.unwrap();
        let called = client.call("math", "add").send::<_, Value>(&()).await;
        assert_eq!(called.unwrap_err().code, actix_ipc::ErrorCode::ServiceFailed);
    });
    let connected = broker.wait_for_error_line("evil");
    let printed = broker.wait_for_error_line("evil");
    broker.signal(Signal::TERM);
    let ended = broker.end();
    assert_eq!(ended.code(), 0);
    let mut lines = vec![connected.clone(), printed.clone()];
    lines.extend(ended.stderr.lines().map(str::to_owned));
    (connected, printed, lines)
}

#[test]
fn in_json_every_line_is_one_object_and_no_text_can_drive_a_terminal() {
    let (connected, printed, lines) = log_of("json");
    assert!(lines.len() > 2, "{lines:?}");
    for line in &lines {
        assert!(!line.chars().any(is_unsafe), "{line}");
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(value[key].is_string(), "{key}: {line}");
        }
        assert!(value.get("x").is_none() && value["level"] != "ERROR", "{line}");
    }
    let value: Value = serde_json::from_str(&connected).unwrap();
    assert_eq!(value["message"], "connected");
    assert_eq!(
        value["name"],
        NAME.replace('\u{202e}', "\\u{202e}")
            .replace('\u{200b}', "\\u{200b}")
    );
    let value: Value = serde_json::from_str(&printed).unwrap();
    let message = value["message"].as_str().unwrap();
    assert!(
        message.starts_with("evil") && message.contains("{\"level\":\"ERROR\"}"),
        "{message}"
    );
}

#[test]
fn in_text_the_same_stays_on_its_line() {
    let (connected, printed, lines) = log_of("text");
    for line in &lines {
        assert!(!line.chars().any(is_unsafe), "{line}");
        assert!(
            line.starts_with("20") && line.contains("Z "),
            "a line begins with its time: {line}"
        );
    }
    assert!(connected.contains("\\u{202e}\\u{200b}"), "{connected}");
    assert!(printed.contains("[2J\\u{9b}1m\"}{"), "{printed}");
}

#[test]
fn another_format_is_refused_with_what_there_is() {
    let ended = run(broker_command().args(["--log-format", "jsonn"]));
    assert_eq!(ended.code(), 78, "{ended:?}");
    let said = "--log-format: \"jsonn\" is no format of the log; write text or json, did you mean json?";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let shown = run(broker_command()
        .args(["config", "show"])
        .env("IPC_BROKER_LOG_FORMAT", "json"));
    assert!(shown.success().contains("log_format = \"json\""), "{shown:?}");
}

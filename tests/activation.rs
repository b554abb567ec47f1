//! Services that start when somebody calls: the real daemon, with real processes as services.
//!
//! The service is this test program itself in another role, told by variables of its description, so that what it does is known. Each start
//! leaves a line in a file; that is how starts are counted. A systemctl of our own is found first in `PATH`; no real one is asked.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what is not as expected fails the test"
)]

mod support;

use actix_ipc::client::{IpcClient, Methods, blocking};
use actix_ipc::{CallError, Endpoint, ErrorCode};
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{Broker, PATIENCE};

const ROLE: &str = "ACTIX_IPC_TEST_SERVICE";
const STARTS: &str = "ACTIX_IPC_TEST_STARTS";

/// Waits until whoever has started this has gone, as it does when a test fails, so that nothing is left of it.
fn end_with_parent() -> ! {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    std::process::exit(0)
}

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

/// A broker with one service, and what that leaves.
struct Scene {
    broker: Broker,
    starts: PathBuf,
}

impl Scene {
    /// The service in this role, with these lines in its description.
    fn new(role: &str, more: &str) -> Self {
        Self::with(role, more, |_| {})
    }

    fn with(role: &str, more: &str, change: impl FnOnce(&mut std::process::Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let starts = folder.path().join("starts");
        let program = std::env::current_exe().unwrap();
        let text = format!(
            "[[service]]\nobjects = [\"math\", \"never\"]\nprocess = [{program:?}, \"--exact\", \"as_the_service\", \"--nocapture\"]\n\
             environment = {{ {ROLE} = {role:?}, {STARTS} = {starts:?} }}\n{more}\n"
        );
        let file = private(folder.path(), "services.toml", &text, 0o600);
        let socket = format!("unix:{}", folder.path().join("b.sock").display());
        let broker = Broker::start_at(folder, &socket, |command| {
            command.arg("--activation").arg(file);
            change(command);
        });
        Self { broker, starts }
    }

    async fn client(&self) -> IpcClient {
        IpcClient::connect_to(self.broker.endpoint().parse().unwrap())
            .await
            .unwrap()
    }

    /// The processes that were started, in order.
    fn started(&self) -> Vec<u32> {
        let text = fs::read_to_string(&self.starts).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        stop(&self.broker);
    }
}

/// Ends the broker in order, with what it has started: while a service runs, it has more than at first.
fn stop(broker: &Broker) {
    if !is_zombie(broker.process.id()) {
        broker.process.signal(Signal::TERM);
    }
    if !std::thread::panicking() {
        until("the broker has ended", || is_zombie(broker.process.id()));
    }
}

fn private(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

async fn pid(client: &IpcClient) -> Result<u32, CallError> {
    client.remote_call("math", "pid", ()).await
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

fn is_there(pid: u32) -> bool {
    test_kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()).is_ok()
}

/// Whether this process, a child of the test, has ended; it is reaped by its harness, later.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Waits for something that has no event.
#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[actix::test]
async fn many_calls_at_once_start_it_once_and_are_all_answered() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    assert_eq!(scene.started(), Vec::<u32>::new(), "nobody has asked");
    let answers = join_all((0..50).map(|_| pid(&client))).await;
    let answers: Vec<u32> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(scene.started().len(), 1);
    assert!(answers.iter().all(|pid| *pid == scene.started()[0]));
    let address: Option<String> = client
        .remote_call("math", "variable", ("IPC_BROKER_ADDR",))
        .await
        .unwrap();
    assert_eq!(address.as_deref(), Some(scene.broker.endpoint()));
    // What it prints is in the log, and drives no terminal.
    let line = scene.broker.process.wait_for_error_line("serving");
    assert!(line.contains("[31m") && !line.contains('\u{1b}'), "{line:?}");
}

#[actix::test]
async fn a_wait_starts_it_as_well() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    client.wait_for_objects(&["math"]).await.unwrap();
    assert_eq!(scene.started().len(), 1);
}

#[actix::test]
async fn after_a_kill_the_next_call_starts_it_again() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    let first = pid(&client).await.unwrap();
    kill(first);
    let second = loop {
        match pid(&client).await {
            Ok(pid) => break pid,
            // It had this one when it died.
            Err(error) => assert_eq!(error.code, ErrorCode::CalleeGone),
        }
    };
    assert_ne!(first, second);
    until("the first is reaped", || !is_there(first));
    assert_eq!(scene.started(), [first, second]);
}

#[actix::test]
async fn a_deadline_that_passes_while_it_starts_ends_the_call_alone() {
    let scene = Scene::new("hang", "");
    let client = scene.client().await;
    let call = client.call("math", "pid").deadline(Duration::from_millis(300));
    let error = call.send::<_, u32>(&()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Deadline, false));
    until("it was started", || scene.started().len() == 1);
    assert!(is_there(scene.started()[0]), "others may wait for it");
}

#[actix::test]
async fn a_failed_start_reaches_all_who_wait_with_the_reason() {
    let scene = Scene::new("fail", "");
    let client = scene.client().await;
    let waits = client.wait_for_objects(&["math"]);
    let (answers, waited) = futures::join!(join_all((0..20).map(|_| pid(&client))), waits);
    for error in answers
        .into_iter()
        .map(Result::unwrap_err)
        .chain([waited.unwrap_err()])
    {
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::ServiceFailed, false)
        );
        assert!(error.message.contains("exit status: 7"), "{error}");
    }
    assert_eq!(scene.started().len(), 1);
}

#[actix::test]
async fn a_program_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[service]]\nobjects = [\"math\"]\nprocess = [\"/none/worker\"]\n";
    let file = private(folder.path(), "services.toml", text, 0o600);
    let broker = Broker::start_with(|command| {
        command.arg("--activation").arg(file);
    });
    let ended = broker.rob("call math pid");
    assert_eq!(ended.code(), 3, "{ended:?}");
    assert!(
        ended.stderr.contains("/none/worker cannot be started"),
        "{ended:?}"
    );
}

#[actix::test]
async fn not_registered_in_time_is_ended_and_told() {
    let scene = Scene::new("hang", "start_ms = 300");
    let client = scene.client().await;
    let error = pid(&client).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed);
    assert!(error.message.contains("within 300 ms"), "{error}");
    // It may be killed before it has left its line.
    until("what it had started is reaped", || {
        scene.started().iter().all(|pid| !is_there(*pid))
    });
}

#[actix::test]
async fn a_crash_loop_rests_when_its_budget_is_spent() {
    let scene = Scene::new("crash", "starts = 3\nrest_ms = 3600000");
    let client = scene.client().await;
    let mut last = String::new();
    for _ in 0..1_000 {
        let Err(error) = pid(&client).await else { continue };
        last = error.message;
        if last.contains("not started again") {
            break;
        }
    }
    assert!(last.contains("3 failures in a row"), "{last}");
    assert_eq!(scene.started().len(), 3);
    assert_eq!(pid(&client).await.unwrap_err().code, ErrorCode::ServiceFailed);
    assert_eq!(scene.started().len(), 3);
}

#[actix::test]
async fn an_object_that_it_never_registers_is_not_waited_for_for_ever() {
    let scene = Scene::new("serve", "start_ms = 6000");
    let client = scene.client().await;
    let never = client.call("never", "x").deadline(PATIENCE);
    let (there, never) = futures::join!(pid(&client), never.send::<_, u32>(&()));
    let never = never.unwrap_err();
    assert_eq!(never.code, ErrorCode::ServiceFailed, "{never}");
    assert!(
        never.message.contains("has not registered this object"),
        "{never}"
    );
    assert_eq!(pid(&client).await.unwrap(), there.unwrap(), "it goes on");
}

#[test]
fn a_broker_that_stops_while_it_starts_leaves_no_process() {
    let scene = Scene::new("hang", "");
    let caller = scene.broker.start_rob("call math pid");
    until("it was started", || scene.started().len() == 1);
    let pid = scene.started()[0];
    scene.broker.process.signal(Signal::TERM);
    assert_ne!(caller.end().code(), 0);
    until("the broker has ended", || is_zombie(scene.broker.process.id()));
    assert!(!is_there(pid), "it is an orphan, or a zombie of nobody");
}

#[actix::test]
async fn what_is_to_be_left_is_left() {
    let scene = Scene::new("stay", "at_end = \"leave\"");
    let client = scene.client().await;
    let own = pid(&client).await.unwrap();
    drop(client);
    stop(&scene.broker);
    assert!(is_there(own));
    kill(own);
}

#[actix::test]
async fn a_call_without_reply_waits_for_what_it_starts() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    for text in ["one", "two"] {
        client.call("math", "note").no_reply(&(text,)).await.unwrap();
    }
    // Behind them in their order, from the same caller.
    let noted: Vec<String> = client.remote_call("math", "noted", ()).await.unwrap();
    assert_eq!(noted, ["one", "two"]);
    assert_eq!(scene.started().len(), 1);
}

#[actix::test]
async fn no_call_overtakes_those_that_waited() {
    let scene = Scene::with("serve", "", |command| {
        command.args(["--arbiters", "2"]);
    });
    let client = scene.client().await;
    let mut sent = 0_u32;
    // Until well after it is there.
    let mut served = Box::pin(pid(&client));
    let mut behind = 0;
    while behind < 200 {
        let number = (sent.to_string(),);
        client.call("math", "note").no_reply(&number).await.unwrap();
        sent += 1;
        if behind > 0 || futures::poll!(served.as_mut()).is_ready() {
            behind += 1;
        }
        // So that what waits stays within the limits.
        let _: String = client.remote_call("sys.broker", "ping", ()).await.unwrap();
    }
    let noted: Vec<String> = client.remote_call("math", "noted", ()).await.unwrap();
    let expected: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(noted, expected);
}

#[actix::test]
async fn a_call_without_reply_that_waited_in_vain_is_counted() {
    let scene = Scene::new("fail", "");
    let client = scene.client().await;
    client.call("math", "note").no_reply(&("lost",)).await.unwrap();
    // It fails with the call without reply, or right after it.
    assert_eq!(pid(&client).await.unwrap_err().code, ErrorCode::ServiceFailed);
    let status: serde_json::Value = client.remote_call("sys.broker", "status", ()).await.unwrap();
    let dropped = serde_json::to_string(&status).unwrap();
    assert!(dropped.contains("\"one_way_dropped\":1"), "{dropped}");
}

#[actix::test]
async fn a_signal_reads_the_descriptions_again() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    let first = pid(&client).await.unwrap();
    let waiting = client.call("later", "x").wait_for_object().deadline(PATIENCE);
    let waiting = waiting.send::<_, u32>(&());
    let text = "[[service]]\nobjects = [\"later\"]\nprocess = [\"/none/worker\"]\n";
    let file = scene.starts.with_file_name("services.toml");
    private(file.parent().unwrap(), "services.toml", "[[service]]\n", 0o600);
    scene.broker.process.signal(Signal::HUP);
    let line = scene.broker.process.wait_for_error_line("were not read again");
    assert!(line.contains("those in force stay"), "{line}");
    private(file.parent().unwrap(), "services.toml", text, 0o600);
    scene.broker.process.signal(Signal::HUP);
    // Who waits for an object that is described by now is told of its start.
    let error = waiting.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed, "{error}");
    assert_eq!(pid(&client).await.unwrap(), first, "what runs is left alone");
    kill(first);
    until("its end is known", || !is_there(first));
    let gone = loop {
        match pid(&client).await {
            Ok(_) => {}
            Err(error) if error.code == ErrorCode::CalleeGone => {}
            Err(error) => break error,
        }
    };
    assert_eq!(
        gone.code,
        ErrorCode::NoSuchObject,
        "nothing describes it any more"
    );
    assert_eq!(scene.started(), [first]);
}

#[actix::test]
async fn who_may_not_call_starts_nothing_by_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let uid = rustix::process::getuid().as_raw();
    let policy = format!("[[allow]]\nuid = {uid}\nconnect = true\nmonitor = true\ncall = [\"ok\"]\n");
    let policy = private(folder.path(), "policy.toml", &policy, 0o600);
    let text = "[[service]]\nobjects = [\"secret\"]\nprocess = [\"/none/secret\"]\n[[service]]\nobjects = [\"ok\"]\nprocess = [\"/none/ok\"]\n";
    let file = private(folder.path(), "services.toml", text, 0o600);
    let broker = Broker::start_with(|command| {
        command.arg("--policy").arg(policy).arg("--activation").arg(file);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let waits = client.wait_for_objects(&["secret"]);
    let started = client.wait_for_objects(&["ok"]);
    let either = futures::future::select(Box::pin(waits), Box::pin(started)).await;
    let futures::future::Either::Right((failed, _)) = either else {
        panic!("a wait for what may not be called came to an end")
    };
    assert_eq!(failed.unwrap_err().code, ErrorCode::ServiceFailed);
    let status: serde_json::Value = client.remote_call("sys.broker", "status", ()).await.unwrap();
    let status = serde_json::to_string(&status).unwrap();
    assert!(status.contains("\"services_started\":1"), "{status}");
}

/// A `systemctl` that writes down what it was asked and starts the service of the tests, or fails.
fn systemctl(folder: &Path, body: &str) -> String {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    let log = folder.join("asked");
    let text = format!("#!/bin/sh\necho \"$*\" >> '{}'\n{body}\n", log.display());
    private(&bin, "systemctl", &text, 0o700);
    format!("{}:/usr/bin:/bin", bin.display())
}

#[actix::test]
async fn units_are_started_through_systemctl() {
    let folder = tempfile::tempdir().unwrap();
    let (starts, socket) = (folder.path().join("starts"), folder.path().join("b.sock"));
    // As systemd does, it lets go of what it has started, but not before that has a session of its own.
    let start = format!(
        "{ROLE}=stay {STARTS}='{}' IPC_BROKER_ADDR='unix:{}' setsid '{}' --exact as_the_service >/dev/null 2>&1 &\n\
         while [ ! -s '{}' ]; do :; done",
        starts.display(),
        socket.display(),
        std::env::current_exe().unwrap().display(),
        starts.display()
    );
    let path = systemctl(folder.path(), &start);
    let home = folder.path().join("service-activation");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let text = r#"[{"type":"RegisterService","object_name":"math","service_name":"math-worker.service"}]"#;
    private(&home, "math.json", text, 0o644);
    let asked = folder.path().join("asked");
    let broker = Broker::start_at(folder, &format!("unix:{}", socket.display()), |command| {
        command.env("PATH", path);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let own = pid(&client).await.unwrap();
    assert_eq!(
        fs::read_to_string(&asked).unwrap(),
        "--no-ask-password start -- math-worker.service\n"
    );
    kill(own);
    stop(&broker);
}

#[actix::test]
async fn what_systemctl_complains_of_reaches_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let body = "echo 'Unit math.service not found.' >&2; echo 'See system logs.' >&2; exit 5";
    let path = systemctl(folder.path(), body);
    let text = "[[service]]\nobjects = [\"math\"]\nuser_unit = \"math.service\"\n";
    let file = private(folder.path(), "services.toml", text, 0o600);
    let broker = Broker::start_with(|command| {
        command.env("PATH", path).arg("--activation").arg(file);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let error = pid(&client).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed);
    assert!(error.message.contains("Unit math.service not found."), "{error}");
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(asked, "--user --no-ask-password start -- math.service\n");
}

/// One message of ipc-broker 1.1.5.
fn say(stream: &mut impl Write, body: &serde_json::Value) {
    let body = body.to_string();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    stream
        .write_all(&[&length[..], body.as_bytes()].concat())
        .unwrap();
}

fn hear(stream: &mut impl Read) -> serde_json::Value {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn clients_of_1_1_5_start_what_is_described_and_nothing_else() {
    let scene = Scene::with("serve", "", |command| {
        command.args(["--listen", "tcp:127.0.0.1:0"]);
    });
    let line = scene.broker.process.line();
    let address = line.strip_prefix("listening on tcp:").unwrap();
    let mut old = TcpStream::connect(address).unwrap();
    old.set_read_timeout(Some(PATIENCE)).unwrap();
    let named = json!({"RegisterService": {"object_name": "evil", "service_name": "reboot.target"}});
    say(&mut old, &named);
    let call = |id: &str, object: &str, method: &str, args: serde_json::Value| json!({"Call": {"call_id": id, "object_name": object, "method": method, "args": args}});
    say(&mut old, &call("1", "evil", "x", json!(null)));
    assert_eq!(
        hear(&mut old)["Error"]["message"],
        "No such object 'evil'",
        "the first message had no answer"
    );
    say(&mut old, &call("2", "math", "variable", json!(["BROKER_ADDR"])));
    let answer = hear(&mut old);
    assert_eq!(
        (&answer["Result"]["call_id"], &answer["Result"]["value"]),
        (&json!("2"), &json!(address))
    );
    let line = scene.broker.process.wait_for_error_line("no description lists");
    assert!(line.contains("reboot.target"), "{line}");
    assert_eq!(scene.started().len(), 1);
}

#[test]
fn a_caller_of_1_1_5_is_told_why_a_start_failed() {
    let scene = Scene::new("fail", "");
    let mut old = std::os::unix::net::UnixStream::connect(scene.broker.socket()).unwrap();
    old.set_read_timeout(Some(PATIENCE)).unwrap();
    say(
        &mut old,
        &json!({"Call": {"call_id": "1", "object_name": "math", "method": "x", "args": null}}),
    );
    let answer = hear(&mut old);
    let message = answer["Error"]["message"].as_str().unwrap();
    assert!(message.contains("exit status: 7"), "{answer}");
}

/// The worker that ipc-broker 1.1.5 was published with, where `ci/stages/46-old-clients` has installed it.
#[actix::test]
async fn the_published_worker_of_1_1_5_is_started_by_our_client() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/old/bin");
    let worker = std::env::var_os("OLD_BIN")
        .map_or(own, PathBuf::from)
        .join("example_worker");
    if !worker.exists() {
        eprintln!(
            "SKIPPED: there is no {}; ci/stages/46-old-clients installs it",
            worker.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[[service]]\nobjects = [\"math\"]\nprocess = [{worker:?}]\n");
    let file = private(folder.path(), "services.toml", &text, 0o600);
    let broker = Broker::start_with(|command| {
        command
            .args(["--listen", "tcp:127.0.0.1:0", "--activation"])
            .arg(file);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let sum: serde_json::Value = client
        .remote_call("math", "add", json!({"a": 10, "b": 32}))
        .await
        .unwrap();
    assert_eq!(sum, json!({"sum": 42}));
    drop(client);
    stop(&broker);
}

/// Our own `examples/worker.rs`, which a full `cargo test` builds.
#[test]
fn our_example_worker_is_started_by_a_client_of_1_1_5() {
    let tests = std::env::current_exe().unwrap();
    let worker = tests.ancestors().nth(2).unwrap().join("examples/worker");
    if !worker.exists() {
        eprintln!(
            "SKIPPED: there is no {}; cargo build --example worker",
            worker.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[[service]]\nobjects = [\"math\"]\nprocess = [{worker:?}]\n");
    let file = private(folder.path(), "services.toml", &text, 0o600);
    let broker = Broker::start_with(|command| {
        command.arg("--activation").arg(file);
    });
    let mut old = std::os::unix::net::UnixStream::connect(broker.socket()).unwrap();
    old.set_read_timeout(Some(PATIENCE)).unwrap();
    let call = json!({"call_id": "1", "object_name": "math", "method": "add", "args": {"a": 10, "b": 32}});
    say(&mut old, &json!({"Call": call}));
    assert_eq!(hear(&mut old)["Result"]["value"], json!({"sum": 42}));
    stop(&broker);
}

#[test]
fn config_check_looks_at_the_descriptions() {
    let folder = tempfile::tempdir().unwrap();
    let file = private(
        folder.path(),
        "bad.toml",
        "[[service]]\nobjects = [\"a\"]\n",
        0o600,
    );
    let mut check = support::broker_command();
    let checked = support::run(check.args(["config", "check", "--activation"]).arg(&file));
    assert_eq!(checked.code(), 78, "{checked:?}");
    assert!(
        checked.stderr.contains("bad.toml") && checked.stderr.contains("user_unit"),
        "{checked:?}"
    );
    let mut start = support::broker_command();
    let started = support::run(start.arg("--activation").arg(&file));
    assert_eq!(started.code(), 78, "{started:?}");
    private(
        folder.path(),
        "bad.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"a\"\n",
        0o600,
    );
    let mut check = support::broker_command();
    support::run(check.args(["config", "check", "--activation"]).arg(&file)).success();
}

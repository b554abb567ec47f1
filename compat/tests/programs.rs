//! The programs of ipc-broker 1.1.5 as they were published, on our broker, beside clients of ours.
//!
//! The library runs in `old-load` (see `src/main.rs`); `rob` and the examples are looked for in `$OLD_BIN`, else `../target/old/bin`, where
//! `ci/stages/46-old-clients` installs them. Tests that need them say loudly when they are not there.
#![cfg(unix)]

use actix_ipc::actors::{Broker, BrokerHandle};
use actix_ipc::config::Limits;
use actix_ipc::{Endpoint, IpcClient, Methods};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    handle: BrokerHandle,
    unix: Endpoint,
    tcp: String,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unix = Endpoint::Unix(folder.path().join("b.sock"));
        let (sender, receiver) = std::sync::mpsc::channel();
        let listen = unix.clone();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let builder = Broker::builder().limits(limits).listen(listen);
                let handle = builder
                    .listen("tcp:127.0.0.1:0".parse().unwrap())
                    .start()
                    .unwrap();
                sender.send(handle.clone()).unwrap();
                handle.ended().await;
            });
        });
        let handle = receiver.recv().unwrap();
        let tcp = handle.endpoints().iter().find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(address.clone()),
            _ => None,
        });
        Self {
            handle,
            unix,
            tcp: tcp.unwrap(),
            thread: Some(thread),
            _folder: folder,
        }
    }

    fn load(&self, words: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_old-load"));
        command.args(words).env("BROKER_ADDR", &self.tcp);
        Program::spawn(command)
    }

    /// A published program; `None` when it is not there.
    fn old(&self, name: &str, words: &[&str]) -> Option<Program> {
        let mut command = Command::new(old(name)?);
        command.args(words).env("BROKER_ADDR", &self.tcp);
        Some(Program::spawn(command))
    }

    /// Runs what a client of ours does.
    fn native<T>(&self, step: impl AsyncFnOnce(IpcClient) -> T) -> T {
        let endpoint = self.unix.clone();
        actix::System::new().block_on(async {
            let client = IpcClient::connect_to(endpoint).await.unwrap();
            step(client).await
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        actix::System::new().block_on(handle.stop());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok());
        }
    }
}

struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line, not the end").unwrap()
    }

    /// Reads to a line that holds this.
    fn until(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(part) {
                return line;
            }
        }
    }

    fn rest(&mut self) -> String {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn success(mut self) -> String {
        let rest = self.rest();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says it where the test harness does not hide it.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn old(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("OLD_BIN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/old/bin")),
        PathBuf::from,
    );
    let path = folder.join(name);
    if !path.exists() {
        skipped(&format!(
            "{name} of ipc-broker 1.1.5 is not in {}; see ci/stages/46-old-clients",
            folder.display()
        ));
        return None;
    }
    Some(path)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens")
}

#[test]
fn an_old_worker_serves_our_client() {
    let broker = Running::start(Limits::default());
    let Some(_worker) = broker.old("example_worker", &[]) else {
        return;
    };
    let sum: serde_json::Value = broker.native(async |client| {
        soon(client.wait_for_object("math")).await.unwrap();
        let args = serde_json::json!({"a": 10, "b": 32});
        soon(client.remote_call("math", "add", &args)).await.unwrap()
    });
    assert_eq!(sum, serde_json::json!({"sum": 42}));
}

#[test]
fn our_worker_serves_the_old_rob_and_the_old_client() {
    let broker = Running::start(Limits::default());
    if old("rob").is_none() {
        return;
    }
    broker.native(async |client| {
        let add = |args: serde_json::Value, _| async move {
            let sum = args["a"].as_i64().unwrap_or(0) + args["b"].as_i64().unwrap_or(0);
            Ok(serde_json::json!({"sum": sum}))
        };
        let mul = |_: serde_json::Value, _| async { Ok(serde_json::json!({"product": 1})) };
        let methods = Methods::new().method("add", add).method("mul", mul);
        let _worker = client.register("math", methods).await.unwrap();
        let run = |name: &'static str, words: &'static [&'static str]| {
            let program = broker.old(name, words).unwrap();
            soon(tokio::task::spawn_blocking(move || program.success()))
        };
        let text = run("rob", &["call", "math", "add", "{ii}", "a", "10", "b", "32"])
            .await
            .unwrap();
        assert!(text.contains("sum : : 42"), "{text}");
        let text = run("rob", &["call", "rob", "listObjects"]).await.unwrap();
        assert!(text.contains("\"rob\"") && text.contains("\"math\""), "{text}");
        let text = run("rob", &["call", "nobody", "add"]).await.unwrap();
        assert!(text.contains("Remote error: No such object 'nobody'"), "{text}");
        let text = run("example_client", &[]).await.unwrap();
        assert!(text.contains("42"), "{text}");
    });
}

#[test]
fn an_old_worker_serves_an_old_client() {
    let broker = Running::start(Limits::default());
    let Some(_worker) = broker.old("example_worker", &[]) else {
        return;
    };
    broker.native(async |client| soon(client.wait_for_object("math")).await.unwrap());
    let text = broker
        .old("rob", &["call", "math", "mul", "{ii}", "a", "6", "b", "7"])
        .unwrap()
        .success();
    assert!(text.contains("product : : 42"), "{text}");
}

#[test]
fn events_cross_in_both_directions() {
    let broker = Running::start(Limits::default());
    let mut hearer = broker.load(&["hear", "2"]);
    assert_eq!(hearer.line(), "ready");
    broker.native(async |client| {
        let mut events = client.subscribe("s", "t").await.unwrap();
        client.publish("s", "t", &"from the new one").await.unwrap();
        let mut publisher = broker.load(&["publish", "from the old one"]);
        let first: String = soon(events.next()).await.unwrap().decode().unwrap();
        let second: String = soon(events.next()).await.unwrap().decode().unwrap();
        assert_eq!(
            (&first[..], &second[..]),
            ("from the new one", "from the old one")
        );
        publisher.rest();
    });
    assert_eq!(hearer.line(), "\"from the new one\"");
    assert_eq!(hearer.line(), "\"from the old one\"");
    hearer.success();
}

#[test]
fn the_old_rob_sends_and_listens() {
    let broker = Running::start(Limits::default());
    let Some(mut listener) = broker.old("rob", &["listen", "s", "t"]) else {
        return;
    };
    listener.until("Listening for");
    broker.native(async |client| {
        let mut events = client.subscribe("s", "t").await.unwrap();
        // Its line comes before its subscription; it is sent to until it has heard.
        let (heard, mut has_heard) = tokio::sync::oneshot::channel();
        let reader = std::thread::spawn(move || {
            let line = listener.until("from");
            let _ = heard.send(());
            line
        });
        while has_heard.try_recv().is_err() {
            client.publish("s", "t", &"from the new one").await.unwrap();
            soon(events.next()).await.unwrap();
        }
        assert!(reader.join().unwrap().contains("from the new one"));
        // It leaves when it has written: `rob send` of 1.1.5 may leave before that, so until one arrives.
        for _ in 0..50 {
            let sent = broker
                .old("rob", &["send", "s", "t", "s", "from the old one"])
                .unwrap();
            tokio::task::spawn_blocking(move || sent.success()).await.unwrap();
            if let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(500), events.next()).await {
                let text: String = event.decode().unwrap();
                assert_eq!(text, "from the old one");
                return;
            }
        }
        panic!("none of fifty was published");
    });
}

#[test]
fn fifty_old_callers_get_their_own_answers_while_events_arrive() {
    const CALLERS: usize = 50;
    const ROUNDS: usize = 4;
    const EVENTS: usize = 5;
    let broker = Running::start(Limits::default());
    let mut load = broker.native(async |client| {
        // Answers when all of a round have called, and events have been published meanwhile.
        let waiting = Arc::new(Mutex::new(Vec::new()));
        let round = Arc::new(AtomicUsize::new(0));
        let publisher = client.clone();
        let echo = move |args: serde_json::Value, _| {
            let (waiting, round, publisher) = (waiting.clone(), round.clone(), publisher.clone());
            async move {
                let (sender, receiver) = tokio::sync::oneshot::channel();
                let all = {
                    let mut waiting = waiting.lock().unwrap();
                    waiting.push(sender);
                    if waiting.len() == CALLERS {
                        std::mem::take(&mut *waiting)
                    } else {
                        Vec::new()
                    }
                };
                if !all.is_empty() {
                    let round = round.fetch_add(1, Ordering::Relaxed);
                    for n in 0..EVENTS {
                        publisher.publish("s", "t", &[round, n]).await?;
                    }
                    all.into_iter().for_each(|sender| sender.send(()).unwrap());
                }
                let _ = receiver.await;
                Ok(args)
            }
        };
        let _worker = client
            .register("echo", Methods::new().method("m", echo))
            .await
            .unwrap();
        let words = [CALLERS, ROUNDS, EVENTS].map(|number| number.to_string());
        let mut load = broker.load(&["callers", &words[0], &words[1], &words[2]]);
        soon(tokio::task::spawn_blocking(move || {
            load.until("ok");
            load
        }))
        .await
        .unwrap()
    });
    assert!(load.child.wait().unwrap().success());
}

/// Each event is published when the client has its answer, and its next call comes when it has heard it.
#[test]
fn an_old_client_hears_events_between_its_calls() {
    const ROUNDS: usize = 20;
    let broker = Running::start(Limits::default());
    let mut load = broker.native(async |client| {
        let echo = |args: serde_json::Value, _| async { Ok(args) };
        let methods = Methods::new().method("m", echo);
        let _worker = client.register("echo", methods).await.unwrap();
        let mut load = broker.load(&["between", &ROUNDS.to_string()]);
        for round in 0..ROUNDS {
            let expected = format!("called {round}");
            load = soon(tokio::task::spawn_blocking(move || {
                assert_eq!(load.line(), expected);
                load
            }))
            .await
            .unwrap();
            client.publish("s", "t", &round).await.unwrap();
        }
        load
    });
    assert_eq!(load.line(), "ok");
    assert!(load.child.wait().unwrap().success());
}

#[test]
fn an_old_caller_of_a_worker_that_dies_gets_an_error_at_once() {
    let broker = Running::start(Limits::default());
    // No deadline ends this call: only the death does.
    let (called, is_called) = std::sync::mpsc::channel();
    let endpoint = broker.unix.clone();
    let (die, death) = tokio::sync::oneshot::channel::<()>();
    let worker = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let client = IpcClient::connect_to(endpoint).await.unwrap();
            let never = move |_: serde_json::Value, _| {
                let called = called.clone();
                async move {
                    called.send(()).unwrap();
                    std::future::pending::<()>().await;
                    Ok(serde_json::Value::Null)
                }
            };
            let _object = client
                .register("mortal", Methods::new().method("m", never))
                .await
                .unwrap();
            let _ = death.await;
        });
    });
    broker.native(async |client| soon(client.wait_for_object("mortal")).await.unwrap());
    let mut caller = broker.load(&["call", "mortal"]);
    assert_eq!(caller.line(), "connected");
    is_called.recv_timeout(PATIENCE).unwrap();
    drop(die);
    worker.join().unwrap();
    let line = caller.line();
    assert!(line.starts_with("error: Remote error: "), "{line}");
    // And the other way round: an old worker, killed.
    let mut echo = broker.load(&["echo", "old"]);
    assert_eq!(echo.line(), "ready");
    let answer = broker.load(&["call", "old"]).success();
    assert!(answer.ends_with(r#"{"a":1}"#), "{answer}");
    drop(echo);
    let answer = broker.load(&["call", "old"]).success();
    assert!(
        answer.ends_with("error: Remote error: No such object 'old'"),
        "{answer}"
    );
}

#[test]
fn an_old_client_may_be_idle_before_its_first_call() {
    // Of our clients and brokers a handshake takes longer than nothing, and an idle client far longer than this.
    let seconds = std::env::var("OLD_IDLE_SECONDS").unwrap_or_else(|_| "1".into());
    let broker = Running::start(Limits {
        handshake_ms: 200,
        frame_progress_ms: 200,
        ..Limits::default()
    });
    let text = broker.load(&["idle", &seconds, "nobody"]).success();
    assert!(
        text.ends_with("error: Remote error: No such object 'nobody'"),
        "{text}"
    );
}

/// Without `BROKER_ADDR`: the old clients' own place, in a /tmp of its own.
#[test]
fn over_the_unix_socket_of_the_old_broker() {
    let program = |name: &str| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).join(name);
    let ours = std::env::var_os("OURS").map_or_else(|| program("debug/ipc-broker"), PathBuf::from);
    let (Some(worker), Some(rob)) = (old("example_worker"), old("rob")) else {
        return;
    };
    if !ours.exists() {
        return skipped(&format!(
            "there is no {}; build it, or name it in OURS",
            ours.display()
        ));
    }
    let allowed = Command::new("unshare").args(["-m", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return skipped("a mount namespace needs `unshare` and the right to use it");
    }
    // What lies in /tmp is not seen inside.
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [(ours, "ipc-broker"), (worker, "worker"), (rob, "rob")] {
        std::fs::copy(from, folder.path().join(to)).unwrap();
    }
    let script = r#"
        mount --bind "$PROGRAMS" /mnt && mount -t tmpfs tmpfs /tmp && cd /mnt
        export HOME=/tmp
        ./ipc-broker --listen unix:/tmp/ipc_broker.sock >/tmp/broker & broker=$!
        until grep -q listening /tmp/broker; do :; done
        ./worker >/tmp/worker 2>&1 & worker=$!
        until ./rob call rob listObjects | grep -q math; do :; done
        ./rob call math add "{ii}" a 10 b 32
        kill $worker $broker
        wait $broker || true"#;
    let mut command = Command::new("unshare");
    command
        .args(["-m", "timeout", "60", "bash", "-ec", script])
        .env("PROGRAMS", folder.path());
    command.env_remove("BROKER_ADDR");
    let text = Program::spawn(command).success();
    assert!(text.contains("sum : : 42"), "{text}");
}

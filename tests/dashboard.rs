//! The dashboard of the real broker, as browsers, scrapers and strangers meet it: routes, who is answered, and exact counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "dashboard/http.rs"]
mod http;
#[path = "support/signals.rs"]
mod signals;
mod support;

use actix_ipc::actors::Broker as InProcess;
use actix_ipc::client::{IpcClient, Methods};
use actix_ipc::dashboard::{Dashboard, DashboardOptions};
use actix_ipc::message::Payload;
use http::Page;
use serde_json::Value;
use std::io::{Read, Write};
use support::{Broker, broker_command, run};

const SETTINGS: i32 = 78;
const CANNOT_LISTEN: i32 = 73;

/// A broker process with a page at a free port.
fn start() -> (Broker, Page) {
    start_with(&[])
}

fn start_with(more: &[&str]) -> (Broker, Page) {
    let mut broker = Broker::start_with(|command| {
        command.args(["--dashboard", "127.0.0.1:0"]).args(more);
    });
    let page = Page::of_line(&broker.process.line());
    page.get("/healthz");
    broker.is_complete();
    (broker, page)
}

/// Path, status, type of contents, and how they begin.
const ROUTES: [(&str, u16, &str, &str); 14] = [
    ("/", 200, "text/html; charset=utf-8", "<!doctype html>"),
    ("/api/status", 200, "application/json", "{\""),
    ("/api/connections", 200, "application/json", "{\""),
    ("/api/objects?limit=7", 200, "application/json", "{\""),
    ("/api/topics", 200, "application/json", "{\""),
    (
        "/metrics",
        200,
        "text/plain; version=0.0.4; charset=utf-8",
        "# HELP ",
    ),
    ("/healthz", 200, "text/plain; charset=utf-8", "ok\n"),
    ("/api", 404, "text/plain; charset=utf-8", "there is nothing here"),
    (
        "/api/monitor",
        404,
        "text/plain; charset=utf-8",
        "there is nothing here",
    ),
    (
        "/../etc/passwd",
        404,
        "text/plain; charset=utf-8",
        "there is nothing here",
    ),
    (
        "/%2e%2e/%00",
        404,
        "text/plain; charset=utf-8",
        "there is nothing here",
    ),
    (
        "/api/objects?limit=0",
        400,
        "text/plain; charset=utf-8",
        "limit is a number",
    ),
    (
        "/api/objects?limit=10001",
        400,
        "text/plain; charset=utf-8",
        "limit is a number",
    ),
    (
        "/api/objects?limit=x",
        400,
        "text/plain; charset=utf-8",
        "limit is a number",
    ),
];

#[test]
fn every_route_says_what_it_is() {
    let (_broker, page) = start();
    for (path, status, kind, begin) in ROUTES {
        let answer = page.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), kind, "{path}");
        assert!(answer.body.starts_with(begin), "{path}: {answer:?}");
        let head = page.ask("HEAD", path, &[]);
        assert_eq!((head.status, head.body.as_str()), (status, ""), "{path}");
        for answer in [answer, head] {
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            assert_eq!(
                answer.header("cross-origin-resource-policy"),
                "same-origin",
                "{path}"
            );
            let policy = answer.header("content-security-policy");
            assert!(
                policy.contains("default-src 'none'") && !policy.contains("unsafe"),
                "{path}: {policy}"
            );
            assert!(
                !answer
                    .headers
                    .keys()
                    .any(|name| name.starts_with("access-control")),
                "{path}"
            );
            assert!(answer.header("set-cookie").is_empty(), "{path}");
        }
    }
}

#[test]
fn a_stream_has_a_head_too() {
    let (_broker, page) = start();
    let head = page.ask("HEAD", "/api/stream", &[]);
    assert_eq!(
        (head.status, head.header("content-type"), head.body.as_str()),
        (200, "text/event-stream", "")
    );
}

#[test]
fn each_answer_allows_its_own_script_only() {
    let (_broker, page) = start();
    let nonces: Vec<String> = (0..2)
        .map(|_| {
            let answer = page.get("/");
            let policy = answer.header("content-security-policy").to_owned();
            let nonce = policy
                .split("script-src 'nonce-")
                .nth(1)
                .unwrap()
                .split('\'')
                .next()
                .unwrap();
            assert_eq!(answer.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
            assert!(policy.contains("require-trusted-types-for 'script'"), "{policy}");
            nonce.to_owned()
        })
        .collect();
    assert_eq!(nonces[0].len(), 32);
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn it_cannot_be_told_to_do_anything() {
    let (_broker, page) = start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/", "/api/status", "/api/stream", "/metrics", "/nothing"] {
            let answer = page.ask(method, path, &[]);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), "GET, HEAD");
        }
    }
    assert_eq!(page.ask("GET", "/", &[("content-length", "3")]).status, 400);
}

#[test]
fn other_names_and_other_pages_are_refused() {
    let (_broker, page) = start();
    let port = page.0.port();
    for path in ["/", "/api/status", "/api/stream", "/metrics", "/healthz"] {
        for host in [
            "evil.example".to_owned(),
            format!("evil.example:{port}"),
            format!("127.0.0.1:{}", port ^ 1),
        ] {
            assert_eq!(
                page.ask("GET", path, &[("host", &host)]).status,
                421,
                "{path} {host}"
            );
        }
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let answer = page.ask("GET", path, &[foreign]);
            assert_eq!(answer.status, 403, "{path} {foreign:?}");
            assert!(answer.body.contains("another site"), "{answer:?}");
        }
    }
    assert_eq!(
        page.ask("GET", "/healthz", &[("host", &format!("localhost:{port}"))])
            .status,
        200
    );
}

#[test]
fn heads_that_are_too_large_or_never_end_are_given_up() {
    let (_broker, page) = start();
    let large = "x".repeat(9_000);
    assert_eq!(page.ask("GET", "/", &[("x", &large)]).status, 431);
    assert_eq!(page.get(&format!("/{large}")).status, 414);
    let mut slow = page.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).expect("the server ends it");
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
    assert_eq!(page.get("/healthz").status, 200);
}

#[test]
fn a_policy_says_who_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(
        &path,
        "[[allow]]\nuid = 4000000\nconnect = true\nmonitor = true\n",
    )
    .unwrap();
    let (broker, page) = start_with(&["--policy", path.to_str().unwrap()]);
    for path in ["/", "/api/status", "/api/stream", "/metrics", "/healthz"] {
        let answer = page.get(path);
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        assert!(answer.body.contains("may not monitor"), "{answer:?}");
    }
    drop(broker);
    let (_broker, page) = start_with(&["--policy", path.to_str().unwrap(), "--dashboard-anyone"]);
    assert_eq!(page.get("/api/status").status, 200, "anyone is anyone");
}

/// Asks as another user, for which it takes root and Python.
#[test]
#[cfg(unix)]
fn another_user_of_this_machine_is_refused() {
    use std::os::unix::process::CommandExt;
    let root = rustix::process::geteuid().is_root();
    if !root || !std::path::Path::new("/usr/bin/python3").exists() {
        eprintln!("SKIPPED: asking as another user takes root and python3");
        return;
    }
    let (_broker, page) = start();
    let script = "import sys, urllib.request, urllib.error\n\
                  try:\n    print(urllib.request.urlopen(sys.argv[1], timeout=30).status)\n\
                  except urllib.error.HTTPError as error:\n    print(error.code, error.read().decode())\n";
    for (uid, expected) in [(0, "200"), (65_534, "403 this user may not monitor")] {
        let mut command = support::command("/usr/bin/python3");
        command.args(["-I", "-c", script, &format!("http://{}/api/status", page.0)]);
        command.current_dir("/").uid(uid);
        let ended = run(&mut command);
        assert!(ended.success().starts_with(expected), "{uid}: {ended:?}");
    }
}

#[test]
fn where_it_is_served_is_a_setting_like_any_other() {
    let shown = run(broker_command().args(["config", "show", "--dashboard", "localhost:0"]));
    assert!(
        shown
            .success()
            .lines()
            .any(|line| line.starts_with("dashboard = \"localhost:0\"") && line.ends_with("# --dashboard"))
    );
    let shown = run(broker_command()
        .args(["config", "show"])
        .env("IPC_BROKER_DASHBOARD", "[::1]:0"));
    assert!(
        shown
            .success()
            .lines()
            .any(|line| line.ends_with("# IPC_BROKER_DASHBOARD")),
        "{shown:?}"
    );
    let shown = run(broker_command().args(["config", "show"]));
    assert!(
        shown.success().contains("dashboard = \"\""),
        "off unless asked: {shown:?}"
    );
    for (arguments, said) in [
        (&["--dashboard", "here"][..], "write an address and a port"),
        (&["--dashboard", "0.0.0.0:0"], "--dashboard-anyone"),
        (&["--dashboard-anyone"], "only with a dashboard"),
    ] {
        let ended = run(broker_command().args(arguments));
        assert_eq!(ended.code(), SETTINGS, "{ended:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn an_address_in_use_stops_the_start() {
    let (_broker, page) = start();
    let folder = tempfile::tempdir().unwrap();
    let endpoint = support::endpoint_in(folder.path());
    let ended = run(broker_command().args(["--listen", &endpoint, "--dashboard", &page.0.to_string()]));
    assert_eq!(ended.code(), CANNOT_LISTEN, "{ended:?}");
    assert!(
        ended.stderr.contains("the dashboard cannot listen on"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stdout, "", "nobody is told of a broker that ends");
}

#[test]
fn a_page_for_anyone_says_so_loudly() {
    let (broker, page) = start_with(&["--dashboard-anyone"]);
    let warning = broker.process.line();
    assert!(
        warning.starts_with("warning: the dashboard answers EVERYBODY"),
        "{warning}"
    );
    broker.process.wait_for_error_line("EVERYBODY");
    assert_eq!(page.get("/api/status").status, 200);
    assert_eq!(
        page.ask("GET", "/", &[("host", "evil.example")]).status,
        421,
        "its name is checked all the same"
    );
}

/// Names of objects and topics that would be something else in HTML, JSON, a terminal or a label.
const HOSTILE: [&str; 5] = [
    "<script>alert(1)</script>",
    "a\"} 1 # \\n'`&lt;${x}",
    "\u{202e}drow\u{2066}\u{feff}",
    "</style><img src=x onerror=alert(2)>",
    "data: x, event: trouble",
];

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The row with this value under this key.
#[track_caller]
fn row<'a>(rows: &'a Value, key: &str, value: &str) -> &'a Value {
    let found = rows.as_array().unwrap().iter().find(|row| row[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value:?} in {rows}"))
}

/// A worker that serves and hears every hostile name, and a caller that calls and publishes to each ten times more than to the one before.
/// Returns what must be kept.
async fn hostile_traffic(endpoint: actix_ipc::Endpoint) -> impl Sized {
    let worker = IpcClient::builder().endpoint(endpoint.clone());
    let worker = worker.name(HOSTILE[3]).connect().await.unwrap();
    let caller = IpcClient::connect_to(endpoint).await.unwrap();
    let mut kept = Vec::new();
    for (index, name) in HOSTILE.into_iter().enumerate() {
        let same = |value: u64, _| async move { Ok(value) };
        let methods = Methods::new().method("same", same);
        let registered = worker.register(name, methods).await.unwrap();
        let mut heard = worker.subscribe(name, name).await.unwrap();
        for number in 0..10 * (index as u64 + 1) {
            let answer: u64 = caller.remote_call(name, "same", number).await.unwrap();
            assert_eq!(answer, number);
            let event = caller.publish_payload(name, name, Payload::raw(vec![1; 8]));
            event.acknowledged().await.unwrap();
            heard.next().await.unwrap();
        }
        kept.push((registered, heard));
    }
    (worker, caller, kept)
}

#[test]
fn hostile_names_stay_text_and_counts_are_exact() {
    let (broker, page) = start();
    let endpoint: actix_ipc::Endpoint = broker.endpoint().parse().unwrap();
    let traffic = tokio_runtime();
    let clients = traffic.block_on(hostile_traffic(endpoint));

    let (kind, sample) = page.stream().next();
    assert_eq!(kind, "sample");
    let objects = page.get("/api/objects").json();
    let topics = page.get("/api/topics").json();
    let metrics = page.get("/metrics");
    for (index, name) in HOSTILE.iter().enumerate() {
        let count = 10 * (index as u64 + 1);
        for objects in [&objects, &sample["objects"]] {
            let object = row(&objects["objects"], "name", name);
            assert_eq!(
                (
                    object["calls"].as_u64(),
                    object["errors"].as_u64(),
                    object["open"].as_u64()
                ),
                (Some(count), Some(0), Some(0))
            );
            let answered: u64 = object["histogram"]
                .as_array()
                .unwrap()
                .iter()
                .map(|bucket| bucket[1].as_u64().unwrap())
                .sum();
            assert_eq!(answered, count);
            assert_eq!(object["owner"]["name"], HOSTILE[3]);
        }
        for topics in [&topics, &sample["topics"]] {
            let topic = row(&topics["topics"], "topic", name);
            assert_eq!(
                (topic["events"].as_u64(), topic["subscribers"].as_u64()),
                (Some(count), Some(1))
            );
        }
        let shown = actix_ipc::text::printable(name)
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        assert_eq!(
            metrics.metric(&format!("ipc_broker_object_calls_total{{object=\"{shown}\"}}")),
            count
        );
        let label = format!("{{object=\"{shown}\",topic=\"{shown}\",pattern=\"false\"}}");
        assert_eq!(
            metrics.metric(&format!("ipc_broker_topic_events_total{label}")),
            count
        );
    }
    let document = page.get("/").body;
    for name in HOSTILE {
        assert!(!document.contains(name), "no text of a peer is in the document");
    }
    assert_eq!(metrics.metric("ipc_broker_calls_total"), 150);
    assert_eq!(metrics.metric("ipc_broker_events_published_total"), 150);
    traffic.block_on(async move { drop(clients) });
}

#[test]
fn what_a_bench_says_it_did_is_what_the_broker_counted() {
    let (broker, page) = start();
    let bench = |line: &str| -> Value {
        let ended = broker.rob(&format!(
            "bench {line} --seconds 0.2 --json --addr {}",
            broker.endpoint()
        ));
        serde_json::from_str(ended.success()).unwrap()
    };
    let calls = bench("rpc --payload 16 --in-flight 4 --callers 2");
    let events = bench("pubsub --payload 64 --publishers 2 --subscribers 3 --topics 2");
    assert_eq!(events["lost"], 0);
    let (calls, events) = (
        calls["total"].as_u64().unwrap(),
        events["total"].as_u64().unwrap(),
    );
    assert!(calls > 0 && events > 0);
    let status = page.get("/api/status").json();
    assert_eq!(status["totals"]["calls"], calls);
    assert_eq!(status["totals"]["errors"], 0);
    assert_eq!(status["totals"]["open"], 0);
    assert_eq!(status["metrics"]["events_published"], events);
    assert_eq!(status["metrics"]["events_delivered"], 3 * events);
    let metrics = page.get("/metrics");
    assert_eq!(metrics.metric("ipc_broker_calls_total"), calls);
    assert_eq!(metrics.metric("ipc_broker_events_published_total"), events);
    assert_eq!(metrics.metric("ipc_broker_events_delivered_total"), 3 * events);
}

/// A page in this process whose broker has ended already.
#[test]
fn without_a_broker_nobody_is_healthy() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (done, end) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let folder = tempfile::tempdir().unwrap();
            let endpoint = support::endpoint_in(folder.path());
            let broker = InProcess::builder()
                .listen(endpoint.parse().unwrap())
                .start()
                .unwrap();
            let options = DashboardOptions::new("127.0.0.1:0".parse().unwrap());
            let page = Dashboard::start(&broker, &options).unwrap();
            broker.stop().await;
            sender.send(page.address()).unwrap();
            let _ = end.await;
            page.stop().await;
        });
    });
    let page = Page(receiver.recv().unwrap());
    for path in ["/healthz", "/metrics", "/api/status"] {
        let answer = page.get(path);
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(
            answer.body.starts_with("the broker does not answer: "),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(page.get("/").status, 200, "the page itself says so");
    done.send(()).unwrap();
    thread.join().unwrap();
}

#[test]
fn what_is_no_request_leaves_no_line_in_the_log() {
    let (broker, page) = start();
    for _ in 0..3 {
        let mut wrong = page.connect();
        wrong
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        let _ = wrong.read_to_end(&mut answer);
        assert!(
            answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    signals::terminate(&broker.process);
    let ended = broker.process.end();
    for word in ["actix_http", "actix_server", "ERROR"] {
        assert!(!ended.stderr.contains(word), "{}", ended.stderr);
    }
}

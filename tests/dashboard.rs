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

#[path = "dashboard/counts.rs"]
mod counts;
#[path = "dashboard/http.rs"]
mod http;
#[path = "dashboard/settings.rs"]
mod settings;
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

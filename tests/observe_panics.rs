//! A panic of a core actor, really caused in a broker's own process, as people and programs see it: `rob status`, `rob top`, the web page's
//! routes and its metrics.
//!
//! Needs the feature `inject-panics`, which no default build has: names that begin with `inject.before` make the actor panic.
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
#![cfg(all(feature = "inject-panics", feature = "cli"))]

#[cfg(feature = "dashboard")]
#[path = "dashboard/http.rs"]
mod http;
mod support;

use actix_ipc::{ErrorCode, IpcClient, Methods};
use futures::executor::block_on;
use serde_json::{Value, json};
use support::Broker;

/// Makes Registry panic `names` times and TopicHub once, each for an author of its own.
fn poison(broker: &Broker, names: usize) {
    let client = |name: String| {
        let endpoint = broker.endpoint().parse().unwrap();
        let builder = IpcClient::builder().endpoint(endpoint).name(name);
        block_on(builder.reconnect(false).connect()).unwrap()
    };
    for number in 0..names {
        let author = client(format!("author {number}"));
        let registered = block_on(async { author.register("inject.before", Methods::new()).await });
        let error = registered.unwrap_err();
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::Internal, true),
            "{error}"
        );
    }
    let author = client("hub's author".to_owned());
    let subscribed = block_on(async { author.subscribe("inject.before", "x").await });
    assert_eq!(subscribed.unwrap_err().code, ErrorCode::Internal);
}

/// The panics among the happenings: how many entries, and their counts together.
fn panics(status: &Value) -> (usize, u64) {
    let recent = status["recent"].as_array().unwrap();
    let panics = recent.iter().filter(|entry| entry["kind"] == "panic");
    let counts = panics.map(|entry| {
        assert!(entry["text"].as_str().unwrap().contains("injected"), "{entry}");
        assert!(
            entry["unix_ms"].as_u64().unwrap() > 0 && entry["peer"].is_u64(),
            "{entry}"
        );
        entry["count"].as_u64().unwrap()
    });
    let counts: Vec<u64> = counts.collect();
    (counts.len(), counts.iter().sum())
}

#[test]
fn a_panic_is_seen_by_who_looks() {
    let broker = Broker::start();
    let before: Value = serde_json::from_str(broker.rob("--json status --since-start").success()).unwrap();
    assert_eq!(before["restarts"], json!({ "registry": 0, "topic_hub": 0 }));
    assert_eq!(panics(&before), (0, 0));
    poison(&broker, 2);

    let status: Value = serde_json::from_str(broker.rob("--json status --since-start").success()).unwrap();
    assert_eq!(status["restarts"], json!({ "registry": 2, "topic_hub": 1 }));
    assert_eq!(status["metrics"]["panics"], 3);
    assert_eq!(panics(&status), (3, 3));

    let shown = broker.rob("status --since-start");
    let shown = shown.success();
    assert!(shown.contains("Restarts: registry 2, topic_hub 1\n"), "{shown}");
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains("injected")).collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines.iter().all(|line| line.contains("panic")), "{shown}");

    let sample: Value = serde_json::from_str(broker.rob("--json top --count 1").success()).unwrap();
    assert_eq!(sample["totals"]["restarts"], 3, "{sample}");
}

#[test]
#[cfg(feature = "dashboard")]
fn a_panic_is_on_the_page_and_in_the_metrics() {
    let mut broker = Broker::start_with(|command| {
        command.args(["--dashboard", "127.0.0.1:0"]);
    });
    let page = http::Page::of_line(&broker.process.line());
    page.get("/healthz");
    broker.is_complete();
    let restarts = |actor: &str| {
        let series = format!("ipc_broker_restarts_total{{actor=\"{actor}\"}}");
        page.get("/metrics").metric(&series)
    };
    assert_eq!((restarts("registry"), restarts("topic_hub")), (0, 0));
    poison(&broker, 1);
    assert_eq!((restarts("registry"), restarts("topic_hub")), (1, 1));
    assert_eq!(page.get("/metrics").metric("ipc_broker_panics_total"), 2);
    assert_eq!(panics(&page.get("/api/status").json()), (2, 2));
    let (event, sample) = page.stream().next();
    assert_eq!((event.as_str(), panics(&sample["status"])), ("sample", (2, 2)));
    assert_eq!(
        sample["status"]["restarts"],
        json!({ "registry": 1, "topic_hub": 1 })
    );
}

//! What the page shows of what passes the broker: names stay text, and counts are those of who made the traffic.

use super::*;

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

//! The trace context of a call and of an event, from who sends it to who gets it, and the span around a handler.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

mod support;

use actix_ipc::client::{CallContext, IpcClient, Methods};
use actix_ipc::message::{Metadata, TraceParent};
use actix_ipc::{CallError, ErrorCode, HandlerError};
use futures::executor::block_on;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use support::{Broker, run};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn client(broker: &Broker) -> IpcClient {
    let builder = IpcClient::builder().endpoint(broker.endpoint().parse().unwrap());
    builder.name("tester").connect().await.unwrap()
}

/// An object that answers with the trace context of the call.
fn tracer() -> Methods {
    Methods::new().method("trace", |(): (), context: CallContext| async move {
        tracing::info!("inside");
        Ok(context.traceparent().map(|parent| parent.to_string()))
    })
}

#[test]
fn a_call_and_an_event_take_it_along() {
    let broker = Broker::start();
    block_on(async {
        let client = client(&broker).await;
        let registration = client.register("tracer", tracer()).await.unwrap();
        let parent: TraceParent = PARENT.parse().unwrap();
        let call = || client.call("tracer", "trace");
        let with: Option<String> = call().traceparent(parent).send(&()).await.unwrap();
        assert_eq!(with.as_deref(), Some(PARENT));
        let without: Option<String> = call().send(&()).await.unwrap();
        assert_eq!(without, None);

        // It is beside other metadata, and in the place of one that is there; what is none is nobody's.
        let mut metadata = Metadata::new();
        metadata.insert("traceparent", "forged").unwrap();
        let forged: Option<String> = call().metadata(metadata.clone()).send(&()).await.unwrap();
        assert_eq!(forged, None);
        let both: Option<String> = call()
            .traceparent(parent)
            .metadata(metadata)
            .send(&())
            .await
            .unwrap();
        assert_eq!(both.as_deref(), Some(PARENT));
        let mut full = Metadata::new();
        full.insert("k", vec![0; 8_150]).unwrap();
        let error: CallError = call()
            .metadata(full)
            .traceparent(parent)
            .send::<_, Option<String>>(&())
            .await
            .unwrap_err();
        assert_eq!((error.code, error.may_have_run), (ErrorCode::Invalid, false));

        let mut events = client.subscribe("sensor", "temperature").await.unwrap();
        client
            .publish("sensor", "temperature", &21.5)
            .traceparent(parent)
            .await
            .unwrap();
        client.publish("sensor", "temperature", &22.0).await.unwrap();
        assert_eq!(events.next().await.unwrap().traceparent(), Some(parent));
        assert_eq!(events.next().await.unwrap().traceparent(), None);
        drop((events, registration));
        client.close().await;
    });
}

#[test]
fn rob_passes_the_trace_that_it_runs_in() {
    let broker = Broker::start();
    block_on(async {
        let client = client(&broker).await;
        let registration = client.register("tracer", tracer()).await.unwrap();
        let mut events = client.subscribe("sensor", "temperature").await.unwrap();
        for (value, expected) in [(PARENT, format!("{PARENT:?}\n")), ("00-none", "null\n".into())] {
            let mut call = broker.rob_command(["--json", "call", "tracer", "trace"]);
            assert_eq!(run(call.env("TRACEPARENT", value)).success(), expected);
            let mut send = broker.rob_command(["send", "sensor", "temperature", "d", "21.5"]);
            run(send.env("TRACEPARENT", value)).success();
            let event = events.next().await.unwrap();
            assert_eq!(event.traceparent(), value.parse().ok(), "{value}");
        }
        drop((events, registration));
        client.close().await;
    });
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_handler_logs_is_inside_the_span_of_its_call() {
    let broker = Broker::start();
    for (level, spanned) in [("debug", true), ("info", false)] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(level))
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        // Of this thread: the client and its handler run on it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tracing::subscriber::with_default(subscriber, || {
            runtime.block_on(async {
                let client = client(&broker).await;
                let registration = client.register("tracer", tracer()).await.unwrap();
                let call = client
                    .call("tracer", "trace")
                    .traceparent(PARENT.parse().unwrap());
                let answer: Option<String> = call.send(&()).await.unwrap();
                assert_eq!(answer.as_deref(), Some(PARENT));
                drop(registration);
                client.close().await;
            });
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let line = text.lines().find(|line| line.ends_with("inside")).unwrap();
        let span = "call{object=tracer method=trace caller=";
        assert_eq!(line.contains(span), spanned, "{level}: {line}");
        assert_eq!(
            line.contains(&format!("traceparent={PARENT}")),
            spanned,
            "{level}: {line}"
        );
        assert_eq!(line.contains("name=tester"), spanned, "{level}: {line}");
    }
}

/// The lines that the broker logs of calls, up to the one that ends so.
fn calls_until(broker: &Broker, method: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    loop {
        let line = broker.process.wait_for_error_line("actix_ipc::calls");
        let line: Value = serde_json::from_str(&line).unwrap();
        let last = line["method"] == method;
        lines.push(line);
        if last {
            return lines;
        }
    }
}

#[test]
fn the_broker_has_a_line_for_each_call() {
    let broker = Broker::start_with(|command| {
        command.args(["--log", "actix_ipc::calls=trace", "--log-format", "json"]);
    });
    block_on(async {
        let client = client(&broker).await;
        let methods = tracer()
            .method("refuse", |(): (), _| async {
                Err::<(), _>(HandlerError::new("no"))
            })
            .method("never", |(): (), _| {
                std::future::pending::<Result<(), HandlerError>>()
            });
        let registration = client.register("tracer", methods).await.unwrap();
        let call = |method| client.call("tracer", method);
        let parent: TraceParent = PARENT.parse().unwrap();
        let _: Option<String> = call("trace").traceparent(parent).send(&()).await.unwrap();
        call("refuse").send::<_, ()>(&()).await.unwrap_err();
        let short = std::time::Duration::from_millis(1);
        call("never")
            .deadline(short)
            .send::<_, ()>(&())
            .await
            .unwrap_err();
        client
            .call("no\u{202e}body", "at all")
            .send::<_, ()>(&())
            .await
            .unwrap_err();
        call("one").no_reply(&()).await.unwrap();
        call("last").no_reply(&()).await.unwrap();
        drop(registration);
        client.close().await;
    });
    let lines = calls_until(&broker, "last");
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let own: Vec<_> = lines
        .iter()
        .map(|line| text(line, "method") + ": " + &text(line, "outcome"))
        .collect();
    let expected = [
        "trace: answered",
        "refuse: Handler",
        "never: Deadline",
        "at all: NoSuchObject",
        "one: one-way",
        "last: one-way",
    ];
    assert_eq!(own, expected);
    let first = &lines[0];
    assert_eq!(
        (&first["level"], &first["object"]),
        (&json!("TRACE"), &json!("tracer"))
    );
    assert_eq!(first["traceparent"], PARENT);
    assert!(first["us"].is_u64() && first["ticket"].is_u64(), "{first}");
    assert_eq!(first["from"], first["to"], "the client calls itself");
    assert_eq!(lines[3]["object"], "no\\u{202e}body");
    assert!(
        lines[3].get("to").is_none() && lines[3].get("us").is_none(),
        "{}",
        lines[3]
    );
}

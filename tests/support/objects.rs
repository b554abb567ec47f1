//! An object for the tests of `rob`: answers, errors and streams of every kind, served from the test's own process.
//!
//! Handlers run in the client library's pool for plain threads, so a test needs no run-time.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::client::{IncomingCall, Registration, Response};
use actix_ipc::{Encoding, Handler, HandlerError, IpcClient, Methods, Payload, async_trait};
use futures::channel::mpsc::UnboundedReceiver;
use futures::executor::block_on;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Mutex;

/// What no terminal should get to see.
const NASTY: &str = "\u{1b}[2J\u{7}\r\nforged\u{9b}31m";

#[derive(Deserialize)]
struct Pair {
    a: i64,
    b: i64,
}

/// The object: see [`serve`] for its methods.
struct Object {
    methods: Methods,
    /// The items of `gated`, given by the test one by one.
    gated: Mutex<Option<UnboundedReceiver<i64>>>,
}

#[async_trait]
impl Handler for Object {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        match &*call.context.method {
            "raw" => Ok(Response::payload(Payload::raw(&b"\xff\x00\x01"[..]))),
            "text" => Ok(Response::payload(Payload::raw("plain text"))),
            "postcard" => Ok(Response::payload(
                Payload::encode(Encoding::POSTCARD, &7_u8).unwrap(),
            )),
            "panic" => panic!("on purpose"),
            "never" => std::future::pending().await,
            "gated" => {
                let items = self.gated.lock().unwrap().take().expect("only one call");
                Ok(Response::stream(
                    items.map(|item| Ok(Payload::json(&item).unwrap())),
                ))
            }
            _ => self.methods.handle(call).await,
        }
    }
}

/// Registers the object as `math` and returns what keeps it there.
pub fn serve(endpoint: &str) -> Registration {
    serve_gated(endpoint, None)
}

/// The same; `gated` answers with the items of the channel.
pub fn serve_gated(endpoint: &str, gated: Option<UnboundedReceiver<i64>>) -> Registration {
    let methods = Methods::new()
        .method("add", |Pair { a, b }: Pair, _| async move {
            Ok(json!({ "sum": a + b }))
        })
        .method("echo", |value: Value, _| async move { Ok(value) })
        .method(
            "nasty",
            |_: Value, _| async move { Ok(json!({ NASTY: [NASTY] })) },
        )
        .method(
            "caller",
            |_: Value, context| async move { Ok(context.caller_name) },
        )
        .method("fail", |_: Value, _| async move {
            let value = Payload::json(&json!({ "free": 0 })).unwrap();
            let error = HandlerError::new(format!("disk full{NASTY}"))
                .named("disk.full")
                .with_payload(value);
            Err::<Value, _>(error)
        })
        .stream("count", |to: u64, _| stream::iter((0..to).map(Ok)))
        .stream("broken", |_: Value, _| {
            stream::iter([Ok(1), Err(HandlerError::new("out of items"))])
        });
    let object = Object {
        methods,
        gated: Mutex::new(gated),
    };
    block_on(async {
        let client = IpcClient::builder()
            .endpoint(endpoint.parse().unwrap())
            .name("worker")
            .connect()
            .await
            .unwrap();
        let description = r#"{"methods":["add","echo"]}"#;
        client
            .register("math", object)
            .description(description)
            .await
            .unwrap()
    })
}

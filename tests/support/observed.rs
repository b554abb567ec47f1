//! What the tests of `rob status`, `watch`, `monitor`, `record` and `replay` have in common: an object that adds, clients, and what rob
//! printed as JSON. Expects what people do to processes beside it, as `crate::signals`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use crate::support::{Broker, Ended, Process, until};
use actix_ipc::client::Registration;
use actix_ipc::{IpcClient, SharedObject, async_trait};
use futures::executor::block_on;
use serde_json::{Value, json};

/// Adds, and refuses everything else.
pub struct Math;

#[async_trait]
impl SharedObject for Math {
    async fn call(&self, _: &str, args: &Value) -> Value {
        json!({ "sum": args["a"].as_i64().unwrap_or_default() + args["b"].as_i64().unwrap_or_default() })
    }
}

pub fn client(broker: &Broker, name: &str) -> IpcClient {
    let builder = IpcClient::builder()
        .endpoint(broker.endpoint().parse().unwrap())
        .name(name);
    block_on(builder.connect()).unwrap()
}

pub fn serve(client: &IpcClient, name: &str) -> Registration {
    block_on(client.register_object(name, Math).into_future()).unwrap()
}

pub fn add(client: &IpcClient, object: &str, a: i64) -> Result<Value, actix_ipc::error::CallError> {
    block_on(client.call(object, "add").send(&json!({ "a": a, "b": 1 })))
}

pub fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub fn json_line(process: &Process) -> Value {
    let line = process.line();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

pub fn status(broker: &Broker) -> Value {
    lines(broker.rob("--json status --since-start").success()).remove(0)
}

/// So many monitors watch: the broker counts them.
#[track_caller]
pub fn monitors(broker: &Broker, count: u64) {
    until(&format!("{count} monitors"), || {
        status(broker)["monitors"] == count
    });
}

pub fn interrupted(process: Process) -> Ended {
    crate::signals::interrupt(&process);
    process.end()
}

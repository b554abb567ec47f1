//! `sys.broker` asked through the client library, and the stream of its monitor.
//!
//! Owns no sleep: each item is waited for, and one that does not come fails the test.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::CallError;
use actix_ipc::client::{IpcClient, ReplyStream};
use serde_json::{Value, json};
use std::time::Duration;

/// How long something may take that is to come: only a broker that has forgotten it takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a method of `sys.broker`.
pub async fn ask(client: &IpcClient, method: &str, argument: Value) -> Value {
    client
        .remote_call::<_, Value>("sys.broker", method, argument)
        .await
        .unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// The row of a list whose key has this value.
#[track_caller]
pub fn row<'v>(list: &'v Value, kind: &str, key: &str, name: &str) -> &'v Value {
    let rows = list[kind].as_array().unwrap();
    let found = rows.iter().find(|row| row[key] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// What one monitor is told.
pub struct Watching(pub ReplyStream<Value>, pub Vec<Value>, pub u64);

impl Watching {
    pub async fn start(client: &IpcClient, filter: Value) -> Result<Self, CallError> {
        let mut stream: ReplyStream<Value> = client.call("sys.broker", "monitor").stream(&filter);
        let first = tokio::time::timeout(PATIENCE, stream.next()).await;
        let first = first.expect("no first item").expect("the stream ended")?;
        assert_eq!(first, json!({ "records": [], "dropped": 0 }));
        Ok(Self(stream, Vec::new(), 0))
    }

    /// The next record.
    pub async fn next(&mut self) -> Value {
        while self.1.is_empty() {
            let item = tokio::time::timeout(PATIENCE, self.0.next()).await;
            let item = item.expect("no record came").unwrap().unwrap();
            self.2 += item["dropped"].as_u64().unwrap();
            self.1.extend(item["records"].as_array().unwrap().iter().cloned());
        }
        self.1.remove(0)
    }
}

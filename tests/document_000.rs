//! The Rust snippets of the document that this library answers to, with nothing changed but their `use` lines (and
//! `main`, which cannot be a test's name twice in one file: each stands in a module of its own).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/broker.rs"]
mod broker;
mod support;

mod worker {
    use actix_ipc::async_trait;
    use actix_ipc::client::{SharedObject, WorkerBuilder};
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    #[derive(Deserialize, Serialize)]
    struct Args {
        a: i32,
        b: i32,
    }

    pub(crate) struct Calculator;

    #[async_trait]
    impl SharedObject for Calculator {
        async fn call(&self, method: &str, args: &Value) -> Value {
            let parsed = serde_json::from_value(args.clone());
            match (method, parsed) {
                ("add", Ok(Args { a, b })) => json!({"sum": (a + b)}),
                ("mul", Ok(Args { a, b })) => json!({"product": (a * b)}),
                (_, Err(e)) => Value::String(format!("Invalid args: {e}")),
                _ => Value::String("Unknown method".into()),
            }
        }
    }

    #[tokio::main]
    pub(crate) async fn main() -> std::io::Result<()> {
        let calc = Calculator;
        WorkerBuilder::new().add("math", calc).spawn().await?;
        Ok(())
    }
}

mod client {
    use actix_ipc::client::IPCClient;
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    #[derive(Serialize, Deserialize, Debug)]
    struct Param {
        a: i32,
        b: i32,
    }

    #[tokio::main]
    pub(crate) async fn main() -> std::io::Result<()> {
        // --- pick transport ---
        let proxy = IPCClient::connect().await?;
        let response = proxy
            .remote_call::<Param, Value>("math", "add", Param { a: 10, b: 32 })
            .await?;
        println!("Client got response: {response}");
        assert_eq!(response["sum"], 42);
        Ok(())
    }
}

mod publisher {
    use actix_ipc::client::IPCClient;
    use serde_json::Value;

    #[tokio::main]
    pub(crate) async fn main() -> std::io::Result<()> {
        let proxy = IPCClient::connect().await?;
        proxy
            .publish("sensor", "temperature", &Value::String("25.6°C".into()))
            .await?;
        println!("[Publisher] done broadcasting");
        Ok(())
    }
}

mod subscriber {
    use actix_ipc::client::IPCClient;

    #[tokio::main]
    pub(crate) async fn main() -> std::io::Result<()> {
        let client = IPCClient::connect().await?;
        client
            .subscribe_async("sensor", "temperature", |value| {
                println!("[News] Received: {value:?}");
            })
            .await;
        tokio::signal::ctrl_c().await?;
        Ok(())
    }
}

use support::{Process, this_program};

/// Which snippet a child process of the test is to run.
const ROLE: &str = "DOCUMENT_000_ROLE";

fn start(role: &str, endpoint: &str) -> Process {
    let mut command = this_program("role");
    command.env(ROLE, role);
    Process::spawn(command.env(actix_ipc::client::ADDRESS_VARIABLE, endpoint))
}

/// Not a test of its own: the body of the child processes.
#[test]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("worker") => worker::main().unwrap(),
        Ok("client") => client::main().unwrap(),
        Ok("publisher") => publisher::main().unwrap(),
        Ok("subscriber") => subscriber::main().unwrap(),
        _ => {}
    }
}

#[test]
fn the_snippets_work_together() {
    use actix_ipc::client::blocking::Client;
    use std::time::Duration;

    let place = broker::Place::new();
    let broker = place.start();
    let endpoint = broker.endpoint.to_string();
    let watch = Client::connect_to(broker.endpoint.clone()).unwrap();
    let _worker = start("worker", &endpoint);
    watch.wait_for_object("math", Duration::from_secs(20)).unwrap();
    let client = start("client", &endpoint).end();
    let text = client.success();
    assert!(text.contains(r#"Client got response: {"sum":42}"#), "{text}");

    let subscriber = start("subscriber", &endpoint);
    // The document's subscriber says nothing before its first event; the count of subscribers does.
    support::until("the subscriber is there", || {
        let heard = watch.publish_acknowledged("sensor", "temperature", "first");
        heard.unwrap() > 0
    });
    start("publisher", &endpoint).end().success();
    let heard = subscriber.wait_for("25.6°C");
    assert!(heard.contains(r#"[News] Received: String("25.6°C")"#), "{heard}");
}

//! A worker: the object `math` with the methods `add` and `mul`.
//!
//! Start a broker first (`cargo run --release`), then this program, then ask it: `rob call math add {ii} a 10 b 32`.
//! It waits for a broker, comes back when the broker was restarted, and ends with Ctrl-C.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::{SharedObject, WorkerBuilder, async_trait};
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Deserialize)]
struct Args {
    a: i64,
    b: i64,
}

struct Calculator;

#[async_trait]
impl SharedObject for Calculator {
    async fn call(&self, method: &str, args: &Value) -> Value {
        match (method, serde_json::from_value(args.clone())) {
            ("add", Ok(Args { a, b })) => json!({ "sum": a.saturating_add(b) }),
            ("mul", Ok(Args { a, b })) => json!({ "product": a.saturating_mul(b) }),
            (_, Err(error)) => Value::String(format!("Invalid args: {error}")),
            _ => Value::String("Unknown method".into()),
        }
    }
}

async fn run() -> std::io::Result<()> {
    let (worker, stop) = WorkerBuilder::new()
        .name("calculator")
        .add("math", Calculator)
        .on_serving(|| eprintln!("serving the object \"math\" (methods add, mul); Ctrl-C ends it"))
        .with_graceful_shutdown();
    actix::spawn(async move {
        let interrupted = tokio::signal::ctrl_c().await;
        eprintln!("stopping: {interrupted:?}");
        stop.send_replace(true);
    });
    eprintln!("waiting for a broker, if there is none yet");
    worker.spawn().await
}

#[actix::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

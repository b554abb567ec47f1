//! A worker: the object `math` with the methods `add` and `mul`.
//!
//! Start a broker first (`cargo run --release`), then this program, then ask it: `rob call math add {ii} a 10 b 32`.
//! It waits for a broker, comes back when the broker was restarted, and ends with Ctrl-C.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::{Methods, WorkerBuilder};
use serde::Deserialize;
use serde_json::json;
use std::process::ExitCode;

#[derive(Deserialize)]
#[serde(expecting = "a map with the integers a and b")]
struct Args {
    a: i64,
    b: i64,
}

/// A method that is not here, and arguments that do not fit, are answered with an error that names them.
fn calculator() -> Methods {
    Methods::new()
        .method("add", |Args { a, b }, _| async move {
            Ok(json!({ "sum": a.saturating_add(b) }))
        })
        .method("mul", |Args { a, b }, _| async move {
            Ok(json!({ "product": a.saturating_mul(b) }))
        })
}

async fn run() -> std::io::Result<()> {
    let (worker, stop) = WorkerBuilder::new()
        .name("calculator")
        .add_handler("math", calculator())
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

//! A caller: asks the object `math` of `examples/worker.rs` for 10 + 32.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::{Encoding, IpcClient};
use serde::Serialize;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Serialize)]
struct Param {
    a: i32,
    b: i32,
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let client = IpcClient::connect().await?;

    // The short form: JSON, thirty seconds.
    let response: Value = client.remote_call("math", "add", Param { a: 10, b: 32 }).await?;
    println!("Client got response: {response}");

    // The long form: everything that one call can be told.
    let response: Value = client
        .call("math", "mul")
        .deadline(Duration::from_secs(2))
        .encoding(Encoding::JSON)
        .wait_for_object()
        .send(&Param { a: 6, b: 7 })
        .await?;
    println!("Client got response: {response}");

    // An error says what was wrong, and whether the call may have run.
    let error = client.remote_call::<_, Value>("maths", "add", ()).await;
    if let Err(error) = error {
        println!("As expected: {error} (may have run: {})", error.may_have_run);
    }
    Ok(())
}

#[actix::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client: {error}");
            ExitCode::FAILURE
        }
    }
}

//! The client library in a plain tokio program: no actix System in sight. Sockets are carried by a background thread, the handler runs
//! on this program's own runtime.
//!
//! Needs a running broker (`cargo run --release`).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::client::Methods;
use actix_ipc::{HandlerError, IpcClient};
use std::process::ExitCode;

async fn shout(text: String) -> Result<String, HandlerError> {
    // Which runtime runs this? The one that registered it.
    let worker = tokio::task::spawn_blocking(move || text.to_uppercase());
    worker.await.map_err(|error| HandlerError::new(error.to_string()))
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let client = IpcClient::connect().await?;
    let methods = Methods::new().method("shout", |text, _| shout(text));
    let _registration = client.register("tokio-example", methods).await?;

    let calls =
        (0..4).map(|n| client.remote_call::<_, String>("tokio-example", "shout", format!("hello {n}")));
    for answer in futures::future::try_join_all(calls).await? {
        println!("{answer}");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokio_main: {error}");
            ExitCode::FAILURE
        }
    }
}

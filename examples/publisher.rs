//! A publisher: tells the temperature and exits. Nothing is lost, because it waits until the broker has accepted the event.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::IpcClient;
use std::process::ExitCode;

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let client = IpcClient::connect().await?;
    let subscribers = client
        .publish("sensor", "temperature", "25.6°C")
        .acknowledged()
        .await?;
    println!("[Publisher] done broadcasting to {subscribers} subscribers");
    Ok(())
}

#[actix::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("publisher: {error}");
            ExitCode::FAILURE
        }
    }
}

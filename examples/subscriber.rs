//! A subscriber: prints what is published on `sensor` / `temperature`, until Ctrl-C or until as many events as its argument says.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::IpcClient;
use std::pin::pin;
use std::process::ExitCode;

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args()
        .nth(1)
        .map_or(Ok(u64::MAX), |text| text.parse())?;
    let client = IpcClient::connect().await?;
    let mut events = client.subscribe("sensor", "temperature").await?;
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    // Ctrl-C is heard from the first time that somebody asks for it: before it is promised.
    let _ = futures::poll!(&mut interrupted);
    println!("Listening; Ctrl-C ends it");
    for _ in 0..count {
        let event = tokio::select! {
            event = events.next() => event,
            _ = &mut interrupted => None,
        };
        let Some(event) = event else { break };
        if event.missed > 0 {
            println!("[News] {} events were missed before this one", event.missed);
        }
        println!("[News] Received: {:?}", event.decode::<serde_json::Value>()?);
    }
    Ok(())
}

#[actix::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("subscriber: {error}");
            ExitCode::FAILURE
        }
    }
}

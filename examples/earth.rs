//! Joins the bus `com.solar` as earth and prints what it receives: `earth [messages]` ends after so many. No broker is needed; start
//! `moon` in another terminal.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to its reader"
)]

use actix_ipc::bus::{self, label};
use std::process::ExitCode;

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let most = std::env::args()
        .nth(1)
        .map_or(Ok(u64::MAX), |text| text.parse())?;
    let options = bus::Options::new("com.solar", label!("earth"), "");
    let (sender, receiver) = bus::join::<String, String>(options, None)?;
    println!("Earth is on the bus");
    for _ in 0..most {
        let message = receiver.recv(None)?;
        println!("received: {}", message.payload);
    }
    // It may host the bus: what is under way is not to end with it.
    drop(receiver);
    sender.leave()?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("earth: {error}");
            ExitCode::FAILURE
        }
    }
}

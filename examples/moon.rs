//! Joins the bus `com.solar` as moon and sends earth a message, which waits up to ten seconds for earth to come. Ends when earth has
//! taken it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to its reader"
)]

use actix_ipc::bus::{self, label};
use std::process::ExitCode;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let options = bus::Options::new("com.solar", label!("moon"), "");
    let (sender, _receiver) = bus::join::<String, String>(options, Some(WAIT))?;
    let selector = bus::Selector::unicast("earth").with_ttl(WAIT);
    let message = bus::Message::new(selector, "hello world".to_string());
    let receipt = sender.send_confirmed(message, WAIT + WAIT)?;
    println!("taken by {} endpoint", receipt.receivers);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moon: {error}");
            ExitCode::FAILURE
        }
    }
}

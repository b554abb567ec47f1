//! The client library without async: calls, a subscription and an object from plain threads.
//!
//! Needs a running broker (`cargo run --release`).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::client::Methods;
use actix_ipc::client::blocking::Client;
use std::process::ExitCode;
use std::time::Duration;

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let worker = Client::connect_wait(Duration::from_secs(10))?;
    let double = |n: i64, _| async move { Ok(n.saturating_mul(2)) };
    let registration = worker.register("blocking-example", Methods::new().method("double", double))?;

    let hearer = Client::connect()?;
    let events = hearer.subscribe("blocking-example", "progress")?;
    let heard = std::thread::spawn(move || {
        events
            .take(3)
            .map(|event| event.decode::<i64>())
            .collect::<Result<Vec<_>, _>>()
    });

    let caller = Client::connect()?;
    for n in 1..=3 {
        let answer: i64 = caller.call("blocking-example", "double", n)?;
        println!("twice {n} is {answer}");
        caller.publish_acknowledged("blocking-example", "progress", &answer)?;
    }
    println!(
        "heard: {:?}",
        heard.join().map_err(|_| "the hearing thread panicked")??
    );
    drop(registration);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blocking: {error}");
            ExitCode::FAILURE
        }
    }
}

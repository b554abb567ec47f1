//! Several message types on one endpoint: an enum of them is sent, received and told apart; what another endpoint does not know it
//! skips and counts.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to its reader"
)]

use actix_ipc::bus::{self, MessageBox, TypeUuid, label};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize, TypeUuid)]
#[uuid = "0f4d1c9b-5be1-4d0f-9a60-3d9fd7c8e2b1"]
struct Position {
    x: f64,
    y: f64,
}

#[derive(Debug, MessageBox)]
enum Several {
    Text(String),
    Number(i32),
    Position(Position),
}

const WAIT: Duration = Duration::from_secs(10);

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let options = |label| bus::Options::new("com.solar.types", label, "");
    let (_all, several) = bus::join::<(), Several>(options(label!("probe")), Some(WAIT))?;
    let (_text, texts) = bus::join::<(), String>(options(label!("probe", "text")), Some(WAIT))?;
    let (sender, _none) = bus::join::<Several, ()>(options(label!("base")), Some(WAIT))?;
    for payload in [
        Several::Number(-7),
        Several::Position(Position { x: 0.5, y: 1.5 }),
        Several::Text("land here".to_owned()),
    ] {
        sender.send(bus::Message::new(bus::Selector::multicast("probe"), payload))?;
    }
    for _ in 0..3 {
        match several.recv(Some(WAIT))?.payload {
            Several::Text(text) => println!("a text: {text}"),
            Several::Number(number) => println!("a number: {number}"),
            Several::Position(place) => println!("a position: {} {}", place.x, place.y),
        }
    }
    let text = texts.recv(Some(WAIT))?.payload;
    println!("the other heard {text:?} and skipped {}", texts.skipped());
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("multiple_type: {error}");
            ExitCode::FAILURE
        }
    }
}

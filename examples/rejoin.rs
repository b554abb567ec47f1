//! Kills the process that hosts a bus, and the bus lives: `rejoin [rounds]`. No broker is needed.
//!
//! It starts itself twice more: `host`, which joins first and so hosts, and `earth`, which answers to its label. Then it joins as moon, kills
//! the host, sends earth a message and says how long it took until that was taken. Each round has a bus of its own.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to its reader"
)]

use actix_ipc::bus::{self, label};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

/// A child that is killed with its parent's interest in it.
struct Role(Child);

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program in a role, and returns when it has joined.
fn start(role: &str, bus: &str) -> Result<Role, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = Role(command.args([role, bus]).stdout(Stdio::piped()).spawn()?);
    let output = child.0.stdout.take().ok_or("a child without output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    match line.is_empty() {
        true => Err(format!("{role} did not join").into()),
        false => Ok(child),
    }
}

/// Is on the bus until it is killed.
fn play(role: &str, bus: &str) -> Result<(), Failure> {
    let label = match role {
        "earth" => label!("earth"),
        _ => label!("host"),
    };
    let options = bus::Options::new(bus, label, "");
    let (_sender, receiver) = bus::join::<String, String>(options, Some(WAIT))?;
    println!("{role} is on the bus");
    loop {
        receiver.recv(None)?;
    }
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, bus] = &arguments[..] {
        return play(role, bus);
    }
    let rounds: usize = arguments.first().map_or(Ok(1), |text| text.parse())?;
    for round in 1..=rounds {
        let bus = format!("com.solar.rejoin.{}.{round}", std::process::id());
        let host = start("host", &bus)?;
        let _earth = start("earth", &bus)?;
        let options = bus::Options::new(bus, label!("moon"), "");
        let (sender, _receiver) = bus::join::<String, String>(options, Some(WAIT))?;
        let send = || {
            let selector = bus::Selector::unicast("earth").with_ttl(WAIT);
            sender.send_confirmed(bus::Message::new(selector, "hello".to_owned()), WAIT)
        };
        send()?;
        drop(host);
        let killed = Instant::now();
        // What was on its way when the host died is told, and not sent again by itself: it may have arrived.
        while let Err(error) = send() {
            println!("round {round}: {error}; sending again");
            if killed.elapsed() > WAIT {
                return Err(error.into());
            }
        }
        println!(
            "round {round}: the host was killed, and {} ms later earth took a message",
            killed.elapsed().as_millis()
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rejoin: {error}");
            ExitCode::FAILURE
        }
    }
}

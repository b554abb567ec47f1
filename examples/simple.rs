//! A program with its own loop that its user can command: `simple server` in one terminal, `simple client add 1 2` in another.
//!
//! ```sh
//! cargo run --release --example simple -- server
//! cargo run --release --example simple -- client print hello
//! cargo run --release --example simple -- client add 1 2
//! cargo run --release --example simple -- client push 7
//! ```
//! The same commands can be asked of it through a broker, when one runs: `server --object admin`, then `rob call admin add {ii} a 1 b 2`.
//! `--socket PATH` (`$XDG_RUNTIME_DIR/actix-ipc-simple.sock` unless said otherwise), `--polls N` ends the server after so many rounds.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "examples talk to people"
)]

#[cfg(unix)]
mod program {
    use actix_ipc::IpcClient;
    use actix_ipc::lazy::{IpcServer, IpcServerCommand, LazyObject, client_send, serve_lazily};
    use clap::{Parser, Subcommand};
    use serde::{Deserialize, Serialize};
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    /// Sixty rounds a second.
    const ROUND: Duration = Duration::from_nanos(1_000_000_000 / 60);

    #[derive(Parser)]
    #[command(name = "simple", about = "A loop that answers commands")]
    struct Cli {
        /// The socket.
        #[arg(long, global = true)]
        socket: Option<PathBuf>,
        #[command(subcommand)]
        command: Commands,
    }

    #[derive(Subcommand)]
    enum Commands {
        /// Runs the loop.
        Server {
            /// Ends after so many rounds.
            #[arg(long)]
            polls: Option<u64>,
            /// Offers the commands at the broker as well, under this name.
            #[arg(long)]
            object: Option<String>,
        },
        /// Sends a command to the loop.
        Client {
            #[command(subcommand)]
            command: ClientCommand,
        },
    }

    #[derive(Subcommand, Serialize, Deserialize, Debug)]
    enum ClientCommand {
        /// Prints a text in the server's terminal.
        Print { payload: String },
        /// Adds two numbers.
        Add { a: u64, b: u64 },
        /// Puts a number on the server's stack.
        Push { x: u64 },
    }

    #[derive(Serialize, Deserialize, Debug)]
    enum ClientResponse {
        PrintAck,
        Add { c: u64 },
        Push { x: u64 },
    }

    impl IpcServerCommand for ClientCommand {
        type Response = ClientResponse;
        type Context<'a> = &'a mut Vec<u64>;

        fn process<'a, 'b>(self, stack: &'b mut Self::Context<'a>) -> ClientResponse {
            match self {
                Self::Print { payload } => {
                    println!("Print command received: {payload}");
                    ClientResponse::PrintAck
                }
                Self::Add { a, b } => {
                    let c = a.wrapping_add(b);
                    println!("Add command received: {a} + {b} = {c}");
                    ClientResponse::Add { c }
                }
                Self::Push { x } => {
                    stack.push(x);
                    println!("Push command received: {x}; the stack is {stack:?}");
                    ClientResponse::Push { x }
                }
            }
        }
    }

    fn serve(
        path: &Path,
        polls: Option<u64>,
        object: Option<&LazyObject<ClientCommand>>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut server = IpcServer::<ClientCommand>::new(path)?;
        println!("listening on {}", path.display());
        let mut stack = Vec::new();
        let mut next = Instant::now();
        for _ in 0..polls.unwrap_or(u64::MAX) {
            server.handle_new_messages(&mut stack)?;
            if let Some(object) = object {
                object.handle_new_messages(&mut stack);
            }
            // Here the program does its own work; this one has none, and waits for the next round.
            next += ROUND;
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
        let cli = Cli::parse();
        let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = cli.socket.unwrap_or_else(|| folder.join("actix-ipc-simple.sock"));
        match cli.command {
            Commands::Server { polls, object: None } => serve(&path, polls, None),
            Commands::Server {
                polls,
                object: Some(name),
            } => {
                // Only the client of the broker needs a runtime; the loop stays the program's own.
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()?;
                let object = runtime.block_on(async {
                    let client = IpcClient::connect().await?;
                    Ok::<_, Box<dyn std::error::Error>>(serve_lazily(&client, &name).await?)
                })?;
                serve(&path, polls, Some(&object))
            }
            Commands::Client { command } => {
                println!("{:?}", client_send(&command, &path)?);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    match program::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simple: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() {
    println!("the lazy server is for Unix");
}

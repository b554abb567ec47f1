//! A key-value store in memory with transactions that do not see each other, and replicas that follow it.
//!
//! ```sh
//! cargo run --example database                 # demo: a primary, clients and a replica in one process
//! cargo run --example database -- --server     # terminal 1
//! cargo run --example database -- --replica    # terminal 2: end the server and start it again meanwhile
//! cargo run --example database -- --client     # terminal 3
//! ```
//!
//! Read `protocol.rs` first, which says what may be said to whom. This file has the command line and the processes of the primary and of
//! a replica; `client.rs` is that of a client, and `demo.rs` has all of them in one. What they are made of: `primary.rs` around `store.rs`
//! (with `scan.rs`) and `log.rs`, and `replica.rs`.

#[macro_use]
#[path = "../program/mod.rs"]
mod program;
mod client;
mod demo;
mod log;
mod primary;
mod protocol;
mod replica;
mod scan;
mod store;

use actix_ipc::Endpoint;
use actix_ipc::protocol::{RpcClient, RpcServer};
use clap::Parser;
use primary::Primary;
use program::Ended;
use protocol::DbSender;
use replica::{Copy, CopyReceiver};
use std::error::Error;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use store::Bounds;

#[derive(Parser)]
#[command(name = "database", about = "A key-value store with transactions and replicas")]
struct Cli {
    /// The primary: answers until Ctrl-C.
    #[arg(long, group = "mode")]
    server: bool,
    /// Works with the database, and ends.
    #[arg(long, group = "mode")]
    client: bool,
    /// Follows the primary until Ctrl-C.
    #[arg(long, group = "mode")]
    replica: bool,
    /// All of them in one process; so it is without any of these.
    #[arg(long, group = "mode")]
    demo: bool,
    /// Where they meet: unix:/path, tcp:host:port or pipe:name.
    #[arg(long, requires = "mode", conflicts_with = "demo", value_parser = actix_ipc::client::parse_address)]
    addr: Option<Endpoint>,
    /// With --server: commits that are kept for replicas that are behind; who is further behind is sent the whole state.
    #[arg(long, default_value_t = 10_000, requires = "server", conflicts_with_all = ["client", "replica", "demo"])]
    log: usize,
    /// With --server: bytes of keys and values that it holds at most.
    #[arg(long, default_value_t = Bounds::default().bytes, requires = "server",
          conflicts_with_all = ["client", "replica", "demo"])]
    max_bytes: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("database", run(Cli::parse()).await)
}

async fn run(cli: Cli) -> Ended {
    let addr = match cli.addr {
        Some(addr) => addr,
        None => program::usual("database")?,
    };
    match (cli.server, cli.client, cli.replica) {
        (true, _, _) => serve(addr, cli.max_bytes, cli.log).await,
        (_, true, _) => client::run(addr).await,
        (_, _, true) => follow(addr).await,
        _ => demo::run().await,
    }
}

/// A number that no other run has: the time of its start.
fn life() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

async fn serve(addr: Endpoint, bytes: usize, log: usize) -> Ended {
    let mut interrupt = program::Interrupt::listen()?;
    let bounds = Bounds {
        bytes,
        ..Bounds::default()
    };
    let binding = RpcServer::bind(addr, Primary::new(life(), bounds, log));
    let server = interrupt.before(binding).await??;
    say!("Server listening on {}", server.endpoint());
    interrupt.comes().await;
    let _ = interrupt.before(server.shutdown()).await;
    say!("Server ended");
    Ok(())
}

async fn connect(addr: Endpoint, copy: &Copy) -> Result<RpcClient<DbSender>, Box<dyn Error + Send + Sync>> {
    let connected = RpcClient::connect(addr, CopyReceiver::new(copy.clone())).await;
    program::reached(connected, "database", "--server")
}

async fn follow(addr: Endpoint) -> Ended {
    let mut interrupt = program::Interrupt::listen()?;
    say!("Connecting to {addr}");
    let copy = Copy::new();
    let client = interrupt.before(connect(addr, &copy)).await??;
    say!("Connected!");
    // Before it follows for the first time, so that no new connection is missed.
    let events = client.connection_events();
    interrupt.before(copy.follow(&client)).await??;
    // How it ends does not matter: by Ctrl-C, or because there will be no other connection.
    let _ = interrupt.before(copy.keep_following(&client, events)).await;
    // Dropping it takes leave too, and waits for nobody.
    drop(client);
    let pairs = copy.pairs();
    say!("Replica ended with {} keys", pairs.len());
    for (key, value) in pairs {
        say!("  {} = {}", key.escape_debug(), value.escape_debug());
    }
    Ok(())
}

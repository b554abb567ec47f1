//! A key-value store in memory with transactions that do not see each other, and replicas that follow it.
//!
//! ```sh
//! cargo run --example database                 # demo: a primary, clients and a replica in one process
//! cargo run --example database -- --server     # terminal 1
//! cargo run --example database -- --replica    # terminal 2: end the server and start it again meanwhile
//! cargo run --example database -- --client     # terminal 3
//! ```

#[macro_use]
#[path = "../program/mod.rs"]
mod program;
mod log;
mod primary;
mod protocol;
mod replica;
mod store;

use actix_ipc::Endpoint;
use actix_ipc::error::CallError;
use actix_ipc::protocol::{RpcClient, RpcServer};
use clap::Parser;
use futures::TryStreamExt;
use primary::Primary;
use program::Ended;
use protocol::{DbSender, db_protocol::Commands as _};
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
        (_, true, _) => work(addr).await,
        (_, _, true) => follow(addr).await,
        _ => demo().await,
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
    program::reached(connected, "database -- --server")
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

async fn work(addr: Endpoint) -> Ended {
    say!("Connecting to {addr}");
    let client = connect(addr, &Copy::new()).await?;
    say!("Connected!");
    let db = client.sender();
    say!("Executing non-transactional queries...");
    db.put(None, "user".into(), "ada".into()).await?;
    say!("GET user = {}", shown(db.get(None, "user".into()).await?.value));
    say!(
        "GET nobody = {}",
        shown(db.get(None, "nobody".into()).await?.value)
    );
    transfer(db).await?;
    roll_back(db).await?;
    conflict(db, db).await?;
    let accounts: Vec<_> = db.scan(None, "account/".into()).try_collect().await?;
    for pair in accounts {
        say!("SCAN {} = {}", pair.key, pair.value);
    }
    let status = db.get_status().await?;
    say!(
        "Status: state {}, {} values, {} open transactions, {} commits for replicas",
        status.sequence,
        status.versions,
        status.transactions,
        status.log
    );
    client.close().await;
    say!("All database operations completed");
    Ok(())
}

fn shown(value: Option<String>) -> String {
    value.unwrap_or_else(|| "(nothing)".to_owned())
}

/// Moves money: both accounts change at once, or none does, so that their sum stays as it is whoever else moves some meanwhile. A
/// transaction that meets another one in the middle is begun again, and what it had read is read again.
async fn transfer(db: &DbSender) -> Ended {
    const AMOUNT: i64 = 30;
    say!("Starting transaction...");
    let sequence = loop {
        let begun = db.begin().await?;
        let id = Some(begun.transaction);
        say!(
            "Transaction ID: {} (sees state {})",
            begun.transaction,
            begun.snapshot
        );
        // Both are read in the transaction, so that a change of either by somebody else is a conflict.
        let ada = db.get(id, "account/ada".into()).await?.value;
        let bob = db.get(id, "account/bob".into()).await?.value;
        let ada = ada.map_or(Ok(100), |balance| balance.parse::<i64>())?;
        let bob = bob.map_or(Ok(0), |balance| balance.parse::<i64>())?;
        if ada < AMOUNT {
            db.rollback(begun.transaction).await?;
            say!("Not moved: account/ada has {ada} of {AMOUNT}");
            return Ok(());
        }
        let bob = bob.checked_add(AMOUNT).ok_or("account/bob can hold no more")?;
        db.put(id, "account/ada".into(), (ada - AMOUNT).to_string())
            .await?;
        db.put(id, "account/bob".into(), bob.to_string()).await?;
        say!("Committing transaction...");
        match db.commit(begun.transaction).await {
            Ok(commit) => break commit.sequence,
            Err(error) if is_conflict(&error) => say!("Conflict, begun again: {}", program::said(&error)),
            Err(error) => return Err(error.into()),
        }
    };
    say!("Commit success: state {sequence}");
    Ok(())
}

/// Whether the transaction is to be begun again.
fn is_conflict(error: &CallError) -> bool {
    matches!(error.name.as_deref(), Some("Conflict" | "Expired"))
}

async fn roll_back(db: &DbSender) -> Ended {
    say!("Testing rollback...");
    let begun = db.begin().await?;
    let id = Some(begun.transaction);
    db.put(id, "user".into(), "mallory".into()).await?;
    let inside = shown(db.get(id, "user".into()).await?.value);
    let outside = shown(db.get(None, "user".into()).await?.value);
    say!("Inside the transaction user = {inside}, outside user = {outside}");
    let rolled = db.rollback(begun.transaction).await?;
    say!("Rollback success: {} writes discarded", rolled.discarded);
    Ok(())
}

/// Two transactions change the same key; the first committer wins. A third, of another client, may come before both: then they begin
/// again.
async fn conflict(one: &DbSender, other: &DbSender) -> Ended {
    loop {
        let (first, second) = (one.begin().await?.transaction, other.begin().await?.transaction);
        one.put(Some(first), "user".into(), "grace".into()).await?;
        other.put(Some(second), "user".into(), "eve".into()).await?;
        match one.commit(first).await {
            Ok(_) => {}
            Err(error) if is_conflict(&error) => {
                say!("Conflict, begun again: {}", program::said(&error));
                other.rollback(second).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        return match other.commit(second).await {
            Err(error) if is_conflict(&error) => {
                say!("Conflict: {}", program::said(&error));
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(commit) => {
                let text = "two changes of one key were both committed, the second as state";
                Err(format!("{text} {}", commit.sequence).into())
            }
        };
    }
}

async fn demo() -> Ended {
    say!("=== Database: Demo Mode ===");
    let (_folder, addr) = program::temporary("database")?;
    // A log of three commits, so that the demo shows the whole state being sent as well.
    let server = RpcServer::bind(addr, Primary::new(life(), Bounds::default(), 3)).await?;
    let endpoint = server.endpoint().clone();
    let (copy, nothing) = (Copy::new(), Copy::new());
    let replica = connect(endpoint.clone(), &copy).await?;
    copy.follow(&replica).await?;
    let (ada, bob) = (
        connect(endpoint.clone(), &nothing).await?,
        connect(endpoint.clone(), &nothing).await?,
    );
    let db = ada.sender();
    db.put(None, "user".into(), "ada".into()).await?;
    say!("GET user = {}", shown(db.get(None, "user".into()).await?.value));
    transfer(db).await?;
    roll_back(db).await?;
    conflict(db, bob.sender()).await?;
    say!("--- the replica is away for five commits ---");
    replica.close().await;
    let mut newest = 0;
    for round in 1..=5 {
        let put = db.put(None, "round".into(), round.to_string()).await?;
        newest = put.sequence.unwrap_or(newest);
    }
    let replica = connect(endpoint, &copy).await?;
    copy.follow(&replica).await?;
    copy.reaches(newest).await;
    let all: Vec<_> = db.scan(None, String::new()).try_collect().await?;
    let all = all.into_iter().map(|pair| (pair.key, pair.value)).collect();
    say!("The replica has what the primary has: {}", copy.pairs() == all);
    for client in [replica, ada, bob] {
        client.close().await;
    }
    server.shutdown().await;
    say!("Transaction support with isolation and conflicts, and replicas that catch up");
    Ok(())
}

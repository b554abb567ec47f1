//! All of it in one process: a primary, two clients and a replica that is away for a while.
//!
//! Owns the story. Each part is the one that the processes have.

use super::client::{conflict, roll_back, shown, transfer};
use super::primary::Primary;
use super::program::{self, Ended};
use super::protocol::db_protocol::Commands as _;
use super::replica::Copy;
use super::store::Bounds;
use super::{connect, life};
use actix_ipc::protocol::RpcServer;
use futures::TryStreamExt;

pub(crate) async fn run() -> Ended {
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

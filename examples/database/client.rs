//! The process of a client: single commands, transactions that meet others, and a streamed answer.
//!
//! Owns what is tried and shown. What is visible to whom is decided by the primary.

use super::connect;
use super::program::{self, Ended};
use super::protocol::{DbSender, db_protocol::Commands as _};
use super::replica::Copy;
use actix_ipc::Endpoint;
use actix_ipc::error::CallError;
use futures::TryStreamExt;

/// Works with the database, and ends.
pub(crate) async fn run(addr: Endpoint) -> Ended {
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
    // Shown as they come. However many there are, a window of them is here and a page of them there.
    let mut accounts = db.scan(None, "account/".into());
    while let Some(pair) = accounts.try_next().await? {
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

pub(crate) fn shown(value: Option<String>) -> String {
    value.unwrap_or_else(|| "(nothing)".to_owned())
}

/// Moves money: both accounts change at once, or none does, so that their sum stays as it is whoever else moves some meanwhile. A
/// transaction that meets another one in the middle is begun again, and what it had read is read again.
pub(crate) async fn transfer(db: &DbSender) -> Ended {
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

pub(crate) async fn roll_back(db: &DbSender) -> Ended {
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
pub(crate) async fn conflict(one: &DbSender, other: &DbSender) -> Ended {
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

//! The replica: a copy of the database in another process, which catches up by itself after a broken connection.
//!
//! Owns the lock around the copy and when it asks to follow. What it takes is decided in `log.rs`.

use super::log::{Entry, Part, Replica, ReplicaError};
use super::protocol::{DbSender, db_protocol::Commands as _, replication_protocol};
use actix_ipc::client::{ConnectionEvent, ConnectionEvents};
use actix_ipc::error::CallError;
use actix_ipc::protocol::{self, Error, RpcClient, protocol_handler};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Between two tries to follow a primary that does not answer in time.
const AGAIN: Duration = Duration::from_secs(1);

/// The copy, and what the primary calls.
#[derive(Clone)]
pub(crate) struct Copy(Arc<Shared>);

struct Shared {
    replica: Mutex<Replica>,
    /// The last commit that was applied.
    applied: watch::Sender<u64>,
}

protocol_handler!(pub CopyReceiver impl [replication_protocol] with Copy);

impl Copy {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            replica: Mutex::default(),
            applied: watch::Sender::new(0),
        }))
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        self.0.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the copy has.
    pub(crate) fn pairs(&self) -> BTreeMap<String, String> {
        self.replica().pairs().clone()
    }

    /// Until the copy has this commit.
    pub(crate) async fn reaches(&self, sequence: u64) {
        // The sender is part of `self`, so the wait ends well.
        let _ = self
            .0
            .applied
            .subscribe()
            .wait_for(|applied| *applied >= sequence)
            .await;
    }

    /// Asks the primary for everything behind what the copy has.
    pub(crate) async fn follow(&self, client: &RpcClient<DbSender>) -> Result<(), CallError> {
        let (life, after) = self.replica().position();
        let following = client.sender().follow(life, after).await?;
        say!("Following from {after}; the newest state is {}", following.newest);
        Ok(())
    }

    /// Asks again on each new connection, until there will be none.
    pub(crate) async fn keep_following(&self, client: &RpcClient<DbSender>, mut events: ConnectionEvents) {
        while let Some(event) = events.next().await {
            match event {
                ConnectionEvent::Lost { reason } => {
                    say!("Connection lost ({reason}); waiting for another")
                }
                ConnectionEvent::Reconnected { .. } => self.follow_again(client).await,
                _ => {}
            }
        }
    }

    /// Asks until it follows, or the connection has broken again: its successor brings another event.
    async fn follow_again(&self, client: &RpcClient<DbSender>) {
        let mut tries = tokio::time::interval(AGAIN);
        loop {
            tries.tick().await;
            match self.follow(client).await {
                Ok(()) => return,
                Err(error) => say!("Not following: {error}"),
            }
            if !client.is_connected() {
                return;
            }
        }
    }

    fn taken(&self) {
        let (_, applied) = self.replica().position();
        self.0.applied.send_replace(applied);
    }
}

fn refused(error: ReplicaError) -> Error {
    let name = error.name();
    Error::from(error).named(name)
}

impl replication_protocol::Receive for Copy {
    async fn update(
        &self,
        life: u64,
        entries: Vec<Entry>,
    ) -> protocol::Result<replication_protocol::update::Response> {
        for Entry { sequence, changes } in &entries {
            for change in changes {
                let value = change.value.as_deref().unwrap_or("(deleted)");
                say!("Replication update: #{sequence} {} = {value}", change.key);
            }
        }
        let applied = self.replica().apply(life, entries).map_err(refused)?;
        self.taken();
        Ok(replication_protocol::update::Response {
            applied: u64::try_from(applied)?,
        })
    }

    async fn snapshot(
        &self,
        life: u64,
        part: Part,
    ) -> protocol::Result<replication_protocol::snapshot::Response> {
        let sequence = part.sequence;
        let whole = self.replica().load(life, part).map_err(refused)?;
        if whole {
            say!(
                "Replication update: #{sequence} whole state, {} keys",
                self.pairs().len()
            );
            self.taken();
        }
        Ok(replication_protocol::snapshot::Response { whole })
    }
}

//! The primary: answers clients from the store, and sends what they commit to the replicas.
//!
//! Owns the lock around store and log, and one task for each replica that follows. What is visible is decided in `store.rs`, what a
//! replica needs in `log.rs`.

use super::log::{Entry, Log, Next, parts};
use super::program;
use super::protocol::{ReplicaSender, db_protocol, replication_protocol::Commands as _};
use super::store::{Bounds, Commit, Store, StoreError};
use actix_ipc::error::CallError;
use actix_ipc::protocol::{self, Error, Items, RpcServerHandler, protocol_handler};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Bytes of commits, or of a snapshot, in one message to a replica.
const BATCH: usize = 1024 * 1024;
/// Bytes of commits that are kept for replicas that are behind.
const LOG_BYTES: usize = 16 * 1024 * 1024;

/// The database, which all connections share.
#[derive(Clone)]
pub(crate) struct Primary(Arc<Shared>);

struct Shared {
    /// Tells the states of this run of the program from those of another, which counts from 0 again.
    life: u64,
    state: Mutex<State>,
    /// The number of the newest state, for those who wait for it.
    newest: watch::Sender<u64>,
}

struct State {
    store: Store,
    log: Log,
}

fn refused(error: StoreError) -> Error {
    let name = error.name();
    Error::from(error).named(name)
}

impl Primary {
    /// An empty database that keeps at most so many commits for its replicas.
    pub(crate) fn new(life: u64, bounds: Bounds, log_entries: usize) -> Self {
        let state = State {
            store: Store::new(bounds),
            log: Log::new(log_entries, LOG_BYTES),
        };
        Self(Arc::new(Shared {
            life,
            state: Mutex::new(state),
            newest: watch::Sender::new(0),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the store; what it commits goes to the log before anybody else has the lock.
    fn work<T>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<(T, Option<Commit>), StoreError>,
    ) -> protocol::Result<T> {
        let mut state = self.state();
        let (value, commit) = work(&mut state.store).map_err(refused)?;
        if let Some(Commit { sequence, changes }) = commit.filter(|commit| !commit.changes.is_empty()) {
            state.log.push(Entry { sequence, changes });
            self.0.newest.send_replace(sequence);
        }
        Ok(value)
    }

    /// Keeps a replica up to date until its connection ends or it refuses. It is sent the next batch when it has applied the one
    /// before, so a slow replica falls behind and costs no memory: from the log while that reaches back, else a snapshot.
    async fn feed(self, replica: ReplicaSender, mut life: u64, mut after: u64) -> Result<(), CallError> {
        let mut newest = self.0.newest.subscribe();
        let own = self.0.life;
        loop {
            newest.mark_unchanged();
            let next = match life == own {
                true => self.state().log.next(after, BATCH),
                false => Next::Snapshot,
            };
            match next {
                Next::Nothing => {
                    if newest.changed().await.is_err() {
                        return Ok(());
                    }
                }
                Next::Entries(entries) => {
                    after = entries.last().map_or(after, |entry| entry.sequence);
                    replica.update(own, entries).await?;
                }
                Next::Snapshot => {
                    let (sequence, pairs) = self.state().store.snapshot();
                    say!("[PRIMARY] a replica needs the whole state: sending it {sequence}");
                    for part in parts(sequence, pairs, BATCH) {
                        replica.snapshot(own, part).await?;
                    }
                    (life, after) = (own, sequence);
                }
            }
        }
    }
}

/// One connection.
pub(crate) struct Session {
    primary: Primary,
    /// Whose transactions these are.
    owner: u64,
    client: ReplicaSender,
    following: Mutex<Option<AbortHandle>>,
}

impl Session {
    fn follow_with(&self, task: Option<AbortHandle>) {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *following, task) {
            before.abort();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.follow_with(None);
    }
}

impl RpcServerHandler for Primary {
    type ReceiveRpc = SessionReceiver;
    type SendRpc = ReplicaSender;

    async fn on_rpc_connect(&self, client: &ReplicaSender) -> SessionReceiver {
        SessionReceiver::new(Session {
            primary: self.clone(),
            owner: program::number(client),
            client: client.clone(),
            following: Mutex::default(),
        })
    }

    async fn on_rpc_disconnect(&self, peer_id: u64) {
        let forgotten = self.state().store.forget(peer_id);
        if forgotten > 0 {
            say!("[PRIMARY] a client is gone: {forgotten} transactions rolled back");
        }
    }
}

protocol_handler!(pub SessionReceiver impl [db_protocol] with Session);

impl db_protocol::Receive for Session {
    async fn begin(&self) -> protocol::Result<db_protocol::begin::Response> {
        let (transaction, snapshot) = self.primary.work(|store| Ok((store.begin(self.owner)?, None)))?;
        Ok(db_protocol::begin::Response {
            transaction,
            snapshot,
        })
    }

    async fn get(
        &self,
        transaction: Option<u64>,
        key: String,
    ) -> protocol::Result<db_protocol::get::Response> {
        let value = self
            .primary
            .work(|store| Ok((store.get(self.owner, transaction, &key)?, None)))?;
        Ok(db_protocol::get::Response { value })
    }

    async fn scan(
        &self,
        transaction: Option<u64>,
        prefix: String,
    ) -> protocol::Result<Items<db_protocol::scan::Response>> {
        let pairs = self
            .primary
            .work(|store| Ok((store.scan(self.owner, transaction, &prefix)?, None)))?;
        let items = pairs.into_iter();
        Ok(items
            .map(|(key, value)| db_protocol::scan::Response { key, value })
            .collect())
    }

    async fn put(
        &self,
        transaction: Option<u64>,
        key: String,
        value: String,
    ) -> protocol::Result<db_protocol::put::Response> {
        let sequence = self.primary.work(|store| {
            let commit = store.put(self.owner, transaction, &key, Some(value))?;
            Ok((commit.as_ref().map(|commit| commit.sequence), commit))
        })?;
        Ok(db_protocol::put::Response { sequence })
    }

    async fn delete(
        &self,
        transaction: Option<u64>,
        key: String,
    ) -> protocol::Result<db_protocol::delete::Response> {
        let sequence = self.primary.work(|store| {
            let commit = store.put(self.owner, transaction, &key, None)?;
            Ok((commit.as_ref().map(|commit| commit.sequence), commit))
        })?;
        Ok(db_protocol::delete::Response { sequence })
    }

    async fn commit(&self, transaction: u64) -> protocol::Result<db_protocol::commit::Response> {
        let sequence = self.primary.work(|store| {
            let commit = store.commit(self.owner, transaction)?;
            Ok((commit.sequence, Some(commit)))
        })?;
        Ok(db_protocol::commit::Response { sequence })
    }

    async fn rollback(&self, transaction: u64) -> protocol::Result<db_protocol::rollback::Response> {
        let discarded = self
            .primary
            .work(|store| Ok((store.rollback(self.owner, transaction)?, None)))?;
        Ok(db_protocol::rollback::Response {
            discarded: u64::try_from(discarded)?,
        })
    }

    async fn get_status(&self) -> protocol::Result<db_protocol::get_status::Response> {
        let state = self.primary.state();
        Ok(db_protocol::get_status::Response {
            sequence: state.store.sequence(),
            versions: u64::try_from(state.store.versions())?,
            transactions: u64::try_from(state.store.open())?,
            log: u64::try_from(state.log.len())?,
        })
    }

    async fn follow(&self, life: u64, after: u64) -> protocol::Result<db_protocol::follow::Response> {
        let primary = self.primary.clone();
        let newest = primary.state().store.sequence();
        say!("[PRIMARY] a replica follows from {after}; the newest state is {newest}");
        let feed = primary.clone().feed(self.client.clone(), life, after);
        let task = tokio::spawn(async move {
            if let Err(error) = feed.await {
                say!("[PRIMARY] a replica no longer follows: {error}");
            }
        });
        self.follow_with(Some(task.abort_handle()));
        Ok(db_protocol::follow::Response {
            life: primary.0.life,
            newest,
        })
    }
}

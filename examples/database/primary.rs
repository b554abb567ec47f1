//! The primary: answers clients from the store, and sends what they commit to the replicas.
//!
//! Owns the lock around store and log, and one task for each replica that follows. What is visible is decided in `store.rs`, what a
//! replica needs in `log.rs`.

use super::log::{Entry, Log, Next, parts};
use super::program;
use super::protocol::{ReplicaSender, db_protocol, replication_protocol::Commands as _};
use super::scan::Scan;
use super::store::{Bounds, Commit, Store, StoreError};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::protocol::{self, Error, Items, RpcServerHandler, protocol_handler};
use futures::stream::{self, Stream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Bytes of commits, or of a snapshot, in one message to a replica.
const BATCH: usize = 1024 * 1024;
/// Bytes of pairs that a scan takes from the store at once.
const PAGE: usize = 64 * 1024;
/// Bytes of commits that are kept for replicas that are behind.
const LOG_BYTES: usize = 16 * 1024 * 1024;

/// Before a replica is sent again what it did not take.
const AGAIN: Duration = Duration::from_secs(1);
/// The life of no primary.
const NO_LIFE: u64 = 0;

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

    /// Keeps a replica up to date until its connection ends. It is sent the next batch when it has applied the one before, so a slow
    /// replica falls behind and costs no memory: from the log while that reaches back, else a snapshot. One that does not answer is
    /// asked again, since a commit that comes twice does no harm; one that refuses is sent the whole state.
    async fn feed(self, replica: ReplicaSender, mut life: u64, mut after: u64) -> CallError {
        let mut newest = self.0.newest.subscribe();
        let mut again = tokio::time::interval(AGAIN);
        loop {
            newest.mark_unchanged();
            let next = match life == self.0.life {
                true => self.state().log.next(after, BATCH),
                false => Next::Snapshot,
            };
            if next == Next::Nothing {
                // The sender is part of `self`, so the wait ends well.
                let _ = newest.changed().await;
                continue;
            }
            match self.send(&replica, next).await {
                Ok(None) => {}
                Ok(Some(sequence)) => (life, after) = (self.0.life, sequence),
                Err(error) if is_gone(&error) => return error,
                Err(error) => {
                    say!("[PRIMARY] a replica is sent again what it did not take: {error}");
                    if error.code == ErrorCode::Handler {
                        life = NO_LIFE;
                    }
                    again.reset();
                    again.tick().await;
                }
            }
        }
    }

    /// Has a replica apply what it needs next: the last commit that it has then.
    async fn send(&self, replica: &ReplicaSender, next: Next) -> Result<Option<u64>, CallError> {
        let life = self.0.life;
        match next {
            Next::Nothing => Ok(None),
            Next::Entries(entries) => {
                let last = entries.last().map(|entry| entry.sequence);
                replica.update(life, entries).await?;
                Ok(last)
            }
            Next::Snapshot => {
                let (sequence, pairs) = self.state().store.snapshot();
                say!("[PRIMARY] a replica needs the whole state: sending it {sequence}");
                for part in parts(sequence, pairs, BATCH) {
                    replica.snapshot(life, part).await?;
                }
                Ok(Some(sequence))
            }
        }
    }
}

/// Whether there is nobody at the other end any more. A replica that has come back follows by itself.
const fn is_gone(error: &CallError) -> bool {
    matches!(
        error.code,
        ErrorCode::NotConnected | ErrorCode::BrokerGone | ErrorCode::CalleeGone
    )
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

/// A streamed answer under way. It holds one page of it, and the store keeps the versions that the others are made of: those are given
/// back when it is dropped, at its end or because its reader has gone.
struct Reading {
    primary: Primary,
    scan: Scan,
    page: std::vec::IntoIter<(String, String)>,
}

impl Reading {
    fn new(primary: Primary, scan: Scan) -> Self {
        let page = Vec::new().into_iter();
        Self { primary, scan, page }
    }

    fn next(&mut self) -> protocol::Result<Option<db_protocol::scan::Response>> {
        if self.page.len() == 0 {
            let page = self.primary.state().store.page(&mut self.scan, PAGE);
            self.page = page.map_err(refused)?.into_iter();
        }
        let next = self.page.next();
        Ok(next.map(|(key, value)| db_protocol::scan::Response { key, value }))
    }

    /// Made as the reader takes them.
    fn items(self) -> impl Stream<Item = protocol::Result<db_protocol::scan::Response>> {
        stream::try_unfold(self, |mut reading| async move {
            Ok(reading.next()?.map(|pair| (pair, reading)))
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.primary.state().store.scanned(&self.scan);
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
        let scan = self
            .primary
            .work(|store| Ok((store.scan(self.owner, transaction, &prefix)?, None)))?;
        Ok(Items::new(Reading::new(self.primary.clone(), scan).items()))
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
            say!("[PRIMARY] a replica no longer follows: {}", feed.await);
        });
        self.follow_with(Some(task.abort_handle()));
        Ok(db_protocol::follow::Response {
            life: primary.0.life,
            newest,
        })
    }
}

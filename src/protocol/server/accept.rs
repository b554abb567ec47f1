//! Accepting, and what all connections of one server share.
//!
//! Owns the listener, the pauses after failed accepts, the table of clients and the order of an end: nobody new, then what runs, then
//! the goodbyes. One connection is [`super::connection`]'s.

use super::access::Rules;
use super::connection::{self, Hooks, Newcomer};
use crate::client::runtime::{self, Home};
use crate::client::{IpcClient, Shared};
use crate::config::peers::{LAST_STEP, LET_FINISH};
use crate::error::CloseReason;
use crate::message::{Draft, Epoch};
use crate::protocol::peer::Manner;
use crate::transport::{Accepted, Endpoint, Listener, Named, PeerCredentials};
use futures::future::{Either, join_all, select};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// Accepts in a row, before the connections get their turn.
const ACCEPTS_PER_TURN: u32 = 4;
/// The first and the longest pause after a failed accept.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What all connections of one server share.
pub(super) struct Core {
    pub(super) manner: Manner,
    pub(super) epoch: Epoch,
    pub(super) home: Home,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) rules: Rules,
    drain: Duration,
    stopping: watch::Sender<bool>,
    /// Whoever shuts the server down does not wait for handlers any longer.
    given_up: watch::Sender<bool>,
    /// Connections and listeners that have not ended.
    live: watch::Sender<usize>,
    clients: Mutex<HashMap<u64, IpcClient>>,
    /// Here and not in its task, so that the server's end takes the socket's file away at once: the process may be about to exit.
    listener: Mutex<Option<Listener>>,
    next: AtomicU64,
    accepted: AtomicU64,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("connections", &self.connected())
            .finish_non_exhaustive()
    }
}

/// Something of a server that has not ended.
pub(super) struct Live(Arc<Core>);

impl Live {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        core.live.send_modify(|live| *live = live.saturating_add(1));
        Self(Arc::clone(core))
    }

    /// Waits until no handler of a connection that has ended runs any more: on another thread one may be in the middle of a step. `None`:
    /// whoever shuts the server down has not waited as long.
    pub(super) async fn outlast(self, shared: &Shared, number: u64) -> Option<Self> {
        let ended = std::future::poll_fn(|cx| shared.serving.poll_handlers(cx));
        let mut given_up = self.0.given_up.subscribe();
        let patience = async {
            let given_up = pin!(async {
                // The sender is here.
                let _ = given_up.wait_for(|given_up| *given_up).await;
            });
            if let Either::Right(((), given_up)) = select(given_up, pin!(runtime::sleep(LET_FINISH))).await {
                tracing::warn!(
                    peer = number,
                    "a command of a connection that has ended is still in the middle of a step; on_rpc_disconnect waits for it"
                );
                given_up.await;
            }
        };
        match select(ended, pin!(patience)).await {
            Either::Left(_) => Some(self),
            Either::Right((_, ended)) => {
                tracing::warn!(
                    peer = number,
                    "the server has shut down while a command was in the middle of a step; on_rpc_disconnect comes when that has ended"
                );
                drop(self);
                ended.await;
                None
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.send_modify(|live| *live = live.saturating_sub(1));
    }
}

/// A client's entry in the table.
pub(super) struct Entry {
    core: Arc<Core>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let client = self.core.clients().remove(&self.number);
        // It may be the last one, whose end takes a lock.
        drop(client);
    }
}

impl Core {
    pub(super) fn new(
        manner: Manner,
        epoch: Epoch,
        home: Home,
        hooks: Arc<dyn Hooks>,
        rules: Rules,
        drain: Duration,
    ) -> Self {
        Self {
            manner,
            epoch,
            home,
            hooks,
            rules,
            drain,
            stopping: watch::Sender::new(false),
            given_up: watch::Sender::new(false),
            live: watch::Sender::new(0),
            clients: Mutex::default(),
            listener: Mutex::default(),
            next: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, IpcClient>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connected(&self) -> usize {
        self.clients().len()
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ready when the server stops.
    pub(super) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is here.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Notes a client, unless the server stops.
    pub(super) fn enter(core: &Arc<Self>, number: u64, client: &IpcClient) -> Option<Entry> {
        let mut clients = core.clients();
        if core.is_stopping() {
            return None;
        }
        clients.insert(number, client.clone());
        drop(clients);
        let core = Arc::clone(core);
        Some(Entry { core, number })
    }

    fn listener(&self) -> MutexGuard<'_, Option<Listener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the listener, unless the server stops.
    pub(super) fn listen(&self, listener: Listener) {
        let mut slot = self.listener();
        if !self.is_stopping() {
            *slot = Some(listener);
        }
    }

    /// The next connection; `None` once the server stops.
    async fn accept(&self) -> Option<std::io::Result<Accepted>> {
        std::future::poll_fn(|cx| match self.listener().as_mut() {
            Some(listener) => listener.poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        })
        .await
    }

    fn stop(&self) -> Vec<IpcClient> {
        self.stopping.send_replace(true);
        drop(self.listener().take());
        self.clients().values().cloned().collect()
    }

    /// Ends every connection with a goodbye and waits for nothing.
    pub(super) fn abandon(&self) {
        for client in self.stop() {
            client.handle.shared.begin_close();
        }
    }

    /// See [`RpcServer::shutdown`](super::RpcServer::shutdown).
    pub(super) async fn shutdown(&self) {
        let clients = self.stop();
        for client in &clients {
            client.handle.shared.serving.oneway.drain();
        }
        let idle = clients.iter().map(|client| async move {
            let serving = &client.handle.shared.serving;
            std::future::poll_fn(|cx| serving.poll_idle(cx)).await;
        });
        let limit = runtime::sleep(self.drain);
        select(join_all(idle), pin!(limit)).await;
        join_all(clients.into_iter().map(IpcClient::close)).await;
        let limit = runtime::sleep(self.drain.max(LAST_STEP));
        if let Either::Right(_) = select(pin!(self.ended()), pin!(limit)).await {
            self.given_up.send_replace(true);
            self.ended().await;
        }
    }

    /// Ready when nothing of the server is left.
    async fn ended(&self) {
        let mut live = self.live.subscribe();
        // The sender is here.
        let _ = live.wait_for(|live| *live == 0).await;
    }
}

/// Accepts until the server stops. `live` was made when the listener was, so that a server which stops at once waits for both.
pub(super) async fn run(core: Arc<Core>, endpoint: Endpoint, live: Live) {
    let _live = live;
    let mut pause = PAUSES.0;
    let mut turn = 0_u32;
    let mut stopping = core.stopping.subscribe();
    while !*stopping.borrow_and_update() {
        let accepted = tokio::select! {
            accepted = core.accept() => accepted,
            _ = stopping.changed() => continue,
        };
        let Some(accepted) = accepted else { return };
        match accepted {
            Ok(accepted) => {
                pause = PAUSES.0;
                place(&core, &endpoint, accepted);
            }
            Err(error) => {
                failed(&core, &endpoint, &error);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stopping.changed() => {}
                }
                pause = pause.saturating_mul(2).min(PAUSES.1);
            }
        }
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(ACCEPTS_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
}

/// Those that wait are turned away when no descriptor is left: they learn it at once.
fn failed(core: &Core, endpoint: &Endpoint, error: &std::io::Error) {
    let text = "the server's process has no descriptor left; raise its limit of open files";
    let goodbye = Draft::goodbye(CloseReason::TooMany, text).to_vec();
    let turned_away = match core.listener().as_mut() {
        Some(listener) if Listener::is_shortage(error) => listener.turn_away(&goodbye, None),
        _ => 0,
    };
    tracing::warn!(%endpoint, %error, turned_away, "accept failed; trying again");
}

fn place(core: &Arc<Core>, endpoint: &Endpoint, accepted: Accepted) {
    core.accepted.fetch_add(1, Ordering::Relaxed);
    let Accepted {
        socket,
        credentials,
        user,
        address,
        ..
    } = accepted;
    // Over TLS the proof counts alone: whom the system names may be a forwarder that speaks for somebody far away.
    let credentials = match endpoint {
        Endpoint::Tls(_) => PeerCredentials::UNKNOWN,
        _ => Named { credentials, user }.by_number(),
    };
    let admitted = core.rules.admit(endpoint, &credentials);
    let newcomer = Newcomer {
        endpoint: endpoint.clone(),
        credentials,
        address,
    };
    match socket.register() {
        Ok(stream) => {
            let live = Live::new(core);
            actix_rt::spawn(connection::run(
                Arc::clone(core),
                stream,
                newcomer,
                admitted,
                live,
            ));
        }
        Err(error) => tracing::warn!(%error, "a socket that was accepted could not be used"),
    }
}

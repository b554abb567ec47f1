//! The end of a connection whose commands still run on another thread: `on_rpc_disconnect` comes behind the last of them, and a
//! shutdown waits for that.
//!
//! How it works: a handler blocks its thread of a run-time of several until it is let go, and then notes what it has taken; the server
//! notes in the same list whose end it was told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "peers/calc.rs"]
mod calc;

use actix_ipc::protocol::{Dispatch, ProtocolInfo, Request, RpcClient, RpcServer, RpcServerHandler};
use actix_ipc::{Endpoint, HandlerError, Response};
use calc::{CALC, Calc, within};
use futures::future::BoxFuture;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What has happened, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Happened {
    /// A handler of this connection has come to its last line.
    Taken(u64),
    /// The server was told that this connection has ended.
    Gone(u64),
}
use Happened::{Gone, Taken};

/// What all connections of the server share.
#[derive(Clone)]
struct Blocking {
    happened: watch::Sender<Vec<Happened>>,
    /// Handlers that block their threads.
    blocked: watch::Sender<usize>,
    open: Arc<(Mutex<bool>, Condvar)>,
    peer: u64,
}

impl Blocking {
    fn new() -> Self {
        Self {
            happened: watch::Sender::new(Vec::new()),
            blocked: watch::Sender::new(0),
            open: Arc::default(),
            peer: 0,
        }
    }

    fn note(&self, what: Happened) {
        self.happened.send_modify(|all| all.push(what));
    }

    fn let_go(&self) {
        let (open, changed) = &*self.open;
        *open.lock().unwrap() = true;
        changed.notify_all();
    }

    async fn until(&self, what: &str, holds: impl FnMut(&Vec<Happened>) -> bool) -> Vec<Happened> {
        let mut happened = self.happened.subscribe();
        within(what, happened.wait_for(holds)).await.unwrap().clone()
    }
}

impl Dispatch for Blocking {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        vec![&CALC]
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        Box::pin(async move {
            if request.command() == "wait" {
                // Its own task goes on with it.
                tokio::task::yield_now().await;
                self.blocked.send_modify(|blocked| *blocked += 1);
                let (open, changed) = &*self.open;
                drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
                self.note(Taken(self.peer));
            }
            request.reply(&())
        })
    }
}

impl RpcServerHandler for Blocking {
    type ReceiveRpc = Self;
    type SendRpc = Calc;

    async fn on_rpc_connect(&self, client: &Calc) -> Self {
        let peer = client.0.peer().unwrap().id;
        Self { peer, ..self.clone() }
    }

    async fn on_rpc_disconnect(&self, peer_id: u64) {
        self.note(Gone(peer_id));
    }
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint::Memory(format!("ends-{name}-{}", std::process::id()))
}

/// A client that left while its command blocked a thread of the server.
async fn left(server: &RpcServer, service: &Blocking) -> u64 {
    let connecting = RpcClient::<Calc>::connect(server.endpoint().clone(), ());
    let client = within("connecting", connecting).await.unwrap();
    let number = client.peer().unwrap().id;
    let sender = client.clone_sender();
    let call = tokio::spawn(async move { sender.wait().await });
    let mut blocked = service.blocked.subscribe();
    within("the handler", blocked.wait_for(|blocked| *blocked == 1))
        .await
        .unwrap();
    within("closing", client.close()).await;
    assert!(call.await.unwrap().is_err());
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disconnection_is_told_behind_the_last_handler_and_a_shutdown_waits_for_it() {
    let service = Blocking::new();
    let server = RpcServer::bind(endpoint("told"), service.clone()).await.unwrap();
    let first = left(&server, &service).await;
    // Others come and go meanwhile.
    for _ in 0..20 {
        let connecting = RpcClient::<Calc>::connect(server.endpoint().clone(), ());
        let other = within("connecting", connecting).await.unwrap();
        let number = other.peer().unwrap().id;
        other.sender.say("gone").await.unwrap();
        within("closing", other.close()).await;
        let seen = service
            .until("the end of another", |all| all.contains(&Gone(number)))
            .await;
        assert!(!seen.contains(&Gone(first)), "its handler runs: {seen:?}");
    }
    let shutdown = tokio::spawn(server.shutdown());
    service.let_go();
    within("the shutdown", shutdown).await.unwrap();
    let seen = service.happened.borrow().clone();
    let own: Vec<_> = seen
        .into_iter()
        .filter(|one| matches!(one, Taken(number) | Gone(number) if *number == first))
        .collect();
    assert_eq!(own, [Taken(first), Gone(first)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shutdown_does_not_wait_for_ever_for_a_handler_that_blocks_and_its_end_is_told_behind_it() {
    let service = Blocking::new();
    let builder = RpcServer::builder().drain(Duration::ZERO);
    let server = builder.bind(endpoint("blocked"), service.clone()).await.unwrap();
    let first = left(&server, &service).await;
    within("the shutdown", server.shutdown()).await;
    assert!(service.happened.borrow().is_empty(), "it blocks still");
    service.let_go();
    let seen = service.until("the end", |all| all.contains(&Gone(first))).await;
    assert_eq!(seen, [Taken(first), Gone(first)]);
}

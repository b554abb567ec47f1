//! The ways from who calls a protocol to who answers it: through a broker, from a client to a server, and from a server to its client.
//!
//! Owns what must stay alive meanwhile. A test that calls [`serve`] over all [`WAYS`] proves that they are alike.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use crate::broker::Place;
use actix_ipc::client::{HandlerError, IpcClient, Response};
use actix_ipc::protocol::{
    Dispatch, NoProtocol, ProtocolInfo, ProtocolSender, Request, RpcClient, RpcServer, RpcServerHandler,
};
use futures::future::BoxFuture;
use std::any::Any;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An object of a broker.
    Broker,
    /// A server, point to point.
    Server,
    /// A client, which its server calls.
    Client,
}

pub const WAYS: [Way; 3] = [Way::Broker, Way::Server, Way::Client];

/// Whoever answers, for as long as it is kept.
pub struct Served {
    /// Through a broker: the connection that calls.
    pub caller: Option<IpcClient>,
    _kept: Box<dyn Any>,
}

/// Serves these answers under the name `served`, and gives who calls them.
pub async fn serve<S: ProtocolSender>(way: Way, answers: impl Dispatch) -> (Served, S) {
    let place = Place::new();
    match way {
        Way::Broker => {
            let broker = place.start();
            let worker = broker.client().await;
            let registration = worker.add_protocol("served", answers).await.unwrap();
            let caller = broker.client().await;
            let sender = caller.protocol("served").await.unwrap();
            let kept = Box::new((registration, worker, broker, place));
            let caller = Some(caller);
            (Served { caller, _kept: kept }, sender)
        }
        Way::Server => {
            let handler = Answering(Arc::new(answers));
            let server = RpcServer::bind(place.endpoint(), handler).await.unwrap();
            let client = RpcClient::<S>::connect(place.endpoint(), ()).await.unwrap();
            let sender = client.clone_sender();
            let kept = Box::new((client.peer(), server, place));
            (
                Served {
                    caller: None,
                    _kept: kept,
                },
                sender,
            )
        }
        Way::Client => {
            let (found, finding) = oneshot::channel();
            let handler = Calling(Mutex::new(Some(found)));
            let server = RpcServer::bind(place.endpoint(), handler).await.unwrap();
            let connecting = RpcClient::<NoProtocol>::connect(place.endpoint(), answers);
            let client = connecting.await.unwrap();
            let sender = finding.await.unwrap();
            let kept = Box::new((client.clone_sender(), server, place));
            (
                Served {
                    caller: None,
                    _kept: kept,
                },
                sender,
            )
        }
    }
}

/// What answers all clients of a server.
struct Shared(Arc<dyn Dispatch>);

impl Dispatch for Shared {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        self.0.protocols()
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        self.0.dispatch(request)
    }
}

/// A server that answers.
struct Answering(Arc<dyn Dispatch>);

impl RpcServerHandler for Answering {
    type ReceiveRpc = Shared;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> Shared {
        Shared(Arc::clone(&self.0))
    }
}

/// A server that calls its first client.
struct Calling<S>(Mutex<Option<oneshot::Sender<S>>>);

impl<S: ProtocolSender> RpcServerHandler for Calling<S> {
    type ReceiveRpc = ();
    type SendRpc = S;

    async fn on_rpc_connect(&self, _: &S) {}

    async fn on_rpc_ready(&self, client: &S) {
        if let Some(found) = self.0.lock().unwrap().take() {
            drop(found.send(client.clone()));
        }
    }
}

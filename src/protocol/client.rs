//! The connecting end of a connection without a broker.
//!
//! Owns [`RpcClient`] and its options. The connection is the client library's engine; what answers the server's calls runs where
//! [`RpcClient::connect`] was called.

use super::caller::{Caller, ProtocolSender};
use super::dispatch::Dispatch;
use super::peer::{Manner, PeerInfo, RpcLimits};
use crate::actors::new_epoch;
use crate::client::peer::{Way, options};
use crate::client::runtime::Home;
use crate::client::{ConnectError, ConnectionEvents, Patience, connect_shared, new_shared};
use crate::config::peers;
use crate::error::CallError;
use crate::message::name;
use crate::transport::{Endpoint, TlsClient};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A connection to an [`RpcServer`](super::RpcServer), with a sender of what is called there. It lasts as long as this or a sender of it
/// does; after a loss it is made again by itself, and calls meanwhile fail with NotConnected.
#[derive(Debug)]
pub struct RpcClient<S> {
    /// What calls the server.
    pub sender: S,
}

/// The options of an [`RpcClient`]. Made by [`RpcClient::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RpcClientBuilder<S> {
    manner: Manner,
    way: Way,
    patience: Duration,
    wait: Option<Duration>,
    sender: PhantomData<fn() -> S>,
}

impl<S: ProtocolSender> RpcClient<S> {
    /// Connects to a server, and answers its calls with `receiver`; `()` answers none. Cancel safe.
    ///
    /// # Errors
    /// [`ConnectError`]: nobody is there, it refuses, or it is no `RpcServer`. Within 5 s.
    pub async fn connect(endpoint: Endpoint, receiver: impl Dispatch) -> Result<Self, ConnectError> {
        Self::builder().connect(endpoint, receiver).await
    }

    /// The same at a path: [`connect`](Self::connect) to `unix:/path`. Cancel safe.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_unix(
        path: impl Into<PathBuf>,
        receiver: impl Dispatch,
    ) -> Result<Self, ConnectError> {
        Self::connect(Endpoint::Unix(path.into()), receiver).await
    }

    /// Options, and then the connection.
    pub fn builder() -> RpcClientBuilder<S> {
        RpcClientBuilder {
            manner: Manner::new(),
            way: Way {
                reconnect: true,
                ..Way::default()
            },
            patience: peers::CONNECT,
            wait: None,
            sender: PhantomData,
        }
    }

    /// What calls the server.
    #[must_use]
    pub const fn sender(&self) -> &S {
        &self.sender
    }

    /// The same to keep. The connection lasts as long as it does.
    #[must_use]
    pub fn clone_sender(&self) -> S {
        self.sender.clone()
    }

    /// The server; `None` while there is no connection.
    #[must_use]
    pub fn peer(&self) -> Option<PeerInfo> {
        self.sender.caller().peer()
    }

    /// Whether there is a connection right now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.sender.caller().client().is_connected()
    }

    /// What happens to the connection from now on: that it was lost, and that there is a new one, on which programs resume what they had
    /// under way.
    #[must_use]
    pub fn connection_events(&self) -> ConnectionEvents {
        self.sender.caller().client().connection_events()
    }

    /// Ready once the connection has ended for good, with the reason: it was closed, or lost and is not to be made again.
    pub async fn closed(&self) -> CallError {
        self.sender.caller().client().closed().await
    }

    /// Parts from the server after everything that was sent, waits for its answer (at most 2 s), and ends the connection for all
    /// senders. What they do afterwards fails with NotConnected.
    pub async fn close(self) {
        self.sender.caller().client().clone().close().await;
    }
}

impl<S: ProtocolSender> RpcClientBuilder<S> {
    /// The name under which the server knows this program. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.manner.name = name.into();
        self
    }

    /// The deadline of calls that name none. Default: 30 s.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.manner.deadline = deadline;
        self
    }

    /// Whether a lost connection is made again, with pauses of up to a second. Default: yes.
    pub const fn reconnect(mut self, reconnect: bool) -> Self {
        self.way.reconnect = reconnect;
        self
    }

    /// What one attempt to connect may take, the first one and each that [`wait`](Self::wait) or a lost connection makes. Default: 5 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// Waits so long for a server that is not there yet. Default: not at all.
    pub const fn wait(mut self, timeout: Duration) -> Self {
        self.wait = Some(timeout);
        self
    }

    /// What this end takes.
    pub const fn limits(mut self, limits: RpcLimits) -> Self {
        self.manner.limits = limits;
        self
    }

    /// How many commands of each protocol run here at the same time. Default: 1, so that they run one after the other in the order in
    /// which the server sent them. A streamed answer counts until its handler has returned it.
    pub const fn concurrency(mut self, commands: usize) -> Self {
        self.manner.concurrency.set(commands);
        self
    }

    /// The same for one protocol.
    pub fn concurrency_of(mut self, protocol: &str, commands: usize) -> Self {
        self.manner.concurrency.set_of(protocol, commands);
        self
    }

    /// After how much silence of the server over TCP it is asked for a sign; after four times as long the connection is lost. Zero:
    /// never. Default: 15 s.
    pub const fn keepalive(mut self, silence: Duration) -> Self {
        self.manner.keepalive = silence;
        self
    }

    /// Proves who this program is with the token in this file, over TCP and TLS. It must belong to this user or root and be readable
    /// by nobody else. Default: none.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.way.token_file = Some(path.into());
        self
    }

    /// Whom `tls:` endpoints are trusted to be, and the certificate of this program there. Default: nobody is trusted.
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.way.tls = tls;
        self
    }

    /// Connects, and answers the server's calls with `receiver`, on the run-time of this call. Cancel safe.
    ///
    /// # Errors
    /// As [`RpcClient::connect`]; also a name that is none.
    pub async fn connect(
        mut self,
        endpoint: Endpoint,
        receiver: impl Dispatch,
    ) -> Result<RpcClient<S>, ConnectError> {
        if !self.manner.name.is_empty() {
            name::check(self.manner.name.as_bytes())
                .map_err(|error| ConnectError::because(format!("the declared name is not valid: {error}")))?;
        }
        let because = |error: std::io::Error| ConnectError::because(error.to_string());
        let (home, epoch) = (Home::current().map_err(because)?, new_epoch().map_err(because)?);
        let receiver: Arc<dyn Dispatch> = Arc::new(receiver);
        let offer = self.manner.offer(epoch, &receiver.protocols(), self.patience);
        self.way.endpoints = vec![endpoint];
        let objects = self.manner.objects(&receiver, &home);
        let serves = offer.meet.protocols.clone();
        let shared = new_shared(options(offer, self.way));
        shared.serving.serve(objects, &serves);
        let patience = match self.wait {
            None => Patience::Once,
            Some(limit) => Patience::Wait(Some(limit)),
        };
        let client = connect_shared(shared, patience).await?;
        Ok(RpcClient {
            sender: S::new(Caller::new(client, None)),
        })
    }
}

//! The accepting end of connections without a broker.
//!
//! Owns [`RpcServer`], its options and what a program implements for it. Accepting is [`accept`]'s, one connection from its first byte
//! to its last [`connection`]'s, who may come in [`access`]'s.

mod accept;
mod access;
mod connection;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use super::caller::ProtocolSender;
use super::dispatch::Dispatch;
use super::peer::{Manner, RpcLimits};
use crate::actors::new_epoch;
use crate::actors::tokens::Tokens;
use crate::client::runtime::{self, Home};
use crate::config::peers;
use crate::message::{NameError, name};
use crate::transport::{BindError, BindOptions, Endpoint, Listener, TlsServer, UnixOptions};
use accept::Core;
use connection::Hooks;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a program does for each client of its [`RpcServer`].
pub trait RpcServerHandler: Send + Sync + 'static {
    /// What answers a client's commands.
    type ReceiveRpc: Dispatch;
    /// What calls a client; [`NoProtocol`](super::NoProtocol) calls none.
    type SendRpc: ProtocolSender;

    /// A client is about to connect, and is told what the result serves. No command of it runs before this has returned. It cannot be
    /// called yet: keep a clone of `client` for later, or use [`on_rpc_ready`](Self::on_rpc_ready). Dropped after 10 s, and when the
    /// server stops; the client is refused then.
    ///
    /// `client` and its clones are tied to this connection. Once it has ended, whatever they send fails with
    /// [`NotConnected`](crate::ErrorCode::NotConnected), unrun; a client that comes back is another one, with a sender and a number of its
    /// own.
    fn on_rpc_connect(&self, client: &Self::SendRpc) -> impl Future<Output = Self::ReceiveRpc> + Send;

    /// The client is connected and can be called. Runs beside its commands; dropped when the connection ends.
    fn on_rpc_ready(&self, client: &Self::SendRpc) -> impl Future<Output = ()> + Send {
        let _ = client;
        std::future::ready(())
    }

    /// The connection `peer_id` has ended, and no handler of its commands runs any more: each has come to its end or was dropped, on
    /// whatever thread. One that blocks its thread keeps this back (after 10 s the log says so). What a handler has begun elsewhere, in an
    /// actor or a task of its own, is not waited for. Called once for each [`on_rpc_connect`](Self::on_rpc_connect), also when that was
    /// dropped or has panicked, or the client did not wait for its answer.
    fn on_rpc_disconnect(&self, peer_id: u64) -> impl Future<Output = ()> + Send {
        let _ = peer_id;
        std::future::ready(())
    }
}

/// A server of typed protocols. It serves until it is dropped, which ends its connections and takes its socket's files away at once, or
/// [shut down](Self::shutdown) in order.
#[derive(Debug)]
pub struct RpcServer {
    core: Arc<Core>,
    endpoint: Endpoint,
}

/// The options of an [`RpcServer`]. Made by [`RpcServer::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it binds"]
pub struct RpcServerBuilder {
    manner: Manner,
    connections: usize,
    drain: Duration,
    tokens: Tokens,
    users: Vec<u32>,
    bind: BindOptions,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The endpoint cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The declared name is none.
    #[error("the declared name is not valid: {0}")]
    Name(#[from] NameError),
    /// The system has no thread or no randomness for it.
    #[error("the server could not start: {0}")]
    Start(#[from] io::Error),
}

impl RpcServer {
    /// Listens on `endpoint` and gives each client that connects to `handler`. Its methods and the commands of its clients run on the
    /// run-time of this call (a thread of the library for plain threads). Who may connect: over Unix sockets, pipes, and TCP where the
    /// system tells, processes of this user and of root; else whoever shows a token or a certificate that is trusted.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left behind then.
    pub async fn bind(endpoint: Endpoint, handler: impl RpcServerHandler) -> Result<Self, ServeError> {
        Self::builder().bind(endpoint, handler).await
    }

    /// The same at a path: [`bind`](Self::bind) at `unix:/path`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn bind_unix(
        path: impl Into<PathBuf>,
        handler: impl RpcServerHandler,
    ) -> Result<Self, ServeError> {
        Self::bind(Endpoint::Unix(path.into()), handler).await
    }

    /// Options, and then the server.
    pub fn builder() -> RpcServerBuilder {
        RpcServerBuilder {
            manner: Manner::new(),
            connections: peers::CONNECTIONS,
            drain: peers::DRAIN,
            tokens: Tokens::new(),
            users: Vec::new(),
            bind: BindOptions::default(),
        }
    }

    /// Where it listens: as given, but with the port that the system chose in place of port 0.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.core.connected()
    }

    /// How many connections were ever accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.core.accepted()
    }

    /// Stops in order: nobody connects any more, new calls end with Draining, unrun; what runs comes to its end (10 s unless told
    /// otherwise) with what one-way commands are under way; then each client is told that it is over, and what still runs is dropped at
    /// its next `.await`. Ready when the last connection and its last handler have ended and every `on_rpc_disconnect` has returned. A
    /// handler that does not come to an `.await` is waited for as long again (1 s at least); then the log names its connection, whose
    /// `on_rpc_disconnect` comes later. Dropping the future drops the server.
    pub async fn shutdown(self) {
        self.core.shutdown().await;
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        self.core.abandon();
    }
}

impl RpcServerBuilder {
    /// The name under which clients know this program. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.manner.name = name.into();
        self
    }

    /// What this end takes.
    pub const fn limits(mut self, limits: RpcLimits) -> Self {
        self.manner.limits = limits;
        self
    }

    /// How many clients may be connected at the same time; one more is told so. Default: 1,024.
    pub const fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// How many commands of each protocol and client run at the same time. Default: 1, so that they run one after the other in the
    /// order in which the client sent them. A streamed answer counts until its handler has returned it, so that one which nobody reads
    /// keeps back nothing; how many there may be is bounded by [`RpcLimits::open_calls`].
    pub const fn concurrency(mut self, commands: usize) -> Self {
        self.manner.concurrency.set(commands);
        self
    }

    /// The same for one protocol.
    pub fn concurrency_of(mut self, protocol: &str, commands: usize) -> Self {
        self.manner.concurrency.set_of(protocol, commands);
        self
    }

    /// The deadline of calls to clients that name none. Default: 30 s.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.manner.deadline = deadline;
        self
    }

    /// After how much silence of a client over TCP it is asked for a sign; after four times as long its connection ends. Zero: never.
    /// Default: 15 s.
    pub const fn keepalive(mut self, silence: Duration) -> Self {
        self.manner.keepalive = silence;
        self
    }

    /// What [`RpcServer::shutdown`] waits for handlers that run, and once more, at least 1 s, for those that it has stopped in the middle
    /// of a step. Default: 10 s.
    pub const fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Lets processes of these users in, beside this one's and root's. Their way to a Unix socket is [`unix`](Self::unix)'s matter. Under
    /// Windows these are the last parts of SIDs, and users of this machine itself; those of a domain show tokens.
    pub fn users(mut self, uids: impl IntoIterator<Item = u32>) -> Self {
        self.users.extend(uids);
        self
    }

    /// Who may come in by showing a token: over TLS, and over TCP where the system does not tell who the client is. Default: nobody.
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// The certificates for endpoints `tls:host:port`.
    pub fn tls(mut self, tls: TlsServer) -> Self {
        self.bind.tls = Some(tls);
        self
    }

    /// Who may reach a Unix socket. Default: this user alone.
    pub const fn unix(mut self, options: UnixOptions) -> Self {
        self.bind.unix = options;
        self
    }

    /// Listens. As [`RpcServer::bind`].
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left behind then.
    pub async fn bind(
        self,
        endpoint: Endpoint,
        handler: impl RpcServerHandler,
    ) -> Result<RpcServer, ServeError> {
        if !self.manner.name.is_empty() {
            name::check(self.manner.name.as_bytes())?;
        }
        let home = Home::current()?;
        let Self {
            manner,
            connections,
            drain,
            tokens,
            users,
            bind,
        } = self;
        let hooks: Arc<dyn Hooks> = Arc::new(connection::Typed(handler));
        let rules = access::Rules::new(tokens, users, connections);
        let core = Arc::new(Core::new(manner, new_epoch()?, home, hooks, rules, drain));
        let (ready, bound) = oneshot::channel();
        let serving = Arc::clone(&core);
        runtime::on_socket_arbiter(move || {
            let started = Listener::bind_with(&endpoint, &bind).map(|listener| {
                let endpoint = listener.endpoint().clone();
                let live = accept::Live::new(&serving);
                // Before anybody hears of it, so that whoever drops the server takes the socket's file away.
                serving.listen(listener);
                actix_rt::spawn(accept::run(serving, endpoint.clone(), live));
                endpoint
            });
            // Whoever asked may have gone; then the server is dropped, and stops.
            let _ = ready.send(started);
        })?;
        let gone = || io::Error::other("the run-time that was to carry the server has ended");
        // From here on dropping this future drops the server.
        let unbound = Unbound(Some(core));
        let endpoint = bound.await.map_err(|_| gone())??;
        let core = unbound.keep().ok_or_else(gone)?;
        Ok(RpcServer { core, endpoint })
    }
}

/// A server whose maker does not have it yet.
struct Unbound(Option<Arc<Core>>);

impl Unbound {
    fn keep(mut self) -> Option<Arc<Core>> {
        self.0.take()
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        if let Some(core) = &self.0 {
            core.abandon();
        }
    }
}

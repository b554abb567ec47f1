//! The options of a client, and the ways to its first connection.
//!
//! Owns the defaults. The connection itself is made by [`super::socket`].

use super::connect_error::ConnectError;
use super::endpoints::from_environment;
use super::handle::{Handle, IpcClient};
use super::large::REGIONS_FROM;
use super::peer::{Offer, Role};
use super::runtime;
use super::shared::Shared;
use super::socket::{Patience, Socket};
use crate::message::{Encoding, name};
use crate::transport::{Endpoint, TlsClient};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What may wait in a client to be written, in bytes, before its callers wait.
const OUT_BUFFER: usize = 256 * 1024;
/// What one subscription may hold that its program has not read, in bytes, before events are missed.
const SUBSCRIPTION_BUFFER: usize = 4 * 1024 * 1024;

/// Silence of a broker over TCP after which it is asked for a sign; after four times as long the connection is lost.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// When a client moves its connection into memory that it shares with the broker. It can on Linux, over a Unix socket, with a
/// broker of the same user that grants it (`limits.ring_bytes`); elsewhere, and when it does not get it, it stays on the socket.
/// What crosses the connection, in which order, is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedMemory {
    /// Not at all.
    Never,
    /// Once the connection is busy: about 500 reads and writes, or 512 KiB, within a second.
    #[default]
    WhenBusy,
    /// With its first frame.
    AtOnce,
}

/// What a client was made with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) name: String,
    pub(crate) reconnect: bool,
    pub(crate) deadline: Option<Duration>,
    pub(crate) encoding: Encoding,
    pub(crate) out_buffer: usize,
    pub(crate) subscription_buffer: usize,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) tls: TlsClient,
    pub(crate) keepalive: Duration,
    pub(crate) shared_memory: SharedMemory,
    pub(crate) prompt_reconnect: bool,
    pub(crate) regions_from: usize,
    /// The other end is a program, which is offered this.
    pub(crate) peer: Option<Arc<Offer>>,
}

impl Options {
    /// What is at the other end.
    pub(crate) const fn role(&self) -> Role {
        match self.peer {
            None => Role::Broker,
            Some(_) => Role::Peer,
        }
    }
}

/// Makes an [`IpcClient`]. Made by [`IpcClient::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    pub(crate) options: Options,
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            options: Options {
                endpoints: Vec::new(),
                name: String::new(),
                reconnect: true,
                deadline: None,
                encoding: Encoding::JSON,
                out_buffer: OUT_BUFFER,
                subscription_buffer: SUBSCRIPTION_BUFFER,
                token_file: None,
                tls: TlsClient::default(),
                keepalive: KEEPALIVE,
                shared_memory: SharedMemory::default(),
                prompt_reconnect: false,
                regions_from: REGIONS_FROM,
                peer: None,
            },
        }
    }

    /// Adds an endpoint to try. They are tried in the order in which they were added; without any,
    /// `IPC_BROKER_ADDR` decides, or the [default endpoints](super::endpoints()).
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.options.endpoints.push(endpoint);
        self
    }

    /// The name under which the broker and those who are called know this program. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Whether a lost connection is made again, and what was registered and subscribed restored. Default: yes.
    pub const fn reconnect(mut self, reconnect: bool) -> Self {
        self.options.reconnect = reconnect;
        self
    }

    /// The deadline of calls that name none, and of acknowledged events. Default: the broker's, 30 s.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// The encoding of values that are not given as payloads. Default: JSON.
    pub const fn encoding(mut self, encoding: Encoding) -> Self {
        self.options.encoding = encoding;
        self
    }

    /// What may wait to be written, in bytes, before callers wait for room. One frame always fits. Default: 256 KiB.
    pub const fn out_buffer(mut self, bytes: usize) -> Self {
        self.options.out_buffer = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// What each subscription may hold that its program has not read, in bytes; beyond it events are missed, and
    /// counted. An event counts as 64 bytes at least, and as half of this at most, however large it is: up to three events that are
    /// larger than that, each as large as the broker lets a message be, can lie there at once, and take the memory that they need.
    /// Default: 4 MiB.
    pub const fn subscription_buffer(mut self, bytes: usize) -> Self {
        self.options.subscription_buffer = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Proves who this program is with the token in this file, over TCP and TLS; where the kernel names the peer, no token
    /// is sent. The file is read at each connection, must belong to this user or root and be readable by nobody else.
    /// Default: `$XDG_RUNTIME_DIR/ipc_broker.token` when it is there, but only for a TCP server that the system says is
    /// this user's or root's.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.token_file = Some(path.into());
        self
    }

    /// Whom `tls:` endpoints are trusted to be, and the certificate of this program there. Default: nobody is trusted.
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.options.tls = tls;
        self
    }

    /// After how much silence of the broker over TCP it is asked for a sign; after four times as long without a byte the
    /// connection is lost, and made again. Other transports tell by themselves that the broker has gone. Zero: never asked.
    /// Default: 15 s.
    pub const fn keepalive(mut self, silence: Duration) -> Self {
        self.options.keepalive = silence;
        self
    }

    /// When the connection moves into memory that is shared with the broker. Default: once it is busy.
    pub const fn shared_memory(mut self, when: SharedMemory) -> Self {
        self.options.shared_memory = when;
        self
    }

    /// From which size on, in bytes, payloads of calls, replies and events go as a *region*: memory that is filled once, sealed, and mapped
    /// by who gets it, in the place of pieces. What a program sees is the same bytes. It happens on Linux, over a Unix socket, when all
    /// receivers can take it and no more than three others are on their way to one of them; else they go in pieces, as payloads above 256
    /// KiB do. `usize::MAX`: never. Default: 24 MiB, from where on it was measured to be faster.
    pub const fn regions_from(mut self, bytes: usize) -> Self {
        self.options.regions_from = bytes;
        self
    }

    /// Whether another broker is expected at once when one has gone: attempts then come every 20 ms at least for the first second, where
    /// they otherwise are twice as far apart each time, up to a second. For brokers that are hosted by their clients' processes
    /// ([`bus::host`](crate::bus::host)). Default: no.
    pub const fn prompt_reconnect(mut self, prompt: bool) -> Self {
        self.options.prompt_reconnect = prompt;
        self
    }

    /// Connects. Cancel safe: dropping the future gives the attempt up.
    ///
    /// # Errors
    /// Within a second when no broker answers at any endpoint; the error names each with its reason. The endpoints
    /// share the time, so that a server that is silent does not take that of the next one.
    pub async fn connect(self) -> Result<IpcClient, ConnectError> {
        self.start(Patience::Once).await
    }

    /// Connects as soon as there is a broker. That it waits is logged once.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), after `timeout`.
    pub async fn connect_wait(self, timeout: Duration) -> Result<IpcClient, ConnectError> {
        self.start(Patience::Wait(Some(timeout))).await
    }

    /// The same without a limit.
    ///
    /// # Errors
    /// Only for options that can never work.
    pub(crate) async fn connect_forever(self) -> Result<IpcClient, ConnectError> {
        self.start(Patience::Wait(None)).await
    }

    async fn start(mut self, patience: Patience) -> Result<IpcClient, ConnectError> {
        if self.options.endpoints.is_empty() {
            self.options.endpoints = from_environment()?;
        }
        if !self.options.name.is_empty() {
            name::check(self.options.name.as_bytes())
                .map_err(|error| ConnectError::because(format!("the declared name is not valid: {error}")))?;
        }
        connect(new_shared(self.options), patience).await
    }
}

/// What a connection and its handles share, before there is one.
#[cfg_attr(
    not(feature = "protocol"),
    allow(dead_code, reason = "only typed protocols use it")
)]
pub(crate) fn new_shared(options: Options) -> Arc<Shared> {
    Arc::new(Shared::new(options))
}

/// Starts what is to carry a connection.
///
/// # Errors
/// How the first attempt failed.
pub(crate) async fn connect(shared: Arc<Shared>, patience: Patience) -> Result<IpcClient, ConnectError> {
    let client = IpcClient {
        handle: Arc::new(Handle::new(Arc::clone(&shared))),
    };
    let (ready, connected) = oneshot::channel();
    runtime::on_socket_arbiter(move || Socket::start(shared, patience, ready))
        .map_err(|error| ConnectError::because(error.to_string()))?;
    match connected.await {
        Ok(Ok(())) => Ok(client),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ConnectError::because(
            "the run-time that was to carry the connection has ended",
        )),
    }
}

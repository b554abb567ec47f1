//! One connection, whatever it runs over, and making one.
//!
//! Owns [`Stream`], which forwards to its transport, and [`connect`], which checks who serves. Performance lives
//! in the transports; here is one match per call.

use super::credentials::check_server;
#[cfg(windows)]
use super::pipe;
#[cfg(feature = "tls")]
use super::tls;
#[cfg(unix)]
use super::unix;
use super::{Endpoint, Named, PeerCredentials, TlsClient, memory, tcp};
use crate::message::Attachment;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// An accepted connection that is not bound to a thread yet. Dropping it closes the connection.
#[derive(Debug)]
pub struct Socket(Kind);

#[derive(Debug)]
enum Kind {
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
    #[cfg(feature = "tls")]
    Tls(std::net::TcpStream, std::sync::Arc<rustls::ServerConfig>),
    #[cfg(windows)]
    Pipe(pipe::Stream),
    Memory(memory::Stream),
}

impl Socket {
    #[cfg(unix)]
    pub(super) const fn unix(socket: std::os::unix::net::UnixStream) -> Self {
        Self(Kind::Unix(socket))
    }

    pub(super) const fn tcp(socket: std::net::TcpStream) -> Self {
        Self(Kind::Tcp(socket))
    }

    /// The same TCP connection with TLS on it; the handshake is done by whoever reads from it.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, config: &std::sync::Arc<rustls::ServerConfig>) -> Self {
        match self.0 {
            Kind::Tcp(socket) => Self(Kind::Tls(socket, config.clone())),
            other => Self(other),
        }
    }

    #[cfg(windows)]
    pub(super) const fn pipe(pipe: pipe::Stream) -> Self {
        Self(Kind::Pipe(pipe))
    }

    pub(super) const fn memory(half: memory::Stream) -> Self {
        Self(Kind::Memory(half))
    }

    /// Registers the connection with the reactor of the calling thread, which must be the one that will poll it. (A
    /// Windows pipe stays with the reactor of its listener and wakes the polling thread from there.)
    ///
    /// # Errors
    /// The system refused, for lack of descriptors or memory. The connection is closed then.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub fn register(self) -> io::Result<Stream> {
        match self.0 {
            #[cfg(unix)]
            Kind::Unix(socket) => unix::Stream::register(socket.into()).map(Stream::Unix),
            Kind::Tcp(socket) => tcp::Stream::register(socket).map(Stream::Tcp),
            #[cfg(feature = "tls")]
            Kind::Tls(socket, config) => tcp::Stream::register(socket)
                .and_then(|socket| tls::Stream::server(socket, config))
                .map(|stream| Stream::Tls(Box::new(stream))),
            #[cfg(windows)]
            Kind::Pipe(pipe) => Ok(Stream::Pipe(pipe)),
            Kind::Memory(half) => Ok(Stream::Memory(Box::new(half))),
        }
    }
}

/// A connection. `Send` and `Sync`; reads and writes take `&self`.
///
/// Readiness is asked by one task per direction: only the task of the last call is woken. A read or write may be
/// tried from any thread. Two threads that write at once each write a whole run of bytes, in either order; to keep
/// frames together their callers take turns.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// Over a Unix socket.
    #[cfg(unix)]
    Unix(unix::Stream),
    /// Over TCP.
    Tcp(tcp::Stream),
    /// Over TLS.
    #[cfg(feature = "tls")]
    Tls(Box<tls::Stream>),
    /// Over a named pipe.
    #[cfg(windows)]
    Pipe(pipe::Stream),
    /// Inside this process. Boxed, because every idle connection has room for the largest of them.
    Memory(Box<memory::Stream>),
}

/// Why the last write took nothing, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The socket is full.
    Full = 1,
    /// Attachments were to be written, and the peer has not yet read earlier ones.
    Unread = 2,
    /// Attachments were to be written, and the kernel takes no more that are sent and not received, of this user
    /// (`ETOOMANYREFS`). Not this peer's fault; it is tried again after 10 ms, then later, up to a second.
    InFlight = 3,
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            #[cfg(unix)]
            Self::Unix($stream) => $call,
            Self::Tcp($stream) => $call,
            #[cfg(feature = "tls")]
            Self::Tls($stream) => $call,
            #[cfg(windows)]
            Self::Pipe($stream) => $call,
            Self::Memory($stream) => $call,
        }
    };
}

impl Stream {
    /// Ready when [`try_read`](Self::try_read) may bring something (bytes, end of file or an error); else `cx` is
    /// woken then.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_read_ready(cx))
    }

    /// Ready when [`try_write`](Self::try_write) may take something (or fails); else `cx` is woken then. To be asked
    /// after a write that took less than it was given or nothing.
    ///
    /// # Errors
    /// The runtime is shutting down, or no descriptor is left to wait with.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_write_ready(cx))
    }

    /// Reads what is there, at most `buffer.len()` bytes, with one system call. Attachments are added to
    /// `attachments` no later than with the first byte of the write that they came with.
    ///
    /// Returns 0 at the end of file. A read that did not fill the buffer has usually emptied the socket: ask
    /// [`poll_read_ready`](Self::poll_read_ready) before the next, which costs no system call.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; no attachments either. `InvalidInput` for an empty buffer. `InvalidData` when the peer sent more
    /// than [`ATTACHMENTS_MAX`](super::ATTACHMENTS_MAX) at once; all of them are closed and the connection is not to
    /// be used further. Any other error is the connection's end.
    pub fn try_read(&self, buffer: &mut [u8], attachments: &mut Vec<Attachment>) -> io::Result<usize> {
        if buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a read needs a buffer; 0 bytes means end of file",
            ));
        }
        forward!(self, stream => stream.try_read(buffer, attachments))
    }

    /// Writes as much of `slices` as the connection takes, with one system call, from any thread. Returns how many
    /// bytes it took, at least 1. `attachments` travel with the first of these bytes: when this returns `Ok` all of
    /// them are sent, and the rest of the bytes is written with none.
    ///
    /// At most 1,024 slices are looked at.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing now; [`obstacle`](Self::obstacle) says why. `InvalidInput` for attachments that are too many, of the wrong kind,
    /// without a byte to travel with, or over a transport that has none; nothing was sent then. Any other error is
    /// the end of this direction; `BrokenPipe` (never a signal) when the peer has closed.
    pub fn try_write(&self, slices: &[IoSlice<'_>], attachments: &[Attachment]) -> io::Result<usize> {
        if !attachments.is_empty() {
            check_attachments(self.max_attachments(), slices, attachments)?;
        }
        forward!(self, stream => stream.try_write(slices, attachments))
    }

    /// What [`poll_write_ready`](Self::poll_write_ready) waits for; `None` when nothing is in the way, or the transport
    /// has only one kind.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.obstacle(),
            _ => None,
        }
    }

    /// Ready when the system has taken all that was written: over Windows pipes the reactor may hold a write back until the peer has made room.
    #[cfg_attr(
        not(windows),
        allow(
            clippy::needless_pass_by_ref_mut,
            reason = "only where there are pipes anybody waits"
        )
    )]
    pub(crate) fn poll_written(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            #[cfg(windows)]
            Self::Pipe(stream) => stream.poll_write_ready(cx).map(drop),
            _ => {
                let _ = cx;
                Poll::Ready(())
            }
        }
    }

    /// Whether attachments lie unread in the peer's queue, as far as the system tells (Linux).
    #[must_use]
    pub fn holds_attachments(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.holds_descriptors(),
            _ => false,
        }
    }

    /// Whether the peer has closed both directions, or the connection failed. Over TCP a peer that closed looks like
    /// one that only finished writing until something is written to it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        forward!(self, stream => stream.is_closed())
    }

    /// Tells the peer at once what has come: one that writes a message in two parts, over TCP and without `TCP_NODELAY`, sends the second when the
    /// first is acknowledged, which the system may put off by 40 ms. Linux only; elsewhere, and over other transports, nothing happens.
    pub fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(stream) = self {
            stream.acknowledge();
        }
    }

    /// Gives the connection up, if it is one to this process: both directions end now, as if the peer had closed it. Only a Unix socket knows
    /// whom it was connected to; over other transports nothing happens.
    pub(crate) fn give_up(&self, server: u32) {
        #[cfg(unix)]
        if let Self::Unix(stream) = self
            && stream.server() == Some(server)
        {
            stream.shutdown();
        }
        #[cfg(not(unix))]
        let _ = server;
    }

    /// Who is at the other end of a TCP connection, as Windows says now: a socket whose process was not known when it was accepted may be
    /// known when bytes have come from it. Nothing elsewhere, where the answer would be the same.
    pub(crate) fn named_now(&self) -> Named {
        #[cfg(windows)]
        if let Self::Tcp(stream) = self {
            return stream.named_now();
        }
        Named::default()
    }

    /// Whether the peer can vanish without a word: nobody tells that the other end of a network connection has lost its power,
    /// or that something between them has stopped relaying.
    #[must_use]
    pub const fn can_be_half_open(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Unix(_) => false,
            #[cfg(windows)]
            Self::Pipe(_) => false,
            Self::Memory(_) => false,
            _ => true,
        }
    }

    /// Tells the peer that no more bytes follow; reading goes on. A Windows pipe cannot: there nothing happens, and
    /// the end is told by dropping the stream.
    ///
    /// # Errors
    /// The system refused; the connection has ended.
    pub fn shutdown_write(&self) -> io::Result<()> {
        forward!(self, stream => stream.shutdown_write())
    }

    /// Whether the stream can carry these attachments: not too many, and of a kind that it knows.
    ///
    /// # Errors
    /// `InvalidInput`, saying what is wrong.
    pub fn check_attachments(&self, attachments: &[Attachment]) -> io::Result<()> {
        if attachments.is_empty() {
            return Ok(());
        }
        check_attachments(self.max_attachments(), &[IoSlice::new(&[0])], attachments)?;
        match self {
            #[cfg(unix)]
            Self::Unix(_) => unix::check_kinds(attachments),
            #[cfg(windows)]
            Self::Pipe(_) => pipe::check_kinds(attachments),
            _ => Ok(()),
        }
    }

    /// Whether attachments can travel over this stream once its client is known to expect them: over Windows pipes only then.
    #[must_use]
    pub fn can_carry_handles(&self) -> bool {
        match self {
            #[cfg(windows)]
            Self::Pipe(stream) => stream.can_carry_handles(),
            _ => false,
        }
    }

    /// Whether this is a client's end that finds out by itself that its server carries handles: over Windows pipes.
    pub(crate) fn expects_handles(&self) -> bool {
        match self {
            #[cfg(windows)]
            Self::Pipe(stream) => stream.expects_handles(),
            _ => false,
        }
    }

    /// The client expects them: from the next byte on a Windows pipe carries attachments in both directions. Nothing happens elsewhere.
    pub(crate) fn carry_handles(&self) {
        #[cfg(windows)]
        if let Self::Pipe(stream) = self {
            stream.carry_handles();
        }
    }

    /// How many attachments one write may carry; 0 where the transport has none.
    #[must_use]
    pub fn max_attachments(&self) -> u32 {
        match self {
            #[cfg(unix)]
            Self::Unix(_) => super::ATTACHMENTS_MAX as u32,
            Self::Memory(_) => super::ATTACHMENTS_MAX as u32,
            Self::Tcp(_) => 0,
            #[cfg(feature = "tls")]
            Self::Tls(_) => 0,
            #[cfg(windows)]
            Self::Pipe(stream) if stream.carries_handles() => super::ATTACHMENTS_MAX as u32,
            #[cfg(windows)]
            Self::Pipe(_) => 0,
        }
    }
}

impl Stream {
    /// Who the peer is by its certificate: the only DNS name in it, with the certificate verified. `None` without TLS,
    /// before the end of the handshake, without a certificate, and for one with no name, several or a wildcard.
    #[must_use]
    pub fn proven_name(&self) -> Option<String> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.proven_name(),
            _ => None,
        }
    }
}

fn check_attachments(max: u32, slices: &[IoSlice<'_>], attachments: &[Attachment]) -> io::Result<()> {
    let wrong = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if max == 0 {
        return wrong("this transport carries no attachments".to_owned());
    }
    if attachments.len() > max as usize {
        return wrong(format!(
            "{} attachments at once, but at most {max} may travel together",
            attachments.len()
        ));
    }
    if slices.iter().all(|slice| slice.is_empty()) {
        return wrong("attachments need a byte to travel with".to_owned());
    }
    Ok(())
}

/// What a client may be told besides the endpoint.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Whom `tls:` endpoints are trusted to be, and who this client is there.
    pub tls: TlsClient,
}

/// Connects to the server at `endpoint`, on the current tokio runtime, and makes sure that it belongs to this user
/// or root. Cancel safe: dropping the future gives the connection up.
///
/// # Errors
/// `PermissionDenied` when the server belongs to another user, or to one that cannot be told (both are named), or
/// is on another machine (but for `tls:`, where its certificate decides). `Unsupported` for a transport that this platform does not have. Otherwise what the
/// system says; every message names the endpoint.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
    connect_with(endpoint, &ConnectOptions::default()).await
}

/// Like [`connect`], with options.
///
/// # Errors
/// As for [`connect`].
pub async fn connect_with(endpoint: &Endpoint, options: &ConnectOptions) -> io::Result<Stream> {
    connect_known(endpoint, options).await.map(|(stream, _)| stream)
}

/// Like [`connect_with`], with what the system says of the server: on Unix sockets and pipes always, over TCP as far as it knows, over TLS
/// nothing.
///
/// # Errors
/// As for [`connect`].
pub(crate) async fn connect_known(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> io::Result<(Stream, PeerCredentials)> {
    let connected: io::Result<(Stream, Option<PeerCredentials>)> = match endpoint {
        #[cfg(unix)]
        Endpoint::Unix(path) => unix::connect(path)
            .await
            .map(|(stream, server)| (Stream::Unix(stream), Some(server))),
        Endpoint::Tcp(address) => tcp::connect(address, false)
            .await
            .map(|(stream, server)| (Stream::Tcp(stream), server)),
        Endpoint::Tls(address) => connect_tls(address, &options.tls)
            .await
            .map(|stream| (stream, None)),
        #[cfg(windows)]
        Endpoint::Pipe(name) => pipe::connect(name)
            .await
            .map(|(stream, server)| (Stream::Pipe(stream), Some(server))),
        Endpoint::Memory(name) => {
            let this = Some(PeerCredentials::current());
            memory::connect(name).map(|stream| (Stream::Memory(Box::new(stream)), this))
        }
        #[allow(
            unreachable_patterns,
            reason = "which transports are left differs by platform"
        )]
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            endpoint
                .lacking()
                .unwrap_or("this platform does not have that transport"),
        )),
    };
    let (stream, server) =
        connected.map_err(|error| io::Error::new(error.kind(), format!("{endpoint}: {error}")))?;
    if let Some(server) = &server {
        check_server(endpoint, server)?;
    }
    Ok((stream, server.unwrap_or_default()))
}

/// The certificate says who serves, whichever user that is.
#[cfg(feature = "tls")]
async fn connect_tls(address: &str, options: &TlsClient) -> io::Result<Stream> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let trust =
        tls::client(options, host).map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
    let (socket, _) = tcp::connect(address, true).await?;
    let stream = tls::Stream::client(socket, trust).await?;
    Ok(Stream::Tls(Box::new(stream)))
}

#[cfg(not(feature = "tls"))]
async fn connect_tls(_: &str, _: &TlsClient) -> io::Result<Stream> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        super::tls::NOT_BUILT_IN,
    ))
}

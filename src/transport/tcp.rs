//! TCP, between processes of this machine.
//!
//! Owns resolving, the restriction to loopback addresses, the socket options, and finding the user at the other end
//! (on Linux and Windows). No attachments. To other machines it only carries TLS.

#[cfg(unix)]
use super::accept::Spare;
use super::accept::{PASSED_OVER_MAX, is_the_listeners};
use super::credentials::{Named, PeerCredentials};
use super::inject::{Site, fault, retry};
use super::listener::{Accepted, BindError};
#[cfg(any(target_os = "linux", windows))]
use super::loopback;
use super::{BACKLOG, Endpoint, Socket};
use crate::message::Attachment;
use socket2::{Domain, SockRef, TcpKeepalive, Type};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, ToSocketAddrs};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// After this long without traffic the kernel asks whether the peer is still there, and again after this long.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Unanswered questions after which the connection has failed.
#[cfg(unix)]
const KEEPALIVE_RETRIES: u32 = 3;

/// Whether the user at the other end of a loopback connection can be told on this system.
pub const KNOWS_PEERS: bool = super::credentials::tcp_peers_are_known();

/// A connected TCP socket on a reactor.
#[derive(Debug)]
pub struct Stream {
    stream: TcpStream,
    /// A read or a write failed. Elsewhere the system remembers that.
    #[cfg(not(unix))]
    failed: std::sync::atomic::AtomicBool,
}

impl Stream {
    pub(super) fn register(socket: std::net::TcpStream) -> io::Result<Self> {
        fault(Site::Register)?;
        TcpStream::from_std(socket).map(Self::new)
    }

    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            #[cfg(not(unix))]
            failed: std::sync::atomic::AtomicBool::new(false),
        }
    }

    #[cfg(not(unix))]
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result
            .as_ref()
            .is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
        {
            self.failed.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        result
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// A short read has emptied the socket, so tokio is told `WouldBlock` and does not ask again; see `unix`.
    #[cfg(target_os = "linux")]
    pub(super) fn try_read(&self, buffer: &mut [u8], _: &mut Vec<Attachment>) -> io::Result<usize> {
        use rustix::net::{RecvFlags, recv};
        let mut emptied = None;
        let room = buffer.len();
        let result = self.stream.try_io(tokio::io::Interest::READABLE, || {
            let (read, _) = retry(|| {
                fault(Site::Read)?;
                Ok(recv(&self.stream, &mut *buffer, RecvFlags::empty())?)
            })?;
            if read > 0 && read < room {
                emptied = Some(read);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(read)
        });
        emptied.map_or(result, Ok)
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    pub(super) fn try_read(&self, buffer: &mut [u8], _: &mut Vec<Attachment>) -> io::Result<usize> {
        self.stream.try_read(buffer)
    }

    #[cfg(not(unix))]
    pub(super) fn try_read(&self, buffer: &mut [u8], _: &mut Vec<Attachment>) -> io::Result<usize> {
        self.noted(self.stream.try_read(buffer))
    }

    #[cfg(not(unix))]
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>], _: &[Attachment]) -> io::Result<usize> {
        self.noted(self.stream.try_write_vectored(slices))
    }

    #[cfg(unix)]
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>], _: &[Attachment]) -> io::Result<usize> {
        retry(|| {
            fault(Site::Write)?;
            self.stream.try_write_vectored(slices)
        })
    }

    #[cfg(unix)]
    pub(super) fn is_closed(&self) -> bool {
        use rustix::fd::AsFd;
        super::unix::hung_up(self.stream.as_fd())
    }

    #[cfg(not(unix))]
    pub(super) fn is_closed(&self) -> bool {
        self.failed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Who is at the other end, as the system says now.
    #[cfg(windows)]
    pub(super) fn named_now(&self) -> Named {
        named(&self.stream)
    }

    /// Tells the peer what has come, now.
    #[cfg(target_os = "linux")]
    pub(super) fn acknowledge(&self) {
        // Who is not told now is told a little later.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.stream, true);
    }

    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        fault(Site::Shutdown)?;
        SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write)
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    #[cfg(unix)]
    spare: Spare,
}

impl Listener {
    /// Also returns the endpoint with the port that it got. `remote`: it is for TLS, so it may be reached from other
    /// machines.
    pub(super) fn bind(
        endpoint: &Endpoint,
        address: &str,
        remote: bool,
    ) -> Result<(Self, Endpoint), BindError> {
        let failed = |action| BindError::io(endpoint, action);
        let addresses: Vec<_> = address
            .to_socket_addrs()
            .map_err(failed("look up the host"))?
            .collect();
        if let Some(&remote) = addresses.iter().find(|found| !remote && !is_loopback(found)) {
            return Err(BindError::NotLoopback {
                endpoint: endpoint.clone(),
                address: remote,
            });
        }
        let mut last = failed("look up the host")(io::Error::from(io::ErrorKind::NotFound));
        for found in addresses {
            match listen(found) {
                Ok(listener) => {
                    let bound = listener.local_addr().map_err(failed("ask for the port"))?;
                    let told = if found.port() == 0 {
                        Endpoint::Tcp(bound.to_string())
                    } else {
                        endpoint.clone()
                    };
                    let listener = Self {
                        listener,
                        #[cfg(unix)]
                        spare: Spare::keep(),
                    };
                    return Ok((listener, told));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = in_use(endpoint, &found),
                Err(error) => last = failed("listen")(error),
            }
        }
        Err(last)
    }

    /// On a socket that listens already and does not block.
    #[cfg(unix)]
    pub(super) fn passed(socket: std::net::TcpListener, address: SocketAddr) -> Result<Self, String> {
        if !is_loopback(&address) {
            return Err(format!(
                "listens on {address}, which is not a loopback address, and plain TCP is only for this machine; set \
                 ListenStream=127.0.0.1:port in its .socket unit, or listen on tls:host:port"
            ));
        }
        let listener =
            TcpListener::from_std(socket).map_err(|error| format!("cannot be watched: {error}"))?;
        Ok(Self {
            listener,
            spare: Spare::keep(),
        })
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let mut last = None;
        for _ in 0..PASSED_OVER_MAX {
            let accepted = match fault(Site::Accept) {
                Ok(()) => ready!(self.listener.poll_accept(cx)),
                Err(error) => Err(error),
            };
            match accepted.and_then(|(stream, peer)| match prepare(stream, peer) {
                Ok((stream, named)) => Ok((stream, named, peer)),
                // What cannot be set is that connection's end, whatever the error is called.
                Err(error) => Err(io::Error::other(error)),
            }) {
                Ok((stream, Named { credentials, user }, peer)) => {
                    return Poll::Ready(Ok(Accepted {
                        socket: Socket::tcp(stream),
                        credentials,
                        address: Some(peer.ip()),
                        gids: None,
                        user,
                    }));
                }
                Err(error) if is_the_listeners(&error) => return Poll::Ready(Err(error)),
                Err(error) => last = Some(error),
            }
        }
        Poll::Ready(Err(
            last.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())
        ))
    }

    #[cfg(unix)]
    pub(super) fn turn_away(&mut self, goodbye: &[u8], first: Option<u8>) -> usize {
        self.spare
            .turn_away(&SockRef::from(&self.listener), goodbye, first)
    }
}

fn prepare(stream: TcpStream, peer: SocketAddr) -> io::Result<(std::net::TcpStream, Named)> {
    retry(|| fault(Site::Identify))?;
    // At once: a client may leave while it is asked.
    let named = client(peer, stream.local_addr()?);
    set_options(&stream)?;
    Ok((stream.into_std()?, named))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    fault(Site::Bind)?;
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // On Unix this only lets a new broker have the port while connections of the old one time out. On Windows it
    // would let another process take a port that is in use.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // Accepted sockets have it from their listener; and Wine tells whose the listener is once its process has used it.
    #[cfg(windows)]
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn in_use(endpoint: &Endpoint, address: &SocketAddr) -> BindError {
    let endpoint = endpoint.clone();
    #[cfg(any(target_os = "linux", windows))]
    if let Some(uid) = loopback::listener_owner(*address)
        && Some(uid) != super::current_uid()
    {
        return BindError::OtherUser { endpoint, uid };
    }
    #[cfg(not(any(target_os = "linux", windows)))]
    let _ = address;
    BindError::InUse { endpoint, pid: None }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Who made the accepted connection from `peer` to `local`.
fn client(peer: SocketAddr, local: SocketAddr) -> Named {
    #[cfg(target_os = "linux")]
    if is_loopback(&peer) {
        let uid = loopback::owner(peer, local);
        return Named::from(PeerCredentials {
            uid,
            ..PeerCredentials::UNKNOWN
        });
    }
    #[cfg(windows)]
    if is_loopback(&peer) {
        return loopback::owner(peer, local);
    }
    let _ = (peer, local);
    Named::default()
}

/// Who made this connection, which was accepted here. Nothing is known of it where the system does not tell: elsewhere than on Linux and
/// Windows, and of peers on other machines.
#[must_use]
pub fn peer_credentials(accepted: &TcpStream) -> PeerCredentials {
    named(accepted).by_number()
}

fn named(accepted: &TcpStream) -> Named {
    match (accepted.peer_addr(), accepted.local_addr()) {
        (Ok(peer), Ok(local)) => client(peer, local),
        _ => Named::default(),
    }
}

/// Who serves the connection; `None` where that cannot be asked.
fn server(stream: &TcpStream) -> io::Result<Option<PeerCredentials>> {
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    if peer == local {
        // Both ends are this socket: a client port was chosen that happened to be the wanted one.
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "nobody listens there",
        ));
    }
    #[cfg(target_os = "linux")]
    if is_loopback(&peer) {
        let uid = loopback::server_owner(peer, local);
        return Ok(Some(PeerCredentials {
            uid,
            ..PeerCredentials::UNKNOWN
        }));
    }
    #[cfg(windows)]
    if is_loopback(&peer) {
        return Ok(Some(loopback::server_owner(peer, local)));
    }
    Ok(None)
}

/// `remote`: it is for TLS, so it may lead to another machine.
pub(super) async fn connect(address: &str, remote: bool) -> io::Result<(Stream, Option<PeerCredentials>)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for found in tokio::net::lookup_host(address).await? {
        if !remote && !is_loopback(&found) {
            let text = format!(
                "{found} is not a loopback address, and plain TCP is only for this machine; use tls:{address} instead"
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let connected = match fault(Site::Connect) {
            Ok(()) => TcpStream::connect(found).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => {
                set_options(&stream)?;
                let server = server(&stream)?;
                return Ok((Stream::new(stream), server));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests;

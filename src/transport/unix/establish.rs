//! How connections over Unix sockets come about: accepting, connecting, and who the peer is.
//!
//! Owns the waiting for a place in an accept queue and the question to the kernel about the peer. It decides nothing
//! about whom to trust.

use super::{Stream, watch};
use crate::platform::fork::Noted;
#[cfg(target_os = "linux")]
use crate::platform::peer;
use crate::platform::place::{self, Place, REFUSED_PAUSE, REFUSED_WAIT, address};
use crate::transport::accept::{PASSED_OVER_MAX, Spare, is_the_listeners};
use crate::transport::credentials::PeerCredentials;
use crate::transport::inject::{Site, fault, retry};
use crate::transport::listener::{Accepted, BindError, UnixOptions};
use crate::transport::{BACKLOG, Endpoint, Socket};
use rustix::fd::OwnedFd;
use socket2::{Domain, SockAddr, Type};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long a client waits for a place in a full accept queue.
const QUEUE_WAIT: Duration = Duration::from_millis(500);

/// A listening Unix socket, its path and its lock.
#[derive(Debug)]
pub(in crate::transport) struct Listener {
    socket: Noted<AsyncFd<socket2::Socket>>,
    spare: Spare,
    /// None: the path is its caller's business.
    _place: Option<Place>,
}

impl Listener {
    pub(in crate::transport) fn bind(
        endpoint: &Endpoint,
        path: &Path,
        options: &UnixOptions,
    ) -> Result<Self, BindError> {
        fault(Site::Bind).map_err(BindError::io(endpoint, "make a socket"))?;
        let (socket, place) =
            place::bind(path, options, BACKLOG).map_err(|error| BindError::place(endpoint, error))?;
        Self::on(endpoint, socket, Some(place))
    }

    pub(in crate::transport) fn replace(
        endpoint: &Endpoint,
        path: &Path,
        mode: u32,
    ) -> Result<Self, BindError> {
        fault(Site::Bind).map_err(BindError::io(endpoint, "make a socket"))?;
        let socket =
            place::replace(path, mode, BACKLOG).map_err(|error| BindError::place(endpoint, error))?;
        Self::on(endpoint, socket, None)
    }

    /// On a socket that listens already, at a path that is its maker's.
    pub(in crate::transport) fn passed(
        endpoint: &Endpoint,
        socket: socket2::Socket,
    ) -> Result<Self, BindError> {
        Self::on(endpoint, socket, None)
    }

    fn on(endpoint: &Endpoint, socket: socket2::Socket, place: Option<Place>) -> Result<Self, BindError> {
        let socket =
            watch(socket, Interest::READABLE).map_err(BindError::io(endpoint, "watch the socket"))?;
        Ok(Self {
            socket: Noted::new(socket),
            spare: Spare::keep(),
            _place: place,
        })
    }

    pub(in crate::transport) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let mut last = None;
        for _ in 0..PASSED_OVER_MAX {
            let mut readable = ready!(self.socket.poll_read_ready(cx))?;
            let accept = |socket: &AsyncFd<socket2::Socket>| {
                fault(Site::Accept)?;
                Ok(socket.get_ref().accept()?.0)
            };
            let Ok(accepted) = readable.try_io(accept) else {
                continue;
            };
            match accepted {
                // What is not known of a peer, or cannot be set, is that peer's end.
                Ok(socket) => match identify(socket) {
                    Ok((socket, credentials)) => {
                        return Poll::Ready(Ok(Accepted {
                            gids: gids(&socket, &credentials),
                            user: None,
                            socket: Socket::unix(socket),
                            credentials,
                            address: None,
                        }));
                    }
                    Err(error) => last = Some(error),
                },
                Err(error) if is_the_listeners(&error) => return Poll::Ready(Err(error)),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Poll::Ready(Err(error)),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    pub(in crate::transport) fn turn_away(&mut self, goodbye: &[u8], first: Option<u8>) -> usize {
        self.spare.turn_away(self.socket.get_ref(), goodbye, first)
    }
}

/// Asks the kernel itself: see the other one for what that spares.
#[cfg(target_os = "linux")]
fn identify(socket: socket2::Socket) -> io::Result<(UnixStream, PeerCredentials)> {
    retry(|| fault(Site::Identify))?;
    socket.set_nonblocking(true)?;
    let told = peer::credentials(socket.as_fd())?;
    let credentials = PeerCredentials {
        uid: Some(told.uid),
        gid: Some(told.gid),
        pid: told.pid,
    };
    Ok((OwnedFd::from(socket).into(), credentials))
}

/// tokio knows how each system is asked, but only for its own streams, so the socket visits the reactor: two system calls, and a block
/// that lies between those of the connection and leaves a hole there.
#[cfg(not(target_os = "linux"))]
fn identify(socket: socket2::Socket) -> io::Result<(UnixStream, PeerCredentials)> {
    retry(|| fault(Site::Identify))?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(OwnedFd::from(socket).into())?;
    let told = socket.peer_cred()?;
    let pid = told
        .pid()
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid != 0);
    let credentials = PeerCredentials {
        uid: Some(told.uid()),
        gid: Some(told.gid()),
        pid,
    };
    Ok((socket.into_std()?, credentials))
}

/// The groups of the peer: what the kernel tells beyond its effective one. `None`: not all of them are known.
#[cfg(target_os = "linux")]
fn gids(socket: &UnixStream, credentials: &PeerCredentials) -> Option<Box<[u32]>> {
    let mut gids = super::groups::supplementary(socket).ok()?;
    gids.extend(credentials.gid.filter(|gid| !gids.contains(gid)));
    Some(gids.into())
}

/// Other systems tell of the effective group only; that others are unknown counts against the peer.
#[cfg(not(target_os = "linux"))]
fn gids(_: &UnixStream, _: &PeerCredentials) -> Option<Box<[u32]>> {
    None
}

/// The process that listens at the other end of `socket`, where there is a runtime to ask with.
pub(super) fn listener_pid(socket: socket2::Socket) -> Option<u32> {
    #[cfg(not(target_os = "linux"))]
    tokio::runtime::Handle::try_current().ok()?;
    identify(socket).ok()?.1.pid
}

pub(in crate::transport) async fn connect(path: &Path) -> io::Result<(Stream, PeerCredentials)> {
    let address = address(path)?;
    let limit = Instant::now() + REFUSED_WAIT;
    let (socket, connected) = loop {
        fault(Site::Connect)?;
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address) {
            // The accept queue may be full: not every system tells that apart.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < limit => {
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            connected => break (socket, connected),
        }
    };
    let socket = match connected {
        Ok(()) => socket,
        // The accept queue is full. The kernel has no event for a place in it but waking a blocked connect.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            tokio::task::spawn_blocking(move || connect_waiting(socket, &address)).await??
        }
        Err(error) => return Err(error),
    };
    let (socket, server) = identify(socket)?;
    Ok((Stream::register(socket.into())?, server))
}

fn connect_waiting(socket: socket2::Socket, address: &SockAddr) -> io::Result<socket2::Socket> {
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(QUEUE_WAIT))?;
    socket.connect(address).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "the server accepted nobody for {} ms; its queue of waiting clients is full",
                QUEUE_WAIT.as_millis()
            ),
        ),
        _ => error,
    })?;
    Ok(socket)
}

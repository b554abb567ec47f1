//! Listening on an endpoint, and why that may fail.
//!
//! Owns [`Listener`], which hides the transports from the broker's Listener actor, and [`BindError`], which says
//! who must act. It decides nothing about who may connect: it hands over the evidence.

use super::accept::is_shortage;
use super::memory::{self, MemoryOptions};
#[cfg(windows)]
use super::pipe;
#[cfg(unix)]
use super::unix;
use super::{Endpoint, PeerCredentials, Socket, TlsServer, WindowsUser, tcp};
#[cfg(unix)]
use crate::platform::place::PlaceError;
use crate::platform::process::holder;
pub use crate::platform::socket_options::UnixOptions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::{Context, Poll};

/// Why an endpoint could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A living process of this user has it: stop that one or choose another endpoint.
    #[error("{endpoint} is in use by {}; stop it or listen somewhere else", holder(*pid))]
    InUse {
        /// The endpoint.
        endpoint: Endpoint,
        /// The process, where the system tells.
        pid: Option<u32>,
    },
    /// It belongs to another user; a default endpoint can be skipped for that.
    #[error("{endpoint} belongs to uid {uid}; listen somewhere else")]
    OtherUser {
        /// The endpoint.
        endpoint: Endpoint,
        /// That user.
        uid: u32,
    },
    /// Something is at the path that no broker made; it is left alone.
    #[error("{} is {what}; it was left alone: remove it or listen somewhere else", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The path does not fit a socket address.
    #[error("{} has {len} bytes, but the path of a Unix socket has at most {max}; choose a shorter one", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
        /// The largest length in bytes.
        max: usize,
    },
    /// The address can be reached from other machines, which plain TCP is not for.
    #[error(
        "{endpoint} is {address}, which is not a loopback address, and plain TCP is only for this machine; listen on \
         tls:host:port for other machines, or on tcp:127.0.0.1:port"
    )]
    NotLoopback {
        /// The endpoint.
        endpoint: Endpoint,
        /// What it resolved to.
        address: SocketAddr,
    },
    /// Others could put something in the place of the socket: give the folder another owner or mode.
    #[error("the folder {} {what}; a socket for several users needs a folder of root or of this user that nobody else can write, as `install -d -m 0755` makes it", path.display())]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// This platform does not have the transport.
    #[error("{endpoint}: {}", endpoint.lacking().unwrap_or("this platform does not have that transport"))]
    Unsupported {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The files or the build do not allow TLS; the reason says which file.
    #[error("{endpoint}: {reason}")]
    Tls {
        /// The endpoint.
        endpoint: Endpoint,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The system refused.
    #[error("{endpoint}: cannot {action}: {source}")]
    Io {
        /// The endpoint.
        endpoint: Endpoint,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl BindError {
    /// The path of `endpoint` was not taken.
    #[cfg(unix)]
    pub(super) fn place(endpoint: &Endpoint, error: PlaceError) -> Self {
        let endpoint = endpoint.clone();
        match error {
            PlaceError::InUse { pid, .. } => Self::InUse { endpoint, pid },
            PlaceError::OtherUser { uid, .. } => Self::OtherUser { endpoint, uid },
            PlaceError::Foreign { path, what } => Self::Foreign { path, what },
            PlaceError::PathTooLong { path, len, max } => Self::PathTooLong { path, len, max },
            PlaceError::UnsafeFolder { path, what } => Self::UnsafeFolder { path, what },
            PlaceError::Io { action, source, .. } => Self::Io {
                endpoint,
                action,
                source,
            },
        }
    }

    /// For `map_err`: the system refused `action` at `endpoint`.
    pub(super) fn io<E: Into<io::Error>>(
        endpoint: &Endpoint,
        action: &'static str,
    ) -> impl FnOnce(E) -> Self {
        let endpoint = endpoint.clone();
        move |source| Self::Io {
            endpoint,
            action,
            source: source.into(),
        }
    }
}

/// What a listener may be told besides its endpoint.
#[derive(Clone, Debug, Default)]
pub struct BindOptions {
    /// Certificates for `tls:` endpoints.
    pub tls: Option<TlsServer>,
    /// Who may reach Unix sockets.
    pub unix: UnixOptions,
    /// Size and faults of connections over `mem:` endpoints.
    pub memory: MemoryOptions,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, to be registered on the thread that will use it.
    pub socket: Socket,
    /// Who is at the other end.
    pub credentials: PeerCredentials,
    /// Its address, where it has one: whom failures are counted for.
    pub address: Option<IpAddr>,
    /// All groups of its process when it connected, the effective one and the supplementary ones; `None`: not known.
    pub gids: Option<Box<[u32]>>,
    /// Its user under Windows; `None`: not known.
    pub user: Option<WindowsUser>,
}

#[derive(Debug)]
pub(super) enum Kind {
    #[cfg(unix)]
    Unix(unix::Listener),
    Tcp(tcp::Listener),
    #[cfg(feature = "tls")]
    Tls(tcp::Listener, Arc<rustls::ServerConfig>),
    #[cfg(windows)]
    Pipe(pipe::Listener),
    Memory(memory::Listener),
}

/// An endpoint that accepts connections. Dropping it closes the endpoint and removes what it left in the file
/// system; accepted connections go on. (The name of a Windows pipe stays taken until they end, too.)
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    endpoint: Endpoint,
}

impl Listener {
    /// Listens on `endpoint`, on the current tokio runtime. A host name is looked up, which may block.
    ///
    /// # Errors
    /// [`BindError`]; nothing is left behind then.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O, but for `mem:` endpoints.
    pub fn bind(endpoint: &Endpoint) -> Result<Self, BindError> {
        Self::bind_with(endpoint, &BindOptions::default())
    }

    /// Like [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// [`BindError`]; nothing is left behind then.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O, but for `mem:` endpoints.
    pub fn bind_with(endpoint: &Endpoint, options: &BindOptions) -> Result<Self, BindError> {
        let bound = |kind| Self {
            kind,
            endpoint: endpoint.clone(),
        };
        match endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => unix::Listener::bind(endpoint, path, &options.unix)
                .map(Kind::Unix)
                .map(bound),
            Endpoint::Tcp(address) => {
                let (listener, endpoint) = tcp::Listener::bind(endpoint, address, false)?;
                Ok(Self {
                    kind: Kind::Tcp(listener),
                    endpoint,
                })
            }
            Endpoint::Tls(address) => Self::bind_tls(endpoint, address, options.tls.as_ref()),
            #[cfg(windows)]
            Endpoint::Pipe(name) => pipe::Listener::bind(endpoint, name).map(Kind::Pipe).map(bound),
            Endpoint::Memory(name) => memory::Listener::bind(endpoint, name, &options.memory)
                .map(Kind::Memory)
                .map(bound),
            #[allow(
                unreachable_patterns,
                reason = "which transports are left differs by platform"
            )]
            _ => Err(BindError::Unsupported {
                endpoint: endpoint.clone(),
            }),
        }
    }

    /// Listens where only the caller may for now, by a lock of its own: a socket that is at the path is replaced, in one step and once the new one
    /// listens; a pipe may still have connections of whoever listened before. Dropping the listener leaves the path as it is.
    ///
    /// # Errors
    /// [`BindError`]; what was there is there still. Endpoints of other kinds are [`BindError::Unsupported`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    #[cfg_attr(windows, allow(unused_variables, reason = "pipes have no mode"))]
    pub(crate) fn replace(endpoint: &Endpoint, mode: u32) -> Result<Self, BindError> {
        let kind = match endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => Kind::Unix(unix::Listener::replace(endpoint, path, mode)?),
            #[cfg(windows)]
            Endpoint::Pipe(name) => Kind::Pipe(pipe::Listener::replace(endpoint, name)?),
            _ => {
                return Err(BindError::Unsupported {
                    endpoint: endpoint.clone(),
                });
            }
        };
        Ok(Self {
            kind,
            endpoint: endpoint.clone(),
        })
    }

    /// One of this kind.
    #[cfg_attr(not(unix), allow(dead_code, reason = "only sockets that are passed come so"))]
    pub(super) const fn of(kind: Kind, endpoint: Endpoint) -> Self {
        Self { kind, endpoint }
    }

    #[cfg(feature = "tls")]
    fn bind_tls(endpoint: &Endpoint, address: &str, tls: Option<&TlsServer>) -> Result<Self, BindError> {
        let failed = |reason| BindError::Tls {
            endpoint: endpoint.clone(),
            reason,
        };
        let missing = "a certificate and its key are needed (tls.certificate, tls.key)";
        let tls = tls.ok_or_else(|| failed(missing.to_owned()))?;
        let config = super::tls::server(tls).map_err(failed)?;
        let (listener, bound) = tcp::Listener::bind(endpoint, address, true)?;
        Ok(Self {
            kind: Kind::Tls(listener, config),
            endpoint: match bound {
                Endpoint::Tcp(address) => Endpoint::Tls(address),
                other => other,
            },
        })
    }

    #[cfg(not(feature = "tls"))]
    fn bind_tls(endpoint: &Endpoint, _: &str, _: Option<&TlsServer>) -> Result<Self, BindError> {
        Err(BindError::Tls {
            endpoint: endpoint.clone(),
            reason: super::tls::NOT_BUILT_IN.to_owned(),
        })
    }

    /// Where it listens: as given, but with the port that the system chose in place of port 0.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Waits for the next connection. Only the task of the last call is woken.
    ///
    /// # Errors
    /// The listener stays usable: no descriptor ([`is_shortage`](Self::is_shortage)) or memory may be left, so that
    /// asking again at once would spin. A connection that its peer gave up before it was accepted, or of which the
    /// system does not tell whose it is, is no error; it is passed over, 64 of them in a row at most.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match &mut self.kind {
            #[cfg(unix)]
            Kind::Unix(listener) => listener.poll_accept(cx),
            Kind::Tcp(listener) => listener.poll_accept(cx),
            #[cfg(feature = "tls")]
            Kind::Tls(listener, config) => listener.poll_accept(cx).map_ok(|accepted| Accepted {
                socket: accepted.socket.with_tls(config),
                // Whoever reaches a TLS port proves who it is by certificate or token, on this machine, too.
                credentials: PeerCredentials::UNKNOWN,
                user: None,
                ..accepted
            }),
            #[cfg(windows)]
            Kind::Pipe(listener) => listener.poll_accept(cx),
            Kind::Memory(listener) => listener.poll_accept(cx),
        }
    }

    /// Whether an error of [`poll_accept`](Self::poll_accept) means that no descriptor is left.
    #[must_use]
    pub fn is_shortage(error: &io::Error) -> bool {
        is_shortage(error)
    }

    /// Accepts and closes those that wait, at most 64, with a descriptor that is kept for the time when none is left.
    /// Each is sent `goodbye`, as far as its socket takes it at once; with `first` only those that have sent this byte first. Returns how
    /// many there were; 0 where there are no descriptors.
    pub fn turn_away(&mut self, goodbye: &[u8], first: Option<u8>) -> usize {
        match &mut self.kind {
            #[cfg(unix)]
            Kind::Unix(listener) => listener.turn_away(goodbye, first),
            #[cfg(unix)]
            Kind::Tcp(listener) => listener.turn_away(goodbye, first),
            _ => {
                let _ = (goodbye, first);
                0
            }
        }
    }

    /// [`poll_accept`](Self::poll_accept) as a future. Cancel safe: no connection is lost.
    ///
    /// # Errors
    /// As for `poll_accept`.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }
}

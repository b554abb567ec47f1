//! The client of a lazy server, in plain blocking calls with a deadline.
//!
//! Owns what a client may conclude from what it sees: above all whether a command may have been carried out. `asynchronous` shares it.

use super::IpcServerCommand;
use super::wire::{self, Found, PREFACE, Status};
use crate::platform::peer::credentials;
use crate::platform::place::address;
use rustix::process::geteuid;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long [`client_send`] waits: a lazy server answers when its loop gets to it.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest response that a client takes, in bytes: what the length of a frame can say is believed up to here.
const RESPONSE_MAX: usize = 1 << 30;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens at the path: start the server, or look at the path.
    #[error("no server listens at {}: {source}", path.display())]
    NoServer {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The server belongs to somebody else, who must not learn the command.
    #[error("the server at {} belongs to uid {uid}; only one of this user or root is trusted", path.display())]
    OtherUser {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// No response in time.
    #[error("no response within {} ms; the command {}", timeout.as_millis(), ran(*may_have_run))]
    Timeout {
        /// The time that was given.
        timeout: Duration,
        /// Whether the command may have been carried out, now or later.
        may_have_run: bool,
    },
    /// The connection ended before the response.
    #[error("the connection ended before the response; the command {}", ran(*may_have_run))]
    Closed {
        /// Whether the command may have been carried out.
        may_have_run: bool,
    },
    /// The server does not understand the command: both programs need the same version of it. It was not carried out.
    #[error("{0}")]
    Malformed(String),
    /// The command is larger than the server takes; it was not carried out.
    #[error("{0}")]
    TooLarge(String),
    /// The server has too much to do; it was not carried out. Try again.
    #[error("{0}")]
    Busy(String),
    /// The command was begun and panicked, or it was carried out and its response cannot be sent; the text says which.
    #[error("{0}")]
    Failed(String),
    /// What listens there is no lazy server, or one of another version.
    #[error("{0}")]
    Protocol(String),
    /// The command cannot be written, or the response not be read: types that postcard cannot carry, or two versions of them.
    #[error("{what} is not what was expected: {source}")]
    Encoding {
        /// The command or the response.
        what: &'static str,
        /// postcard's answer.
        source: postcard::Error,
    },
    /// The system failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

const fn ran(may_have: bool) -> &'static str {
    if may_have {
        "may have been carried out"
    } else {
        "was not carried out"
    }
}

impl ClientError {
    /// Whether the command may have been carried out, wholly or in part.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::Timeout { may_have_run, .. } | Self::Closed { may_have_run } => *may_have_run,
            Self::Failed(_) | Self::Io { .. } => true,
            Self::Encoding { what, .. } => matches!(what.as_bytes(), b"the response"),
            _ => false,
        }
    }
}

/// Sends one command to the server at `socket_path` and returns its response, within [`TIMEOUT`].
///
/// # Errors
/// [`ClientError`]; [`may_have_run`](ClientError::may_have_run) says whether it may have been carried out.
pub fn client_send<C: IpcServerCommand>(
    command: &C,
    socket_path: impl AsRef<Path>,
) -> Result<C::Response, ClientError> {
    client_send_within(command, socket_path, TIMEOUT)
}

/// Like [`client_send`], with another time.
///
/// # Errors
/// As there.
pub fn client_send_within<C: IpcServerCommand>(
    command: &C,
    socket_path: impl AsRef<Path>,
    timeout: Duration,
) -> Result<C::Response, ClientError> {
    Client::connect(socket_path)?.timeout(timeout).send(command)
}

/// A connection, for several commands.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    timeout: Duration,
    incoming: Vec<u8>,
    greeted: bool,
    /// An answer was not waited for, so that the next one would be taken for another.
    broken: bool,
}

impl Client {
    /// Connects to the server at `path`. The server may be busy with other things: this does not wait for it.
    ///
    /// # Errors
    /// [`ClientError::NoServer`], [`ClientError::OtherUser`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let none = |source| ClientError::NoServer {
            path: path.to_owned(),
            source,
        };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(none)?;
        // A full queue of waiting clients is waited for; the time for that is set as that for writing.
        socket.set_write_timeout(Some(TIMEOUT)).map_err(none)?;
        socket.connect(&address(path).map_err(none)?).map_err(none)?;
        check_server(path, socket.as_fd())?;
        Ok(Self {
            socket,
            timeout: TIMEOUT,
            incoming: Vec::new(),
            greeted: false,
            broken: false,
        })
    }

    /// How long each command may take, with its response: [`TIMEOUT`] unless said otherwise.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a command and returns the response. After an error that leaves open whether a response comes, the connection is of
    /// no more use, and says so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send<C: IpcServerCommand>(&mut self, command: &C) -> Result<C::Response, ClientError> {
        if self.broken {
            return Err(ClientError::Closed { may_have_run: false });
        }
        let request = encode(command, !self.greeted)?;
        self.broken = true;
        let until = Instant::now().checked_add(self.timeout);
        let (status, body) = self.exchange(&request, until)?;
        self.broken = false;
        self.greeted = true;
        let response = decode::<C>(status, self.incoming.get(body).unwrap_or_default());
        self.incoming.clear();
        response
    }

    fn left(&self, until: Option<Instant>, may_have_run: bool) -> Result<Option<Duration>, ClientError> {
        let Some(until) = until else { return Ok(None) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::Timeout {
                timeout: self.timeout,
                may_have_run,
            });
        }
        Ok(Some(left))
    }

    fn exchange(
        &mut self,
        request: &[u8],
        until: Option<Instant>,
    ) -> Result<(u8, std::ops::Range<usize>), ClientError> {
        let mut rest = request;
        while !rest.is_empty() {
            let left = self.left(until, false)?;
            self.socket
                .set_write_timeout(left)
                .map_err(failed("set a timeout"))?;
            match self.socket.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if is_a_pause(&error) => {}
                // The server has said why it takes no more, before it closed.
                Err(_) => break,
            }
        }
        let may_have_run = rest.is_empty();
        let mut chunk = [0; 16 * 1024];
        loop {
            match wire::find(&self.incoming, 0, RESPONSE_MAX) {
                Found::Frame(status, body) => return Ok((status, body)),
                Found::TooLarge(_) => return Err(no_server_of_ours()),
                Found::Partial { .. } => {}
            }
            let left = self.left(until, may_have_run)?;
            self.socket
                .set_read_timeout(left)
                .map_err(failed("set a timeout"))?;
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed { may_have_run }),
                Ok(count) => self
                    .incoming
                    .extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if is_a_pause(&error) => {}
                Err(_) => return Err(ClientError::Closed { may_have_run }),
            }
        }
    }
}

/// Nothing was moved, for no lasting reason; the deadline is looked at next.
fn is_a_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> ClientError {
    move |source| ClientError::Io { action, source }
}

pub(super) fn no_server_of_ours() -> ClientError {
    ClientError::Protocol("what listens there is no lazy server of actix-ipc".into())
}

/// Refuses a server of another user, who must not learn the command.
pub(super) fn check_server(path: &Path, socket: BorrowedFd<'_>) -> Result<(), ClientError> {
    let server = credentials(socket).map_err(failed("ask whose server it is"))?;
    if server.uid != 0 && server.uid != geteuid().as_raw() {
        return Err(ClientError::OtherUser {
            path: path.to_owned(),
            uid: server.uid,
        });
    }
    Ok(())
}

/// The bytes of a command, after the preface when it is the first.
pub(super) fn encode<C: IpcServerCommand>(command: &C, first: bool) -> Result<Vec<u8>, ClientError> {
    let mut out = Vec::new();
    if first {
        out.extend_from_slice(&PREFACE);
    }
    let at = wire::begin(&mut out, 0);
    let wrong = |source| ClientError::Encoding {
        what: "the command",
        source,
    };
    let mut out = postcard::to_extend(command, out).map_err(wrong)?;
    wire::finish(&mut out, at).ok_or_else(|| wrong(postcard::Error::SerializeBufferFull))?;
    Ok(out)
}

/// What an answer says.
pub(super) fn decode<C: IpcServerCommand>(status: u8, body: &[u8]) -> Result<C::Response, ClientError> {
    let text = || String::from_utf8_lossy(body).into_owned();
    Err(match Status::from_code(status) {
        Some(Status::Done) => {
            return postcard::from_bytes(body).map_err(|source| ClientError::Encoding {
                what: "the response",
                source,
            });
        }
        Some(Status::Malformed) => ClientError::Malformed(text()),
        Some(Status::TooLarge) => ClientError::TooLarge(text()),
        Some(Status::Busy | Status::Slow) => ClientError::Busy(text()),
        Some(Status::Failed) => ClientError::Failed(text()),
        Some(Status::Protocol) => ClientError::Protocol(text()),
        None => no_server_of_ours(),
    })
}

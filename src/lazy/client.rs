//! The client of a lazy server, in plain blocking calls with a deadline.
//!
//! Owns what a client may conclude from what it sees: above all whether a command may have been carried out. `asynchronous` shares it.

use super::IpcServerCommand;
use super::stream::Stream;
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
pub(super) const RESPONSE_MAX: usize = 1 << 30;

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
    /// The server belongs to somebody else, who must not learn the command. A server takes commands of root, but root sends its commands to
    /// servers of root only: the owner of the other one would learn them.
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
    /// The server has too much to do, or has not accepted the connection in time; it was not carried out. Try again.
    #[error("{0}")]
    Busy(String),
    /// The command was begun and panicked, or it was carried out and its response cannot be sent or is none; the text says which.
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
    /// The system failed before the command was sent.
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
            Self::Failed(_) => true,
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
    let until = Instant::now().checked_add(timeout);
    let mut client = Client::connect_until(socket_path.as_ref(), until)?.timeout(timeout);
    client.send_until(command, until)
}

/// A connection, for several commands.
#[derive(Debug)]
pub struct Client {
    socket: Stream,
    timeout: Duration,
    incoming: Vec<u8>,
    greeted: bool,
    /// An answer was not waited for, so that the next one would be taken for another.
    broken: bool,
}

impl Client {
    /// Connects to the server at `path`. The server may be busy with other things: this waits for it only when so many clients wait already that
    /// the system takes no more, for at most [`TIMEOUT`].
    ///
    /// # Errors
    /// [`ClientError::NoServer`], [`ClientError::OtherUser`], [`ClientError::Busy`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        Self::connect_until(path.as_ref(), Instant::now().checked_add(TIMEOUT))
    }

    fn connect_until(path: &Path, until: Option<Instant>) -> Result<Self, ClientError> {
        Ok(Self {
            socket: Stream(connect_until(path, until)?),
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
        self.send_until(command, Instant::now().checked_add(self.timeout))
    }

    fn send_until<C: IpcServerCommand>(
        &mut self,
        command: &C,
        until: Option<Instant>,
    ) -> Result<C::Response, ClientError> {
        if self.broken {
            return Err(ClientError::Closed { may_have_run: false });
        }
        let request = encode(command, !self.greeted)?;
        self.broken = true;
        let (status, body) = self.exchange(&request, until)?;
        self.broken = false;
        self.greeted = true;
        let response = decode::<C>(status, self.incoming.get(body).unwrap_or_default());
        self.incoming.clear();
        response
    }

    fn left(&self, until: Option<Instant>, may_have_run: bool) -> Result<Option<Duration>, ClientError> {
        remaining(until).ok_or(ClientError::Timeout {
            timeout: self.timeout,
            may_have_run,
        })
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
                .0
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
                Found::TooLarge(bytes) => return Err(too_large(bytes)),
                Found::Partial { .. } => {}
            }
            let left = self.left(until, may_have_run)?;
            if self.socket.0.set_read_timeout(left).is_err() {
                return Err(ClientError::Closed { may_have_run });
            }
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

pub(super) fn too_large(bytes: u32) -> ClientError {
    ClientError::Failed(format!(
        "the answer has {bytes} bytes, more than the {RESPONSE_MAX} that are taken; the command {}",
        ran(true)
    ))
}

/// The time left until then; `None`: none. `Some(None)`: there is no end.
fn remaining(until: Option<Instant>) -> Option<Option<Duration>> {
    let Some(until) = until else { return Some(None) };
    let left = until.saturating_duration_since(Instant::now());
    // The system counts microseconds, and takes none for no limit.
    (!left.is_zero()).then(|| Some(left.max(Duration::from_micros(1))))
}

/// A socket that blocks, connected to a server that is trusted.
pub(super) fn connect_until(path: &Path, until: Option<Instant>) -> Result<Socket, ClientError> {
    let none = |source| ClientError::NoServer {
        path: path.to_owned(),
        source,
    };
    let address = address(path).map_err(none)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("make a socket"))?;
    loop {
        let Some(left) = remaining(until) else {
            return Err(ClientError::Busy(format!(
                "the server at {} has not accepted the connection in time, others wait before it; the command {}",
                path.display(),
                ran(false)
            )));
        };
        // A full queue of waiting clients is waited for; the time for that is set as that for writing.
        socket.set_write_timeout(left).map_err(failed("set a timeout"))?;
        match socket.connect(&address) {
            Ok(()) => break,
            Err(error) if is_a_pause(&error) => {}
            Err(error) => return Err(none(error)),
        }
    }
    check_server(path, socket.as_fd())?;
    Ok(socket)
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
            let wrong = |source| ClientError::Encoding {
                what: "the response",
                source,
            };
            return match postcard::take_from_bytes(body) {
                Ok((response, [])) => Ok(response),
                Ok(_) => Err(wrong(postcard::Error::DeserializeBadEncoding)),
                Err(error) => Err(wrong(error)),
            };
        }
        Some(Status::Malformed) => ClientError::Malformed(text()),
        Some(Status::TooLarge) => ClientError::TooLarge(text()),
        Some(Status::Busy | Status::Slow) => ClientError::Busy(text()),
        Some(Status::Failed) => ClientError::Failed(text()),
        Some(Status::Protocol) => ClientError::Protocol(text()),
        None => ClientError::Failed(format!(
            "the answer has the unknown status {status}: what listens there is no lazy server of actix-ipc, or a newer one; the command {}",
            ran(true)
        )),
    })
}

//! Windows named pipes: bytes between processes of one user of one machine.
//!
//! Owns listening, connecting, reading and writing; what needs raw system calls is in [`sys`]. Every instance of a pipe
//! admits its creator's user and SYSTEM only, and no remote client. The next instance exists before the last is
//! handed over, so that there is always one to connect to and nobody else can take the name. No closing by half. Handles travel once
//! both ends have agreed ([`carried`]).

mod carried;
mod handles;
mod portions;
pub(super) mod sys;

pub(super) use handles::{Withheld, check_kinds};

use super::credentials::{Named, PeerCredentials, WindowsUser};
use super::listener::{Accepted, BindError};
use super::{Endpoint, Socket};
use crate::message::Attachment;
use carried::Carried;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer};
use tokio::sync::Semaphore;

const ERROR_PIPE_BUSY: i32 = 231;
const ERROR_NO_DATA: i32 = 232;
/// How long a client waits for a free instance before it looks again.
const BUSY_WAIT: Duration = Duration::from_millis(500);
/// How long it tries in all: as long as a handshake may take, because a server that accepts nobody is as silent as one that does not answer.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// Most connecting tasks of this process that wait for a free instance; the others wait for one of these. The system wakes all that wait for
/// every instance, so that more would only be in each other's way, each on a thread of its own.
static WAITING: Semaphore = Semaphore::const_new(4);
/// Most bytes of one write. The reactor copies what it is given, so that more at once would only hold more memory.
const WRITE_MAX: usize = 64 * 1024;

/// The name of the pipe in the system.
fn path(name: &str) -> String {
    format!(r"\\.\pipe\{name}")
}

/// The user of this process as a number: see [`PeerCredentials`].
pub(super) fn current_user_rid() -> Option<u32> {
    static RID: OnceLock<Option<u32>> = OnceLock::new();
    *RID.get_or_init(|| sys::current_user().ok().map(|user| user.number()))
}

/// The user of this process as access lists have it.
#[cfg(feature = "bus")]
pub(super) fn current_sid() -> io::Result<String> {
    sys::current_user().map(|user| user.to_string())
}

/// A connected pipe, on the reactor of the thread that made it.
#[derive(Debug)]
pub struct Stream {
    end: End,
    carried: Carried,
}

#[derive(Debug)]
enum End {
    Server(NamedPipeServer),
    Client(NamedPipeClient),
}

macro_rules! forward {
    ($self:ident, $pipe:ident => $call:expr) => {
        match &$self.end {
            End::Server($pipe) => $call,
            End::Client($pipe) => $call,
        }
    };
}

impl Stream {
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who lent what was read waits to hear of it, and nothing else may be written for long. The task that reads is the one that writes.
        while self.carried.owes() {
            match self.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                _ => break,
            }
            let told = self.carried.pay(|bytes| self.write_one(bytes));
            if told.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                // Reading tells of the end.
                break;
            }
        }
        forward!(self, pipe => pipe.poll_read_ready(cx))
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, pipe => pipe.poll_write_ready(cx))
    }

    pub(super) fn try_read(&self, buffer: &mut [u8], attachments: &mut Vec<Attachment>) -> io::Result<usize> {
        self.carried
            .read(buffer, attachments, |buffer| self.read_some(buffer))
    }

    fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match forward!(self, pipe => pipe.try_read(buffer)) {
            // The other end is closed and everything it wrote was read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            result => result,
        }
    }

    /// The reactor takes one buffer at a time, so several slices are put together first.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>], attachments: &[Attachment]) -> io::Result<usize> {
        let portion = self
            .carried
            .write(slices, attachments, WRITE_MAX, |bytes| self.write_one(bytes));
        if let Some(written) = portion {
            return written;
        }
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let Some(first) = filled.next() else { return Ok(0) };
        let Some(second) = filled.next().filter(|_| first.len() < WRITE_MAX) else {
            return self.write_one(first.get(..WRITE_MAX).unwrap_or(first));
        };
        let mut together = first.to_vec();
        for slice in std::iter::once(second).chain(filled) {
            let space = WRITE_MAX.saturating_sub(together.len());
            together.extend_from_slice(slice.get(..space).unwrap_or(slice));
        }
        self.write_one(&together)
    }

    fn write_one(&self, bytes: &[u8]) -> io::Result<usize> {
        match forward!(self, pipe => pipe.try_write(bytes)) {
            Err(error) if error.raw_os_error() == Some(ERROR_NO_DATA) => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            result => result,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        sys::is_broken(self.handle())
    }

    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the signature of every transport"
    )]
    pub(super) const fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn handle(&self) -> BorrowedHandle<'_> {
        forward!(self, pipe => pipe.as_handle())
    }

    /// Whether this is a server's end that could carry handles, were its client told so.
    pub(super) fn can_carry_handles(&self) -> bool {
        self.carried.is_able()
    }

    /// Whether this is a client's end that has read nothing yet.
    pub(super) fn expects_handles(&self) -> bool {
        self.carried.looks()
    }

    /// The client knows: handles travel from the next byte on, in both directions.
    pub(super) fn carry_handles(&self) {
        self.carried.begin();
    }

    pub(super) fn carries_handles(&self) -> bool {
        self.carried.is_on()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.carried
            .end(|buffer| self.read_some(buffer), || self.is_closed());
    }
}

/// Resolves when a client has connected to the instance, or the instance failed.
type Waiting = Pin<Box<dyn Future<Output = (NamedPipeServer, io::Result<()>)> + Send>>;

fn wait(instance: NamedPipeServer) -> Waiting {
    Box::pin(async move {
        let connected = instance.connect().await;
        (instance, connected)
    })
}

/// A pipe name that is taken.
pub(super) struct Listener {
    path: String,
    waiting: Option<Waiting>,
    /// A client whose successor instance could not be made yet.
    connected: Option<NamedPipeServer>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Listener {
    pub(super) fn bind(endpoint: &Endpoint, name: &str) -> Result<Self, BindError> {
        let path = path(name);
        // The flag for the first instance alone decides on Windows, without a race; Wine ignores it.
        if let Some(error) = taken(endpoint, &path) {
            return Err(error);
        }
        match sys::create_instance(&path, true) {
            Ok(first) => Ok(Self {
                path,
                waiting: Some(wait(first)),
                connected: None,
            }),
            // What the system says when the name exists already, whosever it is.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(BindError::InUse {
                endpoint: endpoint.clone(),
                pid: None,
            }),
            Err(source) => Err(BindError::Io {
                endpoint: endpoint.clone(),
                action: "create the pipe",
                source,
            }),
        }
    }

    /// Listens under a name that a server of this user had before, which may have connections still. The caller has a lock that says whose turn it
    /// is. Somebody else's pipe is refused: the system keeps the owner and the access list of whoever made it first.
    #[cfg(feature = "bus")]
    pub(super) fn replace(endpoint: &Endpoint, name: &str) -> Result<Self, BindError> {
        let path = path(name);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => BindError::InUse {
                endpoint: endpoint.clone(),
                pid: None,
            },
            _ => BindError::io(endpoint, "create the pipe")(source),
        };
        let instance = sys::create_instance(&path, false).map_err(failed)?;
        let owner = sys::owner(instance.as_handle()).map_err(failed)?;
        if !sys::current_user().is_ok_and(|user| user == owner) {
            return Err(BindError::OtherUser {
                endpoint: endpoint.clone(),
                uid: owner.number(),
            });
        }
        Ok(Self {
            path,
            waiting: Some(wait(instance)),
            connected: None,
        })
    }

    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        loop {
            if self.waiting.is_none() {
                self.waiting = Some(wait(sys::create_instance(&self.path, false)?));
            }
            if let Some(instance) = self.connected.take() {
                let client_process = handles::client_of(instance.as_handle());
                let stream = Stream {
                    end: End::Server(instance),
                    carried: Carried::server(client_process),
                };
                let Named { credentials, user } = client(stream.handle());
                return Poll::Ready(Ok(Accepted {
                    gids: None,
                    user,
                    socket: Socket::pipe(stream),
                    credentials,
                    address: None,
                }));
            }
            let Some(waiting) = &mut self.waiting else {
                continue;
            };
            let (instance, connected) = ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
            let Err(error) = connected else {
                self.connected = Some(instance);
                continue;
            };
            // The failed instance goes only when there is another one: the name is never free.
            self.waiting = Some(wait(sys::create_instance(&self.path, false)?));
            drop(instance);
            if error.raw_os_error() != Some(ERROR_NO_DATA) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

/// Who has the pipe, if it is there. Its server sees a client that leaves at once.
fn taken(endpoint: &Endpoint, path: &str) -> Option<BindError> {
    let endpoint = endpoint.clone();
    let probe = match ClientOptions::new().open(path) {
        Ok(probe) => probe,
        Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => {
            return Some(BindError::InUse { endpoint, pid: None });
        }
        // Not there, or not ours to open; creating it tells which.
        Err(_) => return None,
    };
    let pid = sys::server_pid(probe.as_handle());
    Some(match sys::owner(probe.as_handle()).map(|owner| owner.number()) {
        Ok(uid) if Some(uid) != current_user_rid() => BindError::OtherUser { endpoint, uid },
        _ => BindError::InUse { endpoint, pid },
    })
}

/// The pipe admits this user and SYSTEM only. A client that cannot be asked which of them it is counts as this user, never as SYSTEM.
/// (A process that has taken the number of a client that has ended may answer for it; who could arrange that is this user and may do
/// as this user already.)
fn client(pipe: BorrowedHandle<'_>) -> Named {
    let pid = sys::client_pid(pipe);
    let user = pid.and_then(|pid| sys::Process::open(pid).ok()?.user().ok());
    let user = user
        .filter(|user| user.known_number().is_some())
        .or_else(|| sys::current_user().ok());
    Named {
        credentials: PeerCredentials {
            uid: user.as_ref().map(sys::Sid::number),
            gid: None,
            pid,
        },
        user: user.map(WindowsUser::from),
    }
}

/// The pipe's owner, which only that user can have set, is the server's user.
fn server(pipe: BorrowedHandle<'_>) -> PeerCredentials {
    PeerCredentials {
        uid: sys::owner(pipe).ok().and_then(|owner| owner.known_number()),
        gid: None,
        pid: sys::server_pid(pipe),
    }
}

/// Opens the pipe. Where every instance has a client, it waits until there is another one; if somebody else is faster, again, but not for
/// longer than [`BUSY_LIMIT`].
pub(super) async fn connect(name: &str) -> io::Result<(Stream, PeerCredentials)> {
    connect_within(name, BUSY_LIMIT).await
}

async fn connect_within(name: &str, limit: Duration) -> io::Result<(Stream, PeerCredentials)> {
    let path = path(name);
    let until = Instant::now() + limit;
    let mut place = None;
    loop {
        match ClientOptions::new().open(&path) {
            Ok(pipe) => {
                let stream = Stream {
                    end: End::Client(pipe),
                    carried: Carried::client(),
                };
                sys::check_label(stream.handle())?;
                let server = server(stream.handle());
                return Ok((stream, server));
            }
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => {}
            Err(error) => return Err(error),
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the server is busy: it accepted nobody, or others were faster, for {limit:?}"),
            ));
        }
        if place.is_none() {
            place = tokio::time::timeout(left, WAITING.acquire()).await.ok();
            continue;
        }
        let path = path.clone();
        let wait = left.min(BUSY_WAIT);
        tokio::task::spawn_blocking(move || sys::wait_for_instance(&path, wait)).await??;
    }
}

#[cfg(test)]
mod tests;

//! Windows named pipes: bytes between processes of one user of one machine.
//!
//! Owns listening and connecting; reading and writing is [`stream`]'s business, what needs raw system calls is in [`sys`]. Every instance
//! of a pipe admits its creator's user and SYSTEM only, and no remote client. The next instance exists before the last is
//! handed over, so that there is always one to connect to and nobody else can take the name. No closing by half. Handles travel once
//! both ends have agreed ([`carried`]).

mod carried;
mod handles;
mod parting;
mod portions;
mod stream;
pub(super) mod sys;

pub(super) use handles::{Withheld, check_kinds};
pub use stream::Stream;

use super::accept::PASSED_OVER_MAX;
use super::credentials::{Named, PeerCredentials, WindowsUser};
use super::listener::{Accepted, BindError};
use super::{Endpoint, Socket};
use carried::Carried;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use stream::End;
use sys::Process;
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeServer};
use tokio::sync::Semaphore;

const ERROR_PIPE_BUSY: i32 = 231;
const ERROR_NO_DATA: i32 = 232;
/// How long a client waits for a free instance before it looks again.
const BUSY_WAIT: Duration = Duration::from_millis(500);
/// How long it tries in all: as long as a handshake may take, because a server that accepts nobody is as silent as one that does not answer.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// Most connecting tasks of this process that wait for a free instance of one pipe; the others wait for one of these. The system wakes all
/// that wait for every instance, so that more would only be in each other's way, each on a thread of its own.
const WAITING: usize = 4;
/// Their places at each pipe, as long as anybody has or wants one there: who waits for one server is in nobody's way at another.
static PLACES: Mutex<BTreeMap<String, Weak<Semaphore>>> = Mutex::new(BTreeMap::new());

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

/// An instance that a client has connected to, or that has failed, and when that was seen.
type Waited = (NamedPipeServer, io::Result<()>, u64);
type Waiting = Pin<Box<dyn Future<Output = Waited> + Send>>;

fn wait(instance: NamedPipeServer) -> Waiting {
    Box::pin(async move {
        let connected = instance.connect().await;
        (instance, connected, sys::now())
    })
}

/// A pipe name that is taken.
pub(super) struct Listener {
    path: String,
    waiting: Option<Waiting>,
    /// A client whose successor instance could not be made yet, and when it was seen.
    connected: Option<(NamedPipeServer, u64)>,
    /// Failed, and kept until there is another one: the name is never free.
    failed: Option<NamedPipeServer>,
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
                failed: None,
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
        // Clients would not believe a process of this user that is trusted less, and its access list may let anybody in.
        sys::check_label(instance.as_handle())
            .map_err(BindError::io(endpoint, "trust the pipe that is there"))?;
        Ok(Self {
            path,
            waiting: Some(wait(instance)),
            connected: None,
            failed: None,
        })
    }

    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        for _ in 0..PASSED_OVER_MAX {
            if self.waiting.is_none() {
                self.waiting = Some(wait(sys::create_instance(&self.path, false)?));
                self.failed = None;
            }
            if let Some((instance, seen)) = self.connected.take() {
                let (Named { credentials, user }, process) = client(instance.as_handle(), seen);
                let stream = Stream::new(End::Server(instance), Carried::server(process));
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
            let (instance, connected, seen) = ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
            let Err(error) = connected else {
                self.connected = Some((instance, seen));
                continue;
            };
            self.failed = Some(instance);
            self.waiting = Some(wait(sys::create_instance(&self.path, false)?));
            self.failed = None;
            if error.raw_os_error() != Some(ERROR_NO_DATA) {
                return Poll::Ready(Err(error));
            }
        }
        // Clients that come only to go must not keep this thread from its other work.
        cx.waker().wake_by_ref();
        Poll::Pending
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

/// Who has connected, and its process if handles may go in and out of it: if it runs as this process's user. The pipe admits this user and
/// SYSTEM only; a client that cannot be asked which of them it is counts as this user, never as SYSTEM. A process that began after the
/// client was `seen` has the number of one that is over.
fn client(pipe: BorrowedHandle<'_>, seen: u64) -> (Named, Option<Process>) {
    let pid = sys::client_pid(pipe);
    let opened = pid.and_then(|pid| match Process::open_to_duplicate(pid) {
        Ok(process) => Some((process, true)),
        Err(_) => Some((Process::open(pid).ok()?, false)),
    });
    let opened = opened.filter(|(process, _)| process.began().is_ok_and(|began| began <= seen));
    let asked = opened.as_ref().and_then(|(process, _)| process.user().ok());
    let is_ours = asked.is_some() && asked == sys::current_user().ok();
    let user = asked
        .filter(|user| user.known_number().is_some())
        .or_else(|| sys::current_user().ok());
    let named = Named {
        credentials: PeerCredentials {
            uid: user.as_ref().map(sys::Sid::number),
            gid: None,
            pid,
        },
        user: user.map(WindowsUser::from),
    };
    let process = opened.and_then(|(process, able)| (able && is_ours).then_some(process));
    (named, process)
}

/// The pipe's owner, which only that user can have set, is the server's user.
fn server(pipe: BorrowedHandle<'_>) -> PeerCredentials {
    PeerCredentials {
        uid: sys::owner(pipe).ok().and_then(|owner| owner.known_number()),
        gid: None,
        pid: sys::server_pid(pipe),
    }
}

/// Where those wait who want an instance of this pipe.
fn places(path: &str) -> Arc<Semaphore> {
    let mut all = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = all.get(path).and_then(Weak::upgrade) {
        return there;
    }
    all.retain(|_, places| places.strong_count() > 0);
    let made = Arc::new(Semaphore::new(WAITING));
    all.insert(path.to_owned(), Arc::downgrade(&made));
    made
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
                let stream = Stream::new(End::Client(pipe), Carried::client());
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
                format!(
                    "the server is busy: it accepted nobody, or others were faster, for {limit:?}; try again, or look why it accepts nobody"
                ),
            ));
        }
        if place.is_none() {
            place = tokio::time::timeout(left, places(&path).acquire_owned())
                .await
                .ok();
            continue;
        }
        let path = path.clone();
        let wait = left.min(BUSY_WAIT);
        tokio::task::spawn_blocking(move || sys::wait_for_instance(&path, wait)).await??;
    }
}

#[cfg(test)]
mod tests;

//! Which process hosts a bus, and where its endpoints find it: no daemon is needed.
//!
//! Owns the way from a bus's identifier to a socket that somebody listens on. The first process that wants a bus hosts it, with a broker on a
//! thread of its own; when that process ends, another one that wants the bus takes over at once. It refuses to know labels, selectors and
//! messages. Called by `bus::join` and by the daemon.
//!
//! # How it is decided
//! Each bus has two files in a folder that only its user can reach: a lock and a socket, named by a hash of the identifier. Whoever has the record
//! lock ([`crate::platform`]) hosts. The system gives it to one process at a time, takes it back when that process ends, however it ends, and
//! names it to the others, who watch that process and try for the lock once it has gone ([`election`]). A host that has been stopped
//! (`SIGSTOP`) keeps the bus: it may go on at any time, and two hosts would be worse than none. It is reported instead.
//!
//! A forked child of a host has neither its lock nor its sockets, and can use nothing of the bus: everything answers
//! [`AttachError::Forked`].

mod election;
mod error;
mod hosted;
mod keeper;
mod place;
mod watched;

pub use error::AttachError;
pub use hosted::Hosting;

use crate::client::IpcClient;
use crate::platform::fork;
use crate::platform::record_lock::RecordLock;
use crate::platform::watch::is_stopped;
use crate::transport::Endpoint;
use keeper::{Ask, Interest, Keeper};
use place::{Place, Scope};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// Who hosts a bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// Nobody, for now.
    #[default]
    Nobody,
    /// This process.
    Here,
    /// Another process.
    Elsewhere {
        /// Which, where the system tells.
        pid: Option<u32>,
    },
}

/// What an endpoint asks of the bus that it attaches to.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// Whether this process may host the bus. Otherwise it waits for one that does.
    pub may_host: bool,
    /// When to give up; `None`: never.
    pub until: Option<Instant>,
    /// How the bus is hosted, if it is this process that hosts it. Of several endpoints of a process the first one's counts.
    pub hosting: Hosting,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            may_host: true,
            until: None,
            hosting: Hosting::default(),
        }
    }
}

/// What all endpoints of this process at one bus share: the thread that looks after it.
#[derive(Debug)]
struct Bus {
    asks: mpsc::UnboundedSender<Ask>,
    host: watch::Receiver<Host>,
}

/// The buses of this process, by their locks.
static BUSES: Mutex<Option<HashMap<PathBuf, Weak<Bus>>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Attaches this process to a bus and returns once somebody hosts it, possibly this process itself. Any text is an identifier; one that begins
/// with `system:` is a bus that all users find, hosted by root, which lets in its own user and root only. Works on any executor. Cancel safe: dropping the future takes the interest back.
///
/// That somebody hosts it means that the lock is taken: a new host listens a moment later, so the connection is to be tried until it is
/// there or time is up.
///
/// # Errors
/// [`AttachError`].
pub async fn attach(identifier: &str, options: AttachOptions) -> Result<Attached, AttachError> {
    if fork::is_forked() {
        // Before any lock of this process is touched: a thread that the child does not have may hold it.
        return Err(AttachError::Forked);
    }
    fork::arm().map_err(AttachError::System)?;
    let place = Place::of(identifier)?;
    if place.scope == Scope::System && !may_keep_system_buses() {
        return Ok(Attached {
            place,
            bus: None,
            id: 0,
        });
    }
    let until = options.until;
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let bus = bus(identifier, &place)?;
    let (reply, answer) = oneshot::channel();
    // From here on dropping it takes the interest back, also when the future is given up.
    let attached = Attached {
        place,
        bus: Some(Arc::clone(&bus)),
        id,
    };
    let interest = Interest {
        id,
        may_host: options.may_host,
        hosting: Box::new(options.hosting),
    };
    let gone = || {
        AttachError::System(std::io::Error::other(
            "the thread that looks after the bus has ended",
        ))
    };
    bus.asks
        .send(Ask::Join(interest, until, reply))
        .map_err(|_| gone())?;
    answer.await.map_err(|_| gone())??;
    Ok(attached)
}

#[cfg(unix)]
fn may_keep_system_buses() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
const fn may_keep_system_buses() -> bool {
    false
}

/// The bus as this process knows it, or as it gets to know it now.
fn bus(identifier: &str, place: &Place) -> Result<Arc<Bus>, AttachError> {
    let mut buses = BUSES.lock().unwrap_or_else(PoisonError::into_inner);
    let buses = buses.get_or_insert_default();
    if let Some(bus) = buses.get(&place.lock).and_then(Weak::upgrade) {
        return Ok(bus);
    }
    buses.retain(|_, bus| bus.strong_count() > 0);
    let lock = RecordLock::open(&place.lock).map_err(AttachError::Lock)?;
    let label = identifier.as_bytes();
    if lock.is_labelled_otherwise(label).map_err(AttachError::Lock)? {
        return Err(AttachError::Collision {
            path: place.lock.clone(),
        });
    }
    let (asks, asked) = mpsc::unbounded_channel();
    let (tell, host) = watch::channel(Host::Nobody);
    let keeper = Keeper::new(place.clone(), label.into(), lock, asked, tell);
    keeper.start().map_err(AttachError::System)?;
    let bus = Arc::new(Bus { asks, host });
    buses.insert(place.lock.clone(), Arc::downgrade(&bus));
    Ok(bus)
}

/// Whether this process was forked off from one that had attached to a bus. Then nothing of the library works in it.
#[must_use]
pub fn is_forked() -> bool {
    fork::is_forked()
}

/// One endpoint's interest in a bus. While it lives, this process takes over when the host ends, if it may. Dropping the last one of a
/// process that hosts makes it hand the bus over to the next process.
#[derive(Debug)]
pub struct Attached {
    place: Place,
    /// None where this process only connects: a bus of all users, and it is not root.
    bus: Option<Arc<Bus>>,
    id: u64,
}

impl Attached {
    /// Where the bus listens, whoever hosts it: the same for the whole life of the bus.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.place.socket.clone())
    }

    /// Who hosts the bus now, as far as this process knows.
    #[must_use]
    pub fn host(&self) -> Host {
        match &self.bus {
            Some(bus) => *bus.host.borrow(),
            None => Host::Elsewhere { pid: None },
        }
    }

    /// The host's process, if it has been stopped (`SIGSTOP`, a debugger): it answers nothing and keeps the bus. Asks the system.
    #[must_use]
    pub fn stopped_host(&self) -> Option<u32> {
        match self.host() {
            Host::Elsewhere { pid: Some(pid) } if is_stopped(pid) => Some(pid),
            _ => None,
        }
    }

    /// The hosts from now on: each change of who hosts the bus.
    #[must_use]
    pub fn hosts(&self) -> Hosts {
        Hosts(self.bus.as_ref().map(|bus| {
            let mut host = bus.host.clone();
            host.mark_unchanged();
            host
        }))
    }

    /// Says that the connection to the host was lost, so that who hosts is looked at again.
    pub fn look_again(&self) {
        self.ask(Ask::LookAgain);
    }

    /// Lets a client of this bus know what becomes of the host: its connection to a host that has died is given up, even if a forked child
    /// of the host keeps it open, and it connects to a new host without waiting for its next attempt.
    pub fn look_after(&self, client: &IpcClient) {
        self.ask(Ask::LookAfter(client.hook()));
    }

    /// Takes the interest back. If this was the last one of a process that hosts, returns when the bus is handed over and what
    /// was queued is written, which takes at most about three seconds. Cancel safe: the hand-over goes on.
    pub async fn leave(mut self) {
        let bus = self.bus.take();
        if let Some(bus) = bus.filter(|_| !fork::is_forked()) {
            let (done, left) = oneshot::channel();
            if bus.asks.send(Ask::Leave(self.id, Some(done))).is_ok() {
                drop(bus);
                // Without an answer the thread has ended, and the hosting with it.
                let _ = left.await;
            }
        }
    }

    fn ask(&self, ask: Ask) {
        if let Some(bus) = self.bus.as_ref().filter(|_| !fork::is_forked()) {
            // A thread that has ended looks after nobody.
            let _ = bus.asks.send(ask);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let Some(bus) = self.bus.take() else {
            return;
        };
        if fork::is_forked() {
            // What is behind it belongs to a thread that this process does not have.
            let _ = std::mem::ManuallyDrop::new(bus);
            return;
        }
        let _ = bus.asks.send(Ask::Leave(self.id, None));
    }
}

/// The changes of a bus's host; see [`Attached::hosts`].
#[derive(Clone, Debug)]
pub struct Hosts(Option<watch::Receiver<Host>>);

impl Hosts {
    /// Waits for the next change. Changes that came while nobody waited are told as one, with the last host. Pending for ever where this
    /// process does not look after the bus. Cancel safe.
    pub async fn next(&mut self) -> Host {
        if let Some(host) = &mut self.0
            && host.changed().await.is_ok()
        {
            return *host.borrow_and_update();
        }
        std::future::pending().await
    }
}

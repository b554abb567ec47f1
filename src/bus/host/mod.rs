//! Which process hosts a bus, and where its endpoints find it: no daemon is needed.
//!
//! Owns the way from a bus's identifier to a socket that somebody listens on. The first process that wants a bus hosts it, with a broker on a
//! thread of its own; when that process ends, another one that wants the bus takes over at once. It refuses to know labels, selectors and
//! messages. Called by `bus::join` and by the daemon.
//!
//! # How it is decided
//! Each bus has two files in a folder that only its user can reach: a lock and a socket, named by a hash of the identifier; on Windows a lock, and a
//! pipe whose name has the user in it as well. Whoever has the record lock ([`crate::platform`]) hosts. The system gives it to one process at a
//! time, takes it back when that process ends, however it ends, and names it to the others, who watch that process and try for the lock once it has
//! gone ([`election`]). A host that has been stopped
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
pub use place::unhostable;

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
    /// This process cannot know: it was forked off from one that uses the bus.
    Forked,
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
/// How often the thread is asked that looks after a bus: each time it was just ending is a coincidence.
const TRIES: usize = 64;
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
    for _ in 0..TRIES {
        if let Some(answer) = ask(identifier, &place, &options).await {
            return answer;
        }
    }
    Err(AttachError::System(std::io::Error::other(
        "the thread that looks after the bus has ended, again and again",
    )))
}

/// Asks the thread that looks after the bus. `None`: it ended before it answered, because the last endpoint of this process left in that
/// moment; there will be another.
async fn ask(
    identifier: &str,
    place: &Place,
    options: &AttachOptions,
) -> Option<Result<Attached, AttachError>> {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let bus = match bus(identifier, place) {
        Ok(bus) => bus,
        Err(error) => return Some(Err(error)),
    };
    let (reply, answer) = oneshot::channel();
    // From here on dropping it takes the interest back, also when the future is given up.
    let attached = Attached {
        place: place.clone(),
        bus: Some(Arc::clone(&bus)),
        id,
    };
    let interest = Interest {
        id,
        may_host: options.may_host,
        hosting: Box::new(options.hosting.clone()),
    };
    bus.asks.send(Ask::Join(interest, options.until, reply)).ok()?;
    drop(bus);
    let answer = answer.await.ok()?;
    Some(answer.map(|()| attached))
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
    let known = buses.get(&place.lock).and_then(Weak::upgrade);
    // One whose thread is at its end answers nobody.
    if let Some(bus) = known.filter(|bus| !bus.asks.is_closed()) {
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
        self.place.endpoint.clone()
    }

    /// Who hosts the bus now, as far as this process knows.
    #[must_use]
    pub fn host(&self) -> Host {
        if fork::is_forked() {
            // What would be asked may be locked by a thread that this process does not have.
            return Host::Forked;
        }
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
        let bus = self.bus.as_ref().filter(|_| !fork::is_forked());
        Hosts(bus.map(|bus| {
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
    ///
    /// # Errors
    /// [`AttachError::Forked`] in a forked child, which has nothing to take back: the interest is its parent's.
    pub async fn leave(mut self) -> Result<(), AttachError> {
        if fork::is_forked() {
            return Err(AttachError::Forked);
        }
        if let Some(bus) = self.bus.take() {
            let (done, left) = oneshot::channel();
            if bus.asks.send(Ask::Leave(self.id, Some(done))).is_ok() {
                drop(bus);
                // Without an answer the thread has ended, and the hosting with it.
                let _ = left.await;
            }
        }
        Ok(())
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
    /// process does not look after the bus; at once [`Host::Forked`] in a forked child. Cancel safe.
    pub async fn next(&mut self) -> Host {
        if fork::is_forked() {
            return Host::Forked;
        }
        if let Some(host) = &mut self.0
            && host.changed().await.is_ok()
        {
            return *host.borrow_and_update();
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than anything takes that works.
    const LONG: std::time::Duration = std::time::Duration::from_secs(20);

    #[cfg(unix)]
    fn endpoint(folder: &tempfile::TempDir) -> Endpoint {
        Endpoint::Unix(folder.path().join("socket"))
    }

    #[cfg(not(unix))]
    fn endpoint(folder: &tempfile::TempDir) -> Endpoint {
        let unique = folder.path().file_name().unwrap_or_default();
        Endpoint::Pipe(format!("actix-ipc.bus.{}", unique.display()))
    }

    fn place(folder: &tempfile::TempDir) -> Place {
        Place {
            scope: Scope::User,
            lock: folder.path().join("lock"),
            endpoint: endpoint(folder),
        }
    }

    #[actix::test]
    async fn a_bus_whose_thread_is_just_ending_is_asked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (place, options) = (place(&folder), AttachOptions::default());
        for _ in 0..20 {
            let first = ask("x", &place, &options).await.unwrap().unwrap();
            // What another one that attaches has in its hand when the last endpoint leaves.
            let ending = bus("x", &place).unwrap();
            drop(first);
            let (reply, answer) = oneshot::channel();
            let interest = Interest {
                id: u64::MAX,
                may_host: true,
                hosting: Box::default(),
            };
            if ending.asks.send(Ask::Join(interest, None, reply)).is_ok() {
                assert!(answer.await.is_err(), "nobody answers, so it is asked again");
            }
            let next = ask("x", &place, &options).await.unwrap().unwrap();
            assert_eq!(next.host(), Host::Here);
            drop(ending);
            next.leave().await.unwrap();
        }
    }

    #[actix::test]
    #[cfg_attr(windows, ignore = "a file that is open cannot be removed there")]
    async fn a_host_that_cannot_watch_its_lock_ends_when_that_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        let (asks, asked) = mpsc::unbounded_channel();
        let (tell, mut host) = watch::channel(Host::Nobody);
        let lock = RecordLock::open(&place.lock).unwrap();
        let keeper = Keeper::new(place.clone(), b"x".to_vec(), lock, asked, tell);
        let looks = Arc::default();
        keeper.without_watch(&looks).start().unwrap();
        let (reply, answer) = oneshot::channel();
        let interest = Interest {
            id: 0,
            may_host: true,
            hosting: Box::default(),
        };
        asks.send(Ask::Join(interest, None, reply)).unwrap();
        answer.await.unwrap().unwrap();
        assert_eq!(*host.borrow_and_update(), Host::Here);
        // Each look is as far behind the one before as it is meant to be.
        let (first, began) = (looks.load(Ordering::Relaxed), Instant::now());
        while looks.load(Ordering::Relaxed) < first + 3 {
            tokio::task::yield_now().await;
        }
        assert!(began.elapsed() >= std::time::Duration::from_millis(900));
        std::fs::remove_file(&place.lock).unwrap();
        let changed = tokio::time::timeout(LONG, host.changed()).await;
        changed.expect("it looks from time to time").unwrap();
        let (done, left) = oneshot::channel();
        asks.send(Ask::Leave(0, Some(done))).unwrap();
        left.await.unwrap();
    }
}

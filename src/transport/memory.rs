//! Connections inside this process, under names.
//!
//! Owns the table of names and the accept queues; the bytes are [`channel`]'s. No reactor and no system call: a
//! name can be bound and connected to from any thread. Attachments of any type pass through unchanged. Tests
//! inject faults by [`MemoryOptions`].

mod channel;

pub use channel::Stream;

use super::credentials::PeerCredentials;
use super::listener::{Accepted, BindError};
use super::{BACKLOG, Endpoint, Socket, lock};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Bytes that wait in one direction, by default. About what a Unix socket holds.
const CAPACITY: usize = 256 * 1024;

/// Size and faults of the connections of one `mem:` listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Most bytes that wait in one direction; at least 1.
    pub capacity: usize,
    /// Faults of the accepting end.
    pub server: Faults,
    /// Faults of the connecting end.
    pub client: Faults,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            capacity: CAPACITY,
            server: Faults::default(),
            client: Faults::default(),
        }
    }
}

/// How one end of a connection misbehaves, for tests. By default not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A read brings at most this many bytes; at least 1.
    pub max_read: Option<usize>,
    /// A write takes at most this many bytes; at least 1.
    pub max_write: Option<usize>,
    /// After this many bytes, read and written together, every read and write fails with `ConnectionReset`, and the
    /// other end finds the connection closed.
    pub fail_after: Option<u64>,
}

/// Two ends of a connection that has no name: the accepting one first.
#[must_use]
pub fn pair(options: &MemoryOptions) -> (super::Stream, super::Stream) {
    let (server, client) = channel::pair(options);
    (
        super::Stream::Memory(Box::new(server)),
        super::Stream::Memory(Box::new(client)),
    )
}

static NAMES: Mutex<BTreeMap<String, Arc<Door>>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Door {
    options: MemoryOptions,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Stream>,
    acceptor: Option<Waker>,
    closed: bool,
}

/// A name that is taken.
#[derive(Debug)]
pub(super) struct Listener {
    name: String,
    door: Arc<Door>,
}

impl Listener {
    pub(super) fn bind(endpoint: &Endpoint, name: &str, options: &MemoryOptions) -> Result<Self, BindError> {
        let mut names = lock(&NAMES);
        if names.contains_key(name) {
            return Err(BindError::InUse {
                endpoint: endpoint.clone(),
                pid: Some(std::process::id()),
            });
        }
        let door = Arc::new(Door {
            options: options.clone(),
            queue: Mutex::default(),
        });
        names.insert(name.to_owned(), Arc::clone(&door));
        Ok(Self {
            name: name.to_owned(),
            door,
        })
    }

    pub(super) fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<Accepted>> {
        let mut queue = lock(&self.door.queue);
        match queue.waiting.pop_front() {
            Some(half) => Poll::Ready(Ok(Accepted {
                gids: None,
                user: None,
                socket: Socket::memory(half),
                credentials: PeerCredentials::current(),
                address: None,
            })),
            None => {
                queue.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&NAMES).remove(&self.name);
        let mut queue = lock(&self.door.queue);
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        // Closing them wakes their clients, who may come back here.
        drop(queue);
        drop(waiting);
    }
}

pub(super) fn connect(name: &str) -> io::Result<Stream> {
    let refused = |text| Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
    let Some(door) = lock(&NAMES).get(name).cloned() else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "nothing in this process listens under that name",
        ));
    };
    let (server, client) = channel::pair(&door.options);
    let mut queue = lock(&door.queue);
    if queue.closed {
        return refused("its listener is closed");
    }
    if queue.waiting.len() >= BACKLOG as usize {
        return refused("its queue of waiting clients is full");
    }
    queue.waiting.push_back(server);
    let acceptor = queue.acceptor.take();
    drop(queue);
    if let Some(acceptor) = acceptor {
        acceptor.wake();
    }
    Ok(client)
}

#[cfg(test)]
mod tests;

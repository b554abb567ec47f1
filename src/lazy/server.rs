//! The lazy server: a listening socket, its clients, and the poll that serves them.
//!
//! Owns who is accepted, whose turn it is and when a connection is forgotten. The bytes are [`peer`](super::peer)'s business, the safe taking of the
//! path `platform::place`'s.

use super::IpcServerCommand;
use super::budget::{Budget, Left, Limits};
use super::peer::Peer;
use super::wire::{self, Status};
use crate::platform::peer::credentials;
use crate::platform::place::{self, Place, PlaceError};
use crate::platform::socket_options::UnixOptions;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The listener's token; a client's is its place.
const LISTENER: Token = Token(usize::MAX);
/// Events of one poll. Those beyond come with the next poll.
const EVENTS: usize = 1_024;
/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4_096;
/// Connections accepted in one poll: what can have waited when it began.
const ACCEPTS: usize = 4_096;

/// When to try to accept again after the system could not.
const AGAIN: Duration = Duration::from_millis(100);

/// Whether somebody may wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// Not before the system says so.
    Nobody,
    /// At once.
    More,
    /// Yes, but the system had no descriptor or no memory.
    Again,
}

/// A server that works only while [`handle_new_messages`](Self::handle_new_messages) runs.
///
/// Dropping it closes the connections and removes the socket. It is `Send`, so a loop may run on any thread.
pub struct IpcServer<C> {
    poll: Poll,
    events: Events,
    listener: Socket,
    accepting: Accepting,
    /// The system may have told of a part of what happened only.
    untold: bool,
    peers: Vec<Option<Peer<Socket>>>,
    free: Vec<usize>,
    /// Who is to be looked at, in turn.
    queue: VecDeque<usize>,
    /// Who is to be looked at in the next poll.
    later: VecDeque<usize>,
    /// The first moment at which a connection may have taken too long.
    due: Option<Instant>,
    limits: Limits,
    uid: u32,
    _commands: PhantomData<fn() -> C>,
    // After the listener: the path is given back when nobody can connect any more.
    _place: Place,
}

impl<C> fmt::Debug for IpcServer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcServer")
            .field("connections", &self.connections())
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl<C> IpcServer<C> {
    /// Connections that there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.peers.len().saturating_sub(self.free.len())
    }
}

impl<C: IpcServerCommand> IpcServer<C> {
    /// A server at `path`, a Unix socket that only this user may use. It listens at once; nobody is answered before the first poll.
    ///
    /// What a dead server left at the path is replaced.
    ///
    /// # Errors
    /// [`PlaceError`]: a living process has the path, or something that is no socket of this user is there; it is left alone.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, PlaceError> {
        Self::with_limits(path, Limits::default())
    }

    /// Like [`new`](Self::new), with other limits.
    ///
    /// # Errors
    /// As there.
    pub fn with_limits(path: impl AsRef<Path>, limits: Limits) -> Result<Self, PlaceError> {
        let path = path.as_ref();
        let failed = |action| {
            move |source| PlaceError::Io {
                path: path.to_owned(),
                action,
                source,
            }
        };
        let (listener, place) = place::bind(path, &UnixOptions::default(), BACKLOG)?;
        let poll = Poll::new().map_err(failed("watch the socket"))?;
        poll.registry()
            .register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)
            .map_err(failed("watch the socket"))?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listener,
            accepting: Accepting::Nobody,
            untold: false,
            peers: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            later: VecDeque::new(),
            due: None,
            limits,
            uid: rustix::process::geteuid().as_raw(),
            _commands: PhantomData,
            _place: place,
        })
    }

    /// Handles every command that had come when it was called, in turns, and writes the answers. Returns how many it handled.
    /// Never waits: what a client has sent in part, or does not read, is for a later poll.
    ///
    /// # Errors
    /// The system cannot say what happened; clients' errors are never errors of the poll.
    pub fn handle_new_messages(&mut self, context: C::Context<'_>) -> io::Result<usize> {
        self.handle_within(context, Budget::default())
    }

    /// Like [`handle_new_messages`](Self::handle_new_messages), but no more than `budget` allows.
    ///
    /// # Errors
    /// As there.
    pub fn handle_within(&mut self, mut context: C::Context<'_>, budget: Budget) -> io::Result<usize> {
        let mut left = Left::of(budget);
        self.look()?;
        self.expire();
        self.accept();
        self.read(&left);
        let mut handled = 0;
        while left.has_some()
            && let Some(key) = self.queue.pop_front()
        {
            let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut) else {
                continue;
            };
            if let Some(body) = peer.next(&self.limits) {
                left.take();
                // Back into the queue first: it is still there if the command panics.
                self.queue.push_back(key);
                answer::<C>(peer, body, &mut context, &self.limits);
                handled += 1;
            } else {
                self.settle(key);
            }
        }
        // Whom the budget left waiting has its answers so far.
        for key in &self.queue {
            if let Some(Some(peer)) = self.peers.get_mut(*key) {
                peer.write();
            }
        }
        self.queue.append(&mut self.later);
        Ok(handled)
    }

    /// How long a loop that waits for [`as_raw_fd`](AsRawFd::as_raw_fd) to become readable may wait at most before it polls again. `None`: as
    /// long as it likes. Zero: something waits that the last poll's budget did not cover.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.untold || self.accepting == Accepting::More {
            return Some(Duration::ZERO);
        }
        let due = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        let again = (self.accepting == Accepting::Again).then_some(AGAIN);
        due.into_iter().chain(again).min()
    }

    /// The descriptor to wait for, readable when a poll may find something. Not to be read from, nor closed; it stays the same.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.as_raw_fd()
    }

    /// Asks the system what happened: the one system call of a poll that finds nothing.
    fn look(&mut self) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let mut told = 0;
        for event in &self.events {
            told += 1;
            if event.token() == LISTENER {
                self.accepting = Accepting::More;
                continue;
            }
            let Token(key) = event.token();
            let Some(Some(peer)) = self.peers.get_mut(key) else {
                continue;
            };
            peer.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            if !std::mem::replace(&mut peer.queued, true) {
                self.queue.push_back(key);
            }
        }
        self.untold = told >= EVENTS;
        Ok(())
    }

    fn accept(&mut self) {
        if self.accepting == Accepting::Nobody {
            return;
        }
        self.accepting = Accepting::More;
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((socket, _)) => self.admit(socket),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accepting = Accepting::Nobody;
                    return;
                }
                Err(error) if is_of_one_client(&error) => {}
                // No descriptor, no memory: whoever waits goes on waiting.
                Err(_) => {
                    self.accepting = Accepting::Again;
                    return;
                }
            }
        }
    }

    /// Takes a client in; another user's is closed without a word.
    fn admit(&mut self, socket: Socket) {
        let is_ours = credentials(socket.as_fd()).is_ok_and(|peer| peer.uid == self.uid || peer.uid == 0);
        if !is_ours || socket.set_nonblocking(true).is_err() {
            return;
        }
        if self.connections() >= self.limits.connections {
            let text = format!(
                "this server has {} clients, its limit; try again",
                self.limits.connections
            );
            let mut refusal = Vec::new();
            wire::text(&mut refusal, Status::Busy, &text);
            // An empty socket takes it whole; if not, the end of the connection says enough.
            let _ = (&socket).write(&refusal);
            return;
        }
        let key = self.free.pop().unwrap_or(self.peers.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered =
            self.poll
                .registry()
                .register(&mut SourceFd(&socket.as_raw_fd()), Token(key), interest);
        let mut peer = Peer::new(socket);
        peer.queued = registered.is_ok();
        let peer = registered.is_ok().then_some(peer);
        match (self.peers.get_mut(key), peer) {
            (Some(place), Some(peer)) => *place = Some(peer),
            (None, Some(peer)) => self.peers.push(Some(peer)),
            (Some(_), None) => return self.free.push(key),
            (None, None) => return,
        }
        self.queue.push_back(key);
    }

    /// Reads from those that have sent something.
    fn read(&mut self, left: &Left) {
        let mut held: Option<usize> = None;
        for key in &self.queue {
            if !left.has_some() {
                return;
            }
            let all = match held {
                Some(held) => held,
                None => self.peers.iter().flatten().map(Peer::held).sum(),
            };
            if let Some(Some(peer)) = self.peers.get_mut(*key) {
                let before = peer.held();
                peer.read(&self.limits, self.limits.memory_bytes.saturating_sub(all));
                held = Some(all.saturating_sub(before).saturating_add(peer.held()));
            }
        }
    }

    /// A client has no whole command now: writes what it is owed, and forgets it if it is gone.
    fn settle(&mut self, key: usize) {
        let Some(place) = self.peers.get_mut(key) else {
            return;
        };
        let Some(peer) = place else { return };
        peer.write();
        peer.note(Instant::now);
        peer.queued = peer.has_more(&self.limits);
        if peer.gone {
            *place = None;
            self.free.push(key);
            return;
        }
        if peer.queued {
            self.later.push_back(key);
        }
        self.due = self.due.into_iter().chain(peer.due(&self.limits)).min();
    }

    /// Ends the connections that take too long.
    fn expire(&mut self) {
        let Some(due) = self.due else { return };
        let now = Instant::now();
        if now < due {
            return;
        }
        let mut next: Option<Instant> = None;
        for (key, place) in self.peers.iter_mut().enumerate() {
            let Some(peer) = place else { continue };
            match peer.due(&self.limits) {
                Some(due) if due <= now => {
                    peer.expire(&self.limits);
                    // Whoever waits for its turn finds an empty place.
                    *place = None;
                    self.free.push(key);
                }
                due => next = next.into_iter().chain(due).min(),
            }
        }
        self.due = next;
    }
}

impl<C> AsRawFd for IpcServer<C> {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

/// Whether an error of `accept` speaks of the client that was to be accepted, so that the next one can be tried.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::PermissionDenied
    )
}

/// Carries one command out and writes its answer.
fn answer<C: IpcServerCommand>(
    peer: &mut Peer<Socket>,
    body: std::ops::Range<usize>,
    context: &mut C::Context<'_>,
    limits: &Limits,
) {
    let command = match postcard::from_bytes::<C>(peer.body(body)) {
        Ok(command) => command,
        Err(error) => {
            let text = format!(
                "the command is not understood ({error}); do both programs have the same version of it?"
            );
            return wire::text(peer.outgoing(), Status::Malformed, &text);
        }
    };
    let answering = Answering(peer.outgoing());
    let response = command.process(context);
    answering.respond(&response, limits);
}

/// Sees to it that a command is answered, even if it panics.
struct Answering<'a>(&'a mut Vec<u8>);

impl Answering<'_> {
    fn respond<R: serde::Serialize>(self, response: &R, limits: &Limits) {
        let mut this = std::mem::ManuallyDrop::new(self);
        let out: &mut Vec<u8> = this.0;
        let at = wire::begin(out, Status::Done.code());
        let sink = Bounded {
            out,
            left: limits.message_bytes,
        };
        let result = postcard::serialize_with_flavor(response, sink);
        let text = match result {
            Ok(()) if wire::finish(out, at).is_some() => return,
            Err(postcard::Error::SerializeBufferFull) | Ok(()) => format!(
                "the command was carried out, but its response has more than {} bytes",
                limits.message_bytes
            ),
            Err(error) => {
                format!("the command was carried out, but its response cannot be written: {error}")
            }
        };
        out.truncate(at);
        wire::text(out, Status::Failed, &text);
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        wire::text(
            self.0,
            Status::Failed,
            "the command panicked; it may have done a part of its work",
        );
    }
}

/// Writes postcard behind what is there, up to a limit.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl postcard::ser_flavors::Flavor for Bounded<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(postcard::Error::SerializeBufferFull)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

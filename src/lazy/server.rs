//! The lazy server: a listening socket, its clients, and the poll that serves them.
//!
//! Owns whose turn it is and when a connection is forgotten; `accepting` owns who is let in. The bytes are [`peer`](super::peer)'s business, the memory of all is
//! [`memory`](super::memory)'s, the safe taking of the path `platform::place`'s.
//!
//! # Turns
//! Whoever has something to do stands in one queue, which lasts from poll to poll. A turn is one command, for which its client is read if
//! none waits; then the next one has its turn. A client from which a poll has read enough, or whose turn the budget cut off, goes on in the next poll,
//! where the queue was left. However short the time of its budget, a poll makes at least one turn that carries out or reads something, so that
//! nothing stands still.

mod accepting;

use self::accepting::Accepting;
use super::IpcServerCommand;
use super::answer::answer;
use super::budget::{Budget, Left, Limits};
use super::memory::Memory;
use super::peer::{KEPT, Peer, RESPONSES};
use super::stream::Stream;
use crate::platform::place::{self, Place, PlaceError};
use crate::platform::socket_options::UnixOptions;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The listener's token; a client's is its place.
const LISTENER: Token = Token(usize::MAX);
/// Events of one poll. Those beyond come with the next poll.
const EVENTS: usize = 1_024;
/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4_096;
/// When to try to accept again after the system could not.
const AGAIN: Duration = Duration::from_millis(100);

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Command,
    Read,
    Idle,
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
    peers: Vec<Option<Peer<Stream>>>,
    free: Vec<usize>,
    /// Who is to have a turn, in this order.
    queue: VecDeque<usize>,
    /// Who goes on in the next poll.
    later: Vec<usize>,
    /// Who waits for memory.
    starved: Vec<usize>,
    memory: Memory,
    /// The number of this poll.
    number: u64,
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
        let limits = limits.possible();
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
            later: Vec::new(),
            starved: Vec::new(),
            memory: Memory::new(&limits),
            number: 0,
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
        let begun = self.due.map(|_| Instant::now());
        self.number = self.number.saturating_add(1);
        // Here and not at the end: the end may be a panic of a command.
        self.queue.extend(self.later.drain(..));
        if self.memory.has_grown_free() {
            self.memory.try_again();
            self.queue.extend(self.starved.drain(..));
        }
        self.look()?;
        self.accept(&left);
        let (mut handled, mut did) = (0, false);
        while left.has_some(did)
            && let Some(key) = self.queue.pop_front()
        {
            let turn = self.turn(key, &mut context);
            did |= turn != Turn::Idle;
            if turn == Turn::Command {
                left.take();
                handled += 1;
            }
        }
        for key in self.memory.take_ended() {
            // Whoever waits for its turn is forgotten then.
            if matches!(self.peers.get(key), Some(Some(peer)) if peer.gone && !peer.queued) {
                self.settle(key);
            }
        }
        // Whom the budget left waiting has its answers so far.
        for key in &self.queue {
            if let Some(Some(peer)) = self.peers.get_mut(*key) {
                peer.write();
                self.memory.count(peer);
            }
        }
        if let Some(begun) = begun {
            self.expire(begun);
        }
        Ok(handled)
    }

    /// One command of a client, if one is there or in its socket; else it is settled.
    fn turn(&mut self, key: usize, context: &mut C::Context<'_>) -> Turn {
        let mut turn = Turn::Idle;
        loop {
            let Some(Some(peer)) = self.peers.get_mut(key) else {
                return turn;
            };
            // By and by, rather than once for each of many small ones.
            let scarce = peer.pending() > 0 && !self.memory.has_room(self.limits.message_bytes);
            if scarce || peer.pending() > RESPONSES {
                peer.write();
                self.memory.count(peer);
            }
            if scarce && peer.pending() > 0 {
                break;
            }
            if let Some(body) = peer.next(&self.limits) {
                // Back into the queue first: it is still there if the command panics.
                self.queue.push_back(key);
                let (body, out) = peer.exchange(body);
                answer::<C>(body, out, context, self.limits.message_bytes);
                self.answered(key);
                return Turn::Command;
            }
            if !peer.may_read(self.number) {
                break;
            }
            let growth = peer.growth(&self.limits);
            if peer.held().saturating_add(growth) > KEPT
                && !self.memory.make_room(&mut self.peers, key, growth)
            {
                self.starved.push(key);
                return turn;
            }
            if let Some(Some(peer)) = self.peers.get_mut(key) {
                peer.read(&self.limits, self.number);
                if peer.last_read() == self.number {
                    turn = Turn::Read;
                }
                self.memory.count(peer);
            }
        }
        self.settle(key);
        turn
    }

    /// A large command is not kept, nor a large response before it was tried to be written; whoever holds most makes room for it.
    fn answered(&mut self, key: usize) {
        if let Some(Some(peer)) = self.peers.get_mut(key) {
            if peer.held() > RESPONSES {
                peer.compact();
            }
            if peer.pending() > RESPONSES {
                peer.write();
            }
            self.memory.count(peer);
        }
        self.memory.keep(&mut self.peers);
    }

    /// How long a loop that waits for [`as_raw_fd`](AsRawFd::as_raw_fd) to become readable may wait at most before it polls again. `None`: as
    /// long as it likes. Zero: something waits that the last poll's budget did not cover.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let waits = !self.queue.is_empty() || !self.later.is_empty();
        let fed = !self.starved.is_empty() && self.memory.has_grown_free();
        if waits || fed || self.untold || self.accepting == Accepting::More {
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
        // Each connection is told of once; so many times are enough for all of them.
        for _ in 0..=self.peers.len() / EVENTS {
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
                let ended = event.is_read_closed() || event.is_error();
                peer.readable |= event.is_readable() || ended;
                peer.writable |= event.is_writable() || ended;
                if !std::mem::replace(&mut peer.queued, true) {
                    self.queue.push_back(key);
                }
            }
            self.untold = told >= EVENTS;
            if !self.untold {
                break;
            }
        }
        Ok(())
    }

    /// A client has no whole command now: writes what it is owed, and forgets it if it is gone.
    fn settle(&mut self, key: usize) {
        let Some(place) = self.peers.get_mut(key) else {
            return;
        };
        let Some(peer) = place else { return };
        peer.write();
        let full = !peer.gone && peer.pending() > 0;
        if full != peer.watched && !peer.gone {
            let both = Interest::READABLE | Interest::WRITABLE;
            let interest = if full { both } else { Interest::READABLE };
            let source = peer.stream.as_raw_fd();
            let source = &mut SourceFd(&source);
            // A socket that becomes writable meanwhile is told of nevertheless: the system looks anew.
            let again = self.poll.registry().reregister(source, Token(key), interest);
            peer.gone |= again.is_err();
            peer.watched = full;
        }
        if peer.gone {
            self.memory.forget(peer);
            *place = None;
            self.free.push(key);
            return;
        }
        peer.compact();
        self.memory.count(peer);
        peer.note(Instant::now);
        // As long as memory is scarce its commands wait until it reads, of which the system tells.
        let scarce = peer.pending() > 0 && !self.memory.has_room(self.limits.message_bytes);
        peer.queued = peer.has_more() && !scarce;
        if peer.queued {
            self.later.push(key);
        }
        self.due = self.due.into_iter().chain(peer.due(&self.limits)).min();
    }

    /// Ends the connections that had taken too long when this poll began, and of which it heard nothing.
    fn expire(&mut self, begun: Instant) {
        if self.due.is_none_or(|due| begun < due) {
            return;
        }
        self.due = None;
        for key in 0..self.peers.len() {
            let Some(Some(peer)) = self.peers.get_mut(key) else {
                continue;
            };
            match peer.due(&self.limits) {
                Some(due) if due <= begun => {
                    peer.expire(&self.limits);
                    self.settle(key);
                }
                due => self.due = self.due.into_iter().chain(due).min(),
            }
        }
    }
}

impl<C> AsRawFd for IpcServer<C> {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

//! One client of the lazy server: what has come of its commands, and what it has not read of its responses.
//!
//! Owns the two buffers and when the connection ends; generic over the stream, so that tests drive it without sockets. What a
//! command does, and how much all may hold, is the server's business.
//!
//! # The rule of reading
//! A client is read only while no whole command of it waits and at most [`RESPONSES`] bytes of its responses do. Everything else stays in its
//! socket, where it holds back nobody but the client. So a buffer holds one command in part, or the small ones of one read.
//!
//! # The rule of time
//! A client has taken too long when for `transfer_time` less than [`PROGRESS`] bytes moved, and no command and no response came to its end, although
//! the server's last look found its socket empty (of a command that began) or full (of responses). What waits for the server counts for nobody.

use super::budget::Limits;
use super::wire::{self, Found, PREFACE, Status};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::time::Instant;

/// Read from one connection in one poll: more than a socket holds, so that everything that was there is read.
const READ_MAX: usize = 1024 * 1024;
/// Room for one read.
const READ: usize = 64 * 1024;
/// Capacity that every client may have whatever the others hold, and that an empty buffer keeps.
pub(super) const KEPT: usize = 4 * 1024;
/// Responses that may wait before the next command is taken.
pub(super) const RESPONSES: usize = 64 * 1024;
/// Bytes that must move in each `transfer_time`.
pub(super) const PROGRESS: usize = 4 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) stream: S,
    /// Its process, where the system tells.
    pub(super) pid: Option<u32>,
    /// Bytes that came; those before `at` are done with.
    incoming: Vec<u8>,
    at: usize,
    greeted: bool,
    /// Bytes to be written; those before `written` were.
    outgoing: Vec<u8>,
    written: usize,
    /// Since when too little moved.
    since: Option<Instant>,
    /// What moved since then.
    moved: usize,
    /// What was read in the poll of this number.
    read: (u64, usize),
    /// What the server's total counts for it.
    pub(super) counted: usize,
    /// The socket may have more to read.
    pub(super) readable: bool,
    /// The socket may take more.
    pub(super) writable: bool,
    /// The system tells when it can be written.
    pub(super) watched: bool,
    /// It waits for its turn, or for memory.
    pub(super) queued: bool,
    /// Nothing more is read; it ends when everything is handled and written.
    ending: bool,
    /// It is over.
    pub(super) gone: bool,
}

/// What the next read does.
struct Plan {
    count: usize,
    capacity: usize,
}

impl<S: Read + Write> Peer<S> {
    pub(super) const fn new(stream: S, pid: Option<u32>) -> Self {
        Self {
            stream,
            pid,
            incoming: Vec::new(),
            at: 0,
            greeted: false,
            outgoing: Vec::new(),
            written: 0,
            since: None,
            moved: 0,
            read: (0, 0),
            counted: 0,
            readable: true,
            writable: true,
            watched: false,
            queued: false,
            ending: false,
            gone: false,
        }
    }

    /// Bytes that it makes the server hold.
    pub(super) const fn held(&self) -> usize {
        self.incoming.capacity().saturating_add(self.outgoing.capacity())
    }

    /// The number of the poll that last read from it.
    pub(super) const fn last_read(&self) -> u64 {
        self.read.0
    }

    /// Whether the poll of this number may read from it, by the rule of reading; to be asked when [`next`](Self::next) found nothing.
    pub(super) const fn may_read(&self, poll: u64) -> bool {
        let spent = self.read.0 == poll && self.read.1 >= READ_MAX;
        self.readable && !spent && self.takes_commands() && !self.ending
    }

    const fn takes_commands(&self) -> bool {
        !self.gone && self.pending() <= RESPONSES
    }

    /// Reads a handful of small commands, or the rest of a command that is known to be large. The buffer grows with what has come, not with
    /// what was promised.
    fn plan(&self, limits: &Limits) -> Plan {
        let have = self.incoming.len().saturating_sub(self.at);
        let capacity = self.incoming.capacity();
        let spare = capacity.saturating_sub(have);
        let whole = match wire::find(&self.incoming, self.at, limits.message_bytes) {
            Found::Partial { wanted: Some(whole) } => Some(whole),
            _ => None,
        };
        if spare >= KEPT / 4 || whole.is_some_and(|whole| capacity >= whole && spare > 0) {
            let count = spare.min(READ);
            return Plan { count, capacity };
        }
        let rest = whole.map_or(KEPT, |whole| whole.saturating_sub(have));
        let count = rest.clamp(KEPT, READ);
        let grown = capacity.saturating_mul(2).min(whole.unwrap_or(0));
        Plan {
            count,
            capacity: have.saturating_add(count).max(grown),
        }
    }

    /// By how much the next read makes what it holds grow.
    pub(super) fn growth(&self, limits: &Limits) -> usize {
        self.plan(limits)
            .capacity
            .saturating_sub(self.incoming.capacity())
    }

    /// Reads once, in the poll of this number.
    pub(super) fn read(&mut self, limits: &Limits, poll: u64) {
        self.compact();
        let Plan { count, capacity } = self.plan(limits);
        let from = self.incoming.len();
        self.incoming.reserve_exact(capacity.saturating_sub(from));
        self.incoming.resize(from.saturating_add(count), 0);
        let read = self
            .incoming
            .get_mut(from..)
            .map_or(Ok(0), |room| self.stream.read(room));
        let count = *read.as_ref().unwrap_or(&0);
        self.incoming.truncate(from.saturating_add(count));
        match read {
            Ok(0) => {
                // Whole commands are still handled and answered: a client may close its writing side.
                self.readable = false;
                self.ending = true;
            }
            Ok(count) => {
                self.moved = self.moved.saturating_add(count);
                let before = if self.read.0 == poll { self.read.1 } else { 0 };
                self.read = (poll, before.saturating_add(count));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(_) => self.gone = true,
        }
    }

    /// Throws away what is done with.
    pub(super) fn compact(&mut self) {
        if self.at >= self.incoming.len() {
            self.incoming.clear();
            self.incoming.shrink_to(KEPT);
        } else if self.at > 0 {
            self.incoming.drain(..self.at);
        }
        self.at = 0;
    }

    /// The next whole command, taken. `None`: there is none now, or too many responses wait.
    pub(super) fn next(&mut self, limits: &Limits) -> Option<Range<usize>> {
        if !self.takes_commands() || !self.greeting() {
            return None;
        }
        match wire::find(&self.incoming, self.at, limits.message_bytes) {
            Found::Frame(0, body) => {
                self.at = body.end;
                self.moved = PROGRESS;
                Some(body)
            }
            Found::Frame(..) => {
                self.end(Status::Protocol, "a command's fifth byte is 0 in this version");
                None
            }
            Found::TooLarge(length) => {
                let text = format!(
                    "the command has {length} bytes, but this server takes at most {}",
                    limits.message_bytes
                );
                self.end(Status::TooLarge, &text);
                None
            }
            Found::Partial { .. } => None,
        }
    }

    /// Takes the preface; whether it was there.
    fn greeting(&mut self) -> bool {
        if self.greeted {
            return true;
        }
        let came = self.incoming.get(self.at..).unwrap_or_default();
        let some = came.get(..PREFACE.len()).unwrap_or(came);
        if PREFACE.starts_with(some) {
            self.greeted = some.len() == PREFACE.len();
            if self.greeted {
                self.at = self.at.saturating_add(PREFACE.len());
            }
        } else {
            self.end(
                Status::Protocol,
                "this is a lazy server of actix-ipc, version 1; what came is something else",
            );
        }
        self.greeted
    }

    /// The bytes of a command that [`next`](Self::next) gave, until the next read, and where its response is written, with [`wire::begin`] and
    /// [`wire::finish`].
    pub(super) fn exchange(&mut self, range: Range<usize>) -> (&[u8], &mut Vec<u8>) {
        let body = self.incoming.get(range).unwrap_or_default();
        (body, &mut self.outgoing)
    }

    /// Bytes that the client has not read.
    pub(super) const fn pending(&self) -> usize {
        self.outgoing.len().saturating_sub(self.written)
    }

    /// Says why, as the last thing, and takes nothing more. Only when no whole command waits.
    fn end(&mut self, status: Status, text: &str) {
        wire::text(&mut self.outgoing, status, text);
        self.ending = true;
        self.readable = false;
        self.incoming = Vec::new();
        self.at = 0;
    }

    /// Ends at once and holds nothing any more; a client that has read all its responses is told why.
    pub(super) fn give_up(&mut self, status: Status, text: &str) {
        if self.pending() == 0 && !self.gone {
            self.end(status, text);
            self.write();
        }
        self.incoming = Vec::new();
        self.outgoing = Vec::new();
        (self.at, self.written) = (0, 0);
        self.gone = true;
    }

    /// Writes what can be written; ends the connection that has nothing more to say.
    pub(super) fn write(&mut self) {
        while self.pending() > 0 && !self.gone {
            if !self.writable {
                return;
            }
            let bytes = self.outgoing.get(self.written..).unwrap_or_default();
            match self.stream.write(bytes) {
                Ok(0) => self.gone = true,
                Ok(count) => {
                    self.written = self.written.saturating_add(count);
                    self.moved = self.moved.saturating_add(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.writable = false;
                    // What was written is not kept for the sake of what was not.
                    if self.written > self.outgoing.len() / 2 {
                        self.outgoing.drain(..self.written);
                        self.outgoing.shrink_to(KEPT);
                        self.written = 0;
                    }
                    return;
                }
                Err(_) => self.gone = true,
            }
        }
        if !self.outgoing.is_empty() {
            self.moved = PROGRESS;
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(KEPT);
        self.written = 0;
        if self.ending && !self.has_command() {
            self.gone = true;
        }
    }

    /// Whether it has something to do by itself, whatever the system says: a whole command waits, or it was not read to the end.
    pub(super) fn has_more(&self) -> bool {
        self.takes_commands() && (self.has_command() || (self.readable && !self.ending))
    }

    fn has_command(&self) -> bool {
        let rest = self.incoming.get(self.at..).unwrap_or_default();
        let first = if self.greeted {
            Some(rest)
        } else {
            rest.strip_prefix(&PREFACE)
        };
        first.is_some_and(|rest| matches!(wire::find(rest, 0, usize::MAX), Found::Frame(..)))
    }

    /// Whether a command has begun to come, or a response is not read yet.
    pub(super) const fn is_under_way(&self) -> bool {
        !self.gone && (self.at < self.incoming.len() || self.pending() > 0)
    }

    /// To be told at the end of each turn; the clock is asked only when something is under way.
    pub(super) fn note(&mut self, now: impl FnOnce() -> Instant) {
        if !self.is_under_way() {
            self.since = None;
        } else if self.since.is_none() || self.moved >= PROGRESS {
            self.since = Some(now());
        } else {
            return;
        }
        self.moved = 0;
    }

    /// When it will have taken too long.
    pub(super) fn due(&self, limits: &Limits) -> Option<Instant> {
        if self.queued {
            return None;
        }
        self.since
            .and_then(|since| since.checked_add(limits.transfer_time))
    }

    /// It has taken too long.
    pub(super) fn expire(&mut self, limits: &Limits) {
        let text = format!(
            "the command did not come whole: less than {PROGRESS} bytes of it within {} ms",
            limits.transfer_time.as_millis()
        );
        self.give_up(Status::Slow, &text);
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;

//! Who is let in: this user's and root's programs, up to the limit of connections, in which a newcomer comes before the silent.
//!
//! Owns the door of the lazy server; called by its poll.

use super::IpcServer;
use crate::lazy::IpcServerCommand;
use crate::lazy::budget::Left;
use crate::lazy::peer::Peer;
use crate::lazy::stream::Stream;
use crate::lazy::wire::{self, Status};
use crate::platform::peer::credentials;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use socket2::Socket;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};

/// Connections accepted in one poll: what can have waited when it began.
const ACCEPTS: usize = 4_096;

/// Whether somebody may wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    /// Not before the system says so.
    Nobody,
    /// At once.
    More,
    /// Yes, but the system had no descriptor or no memory.
    Again,
}

impl<C: IpcServerCommand> IpcServer<C> {
    /// Lets in whoever waits, as far as the budget goes.
    pub(super) fn accept(&mut self, left: &Left) {
        if self.accepting == Accepting::Nobody {
            return;
        }
        self.accepting = Accepting::More;
        for turn in 0..ACCEPTS {
            if !left.has_some(turn > 0) {
                return;
            }
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
        let Ok(other) = credentials(socket.as_fd()) else {
            return;
        };
        let is_ours = other.uid == self.uid || other.uid == 0;
        if !is_ours || socket.set_nonblocking(true).is_err() {
            return;
        }
        let mut stream = Stream(socket);
        if self.connections() >= self.limits.connections && !self.free_a_place() {
            let text = format!(
                "this server has {} clients, its limit; try again",
                self.limits.connections
            );
            let mut refusal = Vec::new();
            wire::text(&mut refusal, Status::Busy, &text);
            // An empty socket takes it whole; if not, the end of the connection says enough.
            let _ = stream.write(&refusal);
            return;
        }
        let key = self.free.pop().unwrap_or(self.peers.len());
        let source = stream.as_raw_fd();
        let source = &mut SourceFd(&source);
        let registered = self
            .poll
            .registry()
            .register(source, Token(key), Interest::READABLE);
        let mut peer = Peer::new(stream, other.pid);
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

    /// Ends the connection that has been silent for longest, of the process that has most of them; whether there was one with nothing under way.
    fn free_a_place(&mut self) -> bool {
        let mut silent: BTreeMap<Option<u32>, (usize, u64, usize)> = BTreeMap::new();
        for (key, peer) in self.peers.iter().enumerate() {
            let Some(peer) = peer else { continue };
            if peer.queued || peer.is_under_way() {
                continue;
            }
            let (count, last, oldest) = silent.entry(peer.pid).or_insert((0, u64::MAX, key));
            *count += 1;
            if peer.last_read() < *last {
                (*last, *oldest) = (peer.last_read(), key);
            }
        }
        let Some((_, _, key)) = silent.into_values().max_by_key(|(count, ..)| *count) else {
            return false;
        };
        if let Some(Some(peer)) = self.peers.get_mut(key) {
            let text = format!(
                "this server has {} clients, its limit, and this one was silent for longest; connect again",
                self.limits.connections
            );
            peer.give_up(Status::Busy, &text);
        }
        self.settle(key);
        true
    }
}

/// Whether an error of `accept` speaks of the client that was to be accepted, so that the next one can be tried.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::PermissionDenied
    )
}

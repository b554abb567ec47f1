//! One client of the lazy server: what has come of its commands, and what it has not read of its responses.
//!
//! Owns the two buffers and when the connection ends; generic over the stream, so that tests drive it without sockets. What a
//! command does is the server's business.

use super::budget::Limits;
use super::wire::{self, Found, PREFACE, Status};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::time::Instant;

/// Read from one connection in one poll: more than a socket holds, so that everything that was there is read.
const READ_MAX: usize = 1024 * 1024;
/// Room for one read.
const READ: usize = 64 * 1024;
/// Capacity that an empty buffer keeps.
const KEPT: usize = 4 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) stream: S,
    /// Bytes that came; those before `at` are done with.
    incoming: Vec<u8>,
    at: usize,
    greeted: bool,
    /// Bytes to be written; those before `written` were.
    outgoing: Vec<u8>,
    written: usize,
    /// When what is under way, either way, began.
    since: Option<Instant>,
    /// The socket may have more to read.
    pub(super) readable: bool,
    /// It waits for its turn.
    pub(super) queued: bool,
    /// Nothing more is read or handled; it ends when everything is written.
    ending: bool,
    /// It is over.
    pub(super) gone: bool,
}

impl<S: Read + Write> Peer<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self {
            stream,
            incoming: Vec::new(),
            at: 0,
            greeted: false,
            outgoing: Vec::new(),
            written: 0,
            since: None,
            readable: true,
            queued: false,
            ending: false,
            gone: false,
        }
    }

    /// Bytes that it makes the server hold.
    pub(super) fn held(&self) -> usize {
        self.incoming.capacity().saturating_add(self.outgoing.capacity())
    }

    /// Reads what there is, at most [`READ_MAX`], into memory of which `room` is left for all.
    pub(super) fn read(&mut self, limits: &Limits, room: usize) {
        let mut total = 0;
        let most = room.saturating_add(self.incoming.capacity());
        // A client that reads nothing is read no further; what it has sent stays in its socket.
        while self.readable && !self.ending && self.pending() <= limits.message_bytes {
            let from = self.incoming.len();
            let wanted = self.wanted(limits).clamp(1, READ);
            if from.saturating_add(wanted).saturating_sub(self.at) > most {
                let text = format!(
                    "the clients of this server hold {} bytes together, its limit; try again",
                    limits.memory_bytes
                );
                self.end(Status::Busy, &text);
                return;
            }
            if total >= READ_MAX {
                return;
            }
            self.make_room();
            let from = from.min(self.incoming.len());
            self.incoming.resize(from.saturating_add(wanted), 0);
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
                Ok(count) => total = total.saturating_add(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }

    /// How many bytes the next read should take: the rest of a command that is known to be large, else a handful of small ones.
    fn wanted(&self, limits: &Limits) -> usize {
        match wire::find(&self.incoming, self.at, limits.message_bytes) {
            Found::Partial { wanted: Some(whole) } => whole
                .saturating_sub(self.incoming.len().saturating_sub(self.at))
                .max(KEPT),
            _ => KEPT,
        }
    }

    /// Throws away what is done with, when that is most of the buffer or all of it.
    fn make_room(&mut self) {
        if self.at >= self.incoming.len() {
            self.incoming.clear();
            self.incoming.shrink_to(KEPT);
            self.at = 0;
        } else if self.at > self.incoming.len() / 2 {
            self.incoming.drain(..self.at);
            self.at = 0;
        }
    }

    /// The next whole command, taken. `None`: there is none now; `is_partial` says whether one has begun.
    pub(super) fn next(&mut self, limits: &Limits) -> Option<Range<usize>> {
        if self.gone || self.pending() > limits.message_bytes || !self.greeting() {
            return None;
        }
        match wire::find(&self.incoming, self.at, limits.message_bytes) {
            Found::Frame(0, body) => {
                self.at = body.end;
                self.since = None;
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

    /// The bytes of a command that [`next`](Self::next) gave, until the next read.
    pub(super) fn body(&self, range: Range<usize>) -> &[u8] {
        self.incoming.get(range).unwrap_or_default()
    }

    /// Where a response is written, with [`wire::begin`] and [`wire::finish`].
    pub(super) const fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Bytes that the client has not read.
    pub(super) const fn pending(&self) -> usize {
        self.outgoing.len().saturating_sub(self.written)
    }

    /// Says why, as the last thing, and takes nothing more.
    pub(super) fn end(&mut self, status: Status, text: &str) {
        wire::text(&mut self.outgoing, status, text);
        self.ending = true;
        self.readable = false;
        self.incoming = Vec::new();
        self.at = 0;
    }

    /// Writes what can be written; ends the connection that has nothing more to say.
    pub(super) fn write(&mut self) {
        while self.pending() > 0 && !self.gone {
            match self
                .outgoing
                .get(self.written..)
                .map_or(Ok(0), |bytes| self.stream.write(bytes))
            {
                Ok(0) => self.gone = true,
                Ok(count) => {
                    self.written = self.written.saturating_add(count);
                    // It reads, however slowly, as long as it does so at all.
                    self.since = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What was written is not kept for the sake of what was not.
                    if self.written > self.outgoing.len() / 2 {
                        self.outgoing.drain(..self.written);
                        self.written = 0;
                    }
                    return;
                }
                Err(_) => self.gone = true,
            }
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(KEPT);
        self.written = 0;
        self.make_room();
        if self.ending && !self.has_command() {
            self.gone = true;
        }
    }

    /// Whether the next poll has something to do for it, whatever the system says: it was not read to the end.
    pub(super) fn has_more(&self, limits: &Limits) -> bool {
        self.readable && !self.ending && self.pending() <= limits.message_bytes
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
    fn is_under_way(&self) -> bool {
        !self.gone && (self.at < self.incoming.len() || self.pending() > 0)
    }

    /// To be told at the end of each poll that touched it; the clock is asked only when something is under way.
    pub(super) fn note(&mut self, now: impl FnOnce() -> Instant) {
        if !self.is_under_way() {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(now());
        }
    }

    /// When it will have taken too long.
    pub(super) fn due(&self, limits: &Limits) -> Option<Instant> {
        self.since
            .and_then(|since| since.checked_add(limits.transfer_time))
    }

    /// It has taken too long.
    pub(super) fn expire(&mut self, limits: &Limits) {
        if self.pending() > 0 {
            self.gone = true;
            return;
        }
        let text = format!(
            "the command did not come whole within {} ms",
            limits.transfer_time.as_millis()
        );
        self.end(Status::Slow, &text);
        self.write();
        self.gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io;
    use std::time::Duration;

    /// A socket that gives and takes what it is told.
    #[derive(Default)]
    struct Fake {
        reads: VecDeque<Vec<u8>>,
        closed: bool,
        wrote: Vec<u8>,
        takes: usize,
    }

    impl Read for Fake {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(mut next) = self.reads.pop_front() else {
                return if self.closed {
                    Ok(0)
                } else {
                    Err(ErrorKind::WouldBlock.into())
                };
            };
            let count = next.len().min(into.len());
            into[..count].copy_from_slice(&next[..count]);
            if count < next.len() {
                self.reads.push_front(next.split_off(count));
            }
            Ok(count)
        }
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.takes);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.takes -= count;
            self.wrote.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn limits() -> Limits {
        Limits {
            message_bytes: 100,
            memory_bytes: 64 * 1024,
            ..Limits::default()
        }
    }

    fn command(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let at = wire::begin(&mut out, 0);
        out.extend_from_slice(body);
        wire::finish(&mut out, at).unwrap();
        out
    }

    fn greeted(reads: &[Vec<u8>]) -> Peer<Fake> {
        let mut peer = Peer::new(Fake {
            takes: usize::MAX,
            ..Fake::default()
        });
        peer.stream.reads.push_back(PREFACE.to_vec());
        // A read of nothing would be the end.
        peer.stream
            .reads
            .extend(reads.iter().filter(|read| !read.is_empty()).cloned());
        peer
    }

    fn all(peer: &mut Peer<Fake>) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let Some(range) = peer.next(&limits()) {
            found.push(peer.body(range).to_vec());
        }
        found
    }

    #[test]
    fn commands_are_found_however_they_are_cut() {
        let whole = [command(b"one"), command(b""), command(&[7; 100])].concat();
        for cut in 0..whole.len() {
            let (before, after) = whole.split_at(cut);
            let mut peer = greeted(&[before.to_vec()]);
            peer.read(&limits(), 64 * 1024);
            let mut found = all(&mut peer);
            peer.stream.reads.push_back(after.to_vec());
            peer.readable = true;
            peer.read(&limits(), 64 * 1024);
            found.extend(all(&mut peer));
            assert_eq!(found, [b"one".to_vec(), Vec::new(), vec![7; 100]], "{cut}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_once_and_ends_the_connection() {
        let mut foreign = command(b"x");
        foreign[4] = 9;
        let table: [(&[u8], Status); 4] = [
            (b"GET / HTTP/1.1", Status::Protocol),
            (b"aipcLZ\x00\x02", Status::Protocol),
            (&[&PREFACE[..], &foreign].concat(), Status::Protocol),
            (&[&PREFACE[..], &[101, 0, 0, 0, 0]].concat(), Status::TooLarge),
        ];
        for (bytes, status) in table {
            let mut peer = greeted(&[]);
            peer.stream.reads = [bytes.to_vec(), command(b"more")].into();
            peer.read(&limits(), 64 * 1024);
            assert_eq!(all(&mut peer), Vec::<Vec<u8>>::new());
            peer.write();
            assert_eq!(peer.stream.wrote[4], status.code(), "{bytes:?}");
            assert!(peer.gone);
        }
    }

    #[test]
    fn a_client_that_reads_nothing_is_not_read_and_not_answered_until_it_does() {
        let many: Vec<_> = (0..50).map(|_| command(&[1; 10])).collect();
        let mut peer = greeted(&[many.concat()]);
        peer.stream.takes = 0;
        peer.read(&limits(), 64 * 1024);
        let mut answered = 0;
        while peer.next(&limits()).is_some() {
            wire::text(peer.outgoing(), Status::Done, "0123456789");
            answered += 1;
        }
        assert_eq!(answered, 101_usize.div_ceil(15));
        peer.write();
        assert_eq!(peer.pending(), answered * 15);
        peer.stream.takes = 60;
        peer.write();
        assert_eq!(peer.pending(), answered * 15 - 60);
        assert!(peer.outgoing.len() <= answered * 15 - 60 || peer.written <= peer.outgoing.len() / 2);
        assert!(peer.next(&limits()).is_some());
    }

    #[test]
    fn whole_commands_before_the_end_are_handled() {
        let mut peer = greeted(&[command(b"last"), vec![9, 0, 0]]);
        peer.stream.closed = true;
        peer.read(&limits(), 64 * 1024);
        peer.write();
        assert!(!peer.gone);
        assert_eq!(all(&mut peer), [b"last"]);
        peer.write();
        assert!(peer.gone);
    }

    #[test]
    fn time_counts_only_while_something_is_under_way() {
        let begun = Instant::now();
        let mut peer = greeted(&[command(b"x")[..3].to_vec()]);
        peer.note(|| unreachable!("nothing is under way"));
        peer.read(&limits(), 64 * 1024);
        assert_eq!(all(&mut peer), Vec::<Vec<u8>>::new());
        peer.note(|| begun);
        peer.note(|| begun + Duration::from_secs(9));
        assert_eq!(peer.due(&limits()), Some(begun + Duration::from_secs(30)));
        peer.expire(&limits());
        assert_eq!(peer.stream.wrote[4], Status::Slow.code());
        assert!(peer.gone);
        let mut peer = greeted(&[command(b"x")]);
        peer.read(&limits(), 64 * 1024);
        assert_eq!(all(&mut peer).len(), 1);
        peer.note(|| unreachable!("everything was handled"));
        assert_eq!(peer.due(&limits()), None);
    }

    #[test]
    fn memory_of_all_is_bounded() {
        let mut large = Limits {
            message_bytes: 1 << 20,
            ..limits()
        };
        large.memory_bytes = 100_000;
        let mut head = PREFACE.to_vec();
        head.extend_from_slice(&(1_u32 << 20).to_le_bytes());
        head.push(0);
        head.extend_from_slice(&[0; 200_000]);
        let mut peer = greeted(&[]);
        peer.stream.reads = [head].into();
        peer.read(&large, 100_000);
        assert!(peer.held() <= 2 * 100_000);
        peer.write();
        assert_eq!(peer.stream.wrote[4], Status::Busy.code());
        assert!(peer.gone);
    }
}

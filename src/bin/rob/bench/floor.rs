//! The bare floor: a blocking relay and its ends, what messages between processes through a third one cost over bare sockets.
//!
//! Owns the relay (one thread for each direction, no frames, no names, no accounts) and how a process joins it. It knows nothing
//! of brokers. Its ends are `calls`, `events` and `hold`; called by `role`.

use super::protocol::Slice;
use super::role::Conversation;
use crate::exit::{Exit, Failure};
use actix_ipc::platform::local::{Listener, Stream, bind, connect};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What the relay and its ends read at once, in bytes.
pub(super) const CHUNK: usize = 64 * 1024;

/// The first byte of a connection: whose end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Answers the next caller that joins.
    Worker = b'W' as isize,
    /// Calls the worker that has joined and has no caller.
    Caller = b'C' as isize,
    /// Its messages go to all subscribers that have joined.
    Publisher = b'P' as isize,
    /// Gets them.
    Subscriber = b'S' as isize,
    /// Does nothing.
    Holder = b'H' as isize,
    /// Says that those that did nothing have left.
    Leaver = b'L' as isize,
}

/// Joins the relay; it has answered then.
///
/// # Errors
/// When there is no relay.
pub(super) fn join(conversation: &Conversation, end: End) -> Result<Stream, Failure> {
    let join = || {
        let mut stream = connect(&conversation.spec.relay)?;
        stream.write_all(&[end as u8])?;
        stream.read_exact(&mut [0])?;
        io::Result::Ok(stream)
    };
    join().map_err(|error| gone(&error))
}

/// The failure of an end whose relay does not answer.
pub(super) fn gone(error: &io::Error) -> Failure {
    Failure::new(Exit::Lost, format!("the bare relay: {error}"))
}

/// Relays until the process ends.
///
/// # Errors
/// When it cannot listen or accept.
pub(super) fn relay(conversation: &Conversation) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure::new(Exit::Refused, format!("no relay: {error}"));
    let (listener, address) = bind(&conversation.spec.folder).map_err(refused)?;
    conversation.ready(address);
    accept_all(&listener, conversation.spec.payload).map_err(refused)
}

type Subscribers = Arc<Mutex<Vec<Stream>>>;

fn accept_all(listener: &Listener, message: usize) -> io::Result<()> {
    let subscribers = Subscribers::default();
    let mut workers = VecDeque::new();
    let mut holders = Vec::new();
    loop {
        let mut stream = listener.accept()?;
        let mut end = [0];
        if stream.read_exact(&mut end).is_err() {
            continue;
        }
        // Whoever joins next is looked at after this one has its place, so the answer may come first.
        if stream.write_all(&[0]).is_err() {
            continue;
        }
        match end {
            [b'W'] => workers.push_back(stream),
            [b'C'] => {
                let Some(worker) = workers.pop_front() else {
                    continue;
                };
                let (back, forth) = (worker.try_clone()?, stream.try_clone()?);
                std::thread::Builder::new().spawn(move || pump(back, stream))?;
                std::thread::Builder::new().spawn(move || pump(forth, worker))?;
            }
            [b'P'] => {
                let subscribers = Arc::clone(&subscribers);
                std::thread::Builder::new().spawn(move || fan_out(stream, &subscribers, message))?;
            }
            [b'S'] => lock(&subscribers).push(stream),
            [b'H'] => holders.push(stream),
            _ => holders.clear(),
        }
    }
}

fn lock(subscribers: &Mutex<Vec<Stream>>) -> std::sync::MutexGuard<'_, Vec<Stream>> {
    subscribers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pump(mut from: Stream, mut to: Stream) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let read = buffer.get(..count).unwrap_or_default();
        if to.write_all(read).is_err() {
            return;
        }
    }
}

/// Passes whole messages on, so that those of several publishers do not mix.
fn fan_out(mut from: Stream, subscribers: &Mutex<Vec<Stream>>, message: usize) {
    let mut buffer = vec![0; CHUNK.max(message)];
    let mut held = 0_usize;
    loop {
        let Some(free) = buffer.get_mut(held..) else {
            return;
        };
        let Ok(count @ 1..) = from.read(free) else { return };
        held = held.saturating_add(count);
        let whole = held.saturating_sub(held.checked_rem(message).unwrap_or_default());
        if whole == 0 {
            continue;
        }
        let read = buffer.get(..whole).unwrap_or_default();
        if lock(subscribers).iter_mut().any(|to| to.write_all(read).is_err()) {
            return;
        }
        buffer.copy_within(whole..held, 0);
        held = held.saturating_sub(whole);
    }
}

/// Counts what is done until a time has passed, and how long it took.
#[derive(Debug)]
pub(super) struct Stopwatch {
    start: Instant,
    nanos: u64,
    last: u64,
    done: u64,
}

impl Stopwatch {
    /// Starts now.
    pub(super) fn start(nanos: u64) -> Self {
        Self {
            start: Instant::now(),
            nanos,
            last: 0,
            done: 0,
        }
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        nanos_since(self.start)
    }

    /// Notes that so many were done by `now`. Whether there is time for more.
    pub(super) fn done(&mut self, count: u64, now: u64) -> bool {
        self.done = self.done.saturating_add(count);
        self.last = now;
        now < self.nanos
    }

    /// Whether there is time for more.
    pub(super) fn goes_on(&self) -> bool {
        self.now() < self.nanos
    }

    /// What was done.
    pub(super) fn slice(&self, latencies: Vec<(u64, u64)>) -> Slice {
        Slice {
            done: self.done,
            timed: self.done,
            nanos: self.last,
            lost: 0,
            latencies,
        }
    }
}

/// Nanoseconds since then.
pub(super) fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

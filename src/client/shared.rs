//! What a handle and its socket have in common: the lock around [`State`], and what follows each step under it.
//!
//! Owns the discipline of the lock: short, never across an await, and no waker is woken or dropped while it is held. Nothing is written either,
//! but into shared memory ([`State::after_push`]), which takes no longer than a copy and, where the broker sleeps, its bell.
//! Called by every other file of the client.

use super::builder::Options;
use super::order::Ticket;
use super::outbox::Claim;
use super::peer::memory::Memory;
use super::serving::Serving;
use super::state::{Direct, Next, Phase, State};
use super::waiters::{Place, Waiters};
use crate::error::CallError;
use crate::sync::slips::{self, Slip};
use crate::sync::{AtomicWaker, Mutex, MutexGuard};
use crate::transport::Stream;
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The socket's task.
    pub(crate) io: AtomicWaker,
    /// The objects of this client and the calls that they are working on.
    pub(crate) serving: Serving,
    pub(crate) options: Options,
    pub(crate) watchers: super::connection_events::Watchers,
    /// Ends the pause before the next attempt to connect.
    pub(crate) retry: tokio::sync::Notify,
}

/// A future's place in a list of those who wait. Dropped with the future, it takes the waker out of the list.
pub(crate) struct Spot<'a> {
    shared: &'a Shared,
    list: fn(&mut State) -> &mut Waiters,
    pub(crate) place: Option<Place>,
}

impl<'a> Spot<'a> {
    pub(crate) const fn new(shared: &'a Shared, list: fn(&mut State) -> &mut Waiters) -> Self {
        let place = None;
        Self { shared, list, place }
    }
}

impl Drop for Spot<'_> {
    fn drop(&mut self) {
        self.shared.leave(&mut self.place, self.list);
    }
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    All,
    /// The socket takes no more for now.
    Blocked,
}

/// The state, as long as its lock is held. What was [buried](State::bury) meanwhile is dropped when it no longer is.
pub(crate) struct Locked<'a> {
    // In this order: the fields are dropped one after the other.
    state: MutexGuard<'a, State>,
    dead: Vec<Waker>,
}

impl Deref for Locked<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.state.dead.is_empty() {
            self.dead = std::mem::take(&mut self.state.dead);
        }
    }
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let mut state = State::new(options.out_buffer, options.role(), Instant::now());
        state.missing = options.peer.as_ref().map(|offer| offer.missing);
        let peer = options.peer.as_ref();
        let memory = peer.map_or_else(Memory::default, |offer| Memory::bounded(offer.memory));
        Self {
            state: Mutex::new(state),
            io: AtomicWaker::new(),
            serving: Serving::new(memory),
            options,
            watchers: super::connection_events::Watchers::default(),
            retry: tokio::sync::Notify::new(),
        }
    }

    /// The lock. A panic under it cannot leave anything half done that matters more than going on.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked {
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
            dead: Vec::new(),
        }
    }

    /// Whether nobody holds the lock.
    #[cfg(test)]
    #[cfg(not(feature = "models"))]
    pub(crate) fn is_free(&self) -> bool {
        self.state.try_lock().is_ok()
    }

    /// Takes a future that is dropped out of a list of those who wait.
    pub(crate) fn leave(&self, place: &mut Option<Place>, list: fn(&mut State) -> &mut Waiters) {
        if place.is_some() {
            let waker = list(&mut self.lock()).leave(place);
            drop(waker);
        }
    }

    /// The same for a request that was held back.
    pub(crate) fn leave_order(&self, ticket: &mut Ticket) {
        if ticket.is_held() {
            let behind = self.lock().leave_order(ticket);
            behind.into_iter().for_each(Waker::wake);
        }
    }

    /// Does what a step under the lock has left to do.
    #[inline]
    pub(crate) fn perform(&self, next: Next) {
        if !matches!(next, Next::Nothing) {
            self.bring_out(next);
        }
    }

    fn bring_out(&self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::WakeSocket => self.io.wake(),
            Next::Write(claim, stream) => {
                let wrote = self.write(claim, &stream);
                let mut state = self.lock();
                state.last_write = Instant::now();
                // Whatever this thread did not bring out is the socket's business, errors included. Its task may be
                // about to sleep without having asked when the socket takes more, so it is woken in any case then.
                let stuck = !matches!(wrote, Ok(Wrote::All)) && !slips::is(Slip::StuckNotTold);
                let others = state.out.is_ready() && !slips::is(Slip::WriterForgetsOthers);
                let wake = stuck || (others && !state.io_active);
                let mut woken = Vec::new();
                state.tell_of_room(&mut woken);
                drop(state);
                woken.into_iter().for_each(Waker::wake);
                if wake {
                    self.io.wake();
                }
            }
        }
    }

    /// Writes claimed bytes until the socket takes no more, and gives the claim back.
    ///
    /// # Errors
    /// The socket's; the connection is at its end.
    pub(crate) fn write(&self, mut claim: Claim, stream: &Stream) -> io::Result<Wrote> {
        let result = loop {
            let (bytes, attachments) = claim.part();
            match stream.try_write(&[IoSlice::new(bytes)], attachments) {
                Ok(count) => {
                    let all = claim.advance(count);
                    if claim.turns() {
                        stream.write_to_ring();
                    }
                    if all {
                        break Ok(Wrote::All);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(Wrote::Blocked),
                Err(error) => break Err(error),
            }
        };
        let blocked = matches!(result, Ok(Wrote::Blocked));
        // The lock is released before it is dropped.
        let left = self.lock().out.release(claim, blocked);
        drop(left);
        result
    }

    /// Runs `push` under the lock as soon as there is a connection with room for a frame.
    ///
    /// Ready with an error when there is no connection.
    pub(crate) fn poll_push<T>(
        &self,
        cx: &Context<'_>,
        place: &mut Option<Place>,
        direct: Direct,
        push: impl FnOnce(&mut State) -> T,
    ) -> Poll<Result<T, CallError>> {
        let mut state = self.lock();
        if let Err(error) = state.check_up() {
            return Poll::Ready(Err(error));
        }
        if !state.out.has_room() {
            let before = state.out.room.wait(place, cx.waker());
            state.bury(before);
            return Poll::Pending;
        }
        let idle = state.out.is_idle();
        let value = push(&mut state);
        let next = state.after_push(idle, direct);
        drop(state);
        self.perform(next);
        Poll::Ready(Ok(value))
    }

    /// The last handle is gone, or the user has asked for the end.
    pub(crate) fn begin_close(&self) {
        let mut state = self.lock();
        let next = state.begin_close();
        drop(state);
        self.perform(next);
        self.io.wake();
    }

    /// Brings out what is left from the thread that drops the last handle: its process may be about to exit. Over a Windows pipe that is one
    /// write at most: the reactor takes the next when it has turned, and this may be the thread that turns it.
    pub(crate) fn last_flush(&self) {
        for _ in 0..1_000 {
            let mut state = self.lock();
            let stream = match &state.phase {
                Phase::Up(stream) if !state.out.is_empty() => Arc::clone(stream),
                _ => return,
            };
            match state.out.claim() {
                Some(claim) => {
                    drop(state);
                    if !matches!(self.write(claim, &stream), Ok(Wrote::All)) {
                        break;
                    }
                }
                None => {
                    drop(state);
                    std::thread::yield_now();
                }
            }
        }
        self.io.wake();
    }

    /// Pending until the client is being closed.
    pub(crate) fn poll_closing(&self, cx: &Context<'_>) -> Poll<()> {
        self.io.register(cx.waker());
        if self.lock().closing.is_some() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Ready once the connection has ended for good.
    pub(crate) async fn closed_for_good(&self) -> CallError {
        let mut spot = Spot::new(self, |state| &mut state.closed);
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if let Phase::Closed(error) = &state.phase {
                return Poll::Ready(error.clone());
            }
            let before = state.closed.wait(&mut spot.place, cx.waker());
            state.bury(before);
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
#[cfg(not(feature = "models"))]
mod tests {
    use super::*;
    use crate::client::builder::ClientBuilder;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// A task whose end needs the lock, as that of one which waits for an answer does.
    struct NeedsTheLock {
        shared: Arc<Shared>,
        free: Arc<AtomicUsize>,
    }

    impl Wake for NeedsTheLock {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for NeedsTheLock {
        fn drop(&mut self) {
            self.free
                .fetch_add(usize::from(self.shared.is_free()), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_that_is_replaced_is_dropped_when_the_lock_is_free() {
        let shared = Arc::new(Shared::new(ClientBuilder::new().options));
        let free = Arc::<AtomicUsize>::default();
        let task = || {
            Waker::from(Arc::new(NeedsTheLock {
                shared: Arc::clone(&shared),
                free: Arc::clone(&free),
            }))
        };
        let mut place = None;
        for round in 0..3 {
            let waker = task();
            let mut state = shared.lock();
            let before = state.out.room.wait(&mut place, &waker);
            state.bury(before);
            drop(state);
            drop(waker);
            assert_eq!(free.load(Ordering::Relaxed), round, "those before it are gone");
        }
        let mut state = shared.lock();
        let waker = state.out.room.leave(&mut place);
        state.bury(waker);
        drop(state);
        assert_eq!(free.load(Ordering::Relaxed), 3);
    }
}

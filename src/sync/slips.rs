//! Slips on purpose, each a wrong line where it would be made, so that every model shows that it can fail.
//!
//! Owns their names and the choice of one for a thread. Outside the library's own tests with the feature `models` nothing is ever chosen
//! and [`is`] is `false` at compile time. Knows nothing of what the places do.

/// One way to be wrong between threads.
#[allow(
    dead_code,
    reason = "three of them are of rings, which not every platform has"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// A reader registers its waker and sleeps without another look.
    GateLooksOnce,
    /// A reader that saw room in the total looks again and sleeps without a place in the queue.
    GateForgetsQueue,
    /// A reader that was woken for the total stays marked as waiting for it.
    GateStaysQueued,
    /// A permit gives its bytes back by a read and a write.
    PermitInTwoSteps,
    /// A reserve looks at what it has before it has the lock.
    ReserveReadsEarly,
    /// TopicHub asks for Drained and does not look whether there is room already.
    DrainedLooksOnce,
    /// The socket's task sleeps without a look at what was added meanwhile.
    SocketLooksOnce,
    /// A handle that has written does not tell of frames that others added meanwhile.
    WriterForgetsOthers,
    /// A handle does not tell that the socket took only a part of its frame.
    StuckNotTold,
    /// Who waits for room in the out-buffer is not woken when the frames are claimed.
    RoomNotTold,
    /// A connection looks whether something waits for it, and registers its waker afterwards.
    InboxLooksFirst,
    /// A slot is given away under its old key.
    KeyUsedTwice,
    /// A reader of a ring says that it sleeps, and does not look again.
    RingLooksOnce,
    /// A writer to a full ring does the same.
    RoomLooksOnce,
    /// A reader looks whether the writer has room from the bytes that were there before it read.
    RoomToldLate,
}

/// Whether this slip is to be made here.
#[cfg(not(all(test, feature = "models")))]
#[inline(always)]
pub(crate) const fn is(_: Slip) -> bool {
    false
}

#[cfg(all(test, feature = "models"))]
pub(crate) use chosen::{choose, is};

#[cfg(all(test, feature = "models"))]
mod chosen {
    use super::Slip;
    use std::cell::Cell;

    thread_local! {
        // All threads of a model run on the one that explores it.
        static CHOSEN: Cell<Option<Slip>> = const { Cell::new(None) };
    }

    pub(crate) fn is(slip: Slip) -> bool {
        CHOSEN.get() == Some(slip)
    }

    pub(crate) fn choose(slip: Option<Slip>) {
        CHOSEN.set(slip);
    }
}

//! Bugs on purpose, so that the simulation can show that it finds them. Without the feature `planted-bugs` this file does nothing.
//!
//! Each is one wrong line at the place where it would be made. One is chosen for a thread at run time; the code asks [`is`], which is
//! `false` at compile time when the feature is off. Knows nothing of what the places do.

/// One way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A call goes to another peer than the owner.
    WrongOwner,
    /// An answer is taken from a peer that was not given the call.
    AnswerFromAnyone,
    /// An answered call keeps its slot.
    SlotNotReleased,
    /// An answer is written twice.
    DoubleReply,
    /// Publish credit comes back twice.
    CreditTwice,
    /// Publish credit does not come back.
    CreditNever,
    /// A missed event is not counted.
    GapNotCounted,
    /// What was missed is forgotten when the receiver has room again.
    GapNotTold,
    /// Events of one turn change places.
    OrderSwapped,
    /// A retained value stays when a newer one comes.
    RetainedNotReplaced,
    /// The oldest fact of Registry is lost in a rebuild.
    LostAfterRebuild,
    /// Waits are lost in a rebuild.
    WaitLostAfterPanic,
    /// A death is told after the next one owns the name.
    DeathAfterReown,
    /// What an answer was charged is not given back.
    ChargeLeaked,
    /// A callee's deadline passes unnoticed.
    DeadlineIgnored,
    /// A cancel ends another call of the callee.
    CancelWrongTicket,
    /// A cancel does not reach the callee.
    CancelNotPassed,
    /// Messages in pieces bear one number.
    PiecesMixed,
    /// The caller's side does not notice the end of an answer.
    AnswerNeverEnds,
    /// A watch is not told that a name vanished.
    WatcherNotTold,
    /// A wait is not told that its names are there.
    WaitNotTold,
    /// Two members of a queue group hear one event.
    QueueGroupTwice,
    /// A will is published although its peer said goodbye.
    WillAfterGoodbye,
    /// A read permit is never given back.
    PermitLeaked,
    /// A hold does not end.
    HoldNeverReleased,
    /// Events go on after the end of a subscription.
    UnsubscribeIgnored,
    /// A publisher hears itself although it did not want to.
    NoLocalIgnored,
    /// An error says that a call did not run, and it may have.
    RanForgotten,
    /// A call bears the number of another caller.
    OriginForged,
}

impl Bug {
    /// Every one.
    pub const ALL: [Self; 29] = [
        Self::WrongOwner,
        Self::AnswerFromAnyone,
        Self::SlotNotReleased,
        Self::DoubleReply,
        Self::CreditTwice,
        Self::CreditNever,
        Self::GapNotCounted,
        Self::GapNotTold,
        Self::OrderSwapped,
        Self::RetainedNotReplaced,
        Self::LostAfterRebuild,
        Self::WaitLostAfterPanic,
        Self::DeathAfterReown,
        Self::ChargeLeaked,
        Self::DeadlineIgnored,
        Self::CancelWrongTicket,
        Self::CancelNotPassed,
        Self::PiecesMixed,
        Self::AnswerNeverEnds,
        Self::WatcherNotTold,
        Self::WaitNotTold,
        Self::QueueGroupTwice,
        Self::WillAfterGoodbye,
        Self::PermitLeaked,
        Self::HoldNeverReleased,
        Self::UnsubscribeIgnored,
        Self::NoLocalIgnored,
        Self::RanForgotten,
        Self::OriginForged,
    ];
}

#[cfg(feature = "planted-bugs")]
mod on {
    use super::Bug;
    use crate::actors::peer::{PeerRef, ReplyTo};
    use crate::message::{CallId, Ticket};
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static ASKERS: RefCell<HashMap<Ticket, (PeerRef, CallId)>> = RefCell::default();
    }

    /// Chooses the bug of this thread.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
        ASKERS.with_borrow_mut(HashMap::clear);
    }

    pub(in crate::actors) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    pub(in crate::actors) fn remember(ticket: Ticket, reply: &ReplyTo) {
        if is(Bug::AnswerFromAnyone)
            && let Some(asker) = reply.asker()
        {
            ASKERS.with_borrow_mut(|askers| askers.insert(ticket, (asker.clone(), reply.call())));
        }
    }

    pub(in crate::actors) fn asker(ticket: Ticket) -> Option<(PeerRef, CallId)> {
        ASKERS.with_borrow(|askers| askers.get(&ticket).cloned())
    }
}

#[cfg(feature = "planted-bugs")]
pub use on::plant;
#[cfg(feature = "planted-bugs")]
pub(super) use on::{asker, is, remember};

#[cfg(not(feature = "planted-bugs"))]
mod off {
    use super::Bug;
    use crate::actors::peer::{PeerRef, ReplyTo};
    use crate::message::{CallId, Ticket};

    pub(in crate::actors) const fn is(_: Bug) -> bool {
        false
    }

    pub(in crate::actors) const fn remember(_: Ticket, _: &ReplyTo) {}

    pub(in crate::actors) const fn asker(_: Ticket) -> Option<(PeerRef, CallId)> {
        None
    }
}

#[cfg(not(feature = "planted-bugs"))]
pub(super) use off::{asker, is, remember};

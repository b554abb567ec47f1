//! How long a call waits for room in the out-buffer: its deadline begins when it is first polled, and not when it is sent.
//!
//! Owns that moment, the wake-up of those whose time is over, and what is left of a deadline for the other end. It refuses to know what
//! is sent. Called by [`super::exchange`] under the lock, and by the tick.

use super::after::After;
use super::order::{Ticket, Waits, Wants};
use super::outgoing::Outgoing;
use super::state::{GRACE, State};
use crate::error::{CallError, ErrorCode};
use crate::message::Draft;
use crate::sync::slips::{self, Slip};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// When a call is given up that had to wait, and its patience between two answers.
pub(crate) type Until = Option<(Instant, Duration)>;

impl State {
    /// Waits for room or behind others, in the order of the first looks. Returns whether the socket's task is to be woken to keep the
    /// time, and who may go now, to be woken when the lock is released.
    #[cold]
    pub(crate) fn wait_in_order(
        &mut self,
        outgoing: &Outgoing,
        wants: Wants,
        (ticket, until): (&mut Ticket, &mut Until),
        cx: &Context<'_>,
    ) -> (bool, Vec<Waker>) {
        // The tick takes their places from those that nobody polls.
        let (_, mut wake) = self.coarse_now();
        if outgoing.has_an_end() {
            let (expires, patience, finer) = self.times(outgoing, *until);
            *until = Some((expires, patience));
            wake |= finer;
        }
        let over = until.map(|(expires, _)| expires);
        let waits = Waits {
            wants,
            charged: self.is_charged(outgoing),
            until: over,
        };
        let before = self.order.hold(ticket, waits, self.life, cx.waker());
        self.bury(before);
        let mut behind = Vec::new();
        if matches!(wants, Wants::Window(_)) {
            // It may have stood in front of others that want room, which is there.
            self.wake_front(&mut behind);
        }
        (wake, behind)
    }

    /// A request is on its way, or given up. Returns who may go now that it has, to be woken when the lock is released.
    #[inline]
    pub(crate) fn leave_order(&mut self, ticket: &mut Ticket) -> Vec<Waker> {
        let mut behind = Vec::new();
        if let Some(own) = self.order.leave(ticket) {
            self.bury(own);
            self.wake_front(&mut behind);
        }
        behind
    }

    /// Those that are first in the order and may go now. Mostly nobody waits.
    #[inline]
    pub(crate) fn wake_front(&mut self, woken: &mut Vec<Waker>) {
        if !self.order.is_empty() && self.out.has_room() {
            self.order.wake_front(self.call_window > 0, woken);
        }
    }

    /// There may be room in the out-buffer: whoever may use it looks again.
    #[inline]
    pub(crate) fn tell_of_room(&mut self, woken: &mut Vec<Waker>) {
        if self.out.has_room() && !slips::is(Slip::RoomNotTold) {
            self.out.room.drain(woken);
            self.wake_front(woken);
        }
    }

    /// When a request is given up, its patience, and whether the socket's task is to be woken to keep the time.
    pub(crate) fn times(&mut self, outgoing: &Outgoing, until: Until) -> (Instant, Duration, bool) {
        match until {
            Some((expires, patience)) => (expires, patience, self.coarse_now().1),
            None => self.expiry(outgoing.deadline),
        }
    }

    /// Whether the connection on which a request began to wait is still there: what it was for may have ended with it.
    ///
    /// # Errors
    /// NotConnected; not sent.
    #[inline]
    pub(crate) fn check_life(&self, ticket: &Ticket) -> Result<(), CallError> {
        if !ticket.is_of_another(self.life) {
            return Ok(());
        }
        let text = "the connection was lost while this waited to be sent, and there is another one now";
        Err(CallError::new(ErrorCode::NotConnected, text).ran(false))
    }

    /// Whether a call that has waited may still be sent.
    ///
    /// # Errors
    /// Deadline; not sent.
    pub(crate) fn check_time(&self, until: Until) -> Result<(), CallError> {
        if until.is_none_or(|(expires, _)| Instant::now() < expires) {
            return Ok(());
        }
        let text = format!(
            "the deadline passed before the call could be sent: {} takes less than this program sends",
            self.role.other()
        );
        Err(CallError::new(ErrorCode::Deadline, text).ran(false))
    }

    /// The call's frame with what is left of its deadline, when it had to wait.
    pub(crate) fn shorten<'a>(&self, draft: Draft<'a>, until: Until) -> Draft<'a> {
        let Some((expires, _)) = until else {
            return draft;
        };
        let grace = if self.role.is_peer() {
            Duration::ZERO
        } else {
            GRACE
        };
        let left = expires
            .saturating_duration_since(Instant::now())
            .saturating_sub(grace);
        draft.aux(u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1))
    }

    /// Lets those look again whose time may be over. Returns whether anybody waited.
    pub(crate) fn tend_room(&mut self, now: Instant, after: &mut After) -> bool {
        let waited = self.order.until().is_some() || !self.order.is_empty();
        self.order.tick(now, &mut after.wakers);
        self.order.wake_late(now, &mut after.wakers);
        // Somebody may stand in front now because the one before him has lost his place.
        self.wake_front(&mut after.wakers);
        waited
    }

    /// Whether one call more may be open.
    ///
    /// # Errors
    /// TooMany; not sent.
    #[inline]
    pub(crate) fn check_open_calls(&self, outgoing: &Outgoing) -> Result<(), CallError> {
        if self.requests.len() < self.grants.open_calls as usize || self.is_charged(outgoing) {
            return Ok(());
        }
        let (open, how) = (self.requests.len(), self.role.raise("open_calls"));
        let text = format!(
            "{open} calls are open already, the most that {} takes of one connection ({}open_calls); \
             wait for some of them, or {how}",
            self.role.other(),
            self.role.limits()
        );
        Err(CallError::new(ErrorCode::TooMany, text).ran(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::names::Key;
    use crate::client::order::Ticket;
    use crate::client::peer::Role;
    use crate::message::Kind;

    #[test]
    fn a_short_deadline_of_a_call_that_waits_wakes_the_sockets_task_for_a_sooner_tick() {
        for (deadline, wakes) in [(20, true), (30_000, false)] {
            let mut state = State::new(1, Role::Peer, Instant::now());
            // Something else has a deadline already.
            state.ticking = true;
            let outgoing = Outgoing {
                deadline: Some(Duration::from_millis(deadline)),
                ..Outgoing::plain(Kind::Call, Key::EMPTY)
            };
            let (mut ticket, mut until) = (Ticket::new(), None);
            let cx = Context::from_waker(Waker::noop());
            let waiting = (&mut ticket, &mut until);
            let (wake, _) = state.wait_in_order(&outgoing, Wants::Room, waiting, &cx);
            assert_eq!(wake, wakes, "{deadline} ms");
        }
    }
}

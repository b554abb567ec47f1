//! Requests that found no room in the out-buffer, in the order in which they came: one that comes later does not go before them.
//!
//! Owns their numbers, and how often a later one steps back. It refuses to know the buffer and wakes nobody. Used by
//! [`super::exchange`] under the connection's lock.
//!
//! Room that comes wakes all that wait, and until they have looked somebody new would find it first. He steps back instead, and looks
//! again behind them. Only so often: a future that nobody polls any more keeps no other from its way.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

/// How often a request steps back before it goes past those that were woken and have not looked.
const STEPS_BACK: u8 = 16;

/// Who was held back and is not on its way.
#[derive(Debug, Default)]
pub(crate) struct Order {
    held: BTreeSet<NonZeroU64>,
    last: u64,
}

/// The place of one request; none as long as it was never held back.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    number: Option<NonZeroU64>,
    steps: u8,
}

impl Ticket {
    pub(crate) const fn new() -> Self {
        Self {
            number: None,
            steps: 0,
        }
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.number.is_some()
    }
}

impl Order {
    pub(crate) const fn new() -> Self {
        Self {
            held: BTreeSet::new(),
            last: 0,
        }
    }

    /// A request cannot go now: those that come later are behind it.
    pub(crate) fn hold(&mut self, ticket: &mut Ticket) {
        if ticket.number.is_none() {
            self.last = self.last.saturating_add(1);
            ticket.number = NonZeroU64::new(self.last);
            self.held.extend(ticket.number);
        }
    }

    /// Whether a request may go now that there is room. If not, it looks again when those before it have.
    #[inline]
    pub(crate) fn lets(&mut self, ticket: &mut Ticket) -> bool {
        self.held.is_empty() || self.is_next(ticket)
    }

    #[cold]
    fn is_next(&mut self, ticket: &mut Ticket) -> bool {
        let before = self
            .held
            .first()
            .filter(|first| ticket.number.is_none_or(|own| **first < own));
        if before.is_none() {
            return true;
        }
        if ticket.steps < STEPS_BACK {
            ticket.steps = ticket.steps.saturating_add(1);
            self.hold(ticket);
            return false;
        }
        // Nobody polls them: they are behind this one now, and behind nobody else's steps.
        if let Some(own) = ticket.number {
            self.held = self.held.split_off(&own);
        }
        true
    }

    /// A request is on its way, or given up.
    #[inline]
    pub(crate) fn leave(&mut self, ticket: &mut Ticket) {
        if let Some(number) = ticket.number.take() {
            self.held.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_before_those_that_were_held_back() {
        let mut order = Order::new();
        let [mut first, mut second, mut third] = [(); 3].map(|()| Ticket::new());
        assert!(order.lets(&mut first));
        order.hold(&mut first);
        assert!(!order.lets(&mut second));
        assert!(!order.lets(&mut third));
        assert!(order.lets(&mut first));
        order.leave(&mut first);
        assert!(!order.lets(&mut third), "it came behind the second");
        assert!(order.lets(&mut second));
        order.leave(&mut second);
        assert!(order.lets(&mut third));
        order.leave(&mut third);
        assert!(!third.is_held() && order.held.is_empty());
    }

    #[test]
    fn one_that_is_not_polled_is_passed_once_for_all() {
        let mut order = Order::new();
        let [mut silent, mut passing, mut later] = [(); 3].map(|()| Ticket::new());
        order.hold(&mut silent);
        for _ in 0..STEPS_BACK {
            assert!(!order.lets(&mut passing));
        }
        assert!(order.lets(&mut passing));
        order.leave(&mut passing);
        assert!(order.lets(&mut later));
        assert!(order.lets(&mut silent));
        order.leave(&mut silent);
    }
}

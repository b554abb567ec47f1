//! Requests that cannot go yet, in the order in which they came: one that comes later does not go before them.
//!
//! Owns their places and what each is held for. It refuses to know the buffer and the windows, and wakes nobody. Used by
//! [`super::exchange`] under the connection's lock.
//!
//! Room that comes wakes all that wait, and until they have looked somebody new would find it first. He is held as well, and woken when
//! the one before him has gone. A future that nobody polls any more keeps no other from its way: who is woken and does not look for two
//! ticks of the connection's clock loses his place.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Bound;
use std::time::{Duration, Instant};

/// A tick is never shorter: what a task may take to look, on a machine that has other things to do.
const TICK: Duration = Duration::from_millis(250);

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Room in the out-buffer: nobody goes before it.
    Room,
    /// The other program's window for calls without an answer: nobody of the same protocol goes before it. Those of others need not
    /// wait, and must not: what they bring may be what opens the window.
    Window(u64),
}

/// Who is held and not on its way.
#[derive(Debug, Default)]
pub(crate) struct Order {
    held: BTreeMap<NonZeroU64, Held>,
    last: u64,
    ticked: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    wants: Wants,
    /// The round of the list of wakers in which it waits; in a later one it was woken.
    round: u64,
    /// It was woken a tick ago and has not looked.
    silent: bool,
}

/// The place of one request; none as long as it was never held.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: Option<NonZeroU64>,
    /// The connection on which it was held first.
    life: u64,
}

impl Ticket {
    pub(crate) const fn new() -> Self {
        Self {
            number: None,
            life: 0,
        }
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.number.is_some()
    }

    /// Whether it was held on another connection than this one.
    pub(crate) const fn is_of_another(&self, life: u64) -> bool {
        self.is_held() && self.life != life
    }
}

impl Order {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What a request to this protocol has to wait for because somebody before it does.
    pub(crate) fn before(&self, ticket: &Ticket, protocol: u64) -> Option<Wants> {
        let own = ticket.number.map_or(Bound::Unbounded, Bound::Excluded);
        let mut before = self.held.range((Bound::Unbounded, own));
        before.find_map(|(_, held)| match held.wants {
            Wants::Room => Some(Wants::Room),
            Wants::Window(other) => (other == protocol).then_some(held.wants),
        })
    }

    /// A request waits from this round on, on this connection: those that come later are behind it.
    pub(crate) fn hold(&mut self, ticket: &mut Ticket, wants: Wants, (round, life): (u64, u64)) {
        let number = *ticket.number.get_or_insert_with(|| {
            ticket.life = life;
            self.last = self.last.saturating_add(1);
            NonZeroU64::new(self.last).unwrap_or(NonZeroU64::MAX)
        });
        let held = Held {
            wants,
            round,
            silent: false,
        };
        self.held.insert(number, held);
    }

    /// A request is on its way, or given up. `true`: others may have waited behind it.
    pub(crate) fn leave(&mut self, ticket: &mut Ticket) -> bool {
        let was_held = ticket
            .number
            .take()
            .is_some_and(|number| self.held.remove(&number).is_some());
        was_held && !self.held.is_empty()
    }

    /// Takes their places from those that were woken two ticks ago and have not looked.
    pub(crate) fn tick(&mut self, round: u64, now: Instant) {
        let early = |last| now.saturating_duration_since(last) < TICK;
        if self.held.is_empty() || self.ticked.is_some_and(early) {
            return;
        }
        self.ticked = Some(now);
        self.held.retain(|_, held| {
            let silent = held.round != round;
            !(std::mem::replace(&mut held.silent, silent) && silent)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_before_those_that_wait_for_room() {
        let mut order = Order::default();
        let [mut first, mut second, mut third] = [(); 3].map(|()| Ticket::new());
        assert_eq!(order.before(&first, 1), None);
        order.hold(&mut first, Wants::Room, (0, 0));
        for ticket in [&mut second, &mut third] {
            let wants = order.before(ticket, 2).unwrap();
            order.hold(ticket, wants, (0, 0));
        }
        for round in 1..100 {
            assert_eq!(order.before(&second, 2), Some(Wants::Room));
            order.hold(&mut second, Wants::Room, (round, 0));
            assert_eq!(order.before(&third, 3), Some(Wants::Room));
            assert_eq!(order.before(&first, 1), None);
        }
        assert!(order.leave(&mut first));
        assert_eq!(order.before(&second, 2), None);
        assert_eq!(
            order.before(&third, 2),
            Some(Wants::Room),
            "it came behind the second"
        );
        assert!(order.leave(&mut second));
        assert_eq!(order.before(&third, 3), None);
        assert!(!order.leave(&mut third), "nobody is behind it");
        assert!(!third.is_held() && order.is_empty());
    }

    #[test]
    fn a_spent_window_holds_its_own_protocol_alone() {
        let mut order = Order::default();
        let [mut tells, mut asks] = [(); 2].map(|()| Ticket::new());
        order.hold(&mut tells, Wants::Window(7), (0, 0));
        assert_eq!(order.before(&Ticket::new(), 8), None);
        assert_eq!(order.before(&Ticket::new(), 7), Some(Wants::Window(7)));
        order.hold(&mut asks, Wants::Window(7), (0, 0));
        assert_eq!(
            order.before(&Ticket::new(), 8),
            None,
            "nor behind those that wait behind it"
        );
        order.leave(&mut tells);
        assert_eq!(order.before(&asks, 7), None);
    }

    #[test]
    fn one_that_is_woken_and_not_polled_loses_its_place_and_no_other_does() {
        let mut order = Order::default();
        let [mut silent, mut late, mut waits] = [(); 3].map(|()| Ticket::new());
        for ticket in [&mut silent, &mut late, &mut waits] {
            order.hold(ticket, Wants::Room, (0, 0));
        }
        // They are woken; the third waits again at once, the second after a tick, the first never.
        order.hold(&mut waits, Wants::Room, (1, 0));
        let start = Instant::now();
        for soon in 0..10 {
            order.tick(1, start + Duration::from_millis(soon));
        }
        assert_eq!(order.before(&late, 0), Some(Wants::Room));
        order.hold(&mut late, Wants::Room, (1, 0));
        order.tick(1, start + TICK);
        assert_eq!(order.before(&late, 0), None);
        assert_eq!(order.before(&waits, 0), Some(Wants::Room), "behind the second");
        assert!(!order.leave(&mut silent), "it has no place to give up");
        order.tick(1, start + TICK * 2);
        assert_eq!(order.held.len(), 2, "who waits in this round was not woken");
    }
}

//! Requests that cannot go yet, in the order in which they came: one that comes later does not go before them.
//!
//! Owns their places, what each is held for and how it is woken. It refuses to know the buffer and the windows. Used by
//! [`super::exchange`] under the connection's lock.
//!
//! Only those in front are woken, when what they wait for has come and when the one before them has gone: a command costs one wake-up
//! however many wait behind it. Until the first has looked somebody new would find the room before it, and is held as well. A future
//! that nobody polls any more keeps no other from its way: who is woken and does not look for two ticks of the connection's clock loses
//! his place.

use super::waiters::replace;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::task::Waker;
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

/// A request that has to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) wants: Wants,
    /// It needs the window itself, and does not only stand behind one that does.
    pub(crate) charged: bool,
    /// When it gives up.
    pub(crate) until: Option<Instant>,
}

/// Where a request stands. Numbers grow in the order in which they came.
type Number = NonZeroU64;

/// Who is held and not on its way.
#[derive(Debug, Default)]
pub(crate) struct Order {
    held: BTreeMap<Number, Held>,
    /// Those that want room.
    room: BTreeSet<Number>,
    /// Those that want a window, by protocol; no set is empty.
    windows: BTreeMap<u64, BTreeSet<Number>>,
    last: u64,
    ticked: Option<Instant>,
    /// When the first of them gives up, or before.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    waits: Waits,
    /// `None`: it was woken and has not looked.
    waker: Option<Waker>,
    /// So it was a tick ago.
    silent: bool,
}

/// The place of one request; none as long as it was never held.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: Option<Number>,
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
        let first = |those: &BTreeSet<Number>| {
            let earlier = |first: &Number| ticket.number.is_none_or(|own| *first < own);
            those.first().copied().filter(earlier)
        };
        let room = first(&self.room);
        let window = self.windows.get(&protocol).and_then(first);
        match (room, window) {
            (None, None) => None,
            (Some(room), Some(window)) if window < room => Some(Wants::Window(protocol)),
            (Some(_), _) => Some(Wants::Room),
            (None, Some(_)) => Some(Wants::Window(protocol)),
        }
    }

    /// A request waits, on this connection, until it is woken or its time is over: those that come later are behind it. Drop what it
    /// returns when no lock is held.
    #[must_use]
    pub(crate) fn hold(
        &mut self,
        ticket: &mut Ticket,
        waits: Waits,
        life: u64,
        waker: &Waker,
    ) -> Option<Waker> {
        let number = *ticket.number.get_or_insert_with(|| {
            ticket.life = life;
            self.last = self.last.saturating_add(1);
            Number::new(self.last).unwrap_or(Number::MAX)
        });
        let mut own = self.take_out(number).and_then(|held| held.waker);
        let before = replace(&mut own, waker);
        match waits.wants {
            Wants::Room => self.room.insert(number),
            Wants::Window(protocol) => self.windows.entry(protocol).or_default().insert(number),
        };
        self.until = earlier(self.until, waits.until);
        let held = Held {
            waits,
            waker: own,
            silent: false,
        };
        self.held.insert(number, held);
        before
    }

    fn take_out(&mut self, number: Number) -> Option<Held> {
        let held = self.held.remove(&number)?;
        match held.waits.wants {
            Wants::Room => {
                self.room.remove(&number);
            }
            Wants::Window(protocol) => {
                let those = self.windows.get_mut(&protocol);
                if those.is_some_and(|those| those.remove(&number) && those.is_empty()) {
                    self.windows.remove(&protocol);
                }
            }
        }
        Some(held)
    }

    /// A request is on its way, or given up. `Some`: it stood here, and those in front are to be woken; drop its waker when no lock is
    /// held.
    #[must_use]
    pub(crate) fn leave(&mut self, ticket: &mut Ticket) -> Option<Option<Waker>> {
        let number = ticket.number.take()?;
        self.take_out(number).map(|held| held.waker)
    }

    /// There is room: moves those to `woken` that may go now, if they were not woken before. Who needs a window may only when it is
    /// `open`.
    pub(crate) fn wake_front(&mut self, open: bool, woken: &mut Vec<Waker>) {
        let room = self.room.first();
        let windows = self.windows.values().filter_map(BTreeSet::first);
        // Those behind somebody who wants room have to wait for him.
        let windows = windows.filter(|first| room.is_none_or(|room| *first < room));
        for number in windows.chain(room) {
            let held = self.held.get_mut(number);
            // Of those that want room it is looked at when they have it.
            let held = held.filter(|held| open || !held.waits.charged || held.waits.wants == Wants::Room);
            woken.extend(held.and_then(|held| held.waker.take()));
        }
    }

    /// Whoever waits looks again: there is something else to see than room.
    pub(crate) fn wake_all(&mut self, woken: &mut Vec<Waker>) {
        woken.extend(self.held.values_mut().filter_map(|held| held.waker.take()));
    }

    /// When somebody's time may be over.
    pub(crate) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Wakes those whose time is over.
    pub(crate) fn wake_late(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        if self.until.take_if(|until| *until <= now).is_none() {
            return;
        }
        for held in self.held.values_mut() {
            match held.waits.until {
                Some(until) if until <= now => woken.extend(held.waker.take()),
                later => self.until = earlier(self.until, later),
            }
        }
    }

    /// Takes their places from those that were woken two ticks ago and have not looked. As soon as one has not for a tick, all are woken:
    /// so those that nobody polls lose their places together, and not one after the other.
    pub(crate) fn tick(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        let early = |last| now.saturating_duration_since(last) < TICK;
        if self.held.is_empty() || self.ticked.is_some_and(early) {
            return;
        }
        self.ticked = Some(now);
        let silent = |(number, held): (&Number, &mut Held)| {
            let silent = held.waker.is_none();
            (std::mem::replace(&mut held.silent, silent) && silent).then_some(*number)
        };
        let gone: Vec<Number> = self.held.iter_mut().filter_map(silent).collect();
        for number in gone {
            self.take_out(number);
        }
        if self.held.values().any(|held| held.silent) {
            self.wake_all(woken);
        }
    }
}

/// The first of two moments, as far as there are any.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// A task that counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call without an answer.
    const fn charged(wants: Wants) -> Waits {
        Waits {
            wants,
            charged: true,
            until: None,
        }
    }

    fn hold(order: &mut Order, ticket: &mut Ticket, wants: Wants) {
        drop(order.hold(ticket, charged(wants), 0, Waker::noop()));
    }

    fn woken(order: &mut Order, open: bool) -> usize {
        let mut woken = Vec::new();
        order.wake_front(open, &mut woken);
        woken.len()
    }

    #[test]
    fn nobody_goes_before_those_that_wait_for_room() {
        let mut order = Order::default();
        let [mut first, mut second, mut third] = [(); 3].map(|()| Ticket::new());
        assert_eq!(order.before(&first, 1), None);
        hold(&mut order, &mut first, Wants::Room);
        for ticket in [&mut second, &mut third] {
            let wants = order.before(ticket, 2).unwrap();
            hold(&mut order, ticket, wants);
        }
        for _ in 1..100 {
            assert_eq!(order.before(&second, 2), Some(Wants::Room));
            hold(&mut order, &mut second, Wants::Room);
            assert_eq!(order.before(&third, 3), Some(Wants::Room));
            assert_eq!(order.before(&first, 1), None);
        }
        assert!(order.leave(&mut first).is_some());
        assert_eq!(order.before(&second, 2), None);
        assert_eq!(
            order.before(&third, 2),
            Some(Wants::Room),
            "it came behind the second"
        );
        assert!(order.leave(&mut second).is_some());
        assert_eq!(order.before(&third, 3), None);
        assert!(order.leave(&mut third).is_some());
        assert!(order.leave(&mut third).is_none() && !third.is_held() && order.is_empty());
    }

    #[test]
    fn a_spent_window_holds_its_own_protocol_alone() {
        let mut order = Order::default();
        let [mut tells, mut asks] = [(); 2].map(|()| Ticket::new());
        hold(&mut order, &mut tells, Wants::Window(7));
        assert_eq!(order.before(&Ticket::new(), 8), None);
        assert_eq!(order.before(&Ticket::new(), 7), Some(Wants::Window(7)));
        hold(&mut order, &mut asks, Wants::Window(7));
        assert_eq!(
            order.before(&Ticket::new(), 8),
            None,
            "nor behind those that wait behind it"
        );
        drop(order.leave(&mut tells));
        assert_eq!(order.before(&asks, 7), None);
    }

    #[test]
    fn a_call_with_an_answer_goes_when_the_one_before_it_has_gone_or_is_given_up() {
        let mut order = Order::default();
        let [mut tells, mut asks, mut more] = [(); 3].map(|()| Ticket::new());
        hold(&mut order, &mut tells, Wants::Window(7));
        let waits = Waits {
            charged: false,
            ..charged(order.before(&asks, 7).unwrap())
        };
        drop(order.hold(&mut asks, waits, 0, Waker::noop()));
        hold(&mut order, &mut more, Wants::Window(7));
        assert_eq!(woken(&mut order, false), 0, "the window is spent");
        drop(order.leave(&mut tells));
        assert_eq!(woken(&mut order, false), 1, "which it does not need");
        drop(order.leave(&mut asks));
        assert_eq!(woken(&mut order, false), 0, "the third does");
        assert_eq!(woken(&mut order, true), 1);
    }

    #[test]
    fn one_that_is_woken_and_not_polled_loses_its_place_and_no_other_does() {
        let mut order = Order::default();
        let [mut silent, mut late, mut waits] = [(); 3].map(|()| Ticket::new());
        for ticket in [&mut silent, &mut late, &mut waits] {
            hold(&mut order, ticket, Wants::Room);
        }
        let start = Instant::now();
        let tick = |order: &mut Order, now| {
            let mut woken = Vec::new();
            order.tick(now, &mut woken);
            woken.len()
        };
        assert_eq!(tick(&mut order, start), 0, "nobody was woken");
        // The first is woken, and never looks.
        assert_eq!(woken(&mut order, true), 1);
        for soon in 0..10 {
            assert_eq!(tick(&mut order, start + Duration::from_millis(soon)), 0);
        }
        // So all are woken. The third waits again at once, the second after a tick.
        assert_eq!(tick(&mut order, start + TICK), 2);
        hold(&mut order, &mut waits, Wants::Room);
        assert_eq!(order.before(&late, 0), Some(Wants::Room));
        assert_eq!(
            tick(&mut order, start + TICK * 2),
            1,
            "for the second has not looked"
        );
        assert_eq!(order.before(&late, 0), None);
        assert!(order.leave(&mut silent).is_none(), "it has no place to give up");
        hold(&mut order, &mut late, Wants::Room);
        hold(&mut order, &mut waits, Wants::Room);
        assert_eq!(order.before(&waits, 0), Some(Wants::Room), "behind the second");
        for later in 3..10 {
            assert_eq!(tick(&mut order, start + TICK * later), 0);
        }
        assert_eq!(order.held.len(), 2, "who waits was not woken");
    }

    #[test]
    fn a_thousand_that_wait_cost_one_wake_up_each() {
        const TASKS: usize = 1_000;
        for wants in [Wants::Room, Wants::Window(7)] {
            let mut order = Order::default();
            let tasks: Vec<Arc<Task>> = (0..TASKS).map(|_| Arc::default()).collect();
            let wakers = tasks.iter().map(|task| Waker::from(Arc::clone(task)));
            let mut held: Vec<Ticket> = wakers
                .map(|waker| {
                    let mut ticket = Ticket::new();
                    drop(order.hold(&mut ticket, charged(wants), 0, &waker));
                    ticket
                })
                .collect();
            assert_eq!(woken(&mut order, false), usize::from(wants == Wants::Room));
            for (index, ticket) in held.iter_mut().enumerate() {
                // However often room comes, who was woken and has not looked is woken once.
                for _ in 0..3 {
                    let mut woken = Vec::new();
                    order.wake_front(true, &mut woken);
                    woken.into_iter().for_each(Waker::wake);
                }
                assert_eq!(order.before(ticket, 7), None, "it is {index}'s turn");
                drop(order.leave(ticket));
            }
            let counts = tasks.iter().map(|task| task.0.load(Ordering::Relaxed));
            // The first was woken by hand above, where room alone was enough for it.
            let first = usize::from(wants != Wants::Room);
            assert_eq!(counts.sum::<usize>(), TASKS - 1 + first);
        }
    }

    #[test]
    fn each_protocol_has_a_front_of_its_own_and_all_wait_behind_who_wants_room() {
        let mut order = Order::default();
        let mut tickets = [(); 6].map(|()| Ticket::new());
        let wants = [
            Wants::Window(1),
            Wants::Window(2),
            Wants::Window(1),
            Wants::Room,
            Wants::Room,
            Wants::Window(3),
        ];
        for (ticket, wants) in tickets.iter_mut().zip(wants) {
            hold(&mut order, ticket, wants);
        }
        assert_eq!(woken(&mut order, false), 1, "the fourth");
        assert_eq!(woken(&mut order, true), 2, "the first and the second");
        assert_eq!(woken(&mut order, true), 0, "none has looked");
        drop(order.leave(&mut tickets[0]));
        assert_eq!(woken(&mut order, true), 1, "the third");
        drop(order.leave(&mut tickets[3]));
        assert_eq!(woken(&mut order, true), 1, "the fifth");
        drop(order.leave(&mut tickets[4]));
        assert_eq!(woken(&mut order, true), 1, "the sixth");
    }

    #[test]
    fn one_that_finds_room_and_wants_a_window_makes_way_for_the_next() {
        let mut order = Order::default();
        let [mut tells, mut asks] = [(); 2].map(|()| Ticket::new());
        hold(&mut order, &mut tells, Wants::Room);
        hold(&mut order, &mut asks, Wants::Room);
        assert_eq!(woken(&mut order, false), 1);
        hold(&mut order, &mut tells, Wants::Window(7));
        assert_eq!(order.before(&asks, 8), None);
        assert_eq!(woken(&mut order, false), 1, "the other");
        assert_eq!(order.before(&asks, 7), Some(Wants::Window(7)));
    }

    #[test]
    fn those_whose_time_is_over_are_woken_and_the_next_time_is_known() {
        let mut order = Order::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let until = [Some(start + second), None, Some(start + 3 * second)];
        let mut tickets = [(); 3].map(|()| Ticket::new());
        for (ticket, until) in tickets.iter_mut().zip(until) {
            let waits = Waits {
                until,
                ..charged(Wants::Room)
            };
            drop(order.hold(ticket, waits, 0, Waker::noop()));
        }
        let mut woken = Vec::new();
        order.wake_late(start, &mut woken);
        assert_eq!(order.until(), until[0]);
        order.wake_late(start + second, &mut woken);
        assert_eq!(order.until(), until[2]);
        assert_eq!(woken.len(), 1);
        order.wake_late(start + 3 * second, &mut woken);
        assert_eq!(order.until(), None);
        assert_eq!(woken.len(), 2);
    }
}

//! Tasks that wait for the same thing, woken together.
//!
//! Owns wakers and nothing else. A task that is polled again before the thing happened replaces its own waker, so
//! that the list has at most one entry per waiting task, and one that is dropped takes its own away. Used under the connection's lock.

use std::task::Waker;

/// A list of waiting tasks.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// `None`: whoever stood there has left.
    wakers: Vec<Option<Waker>>,
    round: u64,
}

/// Where a task stands in the list, to find its place again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    round: u64,
    index: usize,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self {
            wakers: Vec::new(),
            round: 0,
        }
    }

    /// Adds a task, or replaces the waker of one that stands in the list already. Returns that one, as [`replace`] does.
    #[must_use]
    pub(crate) fn wait(&mut self, place: &mut Option<Place>, waker: &Waker) -> Option<Waker> {
        if let Some(slot) = self.slot(*place) {
            return replace(slot, waker);
        }
        *place = Some(Place {
            round: self.round,
            index: self.wakers.len(),
        });
        self.wakers.push(Some(waker.clone()));
        None
    }

    /// Whether nobody waits; places of those who have left may still be there.
    pub(crate) const fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Takes a task out that no longer waits. Drop what it returns after the lock is released: it may be the last
    /// that holds the task.
    #[must_use]
    pub(crate) fn leave(&mut self, place: &mut Option<Place>) -> Option<Waker> {
        let waker = self.slot(place.take())?.take();
        while self.wakers.pop_if(|last| last.is_none()).is_some() {}
        waker
    }

    fn slot(&mut self, place: Option<Place>) -> Option<&mut Option<Waker>> {
        let place = place.filter(|place| place.round == self.round)?;
        self.wakers.get_mut(place.index)
    }

    /// Moves all tasks to `woken`; wake them after the lock is released.
    pub(crate) fn drain(&mut self, woken: &mut Vec<Waker>) {
        if !self.wakers.is_empty() {
            self.round = self.round.wrapping_add(1);
            woken.extend(self.wakers.drain(..).flatten());
        }
    }
}

/// Notes who waits now. Drop what it returns when no lock is held: it may be the last that holds another task, whose end may need
/// the lock.
#[must_use]
pub(crate) fn replace(slot: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match slot {
        Some(before) if before.will_wake(waker) => None,
        _ => slot.replace(waker.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stands_in_the_list_once_per_round() {
        let mut waiters = Waiters::new();
        let (mut first, mut second) = (None, None);
        drop(waiters.wait(&mut first, Waker::noop()));
        drop(waiters.wait(&mut first, Waker::noop()));
        drop(waiters.wait(&mut second, Waker::noop()));
        let mut woken = Vec::new();
        waiters.drain(&mut woken);
        assert_eq!(woken.len(), 2);
        drop(waiters.wait(&mut first, Waker::noop()));
        waiters.drain(&mut woken);
        assert_eq!(woken.len(), 3);
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let mut waiters = Waiters::new();
        let mut stays = None;
        drop(waiters.wait(&mut stays, Waker::noop()));
        for _ in 0..10 {
            let (mut first, mut second) = (None, None);
            drop(waiters.wait(&mut first, Waker::noop()));
            drop(waiters.wait(&mut second, Waker::noop()));
            assert!(waiters.leave(&mut first).is_some());
            assert!(waiters.leave(&mut first).is_none());
            assert!(waiters.leave(&mut second).is_some());
            assert_eq!(waiters.wakers.len(), 1);
        }
        let mut woken = Vec::new();
        waiters.drain(&mut woken);
        assert_eq!(woken.len(), 1);
        assert!(waiters.leave(&mut stays).is_none(), "that round is over");
    }
}

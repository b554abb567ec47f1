//! Tasks that wait for the same thing, woken together.
//!
//! Owns wakers and nothing else. A task that is polled again before the thing happened replaces its own waker, so
//! that the list has at most one entry per waiting task. Used under the connection's lock.

use std::task::Waker;

/// A list of waiting tasks.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: Vec<Waker>,
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

    /// Adds a task, or replaces the waker of one that stands in the list already.
    pub(crate) fn wait(&mut self, place: &mut Option<Place>, waker: &Waker) {
        if let Some(slot) = place
            .filter(|place| place.round == self.round)
            .and_then(|place| self.wakers.get_mut(place.index))
        {
            slot.clone_from(waker);
            return;
        }
        *place = Some(Place {
            round: self.round,
            index: self.wakers.len(),
        });
        self.wakers.push(waker.clone());
    }

    /// Moves all tasks to `woken`; wake them after the lock is released.
    pub(crate) fn drain(&mut self, woken: &mut Vec<Waker>) {
        if !self.wakers.is_empty() {
            self.round = self.round.wrapping_add(1);
            woken.append(&mut self.wakers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stands_in_the_list_once_per_round() {
        let mut waiters = Waiters::new();
        let (mut first, mut second) = (None, None);
        waiters.wait(&mut first, Waker::noop());
        waiters.wait(&mut first, Waker::noop());
        waiters.wait(&mut second, Waker::noop());
        let mut woken = Vec::new();
        waiters.drain(&mut woken);
        assert_eq!(woken.len(), 2);
        waiters.wait(&mut first, Waker::noop());
        waiters.drain(&mut woken);
        assert_eq!(woken.len(), 3);
    }
}

//! A bounded queue from the socket's thread to one reader, which never blocks the writer.
//!
//! Owns the items and one waker. When it is full the newest item is not taken and the reader is told how many it
//! missed. Used for notices and connection events; subscriptions have their own, which counts bytes.

use super::waiters::replace;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What the reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item<T> {
    /// An item.
    Next(T),
    /// So many items did not fit before the next one.
    Missed(u64),
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    limit: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    missed: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) const fn new(limit: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            missed: 0,
            waker: None,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            limit,
        }
    }

    /// Adds an item. When the queue is full, or was since the reader last looked, it is counted as missed.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.missed > 0 || state.items.len() >= self.limit {
            state.missed = state.missed.saturating_add(1);
            return;
        }
        state.items.push_back(item);
        wake(state);
    }

    /// The same, for who holds a lock: returns whom to wake once that is given back. What comes behind the end is kept as well, for a
    /// reader who asks again.
    #[must_use]
    pub(crate) fn add(&self, item: T) -> Option<Waker> {
        let mut state = self.lock();
        if state.missed > 0 || state.items.len() >= self.limit {
            state.missed = state.missed.saturating_add(1);
        } else {
            state.items.push_back(item);
        }
        state.waker.take()
    }

    /// No item follows: the reader ends after what is there.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
    }

    /// The same, for who holds a lock: returns whom to wake once that is given back.
    #[must_use]
    pub(crate) fn finish(&self) -> Option<Waker> {
        let mut state = self.lock();
        state.closed = true;
        state.waker.take()
    }

    /// The next item; `None` at the end.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Option<Item<T>>> {
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(Some(Item::Next(item)));
        }
        if state.missed > 0 {
            return Poll::Ready(Some(Item::Missed(std::mem::take(&mut state.missed))));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        let before = replace(&mut state.waker, cx.waker());
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// The next item that is there.
    #[cfg(feature = "bus")]
    pub(crate) fn try_next(&self) -> Option<Item<T>> {
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            return Some(Item::Next(item));
        }
        let missed = std::mem::take(&mut state.missed);
        (missed > 0).then_some(Item::Missed(missed))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let queue = Queue::new(2);
        (1..=4).for_each(|item| queue.push(item));
        let mut seen = Vec::new();
        let cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(item)) = queue.poll(&cx) {
            seen.push(item);
        }
        assert_eq!(seen, [Item::Next(1), Item::Next(2), Item::Missed(2)]);
        queue.push(5);
        queue.close();
        queue.push(6);
        assert_eq!(queue.poll(&cx), Poll::Ready(Some(Item::Next(5))));
        assert_eq!(queue.poll(&cx), Poll::Ready(None));
        assert!(queue.add(7).is_none() && queue.finish().is_none());
        assert_eq!(
            queue.poll(&cx),
            Poll::Ready(Some(Item::Next(7))),
            "for who asks again"
        );
    }
}

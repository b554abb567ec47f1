//! Calls that wait for their answers, by their tickets.
//!
//! Owns how many are remembered, and that the oldest are forgotten. It refuses to know what is remembered of them. Called by `answers` and
//! `line`.

use std::collections::{HashMap, VecDeque};

/// Calls whose answers are waited for; beyond that the oldest are forgotten.
const CALLS_MAX: usize = 65_536;

/// Calls that were made and not answered for good.
#[derive(Debug)]
pub(crate) struct OpenCalls<T> {
    open: HashMap<u64, T>,
    /// Oldest first; of those that were answered, some are left in between.
    order: VecDeque<u64>,
}

impl<T> Default for OpenCalls<T> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T> OpenCalls<T> {
    /// A call was made.
    pub(crate) fn insert(&mut self, ticket: u64, call: T) {
        if self.open.insert(ticket, call).is_none() {
            self.order.push_back(ticket);
        }
        while self.open.len() > CALLS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        // Behind a call that takes long, others come and go: as many of these as may be open make it worth a look at all.
        if self.order.len() > CALLS_MAX.saturating_mul(2) {
            self.order.retain(|ticket| self.open.contains_key(ticket));
        }
    }

    /// What is remembered of it.
    pub(crate) fn get(&self, ticket: u64) -> Option<&T> {
        self.open.get(&ticket)
    }

    /// It was answered for good.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        let call = self.open.remove(&ticket);
        while self
            .order
            .front()
            .is_some_and(|oldest| !self.open.contains_key(oldest))
        {
            self.order.pop_front();
        }
        call
    }

    /// Nothing is waited for.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_remembered_however_many_were_answered_since() {
        let mut calls = OpenCalls::default();
        calls.insert(0, "long");
        for ticket in 1..10 * CALLS_MAX as u64 {
            calls.insert(ticket, "short");
            assert_eq!(calls.remove(ticket), Some("short"));
            assert!(calls.order.len() <= 2 * CALLS_MAX);
        }
        assert_eq!(calls.get(0), Some(&"long"));
        assert_eq!(calls.remove(0), Some("long"));
        assert_eq!((calls.open.len(), calls.order.len()), (0, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut calls = OpenCalls::default();
        for ticket in 0..CALLS_MAX as u64 + 5 {
            calls.insert(ticket, ());
        }
        assert_eq!((calls.open.len(), calls.order.len()), (CALLS_MAX, CALLS_MAX));
        assert_eq!((calls.get(4), calls.get(5)), (None, Some(&())));
        calls.clear();
        assert_eq!(calls.get(5), None);
    }
}

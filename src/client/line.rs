//! The calls in front of one object: which is the next, and which have to let another one end first.
//!
//! Owns the order. Without lanes it is that of arrival. Of the calls of one lane only one at a time may run; those behind it wait
//! until it is done, while calls of other lanes pass them by. Pure: it refuses to know what a call is. Asked by [`super::running`].
//!
//! A lane is known as long as one of its calls stands in the line or runs, and is forgotten with the last of them.

use crate::message::PeerId;
use std::collections::{HashMap, VecDeque};

/// Calls that must not run beside each other: those of one caller to one part of the object.
pub(crate) type Lane = (PeerId, u64);

/// What waits. `T` is a call.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// What may run, each with the lane that it holds.
    ready: VecDeque<(Option<Lane>, T)>,
    /// The lanes that a call holds, with what waits for it.
    lanes: HashMap<Lane, VecDeque<T>>,
    /// How much waits for other calls.
    parked: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            lanes: HashMap::new(),
            parked: 0,
        }
    }
}

impl<T> Line<T> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.ready.len().saturating_add(self.parked)
    }

    /// Whether nothing that waits may run.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// How many wait for the call that holds a lane.
    pub(crate) fn behind(&self, lane: Lane) -> usize {
        self.lanes.get(&lane).map_or(0, VecDeque::len)
    }

    /// Whether no call holds the lane.
    pub(crate) fn is_free(&self, lane: Lane) -> bool {
        !self.lanes.contains_key(&lane)
    }

    /// A call that has not stood in the line holds a lane, which is free.
    pub(crate) fn hold(&mut self, lane: Lane) {
        self.lanes.entry(lane).or_default();
    }

    /// Adds a call, which holds its lane from now on or waits for who does.
    pub(crate) fn push(&mut self, lane: Option<Lane>, call: T) {
        if let Some(lane) = lane {
            if let Some(waiting) = self.lanes.get_mut(&lane) {
                self.parked = self.parked.saturating_add(1);
                return waiting.push_back(call);
            }
            self.hold(lane);
        }
        self.ready.push_back((lane, call));
    }

    /// The next call that may run. It holds its lane until [`release`](Self::release).
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.ready.pop_front().map(|(_, call)| call)
    }

    /// The call that held a lane is done. The next one of the lane takes its turn behind what may run already.
    pub(crate) fn release(&mut self, lane: Lane) {
        let Some(waiting) = self.lanes.get_mut(&lane) else {
            return;
        };
        match waiting.pop_front() {
            Some(next) => {
                self.parked = self.parked.saturating_sub(1);
                self.ready.push_back((Some(lane), next));
            }
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    /// Takes out what nobody wants any more, but for what holds a lane.
    pub(crate) fn purge(&mut self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut gone = Vec::new();
        let ready = std::mem::take(&mut self.ready);
        for (lane, call) in ready {
            match lane.is_none() && unwanted(&call) {
                true => gone.push(call),
                false => self.ready.push_back((lane, call)),
            }
        }
        for waiting in self.lanes.values_mut() {
            let before = waiting.len();
            for call in std::mem::take(waiting) {
                match unwanted(&call) {
                    true => gone.push(call),
                    false => waiting.push_back(call),
                }
            }
            let left = before.saturating_sub(waiting.len());
            self.parked = self.parked.saturating_sub(left);
        }
        gone
    }

    /// Takes out all that waits. The lanes of running calls stay theirs.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len());
        for (lane, call) in self.ready.drain(..) {
            all.push(call);
            if let Some(waiting) = lane.and_then(|lane| self.lanes.remove(&lane)) {
                all.extend(waiting);
            }
        }
        self.lanes
            .values_mut()
            .for_each(|waiting| all.extend(waiting.drain(..)));
        self.parked = 0;
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn lane(caller: u64) -> Lane {
        (PeerId(caller), 7)
    }

    #[test]
    fn without_lanes_the_order_is_that_of_arrival() {
        let mut line = Line::default();
        (0..5).for_each(|call| line.push(None, call));
        assert_eq!(
            std::iter::from_fn(|| line.pop()).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn who_waits_for_another_lets_others_pass() {
        let mut line = Line::default();
        for (caller, call) in [(1, "1a"), (1, "1b"), (2, "2a"), (1, "1c")] {
            line.push(Some(lane(caller)), call);
        }
        assert_eq!((line.len(), line.behind(lane(1))), (4, 2));
        assert_eq!(
            (line.pop(), line.pop(), line.pop()),
            (Some("1a"), Some("2a"), None)
        );
        line.release(lane(1));
        line.push(Some(lane(1)), "1d");
        assert_eq!((line.pop(), line.pop()), (Some("1b"), None));
        line.release(lane(2));
        assert!(line.is_free(lane(2)) && !line.is_free(lane(1)));
        assert_eq!(line.clear(), ["1c", "1d"]);
        line.release(lane(1));
        assert!(line.is_free(lane(1)), "it is forgotten when it is idle");
    }

    #[test]
    fn what_nobody_wants_is_taken_out_and_the_rest_keeps_its_order() {
        let mut line = Line::default();
        (0..6).for_each(|call| line.push(None, call));
        (10..16).for_each(|call| line.push(Some(lane(1)), call));
        let mut gone = line.purge(|call| call % 2 == 0);
        gone.sort_unstable();
        assert_eq!((gone, line.len()), (vec![0, 2, 4, 12, 14], 7));
        let mut order = Vec::new();
        while let Some(call) = line.pop() {
            order.push(call);
            if call >= 10 {
                line.release(lane(1));
            }
        }
        assert_eq!((order, line.len()), (vec![1, 3, 5, 10, 11, 13, 15], 0));
    }

    /// What happens to a line: a call of a caller comes, the next one starts, the longest that runs ends, all is cleared.
    #[derive(Clone, Debug)]
    enum Step {
        Come(u64),
        Start,
        End(usize),
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0u64..4).prop_map(Step::Come),
            6 => Just(Step::Start),
            6 => (0usize..4).prop_map(Step::End),
            1 => Just(Step::Clear),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn one_call_of_a_lane_runs_at_a_time_in_order_and_none_is_lost(steps in steps()) {
            let mut line = Line::default();
            let (mut came, mut over) = (0u64, 0u64);
            let mut running: Vec<(u64, u64)> = Vec::new();
            let mut last = [None; 4];
            for step in steps {
                match step {
                    Step::Come(caller) => {
                        line.push(Some(lane(caller)), (caller, came));
                        came += 1;
                    }
                    Step::Start => {
                        if let Some((caller, call)) = line.pop() {
                            prop_assert!(running.iter().all(|(other, _)| *other != caller));
                            prop_assert!(last[caller as usize] < Some(call));
                            last[caller as usize] = Some(call);
                            running.push((caller, call));
                        }
                    }
                    Step::End(place) if place < running.len() => {
                        line.release(lane(running.remove(place).0));
                        over += 1;
                    }
                    Step::End(_) => {}
                    Step::Clear => over += line.clear().len() as u64,
                }
                prop_assert_eq!(line.len() as u64 + running.len() as u64 + over, came);
            }
            while !running.is_empty() || line.len() > 0 {
                prop_assert!(!running.is_empty() || !line.is_idle(), "what waits can never run");
                running.drain(..).for_each(|(caller, _)| line.release(lane(caller)));
                running.extend(std::iter::from_fn(|| line.pop()));
            }
            prop_assert!((0..4).all(|caller| line.is_free(lane(caller))));
        }
    }
}

//! Descriptors that have come from a peer and wait for the frame that takes them.
//!
//! Owns their order: a frame takes as many as its header says, oldest first, wherever in the bytes they came. One that
//! a limit refused keeps its place, so that the others still go with their own frames. Pure; called by whoever reads a
//! socket: the broker's connections and the client.

use super::{Attachment, Batch};
use crate::error::CallError;
use std::collections::VecDeque;
use std::time::Instant;

/// What came in one place.
pub type Arrival = Result<Attachment, Box<CallError>>;

/// See the module's documentation.
#[derive(Default)]
pub struct Arrivals {
    waiting: VecDeque<(Instant, Arrival)>,
    /// So many that come next belong to frames that were given up.
    over: usize,
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} descriptors wait", self.waiting.len())
    }
}

impl Arrivals {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits, and none is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.over == 0
    }

    /// One more has come.
    pub fn push(&mut self, now: Instant, arrival: Arrival) {
        match self.over.checked_sub(1) {
            Some(over) => self.over = over,
            None => self.waiting.push_back((now, arrival)),
        }
    }

    /// A frame that declares so many will not be complete: its own are dropped, also those that have not come. Returns how many have.
    pub fn give_up(&mut self, declared: usize) -> usize {
        let come = declared.min(self.waiting.len());
        self.waiting.drain(..come);
        self.over = self.over.saturating_add(declared.saturating_sub(come));
        come
    }

    /// Since when the oldest one waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|(came, _)| *came)
    }

    /// Gives each frame of the batch what its header declares. A frame of which something was refused gets the first
    /// refusal, and nothing else. `false`: fewer have come than are declared.
    #[must_use]
    pub fn attach(&mut self, batch: &mut Batch) -> bool {
        for index in 0..batch.len() {
            let declared = batch
                .header(index)
                .map_or(0, |header| usize::from(header.attachments));
            if declared == 0 {
                continue;
            }
            if self.waiting.len() < declared {
                return false;
            }
            let taken: Result<Vec<Attachment>, _> = self
                .waiting
                .drain(..declared)
                .map(|(_, arrival)| arrival)
                .collect();
            match taken {
                Ok(list) => batch.attach(index, list),
                Err(refusal) => batch.refuse_attachments(index, refusal),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::message::{Draft, Kind};
    use std::sync::Arc;

    fn batch(counts: &[u8]) -> Batch {
        let mut bytes = Vec::new();
        for count in counts {
            let draft = Draft::new(Kind::Call, 1).pair("o", "m");
            Draft {
                attachments: *count,
                ..draft
            }
            .encode(&mut bytes);
        }
        Batch::from_bytes(bytes.into(), 1 << 10).unwrap()
    }

    fn numbers(batch: &Batch, index: usize) -> Vec<u8> {
        let number = |attachment: &Attachment| *attachment.downcast_ref::<u8>().unwrap();
        batch.attachments(index).iter().map(number).collect()
    }

    #[test]
    fn they_are_taken_by_count_whenever_they_came() {
        let now = Instant::now();
        let mut arrivals = Arrivals::default();
        for number in 0_u8..5 {
            arrivals.push(now, Ok(Arc::new(number)));
        }
        let mut first = batch(&[2, 0, 1]);
        assert!(arrivals.attach(&mut first));
        assert_eq!(
            (numbers(&first, 0), numbers(&first, 1), numbers(&first, 2)),
            (vec![0, 1], vec![], vec![2])
        );
        assert_eq!((arrivals.len(), arrivals.oldest()), (2, Some(now)));
        assert!(!arrivals.attach(&mut batch(&[3])), "one is missing");
        assert!(arrivals.attach(&mut batch(&[2])) && arrivals.oldest().is_none());
    }

    #[test]
    fn those_of_a_frame_that_was_given_up_are_nobody_elses() {
        let now = Instant::now();
        // Of three that a frame declares so many have come when it is given up; the others come behind it.
        for come in 0_u8..=4 {
            let mut arrivals = Arrivals::default();
            (0..come).for_each(|number| arrivals.push(now, Ok(Arc::new(number))));
            assert_eq!(arrivals.give_up(3), usize::from(come.min(3)));
            assert_eq!(arrivals.is_empty(), come == 3, "{come}");
            (come..6).for_each(|number| arrivals.push(now, Ok(Arc::new(number))));
            let mut next = batch(&[3]);
            assert!(arrivals.attach(&mut next));
            assert_eq!(numbers(&next, 0), [3, 4, 5], "{come}");
        }
    }

    #[test]
    fn a_refused_one_costs_its_own_frame_only() {
        let mut arrivals = Arrivals::default();
        let refusal = Box::new(CallError::new(ErrorCode::TooMany, "full"));
        for arrival in [Ok(Arc::new(1_u8) as Attachment), Err(refusal), Ok(Arc::new(2_u8))] {
            arrivals.push(Instant::now(), arrival);
        }
        let mut both = batch(&[2, 1]);
        assert!(arrivals.attach(&mut both));
        assert_eq!(both.refused_attachments(0).unwrap().code, ErrorCode::TooMany);
        assert!(both.attachments(0).is_empty());
        assert_eq!(numbers(&both, 1), [2]);
        assert!(both.refused_attachments(1).is_none());
    }
}

//! The requests of a client of ipc-server in their places: its format has no numbers, so an answer is whose turn it is.
//!
//! Owns what each request keeps, and when it may be answered: a list that lacks something, and an event, later. What the answers are is the
//! codec's. Steps of [`IpcServer`], in a file of their own.

use super::messages::{Answer, document};
use super::{Acks, Asked, IpcServer};
use crate::transport::dialect::said::Place;
use std::time::{Duration, Instant};

/// Who may have gone on without the answer to an event, and may not, waits for it when it has said nothing else for so long.
const ACK_DOUBTED: Duration = Duration::from_secs(1);
/// An `ack_ms` that means never.
const NO_ACKS: u32 = u32::MAX;
/// What a request costs that is not answered.
const ASKED_BYTES: usize = 128;

impl IpcServer {
    /// Where a request stands: they are in the order of their places.
    pub(super) fn at(&self, place: Place) -> Option<usize> {
        self.asked.binary_search_by_key(&place, |asked| asked.place).ok()
    }

    pub(super) fn asked_mut(&mut self, place: Place) -> Option<&mut Asked> {
        let at = self.at(place)?;
        self.asked.get_mut(at)
    }

    pub(super) fn ask(&mut self, list: Vec<Box<str>>) -> Place {
        // The old Rust library never reads the answer to an event, and asks on; who waits for it does not.
        self.forget_ack(Acks::Unread);
        self.last = self.last.saturating_add(1);
        self.answer_bytes = self.answer_bytes.saturating_add(listed(&list));
        let patience = Duration::from_millis(u64::from(self.bounds.patience_ms));
        let waits = self.now.filter(|_| !list.is_empty());
        self.asked.push_back(Asked {
            place: self.last,
            list,
            not_before: waits.and_then(|now| now.checked_add(patience)),
            answer: None,
        });
        self.last
    }

    /// Who says something else before it has the answer to its event gets none, and this is known of it then.
    pub(super) fn forget_ack(&mut self, known: Acks) {
        let Some((place, _)) = self.ack.take() else { return };
        self.acks = known;
        if let Some(at) = self.at(place) {
            self.asked.remove(at);
            self.answer_bytes = self.answer_bytes.saturating_sub(listed(&[]));
        }
    }

    /// The answer to an event, some time later.
    pub(super) fn acknowledge(&mut self, out: &mut Vec<u8>) {
        // Several at once may be a burst.
        self.forget_ack(Acks::Doubted);
        let ack_ms = self.bounds.ack_ms;
        if self.acks == Acks::Unread || ack_ms == NO_ACKS {
            return;
        }
        let place = self.ask(Vec::new());
        let wait = match self.acks {
            Acks::Doubted => Some(ACK_DOUBTED),
            Acks::Unknown => Some(Duration::from_millis(u64::from(ack_ms))),
            Acks::Read | Acks::Unread => None,
        };
        let wait = wait.filter(|_| ack_ms > 0);
        match self.now.zip(wait).and_then(|(now, wait)| now.checked_add(wait)) {
            Some(due) => self.ack = Some((place, due)),
            None => self.fill(place, &Answer::Success("OK"), out),
        }
    }

    /// It waits for an answer, and would take anything for it.
    pub(super) fn waits(&self) -> bool {
        let doubted = self.ack.is_some() && self.acks == Acks::Doubted;
        self.asked.len() > usize::from(doubted)
    }

    /// Puts an answer into its place, and writes all whose turn has come.
    pub(super) fn fill(&mut self, place: Place, answer: &Answer<'_>, out: &mut Vec<u8>) {
        if let Some(asked) = self.asked_mut(place) {
            let answer = document(answer);
            let length = answer.len();
            asked.answer = Some(answer);
            self.answer_bytes = self.answer_bytes.saturating_add(length);
            self.small_from = self.small_from.max(place.saturating_add(1));
        }
        while let Some(answer) = self.asked.front_mut().and_then(|asked| asked.answer.take()) {
            let list = self.asked.pop_front().map(|asked| listed(&asked.list));
            let bytes = answer.len().saturating_add(list.unwrap_or_default());
            self.answer_bytes = self.answer_bytes.saturating_sub(bytes);
            self.write(&answer, out);
            self.told_at = self.now;
        }
        self.release(out);
    }

    /// Whether all objects of a list are there. Who asks again at once when one is missing is told so at its time.
    pub(super) fn has(&mut self, place: Place, all: bool, out: &mut Vec<u8>) {
        let now = self.now;
        let Some(asked) = self.asked_mut(place) else {
            return;
        };
        // Its names are counted no longer.
        let list = std::mem::take(&mut asked.list);
        let early = |until: &Instant| now.is_some_and(|now| now < *until);
        let until = asked.not_before.filter(early).filter(|_| !all);
        if until.is_none() {
            asked.not_before = None;
        }
        let names = listed(&list).saturating_sub(ASKED_BYTES);
        self.answer_bytes = self.answer_bytes.saturating_sub(names);
        if let Some(until) = until {
            self.late.insert((until, place));
            return;
        }
        self.fill(place, &Answer::List(if all { &list } else { &[] }), out);
    }
}

/// What a request takes while it waits, with the objects of its list.
fn listed(list: &[Box<str>]) -> usize {
    let names: usize = list.iter().map(|name| name.len().saturating_add(16)).sum();
    names.saturating_add(ASKED_BYTES)
}

//! What the endpoints of this peer have been given and not taken: the receiver's side of the label bus.
//!
//! Owns the receipts in the order of delivery, and since when an endpoint takes nothing. What a message was charged is held until
//! it is taken. Where it came from and how it is written is others' business. Pure; called by `session`.

use crate::actors::deliver::charge;
use crate::actors::peer::PeerRef;
use crate::actors::receipt::{Receipt, Settled};
use crate::message::RequestId;
use crate::message::bus::Outcome;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages of one run that one endpoint has.
#[derive(Debug)]
struct Kept {
    /// Nothing once they are settled although nobody took them.
    receipt: Option<Receipt>,
    count: u32,
    /// What each is charged.
    charge: usize,
    /// The number of one that carries attachments; else 0.
    serial: u64,
}

#[derive(Debug)]
struct Endpoint {
    queue: VecDeque<Kept>,
    /// Since when something waits and nothing is taken.
    since: Instant,
    stalled: bool,
}

#[derive(Debug, Default)]
struct Table {
    endpoints: BTreeMap<RequestId, Endpoint>,
    /// No endpoint is stalled before then.
    look_at: Option<Instant>,
    /// Messages that are not settled.
    waiting: u64,
    serials: u64,
}

/// The endpoints of one peer; nothing until the first.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    table: Option<Box<Table>>,
}

/// More messages were taken than were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess;

/// Hears what is settled.
type Told<'a> = &'a mut dyn FnMut(&PeerRef, Settled);

impl Endpoints {
    /// Whether there is such an endpoint.
    #[must_use]
    pub(super) fn contains(&self, number: RequestId) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|table| table.endpoints.contains_key(&number))
    }

    /// How many messages were given and are not settled.
    #[must_use]
    pub(super) fn waiting(&self) -> u64 {
        self.table.as_ref().map_or(0, |table| table.waiting)
    }

    /// An endpoint is about to join.
    pub(super) fn open(&mut self, now: Instant, number: RequestId) {
        let endpoint = Endpoint {
            queue: VecDeque::new(),
            since: now,
            stalled: false,
        };
        let table = self.table.get_or_insert_default();
        table.endpoints.insert(number, endpoint);
    }

    /// An endpoint is no more: what it has not taken is settled as lost. Returns what that was charged.
    pub(super) fn close(&mut self, number: RequestId, told: Told<'_>) -> usize {
        let Some(table) = &mut self.table else { return 0 };
        let endpoint = table.endpoints.remove(&number);
        let mut released = 0_usize;
        for kept in endpoint.into_iter().flat_map(|endpoint| endpoint.queue) {
            released = released.saturating_add(kept.charge.saturating_mul(kept.count as usize));
            table.settle(kept, Outcome::ReceiverGone, told);
        }
        released
    }

    /// The connection ends: nothing that was given is taken any more.
    pub(super) fn close_all(&mut self, told: Told<'_>) -> usize {
        let numbers: Vec<RequestId> = self
            .table
            .iter()
            .flat_map(|table| table.endpoints.keys().copied())
            .collect();
        numbers.into_iter().map(|number| self.close(number, told)).sum()
    }

    /// Takes messages for an endpoint, each of `bytes` on the wire; a serial number for one that carries attachments. `None`: there
    /// is no such endpoint, or it is stalled, and their sender has been told.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        number: RequestId,
        mut receipt: Receipt,
        bytes: usize,
        carries: bool,
        patience: Duration,
    ) -> Option<u64> {
        let Some(table) = &mut self.table else { return None };
        let endpoint = table.endpoints.get_mut(&number)?;
        if endpoint.stalled {
            receipt.fail(Outcome::ReceiverFull);
            return None;
        }
        if endpoint.queue.is_empty() {
            endpoint.since = now;
        }
        // Also when others wait before it: an endpoint that was stalled and has taken a part is to be looked at again.
        if table.look_at.is_none() {
            table.look_at = endpoint.since.checked_add(patience);
        }
        receipt.accept();
        let serial = if carries {
            table.serials = table.serials.saturating_add(1);
            table.serials
        } else {
            0
        };
        let count = receipt.left();
        table.waiting = table.waiting.saturating_add(u64::from(count));
        endpoint.queue.push_back(Kept {
            receipt: Some(receipt),
            count,
            charge: charge(bytes),
            serial,
        });
        Some(serial)
    }

    /// The application has taken so many more. Returns what they were charged.
    ///
    /// # Errors
    /// [`Excess`]: there are not so many.
    pub(super) fn taken(
        &mut self,
        now: Instant,
        number: RequestId,
        mut count: u32,
        told: Told<'_>,
    ) -> Result<usize, Excess> {
        let Some(table) = &mut self.table else {
            return Ok(0);
        };
        let Some(endpoint) = table.endpoints.get_mut(&number) else {
            return Ok(0);
        };
        if count > 0 {
            endpoint.since = now;
            endpoint.stalled = false;
        }
        let mut released = 0_usize;
        while count > 0 {
            let Some(kept) = endpoint.queue.front_mut() else {
                return Err(Excess);
            };
            let taken = count.min(kept.count);
            if let Some(receipt) = &mut kept.receipt {
                receipt.settle(taken, Outcome::Taken, told);
                table.waiting = table.waiting.saturating_sub(u64::from(taken));
            }
            released = released.saturating_add(kept.charge.saturating_mul(taken as usize));
            kept.count = kept.count.saturating_sub(taken);
            count = count.saturating_sub(taken);
            if kept.count == 0 {
                endpoint.queue.pop_front();
            }
        }
        Ok(released)
    }

    /// The message with this serial number could not be written. Returns what it was charged.
    pub(super) fn not_sent(&mut self, serial: u64, told: Told<'_>) -> usize {
        let Some(table) = &mut self.table else { return 0 };
        let mut found = None;
        for endpoint in table.endpoints.values_mut() {
            if let Some(at) = endpoint.queue.iter().position(|kept| kept.serial == serial) {
                found = endpoint.queue.remove(at);
                // There is nothing left that it could take to be given more.
                endpoint.stalled &= !endpoint.queue.is_empty();
                break;
            }
        }
        let Some(kept) = found else { return 0 };
        let released = kept.charge;
        table.settle(kept, Outcome::Attachments, told);
        released
    }

    /// Endpoints that have taken nothing for so long although something waits are stalled: what waits is settled, and stays. Returns
    /// how many were found.
    pub(super) fn expire(&mut self, now: Instant, patience: Duration, told: Told<'_>) -> u64 {
        let Some(table) = &mut self.table else { return 0 };
        if table.look_at.is_none_or(|at| at > now) {
            return 0;
        }
        let (mut found, mut next) = (0_u64, None::<Instant>);
        for endpoint in table.endpoints.values_mut() {
            if endpoint.stalled || endpoint.queue.is_empty() {
                continue;
            }
            let Some(due) = endpoint.since.checked_add(patience) else {
                continue;
            };
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            endpoint.stalled = true;
            found = found.saturating_add(1);
            for kept in &mut endpoint.queue {
                if let Some(mut receipt) = kept.receipt.take() {
                    table.waiting = table.waiting.saturating_sub(u64::from(receipt.left()));
                    receipt.settle(receipt.left(), Outcome::ReceiverFull, told);
                }
            }
        }
        table.look_at = next;
        found
    }

    /// When [`Self::expire`] is to be called next.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.table.as_ref()?.look_at
    }
}

impl Table {
    fn settle(&mut self, kept: Kept, outcome: Outcome, told: Told<'_>) {
        if let Some(mut receipt) = kept.receipt {
            self.waiting = self.waiting.saturating_sub(u64::from(receipt.left()));
            receipt.settle(receipt.left(), outcome, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::inbox::Deaf;
    use crate::actors::peer::{Account, Peer};
    use crate::actors::receipt::Owed;
    use crate::config::Limits;
    use crate::message::{Origin, PeerId};

    fn receipt(first: u64, count: u32) -> Receipt {
        let origin = Origin {
            peer: PeerId(1),
            uid: 0,
            pid: 0,
        };
        let account = Account::new(Limits::default().outbox_bytes, 1);
        let peer = Peer::new(origin, "", 0, account, Box::new(Deaf));
        Receipt::alone(Owed::new(peer, first, count, 100))
    }

    const PATIENCE: Duration = Duration::from_millis(10);

    /// Number, count and outcome of what is told.
    type Heard = Vec<(u64, u32, Outcome)>;

    fn expired(endpoints: &mut Endpoints, now: Instant) -> (u64, Heard) {
        let mut heard = Vec::new();
        let mut told =
            |_: &PeerRef, it: Settled| heard.push((it.entry.first, it.entry.count, it.entry.outcome));
        (endpoints.expire(now, PATIENCE, &mut told), heard)
    }

    #[test]
    fn an_endpoint_is_stalled_at_its_patience_and_not_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (one, two) = (RequestId(1), RequestId(2));
        let mut endpoints = Endpoints::default();
        let mut quiet = |_: &PeerRef, _: Settled| ();
        endpoints.open(start, one);
        endpoints.open(start, two);
        assert_eq!(endpoints.next_deadline(), None, "nothing waits");
        assert!(
            endpoints
                .accept(at(5), one, receipt(1, 3), 100, false, PATIENCE)
                .is_some()
        );
        assert!(
            endpoints
                .accept(at(7), two, receipt(9, 1), 100, false, PATIENCE)
                .is_some()
        );
        assert_eq!(endpoints.next_deadline(), Some(at(15)));
        assert_eq!(endpoints.taken(at(8), one, 1, &mut quiet), Ok(100));
        assert_eq!(expired(&mut endpoints, at(14)), (0, vec![]));
        assert_eq!(
            expired(&mut endpoints, at(16)),
            (0, vec![]),
            "it has taken one at 8"
        );
        assert_eq!(endpoints.next_deadline(), Some(at(17)));
        assert_eq!(
            expired(&mut endpoints, at(17)),
            (1, vec![(9, 1, Outcome::ReceiverFull)])
        );
        assert_eq!(
            expired(&mut endpoints, at(18)),
            (1, vec![(2, 2, Outcome::ReceiverFull)])
        );
        assert_eq!((endpoints.waiting(), endpoints.next_deadline()), (0, None));
        assert!(
            endpoints
                .accept(at(19), one, receipt(4, 1), 100, false, PATIENCE)
                .is_none()
        );
        // It takes again: what was given up stays charged until then.
        assert_eq!(endpoints.taken(at(20), one, 2, &mut quiet), Ok(200));
        assert!(
            endpoints
                .accept(at(21), one, receipt(5, 1), 100, false, PATIENCE)
                .is_some()
        );
        assert_eq!(endpoints.taken(at(22), one, 2, &mut quiet), Err(Excess));
        assert_eq!(
            endpoints.taken(at(22), RequestId(3), 2, &mut quiet),
            Ok(0),
            "it has left"
        );
    }

    #[test]
    fn what_is_closed_or_not_sent_gives_its_charge_back() {
        let now = Instant::now();
        let one = RequestId(1);
        let mut endpoints = Endpoints::default();
        endpoints.open(now, one);
        let plain = endpoints.accept(now, one, receipt(1, 2), 10, false, PATIENCE);
        let carrying = endpoints
            .accept(now, one, receipt(3, 1), 300, true, PATIENCE)
            .unwrap();
        assert!(plain == Some(0) && carrying > 0);
        let mut heard = Vec::new();
        let mut told =
            |_: &PeerRef, it: Settled| heard.push((it.entry.first, it.entry.count, it.entry.outcome));
        assert_eq!(endpoints.not_sent(carrying, &mut told), 300);
        assert_eq!(endpoints.not_sent(carrying, &mut told), 0);
        assert_eq!(endpoints.close_all(&mut told), 128, "each at least 64");
        let expected = [(3, 1, Outcome::Attachments), (1, 2, Outcome::ReceiverGone)];
        assert_eq!((heard.as_slice(), endpoints.waiting()), (&expected[..], 0));
        assert!(!endpoints.contains(one));
    }
}

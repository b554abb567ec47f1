//! What the endpoints of one connection have sent over the label bus and the broker has not settled.
//!
//! Owns the window, the numbers of messages, what became of each, and the frames that wait for a connection. Knows no socket and
//! no selector; a frame is bytes here. Used under the connection's lock.

use super::after::After;
use super::encoded::{self, ID};
use super::port::Port;
use super::undelivered::{Reason, Undelivered};
use super::waiters::{Waiters, replace};
use crate::message::Attachments;
use crate::message::bus::Settlement;
use crate::message::id::MessageId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Where it holds how long it may wait for an endpoint that matches, in ms.
const TTL: std::ops::Range<usize> = 16..20;
/// So many places are kept for messages that are settled behind one that is not.
const SPREAD: usize = 64 * 1024;
/// Beyond that what is open gets places of its own, unless it is more than this part of them.
const SPARSE: usize = 16;
/// After the loss of a host everybody joins again, and not in the same moment: so long messages wait for their receivers.
const REJOINING: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Sends {
    /// Bytes that may be sent now.
    pub(crate) window: i64,
    granted: i64,
    /// The number of the first of `sent`.
    first: u64,
    sent: VecDeque<Sent>,
    /// Those before `first` that are not settled: few among many that were.
    late: BTreeMap<u64, Sent>,
    /// How many are not settled.
    open: usize,
    ports: HashMap<u32, Arc<Port>>,
    next_port: u32,
    confirms: HashMap<u64, Confirm>,
    /// Endpoints that the broker of this connection has let in: without one it takes nothing.
    pub(crate) joined: usize,
    /// What is to be sent once there is a connection, in order.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Until when others may not have joined again.
    rejoining: Option<Instant>,
    /// Tasks that wait for the window, or for held messages to go.
    pub(crate) waiters: Waiters,
}

/// A message; settled when it has no bytes.
#[derive(Clone, Copy, Debug)]
struct Sent {
    bytes: u32,
    port: u32,
}

/// A frame that waits for a connection.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) frame: Vec<u8>,
    pub(crate) attachments: Attachments,
}

/// Somebody waits for what becomes of one message.
#[derive(Debug, Default)]
struct Confirm {
    outcome: Option<Result<u16, Undelivered>>,
    waker: Option<Waker>,
}

impl Sends {
    pub(crate) fn new() -> Self {
        Self {
            window: 0,
            granted: 0,
            first: 1,
            sent: VecDeque::new(),
            late: BTreeMap::new(),
            open: 0,
            ports: HashMap::new(),
            next_port: 0,
            confirms: HashMap::new(),
            joined: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            rejoining: None,
            waiters: Waiters::new(),
        }
    }

    /// Adds an endpoint, which is told what becomes of its messages.
    pub(crate) fn add_port(&mut self, port: Arc<Port>) -> u32 {
        let number = self.next_port;
        self.next_port = number.wrapping_add(1);
        self.ports.insert(number, port);
        number
    }

    /// Nobody asks any more what becomes of an endpoint's messages.
    pub(crate) fn remove_port(&mut self, number: u32) {
        self.ports.remove(&number);
    }

    /// Whether a message may go out now, as far as the window and the order say.
    pub(crate) const fn may_go(&self) -> bool {
        self.window > 0
    }

    /// Whether messages have to wait for a connection, or behind some that do.
    pub(crate) fn must_hold(&self) -> bool {
        self.joined == 0 || !self.held.is_empty()
    }

    pub(crate) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Numbers a message of so many bytes and takes them from the window.
    #[inline]
    pub(crate) fn add(&mut self, port: u32, frame: &mut [u8]) -> MessageId {
        if self.rejoining.is_some() {
            self.be_patient(frame, Instant::now());
        }
        let id = self.number(port, frame);
        self.charge(frame.len());
        id
    }

    /// Numbers a message and keeps it for the next connection.
    pub(crate) fn hold(&mut self, port: u32, mut frame: Vec<u8>, attachments: Attachments) -> MessageId {
        let id = self.number(port, &mut frame);
        self.held_bytes = self.held_bytes.saturating_add(frame.len());
        self.held.push_back(Held { frame, attachments });
        id
    }

    #[inline]
    fn number(&mut self, port: u32, frame: &mut [u8]) -> MessageId {
        let id = self.first.saturating_add(self.sent.len() as u64);
        encoded::number(frame, id);
        // A frame is never empty, and never that long.
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.sent.push_back(Sent { bytes, port });
        self.open = self.open.saturating_add(1);
        MessageId(id)
    }

    /// Lets a message wait for those that have not joined again yet.
    #[cold]
    fn be_patient(&mut self, frame: &mut [u8], now: Instant) {
        let Some(until) = self.rejoining.filter(|until| *until > now) else {
            self.rejoining = None;
            return;
        };
        let left = u32::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX);
        if let Some(place) = frame.get_mut(TTL).and_then(|place| place.first_chunk_mut::<4>()) {
            *place = left.max(u32::from_le_bytes(*place)).to_le_bytes();
        }
    }

    fn charge(&mut self, bytes: usize) {
        self.window = self
            .window
            .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Somebody waits for what becomes of a message.
    pub(crate) fn confirm(&mut self, id: MessageId) {
        self.confirms.insert(id.0, Confirm::default());
    }

    /// What became of a message that somebody waits for; `None`: nothing yet, and the waker is kept.
    /// Wakers that are not needed any more go to the `dead`.
    pub(crate) fn outcome(
        &mut self,
        id: MessageId,
        waker: &Waker,
        dead: &mut Vec<Waker>,
    ) -> Option<Result<u16, Undelivered>> {
        let confirm = self.confirms.get_mut(&id.0)?;
        if let Some(outcome) = confirm.outcome.take() {
            let over = self.confirms.remove(&id.0);
            dead.extend(over.and_then(|over| over.waker));
            return Some(outcome);
        }
        dead.extend(replace(&mut confirm.waker, waker));
        None
    }

    /// Nobody waits any more. What became of it already is told as of any other message.
    pub(crate) fn unconfirm(&mut self, id: MessageId, dead: &mut Vec<Waker>) -> Option<Undelivered> {
        let over = self.confirms.remove(&id.0)?;
        dead.extend(over.waker);
        over.outcome?.err()
    }

    /// The broker tells what became of messages. What was told before, and what was never sent, changes nothing.
    pub(crate) fn settle(&mut self, settlement: &Settlement, after: &mut After) {
        let reason = Reason::of(settlement.outcome);
        let upto = settlement.first.saturating_add(u64::from(settlement.count));
        let report = |id| {
            let undelivered = |reason| Undelivered {
                id: MessageId(id),
                reason,
                may_have_arrived: settlement.may_have_arrived,
                receivers: settlement.receivers,
            };
            reason.map_or(Ok(settlement.receivers), |reason| Err(undelivered(reason)))
        };
        self.end(settlement.first, upto, report, after);
    }

    /// Behind all that one frame has settled: who waits for the window looks again. What is open may wait long for a match, so that
    /// nobody knows whether more of the window comes soon.
    pub(crate) fn wake(&mut self, after: &mut After) {
        if self.may_go() {
            self.waiters.drain(&mut after.wakers);
        }
    }

    /// Ends the open ones of these numbers.
    fn end(
        &mut self,
        from: u64,
        upto: u64,
        report: impl Fn(u64) -> Result<u16, Undelivered>,
        after: &mut After,
    ) {
        let first = self.first;
        let quiet = self.confirms.is_empty();
        let mut freed = 0_u64;
        let mut tell = |id: u64, sent: Sent| {
            freed = freed.saturating_add(u64::from(sent.bytes));
            self.open = self.open.saturating_sub(1);
            let outcome = report(id);
            if quiet && outcome.is_ok() {
                return;
            }
            if let Some(confirm) = self.confirms.get_mut(&id) {
                confirm.outcome = Some(outcome);
                after.wakers.extend(confirm.waker.take());
            } else if let (Err(undelivered), Some(port)) = (outcome, self.ports.get(&sent.port)) {
                after.undelivered(port, undelivered);
            }
        };
        while let Some((id, _)) = self.late.range(from.min(upto)..upto).next() {
            let id = *id;
            self.late.remove(&id).into_iter().for_each(|sent| tell(id, sent));
        }
        let index = |id: u64| usize::try_from(id.saturating_sub(first)).unwrap_or(usize::MAX);
        let (from, upto) = (index(from), index(upto).min(self.sent.len()));
        for (at, sent) in self.sent.range_mut(from.min(upto)..upto).enumerate() {
            let was = std::mem::replace(sent, Sent { bytes: 0, ..*sent });
            if was.bytes > 0 {
                tell(first.saturating_add(from.saturating_add(at) as u64), was);
            }
        }
        self.window = self
            .window
            .saturating_add(i64::try_from(freed).unwrap_or(i64::MAX));
        self.give_places_back();
    }

    /// What is settled needs no place any more.
    fn give_places_back(&mut self) {
        while self.sent.front().is_some_and(|sent| sent.bytes == 0) {
            self.sent.pop_front();
            self.first = self.first.saturating_add(1);
        }
        let open = self.open.saturating_sub(self.late.len());
        if self.sent.len() < SPREAD || open > self.sent.len() / SPARSE {
            return;
        }
        // One that waits long for its match would keep the places of all that came after it.
        let numbered = (self.first..).zip(&self.sent);
        let open = numbered.filter(|(_, sent)| sent.bytes > 0);
        self.late.extend(open.map(|(id, sent)| (id, *sent)));
        self.first = self.first.saturating_add(self.sent.len() as u64);
        self.sent.clear();
    }

    /// A connection is there: so much may be sent on it. `again`: there was another before it.
    pub(crate) fn up(&mut self, window: u32, again: bool, now: Instant) {
        self.rejoining = again.then(|| now + REJOINING);
        self.granted = i64::from(window);
        self.window = self.granted;
        self.joined = 0;
    }

    /// The connection is gone. What was not given to the system waits for the next one; of the rest nobody knows.
    pub(crate) fn interrupt(&mut self, unwritten: Vec<Held>, after: &mut After) {
        for held in unwritten.into_iter().rev() {
            self.held_bytes = self.held_bytes.saturating_add(held.frame.len());
            self.held.push_front(held);
        }
        self.joined = 0;
        let next = self.first.saturating_add(self.sent.len() as u64);
        let lost = self.held.front().map_or(next, Held::id);
        self.end(
            0,
            lost,
            |id| Err(Undelivered::new(id, Reason::HostLost, true)),
            after,
        );
        self.window = 0;
        // Without a host a message is kept, as far as there is room for it, and needs no window.
        self.waiters.drain(&mut after.wakers);
    }

    /// There will be no connection any more.
    pub(crate) fn close(&mut self, after: &mut After) {
        self.interrupt(Vec::new(), after);
        let held = self.held.drain(..);
        held.for_each(|held| after.dead.bury(held.attachments));
        self.held_bytes = 0;
        let next = self.first.saturating_add(self.sent.len() as u64);
        let report = |id| Err(Undelivered::new(id, Reason::Closed, false));
        self.end(0, next, report, after);
        self.waiters.drain(&mut after.wakers);
    }

    /// The next of those that wait for a connection, if it may go now; its bytes are taken from the window.
    pub(crate) fn next_held(&mut self) -> Option<Held> {
        if self.joined == 0 || self.window <= 0 {
            return None;
        }
        let mut held = self.held.pop_front()?;
        self.be_patient(&mut held.frame, Instant::now());
        self.held_bytes = self.held_bytes.saturating_sub(held.frame.len());
        self.charge(held.frame.len());
        Some(held)
    }

    /// One of those that waited cannot go over the new connection.
    pub(crate) fn refuse(&mut self, held: Held, reason: Reason, after: &mut After) {
        let id = held.id();
        after.dead.bury(held.attachments);
        let report = |id| Err(Undelivered::new(id, reason, false));
        self.end(id, id.saturating_add(1), report, after);
    }
}

impl Held {
    fn id(&self) -> u64 {
        let bytes = self.frame.get(ID).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
#[path = "sends_tests.rs"]
mod tests;

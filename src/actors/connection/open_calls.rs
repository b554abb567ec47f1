//! What this peer has asked and is not answered yet: the caller's side.
//!
//! Owns which requests are open, where each call went (`Routed` tells it), calls that wait for their object, and the pieces of
//! calls that are not routed yet. The answer itself is owed by whoever holds the `ReplyTo`. Pure; called by `session`.

use crate::actors::credit::Window;
use crate::actors::deadlines::Deadlines;
use crate::actors::messages::Invoke;
use crate::actors::peer::PeerRef;
use crate::actors::regions::Seat;
use crate::actors::table::Table;
use crate::message::{Batch, CallId, Ticket};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest table that is kept while it is empty, in entries: a caller that goes on with as many calls at once does not build
/// it anew each time.
pub(super) const KEPT_MAX: usize = 128;

/// One open call or request.
#[derive(Debug)]
pub struct OpenCall {
    /// The broker's number for it.
    pub ticket: Ticket,
    /// The callee, once it is known.
    pub callee: Option<PeerRef>,
    /// The caller has taken it back, but the callee is not known yet.
    pub cancelled: bool,
    /// It waits for objects that are not there: a parked call, or a Wait.
    pub waits: bool,
    /// A call without reply: nobody is told what becomes of it.
    pub silent: bool,
    /// Pieces that follow the call's first frame.
    pub upload: Option<Box<Upload>>,
    parked: Option<Box<Parked>>,
}

/// The pieces of one call.
#[derive(Debug)]
pub struct Upload {
    /// What the caller may still send.
    pub window: Window,
    /// Payload bytes so far.
    pub total: usize,
    /// The last piece has come.
    pub complete: bool,
    /// The caller offers the payload as a region.
    pub offered: bool,
    /// The callee takes it so.
    pub seat: Option<Seat>,
    /// The pieces are items of their own.
    pub items: Option<Pace>,
    /// Pieces that came before the callee was known, and their bytes.
    held: VecDeque<(Arc<Batch>, u32)>,
    held_bytes: usize,
}

impl Upload {
    /// After the first frame, which had a payload of `first` bytes.
    #[must_use]
    pub fn new(window: usize, first: usize) -> Self {
        Self {
            window: Window::new(window),
            total: first,
            complete: false,
            offered: false,
            seat: None,
            items: None,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// The same, offered as a region.
    #[must_use]
    pub fn offered(self, offered: bool) -> Self {
        Self { offered, ..self }
    }
}

/// How often the sender of items hears, in credit, that the callee is at work.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    told: Instant,
}

impl Upload {
    /// The same for items, of a caller with so much patience between two of them.
    #[must_use]
    pub const fn of_items(mut self, now: Instant, patience: Duration) -> Self {
        // The part is smaller than that in which callees tell, so that none of their signs is lost on the way.
        let every = Duration::from_millis((patience.as_millis() / 8) as u64);
        self.items = Some(Pace { every, told: now });
        self
    }

    /// Takes credit of the callee. Some: so much is to be passed on to the caller now.
    pub fn give(&mut self, now: Instant, bytes: u32) -> Option<u32> {
        let passed = self.window.give(bytes).or_else(|| {
            let pace = self.items.as_ref()?;
            let due = now.saturating_duration_since(pace.told) >= pace.every;
            due.then(|| self.window.give_rest()).flatten()
        });
        if let (Some(pace), Some(_)) = (&mut self.items, passed) {
            pace.told = now;
        }
        passed
    }
}

/// A call that waits for its object.
#[derive(Debug)]
pub struct Parked {
    /// Holds the frame.
    pub batch: Arc<Batch>,
    /// The call.
    pub invoke: Invoke,
    bytes: usize,
}

/// Calls in the order of their numbers, not of a table: what happens next must not depend on chance.
fn sorted(calls: impl Iterator<Item = CallId>) -> Vec<CallId> {
    let mut calls: Vec<CallId> = calls.collect();
    calls.sort_unstable();
    calls
}

/// What one peer has open.
#[derive(Debug, Default)]
pub struct OpenCalls {
    /// Nothing until the first one: most connections wait for others most of the time.
    table: Option<Box<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    calls: Table<CallId, OpenCall>,
    /// With their tickets: a number may be given again as soon as it is answered, and its deadline stays here until it passes.
    waiting: Deadlines<(CallId, Ticket)>,
    parked_bytes: usize,
}

impl OpenCalls {
    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.calls.len())
    }

    fn iter(&self) -> impl Iterator<Item = (&CallId, &OpenCall)> {
        self.table.iter().flat_map(|table| &table.calls)
    }

    fn get(&self, call: CallId) -> Option<&OpenCall> {
        self.table.as_ref()?.calls.get(&call)
    }

    /// How many of them a callee has: so many slots there must be.
    #[must_use]
    pub fn routed(&self) -> usize {
        self.iter().filter(|(_, open)| open.callee.is_some()).count()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of all that waits for objects.
    #[must_use]
    pub fn waits(&self) -> Vec<CallId> {
        let waits = self.iter().filter(|(_, open)| open.waits);
        sorted(waits.map(|(call, _)| *call))
    }

    /// The numbers of calls of which pieces are still to come.
    #[must_use]
    pub fn unfinished(&self) -> Vec<CallId> {
        let lacks = |open: &OpenCall| open.upload.as_ref().is_some_and(|upload| !upload.complete);
        let unfinished = self.iter().filter(|(_, open)| lacks(open));
        sorted(unfinished.map(|(call, _)| *call))
    }

    /// The numbers of all that is open, wanted and to be answered.
    pub fn calls(&self) -> impl Iterator<Item = CallId> {
        let wanted = self.iter().filter(|(_, open)| !open.cancelled && !open.silent);
        sorted(wanted.map(|(call, _)| *call)).into_iter()
    }

    /// Opens a call or request. `false`: the number is in use.
    #[must_use]
    pub fn insert(&mut self, call: CallId, ticket: Ticket, upload: Option<Upload>) -> bool {
        let table = self.table.get_or_insert_default();
        let Entry::Vacant(place) = table.calls.entry(call) else {
            return false;
        };
        place.insert(OpenCall {
            ticket,
            callee: None,
            cancelled: false,
            waits: false,
            silent: false,
            upload: upload.map(Box::new),
            parked: None,
        });
        true
    }

    /// The open call with this number.
    pub fn get_mut(&mut self, call: CallId) -> Option<&mut OpenCall> {
        self.table.as_mut()?.calls.get_mut(&call)
    }

    /// An answer has come for the call that had this ticket; the `last` one closes it. Returns whether it is still wanted. The
    /// number alone does not tell: the caller may have given it to another call meanwhile.
    #[must_use]
    pub fn answered(&mut self, call: CallId, ticket: Ticket, last: bool) -> bool {
        let Some(table) = &mut self.table else {
            return false;
        };
        let Entry::Occupied(place) = table.calls.entry(call) else {
            return false;
        };
        let open = place.get();
        if open.ticket != ticket {
            return false;
        }
        let wanted = !open.cancelled;
        if last {
            let open = place.remove();
            self.removed(open);
        }
        wanted
    }

    /// Closes the call or request that had this ticket.
    pub fn close(&mut self, call: CallId, ticket: Ticket) -> Option<OpenCall> {
        self.get(call).filter(|open| open.ticket == ticket)?;
        self.remove(call)
    }

    /// Closes a call or request.
    pub fn remove(&mut self, call: CallId) -> Option<OpenCall> {
        let open = self.table.as_mut()?.calls.remove(&call)?;
        Some(self.removed(open))
    }

    fn removed(&mut self, mut open: OpenCall) -> OpenCall {
        let Some(table) = &mut self.table else {
            return open;
        };
        let held = open.upload.as_ref().map_or(0, |upload| upload.held_bytes);
        table.parked_bytes = table.parked_bytes.saturating_sub(held);
        if let Some(parked) = open.parked.take() {
            table.parked_bytes = table.parked_bytes.saturating_sub(parked.bytes);
            // Nobody is owed an answer: the caller's entry is what has just been removed.
            if let Some(reply) = parked.invoke.reply {
                reply.forget();
            }
        }
        if table.calls.is_empty() && table.calls.capacity() > KEPT_MAX {
            self.table = None;
        }
        open
    }

    /// Nothing has been asked for a while: an empty table goes, of whatever size.
    pub fn rest(&mut self) {
        self.table.take_if(|table| table.calls.is_empty());
    }

    /// Everything that is open, to be cancelled at the end of the connection.
    pub fn drain(&mut self) -> impl Iterator<Item = OpenCall> + use<> {
        let table = self.table.take().unwrap_or_default();
        let mut all: Vec<OpenCall> = table.calls.into_values().collect();
        all.sort_unstable_by_key(|open| open.ticket);
        all.into_iter().map(|mut open| {
            if let Some(parked) = open.parked.take()
                && let Some(reply) = parked.invoke.reply
            {
                reply.forget();
            }
            open
        })
    }

    /// Keeps a call until its object is there; one without reply gets an entry for it. Gives it back when it is not wanted or `limit`
    /// bytes wait already.
    ///
    /// # Errors
    /// The call, to be answered.
    pub fn park(&mut self, batch: Arc<Batch>, invoke: Invoke, limit: usize) -> Result<(), Invoke> {
        let call = invoke.waits_as();
        let silent = invoke.reply.is_none();
        if silent && !self.insert(call, invoke.ticket, None) {
            return Err(invoke);
        }
        let bytes = batch
            .header(invoke.frame as usize)
            .map_or(0, crate::message::Header::wire_len);
        let Some(table) = &mut self.table else {
            return Err(invoke);
        };
        let Some(open) = table.calls.get_mut(&call).filter(|open| !open.cancelled) else {
            return Err(invoke);
        };
        open.silent = silent;
        if table.parked_bytes >= limit {
            if silent {
                table.calls.remove(&call);
            }
            return Err(invoke);
        }
        table.parked_bytes = table.parked_bytes.saturating_add(bytes);
        let deadline = invoke.deadline;
        // A small frame must not keep the large buffer it was read with.
        let (batch, invoke) = if bytes.saturating_mul(4) < batch.buffer_len() {
            let copy = batch.extract(std::iter::once(invoke.frame as usize));
            (Arc::new(copy), Invoke { frame: 0, ..invoke })
        } else {
            (batch, invoke)
        };
        open.parked = Some(Box::new(Parked { batch, invoke, bytes }));
        self.wait_until(call, deadline);
        Ok(())
    }

    /// Keeps a piece until its call's callee is known. `false`: `limit` bytes of this peer wait already.
    #[must_use]
    pub fn hold_piece(&mut self, call: CallId, batch: &Arc<Batch>, frame: u32, limit: usize) -> bool {
        let bytes = batch
            .header(frame as usize)
            .map_or(0, crate::message::Header::wire_len);
        let Some(table) = self.table.as_mut().filter(|table| table.parked_bytes < limit) else {
            return false;
        };
        let open = table.calls.get_mut(&call);
        let Some(upload) = open.and_then(|open| open.upload.as_mut()) else {
            return false;
        };
        table.parked_bytes = table.parked_bytes.saturating_add(bytes);
        upload.held_bytes = upload.held_bytes.saturating_add(bytes);
        upload
            .held
            .push_back(if bytes.saturating_mul(4) < batch.buffer_len() {
                (Arc::new(batch.extract(std::iter::once(frame as usize))), 0)
            } else {
                (batch.clone(), frame)
            });
        true
    }

    /// Bytes that wait with their calls.
    #[must_use]
    pub fn parked_bytes(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.parked_bytes)
    }

    /// Whether the call or request that had this ticket waits for objects.
    #[must_use]
    pub fn is_waiting(&self, call: CallId, ticket: Ticket) -> bool {
        self.get(call)
            .is_some_and(|open| open.ticket == ticket && open.waits && !open.cancelled)
    }

    /// Takes the pieces that waited for their call's callee.
    pub fn held_pieces(&mut self, call: CallId) -> VecDeque<(Arc<Batch>, u32)> {
        let Some(table) = &mut self.table else {
            return VecDeque::new();
        };
        let open = table.calls.get_mut(&call);
        let Some(upload) = open.and_then(|open| open.upload.as_mut()) else {
            return VecDeque::new();
        };
        let bytes = std::mem::take(&mut upload.held_bytes);
        table.parked_bytes = table.parked_bytes.saturating_sub(bytes);
        std::mem::take(&mut upload.held)
    }

    /// The call's object is there: takes it out to be routed again.
    pub fn unpark(&mut self, call: CallId) -> Option<Parked> {
        let table = self.table.as_mut()?;
        let open = table.calls.get_mut(&call)?;
        let parked = open.parked.take()?;
        open.waits = false;
        let silent = open.silent;
        table.parked_bytes = table.parked_bytes.saturating_sub(parked.bytes);
        if silent {
            table.calls.remove(&call);
        }
        Some(*parked)
    }

    /// Takes out the call that waits under this number, for good: its entry is about to be closed.
    pub fn take_parked(&mut self, call: CallId) -> Option<Parked> {
        let table = self.table.as_mut()?;
        let parked = table.calls.get_mut(&call)?.parked.take()?;
        table.parked_bytes = table.parked_bytes.saturating_sub(parked.bytes);
        Some(*parked)
    }

    /// Ends the wait of `call` at `deadline`, unless it is closed before.
    pub fn wait_until(&mut self, call: CallId, deadline: Instant) {
        let table = self.table.get_or_insert_default();
        let Some(open) = table.calls.get_mut(&call) else {
            return;
        };
        open.waits = true;
        let (key, calls) = ((call, open.ticket), &table.calls);
        let is_open = |key| is_open(calls, key);
        table.waiting.insert(deadline, key, calls.len(), is_open);
    }

    /// The next wait whose deadline has passed. Calls that were routed meanwhile are their callee's business.
    pub fn expire(&mut self, now: Instant) -> Option<CallId> {
        let table = self.table.as_mut()?;
        while let Some((call, ticket)) = table.waiting.expired(now) {
            let open = table.calls.get(&call).filter(|open| open.ticket == ticket);
            if open.is_some_and(|open| open.waits && !open.cancelled) {
                return Some(call);
            }
        }
        None
    }

    /// When [`Self::expire`] is to be called next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let Open { calls, waiting, .. } = &mut **self.table.as_mut()?;
        waiting.next(|key| is_open(calls, key))
    }
}

fn is_open(calls: &Table<CallId, OpenCall>, (call, ticket): (CallId, Ticket)) -> bool {
    calls.get(&call).is_some_and(|open| open.ticket == ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_own_deadline_whatever_had_its_number_before() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut open = OpenCalls::default();
        let wait = |open: &mut OpenCalls, call, ticket, until| {
            assert!(open.insert(CallId(call), Ticket(ticket), None));
            open.wait_until(CallId(call), at(until));
        };
        wait(&mut open, 1, 11, 30);
        wait(&mut open, 5, 12, 60);
        assert!(open.remove(CallId(5)).is_some());
        wait(&mut open, 5, 13, 3_600);
        assert!(!open.is_waiting(CallId(5), Ticket(12)) && open.is_waiting(CallId(5), Ticket(13)));
        assert_eq!(open.expire(at(30)), Some(CallId(1)));
        assert!(open.remove(CallId(1)).is_some());
        assert_eq!(open.next_deadline(), Some(at(3_600)));
        assert_eq!(open.expire(at(3_599)), None);
        assert_eq!(open.expire(at(3_600)), Some(CallId(5)));
    }

    #[test]
    fn a_rest_takes_a_table_only_when_it_is_empty() {
        let mut open = OpenCalls::default();
        for call in [1, 2] {
            assert!(open.insert(CallId(call), Ticket(call), None));
            open.rest();
            assert_eq!(open.len(), 1);
            assert!(open.remove(CallId(call)).is_some());
            assert!(open.table.is_some(), "the next call needs it soon");
            open.rest();
            assert!(open.table.is_none());
        }
    }
}

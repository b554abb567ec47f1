//! Calls that this peer has been given and owes an answer: the callee's side.
//!
//! Owns each call's [`ReplyTo`], its deadline and its stream window. An answer is accepted only here, that is, from the connection
//! that was given the call. Dropping the table answers every caller. Pure; called by `session` and the Connection's timer.

use super::open_calls::KEPT_MAX;
use super::session::message_too_large;
use crate::actors::credit::Window;
use crate::actors::deadlines::Deadlines;
use crate::actors::deliver::{Class, Verdict};
use crate::actors::peer::{PeerRef, ReplyTo};
use crate::actors::planted::{self, Bug};
use crate::actors::regions::Seat;
use crate::actors::table::Table;
use crate::config::Limits;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Attachment, CallId, Flags, Kind, Ticket};
use std::collections::hash_map::Entry;
use std::time::Instant;

/// One call that waits for this peer.
#[derive(Debug)]
struct Slot {
    reply: ReplyTo,
    /// When it was taken.
    began: Instant,
    deadline: Instant,
    /// When the time until the deadline began: with each streamed item, in either direction, it begins again.
    since: Instant,
    stream: bool,
    /// Items follow the call: bytes of them that the callee has not taken.
    unread: Option<usize>,
    window: Window,
    /// A reply in pieces is under way; `true`: it is the last one.
    continuing: Option<bool>,
    /// Payload bytes of the reply in pieces so far.
    total: usize,
    /// The caller takes the payload of the reply under way as a region.
    seat: Option<Seat>,
}

impl Slot {
    /// A reply in pieces has more of them. `false`: it is too large.
    fn grows(&mut self, view: &FrameView<'_>, limits: &Limits) -> bool {
        let before = if view.header.kind == Kind::Reply {
            0
        } else {
            self.total
        };
        self.seat = None;
        self.total = before.saturating_add(view.brings().unwrap_or(usize::MAX));
        self.total <= limits.message_bytes
    }

    /// There was a sign of life: the time until the deadline begins again.
    fn restart(&mut self, now: Instant) {
        let patience = self.deadline.saturating_duration_since(self.since);
        self.deadline = now.checked_add(patience).unwrap_or(self.deadline);
        self.since = now;
    }
}

/// A call as it is taken.
#[derive(Debug)]
pub struct NewCall {
    /// The broker's number.
    pub ticket: Ticket,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// When it ends at the latest.
    pub deadline: Instant,
    /// Whether the caller takes more than one reply.
    pub stream: bool,
    /// Whether items follow it.
    pub items: bool,
    /// For streamed replies and for pieces.
    pub window: Window,
}

/// What became of a frame that answers.
#[derive(Debug)]
pub enum Outcome {
    /// It goes to the caller; `true`: it is the last one.
    Forward(PeerRef, CallId, bool),
    /// The caller does not wait any more, or never did: counted.
    Late,
    /// The call was ended by the broker; the callee is to stop.
    Stop,
    /// The callee sent more than the caller granted.
    WindowExceeded,
}

/// What one peer owes.
#[derive(Debug, Default)]
pub struct Slots {
    /// Nothing until the first call: most connections are nobody's callee.
    table: Option<Box<Owed>>,
}

#[derive(Debug, Default)]
struct Owed {
    slots: Table<Ticket, Slot>,
    deadlines: Deadlines<Ticket>,
}

impl Slots {
    /// How many calls wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.slots.len())
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a call: from now on it may have run.
    pub fn open(&mut self, now: Instant, call: NewCall) {
        let NewCall {
            ticket,
            mut reply,
            deadline,
            stream,
            items,
            window,
        } = call;
        reply.mark_taken();
        planted::remember(ticket, &reply);
        let slot = Slot {
            reply,
            began: now,
            deadline,
            since: now,
            stream,
            unread: items.then_some(0),
            window,
            continuing: None,
            total: 0,
            seat: None,
        };
        let Owed { slots, deadlines } = &mut **self.table.get_or_insert_default();
        slots.insert(ticket, slot);
        deadlines.insert(deadline, ticket, slots.len(), |ticket| {
            slots.contains_key(&ticket)
        });
    }

    /// A `Reply`, `ReplyPiece` or `Error` of the callee, with what is attached to it.
    pub fn answer(
        &mut self,
        now: Instant,
        (view, attachments): (&FrameView<'_>, &[Attachment]),
        limits: &Limits,
    ) -> Outcome {
        let header = view.header;
        let ticket = Ticket(header.id);
        let Some(table) = &mut self.table else {
            return Outcome::Late;
        };
        let Entry::Occupied(mut place) = table.slots.entry(ticket) else {
            return Outcome::Late;
        };
        let slot = place.get_mut();
        let more = header.flags.has(Flags::MORE);
        let continued = header.flags.has(Flags::CONTINUED);
        let last = match (header.kind, slot.continuing) {
            (Kind::ReplyPiece, Some(last)) => last && !continued,
            (Kind::Reply, None) => !more && !continued,
            (Kind::Error, _) => true,
            _ => return self.refuse(ticket, &invalid("the callee's reply pieces were out of order")),
        };
        if more && !slot.stream {
            let text = "the callee streams its reply, but the caller asked for a single one";
            return self.refuse(ticket, &invalid(text));
        }
        if (header.kind == Kind::ReplyPiece || continued) && !slot.grows(view, limits) {
            return self.refuse(ticket, &message_too_large(limits).ran(true));
        }
        let windowed = header.kind == Kind::ReplyPiece || more || continued;
        if windowed && !slot.window.spend(header.wire_len()) {
            return Outcome::WindowExceeded;
        }
        slot.continuing = match header.kind {
            Kind::Reply if continued => Some(!more),
            Kind::ReplyPiece if continued => slot.continuing,
            _ => None,
        };
        let Some(asker) = slot.reply.asker() else {
            return Outcome::Late;
        };
        if u32::from(header.attachments) > asker.max_attachments() {
            let text = "the reply carries attachments, and the caller's connection takes none";
            return self.refuse(ticket, &CallError::new(ErrorCode::TooLarge, text).ran(true));
        }
        if asker.account.admit(Class::Answer, header.wire_len()) == Verdict::Overflow {
            let text = format!("{}; {}", ErrorCode::ReplyLost.text(), asker.account.why_full());
            self.fail(ticket, &CallError::new(ErrorCode::ReplyLost, text));
            return if last { Outcome::Late } else { Outcome::Stop };
        }
        slot.reply.answers(
            (view, attachments),
            last,
            now.saturating_duration_since(slot.began),
        );
        let call = slot.reply.call();
        if last && !planted::is(Bug::SlotNotReleased) {
            let asker = place.remove().reply.forward();
            self.emptied();
            return asker.map_or(Outcome::Late, |asker| {
                Outcome::Forward(asker, call, !planted::is(Bug::AnswerNeverEnds))
            });
        }
        let Some(asker) = slot.reply.asker().cloned() else {
            return Outcome::Late;
        };
        slot.restart(now);
        Outcome::Forward(asker, call, last && !planted::is(Bug::AnswerNeverEnds))
    }

    /// The payload of the reply that has begun is offered as a region. Returns whether its caller takes it so.
    pub fn offered(&mut self, ticket: Ticket) -> bool {
        let slot = self.table.as_mut().and_then(|table| table.slots.get_mut(&ticket));
        let Some(slot) = slot.filter(|slot| slot.total == 0) else {
            return false;
        };
        slot.seat = slot.reply.asker().and_then(Seat::take);
        slot.seat.is_some()
    }

    /// The seat of the region that comes, if it was taken and nothing else has come of its message.
    #[must_use]
    pub fn take_seat(&mut self, ticket: Ticket) -> Option<Seat> {
        let slot = self.table.as_mut()?.slots.get_mut(&ticket)?;
        slot.seat.take().filter(|_| slot.total == 0)
    }

    /// Whether the call still waits.
    #[must_use]
    pub fn contains(&self, ticket: Ticket) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|table| table.slots.contains_key(&ticket))
    }

    /// The callee gives credit for pieces, or takes items. Returns the caller, with its number, to pass it on.
    pub fn credited(&mut self, now: Instant, ticket: Ticket, bytes: u32) -> Option<(&PeerRef, CallId)> {
        let slot = self.table.as_mut()?.slots.get_mut(&ticket)?;
        // Credit for nothing is no sign of life: a callee cannot keep a call with it.
        if let Some(unread) = slot.unread.filter(|unread| *unread > 0 && bytes > 0) {
            slot.unread = Some(unread.saturating_sub(bytes as usize));
            slot.restart(now);
        }
        Some((slot.reply.asker()?, slot.reply.call()))
    }

    /// A piece of a call comes, with what is attached to it. Returns whether the call still waits.
    pub fn piece(
        &mut self,
        now: Instant,
        ticket: Ticket,
        (view, attachments): (&FrameView<'_>, &[Attachment]),
    ) -> bool {
        let table = self.table.as_mut();
        let Some(slot) = table.and_then(|table| table.slots.get_mut(&ticket)) else {
            return false;
        };
        slot.reply.piece(view, attachments);
        if let Some(unread) = slot.unread {
            slot.unread = Some(unread.saturating_add(view.header.wire_len()));
            slot.restart(now);
        }
        true
    }

    /// The caller takes more. Some: so much is to be passed on to the callee now.
    pub fn refill(&mut self, ticket: Ticket, bytes: u32) -> Option<u32> {
        self.table.as_mut()?.slots.get_mut(&ticket)?.window.give(bytes)
    }

    /// The caller does not want it any more. `true`: it was still open, the callee is to be told.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let ticket = match planted::is(Bug::CancelWrongTicket) {
            true => self.first().unwrap_or(ticket),
            false => ticket,
        };
        self.remove(ticket).map(|slot| slot.reply.forget()).is_some()
    }

    /// Ends the calls whose deadline has passed; returns one of them at a time.
    pub fn expire(&mut self, now: Instant) -> Option<Ticket> {
        if planted::is(Bug::DeadlineIgnored) {
            return self.table.as_mut()?.deadlines.expired(now).and(None);
        }
        // Whatever ends here may have taken the table with it.
        while let Some(table) = &mut self.table
            && let Some(ticket) = table.deadlines.expired(now)
        {
            let Some(slot) = table.slots.get(&ticket) else {
                continue;
            };
            if slot.deadline > now {
                let (slots, at) = (&table.slots, slot.deadline);
                let is_open = |ticket| slots.contains_key(&ticket);
                table.deadlines.insert(at, ticket, slots.len(), is_open);
                continue;
            }
            if let Some(slot) = self.remove(ticket) {
                slot.reply.fail(&CallError::new(
                    ErrorCode::Deadline,
                    "the callee did not answer before the deadline",
                ));
                return Some(ticket);
            }
        }
        None
    }

    /// When [`Self::expire`] is to be called next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let Owed { slots, deadlines } = &mut **self.table.as_mut()?;
        deadlines.next(|ticket| slots.contains_key(&ticket))
    }

    /// The oldest of them.
    fn first(&self) -> Option<Ticket> {
        self.table.as_ref()?.slots.keys().min().copied()
    }

    /// Answers a call with an error. `true`: it was still open.
    pub fn fail(&mut self, ticket: Ticket, why: &CallError) -> bool {
        self.remove(ticket).map(|slot| slot.reply.fail(why)).is_some()
    }

    fn refuse(&mut self, ticket: Ticket, why: &CallError) -> Outcome {
        if let Some(slot) = self.remove(ticket) {
            slot.reply.fail(why);
        }
        Outcome::Stop
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Slot> {
        let slot = self.table.as_mut()?.slots.remove(&ticket);
        self.emptied();
        slot
    }

    /// Nothing has been asked of this peer for a while: an empty table goes, of whatever size.
    pub fn rest(&mut self) {
        self.table.take_if(|table| table.slots.is_empty());
    }

    /// Many calls leave large tables: an empty one is given back.
    fn emptied(&mut self) {
        let large = |table: &Owed| table.slots.is_empty() && table.slots.capacity() > KEPT_MAX;
        if self.table.as_deref().is_some_and(large) {
            self.table = None;
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        // The callers hear of it in the order of their calls, not of a table: what happens next must not depend on chance.
        let mut left: Vec<(Ticket, Slot)> = self.slots.drain().collect();
        left.sort_unstable_by_key(|(ticket, _)| *ticket);
    }
}

/// The callee broke a rule of replies; its method has begun.
fn invalid(why: &str) -> CallError {
    CallError::new(ErrorCode::Invalid, why).ran(true)
}

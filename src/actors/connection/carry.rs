//! The descriptors that came over one connection: their charge, and how long they may wait for their frame.
//!
//! Part of [`Life`]. What a frame with descriptors may do is `session`'s decision, sending them on is `sending`'s business. A
//! descriptor is closed by a thread of its own, never here (see [`transport::passing`](crate::transport::passing)).

use super::life::{Life, Phase};
use super::open_calls::OpenCall;
use super::outbox::{Subject, gap_frame};
use super::perform::Rooms;
use crate::actors::core::Shared;
use crate::actors::descriptors::{Account, Table};
use crate::actors::messages::Control;
use crate::actors::peer::error_frame;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::arrivals::{Arrival, Arrivals};
use crate::message::{Attachment, Batch, CallId, Draft, Flags, Header, Kind, SubscriptionId, Ticket};
use crate::platform::open_files;
use crate::transport::{Passing, descriptor_number, is_unix_socket, may_share, region, withheld};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What has come and waits.
#[derive(Debug)]
pub(super) struct Carry {
    arrivals: Arrivals,
    account: Arc<Account>,
}

impl Carry {
    fn new(user: Option<u32>, shared: &Shared) -> Self {
        Self {
            arrivals: Arrivals::default(),
            account: Account::new(user, shared.descriptors.clone()),
        }
    }

    fn judge(&self, shared: &Shared, attachment: Attachment) -> Arrival {
        let table = Table {
            limit: open_files::limit(),
            number: descriptor_number(&attachment),
        };
        match self.account.charge(&shared.limits, table) {
            Ok(charge) => Ok(Passing::wrap(attachment, Box::new(charge))),
            Err(refusal) => {
                shared.metrics.attachments_refused.add(1);
                discard(attachment);
                Err(Box::new(refusal))
            }
        }
    }
}

/// Calls, answers and events carry no Unix sockets where the broker does not allow them.
fn check_sockets(header: &Header, attachments: &[Attachment]) -> Result<(), Box<CallError>> {
    let asked = matches!(header.kind, Kind::Call | Kind::Reply | Kind::Publish);
    if !asked || !attachments.iter().any(is_unix_socket) {
        return Ok(());
    }
    let text = "Unix sockets cannot be attached (limits.attach_unix_sockets)";
    Err(Box::new(CallError::new(ErrorCode::Denied, text).ran(false)))
}

/// What was not taken over goes nowhere, whatever is allowed.
fn check_withheld(attachments: &[Attachment]) -> Result<(), Box<CallError>> {
    let Some(why) = attachments.iter().find_map(withheld) else {
        return Ok(());
    };
    let text = format!(
        "a handle was not taken over: {why} (events, files, mutexes, pipes, sections, semaphores and timers are)"
    );
    Err(Box::new(CallError::new(ErrorCode::Denied, text).ran(false)))
}

/// Whether each region is what its frame says.
fn check_regions(batch: &Batch) -> Result<(), String> {
    if !batch.has_attachments() {
        return Ok(());
    }
    let regions = batch
        .headers()
        .enumerate()
        .filter(|(_, header)| header.is_region());
    for (index, _) in regions {
        // What was refused, and what has no length, is answered by the session.
        let length = batch.view(index).and_then(|view| view.brings());
        if let (Some(length), [attachment]) = (length, batch.attachments(index)) {
            region::check(attachment, length)?;
        }
    }
    Ok(())
}

/// Closes what is not charged.
fn discard(attachment: Attachment) {
    drop(Passing::wrap(attachment, Box::new(())));
}

/// How long a descriptor may wait for anything.
pub(super) fn wait_limit(shared: &Shared) -> Duration {
    Duration::from_millis(u64::from(shared.limits.descriptor_wait_ms))
}

impl<R: Rooms> Life<R> {
    /// Takes in what came with a read. `false`: it may not come now; its bytes are not to be looked at.
    pub(super) fn arrived(&mut self, now: Instant, attachments: Vec<Attachment>) -> bool {
        if attachments.is_empty() {
            return true;
        }
        let rooms = self.rooms.clone();
        let shared = rooms.shared();
        let count = attachments.len() as u64;
        if !matches!(self.phase, Phase::Ready(_)) {
            attachments.into_iter().for_each(discard);
            shared.metrics.attachments_in.add(count);
            shared.metrics.attachments_refused.add(count);
            if !matches!(self.phase, Phase::Lingering(_)) {
                let text = "attachments came before the handshake was done";
                self.close(CloseReason::Protocol, text);
            }
            return false;
        }
        let uid = self
            .session()
            .and_then(|session| session.me().principal.counted());
        let carry = match &mut self.carry {
            Some(carry) => carry,
            none => none.insert(Box::new(Carry::new(uid, shared))),
        };
        for attachment in attachments {
            let arrival = carry.judge(shared, attachment);
            carry.arrivals.push(now, arrival);
        }
        shared.metrics.attachments_in.add(count);
        let (waiting, most) = (carry.arrivals.len(), shared.limits.descriptors);
        if waiting > most {
            let text = format!(
                "{waiting} descriptors wait for frames that take them, at most {most} may (limits.descriptors)"
            );
            self.close(CloseReason::TooMany, &text);
            return false;
        }
        true
    }

    /// Gives the frames of a batch what has come for them. `false`: not enough has, and the connection is being closed.
    pub(super) fn attach(&mut self, batch: &mut Batch) -> bool {
        let Some(carry) = &mut self.carry else { return true };
        let enough = carry.arrivals.is_empty() || carry.arrivals.attach(batch);
        if batch.has_attachments() {
            let (shared, metrics) = (self.rooms.shared(), self.rooms.metrics());
            let sockets = shared.limits.attach_unix_sockets;
            batch.check_attachments(|header, attachments| {
                let allowed = check_withheld(attachments).and_then(|()| match sockets {
                    true => Ok(()),
                    false => check_sockets(header, attachments),
                });
                if allowed.is_err() {
                    metrics.attachments_refused.add(attachments.len() as u64);
                } else if may_share(attachments) {
                    metrics.messages_in_regions.add(1);
                    tracing::trace!(kind = header.kind.name(), way = "region", "a large message");
                }
                allowed
            });
        }
        if let Err(what) = check_regions(batch) {
            let text = format!(
                "a region is sent as sealed memory of the length that its frame tells; this is {what}"
            );
            self.close(CloseReason::Protocol, &text);
            return false;
        }
        if !enough {
            let text = "the attachments that a frame declares did not come with it";
            self.close(CloseReason::Protocol, text);
        }
        enough
    }

    /// A frame that declares so many descriptors is read over: they are closed, also those that have not come.
    pub(super) fn give_up_arrivals(&mut self, declared: usize) {
        if declared == 0 {
            return;
        }
        let rooms = self.rooms.clone();
        let shared = rooms.shared();
        let uid = self
            .session()
            .and_then(|session| session.me().principal.counted());
        let carry = match &mut self.carry {
            Some(carry) => carry,
            none => none.insert(Box::new(Carry::new(uid, shared))),
        };
        let closed = carry.arrivals.give_up(declared);
        shared.metrics.attachments_refused.add(closed as u64);
    }

    /// When the oldest descriptor has waited for too long.
    pub(super) fn arrivals_deadline(&self) -> Option<Instant> {
        self.carry
            .as_ref()?
            .arrivals
            .oldest()?
            .checked_add(wait_limit(self.rooms.shared()))
    }

    /// No frame took a descriptor in time.
    pub(super) fn arrivals_expired(&mut self) {
        let Some(carry) = &mut self.carry else { return };
        let lost = std::mem::take(&mut carry.arrivals).len();
        let shared = self.rooms.shared();
        shared.metrics.attachments_refused.add(lost as u64);
        let text = format!(
            "no frame took the descriptors within {} ms (limits.descriptor_wait_ms)",
            shared.limits.descriptor_wait_ms
        );
        self.close(CloseReason::Protocol, &text);
    }

    /// Forgets the account of descriptors once nothing is charged to it.
    pub(super) fn settle_carry(&mut self) {
        let idle = |carry: &Carry| carry.arrivals.is_empty() && carry.account.used() == 0;
        if self.carry.as_deref().is_some_and(idle) {
            self.carry = None;
        }
    }

    /// Whether a frame with descriptors waits to be written.
    pub(super) fn carries(&self) -> bool {
        self.outbox.carries() && !matches!(self.phase, Phase::Closing)
    }

    /// Whether nothing is worth waiting for any more.
    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// A frame with descriptors that was about to be written cannot be sent: who waits for its outcome is told.
    pub(super) fn not_sent(&mut self, subject: Subject, why: &str) {
        let Subject {
            kind,
            id,
            missed,
            is_silent,
        } = subject;
        if kind == Kind::Event {
            let gap = gap_frame(SubscriptionId(id), missed.saturating_add(1));
            self.rooms.metrics().events_missed.add(1);
            return self.outbox.push_frame(gap.into());
        }
        if kind == Kind::EventPiece {
            // What came of the event before is void, and it was missed.
            let void = Draft::new(Kind::EventPiece, id).aux(missed).flags(Flags::ABORT);
            self.outbox.push_frame(void.to_vec().into());
            self.rooms.metrics().events_missed.add(1);
            return self.outbox.push_frame(gap_frame(SubscriptionId(id), 1).into());
        }
        if kind == Kind::Message {
            if let Phase::Ready(session) | Phase::Lingering(session) = &mut self.phase {
                session.message_not_sent(id);
            }
            return;
        }
        if !matches!(kind, Kind::Call | Kind::CallPiece) {
            return self.reply_not_sent(CallId(id), why);
        }
        if is_silent {
            return self.rooms.metrics().one_way_dropped.add(1);
        }
        let error = CallError::new(ErrorCode::Overloaded, why).ran(false);
        if kind == Kind::CallPiece {
            // The callee has the beginning of it.
            self.outbox
                .push_frame(Draft::new(Kind::Cancel, id).to_vec().into());
        }
        if let Phase::Ready(session) | Phase::Lingering(session) = &mut self.phase
            && session.slots.fail(Ticket(id), &error)
        {
            session.me().account.set_load(session.slots.len());
        }
    }

    /// A reply, or a part of one: the call ends with this, and nothing of it follows, for its number may be used again then.
    fn reply_not_sent(&mut self, call: CallId, why: &str) {
        let left = self.outbox.forget_answers(call);
        if let Phase::Ready(session) | Phase::Lingering(session) = &mut self.phase {
            session.me().account.release(left.charged);
            if let Some(OpenCall { callee, ticket, .. }) = session.open.remove(call)
                && let Some(callee) = callee
            {
                callee.tell(Control::Cancel(ticket));
            }
        }
        if !left.ended {
            let text = format!("the reply was not sent: {why}");
            let error = CallError::new(ErrorCode::ReplyLost, text).ran(true);
            self.outbox.push_frame(error_frame(call.0, &error).into());
        }
    }
}

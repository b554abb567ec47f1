//! What the broker's actors say to each other.
//!
//! Frames never travel alone: a delivery names frames of a shared [`Batch`]. Sizes are kept small, because a vector
//! of them is built for every batch.

use super::peer::{PeerRef, ReplyTo};
use super::quota::Permit;
use super::receipt::{Owed, Receipt, Settled};
use crate::error::{CallError, CloseReason};
use crate::message::{Batch, CallId, PeerId, RequestId, SubscriptionId, Ticket};
use std::sync::Arc;
use std::time::Instant;

/// What a peer's inbox takes: at most one per sender and turn.
#[derive(Debug)]
pub enum Deliver {
    /// Calls of one caller for objects of this peer.
    Calls(PeerRef, Arc<Batch>, Vec<Invoke>),
    /// Calls of this peer that found no object and are to wait with it.
    Parked(Arc<Batch>, Vec<Invoke>),
    /// Answers to calls of this peer, as their callee sent them.
    Answers(Arc<Batch>, Vec<Answer>),
    /// Events for subscriptions of this peer.
    Events(Arc<Batch>, Vec<EventItem>),
    /// Messages of one sender for endpoints of this peer.
    Messages(PeerRef, Arc<Batch>, Vec<MessageItem>),
    /// What became of messages of this peer.
    Settled(Vec<Settled>),
    /// Where this peer's calls went (one per batch).
    Routed(Routes),
    /// Anything small.
    Control(Control),
}

impl Deliver {
    /// How many frames of others it brings.
    #[must_use]
    pub fn frames(&self) -> usize {
        match self {
            Self::Calls(_, _, calls) => calls.len(),
            Self::Answers(_, answers) => answers.len(),
            Self::Events(_, items) => items.iter().map(|item| item.count as usize).sum(),
            Self::Messages(_, _, items) => items.iter().map(|item| item.count as usize).sum(),
            Self::Control(Control::CallPiece(..)) => 1,
            Self::Parked(..) | Self::Settled(_) | Self::Routed(_) | Self::Control(_) => 0,
        }
    }
}

/// Where one call went.
#[derive(Debug)]
pub struct Route {
    /// The caller's number.
    pub call: CallId,
    /// The broker's number.
    pub ticket: Ticket,
    /// Who has it.
    pub callee: PeerRef,
}

/// Where the calls of one batch went. What nobody takes was for a caller that is gone: its callees are told, by the drop, that
/// nobody waits for them.
#[derive(Debug)]
pub struct Routes(pub Vec<Route>);

impl Drop for Routes {
    fn drop(&mut self) {
        for route in self.0.drain(..) {
            route.callee.tell(Control::Cancel(route.ticket));
        }
    }
}

/// One call on its way to its callee.
#[derive(Debug)]
pub struct Invoke {
    /// Which frame of the batch.
    pub frame: u32,
    /// The broker's number for it.
    pub ticket: Ticket,
    /// When it ends at the latest.
    pub deadline: Instant,
    /// Where the answer goes; `None` for calls without reply.
    pub reply: Option<ReplyTo>,
}

impl Invoke {
    /// The number under which it waits for its object: its caller's, or for one without reply, which has none, one that callers who
    /// count from 1 never come to.
    pub(super) fn waits_as(&self) -> CallId {
        let own = CallId(u64::MAX.saturating_sub(self.ticket.0));
        self.reply.as_ref().map_or(own, ReplyTo::call)
    }
}

/// One frame of an answer on its way to the caller.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Which frame of the batch.
    pub frame: u32,
    /// The caller's number.
    pub call: CallId,
    /// The broker's number.
    pub ticket: Ticket,
    /// Nothing of this call follows.
    pub last: bool,
}

/// Messages on their way from their sender to Registry: one, or a run of plain ones that follow each other in the batch, with the
/// same selector, the same time to wait and the same size.
#[derive(Debug)]
pub struct SendRun {
    /// Which frame of the batch is the first.
    pub frame: u32,
    /// What their sender is owed; so many they are.
    pub owed: Owed,
}

/// Messages on their way to one endpoint: one, or a run of plain ones that follow each other in the batch.
#[derive(Debug)]
pub struct MessageItem {
    /// Which frame of the batch is the first.
    pub frame: u32,
    /// How many frames it names, that one included.
    pub count: u32,
    /// The endpoint's number.
    pub endpoint: RequestId,
    /// The receiving connection's number for one that carries attachments; else 0.
    pub serial: u64,
    /// This endpoint's part of what their sender is owed; nothing once its connection keeps it.
    pub receipt: Option<Receipt>,
}

/// Events on their way to one subscription: one, or a run of plain ones that follow each other in the batch.
#[derive(Clone, Copy, Debug)]
pub struct EventItem {
    /// Which frame of the batch is the first.
    pub frame: u32,
    /// How many frames it names, that one included. More than one only without marks but [`EventMark::WITH_KEY`].
    pub count: u32,
    /// Events that this subscription missed just before the first, or the number of a message in pieces.
    pub missed: u32,
    /// The subscriber's number.
    pub subscription: SubscriptionId,
    /// How it is to be treated and written.
    pub mark: EventMark,
}

impl EventItem {
    /// Tells of missed events in their place in the queue.
    #[must_use]
    pub const fn gap(subscription: SubscriptionId, missed: u32) -> Self {
        Self {
            frame: 0,
            count: 1,
            missed,
            subscription,
            mark: EventMark(EventMark::GAP),
        }
    }
}

/// Bits of an [`EventItem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EventMark(pub u8);

impl EventMark {
    /// The key goes with it: the subscription is a pattern.
    pub const WITH_KEY: u8 = 1;
    /// A retained value.
    pub const RETAINED: u8 = 2;
    /// May be dropped when newer ones do not fit.
    pub const DROP_OLDEST: u8 = 4;
    /// Replaces an older one of the same subscription and topic.
    pub const LATEST: u8 = 8;
    /// No longer wanted.
    pub const DROPPED: u8 = 16;
    /// Aborts a message in pieces; the frame is not looked at.
    pub const ABORT: u8 = 32;
    /// Begins or continues a message in pieces: `missed` is the message's number.
    pub const NUMBERED: u8 = 64;
    /// No event: `missed` of them are told in their place in the queue; the frame is not looked at.
    pub const GAP: u8 = 128;

    /// Whether the bit is set.
    #[must_use]
    pub const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// With the bit set when `condition` holds.
    #[must_use]
    pub const fn with_if(self, condition: bool, bit: u8) -> Self {
        if condition { Self(self.0 | bit) } else { self }
    }
}

/// Small things that a peer is told.
#[derive(Debug)]
pub enum Control {
    /// The broker's own answer to the request `call` of this peer.
    Answered {
        /// The asker's number.
        call: CallId,
        /// The broker's number: the asker may have given its own to another request meanwhile.
        ticket: Ticket,
        /// The whole frame.
        frame: Box<[u8]>,
    },
    /// A frame of the broker that answers nothing (ownership, notice).
    Frame(Box<[u8]>),
    /// The objects that this call or Wait waits for are there. The ticket tells it from another that has got its number since, here and
    /// in the two below.
    Present(CallId, Ticket),
    /// The caller of `ticket` no longer wants it.
    Cancel(Ticket),
    /// The caller of `ticket` takes more bytes of its streamed reply.
    ReplyCredit(Ticket, u32),
    /// The callee takes more bytes of the call's pieces.
    CallCredit(CallId, u32),
    /// More of the call `ticket`.
    CallPiece(Ticket, Arc<Batch>, u32),
    /// An event in pieces, under this number of the subscription, is by this publisher. For peers of the broker's own process, before its
    /// first frame.
    Begins(SubscriptionId, u32, PeerRef),
    /// Events were missed and none follows.
    Gaps(Vec<(SubscriptionId, u32)>),
    /// Publish credit is waiting in the account.
    Grant,
    /// The policy no longer lets this peer see what the call or wait waits for.
    WaitDenied(CallId, Ticket),
    /// The service that provides what the call or wait waits for has failed.
    WaitFailed(CallId, Ticket, Arc<CallError>),
    /// The broker is stopping.
    Drain,
    /// End the connection with this reason.
    Close(CloseReason, String),
}

/// What one batch holds for Registry.
#[derive(Debug)]
pub struct RegistryBatch {
    /// Who sent it.
    pub from: PeerRef,
    /// The frames.
    pub batch: Arc<Batch>,
    /// What is to be done, in the order of the frames.
    pub items: Vec<RegistryItem>,
    /// Keeps the sender's read gate charged until the batch is handled.
    pub permit: Option<Arc<Permit>>,
}

/// One thing for Registry.
#[derive(Debug)]
pub enum RegistryItem {
    /// Route a call.
    Call(Invoke),
    /// Route a call that has waited for its object.
    Again(Invoke),
    /// Any other request; the frame says which.
    Request(u32, ReplyTo),
    /// Route messages to endpoints.
    Send(SendRun),
    /// The call no longer waits for its object.
    Unwait(CallId),
}

/// What one batch holds for TopicHub.
#[derive(Debug)]
pub struct HubBatch {
    /// Who sent it.
    pub from: PeerRef,
    /// The frames.
    pub batch: Arc<Batch>,
    /// What is to be done, in the order of the frames.
    pub items: Vec<HubItem>,
    /// Keeps the sender's read gate charged until the batch is handled.
    pub permit: Option<Arc<Permit>>,
}

/// One thing for TopicHub: a frame and the answer that is owed for it, if any, or a run of plain publishes of one topic.
#[derive(Debug)]
pub struct HubItem {
    /// Which frame of the batch is the first.
    pub frame: u32,
    /// How many frames it names, that one included. The others follow it in the batch and are its like: a key and a payload.
    pub count: u32,
    /// Where the answer goes; nothing for a run.
    pub reply: Option<ReplyTo>,
}

impl HubItem {
    /// One frame.
    #[must_use]
    pub const fn new(frame: u32, reply: Option<ReplyTo>) -> Self {
        Self {
            frame,
            count: 1,
            reply,
        }
    }
}

/// A peer is ready; sent to Registry before any batch of it.
#[derive(Debug)]
pub struct Joined(pub PeerRef);

/// A peer is gone; nothing of it follows.
#[derive(Debug)]
pub struct Gone {
    /// Which.
    pub peer: PeerId,
    /// It said goodbye: its last will is void.
    pub in_order: bool,
}

/// A subscriber that was full has room again.
#[derive(Debug)]
pub struct Drained(pub PeerId);

/// Everybody is to be told that the broker stops.
#[derive(Debug)]
pub struct DrainAll;

/// Everybody is to be closed: the broker cannot go on, and why.
#[derive(Debug)]
pub struct CloseAll(pub &'static str);

/// There is another policy: what peers hold is to be looked at again.
#[derive(Debug)]
pub struct Revise;

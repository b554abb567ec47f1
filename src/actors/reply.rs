//! The answer that is owed to a peer.
//!
//! [`ReplyTo`] is exactly one answer: consumed by giving it, given by being dropped. It goes the way of all deliveries, to the asker's
//! [`Peer`](super::peer::Peer). Knows no actor; made by whoever asks, and held by whoever owes.

use super::messages::Control;
use super::observe::tally::Tracked;
use super::peer::PeerRef;
use super::planted::{self, Bug};
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Attachment, CallId, Draft, Flags, Kind, Ticket};
use std::time::Duration;

/// One answer that is owed to an asker. Giving it consumes it; dropping it gives an error, so that no way of
/// losing a message leaves somebody waiting.
#[derive(Debug)]
pub struct ReplyTo {
    to: Option<PeerRef>,
    call: CallId,
    ticket: Ticket,
    taken: bool,
    /// It is the answer to a call that was given to an owner.
    tracked: Option<Tracked>,
}

impl ReplyTo {
    /// The answer that `to` waits for under its number `call`.
    #[must_use]
    pub const fn new(to: PeerRef, call: CallId, ticket: Ticket) -> Self {
        Self {
            to: Some(to),
            call,
            ticket,
            taken: false,
            tracked: None,
        }
    }

    /// The asker's number.
    #[must_use]
    pub const fn call(&self) -> CallId {
        self.call
    }

    /// The broker's number for the request.
    #[must_use]
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The asker; `None` once answered.
    #[must_use]
    pub const fn asker(&self) -> Option<&PeerRef> {
        self.to.as_ref()
    }

    /// However it is given from now on, the object's counters know.
    pub fn track(&mut self, tracked: Tracked) {
        self.tracked = Some(tracked);
    }

    /// The owner of the object answers; `taken`: how long ago its connection was given the call.
    pub fn answers(&mut self, frame: (&FrameView<'_>, &[Attachment]), last: bool, taken: Duration) {
        if let (Some(tracked), Some(to)) = (&mut self.tracked, &self.to) {
            tracked.answers(frame, (self.ticket, to.id()), last, taken);
        }
    }

    /// The owner of the object is given a piece of the call.
    pub fn piece(&mut self, view: &FrameView<'_>, attachments: &[Attachment]) {
        if let Some(tracked) = &mut self.tracked {
            tracked.piece(view, attachments);
        }
    }

    fn breaks(&mut self, error: &CallError) {
        if let (Some(tracked), Some(to)) = (self.tracked.take(), &self.to) {
            tracked.breaks((self.ticket, to.id()), error);
        }
    }

    /// From now on the request may have run, whatever happens.
    pub const fn mark_taken(&mut self) {
        self.taken = true;
    }

    /// The answer travels as a frame of the callee.
    #[must_use]
    pub fn forward(mut self) -> Option<PeerRef> {
        self.to.take()
    }

    /// Nobody waits any more.
    pub fn forget(mut self) {
        self.breaks(&ErrorCode::Cancelled.into());
        self.to = None;
    }

    /// Answers with a frame of the broker's own.
    pub fn answer(mut self, draft: impl FnOnce(u64) -> Vec<u8>) {
        if let Some(to) = self.to.take() {
            to.tell(Control::Answered {
                call: self.call,
                ticket: self.ticket,
                frame: draft(self.call.0).into(),
            });
        }
    }

    /// Answers `Done`.
    pub fn done(self, aux: u32) {
        self.answer(|id| Draft::new(Kind::Done, id).aux(aux).to_vec());
    }

    /// Answers with an error.
    pub fn fail(mut self, error: &CallError) {
        self.breaks(error);
        self.answer(|id| error_frame(id, error));
    }

    fn orphaned(&self) -> CallError {
        if std::thread::panicking() {
            return CallError::new(
                ErrorCode::Internal,
                "the broker failed while it handled this request",
            );
        }
        let error = CallError::from(ErrorCode::CalleeGone);
        if self.taken {
            if planted::is(Bug::RanForgotten) {
                return error.ran(false);
            }
            return error;
        }
        CallError {
            message: "the connection ended before it was given the call".into(),
            ..error
        }
        .ran(false)
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if self.to.is_none() {
            return;
        }
        let error = self.orphaned();
        self.breaks(&error);
        if let Some(to) = self.to.take() {
            let frame = error_frame(self.call.0, &error);
            to.tell(Control::Answered {
                call: self.call,
                ticket: self.ticket,
                frame: frame.into(),
            });
        }
    }
}

/// The frame that tells an asker of an error.
#[must_use]
pub fn error_frame(id: u64, error: &CallError) -> Vec<u8> {
    Draft::new(Kind::Error, id)
        .aux(error.code.code())
        .flags(Flags::NONE.with_if(error.may_have_run, Flags::MAY_HAVE_RUN))
        .payload(crate::message::Encoding::RAW, error.message.as_bytes())
        .to_vec()
}

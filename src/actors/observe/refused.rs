//! Calls that no owner gets and events that nobody gets, because the broker refuses them.
//!
//! Owns that they are shown as others are: a call with its answer, an event with the name of its error, a line of the log for each call,
//! and their number. Told by Registry, and by whoever performs for the caller's session. Decides nothing.

use super::said::{Said, What};
use super::tap::Tap;
use super::trace::{self, Outcome, Trace};
use crate::error::CallError;
use crate::message::frame::FrameView;
use crate::message::{Batch, Kind, PeerId, Ticket};
use crate::metrics::Metrics;
use std::sync::Arc;

/// What was refused.
#[derive(Debug)]
pub struct Refused {
    /// Which frame.
    pub frame: u32,
    /// What holds the frame; nothing: the batch under way.
    pub batch: Option<Arc<Batch>>,
    /// The broker's number for it.
    pub ticket: Ticket,
    /// No answer is wanted.
    pub silent: bool,
    /// Why.
    pub error: CallError,
}

impl Refused {
    /// Shows and counts it. `to`: whom it was for, if that is known.
    #[cold]
    pub fn tell(
        &self,
        (tap, metrics): (&Tap, &Metrics),
        view: &FrameView<'_>,
        from: PeerId,
        to: Option<PeerId>,
    ) {
        let is_call = view.header.kind == Kind::Call;
        if is_call {
            metrics.calls_refused.add(1);
            if trace::is_on() {
                Trace::begin(view, self.ticket, from, to).end(Outcome::Failed(&self.error));
            }
        }
        if !tap.is_on() {
            return;
        }
        if !is_call {
            let what = What::event(view.header, 0, Some(self.error.code));
            return tap.offer(&Said::framed(what, view, (from, None)));
        }
        let what = What::call(view.header, self.ticket, self.silent);
        let call = Said::framed(what, view, (from, to));
        tap.offer(&call);
        if !self.silent {
            tap.offer(&Said::failure(from, self.ticket, call.object, &self.error));
        }
    }
}

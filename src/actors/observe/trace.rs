//! One line of the log for each call, for those who ask for it: target `actix_ipc::calls`, level `trace`.
//!
//! Owns what is kept of a call until it ends, and the line. While nobody asks, a call pays one load of the level that is wanted
//! at most. Knows no queue and no connection; made by Registry, told the end by [`Tracked`](super::tally::Tracked).

use crate::error::CallError;
use crate::message::frame::FrameView;
use crate::message::{Kind, PeerId, Ticket, TraceParent, key, traceparent};
use crate::text;
use std::time::Duration;

/// The target of the lines.
const TARGET: &str = "actix_ipc::calls";

/// Whether anybody wants them.
#[inline]
#[must_use]
pub fn is_on() -> bool {
    tracing::event_enabled!(target: TARGET, tracing::Level::TRACE)
}

/// What is kept of a call.
#[derive(Debug)]
pub struct Trace {
    ticket: Ticket,
    from: PeerId,
    to: Option<PeerId>,
    object: Box<str>,
    method: Box<str>,
    parent: Option<TraceParent>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It was given to its owner and wants no answer.
    OneWay,
    /// The owner has answered so long after its connection was given the call.
    Answered(&'a FrameView<'a>, Duration),
    /// The broker has answered for it.
    Failed(&'a CallError),
    /// Nobody waited any more.
    Gone,
}

impl Trace {
    /// A call that is on its way to `to`, or to nobody.
    #[cold]
    #[must_use]
    pub fn begin(view: &FrameView<'_>, ticket: Ticket, from: PeerId, to: Option<PeerId>) -> Box<Self> {
        let (object, method) = key::split(view.key);
        let text = |bytes| String::from_utf8_lossy(bytes).into();
        Box::new(Self {
            ticket,
            from,
            to,
            object: text(object),
            method: text(method),
            parent: traceparent::of_block(view.meta),
        })
    }

    /// The call has ended: its line.
    #[cold]
    pub fn end(&self, outcome: Outcome<'_>) {
        let (outcome, us) = match outcome {
            Outcome::OneWay => ("one-way", None),
            Outcome::Answered(view, taken) => {
                let us = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
                let outcome = match view.header.kind {
                    Kind::Error => crate::error::ErrorCode::from_code(view.header.aux).name(),
                    _ => "answered",
                };
                (outcome, Some(us))
            }
            Outcome::Failed(error) => (error.code.name(), None),
            Outcome::Gone => ("gone", None),
        };
        tracing::trace!(
            target: TARGET,
            ticket = self.ticket.0,
            from = self.from.0,
            to = self.to.map(|peer| peer.0),
            object = %text::name(&self.object),
            method = %text::name(&self.method),
            outcome,
            us,
            traceparent = self.parent.map(tracing::field::display),
            "call"
        );
    }
}

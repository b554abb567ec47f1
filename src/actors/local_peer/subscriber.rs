//! One subscription of an actor of this process: from the outbox into the actor's mailbox.
//!
//! Owns the subscription's own outbox, so that its policy holds for it and a slow actor does not delay the others, and the event that found the
//! mailbox full. Handing over uses `try_send`; only an actor that has no event of this subscription left gets one beyond its bound,
//! because handling it is what calls for the next. Called by LocalPeer.

use super::kept::{Keeper, Kept};
use super::pieces::{self, Partial};
use super::topic_event::{Flow, MissedEvents, TopicEvent};
use crate::actors::connection::outbox::{Out, Outbox, event_charge};
use crate::actors::messages::{EventItem, EventMark};
use crate::actors::shares::Who;
use crate::message::frame::{FrameView, HEADER_LEN, parse_header};
use crate::message::key::split;
use crate::message::{Batch, Flags, Kind};
use actix::Recipient;
use actix::dev::SendError;
use std::collections::HashMap;
use std::sync::Arc;

/// Events of one subscription that may be with its actor at once, whatever its mailbox takes: the rest stays where the subscription's
/// policy can drop it.
const WINDOW: usize = 256;

/// What a subscription was asked for with.
pub(super) struct Wanted {
    pub(super) object: Arc<str>,
    pub(super) event: Arc<str>,
    pub(super) pattern: bool,
    pub(super) recipient: Recipient<TopicEvent>,
    pub(super) gaps: Option<Recipient<MissedEvents>>,
}

/// A subscription that was accepted.
pub(super) struct Subscriber {
    wanted: Wanted,
    pub(super) outbox: Outbox,
    flow: Arc<Flow>,
    /// Missed, to be told with the next event that is handed over.
    missed: u32,
    /// Missed after all that is queued, to be told with the next event that comes, or when the queue is empty.
    missed_last: u32,
    held: Option<TopicEvent>,
    /// Events in pieces, by their numbers.
    partials: HashMap<u32, Unfinished>,
    /// Holds what they have.
    keeper: Arc<Keeper>,
    /// The last key of a pattern's event, with its names: publishers send runs of one topic.
    last: Option<(Vec<u8>, Names)>,
}

type Names = (Arc<str>, Arc<str>);

/// An event whose last piece has not come.
enum Unfinished {
    /// None has; what they will hold is its publisher's.
    Announced(Kept),
    Begun(Names, Partial, Kept),
    /// It will be missed. That is told when its last piece comes: were it given up by its publisher or on its way, TopicHub tells it.
    GivenUp,
}

/// How a pump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// Everything is with the actor.
    All,
    /// The actor must handle some first.
    Stopped,
    /// The actor has ended.
    Closed,
}

impl Subscriber {
    pub(super) fn new(wanted: Wanted, flow: Arc<Flow>, keeper: Arc<Keeper>) -> Self {
        Self {
            wanted,
            outbox: Outbox::default(),
            flow,
            missed: 0,
            missed_last: 0,
            held: None,
            partials: HashMap::new(),
            keeper,
            last: None,
        }
    }

    /// Hands over what the actor takes. `limit`: the largest message in pieces, in bytes.
    pub(super) fn pump(&mut self, limit: usize) -> Pumped {
        loop {
            // An event that was held back is counted already.
            if self.held.is_none() && self.flow.is_enough(WINDOW) {
                if self.flow.stop_until(self.flow.in_flight() / 2) {
                    return self.stopped();
                }
                continue;
            }
            let Some(event) = self.held.take().or_else(|| self.next(limit)) else {
                if self.missed_last > 0 {
                    let count = std::mem::take(&mut self.missed_last);
                    self.gap(count);
                }
                return Pumped::All;
            };
            match self.wanted.recipient.try_send(event) {
                Ok(()) => {}
                Err(SendError::Closed(_)) => return Pumped::Closed,
                Err(SendError::Full(event)) => {
                    // The event itself is counted as well.
                    let before = self.flow.in_flight().saturating_sub(1);
                    if before == 0 {
                        self.wanted.recipient.do_send(event);
                        continue;
                    }
                    self.held = Some(event);
                    if self.flow.stop_until((before / 2).max(1)) {
                        return self.stopped();
                    }
                }
            }
        }
    }

    fn stopped(&mut self) -> Pumped {
        self.outbox.compact();
        Pumped::Stopped
    }

    /// Events were missed behind all that is queued.
    pub(super) const fn missed_last(&mut self, count: u32) {
        self.missed_last = self.missed_last.saturating_add(count);
    }

    /// An event in pieces comes next, under this number.
    pub(super) fn begins(&mut self, number: u32, publisher: Who) {
        let kept = self.keeper.part(publisher);
        self.partials.insert(number, Unfinished::Announced(kept));
    }

    /// Gives events that come what was missed just before them.
    pub(super) fn mark_missed(&mut self, items: &mut [EventItem]) {
        if let Some(first) = items.first_mut()
            && first.mark.0 & (EventMark::NUMBERED | EventMark::GAP) == 0
        {
            first.missed = first.missed.saturating_add(std::mem::take(&mut self.missed_last));
        }
    }

    /// Events were missed, and none follows for now.
    fn gap(&mut self, count: u32) {
        let Some(gaps) = &self.wanted.gaps else {
            self.missed = self.missed.saturating_add(count);
            return;
        };
        gaps.do_send(MissedEvents {
            object: self.wanted.object.clone(),
            event: self.wanted.event.clone(),
            count,
        });
    }

    /// Gives back what the queue is charged; the subscription is over.
    pub(super) fn discard(&mut self) {
        while let Some((batch, item)) = self.outbox.take_event() {
            self.flow.release(event_charge(&batch, &item));
        }
    }

    fn next(&mut self, limit: usize) -> Option<TopicEvent> {
        while let Some(out) = self.outbox.take_first() {
            if let Out::Frame(frame) = out
                && let Some(count) = gap_count(&frame)
            {
                self.gap(count);
            }
        }
        loop {
            let (batch, item) = self.outbox.take_event()?;
            if let Some(event) = self.event(&batch, item, limit) {
                return Some(event);
            }
        }
    }

    fn event(&mut self, batch: &Batch, item: EventItem, limit: usize) -> Option<TopicEvent> {
        if item.mark.has(EventMark::GAP) {
            self.gap(item.missed);
            return None;
        }
        let bytes = event_charge(batch, &item);
        if item.mark.has(EventMark::NUMBERED) {
            // Its bytes are with the message from now on, as they would be with a client.
            self.flow.release(bytes);
            return self.piece(batch, item, limit);
        }
        let Some(view) = batch.view(item.frame as usize) else {
            self.flow.release(bytes);
            return None;
        };
        let (object, event) = self.names(&view);
        Some(TopicEvent {
            object,
            event,
            payload: pieces::payload(batch, &view),
            metadata: pieces::metadata(view.meta),
            missed: item.missed.saturating_add(std::mem::take(&mut self.missed)),
            retained: item.mark.has(EventMark::RETAINED),
            _charge: Some(self.flow.enter(bytes)),
        })
    }

    fn piece(&mut self, batch: &Batch, item: EventItem, limit: usize) -> Option<TopicEvent> {
        let number = item.missed;
        if item.mark.has(EventMark::ABORT) {
            // TopicHub has counted it as missed.
            self.partials.remove(&number);
            return None;
        }
        let view = batch.view(item.frame as usize)?;
        let before = self.partials.remove(&number)?;
        let begun = self.add(&view, before, limit);
        if view.header.flags.has(Flags::CONTINUED) {
            self.partials.insert(number, begun);
            return None;
        }
        let Unfinished::Begun(names, mut message, kept) = begun else {
            self.gap(1);
            return None;
        };
        let metadata = std::mem::take(&mut message.metadata);
        Some(TopicEvent {
            object: names.0,
            event: names.1,
            payload: message.finish().0,
            metadata,
            missed: std::mem::take(&mut self.missed),
            retained: false,
            _charge: Some(self.flow.enter(0).keeping(kept)),
        })
    }

    /// More of an event in pieces.
    fn add(&mut self, view: &FrameView<'_>, before: Unfinished, limit: usize) -> Unfinished {
        let (names, message, mut kept) = match before {
            // It takes none: the payload of that frame is a length.
            _ if view.header.is_region() => return Unfinished::GivenUp,
            Unfinished::Announced(kept) => (self.names(view), Partial::begin(view), kept),
            Unfinished::Begun(names, mut message, kept) => match message.add(view.payload, limit) {
                true => (names, message, kept),
                false => return Unfinished::GivenUp,
            },
            Unfinished::GivenUp => return Unfinished::GivenUp,
        };
        match kept.grow(message.held()) {
            true => Unfinished::Begun(names, message, kept),
            false => Unfinished::GivenUp,
        }
    }

    fn names(&mut self, view: &FrameView<'_>) -> Names {
        if !self.wanted.pattern {
            return (self.wanted.object.clone(), self.wanted.event.clone());
        }
        if let Some((key, names)) = &self.last
            && key == view.key
        {
            return names.clone();
        }
        let (object, event) = split(view.key);
        let names: Names = (
            String::from_utf8_lossy(object).into(),
            String::from_utf8_lossy(event).into(),
        );
        self.last = Some((view.key.to_vec(), names.clone()));
        names
    }
}

fn gap_count(frame: &[u8]) -> Option<u32> {
    let head = frame.first_chunk::<HEADER_LEN>()?;
    let header = parse_header(head, usize::MAX).ok()?.ok()?;
    (header.kind == Kind::Gap).then_some(header.aux)
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;

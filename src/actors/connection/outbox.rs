//! What waits to be written to one peer, in lanes: replies and control first, events behind, the goodbye last.
//!
//! Owns the order of the lanes; what is dropped of a long queue is decided in `events`. Frames are encoded when the socket takes
//! them, straight from the batches they came in. Pure; called by `io` with a [`WriteBuf`].

mod again;
mod compact;
mod events;
mod lane;
mod messages;
mod take;
mod write;

pub use events::{event_charge, gap_frame};
pub use lane::{Forgotten, Out, RingOffer};
pub use write::{Subject, WriteBuf};

use crate::actors::messages::{Answer, EventItem, Invoke, MessageItem};
use crate::actors::peer::{Account, PeerRef};
use crate::message::bus::Settlement;
use crate::message::{Batch, CallId, Ticket};
use events::Events;
use lane::Lane;
use std::sync::Arc;
use std::time::Instant;

/// The queue of one peer.
#[derive(Debug, Default)]
pub struct Outbox {
    first: Lane,
    /// Nothing until the first event: most peers subscribe to nothing.
    events: Option<Box<Events>>,
    /// Boxed twice: few ever have one.
    goodbye: Option<Box<Box<[u8]>>>,
}

impl Outbox {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
            && self.goodbye.is_none()
            && self.events.as_ref().is_none_or(|events| events.is_empty())
    }

    /// Whether nothing waits but events.
    #[must_use]
    pub fn has_only_events(&self) -> bool {
        self.first.is_empty() && self.goodbye.is_none()
    }

    /// The same as [`Self::fill`], without events: they wait, and are missed in the end, as if the peer did not read.
    pub fn fill_without_events(&mut self, now: Instant, max: usize, out: &mut WriteBuf) -> usize {
        let first = self.first.fill(now, max, out);
        if out.is_empty()
            && self.first.is_empty()
            && let Some(frame) = self.goodbye.take()
        {
            out.bytes(&frame);
        }
        first
    }

    /// Bytes of the broker's own frames that wait.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.first.own_bytes()
    }

    /// Bytes of messages of the label bus that wait to be written, also of endpoints that have left.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.first.message_bytes()
    }

    /// Whether a frame with attachments waits.
    #[must_use]
    pub fn carries(&self) -> bool {
        self.first.carries() || self.events.as_ref().is_some_and(|events| events.carries())
    }

    /// A frame of the broker's own.
    pub fn push_frame(&mut self, frame: Box<[u8]>) {
        self.first.push_own(frame);
    }

    /// What follows this frame goes to shared memory.
    pub fn push_last_on_socket(&mut self, frame: Box<[u8]>) {
        self.first.push_last_on_socket(frame);
    }

    /// The offer of shared memory.
    pub fn push_ring(&mut self, offer: RingOffer) {
        self.first.push_ring(offer);
    }

    /// Answers, as their callee sent them.
    pub fn push_answers(&mut self, batch: Arc<Batch>, answers: Vec<Answer>) {
        self.first.push_forwards(batch, answers);
    }

    /// Drops what waits of the answers to a call.
    pub fn forget_answers(&mut self, call: CallId) -> Forgotten {
        self.first.forget_answers(call)
    }

    /// A frame of another peer, under the number that this one knows.
    pub fn push_forward(&mut self, batch: Arc<Batch>, frame: u32, id: u64) {
        let forward = Answer {
            frame,
            call: CallId(id),
            ticket: Ticket(id),
            last: false,
        };
        self.first.push_forwards(batch, vec![forward]);
    }

    /// Calls for this peer, all of one caller.
    pub fn push_calls(&mut self, from: PeerRef, batch: Arc<Batch>, calls: Vec<Invoke>) {
        self.first.push_calls(from, batch, calls);
    }

    /// Messages for endpoints of this peer, all of one sender.
    pub fn push_messages(&mut self, from: PeerRef, batch: Arc<Batch>, items: Vec<MessageItem>) {
        self.first.push_messages(from, batch, items);
    }

    /// What became of messages of this peer.
    pub fn push_settled(&mut self, entries: impl Iterator<Item = Settlement>) {
        entries.for_each(|entry| self.first.push_settled(entry));
    }

    /// The last frame there will be.
    pub fn push_goodbye(&mut self, frame: Vec<u8>) {
        self.goodbye.get_or_insert_with(|| Box::new(frame.into()));
    }

    /// Events, charged by their sender. Above the limits of their policies older ones go. Returns the bytes of what was dropped.
    pub fn push_events(&mut self, batch: Arc<Batch>, items: Vec<EventItem>, account: &Account) -> usize {
        let lane = self.events.get_or_insert_default();
        let (dropped, gaps) = lane.push(batch, items, account.events(), &account.room());
        for (subscription, missed) in gaps {
            self.push_frame(gap_frame(subscription, missed).into());
        }
        dropped
    }

    /// Copies small remainders out of large buffers that would otherwise be kept alive by them.
    pub fn compact(&mut self) {
        if let Some(events) = &mut self.events {
            events.compact();
        }
        self.first.compact();
    }

    /// Moves frames into `out` until it holds about `max` bytes. Returns the charged bytes that left: first lane, events.
    pub fn fill(&mut self, now: Instant, max: usize, out: &mut WriteBuf) -> (usize, usize) {
        let first = self.first.fill(now, max, out);
        if !self.first.is_empty() || out.is_whole() {
            // The write is full, or what carries attachments is one of its own; nothing overtakes it.
            return (first, 0);
        }
        let events = self.events.as_mut().map_or(0, |lane| lane.fill(max, out));
        if out.is_empty()
            && let Some(frame) = self.goodbye.take()
        {
            out.bytes(&frame);
        }
        (first, events)
    }
}

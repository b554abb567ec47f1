//! What waits to be written to one peer, in lanes: replies and control first, events behind, the goodbye last.
//!
//! Owns the order of the lanes; what is dropped of a long queue is decided in `events`. Frames are encoded when the socket takes
//! them, straight from the batches they came in. Pure; called by `io` with a [`WriteBuf`].

mod events;
mod take;
mod write;

pub use events::{event_charge, gap_frame};
pub use write::WriteBuf;

use super::open_calls::KEPT_MAX;
use crate::actors::deliver::charge;
use crate::actors::messages::{Answer, EventItem, Invoke};
use crate::actors::peer::{Account, PeerRef};
use crate::message::{Attachments, Batch, Ticket};
use events::{Events, wire_len};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use write::{Left, write};

/// A frame of the first lane.
#[derive(Debug)]
pub enum Out {
    /// The broker's own, complete.
    Frame(Box<[u8]>),
    /// The offer of shared memory.
    Ring(Box<RingOffer>),
    /// The last frame on the socket; what follows goes to shared memory.
    LastOnSocket(Box<[u8]>),
    /// A frame of another peer under another number.
    Forward {
        /// Holds the frame.
        batch: Arc<Batch>,
        /// Which frame of the batch.
        frame: u32,
        /// The number that this peer knows.
        id: u64,
    },
    /// A call, with its caller and what is left of its deadline.
    Invoke {
        /// Holds the frame.
        batch: Arc<Batch>,
        /// Which frame of the batch.
        frame: u32,
        /// The broker's number for it.
        ticket: Ticket,
        /// When it ends at the latest.
        deadline: Instant,
        /// Who calls.
        from: PeerRef,
    },
}

/// A frame of the broker's own with attachments.
#[derive(Debug)]
pub struct RingOffer {
    /// The frame.
    pub frame: Vec<u8>,
    /// The memory and the bells.
    pub attachments: Attachments,
}

/// The queue of one peer.
#[derive(Debug, Default)]
pub struct Outbox {
    first: VecDeque<Out>,
    /// So many of the first lane, from its front, were looked at by [`Self::compact`].
    compacted: usize,
    events: Events,
    goodbye: Option<Box<[u8]>>,
    /// Bytes of frames that the broker made itself: nobody else's account holds them.
    own_bytes: usize,
    /// Frames of the first lane that carry attachments.
    carrying: usize,
}

impl Outbox {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.events.is_empty() && self.goodbye.is_none()
    }

    /// Bytes of the broker's own frames that wait.
    #[must_use]
    pub const fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// Whether a frame with attachments waits.
    #[must_use]
    pub const fn carries(&self) -> bool {
        self.carrying > 0
    }

    /// A frame of the broker's own.
    pub fn push_frame(&mut self, frame: Box<[u8]>) {
        self.own_bytes = self.own_bytes.saturating_add(charge(frame.len()));
        self.first.push_back(Out::Frame(frame));
    }

    /// What follows this frame goes to shared memory.
    pub fn push_last_on_socket(&mut self, frame: Box<[u8]>) {
        self.first.push_back(Out::LastOnSocket(frame));
    }

    /// The offer of shared memory.
    pub fn push_ring(&mut self, offer: RingOffer) {
        self.carrying += 1;
        self.first.push_back(Out::Ring(Box::new(offer)));
    }

    /// Answers, as their callee sent them.
    pub fn push_answer(&mut self, batch: &Arc<Batch>, answer: Answer) {
        self.push_forward(batch.clone(), answer.frame, answer.call.0);
    }

    /// A frame of another peer, under the number that this one knows.
    pub fn push_forward(&mut self, batch: Arc<Batch>, frame: u32, id: u64) {
        self.carrying += usize::from(!batch.attachments(frame as usize).is_empty());
        self.first.push_back(Out::Forward { batch, frame, id });
    }

    /// A call for this peer.
    pub fn push_invoke(&mut self, batch: &Arc<Batch>, invoke: Invoke) {
        let Invoke {
            frame,
            ticket,
            deadline,
            from,
            ..
        } = invoke;
        self.carrying += usize::from(!batch.attachments(frame as usize).is_empty());
        self.first.push_back(Out::Invoke {
            batch: batch.clone(),
            frame,
            ticket,
            deadline,
            from,
        });
    }

    /// The last frame there will be.
    pub fn push_goodbye(&mut self, frame: Vec<u8>) {
        self.goodbye.get_or_insert_with(|| frame.into());
    }

    /// Events, charged by their sender. Above the limits of their policies older ones go. Returns the bytes of what was dropped.
    pub fn push_events(&mut self, batch: Arc<Batch>, items: Vec<EventItem>, account: &Account) -> usize {
        let (dropped, gaps) = self.events.push(batch, items, account.events(), account.room());
        for (subscription, missed) in gaps {
            self.push_frame(gap_frame(subscription, missed).into());
        }
        dropped
    }

    /// Copies small remainders out of large buffers that would otherwise be kept alive by them. Each frame is looked at once.
    pub fn compact(&mut self) {
        self.events.compact();
        for out in self.first.iter_mut().skip(self.compacted) {
            let (Out::Forward { batch, frame, .. } | Out::Invoke { batch, frame, .. }) = out else {
                continue;
            };
            if wire_len(batch, *frame).saturating_mul(4) < batch.buffer_len() {
                (*batch, *frame) = (Arc::new(batch.extract(std::iter::once(*frame as usize))), 0);
            }
        }
        self.compacted = self.first.len();
    }

    /// Moves frames into `out` until it holds about `max` bytes. Returns the charged bytes that left: first lane, events.
    pub fn fill(&mut self, now: Instant, max: usize, out: &mut WriteBuf) -> (usize, usize) {
        let (mut first, mut events) = (0_usize, 0_usize);
        let mut left = Left::new(now);
        while out.len() < max {
            if self.attachments_next() && !out.is_empty() {
                return (first, events);
            }
            let Some(next) = self.pop_first() else { break };
            first = first.saturating_add(write(&next, &mut left, out));
            if !out.attachments.is_empty() || out.last_on_socket {
                return (first, events);
            }
        }
        events = events.saturating_add(self.events.fill(max, out));
        if out.is_empty()
            && let Some(frame) = self.goodbye.take()
        {
            out.bytes(&frame);
        }
        if self.first.is_empty() && self.first.capacity() > KEPT_MAX {
            self.first = VecDeque::new();
        }
        (first, events)
    }

    fn pop_first(&mut self) -> Option<Out> {
        self.carrying -= usize::from(self.attachments_next());
        let next = self.first.pop_front()?;
        self.compacted = self.compacted.saturating_sub(1);
        if let Out::Frame(frame) = &next {
            self.own_bytes = self.own_bytes.saturating_sub(charge(frame.len()));
        }
        Some(next)
    }

    fn attachments_next(&self) -> bool {
        match self.first.front() {
            Some(Out::Forward { batch, frame, .. } | Out::Invoke { batch, frame, .. }) => {
                !batch.attachments(*frame as usize).is_empty()
            }
            Some(Out::Ring(_)) => true,
            _ => false,
        }
    }
}

//! The reader's end of a subscription's queue: events and gaps, one after the other.
//!
//! Owns what was taken out of the queue and not read yet, and the decoding. All that is there is taken at once; what was read is given
//! back in parts of the queue's limit, so that not every event takes the lock. Called by the subscription.

use super::{Chunk, EventQueue, Events};
use crate::client::event::{Event, Topic, Update};
use crate::message::{Attachments, Flags, Metadata, Payload};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The parts of the limit in which what was read is given back.
const RETURNS: usize = 8;

/// The reader's end of a queue.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) queue: Arc<EventQueue>,
    /// What is being read.
    current: Option<Chunk>,
    taken: VecDeque<Chunk>,
    /// The charge of chunks that are read, and still counted as held.
    charge: usize,
    /// The topic of the last event of a pattern.
    last: Option<Topic>,
}

impl Reader {
    pub(crate) const fn new(queue: Arc<EventQueue>) -> Self {
        Self {
            queue,
            current: None,
            taken: VecDeque::new(),
            charge: 0,
            last: None,
        }
    }

    /// The next event. Gaps are told by the event behind them.
    #[inline]
    pub(crate) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(chunk) = &mut self.current
                && let Events::Frames { batch, next, count } = &mut chunk.events
                && *count > 0
                && let Some((header, key, bytes)) = batch.plain(*next)
            {
                (*next, *count) = (next.wrapping_add(1), count.wrapping_sub(1));
                let gap = std::mem::take(&mut chunk.gap);
                return Poll::Ready(Some(Event {
                    payload: Payload {
                        encoding: header.encoding,
                        bytes,
                    },
                    missed: u64::from(header.aux).saturating_add(gap.missed),
                    interrupted: gap.interrupted,
                    retained: header.flags.has(Flags::RETAINED),
                    metadata: Metadata::new(),
                    attachments: Attachments::new(),
                    name: named(&self.queue, &mut self.last, key),
                }));
            }
            if let Some(event) = self.next_here() {
                return Poll::Ready(Some(event));
            }
            if !self.go_on() && ready!(self.take_more(cx, false)).is_err() {
                return Poll::Ready(None);
            }
        }
    }

    /// The next event or gap, also one with no event behind it.
    pub(crate) fn poll_update(&mut self, cx: &Context<'_>) -> Poll<Option<Update>> {
        loop {
            let told = self.current.as_mut().and_then(|chunk| chunk.gap.tell());
            if let Some(update) = told.or_else(|| self.next_here().map(Update::Event)) {
                return Poll::Ready(Some(update));
            }
            if self.go_on() {
                continue;
            }
            if let Err(last) = ready!(self.take_more(cx, true)) {
                return Poll::Ready(last);
            }
        }
    }

    /// Takes all that has come meanwhile, or says what there is to say when that is nothing.
    fn take_more(&mut self, cx: &Context<'_>, gaps: bool) -> Poll<Result<(), Option<Update>>> {
        // Declared first, and so dropped when the lock is released.
        let mut before = None;
        let mut state = self.queue.lock();
        state.charged = state.charged.saturating_sub(std::mem::take(&mut self.charge));
        if state.chunks.is_empty() {
            return state.poll_end(cx, gaps, &mut before).map(Err);
        }
        std::mem::swap(&mut state.chunks, &mut self.taken);
        Poll::Ready(Ok(()))
    }

    /// The next event of the chunk that is being read, whatever is in it.
    fn next_here(&mut self) -> Option<Event> {
        let chunk = self.current.as_mut()?;
        let Events::Frames { batch, next, count } = &mut chunk.events else {
            return self.next_whole();
        };
        while *count > 0 {
            let index = *next;
            (*next, *count) = (next.wrapping_add(1), count.wrapping_sub(1));
            let Some(view) = batch.view(index) else {
                continue;
            };
            let gap = std::mem::take(&mut chunk.gap);
            return Some(Event {
                payload: Payload {
                    encoding: view.header.encoding,
                    bytes: batch.share(view.payload),
                },
                missed: u64::from(view.header.aux).saturating_add(gap.missed),
                interrupted: gap.interrupted,
                retained: view.header.flags.has(Flags::RETAINED),
                metadata: Metadata::parse(view.meta).unwrap_or_default(),
                attachments: Attachments::new(),
                name: named(&self.queue, &mut self.last, view.key),
            });
        }
        None
    }

    /// The next event, when it came in pieces.
    fn next_whole(&mut self) -> Option<Event> {
        let Chunk { events, gap, charge } = self.current.as_mut()?;
        let Events::Whole(whole) = events else {
            return None;
        };
        let (head, bytes) = *whole.take()?;
        let (gap, charge) = (std::mem::take(gap), std::mem::take(charge));
        // From now on it is the program's.
        self.give_back(charge);
        Some(Event {
            payload: Payload {
                encoding: head.encoding,
                bytes,
            },
            missed: u64::from(head.missed).saturating_add(gap.missed),
            interrupted: gap.interrupted,
            retained: head.flags.has(Flags::RETAINED),
            metadata: head.metadata,
            attachments: head.attachments,
            name: named(&self.queue, &mut self.last, &head.key),
        })
    }

    /// Goes on with the next chunk, when there is one. What was read is no longer held, which the queue is told now and then.
    fn go_on(&mut self) -> bool {
        let read = std::mem::replace(&mut self.current, self.taken.pop_front());
        self.give_back(read.map_or(0, |chunk| chunk.charge));
        self.current.is_some()
    }

    fn give_back(&mut self, charge: usize) {
        self.charge = self.charge.saturating_add(charge);
        if self.charge > 0 && self.charge >= self.queue.limit / RETURNS {
            let mut state = self.queue.lock();
            state.charged = state.charged.saturating_sub(std::mem::take(&mut self.charge));
        }
    }
}

/// The topic of an event: the key names it for patterns only.
#[inline]
fn named(queue: &EventQueue, last: &mut Option<Topic>, key: &[u8]) -> Topic {
    if key.is_empty() {
        return queue.name.clone();
    }
    match last {
        Some(last) if last.as_bytes() == key => last.clone(),
        _ => last.insert(Topic::of_key(key)).clone(),
    }
}

//! When a client of ipc-server is written to: one document at a time, in parts that its reads take whole.
//!
//! Owns the order of what is written, and the times between. What is written is the codec's. Steps of [`IpcServer`], in a file of their own.

use super::IpcServer;
use super::messages::CHUNK;
use std::time::{Duration, Instant};

/// What a segment of TCP on loopback carries in whole chunks; a document is written in parts of so much at most, each by itself.
const PART: usize = 15 * CHUNK;
/// A call that is read with what was written before it is lost, and with it all calls of the object behind it: it waits for so long behind
/// anything, unless its owner answers another call meanwhile.
const BEHIND: Duration = Duration::from_millis(20);
/// Events wait for so long while there are calls, and then have so much time.
const EVENTS_WAIT: Duration = Duration::from_millis(100);
const EVENTS_TURN: Duration = Duration::from_millis(20);

impl IpcServer {
    /// Writes a document, in parts if it is a large one.
    pub(super) fn write(&mut self, document: &[u8], out: &mut Vec<u8>) {
        self.wrote = self.now;
        if !self.is_paced() || (self.parts.is_empty() && document.len() <= PART) {
            return out.extend_from_slice(document);
        }
        self.paced_bytes = self.paced_bytes.saturating_add(document.len());
        let idle = self.parts.is_empty();
        self.parts.extend(document.chunks(PART).map(<[u8]>::to_vec));
        if idle {
            self.write_part(out);
        }
    }

    pub(super) fn write_part(&mut self, out: &mut Vec<u8>) {
        if let Some(part) = self.parts.pop_front() {
            self.paced_bytes = self.paced_bytes.saturating_sub(part.len());
            self.wrote = self.now;
            out.extend_from_slice(&part);
        }
    }

    /// Whether the client is likely to have read what was written.
    pub(super) fn has_read(&self) -> bool {
        self.written_until()
            .is_none_or(|until| self.now.is_none_or(|now| until <= now))
    }

    pub(super) fn written_until(&self) -> Option<Instant> {
        // What is written sooner behind something else is read with it, and then neither is understood.
        let gap = Duration::from_millis(u64::from(self.bounds.gap_ms));
        self.wrote.and_then(|wrote| wrote.checked_add(gap))
    }

    /// Whether things are told apart by time: without a clock, and for clients that find the end of a document themselves, they are not.
    fn is_paced(&self) -> bool {
        self.now.is_some() && self.bounds.gap_ms > 0
    }

    /// When the next thing may be written that its client has not asked for.
    pub(super) fn release_from(&self) -> Option<Instant> {
        if self.waits() {
            return None;
        }
        [self.event_from(), self.call_from()].into_iter().flatten().min()
    }

    /// The same for events. Behind a call that is not answered one would be read with it, and both be lost; and where calls wait as well, events have
    /// a turn of their own now and then.
    fn event_from(&self) -> Option<Instant> {
        let busy = self.is_paced() && self.owed.is_some();
        if self.events.is_empty() || busy {
            return None;
        }
        let read = self.written_until().or(self.now);
        let turn = self.events_since.and_then(|since| since.checked_add(EVENTS_WAIT));
        let theirs = self.calls.is_empty() || self.now < self.events_until;
        if theirs { read } else { read.max(turn) }
    }

    fn call_from(&self) -> Option<Instant> {
        let waiting = self.owed.is_none() && !self.calls.is_empty();
        let behind = self.told_at.and_then(|at| at.checked_add(BEHIND));
        self.written_until().max(behind).or(self.now).filter(|_| waiting)
    }

    /// Writes what its client has not asked for, a document at a time, while it waits for no answer that it would take it for.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        while self.parts.is_empty() && !self.waits() {
            let due = |from: Option<Instant>| from.is_some() && from <= self.now;
            let (event, call) = match self.is_paced() {
                true => (due(self.event_from()), due(self.call_from())),
                false => (self.owed.is_some() || self.calls.is_empty(), self.owed.is_none()),
            };
            if event && let Some(event) = self.events.pop_front() {
                self.write_event(&event, out);
            } else if call && let Some((owed, call)) = self.calls.pop_front() {
                self.call_bytes = self.call_bytes.saturating_sub(call.len());
                self.owed = Some(owed);
                self.write(&call, out);
            } else {
                return;
            }
        }
    }

    fn write_event(&mut self, event: &[u8], out: &mut Vec<u8>) {
        self.paced_bytes = self.paced_bytes.saturating_sub(event.len());
        if self.events_until <= self.now {
            self.events_until = self.now.and_then(|now| now.checked_add(EVENTS_TURN));
        }
        self.told_at = self.now;
        self.events_since = self.now.filter(|_| !self.events.is_empty());
        self.write(event, out);
    }
}

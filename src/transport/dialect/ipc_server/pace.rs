//! When a client of ipc-server is written to: one document at a time, in parts that its reads take whole.
//!
//! Owns the order of what is written, and the times between. What is written is the codec's. Steps of [`IpcServer`], in a file of their own.

use super::IpcServer;
use super::messages::CHUNK;
use std::time::{Duration, Instant};

/// What a segment of TCP on loopback carries in whole chunks; a document is written in parts of so much at most, each by itself.
const PART: usize = 15 * CHUNK;
/// What is written so soon behind something else is read with it, and then neither is understood.
const GAP: Duration = Duration::from_millis(1);

impl IpcServer {
    /// Writes a document, in parts if it is a large one.
    pub(super) fn write(&mut self, document: &[u8], out: &mut Vec<u8>) {
        self.wrote = self.now;
        if self.now.is_none() || (self.parts.is_empty() && document.len() <= PART) {
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
        self.wrote.and_then(|wrote| wrote.checked_add(GAP))
    }

    /// Something waits that its client has not asked for, and could have.
    pub(super) fn is_releasing(&self) -> bool {
        let call = self.owed.is_none() && !self.calls.is_empty();
        self.asked.is_empty() && (call || !self.events.is_empty())
    }

    /// Writes what its client has not asked for, a document at a time, while it waits for no answer that it would take it for.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        while self.parts.is_empty() && self.is_releasing() && self.has_read() {
            if self.owed.is_none()
                && let Some((owed, call)) = self.calls.pop_front()
            {
                self.call_bytes = self.call_bytes.saturating_sub(call.len());
                self.owed = Some(owed);
                self.write(&call, out);
            } else if let Some(event) = self.events.pop_front() {
                self.paced_bytes = self.paced_bytes.saturating_sub(event.len());
                self.write(&event, out);
            }
        }
    }
}

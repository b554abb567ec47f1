//! What is given up for want of memory of a client of ipc-server: a document that has begun, and what waits for its turn.
//!
//! Owns whose answer a beginning is to have. When it is given up is the gateway's decision. Steps of [`IpcServer`], in a file of their own.

use super::super::begun::Begun;
use super::super::said::Lost;
use super::messages::{Answer, document};
use super::{Acks, IpcServer, Owed};
use serde_json::value::RawValue;

impl IpcServer {
    /// The document that has begun: `input` is all of it that has come.
    pub(super) fn lose_begun(&mut self, input: &[u8], why: &str, out: &mut Vec<u8>) -> Lost {
        self.over = true;
        self.scan.forget();
        let begun = Begun::of(input, 1);
        if begun.has("response") || begun.has("error") {
            let Some(Owed { ticket, void }) = self.owed.take() else {
                return Lost::Told;
            };
            self.wrote = None;
            self.release(out);
            return if void { Lost::Told } else { Lost::Answer(ticket) };
        }
        if begun.has("event_name") {
            return Lost::Told;
        }
        if begun.has("event") && self.acks == Acks::Unread {
            return Lost::Event;
        }
        if begun.has("list") {
            // Who asks for it again at once is to do so later.
            let place = self.ask(vec![Box::from("")]);
            self.has(place, false, out);
            return Lost::Told;
        }
        let place = self.ask(Vec::new());
        self.fill_error(place, why, out);
        Lost::Told
    }

    /// The newest call or event that waits, or an answer whose turn has not come: that one becomes an error.
    pub(super) fn lose_waiting(&mut self, why: &str) -> Option<Lost> {
        if let Some((owed, call)) = self.calls.pop_back() {
            self.call_bytes = self.call_bytes.saturating_sub(call.len());
            return Some(if owed.void {
                Lost::Told
            } else {
                Lost::Call(owed.ticket)
            });
        }
        if let Some(event) = self.events.pop_back() {
            self.paced_bytes = self.paced_bytes.saturating_sub(event.len());
            return Some(Lost::Event);
        }
        let error = error_document(why);
        let behind = self.asked.partition_point(|asked| asked.place < self.small_from);
        for asked in self.asked.range_mut(..behind).rev() {
            // What is behind it is small, and each is looked at once.
            self.small_from = asked.place;
            if let Some(answer) = asked.answer.as_mut().filter(|answer| answer.len() > error.len()) {
                let gained = answer.len().saturating_sub(error.len());
                *answer = error;
                self.answer_bytes = self.answer_bytes.saturating_sub(gained);
                return Some(Lost::Told);
            }
        }
        self.small_from = 0;
        None
    }
}

/// An error as it is written.
fn error_document(text: &str) -> Vec<u8> {
    let text = serde_json::value::to_raw_value(text);
    document(&Answer::Error(text.as_deref().unwrap_or(RawValue::NULL)))
}

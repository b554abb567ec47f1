//! Windows: nobody is granted more than was spent, and in the end all of it but a portion.
//!
//! Owns the rules `publish-credit`, `call-credit`, `reply-credit`, `window`. It refuses to know what the bytes were for.

use crate::Frame;
use crate::run::{Found, Run};
use actix_ipc::message::{Flags, Kind};
use std::collections::HashMap;

/// A client's publish window.
#[derive(Debug, Default)]
struct Publishes {
    /// Bytes charged on arrival.
    spent: u64,
    /// Bytes sent, as the client counts.
    sent: u64,
    granted: u64,
    /// It has sent at zero or below.
    overdrawn: bool,
}

/// The windows.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    publishes: HashMap<u32, Publishes>,
}

const fn is_charged(frame: &Frame) -> bool {
    matches!(frame.kind, Kind::Publish | Kind::PublishPiece)
}

/// Whether a reply frame is charged against the window of its call.
pub(crate) fn is_charged_reply(frame: &Frame) -> bool {
    frame.kind == Kind::ReplyPiece
        || frame.kind == Kind::Reply && (frame.has(Flags::MORE) || frame.has(Flags::CONTINUED))
}

impl Credit {
    /// A frame that a client puts on the wire.
    pub(crate) fn sent(&mut self, run: &Run, client: u32, frame: &Frame) {
        if is_charged(frame) {
            let window = self.publishes.entry(client).or_default();
            let available = u64::from(run.setup.publish_window).saturating_add(window.granted);
            window.overdrawn |= window.sent >= available;
            window.sent = window.sent.saturating_add(frame.wire);
        }
    }

    /// A frame that arrived.
    pub(crate) fn arrived(&mut self, client: u32, frame: &Frame) {
        if is_charged(frame) {
            let window = self.publishes.entry(client).or_default();
            window.spent = window.spent.saturating_add(frame.wire);
        }
    }

    /// A frame that the client read.
    pub(crate) fn received(&mut self, client: u32, frame: &Frame, at: u64, found: &mut Found) {
        let window = self.publishes.entry(client).or_default();
        match frame.kind {
            Kind::PublishCredit => {
                window.granted = window.granted.saturating_add(u64::from(frame.aux));
                if window.granted > window.spent || frame.id != 0 || frame.aux == 0 {
                    let text = format!("{} bytes granted, {} spent", window.granted, window.spent);
                    found.add("publish-credit", client, at, text);
                }
            }
            Kind::Goodbye if frame.aux == 5 && !window.overdrawn && window.sent > 0 => {
                // A reply's window may be the cause; then the text does not speak of publishes.
                let spoken_of = frame.payload.windows(7).any(|word| word == b"publish");
                let text = "dismissed for a publish window that it never overdrew";
                spoken_of.then(|| found.add("window", client, at, text));
            }
            _ => {}
        }
    }

    /// At the end all credit is back.
    pub(crate) fn finish(&self, run: &Run, drained: bool, found: &mut Found) {
        let mut all: Vec<_> = self.publishes.iter().collect();
        all.sort_by_key(|(client, _)| **client);
        for (client, window) in all {
            // What is left over may be less than the portion that a receiver returns at once.
            let kept = window.spent.saturating_sub(window.granted);
            if drained && run.lives(*client) && kept > u64::from(run.setup.publish_window / 2) {
                let text = format!("{} bytes spent, {} granted back", window.spent, window.granted);
                found.add("publish-credit", *client, u64::MAX, text);
            }
        }
    }
}

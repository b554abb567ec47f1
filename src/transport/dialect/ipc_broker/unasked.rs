//! What a client of ipc-broker is told without having asked: events, what became of its subscriptions, answers that it has given up.
//!
//! Owns what of it waits; when its time has come [`Turn`](super::turn::Turn) knows. Steps of [`IpcBroker`], in a file of their own.

use super::messages::{Response, shortened, write};
use super::{Asked, IpcBroker};
use crate::transport::dialect::said::{Place, Unsaid};
use std::time::Duration;

/// No client of the library waits for `Subscribed`, and each would take it for the answer to the call behind it: it is told so much later.
const SUBSCRIBED: Duration = Duration::from_millis(200);

impl IpcBroker {
    /// An event: it is written when its client would take it for nothing else.
    pub(super) fn event(&mut self, event: &Response<'_>, out: &mut Vec<u8>) -> Result<(), Unsaid> {
        if self.turn.now().is_some() && (!self.events.is_empty() || !self.turn.hears()) {
            let mut frame = Vec::new();
            write(event, &mut frame)?;
            self.event_bytes = self.event_bytes.saturating_add(frame.len());
            self.events.push_back(frame);
            return Ok(());
        }
        // A subscription's acknowledgement precedes its first event.
        self.tell_subscribed(out);
        self.turn.told();
        write(event, out)
    }

    /// Those that waited, as many as it may be told now.
    pub(super) fn tell_events(&mut self, out: &mut Vec<u8>) {
        while self.turn.hears()
            && let Some(event) = self.events.pop_front()
        {
            self.event_bytes = self.event_bytes.saturating_sub(event.len());
            self.tell_subscribed(out);
            self.turn.told();
            out.extend_from_slice(&event);
        }
    }

    /// What became of a subscription.
    pub(super) fn subscribed(&mut self, place: Place, failed: Option<String>, out: &mut Vec<u8>) {
        self.subscribed.push((place, failed));
        match self.turn.now() {
            Some(now) => {
                let from = || now.checked_add(SUBSCRIBED);
                self.subscribed_from = self.subscribed_from.or_else(from);
            }
            None => self.tell_subscribed(out),
        }
    }

    /// Answers that were given up, or seemed to be.
    pub(super) fn tell_late(&mut self, out: &mut Vec<u8>) {
        if !self.late.is_empty() {
            out.append(&mut self.late);
            self.turn.told();
        }
    }

    pub(super) fn tell_subscribed(&mut self, out: &mut Vec<u8>) {
        if self.turn.waits() || self.subscribed.is_empty() {
            return;
        }
        self.subscribed_from = None;
        self.turn.told();
        for (place, failed) in std::mem::take(&mut self.subscribed) {
            let Some(Asked::Subscribe(object, topic)) = self.take(place) else {
                continue;
            };
            let told = match &failed {
                None => Response::Subscribed {
                    object_name: &object,
                    topic: &topic,
                },
                Some(text) => Response::Error {
                    call_id: None,
                    object_name: &object,
                    message: shortened(text),
                },
            };
            let nameless = Response::Error {
                call_id: None,
                object_name: "",
                message: failed.as_deref().map_or("", shortened),
            };
            let _ = write(&told, out).or_else(|_| write(&nameless, out));
        }
    }
}

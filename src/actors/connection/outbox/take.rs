//! Frames taken from the queue one at a time, for a peer that has no socket to write them to.
//!
//! The lanes and policies are the same; what each frame was charged is given back by the taker, when it is done with it.

use super::{Out, Outbox};
use crate::actors::deliver::charge;
use crate::actors::messages::{EventItem, EventMark};
use crate::message::Batch;
use std::sync::Arc;

impl Outbox {
    /// The next frame of the first lane.
    pub fn take_first(&mut self) -> Option<Out> {
        let next = self.first.pop_front();
        if let Some(Out::Frame(frame)) = &next {
            self.own_bytes = self.own_bytes.saturating_sub(charge(frame.len()));
        }
        if self.first.is_empty() && self.first.capacity() > 64 {
            self.first = std::collections::VecDeque::new();
        }
        next
    }

    /// The next event that no policy has dropped.
    pub fn take_event(&mut self) -> Option<(Arc<Batch>, EventItem)> {
        while let Some(run) = self.runs.front_mut() {
            while let Some(item) = run.items.get(run.next).copied() {
                run.next = run.next.saturating_add(1);
                if !item.mark.has(EventMark::DROPPED) {
                    return Some((run.batch.clone(), item));
                }
            }
            self.runs.pop_front();
            self.runs_gone = self.runs_gone.wrapping_add(1);
        }
        self.droppable = false;
        self.fading = None;
        None
    }
}

//! Frames taken from the queue one at a time, for a peer that has no socket to write them to.
//!
//! The lanes and policies are the same; what each frame was charged is given back by the taker, when it is done with it.

use super::{Out, Outbox};
use crate::actors::messages::EventItem;
use crate::message::Batch;
use std::sync::Arc;

impl Outbox {
    /// The next frame of the first lane.
    pub fn take_first(&mut self) -> Option<Out> {
        self.first.take()
    }

    /// The next event that no policy has dropped.
    pub fn take_event(&mut self) -> Option<(Arc<Batch>, EventItem)> {
        self.events.as_mut()?.take()
    }
}

//! What came beside the frames of one batch: attachments, and the regions among them.
//!
//! Owns them until their frame is looked at. Nothing of them stays with the batch, which lies in queues until the last of its frames is
//! read, and would keep open what another frame has brought. It refuses to know what a frame means. Used by [`super::inbound`] and
//! [`super::incoming`].

use super::inbound::Ended;
use super::large::Regions;
use super::peer::Role;
use super::port::Given;
use crate::message::{Attachments, Batch, Kind};
use std::collections::VecDeque;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    pub(crate) regions: Regions,
    /// What came for endpoints of the label bus, in order.
    pub(crate) messages: VecDeque<Given>,
    others: Vec<Given>,
}

impl Brought {
    /// Takes it out of a batch.
    ///
    /// # Errors
    /// What the broker should not have sent.
    pub(crate) fn take(batch: &mut Batch, role: Role) -> Result<Self, Ended> {
        // A region that is lacking is for it to tell.
        let regions = Regions::take(batch, role)?;
        if !batch.has_attachments() {
            return Ok(Self {
                regions,
                ..Self::default()
            });
        }
        Ok(Self {
            regions,
            messages: batch.take_attachments(Kind::Message).into(),
            others: batch.take_all_attachments(),
        })
    }

    /// What is attached to frame `index`, once.
    #[inline]
    pub(crate) fn attachments(&mut self, index: usize) -> Attachments {
        let place = self.others.iter().position(|(at, _)| *at == index);
        place.map_or_else(Attachments::new, |place| self.others.swap_remove(place).1.into())
    }
}

//! Large payloads as regions: who takes them, and how many may be on their way to one receiver.
//!
//! Owns the bound. A region costs the broker a descriptor and no memory of its own, but it keeps that of its sender; so a receiver has
//! few [`Seat`]s for them. One is taken when a payload is offered to it, and given back when the region was sent on or will not come.
//! When none is free the payload comes in pieces, whose windows slow its sender down. Taken by sessions and by TopicHub.

use super::peer::PeerRef;
use crate::message::{Attachment, Draft, Flags, Kind};
use crate::transport::passing;

/// Regions that may be on their way to one receiver, each of at most `message_bytes`.
pub const SEATS: u8 = 4;

/// The right to send one region to a receiver; dropped, it is free again.
#[derive(Debug)]
pub struct Seat(PeerRef);

impl Seat {
    /// A seat, when the peer takes regions and one is free.
    #[must_use]
    pub fn take(peer: &PeerRef) -> Option<Self> {
        peer.account.take_seat().then(|| Self(peer.clone()))
    }

    /// Kept until what is attached has been sent on, or is given up.
    pub fn keep_with(self, attachments: &[Attachment]) {
        if let Some(attachment) = attachments.first() {
            passing::charge_also(attachment, Box::new(self));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.account.leave_seat();
    }
}

/// The answer to an offer: to so many receivers as a region, or to none.
#[must_use]
pub fn takes(id: u64, receivers: u32, of_reply: bool) -> Vec<u8> {
    Draft::new(Kind::Takes, id)
        .aux(receivers)
        .flags(Flags::NONE.with_if(of_reply, Flags::OF_REPLY))
        .to_vec()
}

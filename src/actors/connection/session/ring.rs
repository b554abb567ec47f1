//! What a client may say of shared memory when.
//!
//! Owns the steps of one connection into it, as far as they are said; its bytes are the business of its socket. Steps of
//! [`Session`], in a file of their own.

use super::{Effects, RingStep, Session, Stop, protocol};
use crate::message::Header;

/// How far the connection is on its way into shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// It may not ask.
    Never,
    /// It may ask.
    Granted,
    /// It has asked.
    Asked,
    /// It may take what was offered.
    Offered,
    /// It has taken it, or not, or was not sent it.
    Answered,
}

impl Session {
    /// The same with leave to ask for shared memory.
    #[must_use]
    pub fn with_ring(self, granted: bool) -> Self {
        let ring = if granted { Ring::Granted } else { Ring::Never };
        Self { ring, ..self }
    }

    /// Shared memory is offered, and may be taken.
    pub const fn ring_offered(&mut self) {
        self.ring = Ring::Offered;
    }

    /// The offer was not sent.
    pub const fn ring_withdrawn(&mut self) {
        self.ring = Ring::Answered;
    }

    /// Where the connection's bytes go is the business of its socket; here is only what may be said of it when.
    pub(super) fn ring(&mut self, is_last: bool, header: &Header, effects: &mut Effects) -> Stop {
        self.ring = match (self.ring, header.aux) {
            (Ring::Granted, 0) => {
                effects.ring = Some(RingStep::Asked);
                Ring::Asked
            }
            (Ring::Offered, 1) if is_last => {
                effects.ring = Some(RingStep::Taken);
                Ring::Answered
            }
            (Ring::Offered, 2) => {
                effects.ring = Some(RingStep::Declined);
                Ring::Answered
            }
            (Ring::Offered, 1) => {
                return Err(protocol("the Ring that takes is the last frame on the socket"));
            }
            (_, 0) => return Err(protocol("Ring is asked once, where the welcome grants it")),
            _ => return Err(protocol("a Ring answers an offer")),
        };
        Ok(())
    }
}

//! Connections that are not let in: who learns why.
//!
//! Owns the rule. Where older formats are understood, a stranger may speak one that has no words for a refusal, and would take a goodbye
//! for a broken message of its own. So it is told behind its first byte if that is of our format, and nothing otherwise. Only so
//! many wait for that byte as may be in their handshake, which is what they are in. Part of [`Life`]; what they are refused for is
//! `listener`'s decision.

use super::identity::Evidence;
use super::life::{Life, Phase};
use super::outbox::Outbox;
use super::perform::Rooms;
use super::session::Closing;
use crate::actors::accounts::Charge;
use crate::actors::admission::Admission;
use crate::actors::core::Shared;
use crate::message::Draft;
use crate::message::handshake::PREFACE;

/// Why a peer is not let in, until it has said what it speaks.
#[derive(Debug)]
pub(super) struct Refusal {
    closing: Closing,
    /// Its place among the handshakes.
    _place: Charge,
}

impl Refusal {
    /// The phase of a peer that is refused with these words.
    pub(super) fn of(closing: Closing, shared: &Shared, evidence: &Evidence, outbox: &mut Outbox) -> Phase {
        if !shared.dialects().any() {
            outbox.push_goodbye(Draft::goodbye(closing.0, &closing.1).to_vec());
            return Phase::Closing;
        }
        let place = Admission::for_refusal(shared, &evidence.counted(), evidence.address);
        place.map_or(Phase::Closing, |place| {
            Phase::Refused(Box::new(Self {
                closing,
                _place: place,
            }))
        })
    }
}

impl<R: Rooms> Life<R> {
    /// The first bytes of a peer that is refused are there.
    pub(super) fn answer_refused(&mut self, first: Option<&u8>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closing);
        if let Phase::Refused(refusal) = phase
            && first == Some(&PREFACE[0])
        {
            let (reason, text) = &refusal.closing;
            self.outbox.push_goodbye(Draft::goodbye(*reason, text).to_vec());
        }
    }
}

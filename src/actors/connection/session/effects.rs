//! What a step of a session asks for.
//!
//! Owns the lists that a step fills and `perform` empties. Knows no state.

use crate::actors::group::Grouped;
use crate::actors::messages::{Answer, Control, HubItem, RegistryItem};
use crate::actors::observe::refused::Refused;
use crate::actors::peer::PeerRef;
use crate::actors::receipt::Settled;
use crate::actors::regions::takes;
use crate::error::CloseReason;

/// Why a connection is to end, and what the peer is told.
pub type Closing = (CloseReason, String);

/// What a client says of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingStep {
    /// It would like to have some.
    Asked,
    /// It has taken what was offered, and says no more on the socket.
    Taken,
    /// It cannot take what was offered, and stays on the socket.
    Declined,
}

/// What a step asks for. Reused from batch to batch; drained completely after each.
#[derive(Debug, Default)]
pub struct Effects {
    /// For Registry.
    pub registry: Vec<RegistryItem>,
    /// For TopicHub.
    pub hub: Vec<HubItem>,
    /// Answers, by caller.
    pub answers: Grouped<Answer>,
    /// What became of messages, by sender.
    pub settled: Grouped<Settled>,
    /// Endpoints that were found stalled.
    pub stalled: u64,
    /// Small things for other peers.
    pub tell: Vec<(PeerRef, Control)>,
    /// Frames for this peer.
    pub send: Vec<Vec<u8>>,
    /// Answers that nobody waited for.
    pub late: u64,
    /// Messages of which the last piece has come.
    pub in_pieces: u64,
    /// Payloads that were offered as regions, and are to come in pieces.
    pub declined: u64,
    /// What the policy denied.
    pub denied: u64,
    /// Calls without reply that waited for their object in vain.
    pub dropped: u64,
    /// Calls and events that go nowhere, and why.
    pub refused: Vec<Refused>,
    /// The next step into shared memory.
    pub ring: Option<RingStep>,
    /// The connection ends.
    pub close: Option<Closing>,
}

impl Effects {
    /// Tells this peer whether the one receiver of its message takes the payload as a region.
    pub(super) fn answer_offer(&mut self, id: u64, taken: bool, of_reply: bool) {
        self.declined = self.declined.saturating_add(u64::from(!taken));
        self.send.push(takes(id, u32::from(taken), of_reply));
    }
}

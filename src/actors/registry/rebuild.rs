//! What Registry does when a step has panicked: who is blamed, and the new index.
//!
//! Owns the way from the facts back to an index. When that is done is `state`'s business. Steps of Registry, in a file of their own.

use super::facts::Fact;
use super::index::Index;
use super::state::State;
use crate::actors::messages::Control;
use crate::actors::peer::PeerRef;
use crate::actors::peers::Key;
use crate::actors::planted::{self, Bug};
use crate::actors::supervise::{Progress, guard};
use crate::error::CloseReason;
use crate::message::Ticket;

impl State {
    pub(super) fn panicked(&mut self, author: &PeerRef, panic: &str) -> Progress {
        self.effects.clear();
        self.broken = true;
        match self.shared.blame(&mut self.blame, "Registry", author, panic) {
            true => {
                Progress::End("Registry panicked for more peers than its budget allows (limits.panic_budget)")
            }
            false => Progress::Restart,
        }
    }

    /// A new index from the facts, in ticket order. A fact that panics is dropped and its owner closed; the half-built index
    /// is thrown away as well, and the next one begins without that fact.
    pub(super) fn rebuild(&mut self) {
        while let Err(ticket) = self.try_rebuild() {
            let owner = self.facts.get(ticket).map(Fact::peer);
            self.facts.remove(ticket);
            if let Some(peer) = owner.and_then(|owner| self.peers.get(owner)) {
                let text = "what it registered made the broker fail";
                peer.tell(Control::Close(CloseReason::Internal, text.into()));
            }
        }
    }

    fn try_rebuild(&mut self) -> Result<(), Ticket> {
        self.index = Index::new();
        for (ticket, fact) in self
            .facts
            .iter()
            .skip(usize::from(planted::is(Bug::LostAfterRebuild)))
        {
            let index = &mut self.index;
            if planted::is(Bug::WaitLostAfterPanic) && matches!(fact, Fact::Wait { .. }) {
                continue;
            }
            guard(|| index.insert_fact(ticket, fact)).map_err(|_| ticket)?;
        }
        Ok(())
    }

    /// Withdraws a peer whose orderly withdrawal panicked: its facts go without notices.
    pub(super) fn withdraw(&mut self, key: Key) {
        let own: Vec<Ticket> = self
            .facts
            .iter()
            .filter(|(_, fact)| fact.peer() == key)
            .map(|(ticket, _)| ticket)
            .collect();
        for ticket in own {
            self.facts.remove(ticket);
        }
    }
}

//! The steps of the index that concern the label bus: join, leave, wait for a match, choose who gets a message.
//!
//! Owns which facts and effects follow from each. Called by Registry, one for each frame.

use super::super::facts::{Effect, Fact};
use super::super::index::Index;
use super::Target;
use crate::actors::peer_key::PeerKey;
use crate::message::selector::{Label, Selector};
use crate::message::{RequestId, Ticket};

/// The peer has an endpoint of this number already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

/// An endpoint that wants to join.
#[derive(Clone, Debug)]
pub struct Endpoint<P> {
    /// Its connection.
    pub peer: P,
    /// Its number there.
    pub number: RequestId,
    /// Its labels, in any order.
    pub labels: Vec<Label>,
    /// It may be given Unix sockets.
    pub sockets: bool,
}

impl<P: PeerKey> Index<P> {
    /// An endpoint joins, behind all that are there. What waited for it is found, in the order in which it began to wait.
    ///
    /// # Errors
    /// [`InUse`]; nothing has changed then.
    pub fn join(
        &mut self,
        ticket: Ticket,
        endpoint: Endpoint<P>,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), InUse> {
        let Endpoint {
            peer,
            number,
            mut labels,
            sockets,
        } = endpoint;
        if self.labels.holds(peer, number) {
            return Err(InUse);
        }
        labels.sort_unstable();
        labels.dedup();
        let fact = Fact::Endpoint {
            peer,
            request: number,
            labels: labels.into(),
            sockets,
        };
        self.insert_fact(ticket, &fact);
        out.push(Effect::FactAdded(ticket, fact));
        if let Some(Some(place)) = self.labels.places.last() {
            self.labels.seeks.settle(place, out);
        }
        Ok(())
    }

    /// An endpoint leaves. Returns whether there was one.
    pub fn leave(&mut self, peer: P, number: RequestId, out: &mut Vec<Effect<P>>) -> bool {
        let ticket = self.labels.remove(peer, number);
        out.extend(ticket.map(Effect::FactRemoved));
        ticket.is_some()
    }

    /// Waits until an endpoint that matches joins; then one [`Effect::Found`] follows. The bytes are those of a selector.
    /// `bytes`: of what waits.
    pub fn seek(
        &mut self,
        ticket: Ticket,
        peer: P,
        (selector, bytes): (&[u8], usize),
        out: &mut Vec<Effect<P>>,
    ) {
        let fact = Fact::Seek {
            peer,
            selector: selector.into(),
            bytes,
        };
        self.insert_fact(ticket, &fact);
        out.push(Effect::FactAdded(ticket, fact));
    }

    /// Ends a wait for a match.
    pub fn unseek(&mut self, ticket: Ticket, out: &mut Vec<Effect<P>>) {
        if self.labels.seeks.remove(ticket) {
            out.push(Effect::FactRemoved(ticket));
        }
    }

    /// Chooses who gets a message, in the order in which they joined, and hands each to `to`. Returns how many those are.
    pub fn select(&mut self, selector: &Selector<'_>, to: impl FnMut(Target<P>)) -> usize {
        self.labels.route(selector, to)
    }

    /// How many endpoints have joined.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        self.labels.len()
    }

    /// Puts an accepted endpoint in.
    pub(in crate::actors::registry) fn insert_endpoint(
        &mut self,
        ticket: Ticket,
        target: Target<P>,
        labels: &[Label],
    ) {
        self.labels.insert(ticket, target, labels.into());
    }

    /// Puts an accepted wait in.
    pub(in crate::actors::registry) fn insert_seek(&mut self, ticket: Ticket, peer: P, selector: &[u8]) {
        self.labels.seeks.insert(ticket, peer, selector);
    }

    /// The peer is gone, with all that it had on the bus.
    pub(in crate::actors::registry) fn leave_all(&mut self, peer: P, out: &mut Vec<Effect<P>>) {
        for ticket in self.labels.seeks.of(peer) {
            self.unseek(ticket, out);
            out.push(Effect::Found {
                ticket,
                matched: false,
            });
        }
        for number in self.labels.numbers_of(peer) {
            self.leave(peer, number, out);
        }
    }
}

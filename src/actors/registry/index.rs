//! Which peer has which name: the routing decisions of Registry.
//!
//! Derived from [`Facts`] and disposable: every accepted change goes through [`Index::insert_fact`] in a live step
//! as in a rebuild, and leaves as effects for the table. Owns what follows from a change, and in which order it is
//! told. It refuses to know actors, sockets, clocks and limits. Called by the Registry actor (one operation per
//! frame; the results and `out` say what to send) and by the simulator.
//!
//! Names are to be checked ([`crate::message::name::check`]) before they come here. Tickets must ascend.

pub use super::request::{NameView, NotRegistered, RegisterError, Registered, Registration, RequestInUse};

use super::claims::{Claim, Claims};
use super::facts::{Effect, Fact, Facts, Interest, Named, Notice};
use super::labels::{Labels, Target};
use super::names::{self, Admission, Names};
use super::presence::{Presence, notice};
use crate::actors::peer_key::PeerKey;
use crate::message::{PeerId, RequestId, Ticket};

/// The index.
#[derive(Debug)]
pub struct Index<P> {
    names: Names<P>,
    presence: Presence<P>,
    pub(super) labels: Labels<P>,
}

impl<P: PeerKey> Index<P> {
    /// An index without any fact.
    #[must_use]
    pub fn new() -> Self {
        Self {
            names: Names::new(),
            presence: Presence::new(),
            labels: Labels::new(),
        }
    }

    /// The index of these facts. Announces nothing. Whose turn it is in a group is not a fact: groups begin anew.
    #[must_use]
    pub fn rebuild(facts: &Facts<P>) -> Self {
        let mut index = Self::new();
        for (ticket, fact) in facts.iter() {
            index.insert_fact(ticket, fact);
        }
        index
    }

    /// Puts one accepted fact in, silently. A rebuild inserts all of them in ticket order; one that panics leaves
    /// an index that must be thrown away.
    pub fn insert_fact(&mut self, ticket: Ticket, fact: &Fact<P>) {
        match fact {
            Fact::Name(named) => {
                let claim = Claim {
                    place: named.place,
                    ticket,
                    peer: named.peer,
                    request: named.request,
                    allow_replace: named.allow_replace,
                    description: named.description.clone(),
                };
                if self.names.insert(&named.object, named.group, claim) {
                    self.presence.arrive(&named.object);
                }
            }
            Fact::Wait { peer, request, names } => {
                let missing = self.names.missing(names);
                self.presence
                    .insert_wait(ticket, (*peer, *request), names.clone(), missing);
            }
            Fact::Watch {
                peer,
                request,
                interest,
            } => {
                self.presence
                    .insert_watch(ticket, (*peer, *request), interest.clone());
            }
            Fact::Connection { peer, id, name } => {
                self.presence.insert_connection(ticket, *peer, *id, name.clone());
            }
            Fact::Endpoint {
                peer,
                request,
                labels,
                sockets,
            } => {
                let target = Target {
                    peer: *peer,
                    endpoint: *request,
                    sockets: *sockets,
                };
                self.insert_endpoint(ticket, target, labels);
            }
            Fact::Seek { peer, selector, .. } => self.insert_seek(ticket, *peer, selector),
        }
    }

    /// Registers a name. The first one owns it; then `replace`, `queue` and `group` decide, in this order.
    ///
    /// A peer that has such a claim to the name already gets what it has, and nothing changes: not the number that
    /// Ownership frames bear, not the flags, not the description.
    ///
    /// Effects of a replacement: the loser's Ownership, vanished, appeared. The queue stays behind the new owner.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn register(
        &mut self,
        ticket: Ticket,
        registration: Registration<'_, P>,
        out: &mut Vec<Effect<P>>,
    ) -> Result<Registered, RegisterError<P>> {
        let admission = self.names.admit(&registration)?;
        let Registration {
            peer,
            request,
            object,
            allow_replace,
            group,
            description,
            ..
        } = registration;
        let mut place = ticket;
        match admission {
            Admission::Held(registered) => return Ok(registered),
            Admission::Replace(owner) => {
                self.dethrone(object, owner, out);
                place = owner;
            }
            Admission::First | Admission::Join | Admission::Queue => {}
        }
        let named = Named {
            peer,
            request,
            object: object.into(),
            place,
            allow_replace,
            group,
            description,
        };
        self.accept(ticket, Fact::Name(Box::new(named)), out);
        if matches!(admission, Admission::First | Admission::Replace(_)) {
            self.presence.tell_name(Notice::NameAppeared, object, peer, out);
            self.presence.settle(object, out);
        }
        Ok(if matches!(admission, Admission::Queue) {
            Registered::Queued
        } else {
            Registered::Owner
        })
    }

    /// Gives up a name, a place in its queue, or the membership in its group. When the owner gives it up:
    /// vanished, then the next one's Ownership, then appeared.
    ///
    /// # Errors
    /// [`NotRegistered`] when the peer has no claim to it.
    pub fn unregister(
        &mut self,
        peer: P,
        object: &str,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), NotRegistered> {
        let place = self.names.place(peer, object).ok_or(NotRegistered)?;
        if self.withdraw(object, place, out) {
            self.hand_over(object, out);
        }
        Ok(())
    }

    /// Chooses who gets a call to the object: its owner, or a member of its group. `sticky` is the call's
    /// `route.key`; `load` tells how many calls a member has open. Allocates nothing.
    #[inline]
    pub fn route(&mut self, object: &[u8], sticky: Option<&[u8]>, load: impl Fn(P) -> u32) -> Option<P> {
        self.names.get_mut(object)?.pick(sticky, load)
    }

    /// Waits until all names are registered at the same time. `true`: they are, and nothing was stored; otherwise
    /// one [`Effect::Present`] follows. `ticket` is the request's.
    ///
    /// # Errors
    /// [`RequestInUse`] when the peer waits under this number already.
    pub fn wait(
        &mut self,
        ticket: Ticket,
        peer: P,
        request: RequestId,
        mut names: Vec<Box<str>>,
        out: &mut Vec<Effect<P>>,
    ) -> Result<bool, RequestInUse> {
        if self.presence.has_wait(peer, request) {
            return Err(RequestInUse);
        }
        names.sort_unstable();
        names.dedup();
        if self.names.missing(&names) == 0 {
            return Ok(true);
        }
        self.accept(
            ticket,
            Fact::Wait {
                peer,
                request,
                names: names.into(),
            },
            out,
        );
        Ok(false)
    }

    /// Whether somebody waits for this name, and perhaps for others beside it.
    #[must_use]
    pub fn is_waited(&self, object: &str) -> bool {
        self.presence.waiting_for(object).next().is_some()
    }

    /// Who waits for this name, and perhaps for others beside it, in the order in which they asked.
    pub fn waiting_for(&self, object: &str) -> impl Iterator<Item = (Ticket, (P, RequestId))> {
        self.presence.waiting_for(object)
    }

    /// Ends a wait that was not answered yet. Returns whether there was one.
    pub fn unwait(&mut self, peer: P, request: RequestId, out: &mut Vec<Effect<P>>) -> bool {
        self.presence.remove_wait((peer, request), out)
    }

    /// Begins a watch: one notice for each selected name (sorted) and connection (in the order of their ids) that
    /// is there, then changes.
    ///
    /// # Errors
    /// [`RequestInUse`] when the peer watches under this number already.
    pub fn watch(
        &mut self,
        ticket: Ticket,
        peer: P,
        request: RequestId,
        interest: Interest,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), RequestInUse> {
        if self.presence.has_watch(peer, request) {
            return Err(RequestInUse);
        }
        self.accept(
            ticket,
            Fact::Watch {
                peer,
                request,
                interest: interest.clone(),
            },
            out,
        );
        if interest.names {
            self.tell_present_names((peer, request), &interest, out);
        }
        if interest.connections {
            let present = self.connections().filter(|(_, _, name)| interest.selects(name));
            out.extend(
                present.map(|(origin, _, name)| {
                    notice((peer, request), Notice::ConnectionAppeared, name, origin)
                }),
            );
        }
        Ok(())
    }

    /// Ends a watch. Returns whether there was one.
    pub fn unwatch(&mut self, peer: P, request: RequestId, out: &mut Vec<Effect<P>>) -> bool {
        self.presence.remove_watch((peer, request), out)
    }

    /// A peer is connected, under the name that it declared (empty: none). The second time, nothing happens.
    pub fn connected(
        &mut self,
        ticket: Ticket,
        peer: P,
        id: PeerId,
        name: Box<str>,
        out: &mut Vec<Effect<P>>,
    ) {
        if !self.presence.is_connected(peer) {
            self.accept(
                ticket,
                Fact::Connection {
                    peer,
                    id,
                    name: name.clone(),
                },
                out,
            );
            self.presence
                .tell_connection(Notice::ConnectionAppeared, &name, peer, out);
        }
    }

    /// Removes all that the peer has. Its own waits and watches go first, so no effect is addressed to it. Then
    /// the others are told: its names vanished (in the order in which it got them), its connection gone, and only
    /// then do the next in the queues own the names. O(its own facts · log of all), and those who are told.
    pub fn gone(&mut self, peer: P, out: &mut Vec<Effect<P>>) {
        self.presence.remove_askers_of(peer, out);
        self.leave_all(peer, out);
        let mut held = self.names.held_by(peer);
        held.retain(|(place, object)| self.withdraw(object, *place, out));
        self.presence.remove_connection(peer, out);
        for (_, object) in held {
            self.hand_over(&object, out);
        }
    }

    /// The owner of a name, or the oldest member of its group. Gives nobody a turn.
    #[must_use]
    pub fn owner(&self, object: &[u8]) -> Option<P> {
        self.names.get(object)?.first().map(|claim| claim.peer)
    }

    /// Whether the peer has a claim to the name.
    #[must_use]
    pub fn holds(&self, peer: P, object: &str) -> bool {
        self.names.place(peer, object).is_some()
    }

    /// One name.
    #[must_use]
    pub fn describe(&self, object: &[u8]) -> Option<NameView<'_, P>> {
        self.names.view(object)
    }

    /// All names, sorted. Costs a sort: for List, not for routing.
    pub fn names(&self) -> impl Iterator<Item = NameView<'_, P>> {
        self.names
            .sorted()
            .into_iter()
            .filter_map(|(name, claims)| names::view(name, claims))
    }

    /// How many names there are.
    #[must_use]
    pub fn name_count(&self) -> usize {
        self.names.len()
    }

    /// The names, in no order.
    pub fn some_names(&self) -> impl Iterator<Item = &str> {
        self.names.some()
    }

    /// All connections with their declared names, in the order of their ids. Costs a sort.
    pub fn connections(&self) -> impl Iterator<Item = (P, PeerId, &str)> {
        let mut all: Vec<_> = self.presence.connections().collect();
        all.sort_unstable_by_key(|(_, id, _)| *id);
        all.into_iter()
    }

    fn accept(&mut self, ticket: Ticket, fact: Fact<P>, out: &mut Vec<Effect<P>>) {
        self.insert_fact(ticket, &fact);
        out.push(Effect::FactAdded(ticket, fact));
    }

    /// Removes the owner, who allowed it, and says so.
    fn dethrone(&mut self, object: &str, place: Ticket, out: &mut Vec<Effect<P>>) {
        let Some(taken) = self.names.take(object, place) else {
            return;
        };
        if taken.last {
            self.presence.leave(object);
        }
        let loser = taken.claim;
        out.push(Effect::FactRemoved(loser.ticket));
        out.push(Effect::Ownership {
            peer: loser.peer,
            request: loser.request,
            acquired: false,
        });
        self.presence
            .tell_name(Notice::NameVanished, object, loser.peer, out);
    }

    /// Removes a claim and tells the watchers when the name vanished with it. Returns whether somebody in the queue
    /// is to own it now.
    fn withdraw(&mut self, object: &str, place: Ticket, out: &mut Vec<Effect<P>>) -> bool {
        let Some(taken) = self.names.take(object, place) else {
            return false;
        };
        if taken.last {
            self.presence.leave(object);
        }
        out.push(Effect::FactRemoved(taken.claim.ticket));
        if taken.owned || taken.last {
            self.presence
                .tell_name(Notice::NameVanished, object, taken.claim.peer, out);
        }
        taken.owned && !taken.last
    }

    /// Tells the next in the queue that it owns the name, and then the watchers. No wait can have ended by that:
    /// for those who wait the name was there all the time.
    fn hand_over(&self, object: &str, out: &mut Vec<Effect<P>>) {
        let Some(heir) = self.names.get(object.as_bytes()).and_then(Claims::first) else {
            return;
        };
        out.push(Effect::Ownership {
            peer: heir.peer,
            request: heir.request,
            acquired: true,
        });
        self.presence
            .tell_name(Notice::NameAppeared, object, heir.peer, out);
    }

    fn tell_present_names(&self, asker: (P, RequestId), interest: &Interest, out: &mut Vec<Effect<P>>) {
        let present = match interest.only_name() {
            Some(name) => self
                .names
                .get(name.as_bytes())
                .map(|claims| (name, claims))
                .into_iter()
                .collect(),
            None => self.names.sorted(),
        };
        for (name, claims) in present {
            if let Some(first) = claims.first().filter(|_| interest.selects(name)) {
                out.push(notice(asker, Notice::NameAppeared, name, first.peer));
            }
        }
    }
}

#[cfg(test)]
impl<P: PeerKey> Index<P> {
    /// Whether every table is empty, the reverse ones too.
    pub(super) fn is_bare(&self) -> bool {
        self.names.is_bare() && self.presence.is_bare() && self.labels.is_bare()
    }
}

impl<P: PeerKey> Default for Index<P> {
    fn default() -> Self {
        Self::new()
    }
}

//! Which peer has which name: the routing decisions of Registry.
//!
//! Derived from [`Facts`] and disposable: every accepted change goes through [`Index::insert_fact`] in a live step
//! as in a rebuild, and leaves as effects for the table. It refuses to know actors, sockets, clocks and limits.
//! Called by the Registry actor (one operation per frame; the results and `out` say what to send) and by the
//! simulator.
//!
//! Names are to be checked ([`crate::message::name::check`]) before they come here. Tickets must ascend.

use super::claims::{Claim, Claims};
use super::facts::{Balance, Effect, Fact, Facts, Notice};
use super::presence::{Interest, Presence, notice};
use crate::actors::peer_key::PeerKey;
use crate::message::{Pattern, PeerId, RequestId, Ticket};
use bytes::Bytes;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

/// What a Register asks for.
#[derive(Clone, Debug)]
pub struct Registration<'a, P> {
    /// The registrant.
    pub peer: P,
    /// Its Register.
    pub request: RequestId,
    /// The name.
    pub object: &'a str,
    /// Wait in the queue when the name is taken.
    pub queue: bool,
    /// Replace an owner that allows it.
    pub replace: bool,
    /// Others may replace this one.
    pub allow_replace: bool,
    /// Join a worker group with this balance.
    pub group: Option<Balance>,
    /// What the registrant says about the object.
    pub description: Bytes,
}

/// What an accepted Register got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// It owns the name, or is a member of its group.
    Owner,
    /// It is in the queue.
    Queued,
}

/// Why a Register was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisterError<P> {
    /// Another peer has the name, or a group has what was asked for alone (or the other way round).
    Taken {
        /// Its owner, or the oldest member of its group.
        owner: P,
    },
    /// The group has another balance; all members must ask for the same.
    Mismatch {
        /// The oldest member of the group.
        owner: P,
        /// The balance it has.
        balance: Balance,
    },
}

/// The peer has no claim to the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRegistered;

/// The peer has an open wait (or watch) of this number already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestInUse;

/// One name, for List and Describe.
#[derive(Clone, Debug)]
pub struct NameView<'a, P> {
    /// The name.
    pub name: &'a str,
    /// Its owner, or the oldest member of its group.
    pub owner: P,
    /// The balance of its group, when it is one.
    pub balance: Option<Balance>,
    /// Who gets calls: the owner, or the members in the order in which they joined.
    pub members: Vec<P>,
    /// Who comes next, in order.
    pub queue: Vec<P>,
    /// What the owner says about the object.
    pub description: &'a Bytes,
}

/// A name that can be looked up by its bytes, as they lie in a frame.
#[derive(PartialEq, Eq, Debug)]
struct NameKey(Box<str>);

impl Hash for NameKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for NameKey {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How a Register fits what is there.
enum Admission {
    /// The peer has such a claim already.
    Held(Registered),
    /// Behind the others: into the queue or the group.
    Append(Registered),
    /// In the place of the present owner.
    Replace,
}

/// The index.
#[derive(Debug)]
pub struct Index<P> {
    names: HashMap<NameKey, Claims<P>>,
    /// The place of each claim, by peer and name.
    held: BTreeMap<(P, Box<str>), Ticket>,
    presence: Presence<P>,
}

impl<P: PeerKey> Index<P> {
    /// An index without any fact.
    #[must_use]
    pub fn new() -> Self {
        Self {
            names: HashMap::new(),
            held: BTreeMap::new(),
            presence: Presence::new(),
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
            Fact::Name {
                peer,
                request,
                object,
                place,
                allow_replace,
                group,
                description,
            } => {
                let claim = Claim {
                    place: *place,
                    ticket,
                    peer: *peer,
                    request: *request,
                    allow_replace: *allow_replace,
                    description: description.clone(),
                };
                self.insert_claim(object, *group, claim);
            }
            Fact::Wait { peer, request, names } => {
                let missing = self.missing(names);
                self.presence
                    .insert_wait(ticket, (*peer, *request), names.clone(), missing);
            }
            Fact::Watch {
                peer,
                request,
                names,
                connections,
                pattern,
            } => {
                let interest = Interest {
                    names: *names,
                    connections: *connections,
                    pattern: pattern.clone(),
                };
                self.presence.insert_watch(ticket, (*peer, *request), interest);
            }
            Fact::Connection { peer, id, name } => {
                self.presence.insert_connection(ticket, *peer, *id, name.clone());
            }
        }
    }

    /// Registers a name. The first one owns it; then `replace`, `queue` and `group` decide, in this order.
    ///
    /// A peer that has such a claim to the name already gets what it has, and nothing changes: not the number that
    /// Ownership frames bear, not the flags, not the description.
    ///
    /// Effects of a replacement: the loser's Ownership, vanished, appeared.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn register(
        &mut self,
        ticket: Ticket,
        registration: Registration<'_, P>,
        out: &mut Vec<Effect<P>>,
    ) -> Result<Registered, RegisterError<P>> {
        let Registration {
            peer,
            request,
            object,
            allow_replace,
            group,
            ..
        } = registration;
        let (place, registered) = match self.admit(&registration)? {
            Admission::Held(registered) => return Ok(registered),
            Admission::Append(registered) => (ticket, registered),
            Admission::Replace => (self.dethrone(object, out).unwrap_or(ticket), Registered::Owner),
        };
        let appears = registered == Registered::Owner && self.is_new_or_single(object);
        let object: Box<str> = object.into();
        let description = registration.description;
        let fact = Fact::Name {
            peer,
            request,
            object: object.clone(),
            place,
            allow_replace,
            group,
            description,
        };
        self.insert_fact(ticket, &fact);
        out.push(Effect::FactAdded(ticket, fact));
        if appears {
            self.presence.tell_name(Notice::NameAppeared, &object, peer, out);
            self.presence.settle(&object, out);
        }
        Ok(registered)
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
        let place = self.held.remove(&(peer, object.into())).ok_or(NotRegistered)?;
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
    /// one [`Effect::Present`] follows.
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
        if self.missing(&names) == 0 {
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
        (peer, request): (P, RequestId),
        (names, connections): (bool, bool),
        pattern: Option<Pattern>,
        out: &mut Vec<Effect<P>>,
    ) -> Result<(), RequestInUse> {
        if self.presence.has_watch(peer, request) {
            return Err(RequestInUse);
        }
        let interest = Interest {
            names,
            connections,
            pattern: pattern.clone(),
        };
        self.accept(
            ticket,
            Fact::Watch {
                peer,
                request,
                names,
                connections,
                pattern,
            },
            out,
        );
        if names {
            self.tell_present_names((peer, request), &interest, out);
        }
        if connections {
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
        let mut held: Vec<(Ticket, Box<str>)> = self
            .held
            .range((peer, Box::default())..)
            .take_while(|((holder, _), _)| *holder == peer)
            .map(|((_, object), place)| (*place, object.clone()))
            .collect();
        held.sort_unstable();
        held.retain(|(place, object)| {
            self.held.remove(&(peer, object.clone()));
            self.withdraw(object, *place, out)
        });
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

    /// One name.
    #[must_use]
    pub fn describe(&self, object: &[u8]) -> Option<NameView<'_, P>> {
        let (key, claims) = self.names.get_key_value(object)?;
        view(&key.0, claims)
    }

    /// All names, sorted. Costs a sort: for List, not for routing.
    pub fn names(&self) -> impl Iterator<Item = NameView<'_, P>> {
        self.sorted()
            .into_iter()
            .filter_map(|(name, claims)| view(name, claims))
    }

    /// How many names there are.
    #[must_use]
    pub fn name_count(&self) -> usize {
        self.names.len()
    }

    /// All connections with their declared names, in the order of their ids. Costs a sort.
    pub fn connections(&self) -> impl Iterator<Item = (P, PeerId, &str)> {
        let mut all: Vec<_> = self.presence.connections().collect();
        all.sort_unstable_by_key(|(_, id, _)| *id);
        all.into_iter()
    }

    fn sorted(&self) -> Vec<(&str, &Claims<P>)> {
        let mut all: Vec<_> = self.names.iter().map(|(key, claims)| (&*key.0, claims)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    fn accept(&mut self, ticket: Ticket, fact: Fact<P>, out: &mut Vec<Effect<P>>) {
        self.insert_fact(ticket, &fact);
        out.push(Effect::FactAdded(ticket, fact));
    }

    fn missing(&self, names: &[Box<str>]) -> usize {
        names
            .iter()
            .filter(|name| !self.names.contains_key(name.as_bytes()))
            .count()
    }

    /// Whether a claim that is owner now is the one that makes the name appear: always for a single owner, only
    /// the first for a group.
    fn is_new_or_single(&self, object: &str) -> bool {
        self.names
            .get(object.as_bytes())
            .is_none_or(|claims| claims.balance().is_none())
    }

    fn admit(&self, asked: &Registration<'_, P>) -> Result<Admission, RegisterError<P>> {
        let Some(claims) = self.names.get(asked.object.as_bytes()) else {
            return Ok(Admission::Append(Registered::Owner));
        };
        let Some(first) = claims.first() else {
            return Ok(Admission::Append(Registered::Owner));
        };
        let owner = first.peer;
        let held = self.held.contains_key(&(asked.peer, asked.object.into()));
        match (claims.balance(), asked.group) {
            (Some(balance), Some(wanted)) if balance != wanted => {
                Err(RegisterError::Mismatch { owner, balance })
            }
            (Some(_), Some(_)) if held => Ok(Admission::Held(Registered::Owner)),
            (Some(_), Some(_)) => Ok(Admission::Append(Registered::Owner)),
            (Some(_), None) | (None, Some(_)) => Err(RegisterError::Taken { owner }),
            (None, None) if owner == asked.peer => Ok(Admission::Held(Registered::Owner)),
            (None, None) if held => Ok(Admission::Held(Registered::Queued)),
            (None, None) if asked.replace && first.allow_replace => Ok(Admission::Replace),
            (None, None) if asked.queue => Ok(Admission::Append(Registered::Queued)),
            (None, None) => Err(RegisterError::Taken { owner }),
        }
    }

    fn insert_claim(&mut self, object: &str, group: Option<Balance>, claim: Claim<P>) {
        self.held.insert((claim.peer, object.into()), claim.place);
        match self.names.get_mut(object.as_bytes()) {
            Some(claims) => claims.insert(claim),
            None => {
                self.names
                    .insert(NameKey(object.into()), Claims::new(group, claim));
                self.presence.arrive(object);
            }
        }
    }

    /// Takes a claim out, with the name when it was the last.
    fn take(&mut self, object: &str, place: Ticket) -> Option<(usize, Claim<P>)> {
        let claims = self.names.get_mut(object.as_bytes())?;
        let taken = claims.remove(place);
        if claims.is_empty() {
            self.names.remove(object.as_bytes());
            self.presence.leave(object);
        }
        taken
    }

    /// Removes the owner, who allowed it, and says so. Returns its place for the one who replaces it.
    fn dethrone(&mut self, object: &str, out: &mut Vec<Effect<P>>) -> Option<Ticket> {
        let place = self.names.get(object.as_bytes())?.first()?.place;
        let (_, loser) = self.take(object, place)?;
        self.held.remove(&(loser.peer, object.into()));
        out.push(Effect::FactRemoved(loser.ticket));
        out.push(Effect::Ownership {
            peer: loser.peer,
            request: loser.request,
            acquired: false,
        });
        self.presence
            .tell_name(Notice::NameVanished, object, loser.peer, out);
        Some(place)
    }

    /// Removes a claim that is no longer in `held` and tells the watchers when the name vanished with it.
    /// Returns whether somebody in the queue is to own it now.
    fn withdraw(&mut self, object: &str, place: Ticket, out: &mut Vec<Effect<P>>) -> bool {
        let Some((position, claim)) = self.take(object, place) else {
            return false;
        };
        out.push(Effect::FactRemoved(claim.ticket));
        let heirs = self.names.get(object.as_bytes());
        let single = heirs.is_none_or(|claims| claims.balance().is_none());
        let vanished = position == 0 && single;
        let inherited = vanished && heirs.is_some();
        if vanished {
            self.presence
                .tell_name(Notice::NameVanished, object, claim.peer, out);
        }
        inherited
    }

    /// Tells the next in the queue that it owns the name, and then the watchers.
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
        let mut tell = |name: &str, claims: &Claims<P>| {
            out.extend(
                claims
                    .first()
                    .map(|first| notice(asker, Notice::NameAppeared, name, first.peer)),
            );
        };
        match interest.only_name() {
            Some(name) => self
                .names
                .get(name.as_bytes())
                .into_iter()
                .for_each(|claims| tell(name, claims)),
            None => self
                .sorted()
                .into_iter()
                .filter(|(name, _)| interest.selects(name))
                .for_each(|(name, claims)| tell(name, claims)),
        }
    }
}

impl<P: PeerKey> Default for Index<P> {
    fn default() -> Self {
        Self::new()
    }
}

fn view<'a, P: PeerKey>(name: &'a str, claims: &'a Claims<P>) -> Option<NameView<'a, P>> {
    let first = claims.first()?;
    let mut members: Vec<P> = claims.iter().map(|claim| claim.peer).collect();
    let queue = if claims.balance().is_none() {
        members.split_off(1)
    } else {
        Vec::new()
    };
    Some(NameView {
        name,
        owner: first.peer,
        balance: claims.balance(),
        members,
        queue,
        description: &first.description,
    })
}

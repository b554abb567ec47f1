//! What Registry shows of its work: calls that it routes, who comes and goes, and a survey of what is there.
//!
//! Steps of [`State`], in a file of their own. Nothing here decides where anything goes.

use super::facts::{Effect, Fact};
use super::index::Index;
use super::state::{Current, State};
use crate::actors::messages::Invoke;
use crate::actors::observe::gathered::Gathered;
use crate::actors::observe::refused::Refused;
use crate::actors::observe::said::{Presence, Said, What};
use crate::actors::observe::survey::{LOOKED_AT_MAX, ObjectSurvey, PeerSurvey, RegistrySurvey};
use crate::actors::observe::tally::{ObjectTally, Tallies, Tracked};
use crate::actors::observe::tap::Tap;
use crate::actors::observe::trace::{self, Outcome, Trace};
use crate::actors::peers::Key;
use crate::error::{CallError, ErrorCode};
use crate::message::PeerId;
use crate::message::frame::FrameView;
use std::collections::HashSet;
use std::sync::Arc;

/// A call goes to this owner.
pub(super) fn note_call(
    (tallies, index, tap): (&mut Tallies, &Index<Key>, &Arc<Tap>),
    current: &Current,
    invoke: &mut Invoke,
    (view, object): (&FrameView<'_>, &[u8]),
    owner: PeerId,
) {
    let tally = tallies.of(object, |name| index.owner(name.as_bytes()).is_some());
    tally.calls.add(1);
    tally.bytes.add(view.payload.len() as u64);
    let from = current.from.id();
    let trace = trace::is_on().then(|| Trace::begin(view, invoke.ticket, from, Some(owner)));
    let mut gathered = None;
    if tap.is_on() {
        let what = What::call(view.header, invoke.ticket, invoke.reply.is_none());
        let said = Said::framed(what, view, (from, Some(owner)));
        if said.pieces {
            gathered = Gathered::begin(tap, what, &said);
        }
        if gathered.is_none() {
            tap.offer(&said);
        }
    }
    match &mut invoke.reply {
        Some(reply) => reply.track(Tracked::new(tally.clone(), owner, trace, gathered)),
        None => {
            tally.one_way.add(1);
            if let Some(trace) = trace {
                trace.end(Outcome::OneWay);
            }
        }
    }
}

impl State {
    /// A call goes to no owner: who asked is told, if he wants an answer, and who watches. `to`: whom it was for, if there is one.
    pub(super) fn turn_away(&self, current: &Current, invoke: Invoke, to: Option<PeerId>, error: CallError) {
        let refused = Refused {
            frame: invoke.frame,
            batch: None,
            ticket: invoke.ticket,
            silent: invoke.reply.is_none(),
            error,
        };
        if let Some(view) = current.batch.view(invoke.frame as usize) {
            let shared = (&*self.shared.tap, &self.shared.metrics);
            refused.tell(shared, &view, current.from.id(), to);
        }
        invoke
            .reply
            .into_iter()
            .for_each(|reply| reply.fail(&refused.error));
    }

    /// The effects of a step, before they are final, for those who watch who comes and goes.
    pub(super) fn note_presence(&self) {
        for effect in &self.effects {
            match effect {
                Effect::FactAdded(_, fact) => self.note_fact(fact, true),
                Effect::FactRemoved(ticket) => {
                    if let Some(fact) = self.facts.get(*ticket) {
                        self.note_fact(fact, false);
                    }
                }
                Effect::Ownership { .. }
                | Effect::Present { .. }
                | Effect::Notice { .. }
                | Effect::Found { .. } => {}
            }
        }
    }

    fn note_fact(&self, fact: &Fact<Key>, added: bool) {
        let (what, peer, object) = match (fact, added) {
            (Fact::Name(named), false) => (Presence::Unregistered, named.peer, &*named.object),
            (Fact::Name(named), true) => {
                let owns =
                    named.group.is_some() || self.index.owner(named.object.as_bytes()) == Some(named.peer);
                let what = if owns {
                    Presence::Registered
                } else {
                    Presence::Queued
                };
                (what, named.peer, &*named.object)
            }
            (Fact::Connection { peer, .. }, true) => (Presence::Connected, *peer, ""),
            (Fact::Connection { peer, .. }, false) => (Presence::Disconnected, *peer, ""),
            (Fact::Wait { .. } | Fact::Watch { .. } | Fact::Endpoint { .. } | Fact::Seek { .. }, _) => return,
        };
        let said = Said::of_peer(what, self.peers.get(peer), (object, "", false));
        self.shared.tap.offer(&said);
    }

    /// What is there now. The objects that were called come first, then others, as many as are looked at.
    #[must_use]
    pub fn survey(&self) -> RegistrySurvey {
        let peers: Vec<_> = self
            .peers
            .keyed()
            .take(LOOKED_AT_MAX)
            .map(|(key, peer)| PeerSurvey {
                peer: peer.clone(),
                objects: self.facts.counts(key).names,
                came_us: self.peers.own(key).copied().unwrap_or_default(),
            })
            .collect();
        let called = self.tallies.iter();
        let called = called.filter(|tally| tally.calls.get() > 0 || tally.turned_away.get() > 0);
        let mut objects: Vec<_> = called
            .take(LOOKED_AT_MAX)
            .map(|tally| self.survey_object(&tally.object, Some(tally)))
            .collect();
        let known: HashSet<Box<str>> = objects.iter().map(|object| object.name.clone()).collect();
        let room = LOOKED_AT_MAX.saturating_sub(objects.len());
        let others = self.index.some_names().filter(|name| !known.contains(*name));
        objects.extend(others.take(room).map(|name| self.survey_object(name, None)));
        RegistrySurvey {
            peers_left_out: self.peers.iter().count().saturating_sub(peers.len()),
            peers,
            objects,
            registered: self.index.name_count(),
        }
    }

    fn survey_object(&self, name: &str, tally: Option<&Arc<ObjectTally>>) -> ObjectSurvey {
        let view = self.index.describe(name.as_bytes());
        ObjectSurvey {
            name: name.into(),
            owner: view.as_ref().and_then(|view| self.peers.get(view.owner)).cloned(),
            members: view.as_ref().map_or(0, |view| view.members.len()),
            queued: view.as_ref().map_or(0, |view| view.queue.len()),
            tally: tally.cloned(),
        }
    }
}

/// The error for a call whose object nobody has.
pub(super) fn no_object(name: &str) -> CallError {
    CallError::new(
        ErrorCode::NoSuchObject,
        format!("no object {name:?} is registered"),
    )
    .ran(false)
}

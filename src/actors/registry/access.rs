//! What the policy says to names, waits and watches.
//!
//! Owns who may register, who may know of a name, and what is taken back when there is another policy. Steps of Registry, in a
//! file of their own. Whether something is denied is decided before anybody looks whether it exists.

use super::facts::{Effect, Fact, Notice};
use super::state::{Current, State};
use crate::actors::access;
use crate::actors::messages::{Control, Revise};
use crate::actors::peer::{PeerRef, error_frame};
use crate::actors::peers::Key;
use crate::actors::supervise::{Progress, guard};
use crate::error::{CallError, CloseReason};
use crate::message::{CallId, RequestId, Ticket};
use crate::policy::Right;

/// What a fact is worth under another policy.
enum Revised {
    Kept,
    /// The name is taken back.
    Taken(Key, RequestId, Box<str>),
    /// The wait is answered.
    Waits(Key, RequestId, Ticket),
    /// The watch is ended.
    Watches(Key, RequestId),
}

impl State {
    /// A peer has joined: the policy may have changed since it was welcomed.
    pub(super) fn admit(&self, peer: &PeerRef) {
        if let Some(text) = access::refuses(&self.shared.policy, &peer.principal) {
            peer.tell(Control::Close(CloseReason::Denied, text));
        }
    }

    pub(super) fn check_own(&mut self, current: &Current, object: &str) -> Result<(), CallError> {
        let (key, from) = (current.key, &current.from);
        let may = self.access.may(key, from, Right::Own, object.as_bytes());
        self.checked(may, from, Right::Own, object)
    }

    /// Whether the asker may know that there is such an object.
    pub(super) fn check_sees(&mut self, current: &Current, object: &str) -> Result<(), CallError> {
        let may = self.access.sees(current.key, &current.from, object);
        self.checked(may, &current.from, Right::Call, object)
    }

    pub(super) fn check_monitor(&mut self, current: &Current) -> Result<(), CallError> {
        let may = self.access.may(current.key, &current.from, Right::Monitor, b"");
        self.checked(may, &current.from, Right::Monitor, "")
    }

    fn checked(&self, may: bool, who: &PeerRef, right: Right, object: &str) -> Result<(), CallError> {
        if may {
            return Ok(());
        }
        self.shared.metrics.denied.add(1);
        Err(access::error(&who.principal, right, object.as_bytes()))
    }

    /// Whether the one whom an effect would tell something may know it.
    pub(super) fn may_know(&mut self, effect: &Effect<Key>) -> bool {
        let Effect::Notice { peer, what, name, .. } = effect else {
            return true;
        };
        let Some(watcher) = self.peers.get(*peer) else {
            return false;
        };
        match what {
            Notice::NameAppeared | Notice::NameVanished => self.access.sees(*peer, watcher, name),
            Notice::ConnectionAppeared | Notice::ConnectionGone => {
                self.access.may(*peer, watcher, Right::Monitor, b"")
            }
        }
    }

    /// There is another policy: takes back what peers may not hold any more, and tells them.
    pub fn revise(&mut self, _: Revise) -> Progress {
        for peer in self.peers.iter() {
            self.admit(peer);
        }
        let tickets: Vec<Ticket> = self.facts.iter().map(|(ticket, _)| ticket).collect();
        for ticket in tickets {
            let revised = guard(|| {
                let revised = self.judge(ticket);
                self.take_back(revised);
            });
            if let Err(panic) = revised {
                // What cannot be judged is not kept.
                tracing::error!(
                    panic,
                    "a new policy made Registry panic over something registered; it is withdrawn"
                );
                self.effects.clear();
                self.facts.remove(ticket);
                self.broken = true;
            }
        }
        self.observe_all();
        if self.broken {
            Progress::Restart
        } else {
            Progress::Done
        }
    }

    fn judge(&mut self, ticket: Ticket) -> Revised {
        // An earlier step of the same revision may have removed it.
        let Some(fact) = self.facts.get(ticket) else {
            return Revised::Kept;
        };
        let key = fact.peer();
        let Some(peer) = self.peers.get(key) else {
            return Revised::Kept;
        };
        let access = &mut self.access;
        match fact {
            Fact::Name(named) if !access.may(key, peer, Right::Own, named.object.as_bytes()) => {
                Revised::Taken(key, named.request, named.object.clone())
            }
            Fact::Wait { request, names, .. } if !names.iter().all(|name| access.sees(key, peer, name)) => {
                Revised::Waits(key, *request, ticket)
            }
            Fact::Watch {
                request, interest, ..
            } if interest.connections && !access.may(key, peer, Right::Monitor, b"") => {
                Revised::Watches(key, *request)
            }
            Fact::Name(_)
            | Fact::Wait { .. }
            | Fact::Watch { .. }
            | Fact::Connection { .. }
            | Fact::Endpoint { .. }
            | Fact::Seek { .. } => Revised::Kept,
        }
    }

    fn take_back(&mut self, revised: Revised) {
        let whose = match &revised {
            Revised::Kept => return,
            Revised::Taken(key, ..) | Revised::Waits(key, ..) | Revised::Watches(key, ..) => *key,
        };
        match revised {
            Revised::Kept => {}
            Revised::Taken(peer, request, object) => {
                self.effects.push(Effect::Ownership {
                    peer,
                    request,
                    acquired: false,
                });
                // It was found a moment ago.
                let _ = self.index.unregister(peer, &object, &mut self.effects);
            }
            Revised::Waits(peer, request, ticket) => {
                if let Some(peer) = self.peers.get(peer) {
                    // Its session answers, and takes the wait back from here.
                    peer.tell(Control::WaitDenied(CallId(request.0), ticket));
                }
            }
            Revised::Watches(key, request) => {
                self.index.unwatch(key, request, &mut self.effects);
                if let Some(peer) = self.peers.get(key) {
                    let error = access::error(&peer.principal, Right::Monitor, b"");
                    peer.tell(Control::Frame(error_frame(request.0, &error).into()));
                }
            }
        }
        self.shared.metrics.denied.add(1);
        self.commit();
        self.settle(whose);
    }
}

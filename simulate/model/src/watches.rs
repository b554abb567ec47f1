//! Watches: names and connections appear and vanish in turn, an end is told before what it made possible.
//!
//! Owns the rules `notice`, `notice-order`, `notice-missing`.

use crate::Frame;
use crate::asks::Ask;
use crate::matcher;
use crate::names::Names;
use crate::run::{Found, Run, show};
use actix_ipc::message::{Flags, Kind};
use std::collections::{BTreeMap, HashMap};

/// One watch that stands.
#[derive(Debug)]
struct Watch {
    pattern: Vec<u8>,
    names: bool,
    connections: bool,
    ended: bool,
    /// The origin that each name was last told to have; gone when it vanished.
    there: BTreeMap<Vec<u8>, Option<u64>>,
    peers: BTreeMap<u64, bool>,
}

/// The rules' state.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    all: HashMap<(u32, u64), Watch>,
}

impl Watch {
    fn selects(&self, name: &[u8]) -> bool {
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or("");
        self.pattern.is_empty() || matcher::selects(text(&self.pattern), text(name))
    }

    /// Takes a notice. Returns the rules that it breaks.
    fn notice(
        &mut self,
        run: &Run,
        names: &Names,
        frame: &Frame,
        origin: Option<u64>,
    ) -> Vec<(&'static str, String)> {
        let mut broken = Vec::new();
        match (frame.aux, origin) {
            (1, owner) => {
                let last = self.there.insert(frame.key.clone(), owner.or(Some(u64::MAX)));
                if matches!(last, Some(Some(_))) {
                    broken.push(("notice-order", ": it is there already".to_owned()));
                }
                let number = owner.and_then(|peer| run.peers.get(&peer).copied());
                if number.is_some_and(|number| !names.asked_for(number, &frame.key)) {
                    broken.push(("notice", ": its owner never asked for it".to_owned()));
                }
            }
            (2, owner) => {
                let last = self.there.insert(frame.key.clone(), None).flatten();
                let told = last.filter(|told| *told != u64::MAX);
                let differs = told.zip(owner).is_some_and(|(told, owner)| told != owner);
                if last.is_none() || differs && !names.was_group(&frame.key) {
                    let text = format!(" by {owner:?}: it was told to be {last:?}'s");
                    broken.push(("notice-order", text));
                }
            }
            (3 | 4, Some(peer)) => {
                let there = self.peers.insert(peer, frame.aux == 3).unwrap_or(false);
                if there == (frame.aux == 3) {
                    broken.push(("notice-order", format!(": connection {peer} out of turn")));
                }
            }
            (4, None) => {}
            _ => broken.push(("notice", " says nothing".to_owned())),
        }
        broken
    }
}

impl Watches {
    /// A request was answered.
    pub(crate) fn answered(
        &mut self,
        run: &Run,
        client: u32,
        ask: &Ask,
        answer: &Frame,
        at: u64,
        found: &mut Found,
    ) {
        if answer.kind != Kind::Done {
            return;
        }
        match ask.frame.kind {
            Kind::Watch => {
                let watch = Watch {
                    pattern: ask.frame.key.clone(),
                    names: ask.frame.aux & 1 != 0,
                    connections: ask.frame.aux & 2 != 0,
                    ended: false,
                    there: BTreeMap::new(),
                    peers: BTreeMap::new(),
                };
                self.all.insert((client, answer.id), watch);
            }
            Kind::Unwatch => {
                if let Some(watch) = self.all.get_mut(&(client, answer.id)) {
                    watch.ended = true;
                }
            }
            // A replacement is answered before its notices.
            Kind::Register if answer.aux == 0 && !ask.frame.has(Flags::REPLACE) => {
                self.owns(
                    run,
                    client,
                    &ask.frame.key,
                    ask.frame.has(Flags::WORKER_GROUP),
                    at,
                    found,
                );
            }
            _ => {}
        }
    }

    /// Whoever gets a name has been told before that another one lost it.
    pub(crate) fn owns(
        &self,
        run: &Run,
        client: u32,
        object: &[u8],
        group: bool,
        at: u64,
        found: &mut Found,
    ) {
        let mine = self
            .all
            .iter()
            .filter(|((watcher, _), watch)| *watcher == client && !watch.ended);
        for ((_, id), watch) in mine {
            let last = watch.there.get(object).copied().flatten();
            let another = last.filter(|owner| run.peers.get(owner).is_some_and(|owner| *owner != client));
            if !group && another.is_some() {
                let text = format!(
                    "owns {}, and watch {id} was not told that the last owner is gone",
                    show(object)
                );
                found.add("notice-order", client, at, text);
            }
        }
    }

    /// A frame that the client read.
    pub(crate) fn received(
        &mut self,
        run: &Run,
        names: &Names,
        client: u32,
        frame: &Frame,
        at: u64,
        found: &mut Found,
    ) {
        if frame.kind != Kind::Notice {
            return;
        }
        let what = format!(
            "Notice {} of {} for watch {}",
            frame.aux,
            show(&frame.key),
            frame.id
        );
        let origin = frame.origin.map(|origin| origin.peer.0);
        let Some(watch) = self.all.get_mut(&(client, frame.id)) else {
            return found.add(
                "notice",
                client,
                at,
                format!("{what}, which was not answered yet"),
            );
        };
        let asked = if frame.aux < 3 {
            watch.names
        } else {
            watch.connections
        };
        if watch.ended || !asked || !watch.selects(&frame.key) {
            found.add("notice", client, at, format!("{what}: it did not ask for that"));
        }
        let words = watch.notice(run, names, frame, origin);
        for (rule, text) in words {
            found.add(rule, client, at, format!("{what}{text}"));
        }
    }

    /// In the end each living watch knows what is there.
    pub(crate) fn finish(&self, run: &Run, names: &Names, drained: bool, found: &mut Found) {
        let mut all: Vec<_> = self.all.iter().collect();
        all.sort_by_key(|(key, _)| **key);
        for ((client, id), watch) in all {
            if !drained || watch.ended || !run.lives(*client) {
                continue;
            }
            for object in names
                .objects()
                .filter(|object| watch.names && watch.selects(object))
            {
                let there = matches!(watch.there.get(&object), Some(Some(_)));
                let (may, surely) = names.at_the_end(run, &object);
                if there && !may || !there && surely {
                    let text = format!("watch {id} believes that {} is there: {there}", show(&object));
                    found.add("notice-missing", *client, u64::MAX, text);
                }
            }
            let known = |peer: &u64| watch.peers.get(peer).copied().unwrap_or(false);
            for (number, other) in run.clients.iter().filter(|_| watch.connections) {
                let Some(peer) = other
                    .peer
                    .filter(|_| watch.selects(&other.name) && number != client)
                else {
                    continue;
                };
                let gone = other.broke.is_some() || other.closed.is_some();
                if known(&peer) && gone || !known(&peer) && other.lives() {
                    let text = format!(
                        "watch {id} believes that connection {peer} is there: {}",
                        known(&peer)
                    );
                    found.add("notice-missing", *client, u64::MAX, text);
                }
            }
        }
    }
}

//! Sequences of operations on Registry's core, against lists that are scanned.
//!
//! Owns the model: who has a claim to which name, who waits and who watches, by the rules of sections 7 and 9 of
//! `docs/protocol.md`. After some operations the index is thrown away and rebuilt from the facts, as after a panic;
//! nobody may notice.

use crate::input::Input;
use crate::patterns::selects;
use actix_ipc::actors::registry::facts::{Balance, Counts, Effect, Facts, Interest, Notice};
use actix_ipc::actors::registry::index::{Index, RegisterError, Registered, Registration};
use actix_ipc::message::{Pattern, PeerId, RequestId, Ticket};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

const PEERS: usize = 5;
const NAMES: &[&str] = &["a", "b", "a.b", "a.b.c", "\u{e9}"];
const PATTERNS: &[Option<&str>] = &[None, Some("a"), Some("*"), Some("a.**"), Some("*.b"), Some("**")];

#[derive(Clone, Debug)]
struct Claim {
    peer: u8,
    request: u64,
    replaceable: bool,
}

type Asker = (u8, u64);
type Known = BTreeSet<(String, Option<u8>)>;

#[derive(Default)]
struct Model {
    names: BTreeMap<&'static str, (Option<Balance>, Vec<Claim>)>,
    waits: BTreeMap<Asker, BTreeSet<&'static str>>,
    watches: BTreeMap<Asker, (bool, bool, Option<&'static str>)>,
    connected: BTreeMap<u8, &'static str>,
    /// What each watch was told.
    known: BTreeMap<Asker, Known>,
}

struct Room {
    index: Index<u8>,
    facts: Facts<u8>,
    ticket: u64,
}

impl Room {
    fn step<R>(
        &mut self,
        act: impl FnOnce(&mut Index<u8>, Ticket, &mut Vec<Effect<u8>>) -> R,
    ) -> (R, Vec<Effect<u8>>) {
        self.ticket += 1;
        let mut effects = Vec::new();
        let result = act(&mut self.index, Ticket(self.ticket), &mut effects);
        self.facts.commit(&mut effects);
        (result, effects)
    }
}

/// Input: a list of operations.
pub(crate) fn operations(data: &[u8]) {
    let mut input = Input::new(data);
    let mut room = Room {
        index: Index::new(),
        facts: Facts::new(),
        ticket: 0,
    };
    let mut model = Model::default();
    let mut steps = 0;
    while !input.is_empty() && steps < 200 {
        steps += 1;
        let peer = input.below(PEERS) as u8;
        match input.below(16) {
            0..=4 => register(&mut room, &mut model, peer, &mut input),
            5 | 6 => unregister(&mut room, &mut model, peer, input.pick(NAMES)),
            7 | 8 => wait(&mut room, &mut model, peer, &mut input),
            9 => unwait(&mut room, &mut model, (peer, input.below(3) as u64)),
            10 | 11 => watch(&mut room, &mut model, peer, &mut input),
            12 => unwatch(&mut room, &mut model, (peer, input.below(3) as u64)),
            13 => connected(&mut room, &mut model, peer, input.pick(NAMES)),
            14 => gone(&mut room, &mut model, peer),
            _ => room.index = Index::rebuild(&room.facts),
        }
        agrees(&mut room, &model);
    }
    for peer in 0..PEERS as u8 {
        gone(&mut room, &mut model, peer);
        assert_eq!(room.facts.counts(peer), Counts::default());
    }
    assert!(room.facts.is_empty());
    assert_eq!(
        (room.index.name_count(), room.index.connections().count()),
        (0, 0)
    );
}

fn register(room: &mut Room, model: &mut Model, peer: u8, input: &mut Input<'_>) {
    let object = input.pick(NAMES);
    let request = 10 + input.below(3) as u64;
    let (queue, replace, allow_replace) = (input.flag(), input.flag(), input.flag());
    let group = input.pick(&[
        None,
        None,
        None,
        Some(Balance::RoundRobin),
        Some(Balance::Sticky),
        Some(Balance::LeastBusy),
    ]);
    let registration = Registration {
        peer,
        request: RequestId(request),
        object,
        queue,
        replace,
        allow_replace,
        group,
        description: Bytes::from_static(b"{}"),
    };
    let (got, effects) = room.step(|index, ticket, out| index.register(ticket, registration, out));
    let claim = Claim {
        peer,
        request,
        replaceable: allow_replace,
    };
    let before = model.there();
    let (wanted, mut ownership) = (model.register(object, group, claim, queue, replace), Vec::new());
    if let Ok((_, Some(loser))) = &wanted {
        ownership.push((loser.peer, loser.request, false));
    }
    assert_eq!(
        got,
        wanted.map(|(registered, _)| registered),
        "{object} {queue} {replace} {group:?}"
    );
    model.told(&effects, &ownership, &before);
}

fn unregister(room: &mut Room, model: &mut Model, peer: u8, object: &'static str) {
    let (got, effects) = room.step(|index, _, out| index.unregister(peer, object, out));
    let before = model.there();
    let (held, heir) = model.withdraw(peer, object);
    assert_eq!(got.is_ok(), held);
    model.told(&effects, &heir.map_or_else(Vec::new, |heir| vec![heir]), &before);
}

fn wait(room: &mut Room, model: &mut Model, peer: u8, input: &mut Input<'_>) {
    let request = input.below(3) as u64;
    let names: BTreeSet<&str> = (0..input.below(4)).map(|_| input.pick(NAMES)).collect();
    // As they may come: in any order, and twice.
    let asked = names
        .iter()
        .rev()
        .chain(names.iter())
        .map(|name| (*name).into())
        .collect();
    let (got, effects) =
        room.step(|index, ticket, out| index.wait(ticket, peer, RequestId(request), asked, out));
    assert!(effects.is_empty(), "{effects:?}");
    let in_use = model.waits.contains_key(&(peer, request));
    let there = names.iter().all(|name| model.names.contains_key(name));
    assert_eq!(got.ok(), (!in_use).then_some(there));
    if !in_use && !there {
        model.waits.insert((peer, request), names);
    }
}

fn unwait(room: &mut Room, model: &mut Model, (peer, request): Asker) {
    let (got, effects) = room.step(|index, _, out| index.unwait(peer, RequestId(request), out));
    assert!(effects.is_empty());
    assert_eq!(got, model.waits.remove(&(peer, request)).is_some());
}

fn watch(room: &mut Room, model: &mut Model, peer: u8, input: &mut Input<'_>) {
    let request = input.below(3) as u64;
    let (names, connections, pattern) = (input.flag(), input.flag(), input.pick(PATTERNS));
    let interest = Interest {
        names,
        connections,
        pattern: pattern.map(|text| Pattern::new(text).expect("a pattern")),
    };
    let (got, effects) =
        room.step(|index, ticket, out| index.watch(ticket, peer, RequestId(request), interest, out));
    let free = !model.watches.contains_key(&(peer, request));
    assert_eq!(got.is_ok(), free);
    if free {
        model
            .watches
            .insert((peer, request), (names, connections, pattern));
        model.known.insert((peer, request), Known::new());
    }
    let before = model.there();
    model.told(&effects, &[], &before);
}

fn unwatch(room: &mut Room, model: &mut Model, (peer, request): Asker) {
    let (got, effects) = room.step(|index, _, out| index.unwatch(peer, RequestId(request), out));
    assert!(effects.is_empty());
    model.known.remove(&(peer, request));
    assert_eq!(got, model.watches.remove(&(peer, request)).is_some());
}

fn connected(room: &mut Room, model: &mut Model, peer: u8, name: &'static str) {
    let ((), effects) =
        room.step(|index, ticket, out| index.connected(ticket, peer, PeerId(peer.into()), name.into(), out));
    let before = model.there();
    model.connected.entry(peer).or_insert(name);
    model.told(&effects, &[], &before);
}

fn gone(room: &mut Room, model: &mut Model, peer: u8) {
    let ((), effects) = room.step(|index, _, out| index.gone(peer, out));
    let before = model.there();
    model.waits.retain(|(asker, _), _| *asker != peer);
    model.watches.retain(|(asker, _), _| *asker != peer);
    model.known.retain(|(asker, _), _| *asker != peer);
    model.connected.remove(&peer);
    let mut ownership = Vec::new();
    for object in NAMES {
        ownership.extend(model.withdraw(peer, object).1);
    }
    model.told(&effects, &ownership, &before);
    let mut gains = false;
    for effect in &effects {
        let gain = match effect {
            Effect::Ownership { acquired, .. } => *acquired,
            Effect::Present { .. } => true,
            Effect::Notice { what, .. } => *what == Notice::NameAppeared,
            Effect::FactAdded(..) | Effect::FactRemoved(_) | Effect::Found { .. } => continue,
        };
        assert!(
            gain || !gains,
            "a death is told before anybody gains by it: {effects:?}"
        );
        gains |= gain;
    }
}

impl Model {
    fn there(&self) -> BTreeSet<&'static str> {
        self.names.keys().copied().collect()
    }

    /// What a Register gets, and who loses the name by it.
    fn register(
        &mut self,
        object: &'static str,
        group: Option<Balance>,
        claim: Claim,
        queue: bool,
        replace: bool,
    ) -> Result<(Registered, Option<Claim>), RegisterError<u8>> {
        let Some((balance, claims)) = self.names.get_mut(object) else {
            self.names.insert(object, (group, vec![claim]));
            return Ok((Registered::Owner, None));
        };
        let owner = claims[0].peer;
        let held = claims.iter().position(|other| other.peer == claim.peer);
        match (*balance, group) {
            (Some(balance), Some(wanted)) if balance != wanted => {
                Err(RegisterError::Mismatch { owner, balance })
            }
            (Some(_), Some(_)) => {
                if held.is_none() {
                    claims.push(claim);
                }
                Ok((Registered::Owner, None))
            }
            (None, None) => match held {
                Some(0) => Ok((Registered::Owner, None)),
                Some(_) => Ok((Registered::Queued, None)),
                None if replace && claims[0].replaceable => {
                    let loser = std::mem::replace(&mut claims[0], claim);
                    Ok((Registered::Owner, Some(loser)))
                }
                None if queue => {
                    claims.push(claim);
                    Ok((Registered::Queued, None))
                }
                None => Err(RegisterError::Taken { owner }),
            },
            _ => Err(RegisterError::Taken { owner }),
        }
    }

    /// Takes a claim back: whether there was one, and who owns the name now that did not before.
    fn withdraw(&mut self, peer: u8, object: &'static str) -> (bool, Option<(u8, u64, bool)>) {
        let Some((balance, claims)) = self.names.get_mut(object) else {
            return (false, None);
        };
        let Some(position) = claims.iter().position(|claim| claim.peer == peer) else {
            return (false, None);
        };
        claims.remove(position);
        let heir = claims
            .first()
            .filter(|_| position == 0 && balance.is_none())
            .map(|heir| (heir.peer, heir.request, true));
        if claims.is_empty() {
            self.names.remove(object);
        }
        (true, heir)
    }

    /// What is told is what changed: ownership, waits that are over, and notices that leave each watch with what there
    /// is. `before`: the names that were there.
    fn told(
        &mut self,
        effects: &[Effect<u8>],
        ownership: &[(u8, u64, bool)],
        before: &BTreeSet<&'static str>,
    ) {
        let mut owned = Vec::new();
        let there = self.there();
        for effect in effects {
            match effect {
                Effect::Ownership {
                    peer,
                    request,
                    acquired,
                } => owned.push((*peer, request.0, *acquired)),
                Effect::Present { peer, request, .. } => {
                    let names = self
                        .waits
                        .remove(&(*peer, request.0))
                        .expect("one who waits, once");
                    assert!(names.is_subset(&there), "told too early");
                }
                Effect::Notice {
                    peer,
                    request,
                    what,
                    name,
                    origin,
                } => {
                    let known = self.known.get_mut(&(*peer, request.0)).expect("one who watches");
                    let changed = match what {
                        Notice::NameAppeared => known.insert((name.to_string(), None)),
                        Notice::NameVanished => known.remove(&(name.to_string(), None)),
                        Notice::ConnectionAppeared => known.insert((name.to_string(), Some(*origin))),
                        Notice::ConnectionGone => known.remove(&(name.to_string(), Some(*origin))),
                    };
                    assert!(changed, "told twice, or never there: {effect:?}");
                }
                Effect::FactAdded(..) | Effect::FactRemoved(_) => panic!("{effect:?} was for the table"),
                Effect::Found { .. } => panic!("{effect:?}, and nobody waits for endpoints"),
            }
        }
        owned.sort_unstable();
        let mut wanted = ownership.to_vec();
        wanted.sort_unstable();
        assert_eq!(owned, wanted, "{effects:?}");
        let over = self.waits.iter().find(|(_, names)| names.is_subset(&there));
        assert!(over.is_none(), "{over:?} is not told (before: {before:?})");
    }
}

fn agrees(room: &mut Room, model: &Model) {
    let live: Vec<(String, Option<Balance>, Vec<u8>)> = room
        .index
        .names()
        .map(|view| {
            (
                view.name.to_owned(),
                view.balance,
                [view.members, view.queue].concat(),
            )
        })
        .collect();
    let wanted: Vec<_> = model
        .names
        .iter()
        .map(|(name, (balance, claims))| {
            (
                (*name).to_owned(),
                *balance,
                claims.iter().map(|claim| claim.peer).collect(),
            )
        })
        .collect();
    assert_eq!(live, wanted);
    for (asker, (names, connections, pattern)) in &model.watches {
        let selected = |name: &str| pattern.is_none_or(|pattern| selects(pattern, name));
        let all = model.names.keys().filter(|name| *names && selected(name));
        let open = model
            .connected
            .iter()
            .filter(|(_, name)| *connections && selected(name));
        let wanted: Known = all
            .map(|name| ((*name).to_owned(), None))
            .chain(open.map(|(peer, name)| ((*name).to_owned(), Some(*peer))))
            .collect();
        assert_eq!(model.known[asker], wanted, "{asker:?}");
    }
    for peer in 0..PEERS as u8 {
        let names = model.names.values().flat_map(|(_, claims)| claims);
        let counts = Counts {
            endpoints: 0,
            names: names.filter(|claim| claim.peer == peer).count(),
            watches: model
                .waits
                .keys()
                .chain(model.watches.keys())
                .filter(|(asker, _)| *asker == peer)
                .count(),
            bytes: room
                .facts
                .iter()
                .filter(|(_, fact)| fact.peer() == peer)
                .map(|(_, fact)| fact.cost())
                .sum(),
        };
        assert_eq!(room.facts.counts(peer), counts);
    }
    for name in NAMES {
        routes(room, model, name);
    }
}

/// The owner gets every call; each member of a group gets one in a round; equal keys go to one member.
fn routes(room: &mut Room, model: &Model, name: &str) {
    let mut route =
        |key: Option<&[u8]>, load: &dyn Fn(u8) -> u32| room.index.route(name.as_bytes(), key, load);
    let Some((balance, claims)) = model.names.get(name) else {
        assert_eq!(route(None, &|_| 0), None);
        return;
    };
    let members: BTreeSet<u8> = claims.iter().map(|claim| claim.peer).collect();
    match balance {
        None => assert_eq!(route(Some(b"k"), &|_| 0), Some(claims[0].peer)),
        Some(Balance::LeastBusy) => {
            let idle = claims[claims.len() / 2].peer;
            assert_eq!(route(None, &|peer| u32::from(peer != idle)), Some(idle));
        }
        Some(_) => {
            let round: BTreeSet<u8> = claims.iter().filter_map(|_| route(None, &|_| 0)).collect();
            assert_eq!(round, members);
            if *balance == Some(Balance::Sticky) {
                let (first, second) = (route(Some(b"key"), &|_| 0), route(Some(b"key"), &|_| 1));
                assert!(first == second && first.is_some_and(|peer| members.contains(&peer)));
            }
        }
    }
}

//! Sequences of operations, against a model that scans everything.

use super::*;
use crate::actors::registry::facts::Fact;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PEERS: Peer = 5;
const NAMES: [&str; 4] = ["a", "b", "a.b", "a.b.c"];
const PATTERNS: [Option<&str>; 6] = [
    None,
    Some("a"),
    Some("*"),
    Some("a.**"),
    Some("*.b"),
    Some("a.b.c"),
];

#[derive(Clone, Debug)]
enum Op {
    Register(Peer, usize, Ask),
    Unregister(Peer, usize),
    Wait(Peer, u64, Vec<usize>),
    Unwait(Peer, u64),
    Watch(Peer, u64, usize, bool, bool),
    Unwatch(Peer, u64),
    Connected(Peer),
    Gone(Peer),
}

fn ask() -> impl Strategy<Value = Ask> {
    let balance = prop_oneof![Just(Balance::RoundRobin), Just(Balance::Sticky)];
    (any::<[bool; 3]>(), proptest::option::weighted(0.3, balance)).prop_map(
        |([queue, replace, allow_replace], group)| Ask {
            queue,
            replace,
            allow_replace,
            group,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    prop_oneof![
        6 => (0..PEERS, name.clone(), ask()).prop_map(|(peer, name, ask)| Op::Register(peer, name, ask)),
        3 => (0..PEERS, name.clone()).prop_map(|(peer, name)| Op::Unregister(peer, name)),
        2 => (0..PEERS, 0..3_u64, proptest::collection::vec(name, 0..4))
            .prop_map(|(peer, request, names)| Op::Wait(peer, request, names)),
        1 => (0..PEERS, 0..3_u64).prop_map(|(peer, request)| Op::Unwait(peer, request)),
        2 => (0..PEERS, 0..3_u64, 0..PATTERNS.len(), any::<bool>(), any::<bool>())
            .prop_map(|(peer, request, pattern, n, c)| Op::Watch(peer, request, pattern, n, c)),
        1 => (0..PEERS, 0..3_u64).prop_map(|(peer, request)| Op::Unwatch(peer, request)),
        1 => (0..PEERS).prop_map(Op::Connected),
        1 => (0..PEERS).prop_map(Op::Gone),
    ]
}

/// Carries one operation out; the text is its result, for comparison.
fn apply(room: &mut Room, op: &Op) -> (String, Effects) {
    fn shown<R: std::fmt::Debug>((result, effects): (R, Effects)) -> (String, Effects) {
        (format!("{result:?}"), effects)
    }
    match op {
        Op::Register(peer, name, ask) => shown(room.register(*peer, NAMES[*name], *ask)),
        Op::Unregister(peer, name) => shown(room.unregister(*peer, NAMES[*name])),
        Op::Wait(peer, request, names) => {
            let names: Vec<_> = names.iter().map(|name| NAMES[*name]).collect();
            shown(room.wait(*peer, *request, &names))
        }
        Op::Unwait(peer, request) => shown((room.unwait(*peer, *request), vec![])),
        Op::Watch(peer, request, pattern, on_names, on_connections) => {
            let interest = Interest {
                connections: *on_connections,
                ..names(PATTERNS[*pattern])
            };
            shown(room.watch(
                *peer,
                *request,
                Interest {
                    names: *on_names,
                    ..interest
                },
            ))
        }
        Op::Unwatch(peer, request) => shown((room.unwatch(*peer, *request), vec![])),
        Op::Connected(peer) => shown(((), room.connected(*peer, NAMES[usize::from(*peer) % NAMES.len()]))),
        Op::Gone(peer) => shown(((), room.gone(*peer))),
    }
}

/// The balance of a group, and each claim with whether it may be replaced.
type Claims = (Option<Balance>, Vec<(Peer, bool)>);

/// The claims to each name as a plain list, by the rules of the documentation.
#[derive(Default)]
struct Model(BTreeMap<&'static str, Claims>);

impl Model {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Register(peer, name, ask) => {
                let (balance, claims) = self.0.entry(NAMES[*name]).or_insert_with(|| (ask.group, vec![]));
                let claim = (*peer, ask.allow_replace);
                let held = claims.iter().any(|(holder, _)| holder == peer);
                if held || *balance != ask.group {
                    return;
                }
                match claims.first_mut() {
                    None => claims.push(claim),
                    Some(_) if balance.is_some() => claims.push(claim),
                    Some(owner) if ask.replace && owner.1 => *owner = claim,
                    Some(_) if ask.queue => claims.push(claim),
                    Some(_) => {}
                }
            }
            Op::Unregister(peer, name) => self.remove(*peer, |other| other == NAMES[*name]),
            Op::Gone(peer) => self.remove(*peer, |_| true),
            _ => {}
        }
    }

    fn remove(&mut self, peer: Peer, selects: impl Fn(&str) -> bool) {
        for (name, (_, claims)) in &mut self.0 {
            claims.retain(|(holder, _)| *holder != peer || !selects(name));
        }
        self.0.retain(|_, (_, claims)| !claims.is_empty());
    }

    fn agrees(&self, index: &Index<Peer>) -> Result<(), TestCaseError> {
        let live: Vec<_> = index
            .names()
            .map(|view| {
                (
                    view.name.to_owned(),
                    view.balance,
                    [view.members, view.queue].concat(),
                )
            })
            .collect();
        let model: Vec<_> = self
            .0
            .iter()
            .map(|(name, (balance, claims))| {
                (
                    (*name).to_owned(),
                    *balance,
                    claims.iter().map(|(peer, _)| *peer).collect(),
                )
            })
            .collect();
        prop_assert_eq!(live, model);
        Ok(())
    }
}

/// What each watch has been told so far: the names and the connections (with their peers, because they may share
/// a declared name) that it believes to be there.
#[derive(Default)]
struct Told(BTreeMap<(Peer, RequestId), Known>);

type Known = BTreeSet<(Box<str>, Option<Peer>)>;

impl Told {
    /// Takes the notices of one step in. Nothing appears twice, nothing vanishes that was not there.
    fn hear(&mut self, effects: &Effects) -> Result<(), TestCaseError> {
        for effect in effects {
            let Effect::Notice {
                peer,
                request,
                what,
                name,
                origin,
            } = effect
            else {
                continue;
            };
            let known = self.0.entry((*peer, *request)).or_default();
            let changed = match what {
                Notice::NameAppeared => known.insert((name.clone(), None)),
                Notice::NameVanished => known.remove(&(name.clone(), None)),
                Notice::ConnectionAppeared => known.insert((name.clone(), Some(*origin))),
                Notice::ConnectionGone => known.remove(&(name.clone(), Some(*origin))),
            };
            prop_assert!(changed, "told twice, or never there: {:?}", effect);
        }
        Ok(())
    }

    /// What the watches know is what there is; what waits misses something.
    fn agrees(&mut self, room: &Room) -> Result<(), TestCaseError> {
        let there: BTreeSet<Box<str>> = room.index.names().map(|view| view.name.into()).collect();
        let mut open = BTreeSet::new();
        for (_, fact) in room.facts.iter() {
            match fact {
                Fact::Wait { names, .. } => {
                    prop_assert!(
                        names.iter().any(|name| !there.contains(name)),
                        "{:?} is over",
                        fact
                    );
                }
                Fact::Watch {
                    peer,
                    request,
                    interest,
                } => {
                    open.insert((*peer, *request));
                    let selects = |name: &str| interest.pattern.as_ref().is_none_or(|p| p.matches(name));
                    let names = there.iter().filter(|name| interest.names && selects(name));
                    let connections = room
                        .index
                        .connections()
                        .filter(|(.., name)| interest.connections && selects(name));
                    let expected: Known = names
                        .map(|name| (name.clone(), None))
                        .chain(connections.map(|(peer, _, name)| (name.into(), Some(peer))))
                        .collect();
                    let known = self.0.get(&(*peer, *request)).cloned().unwrap_or_default();
                    prop_assert_eq!(known, expected, "of {:?}", fact);
                }
                _ => {}
            }
        }
        self.0.retain(|asker, _| open.contains(asker));
        Ok(())
    }
}

/// The end of a peer is told before anybody gains by it, and not to itself.
fn in_order(gone: Peer, effects: &Effects) -> Result<(), TestCaseError> {
    let mut gains = false;
    for effect in effects {
        let (addressee, gain) = match effect {
            Effect::Ownership { peer, acquired, .. } => (*peer, *acquired),
            Effect::Present { peer, .. } => (*peer, true),
            Effect::Notice { peer, what, .. } => (*peer, *what == Notice::NameAppeared),
            Effect::FactAdded(..) | Effect::FactRemoved(_) | Effect::Found { .. } => continue,
        };
        prop_assert_ne!(addressee, gone);
        prop_assert!(gain || !gains, "a loss after a gain: {:?}", effects);
        gains |= gain;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn claims_are_those_of_the_model_and_watches_know_what_is_there(
        ops in proptest::collection::vec(op(), 1..60)
    ) {
        let (mut room, mut model, mut told) = (Room::default(), Model::default(), Told::default());
        let mut waiting = BTreeMap::new();
        for op in &ops {
            let (result, effects) = apply(&mut room, op);
            model.apply(op);
            model.agrees(&room.index)?;
            match op {
                Op::Gone(peer) => in_order(*peer, &effects)?,
                Op::Wait(peer, request, names) if result == "Ok(false)" => {
                    waiting.insert((*peer, RequestId(*request)), names);
                }
                _ => {}
            }
            for effect in &effects {
                if let Effect::Present { peer, request, .. } = effect {
                    let names = waiting.remove(&(*peer, *request));
                    prop_assert!(names.is_some(), "told twice: {:?}", effect);
                    let there = |name: &usize| room.index.owner(NAMES[*name].as_bytes()).is_some();
                    prop_assert!(names.into_iter().flatten().all(there), "told too early: {:?}", effect);
                }
            }
            waiting.retain(|asker, _| room.facts.iter().any(|(_, fact)| {
                matches!(fact, Fact::Wait { peer, request, .. } if (*peer, *request) == *asker)
            }));
            told.hear(&effects)?;
            told.agrees(&room)?;
        }
        for peer in 0..PEERS {
            room.gone(peer);
            prop_assert_eq!(room.facts.counts(peer), Default::default());
        }
        prop_assert!(room.facts.is_empty() && room.index.is_bare());
    }

    #[test]
    fn a_rebuilt_index_behaves_like_the_live_one(
        before in proptest::collection::vec(op(), 1..40),
        after in proptest::collection::vec(op(), 1..20),
    ) {
        let mut live = Room::default();
        for op in &before {
            apply(&mut live, op);
        }
        let mut rebuilt = live.rebuilt();
        for op in &after {
            prop_assert_eq!(apply(&mut live, op), apply(&mut rebuilt, op), "{:?}", op);
            prop_assert_eq!(&live.facts, &rebuilt.facts);
            prop_assert!(live.index.names().eq(rebuilt.index.names()));
            prop_assert!(live.index.connections().eq(rebuilt.index.connections()));
            for name in NAMES {
                let routes = |room: &mut Room| -> BTreeSet<_> {
                    (0..PEERS).map(|_| room.route(name)).collect()
                };
                prop_assert_eq!(routes(&mut live), routes(&mut rebuilt), "{}", name);
                let sticky = |room: &mut Room| room.index.route(name.as_bytes(), Some(b"key"), |_| 0);
                let group = live.index.describe(name.as_bytes()).and_then(|view| view.balance);
                if group == Some(Balance::Sticky) {
                    prop_assert_eq!(sticky(&mut live), sticky(&mut rebuilt), "{}", name);
                }
            }
        }
    }
}

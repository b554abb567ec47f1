//! The index of labels against a scan of all endpoints, and what it costs.

use super::super::facts::{Effect, Facts};
use super::super::index::Index;
use super::*;
use crate::message::selector::Expression;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// An index, its facts, and a list of endpoints that is scanned.
#[derive(Default)]
struct World {
    index: Index<u32>,
    facts: Facts<u32>,
    /// In the order in which they joined.
    scanned: Vec<(u32, u64, BTreeSet<u8>)>,
    /// Selectors that wait: ticket, peer, expression.
    waiting: Vec<(Ticket, u32, Expression)>,
    tickets: u64,
    found: Vec<Ticket>,
}

fn label(number: u8) -> Label {
    Label::new(format!("l{number}")).unwrap()
}

fn matches(expression: &Expression, labels: &BTreeSet<u8>) -> bool {
    expression.matches(|label| labels.contains(&label[1..].parse().unwrap()))
}

impl World {
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn commit(&mut self, mut effects: Vec<Effect<u32>>) {
        self.facts.commit(&mut effects);
        for effect in effects {
            if let Effect::Found { ticket, .. } = effect {
                self.found.push(ticket);
            }
        }
    }

    fn join(&mut self, peer: u32, number: u64, labels: BTreeSet<u8>) {
        let (ticket, mut effects) = (self.ticket(), Vec::new());
        let endpoint = Endpoint {
            peer,
            number: RequestId(number),
            labels: labels.iter().rev().map(|number| label(*number)).collect(),
            sockets: number % 2 == 1,
        };
        let joined = self.index.join(ticket, endpoint, &mut effects);
        let known = self.scanned.iter().any(|(p, n, _)| (*p, *n) == (peer, number));
        assert_eq!(joined.is_err(), known);
        if joined.is_err() {
            assert!(effects.is_empty());
            return;
        }
        self.commit(effects);
        let (done, left) = self
            .waiting
            .drain(..)
            .partition(|(_, _, expression)| matches(expression, &labels));
        self.waiting = left;
        let done: Vec<(Ticket, u32, Expression)> = done;
        let expected: Vec<Ticket> = done.iter().map(|(ticket, ..)| *ticket).collect();
        assert_eq!(
            std::mem::take(&mut self.found),
            expected,
            "in the order of waiting"
        );
        self.scanned.push((peer, number, labels));
    }

    fn leave(&mut self, peer: u32, number: u64) {
        let mut effects = Vec::new();
        let before = self.scanned.len();
        self.scanned.retain(|(p, n, _)| (*p, *n) != (peer, number));
        let left = self.index.leave(peer, RequestId(number), &mut effects);
        assert_eq!(left, before != self.scanned.len());
        self.commit(effects);
    }

    fn gone(&mut self, peer: u32) {
        let mut effects = Vec::new();
        self.index.gone(peer, &mut effects);
        self.commit(effects);
        self.scanned.retain(|(p, ..)| *p != peer);
        let (gone, left) = self.waiting.drain(..).partition(|(_, p, _)| *p == peer);
        self.waiting = left;
        let gone: Vec<(Ticket, u32, Expression)> = gone;
        let expected: Vec<Ticket> = gone.iter().map(|(ticket, ..)| *ticket).collect();
        assert_eq!(std::mem::take(&mut self.found), expected);
    }

    fn select(&mut self, expression: &Expression, mode: Mode) -> Vec<(u32, u64)> {
        let bytes = expression.encode(mode).unwrap();
        let selector = Selector::parse(&bytes).unwrap();
        let mut targets = Vec::new();
        let count = self.index.select(&selector, |target| {
            assert_eq!(target.sockets, target.endpoint.0 % 2 == 1);
            targets.push((target.peer, target.endpoint.0));
        });
        assert_eq!(count, targets.len());
        targets
    }

    /// Sends to nobody, or to those whom the scan finds.
    fn send(&mut self, peer: u32, expression: &Expression) {
        let scan = self
            .scanned
            .iter()
            .filter(|(.., labels)| matches(expression, labels));
        let expected: Vec<(u32, u64)> = scan.map(|(peer, number, _)| (*peer, *number)).collect();
        assert_eq!(self.select(expression, Mode::Multicast), expected);
        assert_eq!(
            self.select(expression, Mode::First),
            expected[..expected.len().min(1)]
        );
        let mut turns: Vec<_> = (0..expected.len())
            .flat_map(|_| self.select(expression, Mode::RoundRobin))
            .collect();
        turns.sort_unstable();
        let mut all = expected.clone();
        all.sort_unstable();
        assert_eq!(turns, all, "each has one turn");
        if expected.is_empty() {
            let (ticket, mut effects) = (self.ticket(), Vec::new());
            let bytes = expression.encode(Mode::First).unwrap();
            self.index.seek(ticket, peer, (&bytes, 0), &mut effects);
            self.commit(effects);
            self.waiting.push((ticket, peer, expression.clone()));
        }
    }

    fn unseek(&mut self, at: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let (ticket, ..) = self.waiting.remove(at % self.waiting.len());
        let mut effects = Vec::new();
        self.index.unseek(ticket, &mut effects);
        self.commit(effects);
        assert!(self.facts.get(ticket).is_none());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(u32, u64, BTreeSet<u8>),
    Leave(u32, u64),
    Gone(u32),
    Send(u32, Expression),
    Unseek(usize),
    Rebuild,
    Crowd(u8),
}

fn expressions() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        6 => (0_u8..5).prop_map(|number| Expression::label(&label(number))),
        1 => any::<bool>().prop_map(Expression::constant),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            1 => inner.clone().prop_map(Expression::not),
            3 => (inner.clone(), inner.clone()).prop_map(|(l, r)| l.and(&r)),
            2 => (inner.clone(), inner).prop_map(|(l, r)| l.or(&r)),
        ]
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let labels = proptest::collection::btree_set(0_u8..5, 0..4);
    prop_oneof![
        5 => (0_u32..4, 1_u64..5, labels).prop_map(|(peer, number, labels)| Step::Join(peer, number, labels)),
        3 => (0_u32..4, 1_u64..5).prop_map(|(peer, number)| Step::Leave(peer, number)),
        1 => (0_u32..4).prop_map(Step::Gone),
        6 => (0_u32..4, expressions()).prop_map(|(peer, expression)| Step::Send(peer, expression)),
        1 => any::<usize>().prop_map(Step::Unseek),
        1 => Just(Step::Rebuild),
        1 => (0_u8..5).prop_map(Step::Crowd),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn it_finds_what_a_scan_finds(all in proptest::collection::vec(steps(), 1..60)) {
        let mut world = World::default();
        for step in all {
            match step {
                Step::Join(peer, number, labels) => world.join(peer, number, labels),
                Step::Leave(peer, number) => world.leave(peer, number),
                Step::Gone(peer) => world.gone(peer),
                Step::Send(peer, expression) => world.send(peer, &expression),
                Step::Unseek(at) => world.unseek(at),
                Step::Rebuild => world.index = Index::rebuild(&world.facts),
                // So many come and go that the places are numbered anew.
                Step::Crowd(of) => {
                    (0..150).for_each(|number| world.join(9, 1_000 + number, BTreeSet::from([of])));
                    world.gone(9);
                }
            }
        }
        (0..4).chain([9]).for_each(|peer| world.gone(peer));
        prop_assert!(world.index.is_bare() && world.facts.is_empty());
    }
}

/// Endpoints that are looked at for one selector that was not asked before.
fn looked_at(labels: &Labels<u32>, expression: &Expression) -> usize {
    let bytes = expression.encode(Mode::First).unwrap();
    match labels.driver(&Selector::parse(&bytes).unwrap()) {
        Driver::All => labels.len(),
        Driver::Any(_, weight) => weight,
    }
}

#[test]
fn a_selector_of_eight_terms_looks_at_as_many_of_10_000_as_of_10() {
    let terms = |number: usize| {
        let common = (0..6).map(|of| Expression::label(&label(of)));
        let rare = Expression::label(&Label::new(format!("rare{number}")).unwrap());
        let not = Expression::label(&label(9)).not();
        common.fold(rare.and(&not), |all, term| all.and(&term))
    };
    for count in [10_usize, 100, 1_000, 10_000] {
        let mut labels = Labels::new();
        for number in 0..count {
            let mut own: Vec<Label> = (0..6).map(label).collect();
            own.push(Label::new(format!("rare{number}")).unwrap());
            own.sort_unstable();
            let target = Target {
                peer: 1,
                endpoint: RequestId(number as u64),
                sockets: false,
            };
            labels.insert(Ticket(number as u64), target, own.into());
        }
        for number in [0, count / 2, count - 1] {
            assert_eq!(looked_at(&labels, &terms(number)), 1, "{number} of {count}");
            let bytes = terms(number).encode(Mode::First).unwrap();
            let mut found = Vec::new();
            labels.route(&Selector::parse(&bytes).unwrap(), |target| {
                found.push(target.endpoint.0)
            });
            assert_eq!(found, [number as u64]);
        }
    }
}

#[test]
fn a_change_makes_only_those_be_found_anew_that_depend_on_it() {
    let mut labels = Labels::new();
    let mut next = 0;
    let mut join = |labels: &mut Labels<u32>, of: u8| {
        next += 1;
        let target = Target {
            peer: 1,
            endpoint: RequestId(next),
            sockets: false,
        };
        labels.insert(Ticket(next), target, Box::new([label(of)]));
    };
    join(&mut labels, 1);
    join(&mut labels, 2);
    let (one, not_two) = (
        Expression::label(&label(1)).encode(Mode::First).unwrap(),
        Expression::label(&label(2)).not().encode(Mode::First).unwrap(),
    );
    // What was found when, as the cache has it: a place that was found anew has the number of the last change.
    let evaluated = |labels: &mut Labels<u32>, bytes: &[u8]| {
        let selector = Selector::parse(bytes).unwrap();
        let at = labels.find(&selector);
        let capacity = labels.cache.get_mut(at).unwrap();
        std::mem::replace(&mut capacity.slots, vec![77]) != [77]
    };
    assert!(evaluated(&mut labels, &one) && evaluated(&mut labels, &not_two));
    assert!(!evaluated(&mut labels, &one) && !evaluated(&mut labels, &not_two));
    join(&mut labels, 2);
    assert!(!evaluated(&mut labels, &one), "no label of it has changed");
    assert!(
        evaluated(&mut labels, &not_two),
        "any endpoint may be one of these"
    );
    join(&mut labels, 1);
    assert!(evaluated(&mut labels, &one));
    labels.remove(1, RequestId(1));
    assert!(evaluated(&mut labels, &one), "and by a leave");
}

//! Sequences of operations, against a scan of all facts.

use super::*;
use crate::actors::topic_hub::facts::Fact;
use crate::message::Pattern;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PEERS: Peer = 4;

#[derive(Clone, Debug)]
enum Op {
    Subscribe(Subscription<Peer>),
    Unsubscribe(Peer, u64),
    Retain(Box<[u8]>, bool),
    Will(Peer, bool),
    Gone(Peer),
}

/// A name of one to four levels of a small alphabet, with empty levels and stars.
fn name() -> impl Strategy<Value = String> {
    let level = proptest::sample::select(&["a", "b", "c", "", "*"][..]);
    let levels = proptest::collection::vec(level, 1..=4).prop_map(|levels| levels.join("."));
    levels.prop_map(|text| if text.is_empty() { "a".to_owned() } else { text })
}

fn key() -> impl Strategy<Value = Box<[u8]>> {
    (name(), name()).prop_map(|(object, event)| key::join(&object, &event).into())
}

fn half() -> impl Strategy<Value = String> {
    (name(), 0..4_u8).prop_map(|(text, end)| match end {
        0 => format!("{text}.**"),
        1 => "**".to_owned(),
        _ => text,
    })
}

fn subscription() -> impl Strategy<Value = Subscription<Peer>> {
    let group = proptest::option::weighted(0.3, proptest::sample::select(&["g", "h"][..]));
    let selected = prop_oneof![
        key().prop_map(|key| (key, false)),
        (half(), half()).prop_map(|(object, event)| (key::join(&object, &event).into(), true)),
    ];
    (0..PEERS, 0..8_u64, selected, any::<bool>(), group).prop_map(
        |(peer, id, (key, pattern), no_local, group)| {
            let group = group.map(Into::into);
            Subscription {
                peer,
                id: SubscriptionId(id),
                key,
                pattern,
                no_local,
                group,
                policy: Policy::Hold,
            }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => subscription().prop_map(Op::Subscribe),
        3 => (0..PEERS, 0..8_u64).prop_map(|(peer, id)| Op::Unsubscribe(peer, id)),
        2 => (key(), any::<bool>()).prop_map(|(key, clear)| Op::Retain(key, clear)),
        1 => (0..PEERS, any::<bool>()).prop_map(|(peer, takes_back)| Op::Will(peer, takes_back)),
        1 => (0..PEERS).prop_map(Op::Gone),
    ]
}

fn apply(room: &mut Room, op: &Op) -> String {
    match op {
        Op::Subscribe(subscription) => format!("{:?}", room.subscribe(subscription.clone())),
        Op::Unsubscribe(peer, id) => format!("{:?}", room.unsubscribe(*peer, *id)),
        Op::Retain(key, clear) => {
            format!(
                "{:?}",
                room.retain(key, if *clear { "" } else { "value" }, LIMITS)
            )
        }
        Op::Will(peer, takes_back) => {
            format!(
                "{:?}",
                room.set_will(*peer, will(if *takes_back { "" } else { "a/b" }))
            )
        }
        Op::Gone(peer) => format!("{:?}", room.gone(*peer)),
    }
}

fn selects(subscribed: &[u8], pattern: bool, bytes: &[u8]) -> bool {
    let text = |half| std::str::from_utf8(half).unwrap();
    let ((object, event), (of_object, of_event)) = (key::split(bytes), key::split(subscribed));
    let half = |pattern, name| Pattern::new(text(pattern)).unwrap().matches(text(name));
    if pattern {
        half(of_object, object) && half(of_event, event)
    } else {
        subscribed == bytes
    }
}

/// What a scan finds: the plain subscribers, and the eligible members of each group.
type Found = (
    BTreeSet<(Peer, u64)>,
    BTreeMap<(Box<str>, Box<[u8]>, bool), BTreeSet<(Peer, u64)>>,
);

fn scan(facts: &Facts<Peer>, key: &[u8], publisher: Peer) -> Found {
    let (mut plain, mut groups) = Found::default();
    for (_, fact) in facts.iter() {
        let Fact::Subscription(s) = fact else { continue };
        if selects(&s.key, s.pattern, key) && !(s.no_local && s.peer == publisher) {
            match &s.group {
                None => plain.insert((s.peer, s.id.0)),
                Some(group) => groups
                    .entry((group.clone(), s.key.clone(), s.pattern && s.key.contains(&b'*')))
                    .or_insert_with(BTreeSet::new)
                    .insert((s.peer, s.id.0)),
            };
        }
    }
    (plain, groups)
}

fn matching_is_the_scan(room: &mut Room, key: &[u8], publisher: Peer) -> Result<(), TestCaseError> {
    let (plain, groups) = scan(&room.facts, key, publisher);
    let heard = room.heard(key, publisher);
    let mut rest: BTreeSet<_> = heard.iter().copied().collect();
    prop_assert_eq!(rest.len(), heard.len(), "each subscription once: {:?}", heard);
    for subscriber in &plain {
        prop_assert!(
            rest.remove(subscriber),
            "{:?} is missing in {:?}",
            subscriber,
            heard
        );
    }
    for (group, members) in &groups {
        let chosen: Vec<_> = rest.iter().filter(|to| members.contains(to)).copied().collect();
        prop_assert_eq!(chosen.len(), 1, "of {:?} in {:?}", group, heard);
        rest.remove(&chosen[0]);
    }
    prop_assert!(rest.is_empty(), "{:?} have no business in {:?}", rest, heard);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matching_equals_a_scan_of_the_facts(
        ops in proptest::collection::vec((op(), key(), 0..PEERS), 1..60)
    ) {
        let mut room = Room::default();
        for (op, key, publisher) in &ops {
            apply(&mut room, op);
            // Twice, and from another publisher: the list of the last look-up must not be a wrong one.
            matching_is_the_scan(&mut room, key, *publisher)?;
            matching_is_the_scan(&mut room, key, *publisher)?;
            matching_is_the_scan(&mut room, key, (publisher + 1) % PEERS)?;
            if let Op::Subscribe(subscription) = op {
                matching_is_the_scan(&mut room, &subscription.key, *publisher)?;
            }
        }
        for peer in 0..PEERS {
            room.gone(peer);
            prop_assert_eq!(room.facts.subscriptions(peer), 0);
        }
        prop_assert!(room.index.is_bare());
        let outlives = |fact: &Fact<Peer>| matches!(fact, Fact::Retained { .. });
        prop_assert!(room.facts.iter().all(|(_, fact)| outlives(fact)));
    }

    #[test]
    fn retained_values_are_those_that_a_scan_selects(
        keys in proptest::collection::vec((key(), any::<bool>()), 1..30),
        selected in subscription(),
    ) {
        let mut room = Room::default();
        let mut values = BTreeSet::new();
        for (key, clear) in &keys {
            apply(&mut room, &Op::Retain(key.clone(), *clear));
            if *clear { values.remove(key); } else { values.insert(key.clone()); }
        }
        let expected: Vec<_> = values
            .iter()
            .filter(|key| selects(&selected.key, selected.pattern, key))
            .map(|key| key.to_vec())
            .collect();
        let found: Vec<_> = room.retained(&selected.key, selected.pattern).into_iter().map(|(key, _)| key).collect();
        prop_assert_eq!(found, expected);
        let bytes: usize = values.iter().map(|key| key.len() + "value".len() + RETAINED_OVERHEAD).sum();
        prop_assert_eq!(room.index.retained_bytes(), bytes);
        room.rebuild();
        prop_assert_eq!(room.index.retained_bytes(), bytes);
    }

    #[test]
    fn a_rebuilt_index_behaves_like_the_live_one(
        before in proptest::collection::vec(op(), 1..40),
        after in proptest::collection::vec((op(), key(), 0..PEERS), 1..20),
    ) {
        let mut live = Room::default();
        for op in &before {
            apply(&mut live, op);
        }
        let mut rebuilt = live.rebuilt();
        for (op, key, publisher) in &after {
            prop_assert_eq!(apply(&mut live, op), apply(&mut rebuilt, op), "{:?}", op);
            prop_assert_eq!(&live.facts, &rebuilt.facts);
            matching_is_the_scan(&mut rebuilt, key, *publisher)?;
            prop_assert_eq!(live.retained(key, false), rebuilt.retained(key, false));
        }
    }
}

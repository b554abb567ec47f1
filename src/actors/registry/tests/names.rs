//! Who owns a name, who gets it next, and who gets a call.

use super::*;
use std::collections::BTreeMap;

#[test]
fn the_first_owner_wins() {
    let mut room = Room::default();
    assert_eq!(room.register(1, "math", PLAIN), (Ok(Registered::Owner), vec![]));
    assert_eq!(
        room.register(2, "math", PLAIN),
        (Err(RegisterError::Taken { owner: 1 }), vec![])
    );
    assert_eq!(
        room.register(2, "math", REPLACE),
        (Err(RegisterError::Taken { owner: 1 }), vec![])
    );
    assert_eq!(room.route("math"), Some(1));
    assert_eq!(room.route("none"), None);
    assert_eq!(room.facts.len(), 1);
    assert_eq!(room.facts.counts(1).names, 1);
}

#[test]
fn registering_again_changes_nothing() {
    let mut room = Room::default();
    room.register(1, "math", PLAIN).0.unwrap();
    room.register(2, "math", QUEUE).0.unwrap();
    let before = room.facts.clone();
    assert_eq!(
        room.register(1, "math", REPLACEABLE),
        (Ok(Registered::Owner), vec![])
    );
    assert_eq!(room.register(2, "math", QUEUE), (Ok(Registered::Queued), vec![]));
    assert_eq!(room.facts, before);
}

#[test]
fn the_queue_is_served_in_order() {
    let mut room = Room::default();
    for peer in 1..=4 {
        let expected = if peer == 1 {
            Registered::Owner
        } else {
            Registered::Queued
        };
        assert_eq!(room.register(peer, "math", QUEUE), (Ok(expected), vec![]));
    }
    room.rebuild();
    let view = room.index.describe(b"math").unwrap();
    assert_eq!(
        (view.owner, view.members, view.queue),
        (1, vec![1], vec![2, 3, 4])
    );
    assert_eq!(view.description, "math of 1");
    assert_eq!(
        room.unregister(3, "math"),
        (Ok(()), vec![]),
        "a place in the queue is given up silently"
    );
    assert_eq!(room.unregister(1, "math"), (Ok(()), vec![ownership(2, true)]));
    assert_eq!(room.gone(2), vec![ownership(4, true)]);
    assert_eq!(room.route("math"), Some(4));
    assert_eq!(room.unregister(1, "math"), (Err(NotRegistered), vec![]));
    assert_eq!(room.gone(4), vec![]);
    assert!(room.facts.is_empty() && room.index.is_bare());
}

#[test]
fn replacement_needs_consent_and_keeps_the_queue_behind() {
    let mut room = Room::default();
    room.watch(9, 90, names(None)).0.unwrap();
    room.register(1, "math", REPLACEABLE).0.unwrap();
    room.register(2, "math", QUEUE).0.unwrap();
    let (result, effects) = room.register(3, "math", REPLACE);
    assert_eq!(result, Ok(Registered::Owner));
    let expected = [
        ownership(1, false),
        told(9, 90, Notice::NameVanished, "math", 1),
        told(9, 90, Notice::NameAppeared, "math", 3),
    ];
    assert_eq!(effects, expected);
    room.rebuild();
    let view = room.index.describe(b"math").unwrap();
    assert_eq!(
        (view.owner, view.queue),
        (3, vec![2]),
        "the older ticket in the queue does not overtake"
    );
    assert_eq!(
        room.unregister(1, "math").0,
        Err(NotRegistered),
        "the loser holds nothing"
    );
    assert_eq!(
        room.register(4, "math", REPLACE).0,
        Err(RegisterError::Taken { owner: 3 })
    );
}

#[test]
fn groups_and_single_owners_do_not_mix() {
    let mut room = Room::default();
    room.register(1, "g", group(Balance::Sticky)).0.unwrap();
    room.register(1, "s", REPLACEABLE).0.unwrap();
    let taken = Err(RegisterError::Taken { owner: 1 });
    for ask in [PLAIN, QUEUE, REPLACE] {
        assert_eq!(room.register(2, "g", ask).0, taken, "{ask:?}");
    }
    assert_eq!(room.register(2, "s", group(Balance::RoundRobin)).0, taken);
    let mismatch = RegisterError::Mismatch {
        owner: 1,
        balance: Balance::Sticky,
    };
    assert_eq!(room.register(2, "g", group(Balance::RoundRobin)).0, Err(mismatch));
    assert_eq!(
        room.register(2, "g", group(Balance::Sticky)).0,
        Ok(Registered::Owner)
    );
    let view = room.index.describe(b"g").unwrap();
    assert_eq!(
        (view.members, view.queue, view.balance),
        (vec![1, 2], vec![], Some(Balance::Sticky))
    );
}

#[test]
fn a_group_appears_with_its_first_member_and_vanishes_with_its_last() {
    let mut room = Room::default();
    room.watch(9, 90, names(None)).0.unwrap();
    let ask = group(Balance::RoundRobin);
    assert_eq!(
        room.register(1, "g", ask).1,
        [told(9, 90, Notice::NameAppeared, "g", 1)]
    );
    assert_eq!(room.register(2, "g", ask).1, []);
    assert_eq!(room.gone(1), []);
    assert_eq!(
        room.unregister(2, "g").1,
        [told(9, 90, Notice::NameVanished, "g", 2)]
    );
}

#[test]
fn round_robin_is_fair_and_survives_changes() {
    let mut room = Room::default();
    for peer in 1..=3 {
        room.register(peer, "g", group(Balance::RoundRobin)).0.unwrap();
    }
    let turns = |room: &mut Room, count: usize| -> Vec<Peer> {
        (0..count).map(|_| room.route("g").unwrap()).collect()
    };
    assert_eq!(turns(&mut room, 7), [1, 2, 3, 1, 2, 3, 1]);
    room.unregister(1, "g").0.unwrap();
    assert_eq!(
        turns(&mut room, 3),
        [2, 3, 2],
        "nobody loses a turn when another one goes"
    );
    room.register(1, "g", group(Balance::RoundRobin)).0.unwrap();
    assert_eq!(turns(&mut room, 6), [3, 1, 2, 3, 1, 2]);
    room.gone(2);
    room.gone(3);
    assert_eq!(turns(&mut room, 2), [1, 1]);
}

#[test]
fn the_least_busy_member_is_called_and_equals_take_turns() {
    let mut room = Room::default();
    for peer in 1..=3 {
        room.register(peer, "g", group(Balance::LeastBusy)).0.unwrap();
    }
    let mut open = BTreeMap::from([(1, 5), (2, 0), (3, 0)]);
    let mut turns = Vec::new();
    for _ in 0..8 {
        let peer = room
            .index
            .route(b"g", Some(b"ignored"), |peer| open[&peer])
            .unwrap();
        *open.get_mut(&peer).unwrap() += 1;
        turns.push(peer);
    }
    assert_eq!(turns, [2, 3, 2, 3, 2, 3, 2, 3]);
    open.insert(1, 0);
    assert_eq!(room.index.route(b"g", None, |peer| open[&peer]), Some(1));
}

#[test]
fn a_sticky_key_stays_when_others_come_and_go() {
    let mut room = Room::default();
    let keys: Vec<String> = (0..1_000).map(|n| format!("user-{n}")).collect();
    let chosen = |room: &mut Room| -> Vec<Peer> {
        keys.iter()
            .map(|key| room.index.route(b"g", Some(key.as_bytes()), |_| 0).unwrap())
            .collect()
    };
    for peer in 1..=4 {
        room.register(peer, "g", group(Balance::Sticky)).0.unwrap();
    }
    let four = chosen(&mut room);
    for peer in 1..=4 {
        let share = four.iter().filter(|chosen| **chosen == peer).count();
        assert!((150..=350).contains(&share), "{peer} has {share} of 1,000 keys");
    }
    room.rebuild();
    assert_eq!(chosen(&mut room), four);
    room.register(5, "g", group(Balance::Sticky)).0.unwrap();
    let five = chosen(&mut room);
    assert!(
        four.iter()
            .zip(&five)
            .all(|(before, after)| before == after || *after == 5)
    );
    room.gone(2);
    let without = chosen(&mut room);
    assert!(
        five.iter()
            .zip(&without)
            .all(|(before, after)| before == after || *before == 2)
    );
    let mut turns: Vec<_> = (0..4).map(|_| room.route("g").unwrap()).collect();
    turns.sort_unstable();
    assert_eq!(turns, [1, 3, 4, 5], "calls without a key go round");
}

#[test]
fn codes_are_those_of_the_wire() {
    for (code, balance) in [Balance::RoundRobin, Balance::LeastBusy, Balance::Sticky]
        .into_iter()
        .enumerate()
    {
        assert_eq!(Balance::from_code(u32::try_from(code).unwrap()), Some(balance));
    }
    assert_eq!(Balance::from_code(3), None);
    assert_eq!(
        [Notice::NameAppeared, Notice::ConnectionGone].map(Notice::code),
        [1, 4]
    );
}

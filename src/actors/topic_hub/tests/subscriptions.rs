//! Who hears an event.

use super::*;
use crate::message::{NameError, PatternError};

#[test]
fn each_matching_subscription_is_one_match() {
    let mut room = Room::default();
    room.subscribe(exact(1, 1, "sensor/temperature")).unwrap();
    room.subscribe(Subscription {
        policy: Policy::Latest,
        ..pattern(1, 2, "sensor/*")
    })
    .unwrap();
    room.subscribe(pattern(2, 1, "**/temperature")).unwrap();
    room.subscribe(pattern(3, 1, "sensor/temperature.*")).unwrap();
    let key = topic("sensor/temperature");
    assert_eq!(room.heard(&key, 9), [(1, 1), (1, 2), (2, 1)]);
    let matches = room.index.matching(&key, 9, |_, _| false);
    let mut shown: Vec<_> = matches
        .iter()
        .map(|to| (to.peer, to.with_key, to.policy))
        .collect();
    shown.sort_by_key(|(peer, with_key, _)| (*peer, *with_key));
    assert_eq!(
        shown,
        [
            (1, false, Policy::Hold),
            (1, true, Policy::Latest),
            (2, true, Policy::Hold)
        ]
    );
    assert_eq!(room.heard(&topic("sensor/temperature.inside"), 9), [(3, 1)]);
    assert_eq!(room.heard(&topic("other/x"), 9), []);
}

#[test]
fn an_exact_topic_may_hold_any_character() {
    let mut room = Room::default();
    room.subscribe(exact(1, 1, "a*b/**.x")).unwrap();
    room.subscribe(exact(1, 2, "*/*")).unwrap();
    assert_eq!(room.heard(&topic("a*b/**.x"), 9), [(1, 1)]);
    assert_eq!(room.heard(&topic("a/b"), 9), []);
    assert_eq!(room.heard(&topic("*/*"), 9), [(1, 2)]);
}

#[test]
fn bad_subscriptions_are_refused_by_name() {
    let mut room = Room::default();
    room.subscribe(exact(1, 1, "a/b")).unwrap();
    assert_eq!(
        room.subscribe(exact(1, 1, "c/d")),
        Err(SubscribeError::Duplicate(SubscriptionId(1)))
    );
    let bad = |key: &[u8], pattern| Subscription {
        key: key.into(),
        pattern,
        ..exact(1, 2, "a/b")
    };
    assert_eq!(
        room.subscribe(bad(b"a", false)),
        Err(SubscribeError::Key(NameError::Empty))
    );
    assert_eq!(
        room.subscribe(bad(b"\0b", false)),
        Err(SubscribeError::Key(NameError::Empty))
    );
    let wildcard = SubscribeError::Pattern(PatternError::Wildcard("x*".into()));
    assert_eq!(room.subscribe(bad(b"a\0x*", true)), Err(wildcard));
    let empty = SubscribeError::Pattern(PatternError::Name(NameError::Empty));
    assert_eq!(room.subscribe(bad(b"a", true)), Err(empty));
    assert_eq!((room.facts.len(), room.facts.subscriptions(1)), (1, 1));
    assert_eq!(room.heard(&topic("a/b"), 9), [(1, 1)]);
    assert_eq!(room.unsubscribe(1, 2), Err(NotSubscribed));
}

#[test]
fn no_local_hears_others_only_also_when_the_topic_is_the_last_one() {
    let mut room = Room::default();
    room.subscribe(Subscription {
        no_local: true,
        ..exact(1, 1, "a/b")
    })
    .unwrap();
    room.subscribe(exact(2, 1, "a/b")).unwrap();
    let key = topic("a/b");
    for (publisher, expected) in [
        (1, &[(2, 1)][..]),
        (1, &[(2, 1)]),
        (2, &[(1, 1), (2, 1)]),
        (1, &[(2, 1)]),
    ] {
        assert_eq!(room.heard(&key, publisher), expected, "from {publisher}");
    }
}

#[test]
fn the_last_topic_is_looked_up_again_after_a_change() {
    let mut room = Room::default();
    let key = topic("a/b");
    assert_eq!(room.heard(&key, 9), []);
    room.subscribe(pattern(1, 1, "a/*")).unwrap();
    assert_eq!(room.heard(&key, 9), [(1, 1)]);
    assert_eq!(room.heard(&topic("a/b.c"), 9), []);
    room.subscribe(exact(2, 1, "a/b")).unwrap();
    assert_eq!(room.heard(&key, 9), [(1, 1), (2, 1)]);
    assert_eq!(room.heard(&key, 8), [(1, 1), (2, 1)]);
    room.unsubscribe(1, 1).unwrap();
    assert_eq!(room.heard(&key, 9), [(2, 1)]);
    room.gone(2);
    assert_eq!(room.heard(&key, 9), []);
    assert!(room.index.is_bare() && room.facts.is_empty());
}

#[test]
fn a_queue_group_takes_turns_over_those_who_keep_up() {
    let mut room = Room::default();
    let key = topic("jobs/new");
    for peer in 1..=3 {
        room.subscribe(in_group(exact(peer, 1, "jobs/new"), "workers"))
            .unwrap();
    }
    room.subscribe(in_group(exact(4, 1, "jobs/new"), "loggers"))
        .unwrap();
    let turn = |room: &mut Room, lagging: &[Peer]| -> Peer {
        let heard = pairs(room.index.matching(&key, 9, |peer, _| lagging.contains(&peer)));
        assert_eq!(heard.len(), 2, "one of each group");
        assert_eq!(heard[1], (4, 1));
        heard[0].0
    };
    let mut turns =
        |lagging: &[Peer], count| -> Vec<_> { (0..count).map(|_| turn(&mut room, lagging)).collect() };
    assert_eq!(turns(&[], 6), [1, 2, 3, 1, 2, 3]);
    assert_eq!(turns(&[1], 4), [2, 3, 2, 3]);
    assert_eq!(
        turns(&[1, 2, 3, 4], 3),
        [1, 2, 3],
        "when all lag, the turns go on"
    );
    room.unsubscribe(1, 1).unwrap();
    assert_eq!(room.heard(&key, 9), [(2, 1), (4, 1)]);
    assert_eq!(room.heard(&key, 9), [(3, 1), (4, 1)]);
    room.gone(2);
    room.gone(3);
    assert_eq!(room.heard(&key, 9), [(4, 1)]);
}

#[test]
fn a_queue_group_is_one_of_name_and_key_text() {
    let mut room = Room::default();
    room.subscribe(in_group(pattern(1, 1, "a/*"), "g")).unwrap();
    room.subscribe(in_group(pattern(2, 1, "a/**"), "g")).unwrap();
    room.subscribe(Subscription {
        no_local: true,
        ..in_group(pattern(3, 1, "a/*"), "g")
    })
    .unwrap();
    let key = topic("a/b");
    assert_eq!(room.heard(&key, 3), [(1, 1), (2, 1)]);
    assert_eq!(
        room.heard(&key, 3),
        [(1, 1), (2, 1)],
        "nobody hears what it published with no_local"
    );
    assert_eq!(room.heard(&key, 9), [(2, 1), (3, 1)]);
}

#[test]
fn any_order_of_unsubscribing_finds_every_subscriber() {
    for step in [1, 7, 99] {
        let mut room = Room::default();
        for id in 0..100 {
            room.subscribe(exact((id % 10) as Peer, id, "a/b")).unwrap();
        }
        let mut left: Vec<(Peer, u64)> = (0..100).map(|id| ((id % 10) as Peer, id)).collect();
        left.sort_unstable();
        for turn in 0..100 {
            let id = turn * step % 100;
            room.unsubscribe((id % 10) as Peer, id).unwrap();
            left.retain(|(_, other)| *other != id);
            assert_eq!(room.heard(&topic("a/b"), 99), left);
        }
        assert!(room.index.is_bare());
    }
}

#[test]
fn policies_are_those_of_the_wire() {
    let all = [
        Policy::Hold,
        Policy::Disconnect,
        Policy::DropOldest,
        Policy::Latest,
    ];
    for (code, policy) in all.into_iter().enumerate() {
        assert_eq!(Policy::from_code(u32::try_from(code).unwrap()), Some(policy));
    }
    assert_eq!(Policy::from_code(4), None);
}

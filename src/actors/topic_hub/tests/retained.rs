//! Retained values and wills.

use super::*;

#[test]
fn the_last_value_stays_until_it_is_cleared() {
    let mut room = Room::default();
    let key = topic("a/b");
    room.retain(&key, "one", LIMITS).unwrap();
    room.retain(&key, "two", LIMITS).unwrap();
    assert_eq!(room.facts.len(), 1);
    room.rebuild();
    assert_eq!(room.retained(&key, false), [(key.to_vec(), "two".into())]);
    assert_eq!(room.index.retained_bytes(), 3 + 3 + RETAINED_OVERHEAD);
    room.retain(&key, "", LIMITS).unwrap();
    room.retain(&key, "", LIMITS).unwrap();
    assert_eq!(room.retained(&key, false), []);
    assert_eq!((room.facts.len(), room.index.retained_bytes()), (0, 0));
}

#[test]
fn a_subscription_selects_its_values_in_order() {
    let mut room = Room::default();
    for text in ["a.b/x", "a.b/x.y", "a.b/z", "a.bc/x", "a/x", "b/x"] {
        room.retain(&topic(text), text, LIMITS).unwrap();
    }
    let cases = [
        ("a.b/x", true, &["a.b/x"][..]),
        ("a.b/*", true, &["a.b/x", "a.b/z"]),
        ("a.b/x.**", true, &["a.b/x.y"]),
        ("a.*/x", true, &["a.b/x", "a.bc/x"]),
        (
            "**/**",
            true,
            &["a/x", "a.b/x", "a.b/x.y", "a.b/z", "a.bc/x", "b/x"],
        ),
        ("*/x", true, &["a/x", "b/x"]),
        ("a.b/*", false, &[]),
        ("a.b/z", false, &["a.b/z"]),
    ];
    for (text, pattern, expected) in cases {
        let found: Vec<_> = room
            .retained(&topic(text), pattern)
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn values_are_limited_each_and_together() {
    let mut room = Room::default();
    let (a, b) = (topic("a/a"), topic("b/b"));
    let limits = RetainLimits {
        value: 10,
        // One process alone has half of one user's half.
        total: 4 * (2 * RETAINED_OVERHEAD + 16),
        user_part: 2,
    };
    assert_eq!(
        room.retain(&a, "12345678901", limits),
        Err(RetainError::TooLarge {
            bytes: 11,
            limit: limits.value
        })
    );
    room.retain(&a, "12345", limits).unwrap();
    room.retain(&b, "12345", limits).unwrap();
    let full = RetainError::Full {
        bytes: limits.total / 4 + 1,
        share: limits.total / 4,
    };
    let RetainError::Full { bytes, share } = room.retain(&b, "123456", limits).unwrap_err() else {
        panic!("another error");
    };
    // What the present value had counts as free.
    assert_eq!((bytes, share), (limits.total / 4 + 1, limits.total / 4));
    assert_eq!(
        room.retained(&b, false),
        [(b.to_vec(), "12345".into())],
        "the present value stays"
    );
    room.retain(&a, "1", limits).unwrap();
    room.retain(&b, "123456", limits).unwrap();
    assert!(full.to_string().contains("limits.retained_bytes_total"), "{full}");
}

#[test]
fn a_peer_has_one_will_and_leaves_it_once() {
    let mut room = Room::default();
    room.set_will(1, will("a/first")).unwrap();
    room.set_will(1, will("a/second")).unwrap();
    room.set_will(2, will("b/b")).unwrap();
    room.set_will(2, will("")).unwrap();
    room.retain(&topic("a/b"), "stays", LIMITS).unwrap();
    let large = Will {
        payload: Bytes::from(vec![0; LIMITS.value + 1]),
        ..will("a/third")
    };
    assert_eq!(
        room.set_will(1, large),
        Err(RetainError::TooLarge {
            bytes: 101,
            limit: 100
        })
    );
    assert_eq!(room.facts.len(), 2);
    room.rebuild();
    assert_eq!(room.gone(1), Some(will("a/second")));
    assert_eq!(room.gone(1), None);
    assert_eq!(room.gone(2), None);
    assert_eq!(room.facts.len(), 1, "retained values outlive their publishers");
}

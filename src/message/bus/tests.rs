//! Tests of the bus's payloads.

use super::*;
use proptest::prelude::*;

#[test]
fn a_join_is_as_documented() {
    let join = Join {
        version: 1,
        token: b"secret",
        labels: vec!["earth", "a"],
    };
    let bytes = join.encode().unwrap();
    assert_eq!(bytes, b"\x01\0\x06\0secret\x02\0\x05\0earth\x01\0a");
    assert_eq!(Join::decode(&bytes), Ok(join.clone()));
    assert!(
        !format!("{join:?}").contains("115"),
        "the token is not shown: {join:?}"
    );
    for cut in 0..bytes.len() {
        assert_eq!(Join::decode(&bytes[..cut]), Err(JoinError::Truncated), "{cut}");
    }
    assert_eq!(
        Join::decode(&[&bytes[..], b"x"].concat()),
        Err(JoinError::LeftOver)
    );
    assert_eq!(
        [Join::version_of(&bytes), Join::version_of(b"\x01")],
        [Some(1), None]
    );
}

#[test]
fn a_join_has_limits_in_both_directions() {
    let labels = |count: usize| vec!["x"; count];
    let token = [0; BUS_TOKEN_MAX + 1];
    for (labels, token, expected) in [
        (labels(LABELS_MAX), &token[1..], None),
        (
            labels(LABELS_MAX + 1),
            &token[1..],
            Some(JoinError::TooMany(LABELS_MAX + 1)),
        ),
        (labels(0), &token[..], Some(JoinError::Token(BUS_TOKEN_MAX + 1))),
        (vec![""], &[][..], Some(JoinError::Label(NameError::Empty))),
        (vec!["\n"], &[][..], Some(JoinError::Label(NameError::Control))),
    ] {
        let join = Join {
            version: 1,
            token,
            labels,
        };
        assert_eq!(join.encode().err(), expected);
    }
    for (bytes, expected) in [
        (&b"\x01\0\x01\x04"[..], JoinError::Token(BUS_TOKEN_MAX + 1)),
        (b"\x01\0\0\0\x41\0", JoinError::TooMany(65)),
        (b"\x01\0\0\0\x01\0\0\0", JoinError::Label(NameError::Empty)),
        (
            b"\x01\0\0\0\x01\0\x01\0\xff",
            JoinError::Label(NameError::NotUtf8),
        ),
    ] {
        assert_eq!(Join::decode(bytes), Err(expected));
    }
}

#[test]
fn a_settlement_is_as_documented() {
    let entry = Settlement {
        first: 0x0102_0304_0506_0708,
        count: 3,
        outcome: Outcome::ReceiverGone,
        may_have_arrived: true,
        receivers: 258,
    };
    let bytes = entry.bytes();
    assert_eq!(
        bytes,
        *b"\x08\x07\x06\x05\x04\x03\x02\x01\x03\0\0\0\x02\x01\x02\x01"
    );
    assert_eq!(Settlement::parse(&bytes), Some(entry));
    let mut unknown = bytes;
    unknown[12] = 200;
    let payload = [&bytes[..], &unknown, b"cut"].concat();
    assert_eq!(Settlement::all(&payload).collect::<Vec<_>>(), [Some(entry), None]);
}

#[test]
fn outcomes_and_codes_are_one_to_one() {
    for (index, outcome) in Outcome::ALL.iter().enumerate() {
        assert_eq!(usize::from(*outcome as u8), index);
        assert_eq!(Outcome::from_code(*outcome as u8), Some(*outcome));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_come_back(bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..60)) {
        if let Ok(join) = Join::decode(&bytes) {
            prop_assert_eq!(join.encode().unwrap(), bytes);
        }
    }
}

//! Tests of the selectors: tables of what is refused, and a model of what matches.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn leaf(text: &str) -> Expression {
    Expression::label(&Label::new(text).unwrap())
}

#[test]
fn bytes_that_are_no_selector_are_refused_with_the_reason() {
    let deep = |count: usize| [&[0][..], &vec![TRUE; count], &vec![AND; count.saturating_sub(1)]].concat();
    let long = [
        &[0, LEAF, 255][..],
        &[b'a'; 255],
        &[LEAF, 255],
        &[b'a'; 255],
        &[AND],
    ]
    .concat();
    for (bytes, expected) in [
        (vec![], SelectorError::Mode),
        (vec![3, TRUE], SelectorError::Mode),
        (vec![0x80, TRUE], SelectorError::Mode),
        (vec![0], SelectorError::Unbalanced),
        (vec![0, 0], SelectorError::Operation(0)),
        (vec![0, TRUE, 7], SelectorError::Operation(7)),
        (vec![0, LEAF], SelectorError::Truncated),
        (vec![0, LEAF, 2, b'a'], SelectorError::Truncated),
        (vec![0, LEAF, 0], SelectorError::Label(NameError::Empty)),
        (vec![0, LEAF, 1, 0xff], SelectorError::Label(NameError::NotUtf8)),
        (vec![0, LEAF, 1, 7], SelectorError::Label(NameError::Control)),
        (vec![0, NOT], SelectorError::Unbalanced),
        (vec![0, TRUE, AND], SelectorError::Unbalanced),
        (vec![0, TRUE, FALSE], SelectorError::Unbalanced),
        (deep(33), SelectorError::TooDeep),
        ([&[0, TRUE][..], &[NOT; 64]].concat(), SelectorError::TooMany),
        (long.clone(), SelectorError::TooLong(long.len())),
    ] {
        assert_eq!(Selector::parse(&bytes), Err(expected), "{bytes:02x?}");
    }
    for right in [deep(32), [&[2, TRUE][..], &[NOT; 63]].concat()] {
        assert!(Selector::parse(&right).is_ok(), "{right:02x?}");
    }
}

#[test]
fn the_truth_tables() {
    let (yes, no) = (Expression::constant(true), Expression::constant(false));
    for (left, right, both, either) in [
        (&yes, &yes, true, true),
        (&yes, &no, false, true),
        (&no, &yes, false, true),
        (&no, &no, false, false),
    ] {
        assert_eq!(left.clone().and(right).matches(|_| false), both);
        assert_eq!(left.clone().or(right).matches(|_| false), either);
    }
    assert!(!yes.not().matches(|_| true) && no.not().matches(|_| false));
    let earth = leaf("earth").and(&leaf("moon").not());
    for (labels, expected) in [
        (&["earth"][..], true),
        (&["earth", "moon"], false),
        (&["moon"], false),
        (&["earth2"], false),
    ] {
        assert_eq!(
            earth.matches(|label| labels.contains(&label)),
            expected,
            "{labels:?}"
        );
    }
}

#[test]
fn the_binary_form_is_as_documented() {
    let bytes = leaf("earth")
        .and(&leaf("x").not())
        .encode(Mode::Multicast)
        .unwrap();
    assert_eq!(&*bytes, b"\x02\x01\x05earth\x01\x01x\x04\x02");
    let selector = Selector::parse(&bytes).unwrap();
    assert_eq!(selector.mode(), Mode::Multicast);
    let operations: Vec<_> = selector.operations().collect();
    let expected = [
        Operation::Label("earth"),
        Operation::Label("x"),
        Operation::Not,
        Operation::And,
    ];
    assert_eq!(operations, expected);
}

/// A tree to compare with.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(u8),
    Constant(bool),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

impl Tree {
    fn build(&self) -> Expression {
        match self {
            Self::Leaf(label) => leaf(&format!("l{label}")),
            Self::Constant(value) => Expression::constant(*value),
            Self::Not(of) => of.build().not(),
            Self::And(left, right) => left.build().and(&right.build()),
            Self::Or(left, right) => left.build().or(&right.build()),
        }
    }

    fn holds(&self, labels: &BTreeSet<u8>) -> bool {
        match self {
            Self::Leaf(label) => labels.contains(label),
            Self::Constant(value) => *value,
            Self::Not(of) => !of.holds(labels),
            Self::And(left, right) => left.holds(labels) && right.holds(labels),
            Self::Or(left, right) => left.holds(labels) || right.holds(labels),
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => (0_u8..6).prop_map(Tree::Leaf),
        1 => any::<bool>().prop_map(Tree::Constant),
    ];
    leaf.prop_recursive(6, 40, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|of| Tree::Not(Box::new(of))),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Tree::And(Box::new(l), Box::new(r))),
            (inner.clone(), inner).prop_map(|(l, r)| Tree::Or(Box::new(l), Box::new(r))),
        ]
    })
}

proptest! {
    #[test]
    fn a_selector_matches_what_its_tree_says(
        tree in trees(),
        labels in proptest::collection::btree_set(0_u8..6, 0..6),
        mode in 0_u8..3,
    ) {
        let expression = tree.build();
        let Ok(bytes) = expression.encode(Mode::from_code(mode).unwrap()) else {
            prop_assert!(!expression.matches(|_| true) || expression.0.len() >= SELECTOR_MAX);
            return Ok(());
        };
        let selector = Selector::parse(&bytes).unwrap();
        let has = |label: &str| labels.contains(&label[1..].parse().unwrap());
        prop_assert_eq!(selector.matches(has), tree.holds(&labels));
        prop_assert_eq!(selector.expression(), &bytes[1..]);
    }

    /// Any bytes: refused, or made of operations that give the same bytes again.
    #[test]
    fn what_is_read_is_canonical(bytes in proptest::collection::vec(prop_oneof![0_u8..7, any::<u8>()], 0..40)) {
        let Ok(selector) = Selector::parse(&bytes) else { return Ok(()) };
        let mut again = vec![selector.mode() as u8];
        for operation in selector.operations() {
            match operation {
                Operation::Label(label) => again.extend(leaf(label).0),
                Operation::And => again.push(AND),
                Operation::Or => again.push(OR),
                Operation::Not => again.push(NOT),
                Operation::True => again.push(TRUE),
                Operation::False => again.push(FALSE),
            }
        }
        selector.matches(|_| true);
        prop_assert_eq!(&again, &bytes);
    }
}

//! Which endpoints a message is for: an expression over labels, how many of those that match, and how long it may wait for one.
//!
//! Owns the expression as a tree that programs build. Its form on the wire, and the limits of that, are
//! [`message::selector`](crate::message::selector)'s. Called by programs and by `endpoint`, which sends.

use super::label::Label;
use crate::message::selector::{self as wire, Mode, SelectorError};
use std::fmt;
use std::ops::Not;
use std::time::Duration;

/// An expression over labels. A text is an expression, and so is a truth value.
///
/// Two of them are joined with [`and`](Self::and) and [`or`](Self::or), and `!` takes the opposite. A selector may have 64 operations,
/// elements included, and 511 bytes on the wire; sending one that is larger is an error.
///
/// ```
/// use actix_ipc::bus::{LabelOp, label};
///
/// let op = LabelOp::from("renderer").and(!LabelOp::from("codec")).or("any");
/// assert!(op.validate(&label!("renderer")));
/// assert!(!op.validate(&label!("renderer", "codec")));
/// assert_eq!(op.to_string(), "((renderer & !codec) | any)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum LabelOp {
    /// Every endpoint.
    True,
    /// No endpoint.
    False,
    /// Endpoints with this element in their label.
    Leaf(String),
    /// Endpoints that do not match.
    Not(Box<Self>),
    /// Endpoints that match both.
    And(Box<Self>, Box<Self>),
    /// Endpoints that match one, or both.
    Or(Box<Self>, Box<Self>),
}

impl LabelOp {
    /// Endpoints that match both.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        Self::And(Box::new(self), Box::new(other.into()))
    }

    /// Endpoints that match this, or the other, or both.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        Self::Or(Box::new(self), Box::new(other.into()))
    }

    /// Whether an endpoint of this label matches.
    #[must_use]
    pub fn validate(&self, label: &Label) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::Leaf(element) => label.contains(element),
            Self::Not(op) => !op.validate(label),
            Self::And(one, other) => one.validate(label) && other.validate(label),
            Self::Or(one, other) => one.validate(label) || other.validate(label),
        }
    }

    /// Values that wait at most while the postfix form is evaluated.
    fn depth(&self) -> u32 {
        match self {
            Self::True | Self::False | Self::Leaf(_) => 1,
            Self::Not(op) => op.depth(),
            Self::And(one, other) | Self::Or(one, other) => match (one.depth(), other.depth()) {
                (one, other) if one == other => one.saturating_add(1),
                (one, other) => one.max(other),
            },
        }
    }

    /// Whether there are at most `left` operations. No deeper than that is looked.
    fn fits(&self, left: &mut usize) -> bool {
        let Some(less) = left.checked_sub(1) else {
            return false;
        };
        *left = less;
        match self {
            Self::True | Self::False | Self::Leaf(_) => true,
            Self::Not(op) => op.fits(left),
            Self::And(one, other) | Self::Or(one, other) => one.fits(left) && other.fits(left),
        }
    }

    /// Appends the postfix form of one that fits.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::True => out.push(wire::TRUE),
            Self::False => out.push(wire::FALSE),
            Self::Leaf(element) => {
                // A longer one is refused as an empty one is: neither is an element.
                let length = u8::try_from(element.len()).unwrap_or(0);
                out.extend([wire::LEAF, length]);
                out.extend_from_slice(element.as_bytes().get(..usize::from(length)).unwrap_or_default());
            }
            Self::Not(op) => {
                op.write(out);
                out.push(wire::NOT);
            }
            Self::And(one, other) | Self::Or(one, other) => {
                // The deeper one goes first, so that the other waits for less.
                let (first, second) = match other.depth() > one.depth() {
                    true => (other, one),
                    false => (one, other),
                };
                first.write(out);
                second.write(out);
                let and = matches!(self, Self::And(..));
                out.push(if and { wire::AND } else { wire::OR });
            }
        }
    }
}

impl Not for LabelOp {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl From<&str> for LabelOp {
    fn from(element: &str) -> Self {
        Self::Leaf(element.to_owned())
    }
}

impl From<String> for LabelOp {
    fn from(element: String) -> Self {
        Self::Leaf(element)
    }
}

impl From<bool> for LabelOp {
    fn from(all: bool) -> Self {
        if all { Self::True } else { Self::False }
    }
}

/// Endpoints that have all elements of the label.
impl From<&Label> for LabelOp {
    fn from(label: &Label) -> Self {
        let mut elements = label.iter().map(Self::from);
        match elements.next() {
            Some(first) => elements.fold(first, Self::and),
            None => Self::True,
        }
    }
}

impl fmt::Display for LabelOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
            Self::Leaf(element) => crate::text::escaped(element).fmt(f),
            Self::Not(op) => write!(f, "!{op}"),
            Self::And(one, other) => write!(f, "({one} & {other})"),
            Self::Or(one, other) => write!(f, "({one} | {other})"),
        }
    }
}

/// To whom of those that match a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SelectorMode {
    /// To one: the endpoint that joined first.
    #[default]
    Unicast,
    /// To one: each in its turn.
    RoundRobin,
    /// To every one, the sender's own endpoint too when it matches.
    Multicast,
}

impl From<SelectorMode> for Mode {
    fn from(mode: SelectorMode) -> Self {
        match mode {
            SelectorMode::Unicast => Self::First,
            SelectorMode::RoundRobin => Self::RoundRobin,
            SelectorMode::Multicast => Self::Multicast,
        }
    }
}

/// The routing of a message: who, how many of them, and how long it may wait.
///
/// ```
/// use actix_ipc::bus::{LabelOp, Selector};
/// use std::time::Duration;
///
/// let one = Selector::unicast("earth");
/// let all = Selector::multicast(!LabelOp::from("sun")).with_ttl(Duration::from_secs(3));
/// # assert!(one != all);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Selector {
    /// Which endpoints match.
    pub label_op: LabelOp,
    /// To whom of them the message goes.
    pub mode: SelectorMode,
    /// How long the message may wait for an endpoint that matches while there is none, to the millisecond. Zero: not at all.
    pub ttl: Duration,
}

impl Selector {
    /// One endpoint that matches: the one that joined first.
    #[must_use]
    pub fn unicast(label_op: impl Into<LabelOp>) -> Self {
        Self::new(label_op, SelectorMode::Unicast)
    }

    /// One endpoint that matches: each in its turn.
    #[must_use]
    pub fn round_robin(label_op: impl Into<LabelOp>) -> Self {
        Self::new(label_op, SelectorMode::RoundRobin)
    }

    /// Every endpoint that matches.
    #[must_use]
    pub fn multicast(label_op: impl Into<LabelOp>) -> Self {
        Self::new(label_op, SelectorMode::Multicast)
    }

    fn new(label_op: impl Into<LabelOp>, mode: SelectorMode) -> Self {
        Self {
            label_op: label_op.into(),
            mode,
            ttl: Duration::ZERO,
        }
    }

    /// The same, waiting at most so long for an endpoint that matches.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The ttl in milliseconds: never zero for one that is not.
    pub(crate) fn ttl_ms(&self) -> u32 {
        match u32::try_from(self.ttl.as_millis()).unwrap_or(u32::MAX) {
            0 => u32::from(!self.ttl.is_zero()),
            whole => whole,
        }
    }

    /// Appends the key of a frame.
    ///
    /// # Errors
    /// [`SelectorError`] when it is beyond a limit, or an element is not legal.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), SelectorError> {
        let from = out.len();
        out.push(Mode::from(self.mode) as u8);
        if !self.label_op.fits(&mut wire::OPERATIONS_MAX.clone()) {
            return Err(SelectorError::TooMany);
        }
        self.label_op.write(out);
        wire::Selector::parse(out.get(from..).unwrap_or_default()).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ops() -> impl Strategy<Value = LabelOp> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(LabelOp::from),
            "[a-e]".prop_map(LabelOp::Leaf)
        ];
        leaf.prop_recursive(6, 48, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|op| !op),
                (inner.clone(), inner.clone()).prop_map(|(one, other)| one.and(other)),
                (inner.clone(), inner).prop_map(|(one, other)| one.or(other)),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_wire_form_matches_what_the_tree_matches(op in ops(), elements in "[a-e]{0,5}") {
            let label = elements.chars().map(String::from).collect::<Label>();
            let mut bytes = Vec::new();
            let selector = Selector::multicast(op.clone());
            match selector.encode(&mut bytes) {
                Ok(()) => {
                    let read = wire::Selector::parse(&bytes).unwrap();
                    prop_assert_eq!(read.mode(), Mode::Multicast);
                    prop_assert_eq!(read.matches(|element| label.contains(element)), op.validate(&label));
                }
                Err(error) => prop_assert_eq!(error, SelectorError::TooMany),
            }
        }
    }

    #[test]
    fn what_is_beyond_a_limit_is_named() {
        let encoded = |op: LabelOp| Selector::unicast(op).encode(&mut Vec::new());
        let many = |count: usize| (1..count).fold(LabelOp::True, |op, _| LabelOp::False.or(op));
        assert_eq!(
            encoded(many(32)),
            Ok(()),
            "63 operations; nested 32 deep, the deepest goes first"
        );
        assert_eq!(encoded(many(33)), Err(SelectorError::TooMany));
        assert!(matches!(encoded("".into()), Err(SelectorError::Label(_))));
        assert!(matches!(encoded("a\nb".into()), Err(SelectorError::Label(_))));
        assert!(encoded("x".repeat(256).into()).is_err());
        let long = || LabelOp::from("x".repeat(255));
        assert!(matches!(
            encoded(long().and(long())),
            Err(SelectorError::TooLong(_))
        ));
    }

    #[test]
    fn a_ttl_is_never_rounded_to_none() {
        let of = |ttl| Selector::unicast(true).with_ttl(ttl).ttl_ms();
        let cases = [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(7), 7),
            (Duration::MAX, u32::MAX),
        ];
        for (ttl, ms) in cases {
            assert_eq!(of(ttl), ms);
        }
    }
}

//! Where to look for what matches a selector: labels of which every match has at least one.
//!
//! Owns that one judgement. It is used in both directions: to find the endpoints of a selector, and the waiting selectors of an
//! endpoint. A match of the labels is no match of the selector yet; whoever asks looks at each.

use crate::message::selector::{Operation, Selector};
use smallvec::SmallVec;

/// Where matches can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Driver<'a> {
    /// Anywhere.
    All,
    /// Where one of these labels is, in about so many places.
    Any(SmallVec<[&'a str; 4]>, usize),
}

impl<'a> Driver<'a> {
    /// The cheapest for a selector, when looking at the places of a label costs its `weight`.
    pub(super) fn of(selector: &Selector<'a>, weight: impl Fn(&str) -> usize) -> Self {
        let mut stack: SmallVec<[Self; 8]> = SmallVec::new();
        for operation in selector.operations() {
            let next = match operation {
                Operation::Label(label) => Self::Any(SmallVec::from_slice(&[label]), weight(label)),
                Operation::True => Self::All,
                Operation::False => Self::Any(SmallVec::new(), 0),
                Operation::Not => {
                    stack.pop();
                    Self::All
                }
                Operation::And | Operation::Or => {
                    let (right, left) = (stack.pop(), stack.pop());
                    let (Some(left), Some(right)) = (left, right) else {
                        return Self::All;
                    };
                    match operation {
                        Operation::And => left.and(right),
                        _ => left.or(right),
                    }
                }
            };
            stack.push(next);
        }
        stack.pop().unwrap_or(Self::All)
    }

    fn and(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::All, _) => other,
            (Self::Any(_, one), Self::Any(_, two)) if two < one => other,
            _ => self,
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any(mut labels, one), Self::Any(more, two)) => {
                for label in more {
                    if !labels.contains(&label) {
                        labels.push(label);
                    }
                }
                Self::Any(labels, one.saturating_add(two))
            }
            _ => Self::All,
        }
    }
}

//! Labels of endpoints and the selectors over them: built, read and evaluated.
//!
//! Owns the alphabet of a label, the binary form of a selector and its limits. It refuses to know endpoints, indexes and
//! sockets: a selector is asked about a set of labels, whoever has it. Called by the bus library, which builds selectors,
//! and by Registry, which looks them up.
//!
//! ```text
//! selector   = mode:u8 expression         mode: 0 the first that joined, 1 in turn, 2 all
//! expression = operations in postfix order: 01 length:u8 label | 02 and | 03 or | 04 not | 05 true | 06 false
//! ```
//! The form is canonical: two selectors are the same bytes exactly when they are the same tree.

#[cfg(test)]
mod tests;

use super::key::KEY_MAX;
use super::name::{self, NameError};
use std::fmt;
use std::sync::Arc;

/// The longest element of a label, in bytes.
pub const LABEL_MAX: usize = name::NAME_MAX;
/// The most elements that one endpoint may have.
pub const LABELS_MAX: usize = 64;
/// The most operations of one selector, leaves included: what one message may cost at most.
pub const OPERATIONS_MAX: usize = 64;
/// The most values that wait during an evaluation.
pub const STACK_MAX: u32 = 32;
/// The longest selector, in bytes: it travels as a frame's key.
pub const SELECTOR_MAX: usize = KEY_MAX;

pub(crate) const LEAF: u8 = 1;
pub(crate) const AND: u8 = 2;
pub(crate) const OR: u8 = 3;
pub(crate) const NOT: u8 = 4;
pub(crate) const TRUE: u8 = 5;
pub(crate) const FALSE: u8 = 6;

/// One element of a label: UTF-8, 1 to 255 bytes, no control characters. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// Checks `text` and keeps a copy.
    ///
    /// # Errors
    /// [`NameError`] when it is empty, too long, or holds control characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
        name::check_text(text.as_ref())?;
        Ok(Self(text.as_ref().into()))
    }

    /// The element as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::borrow::Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Label {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// To whom of those that match a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Mode {
    /// One: the endpoint that joined first.
    #[default]
    First = 0,
    /// One: each in its turn.
    RoundRobin = 1,
    /// Every one.
    Multicast = 2,
}

impl Mode {
    /// Every mode, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::First, Self::RoundRobin, Self::Multicast];

    /// The mode with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::First),
            1 => Some(Self::RoundRobin),
            2 => Some(Self::Multicast),
            _ => None,
        }
    }
}

/// Why bytes are not a selector, or a selector cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// There is no mode, or an unknown one.
    #[error("a selector begins with its mode: 0 (the first that joined), 1 (in turn) or 2 (all)")]
    Mode,
    /// An operation that this version does not know.
    #[error("a selector has no operation {0:#04x}")]
    Operation(u8),
    /// A leaf ends behind the selector.
    #[error("a label of a selector is cut off")]
    Truncated,
    /// A leaf is no label.
    #[error("a label of a selector is wrong: {0}")]
    Label(#[from] NameError),
    /// There are more operations than [`OPERATIONS_MAX`].
    #[error("a selector has at most {OPERATIONS_MAX} operations (labels, and, or, not)")]
    TooMany,
    /// More than [`STACK_MAX`] values wait at once.
    #[error("a selector nests at most {STACK_MAX} deep; put the deepest part first")]
    TooDeep,
    /// The operations do not leave exactly one value.
    #[error("a selector is one expression: an operation lacks an operand, or a value is left over")]
    Unbalanced,
    /// The binary form is longer than [`SELECTOR_MAX`].
    #[error("a selector has at most {SELECTOR_MAX} bytes, this one needs {0}; use shorter labels or fewer")]
    TooLong(usize),
}

/// One operation of a selector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation<'a> {
    /// Whether the endpoint has this label.
    Label(&'a str),
    /// Both of the last two values.
    And,
    /// Either of the last two values.
    Or,
    /// Not the last value.
    Not,
    /// Every endpoint.
    True,
    /// No endpoint.
    False,
}

/// A selector whose bytes were checked; evaluation cannot fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selector<'a> {
    mode: Mode,
    expression: &'a [u8],
}

impl<'a> Selector<'a> {
    /// Reads and checks the bytes of a key. Costs in proportion to the bytes.
    ///
    /// # Errors
    /// [`SelectorError`] says what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SelectorError> {
        if bytes.len() > SELECTOR_MAX {
            return Err(SelectorError::TooLong(bytes.len()));
        }
        let (mode, expression) = bytes.split_first().ok_or(SelectorError::Mode)?;
        let mode = Mode::from_code(*mode).ok_or(SelectorError::Mode)?;
        check(expression)?;
        Ok(Self { mode, expression })
    }

    /// The selector of bytes that [`Self::parse`] has taken before; `None` when it cannot have.
    #[must_use]
    pub fn checked(bytes: &'a [u8]) -> Option<Self> {
        let (mode, expression) = bytes.split_first()?;
        let mode = Mode::from_code(*mode)?;
        Some(Self { mode, expression })
    }

    /// To whom of those that match.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The bytes behind the mode: they say which endpoints match.
    #[must_use]
    pub const fn expression(&self) -> &'a [u8] {
        self.expression
    }

    /// The operations, in postfix order.
    pub fn operations(&self) -> impl Iterator<Item = Operation<'a>> + Clone + use<'a> {
        Operations(self.expression).map_while(Result::ok)
    }

    /// The labels that it names, each as often as it does.
    pub fn labels(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.operations().filter_map(|operation| match operation {
            Operation::Label(label) => Some(label),
            _ => None,
        })
    }

    /// Whether an endpoint with the labels of which `has` says that it has them matches.
    pub fn matches(&self, mut has: impl FnMut(&str) -> bool) -> bool {
        // One bit for each value that waits: never more than STACK_MAX, which `check` saw to.
        let mut stack = 0_u64;
        for operation in self.operations() {
            let (top, below) = (stack & 1, stack >> 1);
            stack = match operation {
                Operation::Label(label) => stack << 1 | u64::from(has(label)),
                Operation::True => stack << 1 | 1,
                Operation::False => stack << 1,
                Operation::Not => stack ^ 1,
                Operation::And => below & (!1 | top),
                Operation::Or => below | top,
            };
        }
        stack & 1 == 1
    }
}

/// Checks an expression without its mode.
fn check(expression: &[u8]) -> Result<(), SelectorError> {
    let (mut count, mut depth) = (0_usize, 0_u32);
    for operation in Operations(expression) {
        let operation = operation?;
        count = count.saturating_add(1);
        if count > OPERATIONS_MAX {
            return Err(SelectorError::TooMany);
        }
        depth = match operation {
            Operation::Label(_) | Operation::True | Operation::False => depth.saturating_add(1),
            Operation::Not if depth >= 1 => depth,
            Operation::And | Operation::Or if depth >= 2 => depth.saturating_sub(1),
            Operation::Not | Operation::And | Operation::Or => return Err(SelectorError::Unbalanced),
        };
        if depth > STACK_MAX {
            return Err(SelectorError::TooDeep);
        }
    }
    if depth == 1 {
        Ok(())
    } else {
        Err(SelectorError::Unbalanced)
    }
}

/// The operations of an expression that need not be right.
#[derive(Clone)]
struct Operations<'a>(&'a [u8]);

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, SelectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (code, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(Ok(match *code {
            LEAF => {
                let label = rest
                    .split_first()
                    .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
                let Some((label, rest)) = label else {
                    self.0 = &[];
                    return Some(Err(SelectorError::Truncated));
                };
                self.0 = rest;
                match name::check(label) {
                    Ok(label) => Operation::Label(label),
                    Err(error) => return Some(Err(error.into())),
                }
            }
            AND => Operation::And,
            OR => Operation::Or,
            NOT => Operation::Not,
            TRUE => Operation::True,
            FALSE => Operation::False,
            other => return Some(Err(SelectorError::Operation(other))),
        }))
    }
}

/// A selector that is being built: any size, checked when it is [encoded](Self::encode).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expression(Vec<u8>);

impl Expression {
    /// Endpoints with this label.
    #[must_use]
    pub fn label(label: &Label) -> Self {
        let text = label.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(text.len().saturating_add(2));
        bytes.extend([LEAF, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
        bytes.extend(text);
        Self(bytes)
    }

    /// Every endpoint (`true`), or none.
    #[must_use]
    pub fn constant(value: bool) -> Self {
        Self(vec![if value { TRUE } else { FALSE }])
    }

    /// Those that match both.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        self.join(other, AND)
    }

    /// Those that match either.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        self.join(other, OR)
    }

    /// Those that do not match.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "`LabelOp` of the bus has the operators"
    )]
    pub fn not(mut self) -> Self {
        self.0.push(NOT);
        self
    }

    fn join(mut self, other: &Self, operation: u8) -> Self {
        self.0.extend(&other.0);
        self.0.push(operation);
        self
    }

    /// Whether an endpoint with the labels of which `has` says that it has them matches; `false` for an expression that is
    /// beyond the limits.
    pub fn matches(&self, has: impl FnMut(&str) -> bool) -> bool {
        let selector = Selector {
            mode: Mode::First,
            expression: &self.0,
        };
        check(&self.0).is_ok() && selector.matches(has)
    }

    /// The binary form, as the key of a `Send`.
    ///
    /// # Errors
    /// [`SelectorError::TooMany`], [`SelectorError::TooDeep`] or [`SelectorError::TooLong`].
    pub fn encode(&self, mode: Mode) -> Result<Box<[u8]>, SelectorError> {
        let mut bytes = Vec::with_capacity(self.0.len().saturating_add(1));
        bytes.push(mode as u8);
        bytes.extend(&self.0);
        Selector::parse(&bytes)?;
        Ok(bytes.into())
    }
}

//! The pattern trie: which pattern subscriptions select a key.
//!
//! One node per level of a pattern; the levels of the object's pattern, a boundary, the levels of the event's
//! pattern. Where only one pattern goes on, what is left of it is one tail of text instead of a node for each level. Owns the walk
//! (it visits only nodes whose patterns agree with the key so far, each at most once, to a depth of at most twice
//! [`LEVELS_MAX`](crate::message::name::LEVELS_MAX) and the boundary) and prunes what becomes empty. It refuses to know who
//! subscribes. Called by [`Index`](super::index::Index) only.
//!
//! Patterns come checked: `*` and `**` are whole levels, `**` ends its half.

use super::rest::{Begins, Rest, Step, Text, first_level};
use super::subscribers::Subscribers;
use crate::actors::peer_key::PeerKey;
use crate::actors::table::Table;

/// One prefix of patterns.
#[derive(Debug)]
struct Node<P> {
    exact: Table<Text, Below<P>>,
    one: Option<Below<P>>,
    rest: Option<Below<P>>,
    boundary: Option<Below<P>>,
    /// Those whose pattern ends here.
    subscribers: Subscribers<P>,
}

/// What follows after a step.
#[derive(Debug)]
enum Below<P> {
    /// Several patterns.
    Node(Box<Node<P>>),
    /// One pattern. Here, not behind a pointer: with a million of them that is one place in memory less to look at.
    Tail(Tail<P>),
}

/// The end of a pattern that goes its own way.
#[derive(Debug)]
struct Tail<P> {
    begins: Begins,
    /// The text behind the steps that led here.
    left: Text,
    subscribers: Subscribers<P>,
}

/// The trie.
#[derive(Debug)]
pub(super) struct Trie<P> {
    root: Node<P>,
}

impl<P: PeerKey> Trie<P> {
    pub(super) fn new() -> Self {
        Self { root: Node::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// The subscribers of this pattern, with the nodes that lead there.
    pub(super) fn get_or_insert(&mut self, pattern: &[u8]) -> &mut Subscribers<P> {
        self.root.get_or_insert(Rest::all(pattern))
    }

    /// The subscribers of this pattern.
    pub(super) fn get_mut(&mut self, pattern: &[u8]) -> Option<&mut Subscribers<P>> {
        let (mut node, mut left) = (&mut self.root, Rest::all(pattern));
        while let Some((step, after)) = left.step() {
            left = after;
            match node.child(step)? {
                Below::Node(below) => node = below,
                Below::Tail(tail) => return (tail.left() == left).then_some(&mut tail.subscribers),
            }
        }
        Some(&mut node.subscribers)
    }

    /// Removes the nodes on the way to this pattern that lead nowhere any more.
    pub(super) fn prune(&mut self, pattern: &[u8]) {
        self.root.prune(Rest::all(pattern));
    }

    /// Visits the subscribers of every pattern that selects the key.
    pub(super) fn walk(&mut self, key: &[u8], visit: &mut impl FnMut(&mut Subscribers<P>)) {
        self.root.walk(Rest::all(key), visit);
    }
}

impl<P: PeerKey> Node<P> {
    fn new() -> Self {
        Self {
            exact: Table::default(),
            one: None,
            rest: None,
            boundary: None,
            subscribers: Subscribers::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
            && self.exact.is_empty()
            && self.one.is_none()
            && self.rest.is_none()
            && self.boundary.is_none()
    }

    fn child(&mut self, step: Step<'_>) -> Option<&mut Below<P>> {
        match step {
            Step::Exact(text) => self.exact.get_mut(text),
            Step::One => self.one.as_mut(),
            Step::Rest => self.rest.as_mut(),
            Step::Boundary => self.boundary.as_mut(),
        }
    }

    /// The subscribers of the pattern whose text goes on like this.
    fn get_or_insert(&mut self, left: Rest<'_>) -> &mut Subscribers<P> {
        let Some((step, left)) = left.step() else {
            return &mut self.subscribers;
        };
        let new = || Below::tail(left);
        let below = match step {
            Step::Exact(text) => self.exact.entry(text.into()).or_insert_with(new),
            Step::One => self.one.get_or_insert_with(new),
            Step::Rest => self.rest.get_or_insert_with(new),
            Step::Boundary => self.boundary.get_or_insert_with(new),
        };
        below.get_or_insert(left)
    }

    fn prune(&mut self, left: Rest<'_>) {
        let Some((step, left)) = left.step() else {
            return;
        };
        let Some(child) = self.child(step) else { return };
        let empty = match child {
            Below::Tail(tail) => tail.subscribers.is_empty(),
            Below::Node(node) => {
                node.prune(left);
                if let Some(tail) = node.take_tail() {
                    *child = Below::Tail(tail);
                    return;
                }
                node.is_empty()
            }
        };
        if empty {
            match step {
                Step::Exact(text) => self.remove_exact(text),
                Step::One => self.one = None,
                Step::Rest => self.rest = None,
                Step::Boundary => self.boundary = None,
            }
        }
    }

    /// What is left of many places must not cost as much as they did: nobody is charged for it.
    fn remove_exact(&mut self, level: &[u8]) {
        self.exact.remove(level);
        if self.exact.len() < self.exact.capacity() / 4 {
            self.exact.shrink_to(self.exact.len().saturating_mul(2));
        }
    }

    /// The one pattern that goes through or ends here, as a tail; nothing when there are several, or none. A node that one pattern
    /// alone would keep costs many times what a subscription does.
    fn take_tail(&mut self) -> Option<Tail<P>> {
        if self.exact.len() > 1 {
            // Not looked through: between few in a table of many places there is a long way.
            return None;
        }
        let marks = [(Step::One, &mut self.one), (Step::Rest, &mut self.rest)];
        let mut below: Vec<_> = marks
            .into_iter()
            .chain([(Step::Boundary, &mut self.boundary)])
            .filter_map(|(step, place)| Some((step, place.as_mut()?)))
            .collect();
        let exact = self.exact.iter_mut();
        below.extend(exact.map(|(text, place)| (Step::Exact(text), place)));
        match (below.pop(), below.is_empty()) {
            (None, _) if !self.subscribers.is_empty() => {
                let (begins, left) = Rest::NOTHING.text();
                let subscribers = std::mem::take(&mut self.subscribers);
                Some(Tail {
                    begins,
                    left,
                    subscribers,
                })
            }
            (Some((step, Below::Tail(tail))), true) if self.subscribers.is_empty() => {
                let (begins, left) = tail.left().behind(step);
                let subscribers = std::mem::take(&mut tail.subscribers);
                Some(Tail {
                    begins,
                    left,
                    subscribers,
                })
            }
            _ => None,
        }
    }

    fn walk(&mut self, key: Rest<'_>, visit: &mut impl FnMut(&mut Subscribers<P>)) {
        let Rest { here, event } = key;
        let Some(text) = here else {
            return match (event, &mut self.boundary) {
                (Some(_), Some(boundary)) => boundary.walk(key.cross(), visit),
                (Some(_), None) => {}
                (None, _) => visit(&mut self.subscribers),
            };
        };
        let (level, here) = first_level(text);
        if let Some(child) = self.exact.get_mut(level) {
            child.walk(Rest { here, event }, visit);
        }
        if let Some(child) = &mut self.one {
            child.walk(Rest { here, event }, visit);
        }
        if let Some(child) = &mut self.rest {
            child.walk(Rest { here: None, event }, visit);
        }
    }
}

impl<P: PeerKey> Below<P> {
    fn tail(left: Rest<'_>) -> Self {
        let (begins, left) = left.text();
        Self::Tail(Tail {
            begins,
            left,
            subscribers: Subscribers::default(),
        })
    }

    fn get_or_insert(&mut self, left: Rest<'_>) -> &mut Subscribers<P> {
        if let Self::Tail(tail) = self
            && tail.left() != left
        {
            // Another pattern comes this way: the tail moves one step down, and they part there or further on.
            let mut node = Box::new(Node::new());
            *node.get_or_insert(Rest::from_text(tail.begins, &tail.left)) =
                std::mem::take(&mut tail.subscribers);
            *self = Self::Node(node);
        }
        match self {
            Self::Tail(tail) => &mut tail.subscribers,
            Self::Node(node) => node.get_or_insert(left),
        }
    }

    fn walk(&mut self, key: Rest<'_>, visit: &mut impl FnMut(&mut Subscribers<P>)) {
        match self {
            Self::Node(node) => node.walk(key, visit),
            Self::Tail(tail) => {
                if key.is_selected_by(tail.left()) {
                    visit(&mut tail.subscribers);
                }
            }
        }
    }
}

impl<P> Tail<P> {
    fn left(&self) -> Rest<'_> {
        Rest::from_text(self.begins, &self.left)
    }
}

#[cfg(test)]
impl<P: PeerKey> Trie<P> {
    /// Nodes and tails without the root.
    pub(super) fn nodes(&self) -> usize {
        fn below<P>(node: &Node<P>) -> usize {
            let others = [&node.one, &node.rest, &node.boundary];
            node.exact
                .values()
                .chain(others.into_iter().flatten())
                .map(|child| match child {
                    Below::Node(node) => 1 + below(node),
                    Below::Tail(_) => 1,
                })
                .sum()
        }
        below(&self.root)
    }
}

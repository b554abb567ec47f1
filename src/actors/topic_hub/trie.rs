//! The pattern trie: which pattern subscriptions select a key.
//!
//! One node per level of a pattern; the levels of the object's pattern, a boundary, the levels of the event's
//! pattern. Owns the walk (it visits only nodes whose patterns agree with the key so far, each at most once, to
//! a depth of at most twice [`LEVELS_MAX`](crate::message::name::LEVELS_MAX) and the boundary) and prunes what
//! becomes empty. It refuses to know who subscribes. Called by [`Index`](super::index::Index) only.
//!
//! Patterns come checked: `*` and `**` are whole levels, `**` ends its half.

use super::subscribers::Subscribers;
use crate::actors::peer_key::PeerKey;
use crate::actors::table::Table;
use crate::message::key;

/// One step down the trie.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// A level with this text.
    Exact(&'a [u8]),
    /// Any one level.
    One,
    /// All levels that are left in this half, at least one.
    Rest,
    /// From the object's half to the event's.
    Boundary,
}

/// One prefix of patterns.
#[derive(Debug)]
struct Node<P> {
    exact: Table<Box<[u8]>, Self>,
    one: Option<Box<Self>>,
    rest: Option<Box<Self>>,
    boundary: Option<Box<Self>>,
    /// Those whose pattern ends here.
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
        let mut node = &mut self.root;
        for step in steps(pattern) {
            node = node.child_or_insert(step);
        }
        &mut node.subscribers
    }

    /// The subscribers of this pattern.
    pub(super) fn get_mut(&mut self, pattern: &[u8]) -> Option<&mut Subscribers<P>> {
        let mut node = &mut self.root;
        for step in steps(pattern) {
            node = node.child(step)?;
        }
        Some(&mut node.subscribers)
    }

    /// Removes the nodes on the way to this pattern that lead nowhere any more.
    pub(super) fn prune(&mut self, pattern: &[u8]) {
        self.root.prune(&mut steps(pattern));
    }

    /// Visits the subscribers of every pattern that selects the key.
    pub(super) fn walk(&mut self, key: &[u8], visit: &mut impl FnMut(&mut Subscribers<P>)) {
        let (object, event) = key::split(key);
        self.root.walk(Some(object), Some(event), visit);
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

    fn child(&mut self, step: Step<'_>) -> Option<&mut Self> {
        match step {
            Step::Exact(text) => self.exact.get_mut(text),
            Step::One => self.one.as_deref_mut(),
            Step::Rest => self.rest.as_deref_mut(),
            Step::Boundary => self.boundary.as_deref_mut(),
        }
    }

    fn child_or_insert(&mut self, step: Step<'_>) -> &mut Self {
        let new = || Box::new(Self::new());
        match step {
            Step::Exact(text) => self.exact.entry(text.into()).or_insert_with(Self::new),
            Step::One => self.one.get_or_insert_with(new),
            Step::Rest => self.rest.get_or_insert_with(new),
            Step::Boundary => self.boundary.get_or_insert_with(new),
        }
    }

    fn prune(&mut self, steps: &mut dyn Iterator<Item = Step<'_>>) {
        let Some(step) = steps.next() else { return };
        let Some(child) = self.child(step) else { return };
        child.prune(steps);
        if child.is_empty() {
            match step {
                Step::Exact(text) => drop(self.exact.remove(text)),
                Step::One => self.one = None,
                Step::Rest => self.rest = None,
                Step::Boundary => self.boundary = None,
            }
        }
    }

    /// `here`: what is left of this half; `event`: the other half, while this is the object's.
    fn walk(
        &mut self,
        here: Option<&[u8]>,
        event: Option<&[u8]>,
        visit: &mut impl FnMut(&mut Subscribers<P>),
    ) {
        let Some(text) = here else {
            return self.end_half(event, visit);
        };
        let (level, left) = first_level(text);
        if let Some(child) = self.exact.get_mut(level) {
            child.walk(left, event, visit);
        }
        if let Some(child) = &mut self.one {
            child.walk(left, event, visit);
        }
        if let Some(child) = &mut self.rest {
            child.end_half(event, visit);
        }
    }

    fn end_half(&mut self, event: Option<&[u8]>, visit: &mut impl FnMut(&mut Subscribers<P>)) {
        match (event, &mut self.boundary) {
            (Some(event), Some(boundary)) => boundary.walk(Some(event), None, visit),
            (Some(_), None) => {}
            (None, _) => visit(&mut self.subscribers),
        }
    }
}

/// The way to a pattern.
fn steps(pattern: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let (object, event) = key::split(pattern);
    levels(object)
        .chain(std::iter::once(Step::Boundary))
        .chain(levels(event))
}

fn levels(half: &[u8]) -> impl Iterator<Item = Step<'_>> {
    half.split(|byte| *byte == b'.').map(|level| match level {
        b"*" => Step::One,
        b"**" => Step::Rest,
        text => Step::Exact(text),
    })
}

fn first_level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
impl<P: PeerKey> Trie<P> {
    /// Nodes without the root.
    pub(super) fn nodes(&self) -> usize {
        fn below<P>(node: &Node<P>) -> usize {
            let boxed = [&node.one, &node.rest, &node.boundary];
            node.exact
                .values()
                .chain(boxed.into_iter().flatten().map(|child| &**child))
                .map(|n| 1 + below(n))
                .sum()
        }
        below(&self.root)
    }
}

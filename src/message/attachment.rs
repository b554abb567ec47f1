//! A kernel object that travels with a frame, as an opaque, shared handle.
//!
//! The message layer counts attachments and keeps them alive; only the transport that received or sends
//! one knows what it is (a file descriptor on Unix, a handle on Windows) and downcasts it.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A shared handle to a kernel object: over Unix sockets an `Arc<OwnedFd>`, over Windows pipes an
/// `Arc<OwnedHandle>`. The last clone to be dropped closes it.
pub type Attachment = Arc<dyn Any + Send + Sync>;

/// The attachments of one message, in the order of its sender. Clones share them. Most messages have none, so it is a
/// pointer's size.
#[derive(Clone, Default)]
pub struct Attachments(Option<Box<List>>);

/// At least one.
#[derive(Clone, Default)]
struct List(Vec<Attachment>);

impl Attachments {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds an object of a kind that the transport carries: over Unix sockets an `OwnedFd`, over Windows pipes an `OwnedHandle`.
    #[must_use]
    pub fn with<T: Any + Send + Sync>(mut self, object: T) -> Self {
        self.0.get_or_insert_default().0.push(Arc::new(object));
        self
    }

    /// The object at `index`, if there is one and it is a `T`.
    #[must_use]
    pub fn get<T: Any>(&self, index: usize) -> Option<&T> {
        (**self).get(index)?.downcast_ref()
    }
}

impl Deref for Attachments {
    type Target = [Attachment];

    #[inline]
    fn deref(&self) -> &[Attachment] {
        match &self.0 {
            Some(list) => &list.0,
            None => &[],
        }
    }
}

impl From<Vec<Attachment>> for Attachments {
    fn from(list: Vec<Attachment>) -> Self {
        Self((!list.is_empty()).then(|| Box::new(List(list))))
    }
}

impl fmt::Debug for Attachments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attachments", self.len())
    }
}

/// Equal are the same objects, not equal ones.
impl PartialEq for Attachments {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .zip(other.iter())
                .all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for Attachments {}

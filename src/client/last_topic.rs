//! The topic that a client published to last: most programs publish to the same one again and again, whose names are checked then.
//!
//! Owns the key and nothing of who publishes. Called by [`super::publish`].

use super::names;
use crate::error::CallError;
use crate::message::key;

/// The topic that was published to last: its names are checked, and joined as in the key of a frame.
#[derive(Debug, Default)]
pub(crate) struct LastTopic {
    key: Vec<u8>,
    /// Where the second name begins.
    topic: usize,
}

impl LastTopic {
    /// Its key, as a frame has it.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn is(&self, object: &str, topic: &str) -> bool {
        match self.key.split_at_checked(self.topic) {
            Some((first, second)) => {
                second == topic.as_bytes()
                    && first.len() == object.len().wrapping_add(1)
                    && first.starts_with(object.as_bytes())
            }
            None => false,
        }
    }

    #[cold]
    pub(super) fn set(&mut self, object: &str, topic: &str) -> Result<(), CallError> {
        names::check(object)?;
        names::check(topic)?;
        self.key.clear();
        self.key.extend_from_slice(object.as_bytes());
        self.key.push(key::SEPARATOR);
        self.topic = self.key.len();
        self.key.extend_from_slice(topic.as_bytes());
        Ok(())
    }
}

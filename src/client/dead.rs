//! What was attached to messages that nobody gets.
//!
//! Owns it until the lock is released under which that was found out: to close it may take long, and the end of an object of this program
//! may need the lock. It refuses to know what the messages were. Filled by the queues of the client, dropped by [`super::after`].

use crate::message::Attachments;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Dead(Vec<Attachments>);

impl Dead {
    #[inline]
    pub(crate) fn bury(&mut self, attachments: impl Into<Attachments>) {
        let attachments = attachments.into();
        if !attachments.is_empty() {
            self.0.push(attachments);
        }
    }

    /// Drops all of it; never under a lock.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

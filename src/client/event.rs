//! What a subscriber is told: events, gaps and ends.
//!
//! Owns the types that programs read, and the topic that an event carries with it: few bytes lie in the event itself, so that
//! neither making nor dropping one counts references of anything but its payload. Made by [`super::event_queue`].

use crate::message::{Attachments, Metadata, Payload, PayloadError, TraceParent, key};
use std::fmt;
use std::sync::Arc;

/// Bytes of a topic, its separator among them, that lie in the event.
const SHORT: usize = 37;

/// Something that was published to a topic this client subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The value. It shares a buffer of at most 128 KiB with its neighbours; copy what is kept for long.
    pub payload: Payload,
    /// How many events of this subscription were lost just before this one, because this program or the broker's
    /// queue for it did not keep up.
    pub missed: u64,
    /// The connection was lost and made again just before this event: what was published meanwhile did not arrive,
    /// and nobody knows how much it was.
    pub interrupted: bool,
    /// A retained value: it was published before the subscription was opened.
    pub retained: bool,
    /// What the publisher put beside the value.
    pub metadata: Metadata,
    pub(crate) attachments: Attachments,
    pub(crate) name: Topic,
}

impl Event {
    /// The object half of the topic.
    #[must_use]
    pub fn object(&self) -> &str {
        self.name.halves().0
    }

    /// The event half of the topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.name.halves().1
    }

    /// What the publisher has attached, in its order: over Unix sockets file descriptors (`OwnedFd`). The last clone of an event
    /// closes what nobody has cloned out of it. A subscription holds about 64 that its program has not read; more are
    /// missed like other events, by its policy.
    #[must_use]
    pub const fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    /// The trace that the event belongs to, when its publisher said so.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.metadata.traceparent()
    }

    /// The value as a Rust type.
    ///
    /// # Errors
    /// [`PayloadError`] when the payload is not such a value.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, PayloadError> {
        self.payload.decode()
    }
}

/// What a subscription's reader can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// An event.
    Event(Event),
    /// So many events were lost, and none follows for now.
    Missed(u64),
    /// The connection was lost and made again; an unknown number of events is missing.
    Interrupted,
    /// This program did not read fast enough, and the subscription asked to be ended then
    /// ([`SlowPolicy::Disconnect`](super::SlowPolicy::Disconnect)). Nothing follows.
    TooSlow,
    /// The broker has ended the subscription, and says why: its operator no longer allows it. Nothing follows.
    Ended(String),
}

/// The two names of a topic, joined as in the key of a frame.
#[derive(Clone)]
pub(crate) enum Topic {
    Short(u8, [u8; SHORT]),
    Long(Arc<str>),
}

impl Topic {
    pub(crate) fn pair(object: &str, topic: &str) -> Self {
        Self::of_key(&key::join(object, topic))
    }

    /// The topic that a frame's key names.
    pub(crate) fn of_key(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut short = [0; SHORT];
        match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short(length, short)
            }
            _ => Self::Long(text.into()),
        }
    }

    /// The names as a frame's key has them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Long(text) => text.as_bytes(),
        }
    }

    fn halves(&self) -> (&str, &str) {
        let (object, topic) = key::split(self.as_bytes());
        // Both are cut from a text, at a character of one byte.
        let text = |half| std::str::from_utf8(half).unwrap_or_default();
        (text(object), text(topic))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (object, topic) = self.halves();
        write!(f, "{object} {topic}")
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.halves(), f)
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Topic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_any_length_keep_their_names() {
        for (object, topic) in [(1, 1), (4, SHORT - 5), (4, SHORT - 4), (SHORT, 1), (255, 255)] {
            let (object, topic) = ("ö".repeat(object / 2) + "o", "t".repeat(topic));
            let name = Topic::pair(&object, &topic);
            assert_eq!(name.halves(), (&*object, &*topic));
            assert_eq!(name, Topic::of_key(name.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_text_is_still_shown() {
        assert_eq!(Topic::of_key(b"a\xff\0b").halves(), ("a\u{fffd}", "b"));
        assert_eq!(Topic::of_key(b"alone").halves(), ("alone", ""));
        assert_eq!(Topic::of_key(b"").halves(), ("", ""));
    }
}

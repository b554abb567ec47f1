//! What the sender of a message learns when it did not arrive.
//!
//! Owns the reasons, which are the broker's outcomes and two of the client's own, and their texts. Made by [`super::sends`].

use crate::message::bus::Outcome;
use crate::message::id::MessageId;
use std::fmt;

/// Why a message did not reach all whom it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No endpoint matched before the message's ttl was over.
    NoMatch,
    /// A receiver ended before its program took the message.
    ReceiverGone,
    /// A receiver's queue was full, or its program has stopped taking messages.
    ReceiverFull,
    /// A receiver cannot be given what travels with the message.
    Attachments,
    /// What travels with the message may be given to one receiver only, and several matched.
    NotShareable,
    /// The message is larger than a receiver or a limit of the bus admits.
    TooLarge,
    /// The bus stopped or failed before the message was taken.
    Cancelled,
    /// The policy of the broker forbids it.
    Denied,
    /// The process that hosted the bus ended, and nobody knows how far the message came.
    HostLost,
    /// This endpoint has left the bus before the message could be sent.
    Closed,
}

impl Reason {
    pub(crate) const fn of(outcome: Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Taken => return None,
            Outcome::NoMatch => Self::NoMatch,
            Outcome::ReceiverGone => Self::ReceiverGone,
            Outcome::ReceiverFull => Self::ReceiverFull,
            Outcome::Attachments => Self::Attachments,
            Outcome::NotShareable => Self::NotShareable,
            Outcome::TooLarge => Self::TooLarge,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Denied => Self::Denied,
        })
    }

    /// What it means, in one sentence.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoMatch => Outcome::NoMatch.text(),
            Self::ReceiverGone => Outcome::ReceiverGone.text(),
            Self::ReceiverFull => Outcome::ReceiverFull.text(),
            Self::Attachments => Outcome::Attachments.text(),
            Self::NotShareable => {
                "several endpoints matched, and what travels with it goes to one, unless it is sealed memory or the message says `share`"
            }
            Self::TooLarge => Outcome::TooLarge.text(),
            Self::Cancelled => Outcome::Cancelled.text(),
            Self::Denied => Outcome::Denied.text(),
            Self::HostLost => "the process that hosted the bus ended",
            Self::Closed => "the endpoint left the bus before it could be sent",
        }
    }
}

/// A message that did not reach all whom it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Undelivered {
    /// Its number, as `send` returned it.
    pub id: MessageId,
    /// The worst of what became of it.
    pub reason: Reason,
    /// Whether a receiver may have got it all the same: `false` means that sending it again cannot make it arrive twice.
    pub may_have_arrived: bool,
    /// How many receivers have taken it for certain.
    pub receivers: u16,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = if self.may_have_arrived {
            " (a receiver may have got it)"
        } else {
            ""
        };
        write!(
            f,
            "message {} was not delivered: {}{arrived}",
            self.id,
            self.reason.text()
        )
    }
}

impl Undelivered {
    pub(crate) const fn new(id: u64, reason: Reason, may_have_arrived: bool) -> Self {
        Self {
            id: MessageId(id),
            reason,
            may_have_arrived,
            receivers: 0,
        }
    }
}

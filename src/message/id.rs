//! Distinct number types for everything that is counted, so that one cannot be passed for another.
//!
//! Owns only the types, and which number means that nobody knows; who allocates a number says so here. Ids are never reused within one broker life.

use std::fmt;

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_type! {
    /// A connection (or an actor of the broker's own process). Allocated by the broker, from 1.
    PeerId
}
number_type! {
    /// A call as its caller numbers it. Chosen by the caller, unique among its open requests.
    CallId
}
number_type! {
    /// Any other request (register, wait, subscribe…) as the asker numbers it; shares the numbers of [`CallId`].
    RequestId
}
number_type! {
    /// A subscription as the subscriber numbers it.
    SubscriptionId
}
number_type! {
    /// A message of the label bus as its sender numbers it: increasing, from 1.
    MessageId
}
number_type! {
    /// A call or an accepted fact as the broker numbers it. Allocated from one counter that is never reset.
    Ticket
}

impl PeerId {
    /// The broker itself, which serves objects of its own. No connection has this number.
    pub const BROKER: Self = Self(0);
}

/// 128 random bits that name one life of a broker: two welcomes with the same epoch come from the same process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

impl super::frame::Origin {
    /// Its user; `None` when unknown.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        Some(self.uid).filter(|uid| *uid != u32::MAX)
    }

    /// Its process; `None` when unknown.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        Some(self.pid).filter(|pid| *pid != 0)
    }
}

//! What a broker that hosts a label bus asks of those who join.
//!
//! Owns the token and its comparison, whose time tells nothing but its length. It refuses to know endpoints and selectors. Set by
//! the builder, asked by each `Session`.

use super::builder::BrokerBuilder;
use crate::transport::Listener;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How a broker hosts a bus: it takes nothing but `Join` (and pings) from a connection that has not joined.
#[derive(Clone, Default)]
pub struct BusOptions {
    token: Zeroizing<Vec<u8>>,
}

impl BusOptions {
    /// A bus whose endpoints must present this token, at most [`BUS_TOKEN_MAX`](crate::message::bus::BUS_TOKEN_MAX) bytes; a
    /// longer one nobody can present.
    #[must_use]
    pub fn new(token: &[u8]) -> Self {
        Self {
            token: Zeroizing::new(token.to_vec()),
        }
    }

    /// Whether this is the token.
    #[must_use]
    pub fn admits(&self, token: &[u8]) -> bool {
        self.token.ct_eq(token).into()
    }
}

impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BusOptions(token not shown)")
    }
}

impl BrokerBuilder {
    /// Accepts from this listener as well, which was bound on this thread.
    #[cfg_attr(not(feature = "bus"), allow(dead_code, reason = "only hosts of buses do it"))]
    #[must_use]
    pub(crate) fn adopt(mut self, listener: Listener) -> Self {
        self.adopted.push(listener);
        self
    }

    /// Hosts a label bus: a connection may do nothing before it has joined, with the bus's token. Without this the broker is an
    /// ordinary one, whose label bus anybody joins who is let in, with an empty token. Under a policy nobody joins.
    #[must_use]
    pub fn bus(mut self, bus: BusOptions) -> Self {
        self.bus = Some(bus);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token_and_it_is_not_shown() {
        let bus = BusOptions::new(b"secret");
        for (token, right) in [
            (&b"secret"[..], true),
            (b"Secret", false),
            (b"secre", false),
            (b"secrets", false),
            (b"", false),
        ] {
            assert_eq!(bus.admits(token), right, "{token:?}");
        }
        assert!(BusOptions::default().admits(b"") && !format!("{bus:?}").contains("115"));
    }
}

//! How an endpoint joins a bus.
//!
//! Owns the defaults. What is done with them is `join`'s.

use super::label::Label;
use crate::transport::Endpoint;
use std::fmt;

/// The bus that is joined, and as what. Made by [`Options::new`], or from its fields.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The name of the bus; any text but the empty one. Endpoints of different names never meet. Each user of the machine has buses of
    /// their own; names that begin with `system:` are found by all users, but their host lets in its own user and root only.
    pub identifier: String,
    /// What the endpoint is called.
    pub label: Label,
    /// What the bus asks of those who join: it is set by the endpoint that comes first. At most 1,024 bytes.
    pub token: String,
    /// Whether this process may host the bus when nobody does. Default: yes. Without it, `join` waits for a host.
    pub controller_affinity: bool,
    /// Whether this endpoint may be given Unix sockets. Default: no, because a socket can carry descriptors itself.
    pub unix_sockets: bool,
    /// The broker that has the bus, when it is not to be found by the identifier. Default: none.
    pub endpoint: Option<Endpoint>,
}

impl Options {
    /// An endpoint of this label, on the bus of this name and token.
    #[must_use]
    pub fn new(identifier: impl Into<String>, label: Label, token: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            label,
            token: token.into(),
            controller_affinity: true,
            unix_sockets: false,
            endpoint: None,
        }
    }

    /// Whether this process may host the bus when nobody does.
    #[must_use]
    pub const fn with_controller_affinity(mut self, may_host: bool) -> Self {
        self.controller_affinity = may_host;
        self
    }

    /// Whether this endpoint may be given Unix sockets.
    #[must_use]
    pub const fn with_unix_sockets(mut self, accepted: bool) -> Self {
        self.unix_sockets = accepted;
        self
    }

    /// Joins the bus of the broker at this endpoint, whichever transport leads there; the identifier is not looked up then.
    #[must_use]
    pub fn at(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("identifier", &self.identifier)
            .field("label", &self.label)
            .field("controller_affinity", &self.controller_affinity)
            .field("unix_sockets", &self.unix_sockets)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

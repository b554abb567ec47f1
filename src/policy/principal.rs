//! Who a peer is, as the kernel or a proof says; never as the peer says.
//!
//! Owns [`Principal`]: made once when a connection is let in, carried beside it, compared with rules. It refuses to
//! know where the evidence comes from: `transport` reads it from the kernel, a token or certificate proves the name.

/// Who a peer is. A struct from the kernel to the decision: nothing of it is ever parsed out of text that a peer sent.
///
/// `None` is "not known", never "nobody": rules that allow do not match what is not known, and rules that deny by group
/// match a local user whose groups are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The effective user when the connection was made. `None` for a peer of another machine, and where the system does not tell.
    pub uid: Option<u32>,
    /// Its groups then, the effective one and the supplementary ones. `None` where the system does not tell (TCP).
    pub gids: Option<Box<[u32]>>,
    /// The name that a token or a client certificate has proven.
    pub name: Option<Box<str>>,
    /// It is an actor of the broker's own process. That is the operator, who may do everything.
    pub local: bool,
}

impl Principal {
    /// The broker's own process.
    #[must_use]
    pub const fn operator() -> Self {
        Self {
            uid: None,
            gids: None,
            name: None,
            local: true,
        }
    }

    /// A user of this machine whose groups are not known.
    #[must_use]
    pub const fn of_uid(uid: u32) -> Self {
        Self {
            uid: Some(uid),
            gids: None,
            name: None,
            local: false,
        }
    }

    /// Whether anything is known that tells this peer from another one.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.local || self.uid.is_some() || self.name.is_some()
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.local, &self.name, self.uid) {
            (true, ..) => f.write_str("the broker's own process"),
            (false, Some(name), Some(uid)) => write!(f, "{name} (uid {uid})"),
            (false, Some(name), None) => f.write_str(name),
            (false, None, Some(uid)) => write!(f, "uid {uid}"),
            (false, None, None) => f.write_str("an unknown user"),
        }
    }
}

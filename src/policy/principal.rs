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

/// The longest proven name, in bytes.
pub const NAME_MAX: usize = 255;

/// Why a text cannot be the name of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no bytes, or too many.
    #[error("a principal's name has 1 to {NAME_MAX} bytes, this one has {0}")]
    Length(usize),
    /// It holds a character that is not in the alphabet: a wildcard, a blank, a control character, anything beyond ASCII.
    #[error("a principal's name holds only the characters a-z A-Z 0-9 . _ - @ : / +, not {0:?}")]
    Character(char),
}

/// Checks a name before it is proven or granted anything: principals have an alphabet of their own, without wildcards, blanks,
/// control characters and look-alikes, so that no name can be mistaken for a pattern or for another name.
///
/// # Errors
/// [`NameError`] says which rule is broken.
pub fn check_name(text: &str) -> Result<&str, NameError> {
    if text.is_empty() || text.len() > NAME_MAX {
        return Err(NameError::Length(text.len()));
    }
    let legal = |c: &char| c.is_ascii_alphanumeric() || "._-@:/+".contains(*c);
    match text.chars().find(|c| !legal(c)) {
        Some(wrong) => Err(NameError::Character(wrong)),
        None => Ok(text),
    }
}

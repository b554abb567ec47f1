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
    /// Its user under Windows, as access lists name it: `S-1-5-21-…-1001`. `None` elsewhere, and where it is not told.
    pub sid: Option<Box<str>>,
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
            sid: None,
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
            sid: None,
            gids: None,
            name: None,
            local: false,
        }
    }

    /// Whether its user is known, by number or by SID.
    #[must_use]
    pub const fn has_user(&self) -> bool {
        self.uid.is_some() || self.sid.is_some()
    }

    /// As which user it is counted, among those who share something. `None`: it is not known.
    #[must_use]
    pub fn counted(&self) -> Option<u32> {
        counted(self.uid, self.sid.as_deref())
    }

    /// Whether anything is known that tells this peer from another one.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.local || self.has_user() || self.name.is_some()
    }
}

/// The number that a user is counted by: its own, where nobody else has it, or one made of its SID, above those that users have.
#[must_use]
pub fn counted(uid: Option<u32>, sid: Option<&str>) -> Option<u32> {
    let fold = |sum: u32, byte: u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    // The largest is that of nobody who is known.
    let made = |sid: &str| (sid.bytes().fold(0x811c_9dc5, fold) | 1 << 31).min(u32::MAX - 1);
    uid.or_else(|| sid.map(made))
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.local {
            return f.write_str("the broker's own process");
        }
        // A number is shorter, where it is nobody else's.
        let user = match (self.uid, &self.sid) {
            (Some(uid), _) => Some(format!("uid {uid}")),
            (None, sid) => sid.as_ref().map(|sid| format!("sid {sid}")),
        };
        match (&self.name, user) {
            (Some(name), Some(user)) => write!(f, "{name} ({user})"),
            (Some(name), None) => f.write_str(name),
            (None, Some(user)) => f.write_str(&user),
            (None, None) => f.write_str("an unknown user"),
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

/// Most parts of a SID behind its authority.
const SID_PARTS: usize = 15;

/// A SID as the system writes it, from how somebody has written it; `None`: it is none.
#[must_use]
pub fn sid(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let (Some("S" | "s"), Some("1")) = (parts.next(), parts.next()) else {
        return None;
    };
    // Of 48 bits.
    let authority: u64 = digits(parts.next()?)?;
    let numbers: Vec<u32> = parts.map(digits).collect::<Option<_>>()?;
    if authority >> 48 != 0 || !(1..=SID_PARTS).contains(&numbers.len()) {
        return None;
    }
    let numbers: String = numbers.iter().map(|number| format!("-{number}")).collect();
    Some(format!("S-1-{authority}{numbers}"))
}

/// A number of digits alone, without a sign.
fn digits<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_number_is_counted_by_its_sid() {
        let of = |uid, sid: Option<&str>| {
            let sid = sid.map(Into::into);
            Principal {
                uid,
                sid,
                ..Principal::default()
            }
            .counted()
        };
        let (one, other) = ("S-1-5-21-1-2-3-1001", "S-1-5-21-9-2-3-1001");
        assert_eq!(of(Some(1001), Some(one)), Some(1001));
        assert_eq!(of(None, None), None);
        assert_eq!(of(None, Some(one)), of(None, Some(one)));
        assert_ne!(of(None, Some(one)), of(None, Some(other)));
        let made = of(None, Some(one)).unwrap();
        assert!(made > i32::MAX as u32 && made < u32::MAX, "{made}");
    }
}

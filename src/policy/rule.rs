//! One rule: whom it is about, what it gives or takes, and which names it selects.
//!
//! Owns the parts and how each compares with a peer and a concrete name. It refuses to know how rules together make a
//! decision: [`Policy`](super::Policy) does.

use super::principal::Principal;
use crate::message::name::Level;
use crate::message::{Pattern, PatternError};
use std::fmt;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Be connected at all.
    Connect,
    /// Register an object, queue for its name, join its group.
    Own,
    /// Call an object's methods, and see that the object is there.
    Call,
    /// Publish events, retained ones and wills.
    Publish,
    /// Hear events.
    Subscribe,
    /// See everything that is there, and ask the broker's own objects.
    Monitor,
}

impl Right {
    /// All of them, in the order in which a rule names them.
    pub const ALL: [Self; 6] = [
        Self::Connect,
        Self::Own,
        Self::Call,
        Self::Publish,
        Self::Subscribe,
        Self::Monitor,
    ];

    /// The key in a policy file, which is the verb in a sentence too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Own => "own",
            Self::Call => "call",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Monitor => "monitor",
        }
    }

    /// Whether it is about names; the others are held or not.
    #[must_use]
    pub const fn has_names(self) -> bool {
        matches!(self, Self::Own | Self::Call | Self::Publish | Self::Subscribe)
    }

    /// What the second half of its names is called; `None` when there is none.
    #[must_use]
    pub const fn member(self) -> Option<&'static str> {
        match self {
            Self::Call => Some("method"),
            Self::Publish | Self::Subscribe => Some("event"),
            Self::Connect | Self::Own | Self::Monitor => None,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a rule gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It gives.
    Allow,
    /// It takes, whatever others give.
    Deny,
}

impl Verdict {
    /// The table's name in a policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A user.
    Uid(u32),
    /// A user of Windows, as [`sid`](super::sid) writes it.
    Sid(Box<str>),
    /// Everybody with this effective or supplementary group.
    Gid(u32),
    /// Whoever has proven this name.
    Name(Box<str>),
    /// Every peer.
    Everyone,
}

impl Who {
    /// Whether a rule with this verdict is about the peer. What is not known gives nothing and protects from nothing: a rule
    /// that denies a group is about a local user whose groups the system does not tell, one that denies a SID about a local user
    /// without one, and every rule that denies is about a peer of whom nothing is known.
    #[must_use]
    pub fn is_about(&self, peer: &Principal, verdict: Verdict) -> bool {
        if verdict == Verdict::Deny && !peer.is_known() {
            return true;
        }
        match self {
            Self::Everyone => true,
            Self::Uid(uid) => peer.uid == Some(*uid),
            Self::Sid(sid) => match &peer.sid {
                Some(known) => known == sid,
                None => verdict == Verdict::Deny && peer.uid.is_some(),
            },
            Self::Name(name) => peer.name.as_deref() == Some(name),
            Self::Gid(gid) => match &peer.gids {
                Some(gids) => gids.contains(gid),
                None => verdict == Verdict::Deny && peer.has_user(),
            },
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Sid(sid) => write!(f, "sid {sid}"),
            Self::Gid(gid) => write!(f, "gid {gid}"),
            Self::Name(name) => write!(f, "name {name:?}"),
            Self::Everyone => f.write_str("everyone"),
        }
    }
}

/// The names that a rule is about: a pattern over objects, and one over their methods or events where that matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Over the object's name.
    pub object: Pattern,
    /// Over the method's or event's name; `None` selects all.
    pub member: Option<Pattern>,
}

impl Selection {
    /// Every method or event of the objects that the pattern selects.
    ///
    /// # Errors
    /// [`PatternError`] when the text is no pattern.
    pub fn object(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self {
            object: Pattern::new(pattern)?,
            member: None,
        })
    }

    /// Only the methods or events that this pattern selects.
    ///
    /// # Errors
    /// [`PatternError`] when the text is no pattern.
    pub fn member(self, pattern: &str) -> Result<Self, PatternError> {
        Ok(Self {
            member: Some(Pattern::new(pattern)?),
            ..self
        })
    }

    /// Whether it selects this concrete name. An empty `member` asks about the object as a whole, which a selection of some
    /// members does not select.
    #[must_use]
    pub fn selects(&self, object: &str, member: &str) -> bool {
        self.object.matches(object)
            && self
                .member
                .as_ref()
                .is_none_or(|pattern| !member.is_empty() && pattern.matches(member))
    }

    /// Whether some concrete topic is selected by this and by both patterns. May say yes for topics that nobody can name.
    #[must_use]
    pub fn overlaps(&self, object: &Pattern, member: &Pattern) -> bool {
        overlap(&self.object, object)
            && self
                .member
                .as_ref()
                .is_none_or(|pattern| overlap(pattern, member))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.object.as_str())?;
        match &self.member {
            Some(member) => write!(f, " {:?}", member.as_str()),
            None => Ok(()),
        }
    }
}

/// Whether some name is selected by both patterns.
fn overlap(a: &Pattern, b: &Pattern) -> bool {
    let (mut a, mut b) = (a.levels(), b.levels());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(Level::Rest), Some(_)) | (Some(_), Some(Level::Rest)) => return true,
            (Some(Level::Exact(a)), Some(Level::Exact(b))) if a != b => return false,
            (Some(Level::Exact(_) | Level::One), Some(Level::Exact(_) | Level::One)) => {}
        }
    }
}

/// One rule. Begins with [`Rule::allow`] or [`Rule::deny`]; the rest says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it gives or takes.
    pub verdict: Verdict,
    /// Whom it is about: any of these.
    pub who: Vec<Who>,
    /// The rights without names that it is about: connect, monitor.
    pub plain: Vec<Right>,
    /// The rights with names that it is about, and which.
    pub named: Vec<(Right, Selection)>,
    /// Where it stands in its file, from 1; 0 when it came from no file.
    pub line: u32,
}

impl Rule {
    /// A rule that gives something to these.
    #[must_use]
    pub fn allow(who: impl IntoIterator<Item = Who>) -> Self {
        Self::new(Verdict::Allow, who)
    }

    /// A rule that takes something from these.
    #[must_use]
    pub fn deny(who: impl IntoIterator<Item = Who>) -> Self {
        Self::new(Verdict::Deny, who)
    }

    fn new(verdict: Verdict, who: impl IntoIterator<Item = Who>) -> Self {
        Self {
            verdict,
            who: who.into_iter().collect(),
            plain: Vec::new(),
            named: Vec::new(),
            line: 0,
        }
    }

    /// With the right to connect or to monitor. A right that is about names is added for no name.
    #[must_use]
    pub fn plain(mut self, right: Right) -> Self {
        if !right.has_names() && !self.plain.contains(&right) {
            self.plain.push(right);
        }
        self
    }

    /// With a right about these names. Connect and monitor have none; they are added as they are.
    #[must_use]
    pub fn named(mut self, right: Right, names: Selection) -> Self {
        if !right.has_names() {
            return self.plain(right);
        }
        self.named.push((right, names));
        self
    }

    /// Whether it is about this peer.
    #[must_use]
    pub fn is_about(&self, peer: &Principal) -> bool {
        self.who.iter().any(|who| who.is_about(peer, self.verdict))
    }
}

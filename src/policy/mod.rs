//! Who may connect, own, call, publish, subscribe and monitor.
//!
//! Owns who a peer is ([`Principal`]), the rules and the one decision about them ([`Policy::decide`]): what no rule allows
//! is denied, and what any rule denies is denied whatever others allow. It refuses to know sockets, actors, files and
//! clocks: a policy comes in as rules or as text, a question as a principal, a right and a concrete name. Called by
//! `actors` and the binaries.
//!
//! Without a policy a broker serves its own user and root, who may do everything. With one, nobody may do anything but
//! what is allowed there, not even root; actors of the broker's own process are the operator and are not asked.

mod principal;
mod rights;
mod rule;
#[cfg(feature = "cli")]
mod text;

pub use principal::{NAME_MAX, NameError, Principal, check_name, counted, sid};
pub use rights::{Rights, Slot};
pub use rule::{Right, Rule, Selection, Verdict, Who};
#[cfg(feature = "cli")]
pub use text::{Fault, Faults, Users, parse};

use crate::message::metadata::RESERVED_PREFIX;
use crate::message::{Pattern, key};

/// The object of the old broker, which lists all others.
pub(crate) const OLD_BROKER: &str = "rob";

/// What is decided of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Which rule decided, by its place in [`Policy::rules`]; `None`: no rule speaks of it, so it is denied.
    pub rule: Option<usize>,
}

impl Decision {
    const UNMENTIONED: Self = Self {
        allowed: false,
        rule: None,
    };
}

/// Rules, all of which count: their order means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// A policy of these rules. None at all is legal here and denies everything; a file without rules is an error.
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The rules in the order in which they were given.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether the peer may connect, or could if it proved some name beside what is known of it.
    #[must_use]
    pub fn may_connect_with_a_name(&self, who: &Principal) -> bool {
        let by_name = |rule: &Rule| {
            rule.verdict == Verdict::Allow
                && rule.plain.contains(&Right::Connect)
                && rule.who.iter().any(|who| matches!(who, Who::Name(_)))
        };
        self.decide(who, Right::Connect, "", "").allowed || self.rules.iter().any(by_name)
    }

    /// Decides. `object` and `member` (method or event) are concrete names; what the right has no use for is not looked at.
    /// For [`Right::Call`] an empty `member` asks about the object as a whole.
    #[must_use]
    pub fn decide(&self, who: &Principal, right: Right, object: &str, member: &str) -> Decision {
        let rules = self.rules.iter().enumerate();
        decide(
            rules.filter(|(_, rule)| rule.is_about(who)),
            right,
            object,
            member,
        )
    }
}

/// The one decision, over the rules that are about a peer.
fn decide<'a>(
    rules: impl Iterator<Item = (usize, &'a Rule)>,
    right: Right,
    object: &str,
    member: &str,
) -> Decision {
    let Some(right) = effective(right, object) else {
        return Decision::UNMENTIONED;
    };
    let mut decision = Decision::UNMENTIONED;
    for (place, rule) in rules {
        let speaks = if right.has_names() {
            let of_right = rule.named.iter().filter(|(named, _)| *named == right);
            of_right
                .into_iter()
                .any(|(_, names)| names.selects(object, member))
        } else {
            rule.plain.contains(&right)
        };
        match rule.verdict {
            Verdict::Deny if speaks => {
                return Decision {
                    allowed: false,
                    rule: Some(place),
                };
            }
            Verdict::Allow if speaks && !decision.allowed => {
                decision = Decision {
                    allowed: true,
                    rule: Some(place),
                };
            }
            Verdict::Deny | Verdict::Allow => {}
        }
    }
    decision
}

/// The right that a question is really about: the broker's own names are for those who may monitor to ask and hear, and for
/// nobody else to own and publish (`None`).
fn effective(right: Right, object: &str) -> Option<Right> {
    if !object.starts_with(RESERVED_PREFIX) && object != OLD_BROKER {
        return Some(right);
    }
    match right {
        Right::Call | Right::Subscribe => Some(Right::Monitor),
        Right::Own | Right::Publish => None,
        right => Some(right),
    }
}

/// Whether these rules allow some topic that both patterns select.
fn may_overlap<'a>(rules: impl Iterator<Item = &'a Rule>, object: &Pattern, event: &Pattern) -> bool {
    rules.filter(|rule| rule.verdict == Verdict::Allow).any(|rule| {
        let mut named = rule.named.iter().filter(|(right, _)| *right == Right::Subscribe);
        rule.plain.contains(&Right::Monitor) || named.any(|(_, names)| names.overlaps(object, event))
    })
}

/// What a peer is told that may not do something: the action and what would allow it, and not whether the name exists.
#[must_use]
pub fn denial(who: &Principal, right: Right, name: &[u8]) -> String {
    let (object, member) = key::split(name);
    let (object, member) = (String::from_utf8_lossy(object), String::from_utf8_lossy(member));
    let right = effective(right, &object).map_or(right, |effective| {
        if effective == Right::Monitor {
            effective
        } else {
            right
        }
    });
    let what = match (right.has_names(), &*member) {
        (false, _) => String::new(),
        (true, "") => format!(" {object:?}"),
        (true, member) => format!(" {object:?} {member:?}"),
    };
    format!(
        "policy: {who} may not {right}{what}; the operator can add a rule [[allow]] with {right} to the broker's policy"
    )
}

#[cfg(test)]
mod tests;

//! What one peer may do, remembered; and the policy in force, of which all rooms of a broker share one.
//!
//! Owns the memory of decisions and when it is stale. Called by whoever acts on frames of a peer: its session, Registry,
//! TopicHub. Where no policy is set, the answer costs one load and one branch.

use super::rule::{Right, Rule};
use super::{Policy, Principal, decide, may_overlap};
use crate::message::{Pattern, key};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Decisions remembered for one peer. Beyond that it is forgotten and begun anew, so that a peer that asks about ever new
/// names costs work and no memory.
const REMEMBERED: usize = 64;

/// The policy in force. Setting another one is seen by every question that is asked after it.
#[derive(Debug, Default)]
pub struct Slot {
    /// 0 as long as there is no policy. Changes with each policy, after it.
    version: AtomicU64,
    policy: Mutex<Option<Arc<Policy>>>,
}

impl Slot {
    /// A slot with this policy, or without any.
    #[must_use]
    pub fn new(policy: Option<Policy>) -> Self {
        let slot = Self::default();
        if let Some(policy) = policy {
            slot.set(policy);
        }
        slot
    }

    /// Sets the policy. There is no way back to none: a broker that had rules does not open by accident.
    pub fn set(&self, policy: Policy) {
        let mut place = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Arc::new(policy));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Whether there is a policy.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.version.load(Ordering::Acquire) != 0
    }

    /// Changes with each policy.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The policy, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Policy>> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn versioned(&self) -> (u64, Option<Arc<Policy>>) {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        (self.version.load(Ordering::Acquire), policy.clone())
    }
}

/// What one peer may do under the policy in force. Every question names the peer anew; it must be the same one each time.
#[derive(Debug, Default)]
pub struct Rights {
    version: u64,
    policy: Option<Arc<Policy>>,
    /// The rules that are about the peer, by place.
    rules: Vec<usize>,
    /// The last name asked about and the answer, by right: senders send runs of one name.
    last: [(Vec<u8>, bool); 4],
    known: HashMap<Box<[u8]>, bool>,
}

impl Rights {
    /// Whether the peer may do this with the concrete name `key` (an object, or object and member with a zero byte between).
    /// Without a policy it may. The same name as in the last question of this right costs one comparison.
    #[must_use]
    pub fn may(&mut self, slot: &Slot, who: &Principal, right: Right, key: &[u8]) -> bool {
        if !slot.is_set() || who.local {
            return true;
        }
        self.refresh(slot, who);
        let Some(place) = place(right) else {
            return self.decide(right, key);
        };
        if let Some((last, allowed)) = self.last.get(place)
            && !key.is_empty()
            && last.as_slice() == key
        {
            return *allowed;
        }
        let allowed = self.recall(right, key);
        if let Some((last, answer)) = self.last.get_mut(place) {
            last.clear();
            last.extend_from_slice(key);
            *answer = allowed;
        }
        allowed
    }

    /// Whether the peer may know that there is an object of this name: it may monitor, own it, or call something of it.
    #[must_use]
    pub fn sees(&mut self, slot: &Slot, who: &Principal, object: &str) -> bool {
        if !slot.is_set() || who.local {
            return true;
        }
        self.refresh(slot, who);
        let mut asked = [Right::Monitor, Right::Own, Right::Call].into_iter();
        asked.any(|right| self.decide(right, object.as_bytes())) || self.calls_some_of(object)
    }

    /// Whether the peer may call the object, or some method of it: what it must, to have a service started for it.
    #[must_use]
    pub fn may_call_some(&mut self, slot: &Slot, who: &Principal, object: &str) -> bool {
        if !slot.is_set() || who.local {
            return true;
        }
        self.refresh(slot, who);
        self.decide(Right::Call, object.as_bytes()) || self.calls_some_of(object)
    }

    /// Whether a subscription with these patterns could ever hear something.
    #[must_use]
    pub fn may_hear_some(&mut self, slot: &Slot, who: &Principal, object: &Pattern, event: &Pattern) -> bool {
        if !slot.is_set() || who.local {
            return true;
        }
        self.refresh(slot, who);
        may_overlap(self.rules().map(|(_, rule)| rule), object, event)
    }

    /// Some method of the object is allowed, and no rule denies the object as a whole.
    fn calls_some_of(&self, object: &str) -> bool {
        let Some(Right::Call) = super::effective(Right::Call, object) else {
            return false;
        };
        let calls = |rule: &Rule, whole: bool| {
            let mut named = rule.named.iter().filter(|(right, _)| *right == Right::Call);
            named.any(|(_, names)| names.object.matches(object) && !(whole && names.member.is_some()))
        };
        let denied = |rule: &Rule| rule.verdict == super::Verdict::Deny && calls(rule, true);
        let allowed = |rule: &Rule| rule.verdict == super::Verdict::Allow && calls(rule, false);
        !self.rules().any(|(_, rule)| denied(rule)) && self.rules().any(|(_, rule)| allowed(rule))
    }

    fn refresh(&mut self, slot: &Slot, who: &Principal) {
        if self.version == slot.version.load(Ordering::Acquire) {
            return;
        }
        let (version, policy) = slot.versioned();
        let rules = policy.iter().flat_map(|policy| policy.rules.iter().enumerate());
        let rules = rules
            .filter(|(_, rule)| rule.is_about(who))
            .map(|(place, _)| place);
        *self = Self {
            version,
            rules: rules.collect(),
            policy,
            ..Self::default()
        };
    }

    fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        let all = self
            .policy
            .as_ref()
            .map_or(&[][..], |policy| policy.rules.as_slice());
        self.rules
            .iter()
            .filter_map(|place| Some((*place, all.get(*place)?)))
    }

    fn recall(&mut self, right: Right, key: &[u8]) -> bool {
        let mut question = Vec::with_capacity(key.len().saturating_add(1));
        question.push(right.name().as_bytes().first().copied().unwrap_or_default());
        question.extend_from_slice(key);
        if let Some(allowed) = self.known.get(question.as_slice()) {
            return *allowed;
        }
        let allowed = self.decide(right, key);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(question.into(), allowed);
        allowed
    }

    fn decide(&self, right: Right, key: &[u8]) -> bool {
        let (object, member) = key::split(key);
        let (Ok(object), Ok(member)) = (std::str::from_utf8(object), std::str::from_utf8(member)) else {
            return false;
        };
        decide(self.rules(), right, object, member).allowed
    }
}

/// Where the last answer about a right is kept. The first letters of these four differ, too.
const fn place(right: Right) -> Option<usize> {
    match right {
        Right::Own => Some(0),
        Right::Call => Some(1),
        Right::Publish => Some(2),
        Right::Subscribe => Some(3),
        Right::Connect | Right::Monitor => None,
    }
}

#[cfg(test)]
impl Rights {
    /// How many decisions are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.known.len()
    }
}

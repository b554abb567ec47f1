//! Events: what was published on a matching topic, once, in order, with every gap told.
//!
//! Owns the tables of publishes and subscriptions. `publishes.rs` knows when a publish was handled, `heard.rs` judges each event as it
//! comes, `retained.rs` what comes first, `count.rs` the sums at the end.

mod count;
mod heard;
mod publishes;
mod retained;

use crate::asks::Ask;
use crate::run::{Found, Moment};
use crate::{Frame, matcher};
use actix_ipc::message::{Flags, Kind, metadata};
use publishes::Publishes;
use std::collections::{BTreeMap, HashMap, HashSet};

/// One subscription.
#[derive(Debug)]
struct Subscription {
    client: u32,
    id: u64,
    key: Vec<u8>,
    pattern: bool,
    no_local: bool,
    wants_retained: bool,
    group: Option<Vec<u8>>,
    arrived: u64,
    /// When its Done was read; until then it hears nothing.
    done: u64,
    /// When its Unsubscribe arrived, and whether that was answered.
    leaving: Option<u64>,
    left: bool,
    /// Publishes that were heard.
    live: HashSet<usize>,
    retained: HashSet<usize>,
    /// All that was told as missed.
    missed: u64,
    any_live: bool,
    /// An event was heard that nobody can tell from another one.
    blurred: bool,
    /// The publishes that were overtaken and did not come.
    overtaken: HashSet<usize>,
    /// For each publisher and topic how many of its publishes have been passed.
    passed: HashMap<(u32, Vec<u8>), usize>,
    /// The lowest turn heard of each publisher: what it published later was published to this subscription.
    since: HashMap<u32, u64>,
    /// Messages in pieces that are not complete, by the broker's number.
    open: BTreeMap<u32, (usize, Vec<u8>)>,
}

/// The rules' state.
#[derive(Debug, Default)]
pub(crate) struct Events {
    publishes: Publishes,
    /// Every subscription that stood; the current one of a number is the last.
    all: Vec<Subscription>,
    numbers: HashMap<(u32, u64), usize>,
    /// What the members of each queue group have heard.
    groups: HashMap<(Vec<u8>, Vec<u8>, bool), HashSet<usize>>,
    /// How many Subscribes were asked and not answered with Done (yet).
    unanswered: u32,
}

impl Subscription {
    fn new(client: u32, ask: &Ask, done: u64) -> Self {
        let frame = &ask.frame;
        let group = metadata::get(&frame.meta, metadata::GROUP).map(<[u8]>::to_vec);
        Self {
            client,
            id: frame.id,
            key: frame.key.clone(),
            pattern: frame.has(Flags::PATTERN),
            no_local: frame.has(Flags::NO_LOCAL),
            wants_retained: group.is_none() && !frame.has(Flags::NO_RETAINED),
            group,
            arrived: ask.asked.at,
            done,
            leaving: None,
            left: false,
            live: HashSet::new(),
            retained: HashSet::new(),
            missed: 0,
            any_live: false,
            blurred: false,
            overtaken: HashSet::new(),
            passed: HashMap::new(),
            since: HashMap::new(),
            open: BTreeMap::new(),
        }
    }

    fn selects(&self, topic: &[u8]) -> bool {
        matcher::topic(&self.key, self.pattern, topic)
    }

    /// Its group, when it is in one. A pattern without wildcards counts as none.
    fn group_key(&self) -> Option<(Vec<u8>, Vec<u8>, bool)> {
        let wild = self.pattern && self.key.contains(&b'*');
        Some((self.group.clone()?, self.key.clone(), wild))
    }
}

impl Events {
    /// A frame that arrived.
    pub(crate) fn arrived(&mut self, client: u32, frame: &Frame, now: Moment) {
        match frame.kind {
            Kind::Publish | Kind::PublishPiece | Kind::Will => self.publishes.arrived(client, frame, now.at),
            Kind::Subscribe => self.unanswered = self.unanswered.saturating_add(1),
            Kind::Unsubscribe => {
                let index = self.numbers.get(&(client, frame.id));
                if let Some(subscription) = index.and_then(|index| self.all.get_mut(*index)) {
                    subscription.leaving = subscription.leaving.or(Some(now.at));
                }
            }
            _ => {}
        }
    }

    /// A request about topics was answered.
    pub(crate) fn answered(&mut self, client: u32, ask: &Ask, answer: &Frame, at: u64, found: &mut Found) {
        let done = answer.kind == Kind::Done;
        match ask.frame.kind {
            Kind::Publish => self.publishes.answered(client, ask, answer, at),
            Kind::Will => self.publishes.will_answered(client, ask, answer),
            Kind::Subscribe if done => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.numbers.insert((client, answer.id), self.all.len());
                self.all.push(Subscription::new(client, ask, at));
                let legal = match ask.frame.has(Flags::PATTERN) {
                    true => matcher::pair(&ask.frame.key).is_some_and(|(object, event)| {
                        matcher::is_pattern(object) && matcher::is_pattern(event)
                    }),
                    false => matcher::pair(&ask.frame.key).is_some(),
                };
                if !legal {
                    found.add("subscribe", client, at, "Done for a key that is none");
                }
            }
            Kind::Unsubscribe if done => {
                let index = self.numbers.get(&(client, answer.id));
                if let Some(subscription) = index.and_then(|index| self.all.get_mut(*index)) {
                    subscription.left = true;
                }
            }
            _ => {}
        }
        if matches!(ask.frame.kind, Kind::Subscribe | Kind::Unsubscribe | Kind::Will) && answer.aux != 16 {
            self.publishes.handled_before(client, ask.asked.at, at);
        }
    }
}

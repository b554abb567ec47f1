//! Sequences of operations on TopicHub's core, against lists that are scanned.
//!
//! Owns the model: open subscriptions, retained values and wills as plain lists, by the rules of section 8 of
//! `docs/protocol.md`. After some operations the index is thrown away and rebuilt from the facts, as after a panic.

use crate::input::Input;
use crate::patterns::{is_pattern, selects, text};
use actix_ipc::actors::topic_hub::facts::{Fact, Facts, Policy, Retained, Subscription, Will};
use actix_ipc::actors::topic_hub::index::{Index, RETAINED_OVERHEAD, RetainLimits};
use actix_ipc::message::{Encoding, Origin, SubscriptionId, Ticket, key};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

const PEERS: usize = 4;
const LIMITS: RetainLimits = RetainLimits {
    value: 64,
    total: 1200,
    user_part: 1,
};

#[derive(Clone, Debug)]
struct Sub {
    peer: u8,
    id: u64,
    object: String,
    event: String,
    pattern: bool,
    no_local: bool,
    group: Option<&'static str>,
}

impl Sub {
    fn hears(&self, object: &str, event: &str, publisher: u8) -> bool {
        let selected = if self.pattern {
            selects(&self.object, object) && selects(&self.event, event)
        } else {
            self.object == object && self.event == event
        };
        selected && !(self.no_local && self.peer == publisher)
    }

    /// Members of one group: the same name, key and kind of key.
    fn group(&self) -> Option<(&'static str, &str, &str, bool)> {
        let wild = self.pattern && (self.object.contains('*') || self.event.contains('*'));
        self.group
            .map(|group| (group, &self.object[..], &self.event[..], wild))
    }
}

#[derive(Default)]
struct Model {
    subs: Vec<Sub>,
    retained: BTreeMap<(String, String), Vec<u8>>,
    wills: BTreeMap<u8, (String, String)>,
}

struct Room {
    index: Index<u8>,
    facts: Facts<u8>,
    ticket: u64,
}

impl Room {
    fn ticket(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    fn rebuild(&mut self) {
        self.index = Index::rebuild(&self.facts);
    }
}

fn legal_topic(object: &str, event: &str) -> bool {
    [object, event]
        .iter()
        .all(|half| crate::names::is_name(half.as_bytes()).is_some())
}

/// Input: a list of operations.
pub(crate) fn operations(data: &[u8]) {
    let mut input = Input::new(data);
    let mut room = Room {
        index: Index::new(),
        facts: Facts::new(),
        ticket: 0,
    };
    let mut model = Model::default();
    let mut steps = 0;
    while !input.is_empty() && steps < 200 {
        steps += 1;
        let peer = input.below(PEERS) as u8;
        match input.below(16) {
            0..=5 => subscribe(&mut room, &mut model, peer, &mut input),
            6 | 7 => unsubscribe(&mut room, &mut model, peer, &mut input),
            8 | 9 => retain(&mut room, &mut model, &mut input),
            10 => will(&mut room, &mut model, peer, &mut input),
            11 => gone(&mut room, &mut model, peer),
            12 => room.rebuild(),
            _ => {
                let (object, event) = (text(&mut input), text(&mut input));
                heard(&mut room, &model, &object, &event, peer);
            }
        }
        let counted = |peer| model.subs.iter().filter(|sub| sub.peer == peer).count();
        for peer in 0..PEERS as u8 {
            assert_eq!(room.facts.subscriptions(peer), counted(peer));
        }
    }
    the_end(&mut room, &mut model);
}

fn subscribe(room: &mut Room, model: &mut Model, peer: u8, input: &mut Input<'_>) {
    let sub = Sub {
        peer,
        id: input.below(8) as u64,
        object: text(input),
        event: text(input),
        pattern: input.flag(),
        no_local: input.flag(),
        group: input.pick(&[None, None, Some("g"), Some("h")]),
    };
    if sub.object.contains('\0') || sub.event.contains('\0') {
        return;
    }
    let ticket = room.ticket();
    let subscription = Subscription {
        peer,
        id: SubscriptionId(sub.id),
        key: key::join(&sub.object, &sub.event).into(),
        pattern: sub.pattern,
        no_local: sub.no_local,
        group: sub.group.map(Into::into),
        policy: Policy::Hold,
    };
    let mut effects = Vec::new();
    let accepted = room.index.subscribe(ticket, subscription, &mut effects).is_ok();
    assert!(accepted || effects.is_empty(), "a refusal changes nothing");
    room.facts.commit(&mut effects);
    let free = !model
        .subs
        .iter()
        .any(|open| (open.peer, open.id) == (peer, sub.id));
    let legal = match sub.pattern {
        true => is_pattern(&sub.object) && is_pattern(&sub.event),
        false => legal_topic(&sub.object, &sub.event),
    };
    assert_eq!(accepted, free && legal, "{sub:?}");
    if accepted {
        let (object, event) = (sub.object.clone(), sub.event.clone());
        retained_for(room, model, &sub);
        model.subs.push(sub);
        heard(room, model, &object, &event, peer);
    }
}

fn unsubscribe(room: &mut Room, model: &mut Model, peer: u8, input: &mut Input<'_>) {
    let id = input.below(8) as u64;
    let mut effects = Vec::new();
    let ended = room
        .index
        .unsubscribe(peer, SubscriptionId(id), &mut effects)
        .is_ok();
    room.facts.commit(&mut effects);
    let before = model.subs.len();
    model.subs.retain(|open| (open.peer, open.id) != (peer, id));
    assert_eq!(ended, model.subs.len() < before);
}

fn value(payload: &[u8]) -> Retained {
    Retained {
        encoding: Encoding::RAW,
        meta: Bytes::new(),
        payload: Bytes::copy_from_slice(payload),
        origin: Origin::default(),
    }
}

fn retain(room: &mut Room, model: &mut Model, input: &mut Input<'_>) {
    let (object, event) = (text(input), text(input));
    if !legal_topic(&object, &event) {
        return;
    }
    let payload = vec![7; input.below(70)];
    let ticket = room.ticket();
    let topic = key::join(&object, &event);
    let mut effects = Vec::new();
    let kept = room
        .index
        .retain(ticket, &topic, value(&payload), LIMITS, &mut effects);
    room.facts.commit(&mut effects);
    let cost = |key: &(String, String), value: &[u8]| {
        key.0.len() + 1 + key.1.len() + value.len() + RETAINED_OVERHEAD
    };
    let topic = (object, event);
    let others: usize = model
        .retained
        .iter()
        .filter(|(key, _)| **key != topic)
        .map(|(key, value)| cost(key, value))
        .sum();
    // One process gets at least half of what its user has; how much more, the shares decide.
    let below = |part: usize| {
        let small = payload.len() <= LIMITS.value && others + cost(&topic, &payload) <= LIMITS.total / part;
        payload.is_empty() || small
    };
    let fits = kept.is_ok();
    assert!(below(1) || !fits, "kept above the limit");
    assert!(fits || !below(2), "refused below it: {kept:?}");
    if payload.is_empty() {
        model.retained.remove(&topic);
    } else if fits {
        model.retained.insert(topic, payload);
    }
    let all: usize = model.retained.iter().map(|(key, value)| cost(key, value)).sum();
    assert_eq!(room.index.retained_bytes(), all);
}

fn retained_for(room: &Room, model: &Model, sub: &Sub) {
    let topic = key::join(&sub.object, &sub.event);
    let found: Vec<(Vec<u8>, Vec<u8>)> = room
        .index
        .retained_for(&topic, sub.pattern)
        .map(|(key, value)| (key.to_vec(), value.payload.to_vec()))
        .collect();
    let mut wanted: Vec<(Vec<u8>, Vec<u8>)> = model
        .retained
        .iter()
        .filter(|((object, event), _)| {
            Sub {
                no_local: false,
                ..sub.clone()
            }
            .hears(object, event, 0)
        })
        .map(|((object, event), value)| (key::join(object, event), value.clone()))
        .collect();
    wanted.sort();
    assert_eq!(found, wanted, "{sub:?}");
}

fn will(room: &mut Room, model: &mut Model, peer: u8, input: &mut Input<'_>) {
    let (object, event) = (text(input), text(input));
    let back = input.flag();
    if !back && !legal_topic(&object, &event) {
        return;
    }
    let key = if back {
        Vec::new()
    } else {
        key::join(&object, &event)
    };
    let payload = Bytes::from(vec![1; input.below(70)]);
    let fits = payload.len() <= LIMITS.value;
    let will = Will {
        key: key.into(),
        retain: false,
        encoding: Encoding::RAW,
        meta: Bytes::new(),
        payload,
    };
    let ticket = room.ticket();
    let mut effects = Vec::new();
    let set = room.index.set_will(ticket, peer, will, LIMITS, &mut effects);
    room.facts.commit(&mut effects);
    assert_eq!(set.is_ok(), fits);
    if fits && back {
        model.wills.remove(&peer);
    } else if fits {
        model.wills.insert(peer, (object, event));
    }
}

fn gone(room: &mut Room, model: &mut Model, peer: u8) {
    let mut effects = Vec::new();
    let will = room.index.gone(peer, &mut effects);
    room.facts.commit(&mut effects);
    model.subs.retain(|open| open.peer != peer);
    let wanted = model
        .wills
        .remove(&peer)
        .map(|(object, event)| key::join(&object, &event));
    assert_eq!(will.map(|will| will.key.to_vec()), wanted);
    assert_eq!(room.facts.subscriptions(peer), 0);
}

/// Every plain subscription that selects the topic hears it, and one member of each group.
fn heard(room: &mut Room, model: &Model, object: &str, event: &str, publisher: u8) {
    if !legal_topic(object, event) {
        return;
    }
    let found = room
        .index
        .matching(&key::join(object, event), publisher, |_, _| false);
    let mut rest: BTreeSet<(u8, u64)> = found.iter().map(|to| (to.peer, to.subscription.0)).collect();
    assert_eq!(rest.len(), found.len(), "each subscription once");
    let mut groups: BTreeMap<_, Vec<(u8, u64)>> = BTreeMap::new();
    for sub in model
        .subs
        .iter()
        .filter(|sub| sub.hears(object, event, publisher))
    {
        match sub.group() {
            None => assert!(
                rest.remove(&(sub.peer, sub.id)),
                "{sub:?} is not told of {object:?} {event:?}"
            ),
            Some(group) => groups.entry(group).or_default().push((sub.peer, sub.id)),
        }
    }
    for (group, members) in groups {
        let chosen: Vec<_> = members.iter().filter(|member| rest.contains(member)).collect();
        assert_eq!(chosen.len(), 1, "of {group:?}");
        rest.remove(chosen[0]);
    }
    assert!(
        rest.is_empty(),
        "{rest:?} have no business with {object:?} {event:?}"
    );
}

fn the_end(room: &mut Room, model: &mut Model) {
    room.rebuild();
    for sub in model.subs.clone() {
        heard(room, model, &sub.object, &sub.event, (sub.peer + 1) % PEERS as u8);
    }
    for peer in 0..PEERS as u8 {
        gone(room, model, peer);
    }
    assert!(
        room.facts
            .iter()
            .all(|(_, fact)| matches!(fact, Fact::Retained { .. }))
    );
    assert_eq!(room.facts.len(), model.retained.len());
}

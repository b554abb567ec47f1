//! Patterns and the hub's trie, against a matcher that splits both texts and compares them level by level.
//!
//! Owns that matcher and the alphabet in which the fuzzer writes names: few letters, so that they meet.

use crate::input::Input;
use actix_ipc::actors::topic_hub::facts::{Policy, Subscription};
use actix_ipc::actors::topic_hub::index::Index;
use actix_ipc::message::{Pattern, SubscriptionId, Ticket, key};
use std::collections::BTreeSet;

/// Pieces of which names and patterns are made.
const PIECES: &[&str] = &[
    ".", ".", ".", "*", "**", "a", "b", "c", "ab", "room", "*a", "***", "\u{e9}", "\u{85}", " ", "a.b", "*.",
    ".**",
];

/// Whether this text is a pattern: a name of at most 32 levels, where `*` is a whole level and `**` a last one.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    let levels: Vec<&str> = text.split('.').collect();
    let last = levels.len() - 1;
    let legal = |(index, level): (usize, &&str)| match *level {
        "*" => true,
        "**" => index == last,
        other => !other.contains('*'),
    };
    crate::names::is_name(text.as_bytes()).is_some()
        && levels.len() <= 32
        && levels.iter().enumerate().all(legal)
}

/// Whether the pattern selects the name: the table of section 5.
#[must_use]
pub fn selects(pattern: &str, name: &str) -> bool {
    fn rest(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (["**"], [_, ..]) => true,
            (["*", more @ ..], [_, left @ ..]) => rest(more, left),
            ([text, more @ ..], [level, left @ ..]) => text == level && rest(more, left),
            _ => false,
        }
    }
    rest(
        &pattern.split('.').collect::<Vec<_>>(),
        &name.split('.').collect::<Vec<_>>(),
    )
}

/// A text of the alphabet, or (seldom) of any bytes.
pub(crate) fn text(input: &mut Input<'_>) -> String {
    let length = match input.byte() {
        0..=199 => input.below(6) + 1,
        200..=229 => input.below(70),
        230..=239 => {
            let count = input.below(300);
            return String::from_utf8_lossy(input.bytes(count)).into_owned();
        }
        _ => 1,
    };
    (0..length).map(|_| input.pick(PIECES)).collect()
}

/// Input: a list of subscriptions, withdrawals and look-ups.
pub fn patterns(data: &[u8]) {
    let mut input = Input::new(data);
    let mut index: Index<u8> = Index::new();
    let mut open: Vec<(u64, String, String, bool)> = Vec::new();
    let mut ticket = 0;
    let mut effects = Vec::new();
    while !input.is_empty() {
        let (object, event) = (text(&mut input), text(&mut input));
        one_pattern(&object, &event);
        match input.below(4) {
            0 | 1 => {
                ticket += 1;
                let wild = input.flag();
                let subscription = Subscription {
                    peer: 0_u8,
                    id: SubscriptionId(ticket),
                    key: key::join(&object, &event).into(),
                    pattern: wild,
                    no_local: false,
                    group: None,
                    policy: Policy::Hold,
                };
                let legal = |text: &str| {
                    if wild {
                        is_pattern(text)
                    } else {
                        crate::names::is_name(text.as_bytes()).is_some()
                    }
                };
                // A text that holds the separator itself makes another pair of halves.
                if object.contains('\0') || event.contains('\0') {
                    continue;
                }
                let accepted = index.subscribe(Ticket(ticket), subscription, &mut effects);
                assert_eq!(
                    accepted.is_ok(),
                    legal(&object) && legal(&event),
                    "{object:?} {event:?} {wild}"
                );
                if accepted.is_ok() {
                    open.push((ticket, object, event, wild));
                }
            }
            2 if !open.is_empty() => {
                let (id, ..) = open.swap_remove(input.below(open.len()));
                index
                    .unsubscribe(0, SubscriptionId(id), &mut effects)
                    .expect("it is open");
            }
            _ => looked_up(&mut index, &open, &object, &event),
        }
        effects.clear();
    }
    let names: Vec<(String, String)> = open
        .iter()
        .map(|(_, object, event, _)| (object.clone(), event.clone()))
        .collect();
    for (object, event) in names {
        looked_up(&mut index, &open, &object, &event);
    }
}

fn looked_up(index: &mut Index<u8>, open: &[(u64, String, String, bool)], object: &str, event: &str) {
    let topic = |text: &str| crate::names::is_name(text.as_bytes()).is_some();
    if !topic(object) || !topic(event) {
        return;
    }
    let wanted: BTreeSet<u64> = open
        .iter()
        .filter(|(_, of_object, of_event, wild)| match wild {
            true => selects(of_object, object) && selects(of_event, event),
            false => of_object == object && of_event == event,
        })
        .map(|(id, ..)| *id)
        .collect();
    let found = index.matching(&key::join(object, event), 1, |_, _| false);
    assert_eq!(
        found.len(),
        wanted.len(),
        "each subscription once: {found:?} for {wanted:?}"
    );
    let ids: BTreeSet<u64> = found.iter().map(|to| to.subscription.0).collect();
    assert_eq!(ids, wanted, "{object:?} {event:?}");
}

fn one_pattern(pattern: &str, name: &str) {
    match Pattern::new(pattern) {
        Ok(real) => {
            assert!(is_pattern(pattern), "{pattern:?}");
            assert_eq!(real.as_str(), pattern);
            assert_eq!(real.levels().count(), pattern.split('.').count());
            assert_eq!(real.matches(name), selects(pattern, name), "{pattern:?} {name:?}");
        }
        Err(_) => assert!(!is_pattern(pattern), "{pattern:?}"),
    }
}

//! Which answers belong to the calls of one method.
//!
//! Owns the tickets of the calls that were chosen: an answer does not say its method, so the broker sends those of all methods of an
//! object. Called by `tap`.

use super::open_calls::OpenCalls;
use super::tap::Filter;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What decides whether a record stays.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Brief {
    kind: String,
    ticket: Option<u64>,
    last: Option<bool>,
    one_way: bool,
}

/// Chooses answers by their calls.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Calls are shown, and not only asked for to know their answers.
    calls: bool,
    open: OpenCalls<()>,
}

impl Answers {
    /// What is needed for the filter, which is changed to what the broker must send for it; nothing where the broker chooses alone.
    pub(crate) fn of(filter: &mut Filter) -> Option<Self> {
        let has = |filter: &Filter, kind: &str| {
            filter.kinds.is_empty() || filter.kinds.iter().any(|one| one == kind)
        };
        if filter.member.is_none() || !has(filter, "reply") {
            return None;
        }
        let calls = has(filter, "call");
        if !calls {
            filter.kinds.push("call".to_owned());
        }
        Some(Self {
            calls,
            ..Self::default()
        })
    }

    /// The broker is another one, which counts its tickets from the beginning.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// Whether the record stays.
    pub(crate) fn keeps(&mut self, raw: &RawValue) -> bool {
        let Ok(brief) = serde_json::from_str::<Brief>(raw.get()) else {
            return true;
        };
        match (brief.kind.as_str(), brief.ticket) {
            ("call", Some(ticket)) => {
                if !brief.one_way {
                    self.open.insert(ticket, ());
                }
                self.calls
            }
            ("reply", Some(ticket)) if brief.last == Some(false) => self.open.get(ticket).is_some(),
            ("reply", Some(ticket)) => self.open.remove(ticket).is_some(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn kept(kinds: &[&str], records: &[Value]) -> Vec<usize> {
        let mut filter = Filter {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            member: Some("add".into()),
            ..Filter::default()
        };
        let mut answers = Answers::of(&mut filter).unwrap();
        assert!(filter.kinds.is_empty() || filter.kinds.iter().any(|kind| kind == "call"));
        let raw = |record: &Value| RawValue::from_string(record.to_string()).unwrap();
        let places = records.iter().enumerate();
        places
            .filter(|(_, record)| answers.keeps(&raw(record)))
            .map(|(place, _)| place)
            .collect()
    }

    #[test]
    fn answers_of_other_methods_go() {
        let traffic = [
            json!({"kind": "reply", "ticket": 1, "last": true}),
            json!({"kind": "call", "ticket": 2}),
            json!({"kind": "reply", "ticket": 3, "last": true}),
            json!({"kind": "reply", "ticket": 2, "last": false}),
            json!({"kind": "reply", "ticket": 2, "last": true}),
            json!({"kind": "reply", "ticket": 2, "last": true}),
            json!({"kind": "event"}),
            json!({"kind": "call", "ticket": 4, "one_way": true}),
            json!({"kind": "reply", "ticket": 4, "last": true}),
        ];
        assert_eq!(kept(&[], &traffic), [1, 3, 4, 6, 7]);
        assert_eq!(kept(&["reply"], &traffic), [3, 4, 6]);
    }

    #[test]
    fn where_the_broker_chooses_alone_nothing_is_needed() {
        let filter = |kinds: &[&str], member: Option<&str>| Filter {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            member: member.map(str::to_owned),
            ..Filter::default()
        };
        for mut filter in [filter(&[], None), filter(&["call", "event"], Some("add"))] {
            let before = filter.clone();
            assert!(Answers::of(&mut filter).is_none());
            assert_eq!(filter, before);
        }
    }
}

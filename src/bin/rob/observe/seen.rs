//! What is there: names, connections and subscriptions, how each is told, and what is different from before.
//!
//! Owns the set and the comparison after a time without a connection. No clock, no broker. Called by `watch`.

use super::words::{cut, safe, time_of_day};
use actix_ipc::terminal::printable;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What kind of thing comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A program.
    Connection,
    /// An object's name.
    Name,
    /// What a program hears.
    Subscription,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Name => "name",
            Self::Subscription => "subscription",
        }
    }
}

/// Something that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Thing {
    /// What it is.
    pub(crate) kind: Kind,
    /// The object's name, or the one that a connection declares.
    pub(crate) name: String,
    /// The topic of a subscription.
    pub(crate) topic: Option<String>,
    /// Both are patterns.
    pub(crate) pattern: bool,
    /// Whose it is.
    pub(crate) peer: u64,
    /// In which process; 0 when unknown.
    pub(crate) pid: u32,
    /// Of which user; none when unknown.
    pub(crate) uid: Option<u32>,
}

impl Thing {
    /// The same to somebody who does not care about the numbers of connections, which change with each.
    pub(crate) fn apart_from_peer(&self) -> Self {
        Self {
            peer: 0,
            ..self.clone()
        }
    }

    /// How it is called, as people may see it.
    pub(crate) fn subject(&self) -> String {
        match (&self.topic, self.kind) {
            (Some(topic), _) => format!("{}.{}", printable(&self.name), printable(topic)),
            (None, Kind::Connection) if self.name.is_empty() => "-".to_owned(),
            (None, Kind::Connection) => format!("\"{}\"", printable(&self.name)),
            (None, _) => safe(&self.name),
        }
    }

    fn who(&self) -> String {
        let mut who = format!("peer {}", self.peer);
        if self.pid != 0 {
            who.push_str(&format!("  pid {}", self.pid));
        }
        if let Some(uid) = self.uid {
            who.push_str(&format!("  uid {uid}"));
        }
        if self.pattern {
            who.push_str("  (a pattern)");
        }
        who
    }
}

/// What is said of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It was there before the watch.
    Present,
    /// It is there now.
    Appeared,
    /// It is not there any more.
    Vanished,
}

impl What {
    /// In a word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Appeared => "appeared",
            Self::Vanished => "vanished",
        }
    }
}

/// The line above all others, without its break.
pub(crate) fn heading() -> String {
    format!(
        "{:<15}  {:<8}  {:<12}  {:<28}  WHO",
        "TIME (UTC)", "WHAT", "KIND", "NAME"
    )
}

/// A line for people, without colours and without its break: what stands before the word, the word, and what stands behind it.
pub(crate) fn people(at_us: u64, what: What, thing: &Thing) -> (String, String, String) {
    let subject = cut(&thing.subject(), 64);
    let rest = format!("{:<12}  {subject:<28}  {}", thing.kind.name(), thing.who());
    (time_of_day(at_us), format!("{:<8}", what.name()), rest)
}

/// A line for programs, without its break. `away`: it changed while there was no connection.
pub(crate) fn program(at_us: u64, what: What, thing: &Thing, away: bool) -> Value {
    let mut line = Map::new();
    line.insert("at_us".into(), at_us.into());
    line.insert("what".into(), what.name().into());
    line.insert("kind".into(), thing.kind.name().into());
    let name = if thing.topic.is_some() { "object" } else { "name" };
    line.insert(name.into(), thing.name.as_str().into());
    if let Some(topic) = &thing.topic {
        line.insert("topic".into(), topic.as_str().into());
        line.insert("pattern".into(), thing.pattern.into());
    }
    line.insert("peer".into(), thing.peer.into());
    line.insert("pid".into(), json!((thing.pid != 0).then_some(thing.pid)));
    line.insert("uid".into(), json!(thing.uid));
    if away {
        line.insert("away".into(), true.into());
    }
    Value::Object(line)
}

/// Everything that is there; one thing may be there several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(HashMap<Thing, usize>);

impl Seen {
    /// It is there.
    pub(crate) fn add(&mut self, thing: Thing) {
        let times = self.0.entry(thing).or_default();
        *times = times.saturating_add(1);
    }

    /// It is not there any more. Returns whether it was.
    pub(crate) fn remove(&mut self, thing: &Thing) -> bool {
        let Some(times) = self.0.get_mut(thing) else {
            return false;
        };
        *times = times.saturating_sub(1);
        if *times == 0 {
            self.0.remove(thing);
        }
        true
    }

    /// Only what is told of stays.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Thing) -> bool) {
        self.0.retain(|thing, _| stays(thing));
    }

    /// Whether it is there.
    pub(crate) fn has(&self, thing: &Thing) -> bool {
        self.0.contains_key(thing)
    }

    /// Everything, in order: connections, names, subscriptions.
    pub(crate) fn all(&self) -> Vec<&Thing> {
        let mut all: Vec<&Thing> = self.0.keys().collect();
        all.sort();
        all
    }

    /// What was there and is not, what is there and was not, and how much is as before. Things that came back under the number of another
    /// connection are as before: every connection of a broker that was started again has a new one.
    pub(crate) fn changed(&self, now: &Self) -> (Vec<Thing>, Vec<Thing>, usize) {
        let mut left: HashMap<Thing, Vec<&Thing>> = HashMap::new();
        for (thing, times) in &now.0 {
            let same = left.entry(thing.apart_from_peer()).or_default();
            same.extend(std::iter::repeat_n(thing, *times));
        }
        let (mut vanished, mut unchanged) = (Vec::new(), 0_usize);
        for (thing, times) in &self.0 {
            for _ in 0..*times {
                match left.get_mut(&thing.apart_from_peer()).and_then(Vec::pop) {
                    Some(_) => unchanged = unchanged.saturating_add(1),
                    None => vanished.push(thing.clone()),
                }
            }
        }
        let mut appeared: Vec<Thing> = left.into_values().flatten().cloned().collect();
        vanished.sort();
        appeared.sort();
        (vanished, appeared, unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(kind: Kind, name: &str, peer: u64, pid: u32) -> Thing {
        Thing {
            kind,
            name: name.into(),
            topic: (kind == Kind::Subscription).then(|| "t".into()),
            pattern: false,
            peer,
            pid,
            uid: (pid != 0).then_some(1000),
        }
    }

    #[test]
    fn each_kind_has_its_line() {
        let line = |what, thing: &Thing| {
            let (time, word, rest) = people(47_000_123, what, thing);
            format!("{time}  {word}  {rest}")
        };
        let name = thing(Kind::Name, "ma\u{1b}th", 7, 12);
        assert_eq!(
            line(What::Appeared, &name),
            "00:00:47.000123  appeared  name          ma\\u{1b}th                    peer 7  pid 12  uid 1000"
        );
        assert_eq!(
            line(What::Present, &thing(Kind::Connection, "", 8, 0)),
            "00:00:47.000123  present   connection    -                             peer 8"
        );
        let mut heard = thing(Kind::Subscription, "sensor", 9, 0);
        heard.pattern = true;
        assert_eq!(
            line(What::Vanished, &heard),
            "00:00:47.000123  vanished  subscription  sensor.t                      peer 9  (a pattern)"
        );
        assert_eq!(
            program(5, What::Vanished, &heard, true).to_string(),
            r#"{"at_us":5,"away":true,"kind":"subscription","object":"sensor","pattern":true,"peer":9,"pid":null,"topic":"t","uid":null,"what":"vanished"}"#
        );
    }

    #[test]
    fn what_came_back_under_another_number_is_as_before() {
        let (mut before, mut now) = (Seen::default(), Seen::default());
        for one in [
            thing(Kind::Name, "stays", 7, 12),
            thing(Kind::Name, "goes", 7, 12),
            thing(Kind::Name, "changes hands", 7, 12),
            thing(Kind::Connection, "demo", 7, 12),
            thing(Kind::Connection, "demo", 8, 12),
        ] {
            before.add(one);
        }
        for one in [
            thing(Kind::Name, "stays", 1, 12),
            thing(Kind::Name, "changes hands", 2, 99),
            thing(Kind::Name, "new", 1, 12),
            thing(Kind::Connection, "demo", 1, 12),
        ] {
            now.add(one);
        }
        let (vanished, appeared, unchanged) = before.changed(&now);
        let names = |things: &[Thing]| things.iter().map(|thing| thing.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&vanished), ["demo", "changes hands", "goes"]);
        assert_eq!(names(&appeared), ["changes hands", "new"]);
        assert_eq!(unchanged, 2);
    }

    #[test]
    fn a_thing_may_be_there_twice() {
        let mut seen = Seen::default();
        let one = thing(Kind::Subscription, "o", 7, 0);
        seen.add(one.clone());
        seen.add(one.clone());
        assert!(
            seen.remove(&one) && seen.has(&one) && seen.remove(&one) && !seen.has(&one) && !seen.remove(&one)
        );
    }
}

//! The judge of a run: lays the journals of all its processes together and looks for what must not be.
//!
//! Owns the properties: one outcome for each call, at most one run of it and none when the outcome says so, the order of each
//! publisher, every gap told, nothing lost that was acknowledged. Knows no broker; it reads what the processes wrote.

use crate::journal::{Entry, Line};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The journals by process.
pub type Journals = BTreeMap<u64, Vec<Line>>;

/// What a run amounts to, for people.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub processes: usize,
    pub calls: usize,
    pub outcomes: BTreeMap<String, usize>,
    pub open_at_kill: usize,
    pub ran: usize,
    pub published: usize,
    pub accepted: usize,
    pub heard: usize,
    pub missed: u64,
    pub interruptions: usize,
}

/// Judges. Every complaint is one thing that must not be.
pub fn check(journals: &Journals) -> (Counts, Vec<String>) {
    let mut counts = Counts {
        processes: journals.len(),
        ..Counts::default()
    };
    let mut complaints = Vec::new();
    calls(journals, &mut counts, &mut complaints);
    let published = published(journals, &mut counts, &mut complaints);
    for (process, lines) in journals {
        if lines.iter().any(|line| line.entry == Entry::Subscribed) {
            Hearing::new(*process, &published).judge(lines, &mut counts, &mut complaints);
        }
    }
    (counts, complaints)
}

fn calls(journals: &Journals, counts: &mut Counts, complaints: &mut Vec<String>) {
    let mut ran: HashMap<u64, usize> = HashMap::new();
    for line in journals.values().flatten() {
        if let Entry::Ran { call } = line.entry {
            *ran.entry(call).or_default() += 1;
            counts.ran += 1;
        }
    }
    for (process, lines) in journals {
        let mut open = HashSet::new();
        let mut over = HashSet::new();
        for line in lines {
            match &line.entry {
                Entry::Called { call } => {
                    counts.calls += 1;
                    if !open.insert(*call) {
                        complaints.push(format!("process {process} made call {call:#x} twice"));
                    }
                }
                Entry::Ended {
                    call,
                    code,
                    may_have_run,
                } => {
                    if !open.remove(call) || !over.insert(*call) {
                        complaints.push(format!("call {call:#x} ended more than once, or was never made"));
                    }
                    let times = ran.get(call).copied().unwrap_or(0);
                    let known = code.is_none() && times == 0 || !may_have_run && times > 0;
                    if known || code.as_deref() == Some("WrongAnswer") {
                        complaints.push(format!(
                            "call {call:#x} ran {times} times and ended with {:?}",
                            line.entry
                        ));
                    }
                    let kind = code.as_deref().unwrap_or("Ok");
                    let kind = format!("{kind}{}", if !may_have_run { ", did not run" } else { "" });
                    *counts.outcomes.entry(kind).or_default() += 1;
                }
                _ => {}
            }
        }
        let stopped = lines.last().is_some_and(|line| line.entry == Entry::Stopped);
        counts.open_at_kill += open.len();
        if stopped && !open.is_empty() {
            complaints.push(format!("{} calls of process {process} never ended", open.len()));
        }
    }
    for (call, times) in ran.iter().filter(|(_, times)| **times > 1) {
        complaints.push(format!("call {call:#x} ran {times} times"));
    }
}

/// What became of a publish: when it began, whether it certainly got into the order of its connection, and whether it was accepted.
struct Publish {
    at: u64,
    sent: bool,
    accepted: bool,
}

type Published = HashMap<u64, BTreeMap<u64, Publish>>;

fn published(journals: &Journals, counts: &mut Counts, complaints: &mut Vec<String>) -> Published {
    let mut all: Published = HashMap::new();
    for (process, lines) in journals {
        for line in lines {
            let (Entry::Publishing { number }
            | Entry::Sent { number }
            | Entry::Accepted { number }
            | Entry::Failed { number, .. }) = line.entry
            else {
                continue;
            };
            let of = all.entry(*process).or_default();
            if matches!(line.entry, Entry::Publishing { .. }) {
                counts.published += 1;
                let began = Publish {
                    at: line.at,
                    sent: false,
                    accepted: false,
                };
                if of.insert(number, began).is_some() {
                    complaints.push(format!("process {process} published {number} twice"));
                }
            } else if let Some(publish) = of.get_mut(&number) {
                publish.accepted = matches!(line.entry, Entry::Accepted { .. });
                publish.sent = publish.accepted || matches!(line.entry, Entry::Sent { .. });
                counts.accepted += usize::from(publish.accepted);
            }
        }
    }
    all
}

/// One subscription between two interruptions.
struct Hearing<'a> {
    process: u64,
    published: &'a Published,
    /// Since when it certainly hears.
    since: u64,
    /// The numbers that were heard, by publisher.
    heard: HashMap<u64, HashSet<u64>>,
    missed: u64,
    /// The last number ever heard, by publisher: also across interruptions.
    last: HashMap<u64, u64>,
}

impl<'a> Hearing<'a> {
    fn new(process: u64, published: &'a Published) -> Self {
        Self {
            process,
            published,
            since: u64::MAX,
            heard: HashMap::new(),
            missed: 0,
            last: HashMap::new(),
        }
    }

    fn judge(mut self, lines: &[Line], counts: &mut Counts, complaints: &mut Vec<String>) {
        for line in lines {
            match line.entry {
                Entry::Subscribed => self.since = line.at,
                Entry::Gap { missed } => self.missed += missed,
                Entry::Interrupted => self.interrupted(line.at, counts, complaints),
                Entry::Heard {
                    publisher,
                    number,
                    missed,
                    interrupted,
                } => {
                    if interrupted {
                        self.interrupted(line.at, counts, complaints);
                    }
                    self.missed += missed;
                    self.hear(publisher, number, complaints);
                    self.since = self.since.min(line.at);
                    counts.heard += 1;
                }
                Entry::Stopped => self.end(None, counts, complaints),
                _ => {}
            }
        }
    }

    fn hear(&mut self, publisher: u64, number: u64, complaints: &mut Vec<String>) {
        let process = self.process;
        let known = self
            .published
            .get(&publisher)
            .is_some_and(|of| of.contains_key(&number));
        if !known {
            complaints.push(format!(
                "process {process} heard {publisher}/{number}, which nobody published"
            ));
        }
        if let Some(last) = self.last.insert(publisher, number).filter(|last| *last >= number) {
            complaints.push(format!(
                "process {process} heard {publisher}/{number} after {last}"
            ));
        }
        self.heard.entry(publisher).or_default().insert(number);
    }

    fn interrupted(&mut self, at: u64, counts: &mut Counts, complaints: &mut Vec<String>) {
        counts.interruptions += 1;
        // Behind the last event of each publisher the interruption says that something may be missing.
        let upto = self
            .heard
            .iter()
            .map(|(publisher, heard)| (*publisher, heard.iter().copied().max().unwrap_or(0)));
        let upto = upto.collect();
        self.end(Some(&upto), counts, complaints);
        // It is told when it is over: whatever is accepted from now on is due.
        self.since = at;
    }

    /// Compares what is missing with what was told. `upto`: only what lies before the last event of its publisher is certainly due.
    fn end(&mut self, upto: Option<&HashMap<u64, u64>>, counts: &mut Counts, complaints: &mut Vec<String>) {
        let nothing = HashSet::new();
        let mut missing = Vec::new();
        for (publisher, of) in self.published {
            let heard = self.heard.get(publisher).unwrap_or(&nothing);
            let first = heard.iter().copied().min().unwrap_or(u64::MAX);
            let newest = heard.iter().copied().max().unwrap_or(0);
            let last = upto.map_or(u64::MAX, |upto| upto.get(publisher).copied().unwrap_or(0));
            for (number, publish) in of.range(..=last) {
                // What was sent between two events of one publisher was in the same order; what was accepted later must be there.
                let between = publish.sent && *number < newest && *number > first;
                let due = between || publish.accepted && publish.at > self.since;
                if due && !heard.contains(number) {
                    missing.push((*publisher, *number));
                }
            }
        }
        if missing.len() as u64 > self.missed {
            complaints.push(format!(
                "process {} missed {} events and was told of {}: {:?}",
                self.process,
                missing.len(),
                self.missed,
                &missing[..missing.len().min(5)]
            ));
        }
        counts.missed += self.missed;
        self.missed = 0;
        self.heard.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(entries: &[Entry]) -> Vec<Line> {
        let numbered = entries.iter().enumerate();
        numbered
            .map(|(at, entry)| Line {
                at: at as u64 * 10,
                entry: entry.clone(),
            })
            .collect()
    }

    fn heard(number: u64, missed: u64) -> Entry {
        Entry::Heard {
            publisher: 1,
            number,
            missed,
            interrupted: false,
        }
    }

    fn publisher(numbers: u64) -> Vec<Line> {
        let entries: Vec<Entry> = (1..=numbers)
            .flat_map(|number| [Entry::Publishing { number }, Entry::Accepted { number }])
            .collect();
        let mut lines = lines(&entries);
        lines.iter_mut().for_each(|line| line.at += 1);
        lines
    }

    fn complaints(others: Vec<Line>) -> usize {
        let journals = Journals::from([(1, publisher(3)), (2, others)]);
        check(&journals).1.len()
    }

    fn ended(code: Option<&str>, may_have_run: bool) -> Entry {
        Entry::Ended {
            call: 7,
            code: code.map(Into::into),
            may_have_run,
        }
    }

    fn each(cases: &[(&str, &[Entry], usize)]) {
        for (case, entries, expected) in cases {
            assert_eq!(complaints(lines(entries)), *expected, "{case}");
        }
    }

    #[test]
    fn the_judge_finds_each_kind_of_wrong_with_events() {
        use Entry::{Gap, Interrupted, Stopped, Subscribed};
        let [one, two, three] = [1, 2, 3].map(|number| heard(number, 0));
        let told = heard(3, 1);
        let gap = Gap { missed: 1 };
        each(&[
            (
                "all",
                &[Subscribed, one.clone(), two.clone(), three.clone(), Stopped],
                0,
            ),
            ("a told gap", &[Subscribed, one.clone(), told, Stopped], 0),
            (
                "an untold gap",
                &[Subscribed, one.clone(), three.clone(), Stopped],
                1,
            ),
            (
                "the last is lost",
                &[Subscribed, one.clone(), two.clone(), Stopped],
                1,
            ),
            (
                "the last is told",
                &[Subscribed, one.clone(), two.clone(), gap, Stopped],
                0,
            ),
            (
                "interrupted",
                &[Subscribed, one.clone(), two.clone(), Interrupted],
                0,
            ),
            (
                "a gap before that",
                &[Subscribed, one.clone(), three.clone(), Interrupted],
                1,
            ),
            ("killed", &[Subscribed, one.clone()], 0),
            ("out of order", &[Subscribed, two, one.clone(), three], 1),
            ("twice", &[Subscribed, one.clone(), one.clone()], 1),
            (
                "twice in two lives",
                &[Subscribed, one.clone(), Interrupted, one],
                1,
            ),
            ("invented", &[Subscribed, heard(9, 0)], 1),
        ]);
    }

    #[test]
    fn the_judge_finds_each_kind_of_wrong_with_calls() {
        let (called, ran) = (Entry::Called { call: 7 }, Entry::Ran { call: 7 });
        let (well, stopped) = (ended(None, true), Entry::Stopped);
        let (refused, gone) = (
            ended(Some("NoSuchObject"), false),
            ended(Some("BrokerGone"), true),
        );
        let wrong = ended(Some("WrongAnswer"), true);
        each(&[
            (
                "a call",
                &[called.clone(), ran.clone(), well.clone(), stopped.clone()],
                0,
            ),
            (
                "one that did not run",
                &[called.clone(), refused.clone(), stopped.clone()],
                0,
            ),
            ("it ran nevertheless", &[called.clone(), ran.clone(), refused], 1),
            ("answered by nobody", &[called.clone(), well.clone()], 1),
            ("it may have run", &[called.clone(), gone], 0),
            ("no outcome", &[called.clone(), ran.clone(), stopped], 1),
            ("killed before its outcome", &[called.clone(), ran.clone()], 0),
            (
                "two outcomes",
                &[called.clone(), ran.clone(), well.clone(), well.clone()],
                1,
            ),
            ("two runs", &[called.clone(), ran.clone(), ran.clone(), well], 1),
            ("another's answer", &[called, ran, wrong], 1),
        ]);
    }
}

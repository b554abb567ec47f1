//! SIGSTOP of each kind of process: who is not stopped does not notice, and who was stopped is told what it missed.

use crate::check::Journals;
use crate::journal::{Entry, Line};
use crate::rig::{Random, Rig};
use crate::roles::DEADLINE;
use crate::run::{Run, What, Whom};
use std::collections::HashMap;
use std::time::Duration;

const CREW: &[(Whom, usize)] = &[
    (Whom::Worker, 2),
    (Whom::Caller, 2),
    (Whom::Subscriber, 2),
    (Whom::Publisher, 2),
];

/// How long each call took, in ns, with its outcome and its end, by process.
fn calls(lines: &[Line]) -> Vec<(u64, Option<&str>, u64)> {
    let mut began = HashMap::new();
    let mut calls = Vec::new();
    for line in lines {
        match &line.entry {
            Entry::Called { call } => drop(began.insert(*call, line.at)),
            Entry::Ended { call, code, .. } => calls.push((line.at - began[call], code.as_deref(), line.at)),
            _ => {}
        }
    }
    calls
}

fn print_p99(what: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |share: usize| Duration::from_nanos(times[(times.len() - 1) * share / 100]);
    eprintln!(
        "{what}: {} calls, p50 {:?}, p99 {:?}, longest {:?}",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

#[actix::test]
async fn stopping_one_process_stops_nobody_else() {
    let mut run = Run::start(Rig::start(&[]), Random::from_environment("stops"), 16, CREW);
    let mut hit = Vec::new();
    for whom in [
        Whom::Caller,
        Whom::Publisher,
        Whom::Subscriber,
        Whom::Worker,
        Whom::Broker,
    ] {
        run.is_at_work();
        let from = crate::journal::now();
        let process = run.hit(whom, What::Stop(1_000));
        hit.push((whom, process, from, crate::journal::now()));
        // What began while it stood still ends before the next one does.
        run.pass(Duration::from_millis(200));
    }
    run.is_at_work();
    let (counts, journals) = run.finish().await;
    assert_eq!(
        (counts.interruptions, counts.missed),
        (0, 0),
        "nobody lost a connection or an event: {counts:?}"
    );
    let lost = ["BrokerGone", "CalleeGone", "NotConnected"];
    let codes: Vec<_> = counts
        .outcomes
        .keys()
        .filter(|code| lost.iter().any(|lost| code.starts_with(lost)))
        .collect();
    assert!(codes.is_empty(), "{codes:?}");
    for (whom, process, from, to) in hit {
        let others = callers(&journals).filter(|(other, _)| *other != process);
        let times: Vec<u64> = others
            .flat_map(|(_, lines)| calls(lines))
            .filter(|(took, _, end)| *end > from && end - took < to)
            .map(|(took, ..)| took)
            .collect();
        assert!(
            !times.is_empty() || whom == Whom::Broker,
            "no calls while {whom:?} {process} stood still"
        );
        if !times.is_empty() {
            print_p99(&format!("while a {whom:?} stands still for 1 s"), times);
        }
    }
}

fn callers(journals: &Journals) -> impl Iterator<Item = (u64, &Vec<Line>)> {
    journals
        .iter()
        .filter(|(_, lines)| {
            lines
                .iter()
                .any(|line| matches!(line.entry, Entry::Called { .. }))
        })
        .map(|(process, lines)| (*process, lines))
}

#[actix::test]
async fn calls_to_a_stopped_broker_end_by_the_clients_own_deadline() {
    let crew = [(Whom::Worker, 1), (Whom::Caller, 2)];
    let mut run = Run::start(
        Rig::start(&[]),
        Random::from_environment("stopped broker"),
        16,
        &crew,
    );
    run.pass(Duration::from_millis(300));
    run.hit(Whom::Broker, What::Stop(4_500));
    let back = crate::journal::now();
    run.pass(Duration::from_millis(500));
    let (counts, journals) = run.finish().await;
    let all: Vec<_> = callers(&journals).flat_map(|(_, lines)| calls(lines)).collect();
    let ended = all
        .iter()
        .filter(|(_, code, end)| *code == Some("Deadline") && *end < back)
        .count();
    assert!(ended > 0, "calls ended while the broker stood still: {counts:?}");
    let longest = Duration::from_nanos(all.iter().map(|(took, ..)| *took).max().unwrap());
    eprintln!(
        "stopped broker: {ended} calls ended meanwhile, the longest after {longest:?} of promised {:?}",
        DEADLINE + Duration::from_millis(1_250)
    );
    assert!(longest < (DEADLINE + Duration::from_secs(1)) * 10);
    let after = all
        .iter()
        .filter(|(_, code, end)| code.is_none() && *end > back)
        .count();
    assert!(after > 0, "calls are answered again: {counts:?}");
}

#[actix::test]
async fn a_stopped_subscriber_is_told_exactly_what_it_missed() {
    let rig = Rig::start(&[("outbox_bytes", 64 << 10), ("publish_window", 16 << 10)]);
    let mut run = Run::start(
        rig,
        Random::from_environment("stopped subscriber"),
        4_096,
        &[(Whom::Subscriber, 2)],
    );
    // The publishers come after: then every event is due to both subscribers.
    run.add_and_wait(Whom::Publisher, 2);
    run.pass(Duration::from_millis(200));
    let stopped = run.hit(Whom::Subscriber, What::Stop(3_000));
    run.pass(Duration::from_millis(300));
    let (_, journals) = run.finish().await;
    let published = journals
        .values()
        .flatten()
        .filter(|line| matches!(line.entry, Entry::Sent { .. } | Entry::Accepted { .. }));
    let published = published.count() as u64;
    let asked = journals
        .values()
        .flatten()
        .filter(|line| line.entry == Entry::Asked);
    let last_words = asked.count() as u64;
    for (process, lines) in &journals {
        if !lines.iter().any(|line| line.entry == Entry::Subscribed) {
            continue;
        }
        let missed: u64 = lines
            .iter()
            .map(|line| match line.entry {
                Entry::Heard { missed, .. } | Entry::Gap { missed } => missed,
                _ => 0,
            })
            .sum();
        let heard = lines
            .iter()
            .filter(|line| matches!(line.entry, Entry::Heard { .. }))
            .count() as u64;
        eprintln!("stopped subscriber: process {process} heard {heard} and missed {missed} of {published}");
        // The subscribers' last words are events as well, which may be among those that were missed.
        let all = published..=published + last_words;
        assert!(
            all.contains(&(heard + missed)),
            "{process}: {heard} + {missed} of {published}"
        );
        if *process == stopped {
            assert!(
                missed > 0,
                "it stood still for 3 s and missed nothing of {published}"
            );
        }
    }
}

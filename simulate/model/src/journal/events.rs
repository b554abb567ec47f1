//! The journals' events: order, at most once, every gap told, nothing acknowledged lost.
//!
//! Owns the rules `event-once`, `event-order`, `invented`, `topic`, `gap-untold`, `gap-overtold`. A subscription is judged
//! stretch by stretch: from `subscribed` to the loss of its connection, its end, or the end of the process. Called by
//! [`super::check`].

use super::{Fact, Journal, selects};
use crate::Violation;
use std::collections::{HashMap, HashSet};

/// One publish of one publisher and topic.
#[derive(Default)]
struct Published {
    begun: u64,
    /// On which connection of its publisher, counted from 0.
    connection: u64,
    acked: Option<u64>,
    refused: bool,
    doubtful: bool,
}

type Topics<'a> = HashMap<(&'a str, &'a str), Vec<(u64, Published)>>;

/// One life of a subscription at the broker.
struct Stretch<'a> {
    who: &'a str,
    number: u64,
    pattern: &'a str,
    asked: u64,
    stands: u64,
    /// When it ended; a stretch that was cut by a loss or a kill has no certain end.
    ended: Option<u64>,
    heard: Vec<Heard<'a>>,
    missed: u64,
}

struct Heard<'a> {
    from: (&'a str, &'a str),
    n: u64,
    /// All that had been told missed by then.
    missed: u64,
    retained: bool,
}

/// Checks all events of a run.
pub(super) fn check(journals: &[Journal]) -> Vec<Violation> {
    let published = published(journals);
    let mut found = Vec::new();
    for journal in journals {
        let stretches = stretches(journal);
        once(&stretches, &mut found);
        for stretch in &stretches {
            order(stretch, &mut found);
            known(stretch, &published, &mut found);
            gaps(stretch, &published, &mut found);
        }
    }
    found
}

fn published(journals: &[Journal]) -> Topics<'_> {
    let mut topics = Topics::new();
    for journal in journals {
        let mut connection = 0_u64;
        for line in &journal.lines {
            let (topic, n) = match &line.fact {
                Fact::Publish { topic, n } | Fact::Acked { topic, n } | Fact::Refused { topic, n, .. } => {
                    (topic, *n)
                }
                Fact::Lost | Fact::Reconnected { .. } => {
                    connection = connection.saturating_add(1);
                    continue;
                }
                _ => continue,
            };
            let list = topics.entry((journal.who.as_str(), topic.as_str())).or_default();
            if matches!(line.fact, Fact::Publish { .. }) {
                list.push((
                    n,
                    Published {
                        begun: line.us,
                        connection,
                        ..Published::default()
                    },
                ));
            }
            let Some((_, publish)) = list.iter_mut().rev().find(|(number, _)| *number == n) else {
                continue;
            };
            match &line.fact {
                Fact::Acked { .. } => publish.acked = Some(line.us),
                Fact::Refused { may_run: false, .. } => publish.refused = true,
                Fact::Refused { .. } => publish.doubtful = true,
                _ => {}
            }
        }
    }
    topics
}

fn stretches(journal: &Journal) -> Vec<Stretch<'_>> {
    let (mut done, mut open) = (Vec::new(), HashMap::<u64, Stretch<'_>>::new());
    let mut asked = HashMap::new();
    for line in &journal.lines {
        match &line.fact {
            Fact::Subscribe {
                subscription,
                pattern,
            } => {
                asked.insert(*subscription, (line.us, pattern.as_str()));
            }
            Fact::Subscribed { subscription, .. } => {
                let (us, pattern) = asked.get(subscription).copied().unwrap_or((line.us, ""));
                let stretch = Stretch {
                    who: &journal.who,
                    number: *subscription,
                    pattern,
                    asked: us,
                    stands: line.us,
                    ended: None,
                    heard: Vec::new(),
                    missed: 0,
                };
                done.extend(open.insert(*subscription, stretch));
            }
            Fact::Event {
                subscription,
                publisher,
                topic,
                n,
                missed,
                retained,
            } => {
                if let Some(stretch) = open.get_mut(subscription) {
                    stretch.missed = stretch.missed.saturating_add(*missed);
                    stretch.heard.push(Heard {
                        from: (publisher, topic),
                        n: *n,
                        missed: stretch.missed,
                        retained: *retained,
                    });
                }
            }
            Fact::Gap { subscription, missed } => {
                if let Some(stretch) = open.get_mut(subscription) {
                    stretch.missed = stretch.missed.saturating_add(*missed);
                }
            }
            Fact::Lost => done.extend(open.drain().map(|(_, stretch)| stretch)),
            Fact::Unsubscribe { subscription } => done.extend(open.remove(subscription)),
            Fact::Finished => done.extend(open.drain().map(|(_, mut stretch)| {
                stretch.ended = Some(line.us);
                stretch
            })),
            _ => {}
        }
    }
    done.extend(open.into_values());
    done.sort_by_key(|stretch| (stretch.number, stretch.stands));
    done
}

/// Over all stretches of a subscription nothing is heard twice, retained values apart.
fn once(stretches: &[Stretch<'_>], found: &mut Vec<Violation>) {
    let mut seen = HashSet::new();
    for stretch in stretches {
        for heard in stretch.heard.iter().filter(|heard| !heard.retained) {
            if !seen.insert((stretch.number, heard.from, heard.n)) {
                found.push(
                    stretch.violation("event-once", &format!("{:?} {} came twice", heard.from, heard.n)),
                );
            }
        }
    }
}

fn order(stretch: &Stretch<'_>, found: &mut Vec<Violation>) {
    let mut last = HashMap::new();
    for heard in stretch.heard.iter().filter(|heard| !heard.retained) {
        let before = last.insert(heard.from, heard.n).unwrap_or(0);
        if heard.n < before {
            let text = format!("{:?} {} came behind {before}", heard.from, heard.n);
            found.push(stretch.violation("event-order", &text));
        }
    }
}

fn known(stretch: &Stretch<'_>, published: &Topics<'_>, found: &mut Vec<Violation>) {
    for heard in &stretch.heard {
        let list = published.get(&heard.from).map_or(&[][..], Vec::as_slice);
        if !list.iter().any(|(n, publish)| *n == heard.n && !publish.refused) {
            found.push(stretch.violation(
                "invented",
                &format!("nobody published {:?} {}", heard.from, heard.n),
            ));
        }
        if !selects(stretch.pattern, heard.from.1) {
            found.push(stretch.violation("topic", &format!("{:?} is not what it asked for", heard.from)));
        }
    }
}

/// What must have come and did not is told; what is told is not more than what did not come.
fn gaps(stretch: &Stretch<'_>, published: &Topics<'_>, found: &mut Vec<Violation>) {
    let live: HashSet<_> = stretch
        .heard
        .iter()
        .filter(|heard| !heard.retained)
        .map(|heard| (heard.from, heard.n))
        .collect();
    let (mut untold, mut possible) = (0_u64, 0_u64);
    for (from, list) in published
        .iter()
        .filter(|(from, _)| selects(stretch.pattern, from.1))
    {
        let last = stretch
            .heard
            .iter()
            .rev()
            .find(|heard| heard.from == *from && !heard.retained);
        let overtaker = last.and_then(|last| list.iter().find(|(n, _)| *n == last.n));
        for (n, publish) in list {
            if live.contains(&(*from, *n)) || publish.refused {
                continue;
            }
            let before = publish.acked.is_some_and(|at| at < stretch.asked);
            let after = stretch.ended.is_some_and(|end| publish.begun > end);
            possible = possible.saturating_add(u64::from(!before && !after));
            // Behind it on the same connection came one that was heard: the broker was through with it.
            let overtaken =
                overtaker.is_some_and(|(number, last)| number > n && last.connection == publish.connection);
            let acked = publish
                .acked
                .is_some_and(|at| stretch.ended.is_some_and(|end| at < end));
            let certain = publish.begun > stretch.stands && !publish.doubtful && (overtaken || acked);
            untold = untold.saturating_add(u64::from(certain));
        }
    }
    // A process that does not say what it missed of a retained value is not wrong to count it.
    let retained = stretch.heard.iter().filter(|heard| heard.retained).count() as u64;
    if untold > stretch.missed {
        let text = format!("{untold} events did not come, {} are told", stretch.missed);
        found.push(stretch.violation("gap-untold", &text));
    }
    if stretch.missed > possible.saturating_add(retained) {
        let text = format!(
            "{} events are told as missed, at most {possible} can be",
            stretch.missed
        );
        found.push(stretch.violation("gap-overtold", &text));
    }
    running(stretch, published, found);
}

/// When an event comes, what it overtook has been told by then.
fn running(stretch: &Stretch<'_>, published: &Topics<'_>, found: &mut Vec<Violation>) {
    let (mut heard_so_far, mut behind) = (HashMap::<_, HashSet<u64>>::new(), HashMap::new());
    for heard in stretch.heard.iter().filter(|heard| !heard.retained) {
        heard_so_far.entry(heard.from).or_default().insert(heard.n);
        let came = heard_so_far.get(&heard.from);
        let list = published.get(&heard.from).map_or(&[][..], Vec::as_slice);
        let Some((_, this)) = list.iter().find(|(n, _)| *n == heard.n) else {
            continue;
        };
        let overtaken = list.iter().filter(|(n, publish)| {
            *n < heard.n
                && publish.begun > stretch.stands
                && publish.connection == this.connection
                && !publish.refused
                && !publish.doubtful
                && !came.is_some_and(|came| came.contains(n))
        });
        behind.insert((heard.from, this.connection), overtaken.count() as u64);
        let untold: u64 = behind.values().sum();
        if untold > heard.missed {
            let text = format!(
                "when {:?} {} came, {untold} before it had not, and {} were told",
                heard.from, heard.n, heard.missed
            );
            found.push(stretch.violation("gap-untold", &text));
            return;
        }
    }
}

impl Stretch<'_> {
    fn violation(&self, rule: &'static str, text: &str) -> Violation {
        Violation {
            rule,
            text: format!(
                "subscription {} of {}, since {} us: {text}",
                self.number, self.who, self.stands
            ),
        }
    }
}

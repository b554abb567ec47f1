//! A second judge of the same journals: the checker of the reference model, which was written apart from this one.
//!
//! Owns the translation from one format to the other and nothing of the judgement.

use crate::check::Journals;
use crate::journal::{Entry, Line};
use crate::roles::{DEADLINE, OBJECT, TOPIC};
use actix_ipc_model::journal::{Fact, Journal, Line as Written, check};

/// How long after its deadline a call may end, in ms: ten times the promise, and the time for which a test lets processes stand still.
const SLACK_MS: u64 = 30_000;
/// Comparisons that a judgement may cost: the model looks through all publishes for every event.
const MOST: usize = 100_000_000;

/// The complaints; `None` when there is too much to be judged in reasonable time.
pub fn complaints(journals: &Journals) -> Option<Vec<String>> {
    let count = |wanted: fn(&Entry) -> bool| {
        let of = move |lines: &Vec<Line>| lines.iter().filter(|line| wanted(&line.entry)).count();
        journals.values().map(of)
    };
    let heard: usize = count(|entry| matches!(entry, Entry::Heard { .. })).sum();
    let most = count(|entry| matches!(entry, Entry::Publishing { .. }))
        .max()
        .unwrap_or(0);
    if heard.saturating_mul(most) > MOST {
        return None;
    }
    let journals = journals.iter().map(|(process, lines)| translate(*process, lines));
    let violations = check(journals, SLACK_MS);
    Some(
        violations
            .iter()
            .map(|violation| format!("{}: {}", violation.rule, violation.text))
            .collect(),
    )
}

/// One journal in the other format.
fn translate(process: u64, lines: &[Line]) -> Journal {
    let mut written = Vec::new();
    let mut before = 0;
    let mut words = 0;
    // A call may come before the registration's acknowledgement has been noted.
    written.push((
        0,
        Fact::Registered {
            object: OBJECT.into(),
            epoch: String::new(),
        },
    ));
    for line in lines {
        let us = line.at / 1_000;
        match &line.entry {
            // It heard of its new connection with this line, and had it at some time after the last one.
            Entry::Interrupted
            | Entry::Heard {
                interrupted: true, ..
            } => {
                written.push((us, Fact::Lost));
                written.push((before, subscribe()));
                written.push((us, subscribed()));
            }
            Entry::Asked => words += 1,
            _ => {}
        }
        written.extend(fact(process, &line.entry, words).map(|fact| (us, fact)));
        before = us;
    }
    Journal {
        who: process.to_string(),
        lines: written
            .into_iter()
            .map(|(us, fact)| Written { us, fact })
            .collect(),
    }
}

fn subscribe() -> Fact {
    Fact::Subscribe {
        subscription: 1,
        pattern: format!("{TOPIC} **"),
    }
}

const fn subscribed() -> Fact {
    Fact::Subscribed {
        subscription: 1,
        epoch: String::new(),
    }
}

fn fact(process: u64, entry: &Entry, words: u64) -> Option<Fact> {
    let topic = |publisher: u64| format!("{TOPIC} of.{publisher}");
    Some(match entry.clone() {
        Entry::Called { call } => Fact::Call {
            id: call,
            object: OBJECT.into(),
            deadline_ms: u64::try_from(DEADLINE.as_millis()).unwrap(),
        },
        Entry::Ended {
            call,
            code,
            may_have_run,
        } => Fact::Outcome {
            id: call,
            error: code,
            may_run: may_have_run,
        },
        Entry::Ran { call } => Fact::Handled {
            caller: (call >> 32).to_string(),
            id: call,
            object: OBJECT.into(),
        },
        Entry::Publishing { number } => Fact::Publish {
            topic: topic(process),
            n: number,
        },
        Entry::Accepted { number } => Fact::Acked {
            topic: topic(process),
            n: number,
        },
        Entry::Failed { number, may_have_run } => Fact::Refused {
            topic: topic(process),
            n: number,
            may_run: may_have_run,
        },
        Entry::Subscribing => subscribe(),
        Entry::Subscribed => subscribed(),
        Entry::Heard {
            publisher,
            number,
            missed,
            ..
        } => Fact::Event {
            subscription: 1,
            publisher: publisher.to_string(),
            topic: topic(publisher),
            n: number,
            missed,
            retained: false,
        },
        Entry::Gap { missed } => Fact::Gap {
            subscription: 1,
            missed,
        },
        // Its own last words may be among what it is told to have missed.
        Entry::Asked => Fact::Publish {
            topic: format!("{TOPIC} end.{process}"),
            n: words,
        },
        Entry::Stopped => Fact::Finished,
        Entry::Sent { .. } | Entry::Interrupted => return None,
    })
}

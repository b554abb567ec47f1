//! Journals of real processes, and the checker that merges them.
//!
//! A process appends one line of JSON for each [`Fact`], with one `write` each, so that `kill -9` leaves at most the last line
//! torn. *Intents* ([`Fact::Call`], [`Fact::Publish`], [`Fact::Subscribe`], [`Fact::Unsubscribe`]) are written before the thing
//! is begun, everything else when the process has learnt it and before it acts on it: [`Fact::Handled`] is written before the
//! answer. `us` is one clock for all processes of the run, in microseconds.
//!
//! ```json
//! {"us":1200,"fact":"call","id":1,"object":"math","deadline_ms":2000}
//! {"us":1420,"fact":"outcome","id":1,"error":"CalleeGone","may_run":true}
//! {"us":1300,"fact":"handled","caller":"caller-1","id":1,"object":"math"}
//! {"us":1100,"fact":"publish","topic":"room a","n":1}
//! {"us":1150,"fact":"acked","topic":"room a","n":1}
//! {"us":1000,"fact":"subscribe","subscription":1,"pattern":"room *"}
//! {"us":1010,"fact":"subscribed","subscription":1,"epoch":"00112233"}
//! {"us":1160,"fact":"event","subscription":1,"publisher":"publisher-1","topic":"room a","n":1,"missed":0}
//! {"us":1900,"fact":"lost"}
//! {"us":2000,"fact":"finished"}
//! ```
//!
//! Owns the format and the rules of its two parts; it refuses to know the library's types (names and numbers only), files and
//! processes. Written by the processes of `tests/`, read by [`check`].

mod calls;
mod events;

use crate::{Violation, matcher};
use serde::{Deserialize, Serialize};

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in µs of the clock that all processes of the run share.
    pub us: u64,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What a process notes down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// Intent: this process is about to call. `id` is its own, never used twice in one journal, and travels in the payload.
    Call {
        /// The number of the call.
        id: u64,
        /// The object called.
        object: String,
        /// The call's deadline; 0 when none is to be checked.
        #[serde(default)]
        deadline_ms: u64,
    },
    /// The call has ended. Without `error` it was answered.
    Outcome {
        /// The number of the call.
        id: u64,
        /// The name of the error's code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Whether the error says that the call may have run.
        #[serde(default)]
        may_run: bool,
    },
    /// This process, a worker, got a call and is about to act on it.
    Handled {
        /// The journal of the caller.
        caller: String,
        /// The caller's number of the call.
        id: u64,
        /// The object called.
        object: String,
    },
    /// This process owns the object now (or belongs to its group).
    Registered {
        /// The object.
        object: String,
        /// The epoch of the broker.
        epoch: String,
    },
    /// Intent: this process is about to publish. `n` counts from 1 in this journal, for each topic apart, and travels in the payload.
    Publish {
        /// Object and event, with a blank between them.
        topic: String,
        /// The number.
        n: u64,
    },
    /// The broker has accepted the publish.
    Acked {
        /// The topic.
        topic: String,
        /// The number.
        n: u64,
    },
    /// The publish ended with an error. One that may have been carried out counts as neither published nor not.
    Refused {
        /// The topic.
        topic: String,
        /// The number.
        n: u64,
        /// Whether it may have been published nevertheless.
        may_run: bool,
    },
    /// Intent: this process is about to subscribe.
    Subscribe {
        /// The number of the subscription in this journal. One that is restored after a lost connection keeps it.
        subscription: u64,
        /// Object and event, with a blank between them; both are patterns.
        pattern: String,
    },
    /// The subscription stands. Its *stretch* begins here and ends with the next `lost`, `unsubscribe` or `finished`.
    Subscribed {
        /// The number of the subscription.
        subscription: u64,
        /// The epoch of the broker.
        epoch: String,
    },
    /// Intent: this process is about to end the subscription.
    Unsubscribe {
        /// The number of the subscription.
        subscription: u64,
    },
    /// An event was heard.
    Event {
        /// The number of the subscription.
        subscription: u64,
        /// The journal of the publisher.
        publisher: String,
        /// The topic.
        topic: String,
        /// The publisher's number.
        n: u64,
        /// How many events the library says were missed just before.
        #[serde(default)]
        missed: u64,
        /// It is a retained value.
        #[serde(default)]
        retained: bool,
    },
    /// Events were missed, and none has followed yet.
    Gap {
        /// The number of the subscription.
        subscription: u64,
        /// How many.
        missed: u64,
    },
    /// The connection was lost: what was under way in both directions may be gone. Written before anything that the next
    /// connection brings.
    Lost,
    /// There is a new connection.
    Reconnected {
        /// The epoch of the broker.
        epoch: String,
    },
    /// This process was stopped (`SIGSTOP`) at some time of the run, as whoever stopped it writes into its journal: its
    /// outcomes may be late.
    Paused,
    /// The process ends in order: all its calls have ended, and what was published before this moment and acknowledged has
    /// been waited for. Without this line the process was killed.
    Finished,
}

/// What one process wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The name that other journals call it by.
    pub who: String,
    /// Its lines, in the order they were written.
    pub lines: Vec<Line>,
}

impl Line {
    /// The line as it is appended, with its line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Journal {
    /// Reads what a process has written. A last line without a line end was torn by the process' death and is left out.
    ///
    /// # Errors
    /// A [`Violation`] that names the first line that is not of this format.
    pub fn parse(who: &str, text: &str) -> Result<Self, Violation> {
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or(""));
        let lines = whole.lines().enumerate().map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| Violation {
                rule: "journal-format",
                text: format!("{who}, line {}: {error}", index.saturating_add(1)),
            })
        });
        Ok(Self {
            who: who.to_owned(),
            lines: lines.collect::<Result<_, _>>()?,
        })
    }
}

/// Merges the journals of a run and names every promise that they show to be broken.
///
/// `slack_ms` is how long after its deadline a call may end in a process that was never paused.
#[must_use]
pub fn check(journals: impl IntoIterator<Item = Journal>, slack_ms: u64) -> Vec<Violation> {
    let journals: Vec<Journal> = journals.into_iter().collect();
    let mut found = calls::check(&journals, slack_ms);
    found.extend(events::check(&journals));
    found
}

/// Whether `pattern` (`object event`, both patterns) selects `topic` (`object event`).
fn selects(pattern: &str, topic: &str) -> bool {
    match (pattern.split_once(' '), topic.split_once(' ')) {
        (Some((object, event)), Some((name, member))) => {
            matcher::selects(object, name) && matcher::selects(event, member)
        }
        _ => false,
    }
}

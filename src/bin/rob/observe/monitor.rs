//! `rob monitor`: every call, reply, event, and who comes and goes, as it happens.
//!
//! Owns the options and what is told when records are missing. `tap` has the traffic, `line` the layout. Called by `commands`.

use super::line::Lines;
use super::tap::{Filter, News, Record, Tap};
use super::words::count;
use crate::commands::session::Session;
use crate::exit::{Exit, Failure};
use crate::options::number;
use crate::output::compact;
use crate::say::warn;
use clap::{Args, ValueEnum};

/// The most of a payload that the broker shows, in bytes.
pub(super) const PAYLOAD_MAX: u64 = 1 << 20;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Calls.
    Call,
    /// Answers to them, items of streams and errors.
    Reply,
    /// Events.
    Event,
    /// Connections, names and subscriptions that come and go.
    Presence,
}

impl Kind {
    /// Its name in records.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Reply => "reply",
            Self::Event => "event",
            Self::Presence => "presence",
        }
    }
}

/// Which traffic is wanted.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct Which {
    /// The object's name, or a pattern of names: * is one level, ** all that are left.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: Option<String>,
    /// The method or topic, or a pattern.
    #[arg(value_name = "MEMBER")]
    pub(crate) member: Option<String>,
    /// Only these kinds, separated by commas.
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) kind: Vec<Kind>,
    /// Only what this connection sends or gets (`rob list` shows the numbers).
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<u64>,
    /// Only what this process sends or gets.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u64>,
    /// At most so many records a second; the broker drops and counts the rest.
    #[arg(long, value_name = "RECORDS", value_parser = |text: &str| number(text, 1_000_000))]
    pub(crate) rate: Option<u64>,
}

impl Which {
    /// As the broker takes it.
    pub(crate) fn filter(&self, payloads: Option<u64>) -> Filter {
        Filter {
            kinds: self.kind.iter().map(|kind| kind.name().to_owned()).collect(),
            object: self.object.clone(),
            member: self.member.clone(),
            peer: self.peer,
            pid: self.pid,
            payloads,
            rate: self.rate,
        }
    }
}

/// `rob monitor`.
#[derive(Args, Debug, Default, PartialEq)]
pub(crate) struct Monitor {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Show the payloads, so many bytes of each (256 without a number).
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "256",
        value_parser = |text: &str| number(text, PAYLOAD_MAX))]
    pub(crate) payloads: Option<u64>,
}

/// Shows records until there were as many as were asked for.
pub(crate) async fn run(wanted: &Monitor, session: &mut Session) -> Result<(), Failure> {
    let Session {
        client,
        options,
        output,
    } = session;
    let mut tap = Tap::open(client, wanted.which.filter(wanted.payloads), options).await?;
    let mut lines = Lines::new(output.coloured());
    if !output.json() && !options.quiet {
        output.text(&lines.heading())?;
    }
    let mut left = options.count;
    while left != Some(0) {
        let news = match options.timeout {
            None => tap.next().await?,
            Some(patience) => next_within("monitor", &mut tap, patience).await?,
        };
        let batch = match news {
            News::Records(batch) => batch,
            News::Lost { reason } => {
                lost(&reason);
                continue;
            }
            News::Interrupted { same_broker, .. } => {
                interrupted();
                if !same_broker {
                    lines.forget();
                }
                continue;
            }
        };
        let wanted = usize::try_from(left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut text = String::new();
        for raw in batch.records.iter().take(wanted) {
            left = left.map(|left| left.saturating_sub(1));
            if output.json() {
                text.push_str(&compact(raw.get()));
                text.push('\n');
            } else {
                text.push_str(&lines.line(&parsed(raw.get())));
            }
        }
        if !text.is_empty() {
            output.text(&text)?;
        }
        dropped(batch.dropped);
    }
    Ok(())
}

/// The next records; empty batches are signs of life and do not count.
pub(super) async fn next_within(
    command: &str,
    tap: &mut Tap<'_>,
    patience: std::time::Duration,
) -> Result<News, Failure> {
    let next = async {
        loop {
            match tap.next().await? {
                News::Records(batch) if batch.records.is_empty() && batch.dropped == 0 => {}
                news => return Ok(news),
            }
        }
    };
    tokio::time::timeout(patience, next).await.unwrap_or_else(|_| {
        let text = format!("{command}: no record within {} s", patience.as_secs_f64());
        Err(Failure::new(Exit::Timeout, text))
    })
}

/// A record as far as it is understood.
pub(super) fn parsed(raw: &str) -> Record {
    serde_json::from_str(raw).unwrap_or_else(|error| Record {
        kind: "?".to_owned(),
        text: Some(format!("a record that this rob does not understand: {error}")),
        ..Record::default()
    })
}

/// Tells that the broker dropped records.
pub(super) fn dropped(number: u64) {
    if number > 0 {
        let (records, were) = if number == 1 {
            ("record", "was")
        } else {
            ("records", "were")
        };
        warn(&format!(
            "{} {records} {were} dropped here, which came faster than --rate allows or than they were read",
            count(number)
        ));
    }
}

/// Tells that nothing comes for now, because there is no connection.
pub(super) fn lost(reason: &str) {
    warn(&format!("the connection was lost ({reason}); trying again"));
}

/// Tells that records are missing because there was no connection.
pub(super) fn interrupted() {
    warn("connected again; what happened in between is missing");
}

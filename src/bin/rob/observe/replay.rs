//! `rob replay`: what a recording has, once more.
//!
//! Owns the pace, how much is under way at once, and the comparison of how calls end with how they ended then. `script` says what is
//! done and in which order. Called by `commands`.

use super::line::Lines;
use super::monitor::Kind;
use super::script::{Choice, Script, Source, learn};
use super::steps::{Action, Outcome, SkippedCounts, Step};
use super::tap::Record;
use super::words::count;
use crate::commands::session::Session;
use crate::exit::{Exit, Failure};
use crate::options::{Options, number};
use crate::output::{Output, compact};
use crate::say::warn;
use actix_ipc::IpcClient;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::Pattern;
use actix_ipc::terminal::printable;
use clap::Args;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// Characters of a payload that are shown of what would be done.
const SHOWN_MAX: usize = 256;

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speed {
    /// So many times as fast as it was recorded.
    Times(f64),
    /// Without waiting.
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.trim_end_matches('x').parse::<f64>();
    let wanted = || "a factor from 0.001 to 1000000, such as 2 or 0.5, or max".to_owned();
    let times = times.map_err(|_| wanted())?;
    (0.001..=1e6)
        .contains(&times)
        .then_some(Speed::Times(times))
        .ok_or_else(wanted)
}

/// What can be done again.
fn kind(text: &str) -> Result<Kind, String> {
    [Kind::Call, Kind::Event]
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| "call or event: nothing else can be done again".to_owned())
}

/// `rob replay`.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Replay {
    /// A recording; - for stdin.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only these objects: a name or a pattern.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: Option<String>,
    /// Only these methods and topics: a name or a pattern.
    #[arg(value_name = "MEMBER")]
    pub(crate) member: Option<String>,
    /// Only these kinds, separated by commas: call, event.
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    pub(crate) kind: Vec<Kind>,
    /// So many times as fast as it was recorded, or max for no waiting.
    #[arg(long, value_name = "X|max", default_value = "1", value_parser = speed)]
    pub(crate) speed: Speed,
    /// At most so many calls and publishes that are not answered.
    #[arg(long, value_name = "N", default_value = "256", value_parser = |text: &str| number(text, 4_096))]
    pub(crate) in_flight: u64,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Fail in the end when anything of the recording could not be done.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Reads the recording through once, and does it again.
pub(crate) async fn run(wanted: &Replay, options: &Options) -> Result<(), Failure> {
    let source = Source::open(&wanted.file)?;
    let wrong = |error| Failure::new(Exit::Usage, format!("replay: {error}"));
    let choice = Choice {
        object: wanted
            .object
            .as_deref()
            .map(Pattern::new)
            .transpose()
            .map_err(wrong)?,
        member: wanted
            .member
            .as_deref()
            .map(Pattern::new)
            .transpose()
            .map_err(wrong)?,
        kinds: wanted.kind.clone(),
    };
    // Before anything is done: a file that is damaged in the middle would be done by half.
    let outcomes = learn(&source)?;
    let mut script = Script {
        reader: source.reader()?,
        file: source.name.clone(),
        choice,
        outcomes,
        skipped: SkippedCounts::new(),
        left: options.count,
    };
    if wanted.dry_run {
        let mut output = Output::stdout(options.json);
        let mut totals = Totals::default();
        let mut lines = Lines::new(output.coloured());
        while let Some((record, step)) = script.next()? {
            totals.count(&step.action);
            let line = if output.json() {
                dry(&step)
            } else {
                lines.line(&shortened(record))
            };
            output.text(&line)?;
        }
        totals.tell(&script.skipped, true, &mut output, options)?;
        return complete(wanted, &script.skipped);
    }
    let mut session = Session::open(options, false).await?;
    let (totals, flushed) = perform(&mut script, wanted, &mut session).await?;
    totals.tell(&script.skipped, false, &mut session.output, options)?;
    // How far it came is told in any case.
    flushed?;
    session.close().await;
    match totals.differ {
        0 => complete(wanted, &script.skipped),
        differ => {
            let text = format!(
                "replay: {} of them ended in another way than in the recording",
                count(differ)
            );
            Err(Failure::new(Exit::Remote, text))
        }
    }
}

/// With `--strict` what was skipped is a failure.
fn complete(wanted: &Replay, skipped: &SkippedCounts) -> Result<(), Failure> {
    match skipped.values().sum::<u64>() {
        left if wanted.strict && left > 0 => {
            let text = format!(
                "replay: {} of the recording could not be done (--strict)",
                count(left)
            );
            Err(Failure::new(Exit::Lost, text))
        }
        _ => Ok(()),
    }
}

/// What was done.
#[derive(Debug, Default)]
struct Totals {
    events: u64,
    calls: u64,
    one_way: u64,
    compared: u64,
    differ: u64,
    /// The broker itself has not answered in time; what would come would wait as long.
    hung: bool,
}

impl Totals {
    fn count(&mut self, action: &Action) {
        let of = match action {
            Action::Publish { .. } => &mut self.events,
            Action::Call { .. } => &mut self.calls,
            Action::OneWay => &mut self.one_way,
        };
        *of = of.saturating_add(1);
    }

    fn tell(
        &self,
        skipped: &SkippedCounts,
        dry: bool,
        output: &mut Output,
        options: &Options,
    ) -> Result<(), Failure> {
        if output.json() {
            let reasons: Map<String, Value> = skipped
                .iter()
                .map(|(why, number)| (why.name().to_owned(), (*number).into()))
                .collect();
            let line = json!({"replayed": {
                "dry_run": dry, "events": self.events, "calls": self.calls, "one_way": self.one_way,
                "compared": self.compared, "differ": self.differ, "skipped": reasons,
            }});
            return Ok(output.text(&format!("{}\n", compact(&line.to_string())))?);
        }
        for (why, number) in skipped {
            warn(&format!("skipped {} {}", count(*number), why.text()));
        }
        if options.quiet {
            return Ok(());
        }
        let verb = if dry { "Would replay" } else { "Replayed" };
        let mut text = format!(
            "{verb}: events {}, calls {}",
            count(self.events),
            count(self.calls)
        );
        if self.one_way > 0 {
            text.push_str(&format!(", calls without an answer {}", count(self.one_way)));
        }
        if !dry {
            text.push_str(&format!(
                "; {} compared, {} ended in another way",
                count(self.compared),
                count(self.differ)
            ));
        }
        text.push('\n');
        Ok(output.text(&text)?)
    }
}

/// The record with as much of its payload as people look at.
fn shortened(mut record: Record) -> Record {
    for text in [&mut record.payload, &mut record.payload_hex]
        .into_iter()
        .flatten()
    {
        if let Some((end, _)) = text.char_indices().nth(SHOWN_MAX) {
            text.truncate(end);
            record.truncated = true;
        }
    }
    record
}

/// A step for programs that only look.
fn dry(step: &Step) -> String {
    let action = match step.action {
        Action::Publish { .. } => "publish",
        Action::Call { .. } => "call",
        Action::OneWay => "one-way",
    };
    let line = json!({"line": step.line, "at_us": step.at_us, "action": action, "object": step.object,
        "member": step.member, "bytes": step.payload.bytes.len()});
    format!("{}\n", compact(&line.to_string()))
}

/// How a step ended.
struct Done {
    step: Step,
    outcome: Outcome,
}

type Running = Pin<Box<dyn Future<Output = Done>>>;

/// Does everything, at its time. Beside what was done: whether the broker has taken all of it.
async fn perform(
    script: &mut Script<'_>,
    wanted: &Replay,
    session: &mut Session,
) -> Result<(Totals, Result<(), Failure>), Failure> {
    let Session {
        client,
        options,
        output,
    } = &mut *session;
    let in_flight = usize::try_from(wanted.in_flight).unwrap_or(usize::MAX);
    let mut totals = Totals::default();
    let mut running: FuturesUnordered<Running> = FuturesUnordered::new();
    let mut first = None;
    while !totals.hung
        && let Some((_, step)) = script.next()?
    {
        let (began, at_us) = *first.get_or_insert_with(|| (Instant::now(), step.at_us));
        let due = due(began, step.at_us.saturating_sub(at_us), wanted.speed);
        loop {
            let full = running.len() >= in_flight;
            tokio::select! {
                biased;
                Some(done) = running.next() => ended(&done, &mut totals, output)?,
                // The time itself is what is waited for.
                () = tokio::time::sleep_until(due), if !full => break,
            }
        }
        totals.count(&step.action);
        running.push(Box::pin(one(client.clone(), step, options.timeout)));
        // Sends it now, so that the order is that of the recording.
        while let Some(Some(done)) = running.next().now_or_never() {
            ended(&done, &mut totals, output)?;
        }
    }
    while let Some(done) = running.next().await {
        ended(&done, &mut totals, output)?;
    }
    let flushed = match totals.hung {
        true => Err(Failure::new(Exit::Timeout, "replay: the broker does not answer")),
        false => session.within("replay", session.client.flush()).await,
    };
    Ok((totals, flushed))
}

fn due(began: Instant, after_us: u64, speed: Speed) -> Instant {
    let after = match speed {
        Speed::Max => Duration::ZERO,
        Speed::Times(times) => {
            Duration::try_from_secs_f64(after_us as f64 / 1e6 / times).unwrap_or(Duration::MAX)
        }
    };
    began.checked_add(after).unwrap_or(began)
}

async fn one(client: IpcClient, step: Step, deadline: Option<Duration>) -> Done {
    let (object, member, payload) = (&step.object, &step.member, step.payload.clone());
    let metadata = step.metadata.clone();
    let of_then = match &step.action {
        Action::Call { deadline, .. } => *deadline,
        _ => None,
    };
    let call = || {
        let call = client.call(object, member).metadata(metadata.clone());
        match deadline.or(of_then) {
            Some(deadline) => call.deadline(deadline),
            None => call,
        }
    };
    let ended: Result<(), CallError> = match step.action {
        Action::Publish { retain, .. } => {
            let event = client
                .publish_payload(object, member, payload)
                .metadata(metadata.clone());
            let event = if retain { event.retained() } else { event };
            event.acknowledged().await.map(|_| ())
        }
        Action::OneWay => call().no_reply_payload(payload).await,
        Action::Call { stream: false, .. } => call().send_payload(payload).await.map(drop),
        Action::Call { stream: true, .. } => {
            let mut items = call().stream_payload(payload);
            loop {
                match items.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            }
        }
    };
    let outcome = ended.map_or_else(
        |error| Outcome::Failed(error.code.name().to_owned()),
        |()| Outcome::Answered,
    );
    Done { step, outcome }
}

/// Compares, and tells what is different.
fn ended(done: &Done, totals: &mut Totals, output: &mut Output) -> Result<(), Failure> {
    let recorded = match &done.step.action {
        Action::Call { recorded: None, .. } => return Ok(()),
        Action::Call {
            recorded: Some(outcome),
            ..
        } => outcome,
        Action::Publish { recorded, .. } => recorded,
        Action::OneWay => &Outcome::Answered,
    };
    // Events are accepted by the broker itself.
    let deadline = Outcome::Failed(ErrorCode::Deadline.name().to_owned());
    totals.hung |= matches!(done.step.action, Action::Publish { .. }) && done.outcome == deadline;
    totals.compared = totals.compared.saturating_add(1);
    if *recorded == done.outcome {
        return Ok(());
    }
    totals.differ = totals.differ.saturating_add(1);
    let Step {
        line,
        object,
        member,
        action,
        ..
    } = &done.step;
    let verb = if matches!(action, Action::Publish { .. }) {
        "send"
    } else {
        "call"
    };
    let (then, now) = (recorded.name(), done.outcome.name());
    let text = if output.json() {
        let line = json!({"difference": {"line": line, "action": verb, "object": object, "member": member, "recorded": then, "now": now}});
        compact(&line.to_string())
    } else {
        let (object, member) = (printable(object), printable(member));
        format!(
            "line {line}: {verb} {object}.{member}: recorded {}, now {}",
            printable(then),
            printable(now)
        )
    };
    Ok(output.text(&format!("{text}\n"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        let table = [
            ("1", Some(Speed::Times(1.0))),
            ("2x", Some(Speed::Times(2.0))),
            ("0.5", Some(Speed::Times(0.5))),
            ("max", Some(Speed::Max)),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("fast", None),
        ];
        for (text, expected) in table {
            assert_eq!(speed(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_spacing_is_that_of_the_recording_by_the_speed() {
        let began = Instant::now();
        let after = |us, speed| due(began, us, speed).duration_since(began);
        assert_eq!(after(1_500_000, Speed::Times(1.0)), Duration::from_millis(1_500));
        assert_eq!(after(1_500_000, Speed::Times(3.0)), Duration::from_millis(500));
        assert_eq!(after(1_500_000, Speed::Max), Duration::ZERO);
        assert_eq!(
            after(u64::MAX, Speed::Times(0.001)),
            Duration::from_secs_f64(u64::MAX as f64 / 1e3)
        );
    }
}

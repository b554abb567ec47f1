//! `rob ping`: round trips to the broker, or through it to an object.
//!
//! Owns what counts as an answer, and the figures at the end. Called by `commands`.

use super::session::Session;
use crate::exit::{Exit, Failure};
use crate::options::{name, seconds};
use crate::output::Output;
use crate::value;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::ObjectName;
use actix_ipc::platform::signals::EndSignals;
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  rob ping                            five round trips to the broker
  rob ping math --count 100 --quiet   through the broker to the process behind an object; the figures only
  rob ping --count 60 --interval 1    for a minute
  rob ping --json | tail -1 | jq .avg_us";

/// Round trips without `--count`.
const ROUNDS: u64 = 5;
/// What an object is asked for. Most have no such method, and saying so is an answer.
const METHOD: &str = "ping";

/// `rob ping`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ping {
    /// Ask this object instead of the broker: its method `ping` is called, and that it has none is an answer as well. An object of
    /// `rob serve` runs its command for it.
    #[arg(value_name = "OBJECT", value_parser = name)]
    object: Option<String>,
    /// The time from one round trip to the next, in seconds; without it, the next one begins at once.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    interval: Option<Duration>,
}

/// Measures the round trips; the first that fails is the end. However it ends, the figures of those that were answered are told.
pub(crate) async fn run(wanted: &Ping, session: &mut Session) -> Result<(), Failure> {
    if let Some(object) = &wanted.object {
        // Refused by the object it would count as an answer.
        let none = |error| Failure::new(Exit::Usage, format!("ping {object:?}: {error}"));
        ObjectName::new(object).map_err(none)?;
    }
    let failed = |error| Failure::new(Exit::Refused, format!("ping: no signals ({error})"));
    let mut signals = EndSignals::receive().map_err(failed)?;
    let mut figures = Figures::default();
    let ended = tokio::select! {
        ended = rounds(wanted, session, &mut figures) => ended,
        signal = signals.next() => Err(Failure::new(Exit::of_signal(signal), "")),
    };
    if figures.count > 0 {
        figures.tell(&mut session.output)?;
    }
    ended
}

async fn rounds(wanted: &Ping, session: &mut Session, figures: &mut Figures) -> Result<(), Failure> {
    let rounds = session.options.count.unwrap_or(ROUNDS);
    let mut ticks = wanted.interval.map(tokio::time::interval);
    while figures.count < rounds {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let taken = match &wanted.object {
            None => session.within("ping", session.client.ping()).await?,
            Some(object) => match session.limited(knock(session, object)).await {
                Ok(taken) => taken,
                Err(error) => return Err(session.failed(&format!("ping {object}"), object, error).await),
            },
        };
        // The system's clock for waiting is coarser than that for measuring.
        if let Some(patience) = session.options.timeout.filter(|patience| taken > *patience) {
            let text = format!(
                "ping: the round trip took {} µs; --timeout SECONDS waits longer than {} s",
                micros(taken),
                patience.as_secs_f64()
            );
            return Err(Failure::new(Exit::Timeout, text));
        }
        figures.add(taken);
        if session.options.quiet {
            continue;
        }
        let (count, taken) = (figures.count, micros(taken));
        if session.output.json() {
            let line = json!({ "round": count, "us": taken });
            session.output.result(&value::payload(line.to_string()))?;
        } else {
            session.output.text(&format!("{count}: {taken} µs\n"))?;
        }
    }
    Ok(())
}

/// One call to the object. Whatever its process says, it has answered.
async fn knock(session: &Session, object: &str) -> Result<Duration, CallError> {
    let start = Instant::now();
    let mut request = session.client.call(object, METHOD);
    if let Some(deadline) = session.options.timeout {
        request = request.deadline(deadline);
    }
    let answer = request.send_payload(value::payload("null")).await;
    match answer {
        Ok(_) => Ok(start.elapsed()),
        Err(error) if of_object(error.code) => Ok(start.elapsed()),
        Err(error) => Err(error),
    }
}

/// Codes that the object's own process sends.
const fn of_object(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Handler
            | ErrorCode::HandlerPanicked
            | ErrorCode::NoSuchMethod
            | ErrorCode::NoSuchProtocol
            | ErrorCode::Invalid
            | ErrorCode::Encoding
    )
}

#[derive(Debug, Default)]
struct Figures {
    count: u64,
    min: Duration,
    max: Duration,
    sum: Duration,
}

impl Figures {
    fn add(&mut self, taken: Duration) {
        self.min = if self.count == 0 {
            taken
        } else {
            self.min.min(taken)
        };
        self.max = self.max.max(taken);
        self.sum = self.sum.saturating_add(taken);
        self.count = self.count.saturating_add(1);
    }

    fn tell(&self, output: &mut Output) -> Result<(), Failure> {
        let Self { count, min, max, .. } = *self;
        let (min, avg, max) = (micros(min), micros(self.average()), micros(max));
        if output.json() {
            let line = json!({ "count": count, "min_us": min, "avg_us": avg, "max_us": max });
            output.result(&value::payload(line.to_string()))?;
        } else {
            output.text(&format!(
                "{count} answered: min {min} µs, avg {avg} µs, max {max} µs\n"
            ))?;
        }
        Ok(())
    }

    fn average(&self) -> Duration {
        let nanos = self.sum.as_nanos().checked_div(u128::from(self.count));
        Duration::from_nanos(u64::try_from(nanos.unwrap_or_default()).unwrap_or(u64::MAX))
    }
}

/// In µs, with a tenth.
fn micros(taken: Duration) -> f64 {
    (taken.as_secs_f64() * 1e7).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_all_rounds() {
        let mut figures = Figures::default();
        for taken in [30, 10, 20] {
            figures.add(Duration::from_micros(taken));
        }
        let shown = [figures.min, figures.average(), figures.max].map(micros);
        assert_eq!((figures.count, shown), (3, [10.0, 20.0, 30.0]));
        assert_eq!(micros(Duration::from_nanos(12_345)), 12.3);
    }
}

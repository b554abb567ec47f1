//! `rob top`: the broker live, on a terminal, or one sample after the other for programs.
//!
//! Owns the options and the samples for programs. `sample` looks, `view` decides what is shown, `draw` shows it, `live` has the terminal
//! (feature `top`). Called by `observe`.

#[cfg(feature = "top")]
mod draw;
#[cfg(feature = "top")]
mod live;
mod rows;
mod sample;
#[cfg(feature = "top")]
mod screen;
mod view;

use crate::commands::news;
use crate::commands::session::{Session, unless_ended};
use crate::exit::{Exit, Failure};
use crate::observe::ask::is_passing;
use crate::options::{Options, seconds};
use crate::output::compact;
use crate::say::warn;
use actix_ipc::platform::signals::EndSignals;
use clap::Args;
use sample::Sampler;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};
use view::Tab;

/// `rob top`.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Top {
    /// How often to look, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,
    /// What to show first.
    #[arg(long, value_name = "TAB", default_value = "objects")]
    pub(crate) tab: Tab,
}

fn interval(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3_600);
    let wanted = || "a number of seconds from 0.1 to 3600".to_owned();
    seconds(text)
        .map_err(|_| wanted())
        .and_then(|time| bounds.contains(&time).then_some(time).ok_or_else(wanted))
}

impl Top {
    /// Refuses before anything is asked of the broker, when there is nowhere to show it.
    pub(crate) fn check(&self, options: &Options) -> Result<(), Failure> {
        let text = if options.json {
            return Ok(());
        } else if cfg!(not(feature = "top")) {
            "top: this rob was built without its terminal view (feature `top`); --json gives a sample per line"
        } else if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            "top: this is no terminal; --json gives a sample per line, and `rob status` one page"
        } else {
            return Ok(());
        };
        Err(Failure::new(Exit::Usage, text))
    }
}

/// Shows the broker until somebody has seen enough.
pub(crate) async fn run(wanted: &Top, session: &mut Session) -> Result<(), Failure> {
    if session.output.json() {
        return samples(wanted, session).await;
    }
    #[cfg(feature = "top")]
    let shown = live::run(wanted, session).await;
    #[cfg(not(feature = "top"))]
    let shown = wanted.check(&session.options);
    shown
}

/// One sample per line. The first has the rates since the broker's start, the others those since the one before.
async fn samples(wanted: &Top, session: &mut Session) -> Result<(), Failure> {
    let mut signals = EndSignals::receive_at_terminal().map_err(|error| cannot(&error))?;
    let mut sampler = Sampler::default();
    let mut left = session.options.count;
    let mut clock = clock(wanted.interval);
    let mut connection = session.client.connection_events();
    let mut answered = Instant::now();
    while left != Some(0) {
        tokio::select! {
            biased;
            signal = signals.next() => return Err(ended(Exit::of_signal(signal))),
            Some(event) = connection.next() => {
                let why = news::of_connection(&event, "looking");
                why.map_err(|why| Failure::new(Exit::Lost, format!("top: {why}")))?;
                continue;
            }
            _ = clock.tick() => {}
        }
        let look = sampler.look(&session.client, &session.options);
        let sample = match unless_ended(&mut signals, look).await {
            Ok(sample) => sample,
            Err(failure) if failure.exit == Exit::Timeout && session.options.timeout.is_some() => {
                return Err(failure);
            }
            Err(failure) if failure.exit == Exit::Timeout => {
                warn("top: the broker does not answer; a sample is missing here");
                continue;
            }
            // That it is gone, or is there again, the connection tells.
            Err(failure) if is_passing(&failure) => match session.options.timeout {
                Some(limit) if answered.elapsed() >= limit => return Err(failure),
                _ => continue,
            },
            Err(failure) => return Err(failure),
        };
        answered = Instant::now();
        session
            .output
            .text(&format!("{}\n", compact(&sample.json().to_string())))?;
        left = left.map(|left| left.saturating_sub(1));
    }
    Ok(())
}

fn cannot(error: &io::Error) -> Failure {
    Failure::new(Exit::Refused, format!("top: no signals ({error})"))
}

/// The end without a word.
fn ended(exit: Exit) -> Failure {
    Failure::new(exit, String::new())
}

/// When to look: the time itself is what is waited for. A look that took too long makes the next one later.
fn clock(interval: Duration) -> Interval {
    let mut clock = tokio::time::interval(interval);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

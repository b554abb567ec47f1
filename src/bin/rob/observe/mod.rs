//! What the running broker shows of itself: `status`, `services`, `watch`, `monitor`, `record`, `replay` and `top`.
//!
//! Owns how `sys.broker` is asked (`ask`, `tap`), what its answers are (`shape`), and how they are shown. What the broker counts and
//! whom it lets look is the broker's. Called by `commands`.

mod answers;
mod ask;
mod line;
pub(crate) mod monitor;
mod open_calls;
mod rates;
pub(crate) mod record;
mod recording;
pub(crate) mod replay;
mod script;
mod seen;
mod services;
mod shape;
pub(crate) mod status;
mod steps;
mod subscribed;
mod tap;
pub(crate) mod top;
pub(crate) mod watch;
pub(crate) mod words;

use crate::commands::session::{PATIENCE, Session};
use crate::exit::Failure;
use crate::options::Options;
use actix_ipc::error::{CallError, ErrorCode};
use clap::Subcommand;
use std::future::IntoFuture;

const STATUS: &str = "\
Examples:
  rob status                              how the broker is, with the rates of the next second
  rob status --since-start                at once, with the rates since the broker's start
  rob --json status | jq .totals.calls    one number for a script";

const WATCH: &str = "\
Examples:
  rob watch                               what is there, and then every change
  rob watch --names 'sensor.**'           only names of objects below sensor
  rob watch --changes --count 1           wait for the next change of anything";

const MONITOR: &str = "\
Examples:
  rob monitor                             everything that passes through the broker
  rob monitor math add --payloads         calls of one method and their answers, with 256 bytes of each payload
  rob monitor --kind event --rate 100     at most 100 events a second; the rest is dropped and counted
  rob --json monitor --pid 4242           what one process sends and gets, for programs";

const RECORD: &str = "\
Examples:
  rob record traffic.jsonl                calls, answers and events until ctrl+c
  rob record s.jsonl sensor --kind event  only the events of one object
  rob record t.jsonl --seconds 60 --strict  a minute; fails when anything is missing
  rob record t.jsonl --rate 1000000       everything that can be read in time, whatever it costs the broker; without it 2,000 a second
docs/recording.md describes the file.";

const REPLAY: &str = "\
Examples:
  rob replay traffic.jsonl                as it was recorded
  rob replay traffic.jsonl --speed max    without waiting
  rob replay traffic.jsonl math --dry-run show which calls of math would be made";

const TOP: &str = "\
Examples:
  rob top                                 who calls what how often, live; ? shows the keys
  rob top --tab topics --interval 0.5     begin with the topics, look twice a second
  rob --json top --count 1                one sample for a program";

const SERVICES: &str = "\
Examples:
  rob services                            which services are described, and how each of them is
  rob --json services | jq -r '.services[] | select(.state == \"resting\").failure'";

/// The commands of this room.
#[derive(Debug, PartialEq, Subcommand)]
pub(crate) enum Observe {
    /// Show how the broker is: connections, queues, rates, who is slow, what happened lately.
    #[command(after_help = STATUS)]
    Status(status::Look),
    /// Show the services that start when somebody calls: their states, starts and last failures.
    #[command(after_help = SERVICES)]
    Services,
    /// Show names, connections and subscriptions that are there, appear and vanish.
    #[command(after_help = WATCH)]
    Watch(watch::Watch),
    /// Show every call, reply and event as it passes; needs the right to monitor.
    #[command(after_help = MONITOR)]
    Monitor(monitor::Monitor),
    /// Write calls, replies and events into a file; needs the right to monitor.
    #[command(after_help = RECORD)]
    Record(record::Record),
    /// Publish and call once more what a file has.
    #[command(after_help = REPLAY)]
    Replay(replay::Replay),
    /// Show objects, topics, connections and queues live; needs the right to monitor.
    #[command(after_help = TOP)]
    Top(top::Top),
}

impl Observe {
    /// The name of a command that lasts.
    pub(crate) const fn name(&self) -> Option<&'static str> {
        match self {
            Self::Status(_) | Self::Services => None,
            Self::Watch(_) => Some("watch"),
            Self::Monitor(_) => Some("monitor"),
            Self::Record(_) => Some("record"),
            Self::Replay(_) => Some("replay"),
            Self::Top(_) => Some("top"),
        }
    }

    /// Whether it gives many results, of which `--count` are enough.
    pub(crate) const fn counts(&self) -> bool {
        !matches!(self, Self::Status(_) | Self::Services)
    }
}

/// Carries the command out.
pub(crate) async fn run(wanted: &Observe, options: &Options) -> Result<(), Failure> {
    let lasting = matches!(
        wanted,
        Observe::Watch(_) | Observe::Monitor(_) | Observe::Record(_) | Observe::Top(_)
    );
    let mut session = match wanted {
        // What it would do needs no broker.
        Observe::Replay(replay) => return replay::run(replay, options).await,
        Observe::Top(top) => {
            top.check(options)?;
            Session::open(options, lasting).await?
        }
        _ => Session::open(options, lasting).await?,
    };
    match wanted {
        Observe::Status(wanted) => status::run(wanted, &mut session).await,
        Observe::Services => services::run(&mut session).await,
        Observe::Watch(wanted) => watch::run(wanted, &mut session).await,
        Observe::Monitor(wanted) => monitor::run(wanted, &mut session).await,
        Observe::Record(wanted) => record::run(wanted, &mut session).await,
        Observe::Top(wanted) => top::run(wanted, &mut session).await,
        Observe::Replay(_) => Ok(()),
    }?;
    session.close().await;
    Ok(())
}

/// A request within `--timeout`, or the time that a broker may take for what it does at once, with the words around its error.
async fn within<T>(
    options: &Options,
    context: &str,
    request: impl IntoFuture<Output = Result<T, CallError>>,
) -> Result<T, Failure> {
    let patience = options.timeout.unwrap_or(PATIENCE);
    let limited = tokio::time::timeout(patience, request).await;
    let limited = limited.unwrap_or_else(|_| Err(ErrorCode::Deadline.into()));
    limited.map_err(|error| Failure::of_call(context, error))
}

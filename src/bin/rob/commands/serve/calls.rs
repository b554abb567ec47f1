//! What became of each call that `rob serve` took.
//!
//! Owns how many run, how many there are to be, and the line that is shown of each. It runs nothing. Told by `exec`, asked by `serve`.

use crate::exit::Failure;
use crate::options::Options;
use crate::output::Output;
use crate::value;
use actix_ipc::client::CallContext;
use actix_ipc::terminal::printable;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// News of a call.
#[derive(Debug)]
pub(super) enum Served {
    /// It was taken; its command may have to wait.
    Begun,
    /// Its command has ended, or was killed.
    Ended(Ended),
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    method: String,
    caller: String,
    peer: u64,
    pid: u32,
    taken: Duration,
    outcome: Outcome,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With a result.
    Answered,
    /// With an exit status other than 0; none when a signal ended it.
    Failed(Option<i32>),
    /// It took longer than `--timeout`.
    TooLong,
    /// It printed more than `--output-limit`.
    TooMuch,
    /// It could not be started, or its value could not be given to it.
    NotRun,
    /// Nobody wanted the answer any more.
    Cancelled,
}

impl Outcome {
    fn text(self) -> String {
        match self {
            Self::Answered => "answered".to_owned(),
            Self::Failed(Some(code)) => format!("failed with exit status {code}"),
            Self::Failed(None) => "failed: a signal ended it".to_owned(),
            Self::TooLong => "killed after --timeout".to_owned(),
            Self::TooMuch => "killed: it printed more than --output-limit".to_owned(),
            Self::NotRun => "not run".to_owned(),
            Self::Cancelled => "killed: the caller has given up".to_owned(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed(_) => "failed",
            Self::TooLong => "timeout",
            Self::TooMuch => "output-limit",
            Self::NotRun => "not-run",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Ended {
    pub(super) fn new(call: &CallContext, begun: Instant, outcome: Outcome) -> Self {
        Self {
            method: call.method.to_string(),
            caller: call.caller_name.clone().unwrap_or_default(),
            peer: call.caller.peer.0,
            pid: call.caller.pid,
            taken: begun.elapsed(),
            outcome,
        }
    }

    fn line(&self) -> String {
        let (method, caller) = (printable(&self.method), printable(&self.caller));
        let millis = self.taken.as_millis();
        format!(
            "{method} for {caller} (process {}): {}, {millis} ms\n",
            self.pid,
            self.outcome.text()
        )
    }

    fn json(&self) -> String {
        let status = match self.outcome {
            Outcome::Answered => Some(0),
            Outcome::Failed(status) => status,
            _ => None,
        };
        json!({
            "method": self.method, "caller": self.caller, "peer": self.peer, "pid": self.pid,
            "outcome": self.outcome.name(), "exit": status, "us": u64::try_from(self.taken.as_micros()).unwrap_or(u64::MAX),
        })
        .to_string()
    }
}

/// All calls.
pub(super) struct Calls {
    news: UnboundedReceiver<Served>,
    running: u64,
    left: Option<u64>,
    quiet: bool,
}

impl Calls {
    pub(super) const fn new(news: UnboundedReceiver<Served>, options: &Options) -> Self {
        Self {
            news,
            running: 0,
            left: options.count,
            quiet: options.quiet,
        }
    }

    /// Whether there were as many as were asked for.
    pub(super) fn enough(&self) -> bool {
        self.left == Some(0)
    }

    /// How many commands run.
    pub(super) const fn running(&self) -> u64 {
        self.running
    }

    /// The next news. Cancel safe.
    pub(super) async fn next(&mut self) -> Served {
        match self.news.recv().await {
            Some(news) => news,
            // The handler is gone with its connection; what ends then is said elsewhere.
            None => std::future::pending().await,
        }
    }

    /// Takes what has been told already.
    pub(super) fn catch_up(&mut self, output: &mut Output) -> Result<(), Failure> {
        while let Ok(news) = self.news.try_recv() {
            self.note(&news, output)?;
        }
        Ok(())
    }

    /// Counts and shows.
    pub(super) fn note(&mut self, news: &Served, output: &mut Output) -> Result<(), Failure> {
        let Served::Ended(call) = news else {
            self.running = self.running.saturating_add(1);
            return Ok(());
        };
        self.running = self.running.saturating_sub(1);
        self.left = self.left.map(|left| left.saturating_sub(1));
        if self.quiet {
            return Ok(());
        }
        if output.json() {
            output.result(&value::payload(call.json()))?;
        } else {
            output.text(&call.line())?;
        }
        Ok(())
    }
}

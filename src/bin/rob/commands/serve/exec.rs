//! The handler of `rob serve`: one command for each call.
//!
//! Owns what a command is given, what its output means, and that it ends with its call. It knows no terminal but standard error, where the
//! command's own lines go. Called by the client library.

use super::calls::{Ended, Outcome, Served};
use crate::commands::session;
use actix_ipc::client::{CallContext, HandlerError, IncomingCall, Response};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Encoding, Payload};
use actix_ipc::platform::child::Group;
use actix_ipc::platform::filter::{Filtered, filter, has_signs, shell};
use actix_ipc::platform::leash::Leash;
use actix_ipc::terminal::printable;
use actix_ipc::{Handler, async_trait};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, oneshot};

/// How many of the last lines of standard error an error has as its text.
const LAST_LINES: usize = 10;
/// For a caller whose user or process the broker does not know.
const UNKNOWN: u32 = u32::MAX;

/// The object.
pub(super) struct Exec {
    line: Arc<str>,
    /// The broker's endpoint, when the command line says it: what the command calls is to be found there.
    broker: Option<String>,
    limit: Option<Duration>,
    most: usize,
    served: UnboundedSender<Served>,
    /// Places for commands; calls wait for them in order.
    places: Semaphore,
    /// Calls that may still be served.
    left: Option<AtomicU64>,
    /// What kills the commands when rob cannot.
    leash: Option<Arc<Leash>>,
}

impl Exec {
    /// Each call runs the line, for at most `limit`, and takes at most `most` bytes of what it prints. So many run at the same time, and
    /// so many calls are served.
    pub(super) fn new(
        (line, broker): (&str, Option<String>),
        limit: Option<Duration>,
        most: usize,
        served: UnboundedSender<Served>,
        (places, count): (usize, Option<u64>),
    ) -> Self {
        Self {
            line: line.into(),
            broker,
            limit,
            most,
            served,
            places: Semaphore::new(places),
            left: count.map(AtomicU64::new),
            // Without it they outlive a rob that is killed, and nothing else is different.
            leash: Leash::start().ok().map(Arc::new),
        }
    }

    /// Whether one call more is served.
    fn takes_one(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        let left = self.left.as_ref();
        left.is_none_or(|left| {
            left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
                .is_ok()
        })
    }

    /// Refused where the shell could take the caller's words for a part of the line.
    fn command(&self, call: &CallContext) -> Result<Command, HandlerError> {
        let trace = call.metadata.get_str("traceparent");
        let words = [
            ("method", Some(&*call.method)),
            ("caller's name", call.caller_name.as_deref()),
            ("traceparent", trace),
        ];
        for (whose, word) in words {
            if word.is_some_and(has_signs) {
                let text = format!(
                    "the {whose} has signs that cmd.exe may read as commands (& | < > ( ) ^ % ! \" or control characters); the command was not started"
                );
                return Err(HandlerError {
                    code: ErrorCode::Invalid,
                    ..HandlerError::new(text)
                });
            }
        }
        let mut command = shell(&self.line);
        command
            .env("ROB_OBJECT", &*call.object)
            .env("ROB_METHOD", &*call.method)
            .env("ROB_CALLER", call.caller_name.as_deref().unwrap_or_default())
            .env("ROB_CALLER_PEER", call.caller.peer.0.to_string())
            .env("ROB_CALLER_PID", known(call.caller.pid, 0))
            .env("ROB_CALLER_UID", known(call.caller.uid, UNKNOWN));
        if let Some(broker) = &self.broker {
            command.env(session::VARIABLE, broker);
        }
        // A name and a trace of whoever started rob would be taken for the caller's.
        match trace {
            Some(trace) if !trace.contains('\0') => command.env("TRACEPARENT", trace),
            _ => command.env_remove("TRACEPARENT"),
        };
        Ok(command)
    }
}

fn known(number: u32, unknown: u32) -> String {
    if number == unknown {
        String::new()
    } else {
        number.to_string()
    }
}

#[async_trait]
impl Handler for Exec {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        if !self.takes_one() {
            let text = format!("{} has served as many calls as it was to", call.context.object);
            return Err(HandlerError {
                code: ErrorCode::NoSuchObject,
                ..HandlerError::new(text)
            });
        }
        let mut running = Running::begin(&self.served, call.context.clone());
        // Never closed, so it is always given.
        let _place = self.places.acquire().await;
        running.begun = Instant::now();
        let (input, command) = match input(&call).and_then(|input| Ok((input, self.command(&call.context)?)))
        {
            Ok(both) => both,
            Err(error) => {
                running.outcome = Outcome::NotRun;
                return Err(error);
            }
        };
        let (done, ended) = oneshot::channel();
        let (group, most, last) = (Arc::clone(&running.group), self.most, Arc::clone(&running.last));
        let leash = self.leash.clone();
        let task = move || {
            let told = |line: &str| told(line, &last);
            let filtered = filter(command, &group, &input, most, &told, leash.as_deref());
            // Nobody waits any more when the call was given up.
            let _ = done.send(filtered);
        };
        if let Err(error) = std::thread::Builder::new().name("command".into()).spawn(task) {
            return Err(running.not_run(&error));
        }
        let ended = match self.limit {
            None => ended.await,
            Some(limit) => match tokio::time::timeout(limit, ended).await {
                Ok(ended) => ended,
                Err(_) => return Err(running.too_long(limit)),
            },
        };
        match ended {
            Ok(Ok(filtered)) => running.outcome_of(filtered, self.most),
            Ok(Err(error)) => Err(running.not_run(&error)),
            Err(error) => Err(running.not_run(&io::Error::other(error))),
        }
    }
}

/// One line of a command's standard error: to rob's own, and kept for the text of an error.
fn told(line: &str, last: &Mutex<VecDeque<String>>) {
    // At once, because others may write there as well.
    let _ = io::stderr()
        .lock()
        .write_all(format!("{}\n", printable(line)).as_bytes());
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    last.push_back(line.to_owned());
}

/// What the command reads: the value as JSON, with a line end.
fn input(call: &IncomingCall) -> Result<Vec<u8>, HandlerError> {
    let refused = |code, text: String| HandlerError {
        code,
        ..HandlerError::new(text)
    };
    let object = &call.context.object;
    let bytes = &call.payload.bytes;
    let mut input = match call.payload.encoding {
        Encoding::RAW if bytes.is_empty() => b"null".to_vec(),
        Encoding::RAW => match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::to_vec(text)?,
            Err(error) => {
                return Err(refused(
                    ErrorCode::Invalid,
                    format!("the raw value is no text: {error}"),
                ));
            }
        },
        Encoding::JSON => match serde_json::from_slice::<&RawValue>(bytes) {
            Ok(_) => bytes.to_vec(),
            Err(error) => {
                return Err(refused(
                    ErrorCode::Invalid,
                    format!("the value is not JSON: {error}"),
                ));
            }
        },
        other => {
            let text = format!("{object} takes JSON, not the encoding {}", other.name());
            return Err(refused(ErrorCode::Encoding, text));
        }
    };
    input.push(b'\n');
    Ok(input)
}

/// What a command printed, as the result.
fn result(output: Vec<u8>) -> Payload {
    let text = match String::from_utf8(output) {
        Ok(text) => text,
        Err(error) => return Payload::raw(error.into_bytes()),
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return crate::value::payload("null");
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => crate::value::payload(text.trim()),
        Err(_) => crate::value::payload(serde_json::Value::from(text).to_string()),
    }
}

/// A command for a call; its group is killed when the call ends before it.
struct Running {
    served: UnboundedSender<Served>,
    call: CallContext,
    begun: Instant,
    group: Arc<Group>,
    /// The last lines of its standard error.
    last: Arc<Mutex<VecDeque<String>>>,
    outcome: Outcome,
}

impl Running {
    fn begin(served: &UnboundedSender<Served>, call: CallContext) -> Self {
        let _ = served.send(Served::Begun);
        Self {
            served: served.clone(),
            call,
            begun: Instant::now(),
            group: Arc::default(),
            last: Arc::default(),
            outcome: Outcome::Cancelled,
        }
    }

    fn outcome_of(&mut self, filtered: Filtered, most: usize) -> Result<Response, HandlerError> {
        if !filtered.complete {
            self.outcome = Outcome::TooMuch;
            let text = self.explained(&format!("the command printed more than {} MiB", most >> 20));
            return Err(HandlerError::new(text).named("output-limit"));
        }
        if filtered.status.success() {
            self.outcome = Outcome::Answered;
            return Ok(Response::payload(result(filtered.output)));
        }
        let code = filtered.status.code();
        self.outcome = Outcome::Failed(code);
        let signal = filtered.signal();
        let text = match (self.told().trim(), code, signal) {
            ("", Some(code), _) => format!("the command ended with exit status {code}"),
            ("", None, Some(signal)) => format!("signal {signal} ended the command"),
            ("", ..) => "the command failed".to_owned(),
            (text, ..) => text.to_owned(),
        };
        let value = match (code, signal) {
            (Some(code), _) => json!({ "exit": code }),
            (None, signal) => json!({ "signal": signal }),
        };
        let error = HandlerError::new(text).named("exit-status");
        Err(error.with_payload(crate::value::payload(value.to_string())))
    }

    /// The last lines that the command wrote on standard error.
    fn told(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = last.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// Why it was killed, with what it said last.
    fn explained(&self, why: &str) -> String {
        match self.told().trim() {
            "" => why.to_owned(),
            last => format!("{why}; it said last:\n{last}"),
        }
    }

    fn too_long(&mut self, limit: Duration) -> HandlerError {
        self.outcome = Outcome::TooLong;
        let why = format!(
            "the command did not end within {} s and was killed",
            limit.as_secs_f64()
        );
        HandlerError::new(self.explained(&why)).named("timeout")
    }

    fn not_run(&mut self, error: &io::Error) -> HandlerError {
        self.outcome = Outcome::NotRun;
        HandlerError::new(format!("the command cannot be run: {error}")).named("not-run")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without effect when it has ended.
        self.group.end(true);
        let ended = Ended::new(&self.call, self.begun, self.outcome);
        let _ = self.served.send(Served::Ended(ended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_json_or_text() {
        let table = [
            ("{\"sum\": 42}\n", "{\"sum\": 42}"),
            ("42", "42"),
            ("", "null"),
            ("\n", "null"),
            ("hello\n", "\"hello\""),
            ("two\nlines\n", "\"two\\nlines\""),
            ("  17:30", "\"  17:30\""),
            ("1 2", "\"1 2\""),
        ];
        for (printed, expected) in table {
            let payload = result(printed.as_bytes().to_vec());
            assert_eq!(
                (payload.encoding, std::str::from_utf8(&payload.bytes).unwrap()),
                (Encoding::JSON, expected),
                "{printed:?}"
            );
        }
        let payload = result(vec![0xff, 0]);
        assert_eq!(
            (payload.encoding, &payload.bytes[..]),
            (Encoding::RAW, &[0xff, 0][..])
        );
    }
}

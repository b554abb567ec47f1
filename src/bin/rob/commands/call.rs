//! `rob call`: one call, its result or the items of it.
//!
//! Owns the deadline and the end after `--count` items. Called by `commands`.

use super::session::{self, Session};
use crate::exit::Failure;
use crate::options::name;
use crate::value::{self, Value, Words};
use actix_ipc::message::Payload;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  rob call math add {ii} a 10 b 32        a map of two integers
  rob call math sum [ii] 1 2              a list; (ii) needs quotes: '(ii)'
  rob call math now                       no value: null
  rob call math add j '{\"a\":1,\"b\":2}'     JSON as it is
  rob call math add - < numbers.json      JSON from standard input
  rob call log tail --count 10 --json     the first ten items of a streamed result";

/// `rob call`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Call {
    /// The object's name.
    #[arg(value_name = "OBJECT", value_parser = name)]
    object: String,
    /// The method to call.
    #[arg(value_name = "METHOD", value_parser = name)]
    method: String,
    /// The value.
    #[command(flatten)]
    pub(crate) words: Words,
}

/// Calls and prints what comes, until it ends or there was as much as was asked for.
pub(crate) async fn run(wanted: &Call, session: &mut Session) -> Result<(), Failure> {
    let (object, method) = (wanted.object.as_str(), wanted.method.as_str());
    let payload = payload(&wanted.words.value)?;
    let mut request = session.client.call(object, method);
    if let Some(deadline) = session.options.timeout {
        request = request.deadline(deadline);
    }
    if let Some(parent) = session::trace() {
        request = request.traceparent(parent);
    }
    // Asked for as a stream, because only the object knows whether it answers once or often.
    let mut items = request.stream_payload(payload);
    let mut shown = 0;
    while session.options.count.is_none_or(|count| shown < count) {
        let item = match items.next().await {
            None => break,
            Some(Ok(item)) => item.payload,
            Some(Err(error)) => {
                return Err(session
                    .failed(&format!("call {object}.{method}"), object, error)
                    .await);
            }
        };
        if shown > 0 {
            session.output.gap()?;
        }
        session.output.result(&item)?;
        shown = shown.saturating_add(1);
    }
    Ok(())
}

fn payload(value: &Value) -> Result<Payload, Failure> {
    match value {
        Value::Json(text) => Ok(value::payload(text.as_str())),
        // Lines are events.
        Value::Stdin | Value::Lines(_) => value::read_stdin(),
    }
}

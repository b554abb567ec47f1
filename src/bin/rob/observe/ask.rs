//! Asking `sys.broker`.
//!
//! Owns how its methods are called and what is said when it refuses. It shows nothing; `shape` has the types. Called by everything in
//! this room.

use crate::exit::{Exit, Failure};
use crate::options::Options;
use actix_ipc::IpcClient;
use actix_ipc::error::{CallError, ErrorCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// The object.
pub(crate) const BROKER: &str = "sys.broker";
/// How long an answer may take when nothing else is said: the broker answers from memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// One answer of the broker about itself.
///
/// # Errors
/// When it refuses, is of another version or does not answer.
pub(crate) async fn ask(client: &IpcClient, options: &Options, method: &str) -> Result<Value, Failure> {
    let request = client
        .call(BROKER, method)
        .deadline(options.timeout.unwrap_or(PATIENCE));
    let answer = request.send::<_, Value>(&json!({})).await;
    answer.map_err(|error| refused(method, error))
}

/// The answer as a type.
///
/// # Errors
/// When it is something else.
pub(crate) fn read<T: DeserializeOwned>(method: &str, answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        let text = format!(
            "{BROKER}.{method}: the answer is not what it should be ({error}); rob and the broker differ"
        );
        Failure::new(Exit::Remote, text)
    })
}

/// Both at once.
///
/// # Errors
/// As [`ask`] and [`read`].
pub(crate) async fn get<T: DeserializeOwned>(
    client: &IpcClient,
    options: &Options,
    method: &str,
) -> Result<T, Failure> {
    read(method, ask(client, options, method).await?)
}

/// Whether the broker is gone, or about to go, and may answer the next time. One that stops takes its own object away first.
pub(crate) fn is_passing(failure: &Failure) -> bool {
    let code = failure.call.as_ref().map(|error| error.code);
    matches!(
        code,
        Some(
            ErrorCode::BrokerGone
                | ErrorCode::NotConnected
                | ErrorCode::CalleeGone
                | ErrorCode::Cancelled
                | ErrorCode::ReplyLost
                | ErrorCode::Draining
                | ErrorCode::NoSuchObject
                | ErrorCode::Deadline
        )
    )
}

/// The failure of a question, with what to do about it.
pub(crate) fn refused(method: &str, error: CallError) -> Failure {
    let code = error.code;
    let mut failure = Failure::of_call(&format!("{BROKER}.{method}"), error);
    match code {
        // The broker says by itself what a policy is to say.
        ErrorCode::Denied if !failure.message.contains("policy") => failure
            .message
            .push_str("; a policy must give the right `monitor` (docs/policy.md)"),
        ErrorCode::Invalid if failure.message.contains('*') => failure
            .message
            .push_str("; a name is matched level by level: 'a.*' is one more level, 'a.**' all of them"),
        ErrorCode::NoSuchMethod => {
            failure.message = format!(
                "this broker cannot tell {method}: it is older than this rob; `rob --json call {BROKER} status` shows its version"
            );
        }
        _ => {}
    }
    failure
}

//! The messages of ipc-broker 1.1.5, as its module `rpc` has them.
//!
//! Owns their shapes, the bytes around them and their limit. What they mean is the codec's.

use super::super::said::{Failure, Unsaid};
use crate::error::ErrorCode;
use crate::text::cut;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The most that its length may say, in bytes: `BUF_SIZE` of its module `rpc`.
pub(super) const FRAME_MAX: usize = 65_536;

#[derive(Deserialize)]
pub(super) enum Request<'a> {
    RegisterObject {
        #[serde(borrow)]
        object_name: Cow<'a, str>,
    },
    RegisterService {
        #[serde(borrow)]
        object_name: Cow<'a, str>,
        #[serde(borrow)]
        service_name: Cow<'a, str>,
    },
    Call {
        #[serde(borrow)]
        call_id: Cow<'a, str>,
        #[serde(borrow)]
        object_name: Cow<'a, str>,
        #[serde(borrow)]
        method: Cow<'a, str>,
        #[serde(borrow)]
        args: &'a RawValue,
    },
    Subscribe {
        #[serde(borrow)]
        object_name: Cow<'a, str>,
        #[serde(borrow)]
        topic: Cow<'a, str>,
    },
    Publish {
        #[serde(borrow)]
        object_name: Cow<'a, str>,
        #[serde(borrow)]
        topic: Cow<'a, str>,
        #[serde(borrow)]
        args: &'a RawValue,
    },
    HasObject {
        #[serde(borrow)]
        object_name: Cow<'a, str>,
    },
    Result {
        #[serde(borrow)]
        call_id: Cow<'a, str>,
        #[serde(borrow)]
        value: &'a RawValue,
    },
    Error {
        #[serde(borrow)]
        call_id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        message: Cow<'a, str>,
    },
}

#[derive(Serialize)]
pub(super) enum Response<'a> {
    Registered {
        object_name: &'a str,
    },
    Subscribed {
        object_name: &'a str,
        topic: &'a str,
    },
    HasObjectResult {
        object_name: &'a str,
        exists: bool,
    },
    Result {
        call_id: &'a str,
        object_name: &'a str,
        value: &'a RawValue,
    },
    Error {
        call_id: Option<&'a str>,
        object_name: &'a str,
        message: &'a str,
    },
    Call {
        call_id: &'a str,
        object_name: &'a str,
        method: &'a str,
        args: &'a RawValue,
    },
    Event {
        object_name: &'a str,
        topic: &'a str,
        args: &'a RawValue,
    },
}

/// What a failure is called in this format.
pub(super) fn message(object: &str, failure: &Failure) -> String {
    match (failure.code, &failure.value) {
        (ErrorCode::NoSuchObject, _) => format!("No such object '{object}'"),
        (_, Some(value)) => format!("{}: {value}", failure.text),
        (_, None) => failure.text.clone(),
    }
}

pub(super) fn write(response: &Response<'_>, out: &mut Vec<u8>) -> Result<(), Unsaid> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    // Nothing here has a form that JSON lacks.
    let written = serde_json::to_writer(&mut *out, response);
    let length = out.len().saturating_sub(start).saturating_sub(4);
    if written.is_err() || length > FRAME_MAX {
        out.truncate(start);
        return Err(Unsaid::TooLarge(length, FRAME_MAX));
    }
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(head) = out.get_mut(start..start.saturating_add(4)) {
        head.copy_from_slice(&length);
    }
    Ok(())
}

/// A message is cut off where it is too long for its frame.
pub(super) fn shortened(message: &str) -> &str {
    cut(message, FRAME_MAX / 8)
}

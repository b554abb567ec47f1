//! The format of ipc-broker 1.1.5: a length of four bytes, big-endian, and so much JSON.
//!
//! Owns the shapes of its messages and its limits. An answer bears the request's `call_id`, but its client takes the next message for
//! the answer whatever it is; the gateway keeps events back meanwhile. Called by the gateway.

use super::said::{CallTicket, Codec, Failure, Next, Place, Said, Told, Unsaid};
use super::value::raw;
use crate::error::ErrorCode;
use crate::text::cut;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// The most that its length may say, in bytes: `BUF_SIZE` of its module `rpc`.
const FRAME_MAX: usize = 65_536;
/// What the names and brackets around a value take at most, so that a value of `limit` bytes fits.
const AROUND: usize = 1_024;

/// What a request costs that is not answered, beside its names.
const ASKED_BYTES: usize = 64;

#[derive(Deserialize)]
enum Request<'a> {
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
enum Response<'a> {
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

/// What was asked, for the answer to repeat.
#[derive(Debug)]
enum Asked {
    Register(Box<str>),
    Call(Box<str>, Box<str>),
    Subscribe(Box<str>, Box<str>),
    Has(Box<str>),
}

impl Asked {
    fn bytes(&self) -> usize {
        let (one, other) = match self {
            Self::Register(one) | Self::Has(one) => (one.len(), 0),
            Self::Call(one, other) | Self::Subscribe(one, other) => (one.len(), other.len()),
        };
        one.saturating_add(other).saturating_add(ASKED_BYTES)
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct IpcBroker {
    /// The first message has begun as one.
    begun: bool,
    last: Place,
    asked: HashMap<Place, Asked>,
    /// What they take.
    asked_bytes: usize,
    /// Requests after which the client takes the next message for the answer.
    positional: usize,
    /// What became of subscriptions, told when nothing else is waited for.
    subscribed: Vec<(Place, Option<String>)>,
    /// Calls that the client has not answered.
    owed: HashSet<CallTicket>,
}

impl IpcBroker {
    fn ask(&mut self, asked: Asked) -> Place {
        self.last = self.last.saturating_add(1);
        if !matches!(asked, Asked::Subscribe(..)) {
            self.positional = self.positional.saturating_add(1);
        }
        self.asked_bytes = self.asked_bytes.saturating_add(asked.bytes());
        self.asked.insert(self.last, asked);
        self.last
    }

    fn said<'a>(&mut self, body: &'a [u8]) -> Said<'a> {
        let request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => {
                // As the old broker did: a word in the log, and the client may go on.
                tracing::debug!(%error, "a message of an ipc-broker client is none");
                return Said::Nothing;
            }
        };
        match request {
            Request::RegisterObject { object_name } => Said::Register {
                place: self.ask(Asked::Register(object_name.as_ref().into())),
                object: object_name,
            },
            Request::Call {
                call_id,
                object_name,
                method,
                args,
            } => Said::Call {
                place: self.ask(Asked::Call(call_id.into(), object_name.as_ref().into())),
                object: object_name,
                method,
                args: args.get(),
            },
            Request::Subscribe { object_name, topic } => Said::Subscribe {
                place: self.ask(Asked::Subscribe(
                    object_name.as_ref().into(),
                    topic.as_ref().into(),
                )),
                object: object_name,
                topic,
            },
            Request::Publish {
                object_name,
                topic,
                args,
            } => Said::Publish {
                object: object_name,
                topic,
                value: args.get(),
            },
            Request::HasObject { object_name } => Said::Has {
                place: self.ask(Asked::Has(object_name.as_ref().into())),
                object: object_name,
            },
            Request::Result { call_id, value } => self.answer(&call_id, Ok(value.get())),
            Request::Error { call_id, message } => match call_id {
                Some(call_id) => self.answer(&call_id, Err(message)),
                None => Said::Nothing,
            },
            Request::RegisterService {
                object_name,
                service_name,
            } => Said::Service {
                object: object_name,
                unit: service_name,
            },
        }
    }

    fn answer<'a>(&mut self, call_id: &str, outcome: Result<&'a str, Cow<'a, str>>) -> Said<'a> {
        match call_id.parse() {
            Ok(call) if self.owed.remove(&call) => Said::Answer { call, outcome },
            _ => Said::Nothing,
        }
    }

    /// Takes what was asked out of the list of what is not answered.
    fn take(&mut self, place: Place) -> Option<Asked> {
        let asked = self.asked.remove(&place)?;
        self.asked_bytes = self.asked_bytes.saturating_sub(asked.bytes());
        if !matches!(asked, Asked::Subscribe(..)) {
            self.positional = self.positional.saturating_sub(1);
        }
        Some(asked)
    }

    fn tell_subscribed(&mut self, out: &mut Vec<u8>) {
        if self.positional > 0 {
            return;
        }
        for (place, failed) in std::mem::take(&mut self.subscribed) {
            let Some(Asked::Subscribe(object, topic)) = self.take(place) else {
                continue;
            };
            let told = match &failed {
                None => Response::Subscribed {
                    object_name: &object,
                    topic: &topic,
                },
                Some(text) => Response::Error {
                    call_id: None,
                    object_name: &object,
                    message: shortened(text),
                },
            };
            let _ = write(&told, out);
        }
    }
}

/// What a failure is called in this format.
fn message(object: &str, failure: &Failure) -> String {
    match (failure.code, &failure.value) {
        (ErrorCode::NoSuchObject, _) => format!("No such object '{object}'"),
        (_, Some(value)) => format!("{}: {value}", failure.text),
        (_, None) => failure.text.clone(),
    }
}

fn write(response: &Response<'_>, out: &mut Vec<u8>) -> Result<(), Unsaid> {
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
fn shortened(message: &str) -> &str {
    cut(message, FRAME_MAX / 8)
}

impl Codec for IpcBroker {
    fn limit(&self) -> usize {
        FRAME_MAX.saturating_sub(AROUND)
    }

    fn next<'a>(&mut self, input: &'a [u8], _: &mut Vec<u8>) -> Next<'a> {
        let Some((head, rest)) = input.split_first_chunk::<4>() else {
            return Next::More;
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > FRAME_MAX {
            return Next::Broken(format!("packet size {length} exceeds max allowed {FRAME_MAX}"));
        }
        // A stranger whose first byte happens to be a zero is told from the first message.
        if !self.begun && length > 0 && rest.first().is_some_and(|byte| *byte != b'{') {
            return Next::Broken("the first message is no JSON object".to_owned());
        }
        self.begun |= length > 0 && !rest.is_empty();
        match rest.get(..length) {
            Some(body) => Next::Said(self.said(body), length.saturating_add(4)),
            None => Next::More,
        }
    }

    fn say(&mut self, told: &Told<'_>, out: &mut Vec<u8>) -> Result<(), Unsaid> {
        let written = match *told {
            Told::Registered(place) => match self.take(place) {
                Some(Asked::Register(object)) => write(&Response::Registered { object_name: &object }, out),
                _ => Ok(()),
            },
            Told::Subscribed(place) => {
                self.subscribed.push((place, None));
                Ok(())
            }
            Told::Has(place, exists) => match self.take(place) {
                Some(Asked::Has(object)) => write(
                    &Response::HasObjectResult {
                        object_name: &object,
                        exists,
                    },
                    out,
                ),
                _ => Ok(()),
            },
            Told::Answer(place, outcome) => self.answered(place, outcome, out),
            Told::Call {
                ticket,
                object,
                method,
                args,
                answered,
            } => {
                let call = Response::Call {
                    call_id: &ticket.to_string(),
                    object_name: object,
                    method,
                    args: raw(args),
                };
                let written = write(&call, out);
                if written.is_ok() && answered {
                    self.owed.insert(ticket);
                }
                written
            }
            Told::Event { object, topic, value } => write(
                &Response::Event {
                    object_name: object,
                    topic,
                    args: raw(value),
                },
                out,
            ),
        };
        self.tell_subscribed(out);
        written
    }

    fn cancelled(&mut self, ticket: CallTicket) {
        self.owed.remove(&ticket);
    }

    fn waiting(&self) -> usize {
        self.asked.len()
    }

    fn held(&self) -> usize {
        self.asked_bytes
    }

    fn awaits_answer(&self) -> bool {
        self.positional > 0
    }
}

impl IpcBroker {
    fn answered(
        &mut self,
        place: Place,
        outcome: Result<&str, &Failure>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsaid> {
        if let (Some(Asked::Subscribe(object, _)), Err(failure)) = (self.asked.get(&place), outcome) {
            // Its client waits for nothing, and would take this for the answer to something else.
            self.subscribed.push((place, Some(message(object, failure))));
            return Ok(());
        }
        let (call_id, object) = match self.take(place) {
            Some(Asked::Call(call_id, object)) => (Some(call_id), object),
            Some(Asked::Register(object) | Asked::Has(object) | Asked::Subscribe(object, _)) => {
                (None, object)
            }
            None => return Ok(()),
        };
        let failure = match outcome {
            Ok(value) => {
                let result = Response::Result {
                    call_id: call_id.as_deref().unwrap_or_default(),
                    object_name: &object,
                    value: raw(value),
                };
                match write(&result, out) {
                    Ok(()) => return Ok(()),
                    Err(large) => &Failure::new(ErrorCode::ReplyLost, format!("the result is {large}")),
                }
            }
            Err(failure) => failure,
        };
        let text = message(&object, failure);
        let error = |message| Response::Error {
            call_id: call_id.as_deref(),
            object_name: &object,
            message,
        };
        // Names fill a frame nearly: they came in one, and go back in one that says no more.
        write(&error(shortened(&text)), out).or_else(|_| write(&error(""), out))
    }
}

//! The format of ipc-server 0.1.10 (LorenzoLeonardo): JSON documents one after the other, without lengths and without numbers.
//!
//! Owns the shapes of its messages, and the positions that stand for what the format lacks: a client's answers come in the order of its
//! requests, and it answers calls in the order in which they came, one at a time. Events have no object there; here they are topics of
//! the object [`EVENTS`]. Called by the gateway.

use super::said::{CallTicket, Codec, Failure, Next, Place, Said, Told, Unsaid};
use super::scan::Scan;
use super::value::raw;
use crate::error::ErrorCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::VecDeque;

/// The object whose topics are the events of this format.
pub(super) const EVENTS: &str = "events";
/// The largest document, in bytes. The old server has no limit; it is the broker's for one frame, less what stands around a value.
const DOCUMENT_MAX: usize = 16 * 1024 * 1024 - 8 * 1024;
/// How much its programs read at once, in bytes: what is read in full they take for a part, and wait for the rest.
const CHUNK: usize = 4_096;
/// How long a list of objects is waited for, in milliseconds: programs ask again at once as long as one is missing.
const PATIENCE_MS: u32 = 1_000;
/// Calls that may wait for their turn at one client, and their bytes.
const CALLS_MAX: usize = 1_024;
const CALL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All keys that a document may have; which of them it has tells what it is.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    reg_object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    param: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    response: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    success: Option<Cow<'a, str>>,
    #[serde(borrow)]
    list: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    event_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
}

/// A value that is `null` is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Serialize)]
struct Called<'a> {
    object: &'a str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Event<'a> {
    event: &'a str,
    result: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer<'a> {
    Success(&'a str),
    Response(&'a RawValue),
    Error(&'a RawValue),
    List(&'a [Box<str>]),
}

/// A request of the client, in its place.
#[derive(Debug)]
struct Asked {
    place: Place,
    /// The objects of a list.
    list: Vec<Box<str>>,
    /// The answer, once it is there.
    answer: Option<Vec<u8>>,
}

/// A call that the client was given.
#[derive(Debug)]
struct Owed {
    ticket: CallTicket,
    /// Nobody waits for its answer, which comes all the same.
    void: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct IpcServer {
    scan: Scan,
    last: Place,
    asked: VecDeque<Asked>,
    /// Bytes of lists, and of answers whose turn has not come.
    answer_bytes: usize,
    /// The call that the client works on.
    owed: Option<Owed>,
    /// Calls behind it, written when it is answered.
    calls: VecDeque<(Owed, Vec<u8>)>,
    call_bytes: usize,
}

impl IpcServer {
    fn ask(&mut self, list: Vec<Box<str>>) -> Place {
        self.last = self.last.saturating_add(1);
        self.answer_bytes = self.answer_bytes.saturating_add(listed(&list));
        self.asked.push_back(Asked {
            place: self.last,
            list,
            answer: None,
        });
        self.last
    }

    fn said<'a>(&mut self, document: &'a [u8], out: &mut Vec<u8>) -> Said<'a> {
        if document.trim_ascii() == b"null" {
            return Said::Nothing;
        }
        let parsed: Document<'_> = match serde_json::from_slice(document) {
            Ok(parsed) => parsed,
            Err(error) => {
                let text = match error.is_data() {
                    true => NO_VARIANT.to_owned(),
                    false => error.to_string(),
                };
                return self.refuse(&text, out);
            }
        };
        match parsed {
            Document {
                reg_object: Some(object),
                ..
            } => Said::Register {
                place: self.ask(Vec::new()),
                object,
            },
            Document {
                object: Some(object),
                method: Some(method),
                param,
                ..
            } => Said::Call {
                place: self.ask(Vec::new()),
                object,
                method,
                args: param.map_or("null", RawValue::get),
            },
            Document {
                response: Some(value),
                ..
            } => self.answered(Ok(value.get()), out),
            Document {
                error: Some(value), ..
            } => self.answered(Err(value.get().into()), out),
            Document { success: Some(_), .. } => Said::Nothing,
            Document {
                list: Some(objects), ..
            } => self.wait(objects),
            Document {
                event_name: Some(topic),
                ..
            } => Said::Subscribe {
                place: 0,
                object: EVENTS.into(),
                topic,
            },
            Document {
                event: Some(topic),
                result: Some(value),
                ..
            } => {
                let place = self.ask(Vec::new());
                self.fill(place, &Answer::Success("OK"), out);
                Said::Publish {
                    object: EVENTS.into(),
                    topic,
                    value: value.get(),
                }
            }
            _ => self.refuse(NO_VARIANT, out),
        }
    }

    fn wait<'a>(&mut self, objects: Vec<Cow<'a, str>>) -> Said<'a> {
        let list = objects.iter().map(|object| object.as_ref().into()).collect();
        Said::Wait {
            place: self.ask(list),
            objects,
            patience_ms: PATIENCE_MS,
        }
    }

    /// The answer to what is no message, in its place.
    fn refuse<'a>(&mut self, text: &str, out: &mut Vec<u8>) -> Said<'a> {
        let place = self.ask(Vec::new());
        self.fill_error(place, text, out);
        Said::Nothing
    }

    /// The client has answered the call that it works on; the next one is its.
    fn answered<'a>(&mut self, outcome: Result<&'a str, Cow<'a, str>>, out: &mut Vec<u8>) -> Said<'a> {
        let Some(Owed { ticket, void }) = self.owed.take() else {
            return Said::Nothing;
        };
        if let Some((owed, call)) = self.calls.pop_front() {
            self.call_bytes = self.call_bytes.saturating_sub(call.len());
            self.owed = Some(owed);
            out.extend_from_slice(&call);
        }
        match void {
            true => Said::Nothing,
            false => Said::Answer {
                call: ticket,
                outcome,
            },
        }
    }

    /// Puts an answer into its place, and writes all whose turn has come.
    fn fill(&mut self, place: Place, answer: &Answer<'_>, out: &mut Vec<u8>) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.place == place) {
            let answer = document(answer);
            self.answer_bytes = self.answer_bytes.saturating_add(answer.len());
            asked.answer = Some(answer);
        }
        while let Some(answer) = self.asked.front_mut().and_then(|asked| asked.answer.take()) {
            let list = self.asked.pop_front().map(|asked| listed(&asked.list));
            let bytes = answer.len().saturating_add(list.unwrap_or_default());
            self.answer_bytes = self.answer_bytes.saturating_sub(bytes);
            out.extend_from_slice(&answer);
        }
    }

    fn fill_error(&mut self, place: Place, text: &str, out: &mut Vec<u8>) {
        let text = serde_json::value::to_raw_value(text);
        self.fill(
            place,
            &Answer::Error(text.as_deref().unwrap_or(RawValue::NULL)),
            out,
        );
    }

    fn fail(&mut self, place: Place, failure: &Failure, out: &mut Vec<u8>) {
        let value = failure
            .value
            .as_deref()
            .and_then(|value| serde_json::from_str(value).ok());
        match (failure.code, value) {
            (ErrorCode::NoSuchObject, _) => self.fill_error(place, "Object not found", out),
            (ErrorCode::CalleeGone, _) => self.fill_error(place, "client connection error", out),
            (_, Some(value)) => self.fill(place, &Answer::Error(value), out),
            (_, None) => self.fill_error(place, &failure.text, out),
        }
    }
}

/// What a list of objects takes while it waits.
fn listed(list: &[Box<str>]) -> usize {
    list.iter().map(|name| name.len().saturating_add(16)).sum()
}

/// What the old server says to a document that is none of its messages.
const NO_VARIANT: &str = "data did not match any variant of untagged enum IpcMessage";

/// A document as it is written: never as long as what its reader reads at once, or a multiple.
fn document<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    if bytes.len().is_multiple_of(CHUNK) {
        bytes.push(b' ');
    }
    bytes
}

impl Codec for IpcServer {
    fn limit(&self) -> usize {
        DOCUMENT_MAX
    }

    fn next<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Next<'a> {
        match self.scan.end(input) {
            Some(end) => {
                let document = input.get(..end).unwrap_or_default();
                Next::Said(self.said(document, out), end)
            }
            None if input.len() > DOCUMENT_MAX => {
                Next::Broken(format!("a document of more than {DOCUMENT_MAX} bytes"))
            }
            None => Next::More,
        }
    }

    fn say(&mut self, told: &Told<'_>, out: &mut Vec<u8>) -> Result<(), Unsaid> {
        match *told {
            Told::Registered(place) => self.fill(place, &Answer::Success("OK"), out),
            // The format has no answer to it.
            Told::Subscribed(_) => {}
            Told::Has(place, all) => {
                let asked = self.asked.iter_mut().find(|asked| asked.place == place);
                let list = asked
                    .map(|asked| std::mem::take(&mut asked.list))
                    .unwrap_or_default();
                self.answer_bytes = self.answer_bytes.saturating_sub(listed(&list));
                self.fill(place, &Answer::List(if all { &list } else { &[] }), out);
            }
            Told::Answer(place, Ok(value)) => self.fill(place, &Answer::Response(raw(value)), out),
            Told::Answer(place, Err(failure)) => self.fail(place, failure, out),
            Told::Call {
                ticket,
                object,
                method,
                args,
                answered,
            } => {
                let call = document(&Called {
                    object,
                    method,
                    param: (args != "null").then(|| raw(args)),
                });
                let owed = Owed {
                    ticket,
                    void: !answered,
                };
                if self.owed.is_none() {
                    self.owed = Some(owed);
                    out.extend_from_slice(&call);
                } else {
                    let together = self.call_bytes.saturating_add(call.len());
                    if self.calls.len() >= CALLS_MAX || together > CALL_BYTES_MAX {
                        return Err(Unsaid::Busy(self.calls.len().saturating_add(1)));
                    }
                    self.call_bytes = together;
                    self.calls.push_back((owed, call));
                }
            }
            Told::Event { topic, value, .. } => out.extend_from_slice(&document(&Event {
                event: topic,
                result: raw(value),
            })),
        }
        Ok(())
    }

    fn cancelled(&mut self, ticket: CallTicket) {
        if let Some(owed) = &mut self.owed
            && owed.ticket == ticket
        {
            owed.void = true;
        }
        self.calls.retain(|(owed, call)| {
            let kept = owed.ticket != ticket;
            if !kept {
                self.call_bytes = self.call_bytes.saturating_sub(call.len());
            }
            kept
        });
    }

    fn waiting(&self) -> usize {
        self.asked.len()
    }

    fn held(&self) -> usize {
        self.call_bytes.saturating_add(self.answer_bytes)
    }

    fn awaits_answer(&self) -> bool {
        !self.asked.is_empty()
    }
}

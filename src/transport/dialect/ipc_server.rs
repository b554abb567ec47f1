//! The format of ipc-server 0.1.10 (LorenzoLeonardo): JSON documents one after the other, without lengths and without numbers.
//!
//! Owns the shapes of its messages, and the positions that stand for what the format lacks: a client's answers come in the order of its
//! requests, and it answers calls in the order in which they came, one at a time. Events have no object there; here they are topics of
//! the object [`EVENTS`]. Called by the gateway.

mod lose;
mod messages;
mod pace;

use super::said::{CallTicket, Codec, Failure, Lost, Next, Place, Said, Told, Unsaid};
use super::scan::Scan;
use super::value::raw;
use crate::error::ErrorCode;
use messages::{Answer, Called, Document, Event, NAMES_MAX, NO_VARIANT, document};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The object whose topics are the events of this format.
pub(super) const EVENTS: &str = "events";
/// The largest document, in bytes. The old server has no limit; it is the broker's for one frame, less what stands around a value.
const DOCUMENT_MAX: usize = 16 * 1024 * 1024 - 8 * 1024;
/// The old Rust library never reads the answer to an event. Who has said nothing else for so long waits for it.
const ACK: Duration = Duration::from_millis(20);
/// What a request costs that is not answered.
const ASKED_BYTES: usize = 64;
/// How long a list of objects is waited for, in milliseconds: programs ask again at once as long as one is missing.
const PATIENCE_MS: u32 = 1_000;

/// A request of the client, in its place.
#[derive(Debug)]
struct Asked {
    place: Place,
    /// The objects of a list.
    list: Vec<Box<str>>,
    /// What asks again at once when the answer is no is told so then.
    not_before: Option<Instant>,
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
    /// How many may be there, and how many bytes of them.
    calls_max: usize,
    call_bytes_max: usize,
    /// Events that wait until the client has read what was written before.
    events: VecDeque<Vec<u8>>,
    /// Parts of documents that are not written yet; nothing else is written before them.
    parts: VecDeque<Vec<u8>>,
    /// Bytes of both.
    paced_bytes: usize,
    now: Option<Instant>,
    /// When something was written last that the client may not have read.
    wrote: Option<Instant>,
    /// The answer to an event, and when it is given.
    ack: Option<(Place, Instant)>,
    acks: Acks,
    /// The document that has begun was given up.
    over: bool,
}

/// What is known of a client that publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Acks {
    #[default]
    Unknown,
    /// It has waited for one, so it gets them at once.
    Read,
    /// It has gone on without one, or reads nothing: it gets none.
    Unread,
}

impl IpcServer {
    fn ask(&mut self, list: Vec<Box<str>>) -> Place {
        self.forget_ack();
        self.last = self.last.saturating_add(1);
        self.answer_bytes = self.answer_bytes.saturating_add(listed(&list));
        let patience = Duration::from_millis(u64::from(PATIENCE_MS));
        let waits = self.now.filter(|_| !list.is_empty());
        self.asked.push_back(Asked {
            place: self.last,
            list,
            not_before: waits.and_then(|now| now.checked_add(patience)),
            answer: None,
        });
        self.last
    }

    /// Who asks for something else before it has the answer to its event does not wait for that.
    fn forget_ack(&mut self) {
        let Some((place, _)) = self.ack.take() else { return };
        self.acks = Acks::Unread;
        if let Some(at) = self.asked.iter().position(|asked| asked.place == place) {
            self.asked.remove(at);
            self.answer_bytes = self.answer_bytes.saturating_sub(listed(&[]));
        }
    }

    /// The answer to an event, some time later.
    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        self.forget_ack();
        if self.acks == Acks::Unread {
            return;
        }
        let place = self.ask(Vec::new());
        let wait = self.now.filter(|_| self.acks == Acks::Unknown);
        match wait.and_then(|now| now.checked_add(ACK)) {
            Some(due) => self.ack = Some((place, due)),
            None => self.fill(place, &Answer::Success("OK"), out),
        }
    }

    fn said<'a>(&mut self, document: &'a [u8], out: &mut Vec<u8>) -> Said<'a> {
        // Places in texts are counted from where it begins.
        let document = document.trim_ascii_start();
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
            } => self.wait(objects, out),
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
                self.acknowledge(out);
                Said::Publish {
                    object: EVENTS.into(),
                    topic,
                    value: value.get(),
                }
            }
            _ => self.refuse(NO_VARIANT, out),
        }
    }

    fn wait<'a>(&mut self, objects: Vec<Cow<'a, str>>, out: &mut Vec<u8>) -> Said<'a> {
        if objects.len() > NAMES_MAX {
            // No broker has so many, and who asks again at once is to do so later.
            let place = self.ask(vec![Box::from("")]);
            self.has(place, false, out);
            return Said::Nothing;
        }
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
        // It has read the call, and so all that was written before.
        self.wrote = None;
        self.release(out);
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
            self.write(&answer, out);
        }
        self.release(out);
    }

    /// Whether all objects of a list are there. Who asks again at once when one is missing is told so at its time.
    fn has(&mut self, place: Place, all: bool, out: &mut Vec<u8>) {
        let Some(asked) = self.asked.iter_mut().find(|asked| asked.place == place) else {
            return;
        };
        let early = |until: Instant| self.now.is_some_and(|now| now < until);
        if !all && asked.not_before.is_some_and(early) {
            asked.list.clear();
            return self.count();
        }
        asked.not_before = None;
        let list = std::mem::take(&mut asked.list);
        self.count();
        self.fill(place, &Answer::List(if all { &list } else { &[] }), out);
    }

    /// What all requests keep, counted anew.
    fn count(&mut self) {
        let kept =
            |asked: &Asked| listed(&asked.list).saturating_add(asked.answer.as_ref().map_or(0, Vec::len));
        self.answer_bytes = self.asked.iter().map(kept).sum();
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

/// What a request takes while it waits, with the objects of its list.
fn listed(list: &[Box<str>]) -> usize {
    let names: usize = list.iter().map(|name| name.len().saturating_add(16)).sum();
    names.saturating_add(ASKED_BYTES)
}

impl Codec for IpcServer {
    fn limit(&self) -> usize {
        DOCUMENT_MAX
    }

    fn next<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Next<'a> {
        if self.over && !input.is_empty() {
            let end = self.scan.end(input);
            self.over = end.is_none();
            self.scan.forget();
            return Next::Said(Said::Nothing, end.unwrap_or(input.len()));
        }
        match self.scan.end(input) {
            // What stands between documents begins none.
            None if self.scan.is_between() && !input.is_empty() => {
                self.scan = Scan::default();
                Next::Said(Said::Nothing, input.len())
            }
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
            Told::Has(place, all) => self.has(place, all, out),
            Told::Answer(place, Ok(value)) => self.fill(place, &Answer::Response(raw(value)), out),
            Told::Answer(place, Err(failure)) => {
                let waits = |asked: &Asked| asked.place == place && !asked.list.is_empty();
                match self.asked.iter().any(waits) {
                    true => self.has(place, false, out),
                    false => self.fail(place, failure, out),
                }
            }
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
                let together = self.call_bytes.saturating_add(call.len());
                if self.calls.len() >= self.calls_max.max(1) {
                    return Err(Unsaid::Busy(self.calls.len()));
                }
                if together > self.call_bytes_max && !self.calls.is_empty() {
                    return Err(Unsaid::Full(self.call_bytes));
                }
                self.call_bytes = together;
                self.calls.push_back((owed, call));
                self.release(out);
            }
            Told::Event { topic, value, .. } => {
                let event = document(&Event {
                    event: topic,
                    result: raw(value),
                });
                self.paced_bytes = self.paced_bytes.saturating_add(event.len());
                self.events.push_back(event);
                self.release(out);
            }
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

    fn held(&self) -> usize {
        let asked = self.call_bytes.saturating_add(self.answer_bytes);
        asked.saturating_add(self.paced_bytes)
    }

    fn holds_events(&self) -> bool {
        !self.asked.is_empty() || !self.events.is_empty() || !self.parts.is_empty()
    }

    fn clock(&mut self, now: Instant) {
        self.now = Some(now);
    }

    fn due(&self) -> Option<Instant> {
        let ack = self.ack.map(|(_, due)| due);
        // Only a list that is known to lack something has lost its names.
        let late = |asked: &Asked| asked.not_before.filter(|_| asked.list.is_empty());
        let list = self.asked.iter().filter_map(late).min();
        let paced = !self.parts.is_empty() || self.is_releasing();
        let next = self.written_until().or(self.now).filter(|_| paced);
        [ack, list, next].into_iter().flatten().min()
    }

    fn time_passed(&mut self, out: &mut Vec<u8>) {
        let over = |until: Instant| self.now.is_none_or(|now| until <= now);
        let ack = self.ack.take_if(|(_, due)| over(*due));
        let late = |asked: &&Asked| asked.list.is_empty() && asked.not_before.is_some_and(over);
        let lists: Vec<Place> = self.asked.iter().filter(late).map(|asked| asked.place).collect();
        if let Some((place, _)) = ack {
            self.acks = Acks::Read;
            self.fill(place, &Answer::Success("OK"), out);
        }
        for place in lists {
            self.has(place, false, out);
        }
        if self.has_read() {
            self.write_part(out);
        }
        self.release(out);
    }

    fn give_up(&mut self, input: &[u8], why: &str, out: &mut Vec<u8>) -> Lost {
        self.lose_begun(input, why, out)
    }

    fn bound_queue(&mut self, calls: usize, bytes: usize) {
        (self.calls_max, self.call_bytes_max) = (calls, bytes);
    }

    fn reads_over(&self) -> bool {
        self.over
    }

    fn shed(&mut self, why: &str, _: &mut Vec<u8>) -> Option<Lost> {
        self.lose_waiting(why)
    }

    fn unread(&mut self) {
        self.forget_ack();
        self.acks = Acks::Unread;
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        self.parts.drain(..).for_each(|part| out.extend_from_slice(&part));
        self.events
            .drain(..)
            .for_each(|event| out.extend_from_slice(&event));
        self.paced_bytes = 0;
    }
}

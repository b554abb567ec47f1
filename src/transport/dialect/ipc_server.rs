//! The format of ipc-server 0.1.10 (LorenzoLeonardo): JSON documents one after the other, without lengths and without numbers.
//!
//! Owns the shapes of its messages, and the positions that stand for what the format lacks: a client's answers come in the order of its
//! requests, and it answers calls in the order in which they came, one at a time. Events have no object there; here they are topics of
//! the object [`EVENTS`]. Called by the gateway.

mod lose;
mod messages;
mod pace;
mod places;

use super::bounds::Bounds;
use super::said::{CallTicket, Codec, Failure, Lost, Next, Place, Said, Told, Unsaid};
use super::scan::Scan;
use super::value::raw;
use crate::error::ErrorCode;
use messages::{Answer, Called, Document, Event, NAMES_MAX, NO_VARIANT, document};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// The object whose topics are the events of this format.
pub(super) const EVENTS: &str = "events";

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
#[derive(Debug)]
pub(super) struct IpcServer {
    bounds: Bounds,
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
    /// When it was told something last that it may not have read.
    told_at: Option<Instant>,
    /// Since when the first of the events waits, and until when they have their turn.
    events_since: Option<Instant>,
    events_until: Option<Instant>,
    /// A document has begun.
    begun: bool,
    /// Lists that lack something, and when their clients are told so.
    late: BTreeSet<(Instant, Place)>,
    /// No answer from this place on is worth being given up.
    small_from: Place,
}

/// What is known of a client that publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Acks {
    #[default]
    Unknown,
    /// It has waited for one, so it gets them at once.
    Read,
    /// It has gone on without one, to ask for something else: it gets none.
    Unread,
    /// It has gone on without one to its next event, or reads nothing: it gets one when it has said nothing for long.
    Doubted,
}

impl IpcServer {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            scan: Scan::default(),
            last: 0,
            asked: VecDeque::new(),
            answer_bytes: 0,
            owed: None,
            calls: VecDeque::new(),
            call_bytes: 0,
            events: VecDeque::new(),
            parts: VecDeque::new(),
            paced_bytes: 0,
            now: None,
            wrote: None,
            ack: None,
            acks: Acks::default(),
            over: false,
            begun: false,
            told_at: None,
            events_since: None,
            events_until: None,
            late: BTreeSet::new(),
            small_from: 0,
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
            patience_ms: self.bounds.patience_ms,
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
        (self.wrote, self.told_at) = (None, None);
        self.release(out);
        match void {
            true => Said::Nothing,
            false => Said::Answer {
                call: ticket,
                outcome,
            },
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

impl Codec for IpcServer {
    fn limit(&self) -> usize {
        self.bounds.document_bytes
    }

    fn next<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Next<'a> {
        if self.over && !input.is_empty() {
            let end = self.scan.end(input);
            self.over = end.is_none();
            self.scan.forget();
            return Next::Said(Said::Nothing, end.unwrap_or(input.len()));
        }
        let most = self.bounds.document_bytes;
        let large = || format!("a document of more than {most} bytes (limits.dialect_document_bytes)");
        if !self.begun {
            match input.trim_ascii_start().first() {
                Some(b'{' | b'n') => self.begun = true,
                Some(_) => return Next::Broken("what comes first is no document".to_owned()),
                None => {}
            }
        }
        match self.scan.end(input) {
            // What stands between documents begins none.
            None if self.scan.is_between() && !input.is_empty() => {
                self.scan = Scan::default();
                Next::Said(Said::Nothing, input.len())
            }
            Some(end) if end > most => {
                let (document, why) = (input.get(..end).unwrap_or_default(), large());
                let lost = self.lose_begun(document, &why, out);
                self.over = false;
                Next::Lost(lost, end, why)
            }
            Some(end) => {
                let document = input.get(..end).unwrap_or_default();
                Next::Said(self.said(document, out), end)
            }
            None if input.len() > most => {
                let why = large();
                let lost = self.lose_begun(input, &why, out);
                Next::Lost(lost, input.len(), why)
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
                match self.asked_mut(place).is_some_and(|asked| !asked.list.is_empty()) {
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
                if self.calls.len() >= self.bounds.calls.max(1) {
                    return Err(Unsaid::Busy(self.calls.len()));
                }
                if together > self.bounds.call_bytes && !self.calls.is_empty() {
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
                self.events_since = self.events_since.or(self.now);
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
        self.waits() || !self.events.is_empty() || !self.parts.is_empty()
    }

    fn clock(&mut self, now: Instant) {
        self.now = Some(now);
    }

    fn due(&self) -> Option<Instant> {
        let ack = self.ack.map(|(_, due)| due);
        let list = self.late.first().map(|(due, _)| *due);
        let parts = self
            .written_until()
            .or(self.now)
            .filter(|_| !self.parts.is_empty());
        let next = self.release_from().filter(|_| self.parts.is_empty());
        [ack, list, parts, next].into_iter().flatten().min()
    }

    fn time_passed(&mut self, out: &mut Vec<u8>) {
        let now = self.now;
        let over = |until: Instant| now.is_none_or(|now| until <= now);
        let ack = self.ack.take_if(|(_, due)| over(*due));
        if let Some((place, _)) = ack {
            self.acks = Acks::Read;
            self.fill(place, &Answer::Success("OK"), out);
        }
        while let Some((due, place)) = self.late.first().copied()
            && over(due)
        {
            self.late.pop_first();
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

    fn reads_over(&self) -> bool {
        self.over
    }

    fn shed(&mut self, why: &str, _: &mut Vec<u8>) -> Option<Lost> {
        self.lose_waiting(why)
    }

    fn unread(&mut self) {
        // What it does not read it need not be told; whether it would wait for it is not known by that.
        self.forget_ack(Acks::Doubted);
        if self.acks == Acks::Read {
            self.acks = Acks::Doubted;
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        self.parts.drain(..).for_each(|part| out.extend_from_slice(&part));
        self.events
            .drain(..)
            .for_each(|event| out.extend_from_slice(&event));
        self.paced_bytes = 0;
    }
}

//! The format of ipc-broker 1.1.5: a length of four bytes, big-endian, and so much JSON.
//!
//! Owns what is asked and owed in it, and what waits for its turn. An answer bears the request's `call_id`, but its client takes the
//! next message for the answer whatever it is: [`turn`] knows when it waits for none. Called by the gateway.

mod messages;
mod turn;
mod unasked;

use super::begun::Begun;
use super::said::{CallTicket, Codec, Failure, Lost, Next, Place, Said, Told, Unsaid};
use super::value::raw;
use crate::error::ErrorCode;
use messages::{FRAME_MAX, Request, Response, message, shortened, write};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;
use turn::{Turn, Way};

/// What a request costs that is not answered, beside its names.
const ASKED_BYTES: usize = 64;

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
    /// When its client waits for an answer.
    turn: Turn,
    /// What became of subscriptions, told when nothing else is waited for; and from when on.
    subscribed: Vec<(Place, Option<String>)>,
    subscribed_from: Option<Instant>,
    /// The answer that is kept.
    kept: Option<(Place, Vec<u8>)>,
    /// Answers that their client has given up.
    late: Vec<u8>,
    /// Events that wait until their client has read others, or pauses.
    events: VecDeque<Vec<u8>>,
    event_bytes: usize,
    /// Calls that the client has not answered.
    owed: HashSet<CallTicket>,
    /// So many bytes of a message that was given up are still to come.
    over: usize,
}

impl IpcBroker {
    fn ask(&mut self, asked: Asked) -> Place {
        self.last = self.last.saturating_add(1);
        let given_up = !matches!(asked, Asked::Subscribe(..)) && self.turn.asks(self.last);
        // Where nothing has a time any more, an answer that is kept would wait for the end: its time may have come while bytes were unsent.
        if (given_up || self.turn.kept_until().is_none())
            && let Some((place, frame)) = self.kept.take()
        {
            self.turn.written(place);
            self.late.extend(frame);
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
            Request::Subscribe { object_name, topic } => {
                self.turn.listens();
                Said::Subscribe {
                    place: self.ask(Asked::Subscribe(
                        object_name.as_ref().into(),
                        topic.as_ref().into(),
                    )),
                    object: object_name,
                    topic,
                }
            }
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
        Some(asked)
    }

    /// Writes an answer when it is its turn.
    fn reply(
        &mut self,
        place: Place,
        frame: impl FnOnce(&mut Vec<u8>) -> Result<(), Unsaid>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsaid> {
        match self.turn.answered(place) {
            Way::Now => {
                let written = frame(out);
                if self.turn.now().is_none() {
                    self.tell_subscribed(out);
                }
                written
            }
            Way::Late if self.turn.pauses() => frame(out),
            Way::Late => frame(&mut self.late),
            Way::Kept => {
                let mut kept = Vec::new();
                let written = frame(&mut kept);
                self.kept = Some((place, kept));
                written
            }
        }
    }
}

impl Codec for IpcBroker {
    fn limit(&self) -> usize {
        // How much of it a value may have depends on the names beside it.
        FRAME_MAX
    }

    fn next<'a>(&mut self, input: &'a [u8], _: &mut Vec<u8>) -> Next<'a> {
        if self.over > 0 && !input.is_empty() {
            let over = self.over.min(input.len());
            self.over = self.over.saturating_sub(over);
            return Next::Said(Said::Nothing, over);
        }
        let Some((head, rest)) = input.split_first_chunk::<4>() else {
            return Next::More;
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > FRAME_MAX {
            return Next::Broken(format!("packet size {length} exceeds max allowed {FRAME_MAX}"));
        }
        // A stranger whose first byte happens to be a zero is told from the first message.
        if !self.begun {
            let body = rest.get(..length.min(rest.len())).unwrap_or_default();
            match body.trim_ascii_start().first() {
                Some(b'{') => self.begun = true,
                Some(_) => return Next::Broken("the first message is no JSON object".to_owned()),
                None => {}
            }
        }
        match rest.get(..length) {
            Some(body) => Next::Said(self.said(body), length.saturating_add(4)),
            None => Next::More,
        }
    }

    fn say(&mut self, told: &Told<'_>, out: &mut Vec<u8>) -> Result<(), Unsaid> {
        match *told {
            Told::Registered(place) => match self.take(place) {
                Some(Asked::Register(object)) => {
                    let told = Response::Registered { object_name: &object };
                    self.reply(place, |out| write(&told, out), out)
                }
                _ => Ok(()),
            },
            Told::Subscribed(place) => {
                self.subscribed(place, None, out);
                Ok(())
            }
            Told::Has(place, exists) => match self.take(place) {
                Some(Asked::Has(object)) => {
                    let told = Response::HasObjectResult {
                        object_name: &object,
                        exists,
                    };
                    self.reply(place, |out| write(&told, out), out)
                }
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
            Told::Event { object, topic, value } => {
                let event = Response::Event {
                    object_name: object,
                    topic,
                    args: raw(value),
                };
                self.event(&event, out)
            }
        }
    }

    fn cancelled(&mut self, ticket: CallTicket) {
        self.owed.remove(&ticket);
    }

    fn held(&self) -> usize {
        let kept = self.kept.as_ref().map_or(0, |(_, frame)| frame.len());
        let told_later = self.late.len().saturating_add(self.event_bytes);
        self.asked_bytes.saturating_add(told_later).saturating_add(kept)
    }

    fn holds_events(&self) -> bool {
        self.turn.holds_events() || !self.events.is_empty()
    }

    fn clock(&mut self, now: Instant) {
        self.turn.clock(now);
    }

    fn due(&self) -> Option<Instant> {
        let kept = self.kept.as_ref().and_then(|_| self.turn.kept_until());
        let pause = self.turn.pause();
        let subscribed = self.subscribed_from.filter(|_| !self.turn.waits());
        let subscribed = subscribed.map(|from| pause.map_or(from, |pause| from.max(pause)));
        let late = self
            .turn
            .now()
            .filter(|_| !self.late.is_empty() && self.turn.overlaps());
        let events = !self.events.is_empty() && !self.turn.holds_events();
        let events = self.turn.may_hear().filter(|_| events);
        [kept, subscribed, pause, late, events]
            .into_iter()
            .flatten()
            .min()
    }

    fn time_passed(&mut self, out: &mut Vec<u8>) {
        let now = self.turn.now();
        let over = |until: Option<Instant>| until.is_some_and(|until| now.is_none_or(|now| until <= now));
        if over(self.turn.kept_until())
            && let Some((place, frame)) = self.kept.take()
        {
            out.extend_from_slice(&frame);
            self.turn.written(place);
        }
        if self.turn.pauses() || self.turn.overlaps() {
            self.tell_late(out);
        }
        if over(self.subscribed_from) && (self.turn.pauses() || self.turn.overlaps()) {
            self.tell_subscribed(out);
        }
        self.tell_events(out);
    }

    fn give_up(&mut self, input: &[u8], why: &str, out: &mut Vec<u8>) -> Lost {
        let Some((head, body)) = input.split_first_chunk::<4>() else {
            return Lost::Unknown;
        };
        self.over = (u32::from_be_bytes(*head) as usize).saturating_sub(body.len());
        let begun = Begun::of(body, 2);
        let call_id = begun.text("call_id");
        let object = begun.text("object_name").unwrap_or_default();
        let asked = match (begun.has("Call"), call_id) {
            (true, Some(call_id)) => Asked::Call(call_id.into(), object.into()),
            (true, None) => return Lost::Unknown,
            (false, Some(call_id)) if begun.has("Result") || begun.has("Error") => {
                let owed = call_id.parse().ok().filter(|call| self.owed.remove(call));
                return owed.map_or(Lost::Told, Lost::Answer);
            }
            (false, Some(_)) => return Lost::Told,
            (false, None) if begun.has("Result") || begun.has("Error") => return Lost::Unknown,
            (false, None) if begun.has("RegisterObject") => Asked::Register(object.into()),
            (false, None) if begun.has("HasObject") => Asked::Has(object.into()),
            (false, None) => return Lost::Told,
        };
        let place = self.ask(asked);
        let failure = Failure::new(ErrorCode::TooMany, why);
        // An error that is cut to fit a frame always fits one.
        let _ = self.answered(place, Err(&failure), out);
        Lost::Told
    }

    fn reads_over(&self) -> bool {
        self.over > 0
    }

    fn shed(&mut self, _: &str, out: &mut Vec<u8>) -> Option<Lost> {
        if let Some(event) = self.events.pop_back() {
            self.event_bytes = self.event_bytes.saturating_sub(event.len());
            return Some(Lost::Event);
        }
        if let Some((place, frame)) = self.kept.take() {
            out.extend_from_slice(&frame);
            self.turn.written(place);
            return Some(Lost::Told);
        }
        // Nobody waits for these any more.
        let late = std::mem::take(&mut self.late);
        (!late.is_empty()).then_some(Lost::Told)
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend(self.kept.take().into_iter().flat_map(|(_, frame)| frame));
        out.append(&mut self.late);
        self.events
            .drain(..)
            .for_each(|event| out.extend_from_slice(&event));
        self.event_bytes = 0;
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
            let text = message(object, failure);
            self.subscribed(place, Some(text), out);
            return Ok(());
        }
        let (call_id, object) = match self.take(place) {
            Some(Asked::Call(call_id, object)) => (Some(call_id), object),
            Some(Asked::Register(object) | Asked::Has(object) | Asked::Subscribe(object, _)) => {
                (None, object)
            }
            None => return Ok(()),
        };
        let result = |out: &mut Vec<u8>| answer(call_id.as_deref(), &object, outcome, out);
        self.reply(place, result, out)
    }
}

/// The answer to a request: its result, or why there is none.
fn answer(
    call_id: Option<&str>,
    object: &str,
    outcome: Result<&str, &Failure>,
    out: &mut Vec<u8>,
) -> Result<(), Unsaid> {
    let failure = match outcome {
        Ok(value) => {
            let result = Response::Result {
                call_id: call_id.unwrap_or_default(),
                object_name: object,
                value: raw(value),
            };
            match write(&result, out) {
                Ok(()) => return Ok(()),
                Err(large) => &Failure::new(ErrorCode::ReplyLost, format!("the result is {large}")),
            }
        }
        Err(failure) => failure,
    };
    let text = message(object, failure);
    let error = |message| Response::Error {
        call_id,
        object_name: object,
        message,
    };
    // Names fill a frame nearly: they came in one, and go back in one that says no more.
    let nameless = Response::Error {
        call_id,
        object_name: "",
        message: shortened(&text),
    };
    write(&error(shortened(&text)), out)
        .or_else(|_| write(&error(""), out))
        .or_else(|_| write(&nameless, out))
}

//! What a client of an older format has asked of the broker and has been given by it, in frames.
//!
//! Owns the numbers of requests, the subscriptions, the credit, and the frames that are made of what a client says. Knows no format.
//! Pure; called by the gateway.

use super::pieces::{Owner, Partial, Pieces};
use super::said::{CallTicket, Failure, Place, Said};
use super::value;
use crate::error::{CallError, ErrorCode};
use crate::message::codec::body_limit;
use crate::message::frame::FrameView;
use crate::message::handshake::PREFACE;
use crate::message::{Decoder, Draft, Encoding, Flags, Hello, Kind, PROTOCOL_VERSION, Payload, Welcome, key};
use crate::text::cut;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// How long a client of ipc-broker waits that asks whether an object is there, in milliseconds: as good as not at all.
const HAS_MS: u32 = 1;

/// What a client is told that asks while there is no room for what it asks.
const NO_MEMORY: &str = "the broker has no memory for one more request of this client (limits.memory_bytes_total); wait for answers first";

/// What was asked of the broker.
#[derive(Debug)]
pub(super) enum Asked {
    Register(Place),
    Call(Place),
    /// The places of all who ask for the topic before it is answered.
    Subscribe(Vec<Place>, Arc<[u8]>),
    Has(Place),
}

/// The broker's side.
#[derive(Debug)]
pub(super) struct Broker {
    /// Frames for it.
    pub(super) out: Vec<u8>,
    /// What comes from it.
    pub(super) decoder: Decoder,
    pub(super) last: u64,
    pub(super) asked: HashMap<u64, Asked>,
    pub(super) pieces: Pieces,
    /// The keys of the topics that it hears or has asked for, and the subscriptions to them. TopicHub charges the subscriber for each key
    /// once more than it has it: there is one copy here.
    pub(super) topics: HashMap<Arc<[u8]>, u64>,
    pub(super) subscriptions: HashMap<u64, Arc<[u8]>>,
    /// What may be published, in bytes on the wire. Nothing may before the welcome.
    pub(super) window: i64,
    /// How long a call may take, in milliseconds.
    pub(super) patience_ms: u32,
    pub(super) frame_bytes: usize,
    pub(super) unshown: u64,
    /// There is neither credit for what the client publishes nor memory to wait for it.
    pub(super) is_short: bool,
    /// So many were not published for that.
    pub(super) dropped: u64,
    /// Objects with the units that the client says provide them.
    pub(super) services: Vec<(Box<str>, Box<str>)>,
}

impl Broker {
    /// Nothing is asked yet but to be let in.
    pub(super) fn greeted() -> Self {
        let mut out = PREFACE.to_vec();
        Draft::new(Kind::Hello, u64::from(PROTOCOL_VERSION))
            .aux(PROTOCOL_VERSION)
            .payload(Encoding::RAW, &Hello::default().encode())
            .encode(&mut out);
        Self {
            out,
            decoder: Decoder::new(body_limit(usize::MAX / 2)),
            last: 0,
            asked: HashMap::new(),
            pieces: Pieces::default(),
            topics: HashMap::new(),
            subscriptions: HashMap::new(),
            window: 0,
            patience_ms: 0,
            frame_bytes: 0,
            unshown: 0,
            is_short: false,
            dropped: 0,
            services: Vec::new(),
        }
    }

    /// Asks the broker what a client has said; when there is no room (`full`), only what needs no answer. Returns the place of a
    /// subscription that the client has already, so that nothing is asked.
    ///
    /// # Errors
    /// What the client is told at once, in its place.
    pub(super) fn hear(&mut self, said: Said<'_>, full: bool) -> Result<Option<Place>, (Place, Failure)> {
        if full && let Some(place) = said.place() {
            return Err((place, Failure::new(ErrorCode::TooMany, NO_MEMORY)));
        }
        match said {
            Said::Register { place, object } => {
                checked(place, &object)?;
                // Among old programs the last one to register has the name, as ever. Others' names are not theirs to take.
                let flags = Flags::REPLACE.with(Flags::ALLOW_REPLACE);
                let id = self.ask(Asked::Register(place));
                self.send(Draft::new(Kind::Register, id).flags(flags).key(object.as_bytes()));
            }
            Said::Call {
                place,
                object,
                method,
                args,
            } => {
                checked(place, &object)?;
                checked(place, &method)?;
                if args.len() > self.frame_bytes {
                    let text = too_large("call", args.len(), self.frame_bytes);
                    return Err((place, Failure::new(ErrorCode::TooLarge, text)));
                }
                let id = self.ask(Asked::Call(place));
                let call = Draft::new(Kind::Call, id)
                    .aux(self.patience_ms)
                    .pair(&object, &method);
                self.send(call.payload(Encoding::JSON, args.as_bytes()));
            }
            Said::Answer { call, outcome } => self.answer(call, outcome),
            Said::Subscribe { place, object, topic } => {
                checked(place, &object)?;
                checked(place, &topic)?;
                return Ok(self.subscribe(place, key::join(&object, &topic).into()));
            }
            Said::Publish { object, topic, value } => self.publish(&object, &topic, value),
            Said::Has { place, object } => {
                checked(place, &object)?;
                let id = self.ask(Asked::Has(place));
                self.send(Draft::new(Kind::Describe, id).key(object.as_bytes()));
                // Its programs wait by asking again and again, so this is a wait as well: it starts the service of the object. What becomes of
                // it nobody asks.
                self.wait(place, &[object], HAS_MS)?;
                self.asked.remove(&self.last);
            }
            Said::Wait {
                place,
                objects,
                patience_ms,
            } => {
                self.wait(place, &objects, patience_ms)?;
            }
            Said::Service { object, unit } => self.services.push((object.into(), unit.into())),
            Said::Nothing => {}
        }
        Ok(None)
    }

    /// The format has no answer; what is no name has no subscribers.
    fn publish(&mut self, object: &str, topic: &str, value: &str) {
        if self.is_short {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let named = checked(0, object).and_then(|()| checked(0, topic)).is_ok();
        if !named || value.len() > self.frame_bytes {
            self.unshown = self.unshown.saturating_add(1);
            return;
        }
        let publish = Draft::new(Kind::Publish, 0).pair(object, topic);
        let publish = publish.payload(Encoding::JSON, value.as_bytes());
        let bytes = i64::try_from(publish.wire_len()).unwrap_or(i64::MAX);
        self.window = self.window.saturating_sub(bytes);
        self.send(publish);
    }

    fn wait(
        &mut self,
        place: Place,
        objects: &[Cow<'_, str>],
        patience_ms: u32,
    ) -> Result<(), (Place, Failure)> {
        let mut names = Vec::new();
        for object in objects {
            checked(place, object)?;
            names.push(u8::try_from(object.len()).unwrap_or(u8::MAX));
            names.extend_from_slice(object.as_bytes());
        }
        let id = self.ask(Asked::Has(place));
        let wait = Draft::new(Kind::Wait, id).aux(patience_ms);
        self.send(wait.payload(Encoding::RAW, &names));
        Ok(())
    }

    fn ask(&mut self, asked: Asked) -> u64 {
        self.last = self.last.saturating_add(1);
        self.asked.insert(self.last, asked);
        self.last
    }

    pub(super) fn send(&mut self, draft: Draft<'_>) {
        draft.encode(&mut self.out);
    }

    /// A program hears a topic once, however often it asks: what becomes of the first request is the answer to the others.
    fn subscribe(&mut self, place: Place, topic: Arc<[u8]>) -> Option<Place> {
        if let Some(first) = self.topics.get(&topic) {
            match self.asked.get_mut(first) {
                Some(Asked::Subscribe(places, _)) => places.push(place),
                _ => return Some(place),
            }
            return None;
        }
        let id = self.ask(Asked::Subscribe(vec![place], topic.clone()));
        self.send(Draft::new(Kind::Subscribe, id).key(&topic));
        self.topics.insert(topic.clone(), id);
        self.subscriptions.insert(id, topic);
        None
    }

    /// A client's answer to a call that it was given.
    fn answer(&mut self, call: CallTicket, outcome: Result<&str, Cow<'_, str>>) {
        match outcome {
            Ok(value) if value.len() > self.frame_bytes => {
                let draft = Draft::new(Kind::Error, call).aux(ErrorCode::ReplyLost.code());
                let text = too_large("result", value.len(), self.frame_bytes);
                self.send(
                    draft
                        .flags(Flags::MAY_HAVE_RUN)
                        .payload(Encoding::RAW, text.as_bytes()),
                );
            }
            Ok(value) => self.send(Draft::new(Kind::Reply, call).payload(Encoding::JSON, value.as_bytes())),
            Err(error) => {
                let error = cut(&error, self.frame_bytes);
                let json = serde_json::from_str::<&RawValue>(error).is_ok();
                let encoding = if json { Encoding::JSON } else { Encoding::RAW };
                let draft = Draft::new(Kind::Error, call).aux(ErrorCode::Handler.code());
                self.send(
                    draft
                        .flags(Flags::MAY_HAVE_RUN)
                        .payload(encoding, error.as_bytes()),
                );
            }
        }
    }

    /// Answers a call that the client is not given.
    pub(super) fn refuse(&mut self, ticket: CallTicket, call: &Partial<'_>, code: ErrorCode, text: &str) {
        if call.answered {
            let draft = Draft::new(Kind::Error, ticket).aux(code.code());
            self.send(draft.payload(Encoding::RAW, text.as_bytes()));
        }
    }

    /// Adds a frame to its message, and gives back the credit of pieces. Returns the message when it is complete.
    pub(super) fn assemble<'a>(
        &mut self,
        owner: Owner,
        view: &FrameView<'a>,
        most: usize,
    ) -> Option<Partial<'a>> {
        let header = view.header;
        // The arguments of a call with items are whole; the items are for who knows them.
        let last = !header.flags.has(Flags::CONTINUED) || header.flags.has(Flags::ITEMS);
        let piece = matches!(header.kind, Kind::CallPiece | Kind::ReplyPiece | Kind::EventPiece);
        let credit = match owner {
            Owner::Call(id) if piece => Some((Kind::CallCredit, id)),
            Owner::Reply(id) if piece || !last => Some((Kind::ReplyCredit, id)),
            _ => None,
        };
        if let Some((kind, id)) = credit.filter(|_| !last) {
            let bytes = u32::try_from(header.wire_len()).unwrap_or(u32::MAX);
            self.send(Draft::new(kind, id).aux(bytes));
        }
        if piece {
            return self.pieces.add(owner, view.payload, last, most);
        }
        let partial = Partial {
            encoding: header.encoding,
            bytes: view.payload.into(),
            key: view.key.into(),
            answered: !header.flags.has(Flags::NO_REPLY),
            length: view.payload.len(),
        };
        if last {
            return Some(partial);
        }
        self.pieces.begin(owner, partial.kept());
        None
    }

    /// Frames that are not about a call or an event.
    pub(super) fn control(&mut self, view: &FrameView<'_>) {
        match view.header.kind {
            Kind::Welcome => {
                if let Some(welcome) = Welcome::decode(view.payload) {
                    self.window = i64::from(welcome.publish_window.max(1));
                    self.patience_ms = welcome.max_deadline_ms;
                    self.frame_bytes = welcome.frame_bytes as usize;
                }
            }
            Kind::PublishCredit => self.window = self.window.saturating_add(i64::from(view.header.aux)),
            Kind::Ping => {
                let pong = Draft::new(Kind::Pong, view.header.id);
                self.send(pong.payload(view.header.encoding, view.payload));
            }
            _ => {}
        }
    }
}

/// Whether a name can be one here.
fn checked(place: Place, name: &str) -> Result<(), (Place, Failure)> {
    crate::message::name::check_text(name).map_err(|error| {
        (
            place,
            Failure::new(ErrorCode::Invalid, format!("{name:?}: {error}")),
        )
    })
}

pub(super) fn too_large(what: &str, length: usize, most: usize) -> String {
    format!("the {what} has {length} bytes; this client takes values of at most {most}")
}

/// What an Error frame says, to a client that takes values of at most so many bytes. A longer value is left out, a longer text cut.
pub(super) fn failure(view: &FrameView<'_>, most: usize) -> Failure {
    let error = CallError::from_frame(view, Payload::default);
    let value = match view.header.encoding {
        Encoding::RAW => None,
        encoding => value::json(encoding, view.payload).ok().map(Cow::into_owned),
    };
    let value = value.filter(|value| value.len() <= most);
    let text = match error.message.is_empty() {
        true => CallError::from(error.code).message,
        false => error.message,
    };
    Failure {
        value,
        // A byte of it may take six when it is written as JSON.
        ..Failure::new(error.code, cut(&text, most / 8))
    }
}

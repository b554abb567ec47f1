//! What stands between an old client and the broker: it is the broker's client in the old one's place.
//!
//! Owns what the old client has asked and was asked, under the numbers of `docs/protocol.md`, its subscriptions, and the credit that
//! its format does not know: while there is none, its bytes wait. Bytes of both sides go in ([`Gateway::take`], [`Gateway::give`]) and come out
//! ([`Gateway::native`], [`Gateway::output`]). Pure; the broker's Connection is the caller.

use super::Dialect;
use super::ipc_broker::IpcBroker;
use super::ipc_server::IpcServer;
use super::pieces::{Owner, Partial, Pieces};
use super::said::{CallTicket, Codec, Failure, Next, Place, Said, Told};
use super::value;
use crate::error::{CallError, ErrorCode};
use crate::message::codec::body_limit;
use crate::message::frame::FrameView;
use crate::message::handshake::PREFACE;
use crate::message::{
    Batch, Decoder, Draft, Encoding, Flags, Hello, Kind, PROTOCOL_VERSION, Welcome, key, metadata,
};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The old client's bytes are none of its format; the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was asked of the broker.
#[derive(Debug)]
enum Asked {
    Register(Place),
    Call(Place),
    Subscribe(Place, Box<[u8]>),
    Has(Place),
}

/// The broker's side.
#[derive(Debug)]
struct Broker {
    /// Frames for it.
    out: Vec<u8>,
    /// What comes from it.
    decoder: Decoder,
    last: u64,
    asked: HashMap<u64, Asked>,
    pieces: Pieces,
    /// The keys of the topics that it hears or has asked for, and the subscriptions to them.
    topics: HashSet<Box<[u8]>>,
    subscriptions: HashMap<u64, Box<[u8]>>,
    /// What may be published, in bytes on the wire. Nothing may before the welcome.
    window: i64,
    /// How long a call may take, in milliseconds.
    patience_ms: u32,
    frame_bytes: usize,
    unshown: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Gateway {
    codec: Box<dyn Codec>,
    /// Bytes of the old client that are not understood yet.
    input: Vec<u8>,
    /// Bytes for it.
    output: Vec<u8>,
    broker: Broker,
}

impl Gateway {
    /// The gateway of a client that has begun to speak; its greeting to the broker is ready in [`Self::native`].
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let codec: Box<dyn Codec> = match dialect {
            Dialect::IpcBroker => Box::new(IpcBroker::default()),
            Dialect::IpcServer => Box::new(IpcServer::default()),
        };
        let mut out = PREFACE.to_vec();
        Draft::new(Kind::Hello, u64::from(PROTOCOL_VERSION))
            .aux(PROTOCOL_VERSION)
            .payload(Encoding::RAW, &Hello::default().encode())
            .encode(&mut out);
        Self {
            codec,
            input: Vec::new(),
            output: Vec::new(),
            broker: Broker {
                out,
                decoder: Decoder::new(body_limit(usize::MAX / 2)),
                last: 0,
                asked: HashMap::new(),
                pieces: Pieces::default(),
                topics: HashSet::new(),
                subscriptions: HashMap::new(),
                window: 0,
                patience_ms: 0,
                frame_bytes: 0,
                unshown: 0,
            },
        }
    }

    /// Frames for the broker, to be taken out.
    pub const fn native(&mut self) -> &mut Vec<u8> {
        &mut self.broker.out
    }

    /// Bytes for the old client, to be taken out.
    pub const fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether more of the old client may be read: it has no credit otherwise, and what it sent meanwhile waits.
    #[must_use]
    pub const fn may_read(&self) -> bool {
        self.broker.window > 0
    }

    /// Whether a message of the old client has begun and is not complete, though it could be.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        !self.input.is_empty() && self.may_read()
    }

    /// Bytes that are kept until they can be understood, and of messages in pieces.
    #[must_use]
    pub fn held(&self) -> usize {
        self.input.len().saturating_add(self.broker.pieces.held())
    }

    /// Whether the old client would take an event for an answer, so that events must wait.
    #[must_use]
    pub fn holds_events(&self) -> bool {
        self.codec.awaits_answer()
    }

    /// Events that could not be shown to the client since the last time this was asked.
    pub const fn take_unshown(&mut self) -> u64 {
        std::mem::replace(&mut self.broker.unshown, 0)
    }

    /// Bytes of the old client.
    ///
    /// # Errors
    /// [`Broken`]: its connection cannot be read any further.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.input.extend_from_slice(bytes);
        self.go_on()
    }

    /// Bytes of the broker.
    ///
    /// # Errors
    /// [`Broken`], of what waited for credit.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let batch = match self.broker.decoder.decode(bytes) {
            Ok(batch) => batch,
            Err(error) => return Err(Broken(format!("the broker's own frames are none: {error}"))),
        };
        self.given(&batch);
        self.go_on()
    }

    /// Understands what the old client has said, as far as there is credit.
    fn go_on(&mut self) -> Result<(), Broken> {
        let mut used = 0_usize;
        while self.broker.window > 0 {
            let rest = self.input.get(used..).unwrap_or_default();
            match self.codec.next(rest, &mut self.output) {
                Next::More => break,
                Next::Broken(why) => return Err(Broken(why)),
                Next::Said(said, length) => {
                    used = used.saturating_add(length);
                    if let Err((place, failure)) = self.broker.hear(said) {
                        let _ = self
                            .codec
                            .say(&Told::Answer(place, Err(&failure)), &mut self.output);
                    }
                }
            }
        }
        self.input.drain(..used.min(self.input.len()));
        if self.input.is_empty() && self.input.capacity() > 64 * 1024 {
            self.input = Vec::new();
        }
        Ok(())
    }

    fn given(&mut self, batch: &Batch) {
        for view in (0..batch.len()).filter_map(|index| batch.view(index)) {
            match view.header.kind {
                Kind::Call | Kind::CallPiece => self.called(&view),
                Kind::Reply | Kind::ReplyPiece => self.replied(&view),
                Kind::Event | Kind::EventPiece => self.event(&view),
                Kind::Done => self.done(view.header.id),
                Kind::Error => self.failed(&view),
                Kind::Cancel => {
                    self.broker.pieces.give_up(Owner::Call(view.header.id));
                    self.codec.cancelled(view.header.id);
                }
                _ => self.broker.control(&view),
            }
        }
    }

    fn say(&mut self, told: &Told<'_>) {
        let _ = self.codec.say(told, &mut self.output);
    }

    fn done(&mut self, id: u64) {
        match self.broker.asked.remove(&id) {
            Some(Asked::Register(place)) => self.say(&Told::Registered(place)),
            Some(Asked::Subscribe(place, _)) => self.say(&Told::Subscribed(place)),
            Some(Asked::Has(place)) => self.say(&Told::Has(place, true)),
            Some(Asked::Call(_)) | None => {}
        }
    }

    fn failed(&mut self, view: &FrameView<'_>) {
        let id = view.header.id;
        let failure = failure(view);
        self.broker.pieces.give_up(Owner::Reply(id));
        match self.broker.asked.remove(&id) {
            Some(Asked::Has(place)) => self.say(&Told::Has(place, false)),
            Some(Asked::Register(place) | Asked::Call(place)) => {
                self.say(&Told::Answer(place, Err(&failure)))
            }
            Some(Asked::Subscribe(place, topic)) => {
                self.broker.topics.remove(&topic);
                self.broker.subscriptions.remove(&id);
                self.say(&Told::Answer(place, Err(&failure)));
            }
            None => {
                // A subscription that has ended: the policy allows it no more.
                if let Some(topic) = self.broker.subscriptions.remove(&id) {
                    self.broker.topics.remove(&topic);
                }
            }
        }
    }

    fn replied(&mut self, view: &FrameView<'_>) {
        let (id, most) = (view.header.id, self.codec.limit());
        let Some(asked) = self.broker.asked.get(&id) else {
            return;
        };
        let place = match asked {
            Asked::Call(place) => *place,
            Asked::Has(place) => {
                let place = *place;
                self.broker.asked.remove(&id);
                return self.say(&Told::Has(place, true));
            }
            Asked::Register(_) | Asked::Subscribe(..) => return,
        };
        let Some(partial) = self.broker.assemble(Owner::Reply(id), view, most) else {
            return;
        };
        self.broker.asked.remove(&id);
        let large = || Failure::new(ErrorCode::ReplyLost, too_large("result", partial.length, most));
        let shown = match partial.length > most {
            true => Err(large()),
            false => value::json(partial.encoding, &partial.bytes)
                .map_err(|why| Failure::new(ErrorCode::Encoding, format!("the call ran, but {why}"))),
        };
        match shown {
            Ok(value) => self.say(&Told::Answer(place, Ok(&value))),
            Err(failure) => self.say(&Told::Answer(place, Err(&failure))),
        }
    }

    fn called(&mut self, view: &FrameView<'_>) {
        let (ticket, most) = (view.header.id, self.codec.limit());
        if view.header.kind == Kind::CallPiece && view.header.flags.has(Flags::ABORT) {
            self.broker.pieces.give_up(Owner::Call(ticket));
            return;
        }
        let Some(partial) = self.broker.assemble(Owner::Call(ticket), view, most) else {
            return;
        };
        if partial.length > most {
            let text = too_large("call", partial.length, most);
            return self.broker.refuse(ticket, &partial, ErrorCode::TooLarge, &text);
        }
        let args = match value::json(partial.encoding, &partial.bytes) {
            Ok(args) => args,
            Err(why) => {
                let text = format!("{why}; this object's program knows JSON only");
                return self.broker.refuse(ticket, &partial, ErrorCode::Encoding, &text);
            }
        };
        let (object, method) = key::split(&partial.key);
        let told = Told::Call {
            ticket,
            object: std::str::from_utf8(object).unwrap_or_default(),
            method: std::str::from_utf8(method).unwrap_or_default(),
            args: &args,
            answered: partial.answered,
        };
        if let Err(large) = self.codec.say(&told, &mut self.output) {
            let text = format!("the call is {large}");
            self.broker.refuse(ticket, &partial, ErrorCode::TooLarge, &text);
        }
    }

    fn event(&mut self, view: &FrameView<'_>) {
        let (id, most) = (view.header.id, self.codec.limit());
        let owner = match view.header.kind == Kind::EventPiece || view.header.flags.has(Flags::CONTINUED) {
            true => Owner::Event(id, view.header.aux),
            false => Owner::Event(id, 0),
        };
        if view.header.kind == Kind::EventPiece && view.header.flags.has(Flags::ABORT) {
            self.broker.pieces.give_up(owner);
            return;
        }
        let Some(partial) = self.broker.assemble(owner, view, most) else {
            return;
        };
        let Some(topic) = self.broker.subscriptions.get(&id) else {
            return;
        };
        let (object, topic) = key::split(topic);
        let shown = match partial.length > most {
            true => Err(String::new()),
            false => value::json(partial.encoding, &partial.bytes),
        };
        let said = shown.is_ok_and(|value| {
            let told = Told::Event {
                object: std::str::from_utf8(object).unwrap_or_default(),
                topic: std::str::from_utf8(topic).unwrap_or_default(),
                value: &value,
            };
            self.codec.say(&told, &mut self.output).is_ok()
        });
        if !said {
            self.broker.unshown = self.broker.unshown.saturating_add(1);
        }
    }
}

impl Broker {
    /// Asks the broker what a client has said.
    ///
    /// # Errors
    /// What the client is told at once, in its place.
    fn hear(&mut self, said: Said<'_>) -> Result<(), (Place, Failure)> {
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
                self.subscribe(place, key::join(&object, &topic).into());
            }
            Said::Publish { object, topic, value } => {
                // The format has no answer; what is no name has no subscribers.
                let named = checked(0, &object).and_then(|()| checked(0, &topic)).is_ok();
                if named && value.len() <= self.frame_bytes {
                    let publish = Draft::new(Kind::Publish, 0).pair(&object, &topic);
                    let publish = publish.payload(Encoding::JSON, value.as_bytes());
                    let bytes = i64::try_from(publish.wire_len()).unwrap_or(i64::MAX);
                    self.window = self.window.saturating_sub(bytes);
                    self.send(publish);
                }
            }
            Said::Has { place, object } => {
                let id = self.ask(Asked::Has(place));
                self.send(Draft::new(Kind::Describe, id).key(object.as_bytes()));
            }
            Said::Wait {
                place,
                objects,
                patience_ms,
            } => {
                let mut names = Vec::new();
                for object in &objects {
                    checked(place, object)?;
                    names.push(u8::try_from(object.len()).unwrap_or(u8::MAX));
                    names.extend_from_slice(object.as_bytes());
                }
                let id = self.ask(Asked::Has(place));
                let wait = Draft::new(Kind::Wait, id).aux(patience_ms);
                self.send(wait.payload(Encoding::RAW, &names));
            }
            Said::Nothing => {}
        }
        Ok(())
    }

    fn ask(&mut self, asked: Asked) -> u64 {
        self.last = self.last.saturating_add(1);
        self.asked.insert(self.last, asked);
        self.last
    }

    fn send(&mut self, draft: Draft<'_>) {
        draft.encode(&mut self.out);
    }

    fn subscribe(&mut self, place: Place, topic: Box<[u8]>) {
        let id = self.ask(Asked::Subscribe(place, topic.clone()));
        if self.topics.contains(&topic) {
            // A program hears a topic once, however often it asks. What is asked of nothing is answered behind the first request.
            return self.send(Draft::new(Kind::Unwatch, id));
        }
        self.send(Draft::new(Kind::Subscribe, id).key(&topic));
        self.topics.insert(topic.clone());
        self.subscriptions.insert(id, topic);
    }

    /// A client's answer to a call that it was given.
    fn answer(&mut self, call: CallTicket, outcome: Result<&str, std::borrow::Cow<'_, str>>) {
        match outcome {
            Ok(value) => self.send(Draft::new(Kind::Reply, call).payload(Encoding::JSON, value.as_bytes())),
            Err(error) => {
                let json = serde_json::from_str::<serde_json::Value>(&error).is_ok();
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
    fn refuse(&mut self, ticket: CallTicket, call: &Partial, code: ErrorCode, text: &str) {
        if call.answered {
            let draft = Draft::new(Kind::Error, ticket).aux(code.code());
            self.send(draft.payload(Encoding::RAW, text.as_bytes()));
        }
    }

    /// Adds a frame to its message, and gives back the credit of pieces. Returns the message when it is complete.
    fn assemble(&mut self, owner: Owner, view: &FrameView<'_>, most: usize) -> Option<Partial> {
        let header = view.header;
        let last = !header.flags.has(Flags::CONTINUED);
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
            bytes: view.payload.to_vec(),
            key: view.key.to_vec(),
            answered: !header.flags.has(Flags::NO_REPLY),
            length: view.payload.len(),
        };
        if last {
            return Some(partial);
        }
        self.pieces.begin(owner, partial);
        None
    }

    /// Frames that are not about a call or an event.
    fn control(&mut self, view: &FrameView<'_>) {
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

fn too_large(what: &str, length: usize, most: usize) -> String {
    format!("the {what} has {length} bytes; this client takes values of at most {most}")
}

/// What an Error frame says.
fn failure(view: &FrameView<'_>) -> Failure {
    let code = ErrorCode::from_code(view.header.aux);
    let text = match view.header.encoding {
        Encoding::RAW => String::from_utf8_lossy(view.payload).into_owned(),
        _ => metadata::get(view.meta, metadata::ERROR_TEXT).map_or_else(
            || code.text().to_owned(),
            |text| String::from_utf8_lossy(text).into_owned(),
        ),
    };
    let value = match view.header.encoding {
        Encoding::RAW => None,
        encoding => value::json(encoding, view.payload)
            .ok()
            .map(std::borrow::Cow::into_owned),
    };
    Failure {
        value,
        ..Failure::new(
            code,
            if text.is_empty() {
                CallError::from(code).message
            } else {
                text
            },
        )
    }
}

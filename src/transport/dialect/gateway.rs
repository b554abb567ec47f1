//! What stands between an old client and the broker: it is the broker's client in the old one's place.
//!
//! Owns what the old client has asked and was asked, under the numbers of `docs/protocol.md`, its subscriptions, and the credit that
//! its format does not know: while there is none, its bytes wait. Bytes of both sides go in ([`Gateway::take`], [`Gateway::give`]) and come out
//! ([`Gateway::native`], [`Gateway::output`]). Pure; the broker's Connection is the caller.

use super::Dialect;
use super::asked::{Asked, Broker, failure, too_large};
use super::bounds::{BITE, Bounds};
use super::ipc_broker::IpcBroker;
use super::ipc_server::IpcServer;
use super::pieces::{Hidden, Owner};
use super::said::{Codec, Failure, Next, Said, Told};
use crate::error::{CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Batch, Draft, Flags, Kind, key};
use std::fmt;
use std::time::Instant;

/// The old client's bytes are none of its format; the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Gateway {
    pub(super) codec: Box<dyn Codec>,
    /// Bytes of the old client that are not understood yet.
    pub(super) input: Vec<u8>,
    /// Bytes for it.
    pub(super) output: Vec<u8>,
    pub(super) broker: Broker,
    farewell: Option<(CloseReason, String)>,
    /// What was read is not all understood: its answers were too many to be taken at once.
    is_behind: bool,
    /// Nothing behind its last bytes can be read.
    is_broken: bool,
    /// Bytes that may be kept; beyond them its requests are refused.
    pub(super) room: usize,
    /// Requests that were refused for that.
    refused: u64,
    unread_bytes: usize,
    /// There is memory for no more than little of them.
    is_modest: bool,
}

impl Gateway {
    /// The gateway of a client that has begun to speak; its greeting to the broker is ready in [`Self::native`].
    #[must_use]
    pub fn new(dialect: Dialect, bounds: Bounds) -> Self {
        let codec: Box<dyn Codec> = match dialect {
            Dialect::IpcBroker => Box::new(IpcBroker::default()),
            Dialect::IpcServer => Box::new(IpcServer::new(bounds)),
        };
        Self {
            codec,
            input: Vec::new(),
            output: Vec::new(),
            broker: Broker::greeted(),
            farewell: None,
            is_behind: false,
            is_broken: false,
            room: usize::MAX,
            refused: 0,
            unread_bytes: bounds.unread_bytes,
            is_modest: false,
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
    pub fn may_read(&self) -> bool {
        self.broker.window > 0
    }

    /// Whether bytes were left aside only because their answers would have been too many: [`Self::take`] goes on with them.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether a message of the old client has begun and is not complete, though it could be.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        (!self.input.is_empty() || self.codec.reads_over()) && !self.is_behind && self.may_read()
    }

    /// Bytes that are kept: until they can be understood, until a message is complete, until an answer has its turn. Without the first
    /// [`BITE`] of the client's own, which are its connection's.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held_beside(self.input.len())
    }

    fn held_beside(&self, input: usize) -> usize {
        let apart = self.broker.pieces.held().saturating_add(self.codec.held());
        input.saturating_sub(BITE).saturating_add(apart)
    }

    /// Answers that the client may leave unread, in bytes, before nothing more of it is understood. Few while there is no memory.
    #[must_use]
    pub fn unread_max(&self) -> usize {
        match self.room {
            usize::MAX if !self.is_modest => self.unread_bytes,
            _ => self.unread_bytes.min(BITE),
        }
    }

    /// Whether answers are to come together up to [`BITE`] only, because nobody has looked whether there is memory for more.
    pub const fn set_modest(&mut self, is_modest: bool) {
        self.is_modest = is_modest;
    }

    /// Whether the old client would take an event for an answer, so that events must wait.
    #[must_use]
    pub fn holds_events(&self) -> bool {
        self.codec.holds_events()
    }

    /// The time of what follows. Without one nothing is put off.
    pub fn clock(&mut self, now: Instant) {
        self.codec.clock(now);
    }

    /// When [`Self::time_passed`] is to be called next, for what the client must not be told now.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.codec.due()
    }

    /// Tells the client what was put off until the time of the clock.
    pub fn time_passed(&mut self) {
        self.codec.time_passed(&mut self.output);
    }

    /// The client does not read what it is told.
    pub fn unread(&mut self) {
        self.codec.unread();
    }

    /// Why the broker has ended the connection, for a client whose format has no words for it.
    pub const fn take_farewell(&mut self) -> Option<(CloseReason, String)> {
        self.farewell.take()
    }

    /// Events that could not be shown to the client since the last time this was asked.
    pub const fn take_unshown(&mut self) -> u64 {
        std::mem::replace(&mut self.broker.unshown, 0)
    }

    /// Requests that were refused for want of memory since the last time this was asked.
    pub const fn take_refused(&mut self) -> u64 {
        std::mem::replace(&mut self.refused, 0)
    }

    /// The units that the client has named since the last time this was asked, each with its object.
    pub fn take_services(&mut self) -> Vec<(Box<str>, Box<str>)> {
        std::mem::take(&mut self.broker.services)
    }

    /// Bytes of the old client.
    ///
    /// # Errors
    /// [`Broken`], once: nothing behind what is understood by then can be read. What was said before counts.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.is_broken {
            return Ok(());
        }
        if !self.input.is_empty() {
            self.input.extend_from_slice(bytes);
            return self.go_on();
        }
        // Whole messages, as nearly always, are understood where they lie.
        let (used, understood) = self.understand(bytes);
        if understood.is_ok() {
            let rest = bytes.get(used..).unwrap_or_default();
            self.input.extend_from_slice(rest);
        }
        understood
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
    pub(super) fn go_on(&mut self) -> Result<(), Broken> {
        let mut input = std::mem::take(&mut self.input);
        let (used, understood) = self.understand(&input);
        understood?;
        input.drain(..used.min(input.len()));
        if !input.is_empty() || input.capacity() <= 64 * 1024 {
            self.input = input;
        }
        Ok(())
    }

    /// The messages of some bytes: how many of the bytes they are, and whether the next one is none.
    fn understand(&mut self, input: &[u8]) -> (usize, Result<(), Broken>) {
        let mut used = 0_usize;
        self.is_behind = false;
        while self.may_read() || self.broker.is_short {
            if self.output.len() > self.unread_max() {
                self.is_behind = used < input.len();
                break;
            }
            let rest = input.get(used..).unwrap_or_default();
            match self.codec.next(rest, &mut self.output) {
                Next::More => break,
                Next::Broken(why) => {
                    self.is_broken = true;
                    return (used, Err(Broken(why)));
                }
                Next::Said(said, length) => {
                    used = used.saturating_add(length);
                    let full = self.room < self.held_beside(input.len().saturating_sub(used));
                    self.heard(said, full);
                }
                Next::Lost(lost, length, why) => {
                    used = used.saturating_add(length);
                    if let Err(broken) = self.lose(lost, &why) {
                        self.is_broken = true;
                        return (used, Err(broken));
                    }
                }
            }
        }
        (used, Ok(()))
    }

    fn heard(&mut self, said: Said<'_>, full: bool) {
        let refused = full && said.place().is_some();
        self.refused = self.refused.saturating_add(u64::from(refused));
        match self.broker.hear(said, full) {
            Ok(None) => {}
            Ok(Some(place)) => self.say(&Told::Subscribed(place)),
            Err((place, failure)) => self.say(&Told::Answer(place, Err(&failure))),
        }
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
                Kind::Goodbye => {
                    self.codec.flush(&mut self.output);
                    let text = String::from_utf8_lossy(view.payload).into_owned();
                    self.farewell = Some((CloseReason::from_code(view.header.aux), text));
                }
                _ => self.broker.control(&view),
            }
        }
    }

    pub(super) fn say(&mut self, told: &Told<'_>) {
        let _ = self.codec.say(told, &mut self.output);
    }

    fn done(&mut self, id: u64) {
        match self.broker.asked.remove(&id) {
            Some(Asked::Register(place)) => self.say(&Told::Registered(place)),
            Some(Asked::Subscribe(places, _)) => {
                places
                    .into_iter()
                    .for_each(|place| self.say(&Told::Subscribed(place)));
            }
            Some(Asked::Has(place)) => self.say(&Told::Has(place, true)),
            Some(Asked::Call(_)) | None => {}
        }
    }

    fn failed(&mut self, view: &FrameView<'_>) {
        let id = view.header.id;
        let failure = failure(view, self.codec.limit());
        self.broker.pieces.give_up(Owner::Reply(id));
        match self.broker.asked.remove(&id) {
            Some(Asked::Has(place)) => self.say(&Told::Has(place, false)),
            Some(Asked::Register(place) | Asked::Call(place)) => {
                self.say(&Told::Answer(place, Err(&failure)))
            }
            Some(Asked::Subscribe(places, topic)) => {
                self.broker.topics.remove(&topic);
                self.broker.subscriptions.remove(&id);
                for place in places {
                    self.say(&Told::Answer(place, Err(&failure)));
                }
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
        if view.header.kind == Kind::ReplyPiece && view.header.flags.has(Flags::ABORT) {
            self.broker.pieces.give_up(Owner::Reply(id));
            self.broker.asked.remove(&id);
            let gone = Failure::new(ErrorCode::CalleeGone, ErrorCode::CalleeGone.text());
            return self.say(&Told::Answer(place, Err(&gone)));
        }
        let whole = self.broker.assemble(Owner::Reply(id), view, most);
        let beyond = || self.broker.pieces.beyond(Owner::Reply(id), most);
        let Some(partial) = whole.or_else(beyond) else {
            return;
        };
        self.broker.asked.remove(&id);
        if partial.length > most && view.header.flags.has(Flags::CONTINUED) {
            // Its callee need not go on.
            self.broker.send(Draft::new(Kind::Cancel, id));
        }
        let failure = match partial.shown(most) {
            Ok(value) => return self.say(&Told::Answer(place, Ok(&value))),
            Err(Hidden::Large(length)) => {
                Failure::new(ErrorCode::ReplyLost, too_large("result", length, most))
            }
            Err(Hidden::Unsayable(why)) => {
                Failure::new(ErrorCode::Encoding, format!("the call ran, but {why}"))
            }
        };
        self.say(&Told::Answer(place, Err(&failure)));
    }

    fn called(&mut self, view: &FrameView<'_>) {
        let (ticket, most) = (view.header.id, self.codec.limit());
        if view.header.kind == Kind::CallPiece && view.header.flags.has(Flags::ABORT) {
            self.broker.pieces.give_up(Owner::Call(ticket));
            return;
        }
        let whole = self.broker.assemble(Owner::Call(ticket), view, most);
        let beyond = || self.broker.pieces.beyond(Owner::Call(ticket), most);
        let Some(partial) = whole.or_else(beyond) else {
            return;
        };
        let args = match partial.shown(most) {
            Ok(args) => args,
            Err(Hidden::Large(length)) => {
                let text = too_large("call", length, most);
                return self.broker.refuse(ticket, &partial, ErrorCode::TooLarge, &text);
            }
            Err(Hidden::Unsayable(why)) => {
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
        if let Err(unsaid) = self.codec.say(&told, &mut self.output) {
            let text = format!("the call is {unsaid}");
            self.broker.refuse(ticket, &partial, unsaid.code(), &text);
        }
    }

    fn event(&mut self, view: &FrameView<'_>) {
        let (id, most) = (view.header.id, self.codec.limit());
        // In an event of one frame `aux` counts what was missed before it; nothing is kept of that event.
        let owner = Owner::Event(id, view.header.aux);
        if view.header.kind == Kind::EventPiece && view.header.flags.has(Flags::ABORT) {
            self.broker.pieces.give_up(owner);
            return;
        }
        if view.header.is_region() {
            // Nobody has said that it takes any: the payload of that frame is a length.
            self.broker.pieces.give_up(owner);
            self.broker.unshown = self.broker.unshown.saturating_add(1);
            return;
        }
        let whole = self.broker.assemble(owner, view, most);
        let beyond = || self.broker.pieces.beyond(owner, most);
        let Some(partial) = whole.or_else(beyond) else {
            return;
        };
        let Some(topic) = self.broker.subscriptions.get(&id) else {
            return;
        };
        let (object, topic) = key::split(topic);
        let said = partial.shown(most).is_ok_and(|value| {
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

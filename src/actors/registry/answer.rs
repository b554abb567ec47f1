//! Requests to Registry that are not calls: register, wait, watch, list, describe.
//!
//! Reads the frame, asks the index, answers. The answer is queued before the notices that the step causes.

use super::facts::{self, Balance, Interest};
use super::index::{NameView, RegisterError, Registered, Registration};
use super::listing::{Listing, Shown, shown_peer};
use super::state::{Current, State};
use crate::actors::deliver::{Class, Verdict};
use crate::actors::messages::{self, Deliver};
use crate::actors::peer::{PeerRef, ReplyTo};
use crate::actors::peers::Key;
use crate::config::raise;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::metadata::RESERVED_PREFIX;
use crate::message::{Batch, Draft, Encoding, Flags, Kind, Pattern, RequestId, Ticket, name};
use crate::policy::Right;
use serde_json::Value;
use std::sync::Arc;

/// Names in one Wait, at most: they are told in one frame of small size.
const NAMES_PER_WAIT: usize = 256;

type Answer = Result<Reply, CallError>;

/// How a request is answered.
enum Reply {
    Done(u32),
    Json(Vec<u8>),
    /// The Connection answers by itself when the time comes.
    Later,
}

impl State {
    pub(super) fn request(&mut self, current: &Current, frame: u32, reply: ReplyTo) {
        let Some(view) = current.batch.view(frame as usize) else {
            return;
        };
        crate::actors::inject::before(view.key);
        let answer = self.answer(current, &view, reply.ticket());
        self.commit_facts();
        match answer {
            Ok(Reply::Done(aux)) => reply.done(aux),
            Ok(Reply::Json(value)) => self.reply_json(reply, &value),
            Ok(Reply::Later) => reply.forget(),
            Err(error) => reply.fail(&error),
        }
        self.commit();
        if matches!(view.header.kind, Kind::Register | Kind::Unregister)
            && let Ok(object) = std::str::from_utf8(view.key)
        {
            self.observe(object);
        }
        crate::actors::inject::after(view.key);
    }

    fn answer(&mut self, current: &Current, view: &FrameView<'_>, asked: Ticket) -> Answer {
        let request = RequestId(view.header.id);
        match view.header.kind {
            Kind::Register => self.register(current, view),
            Kind::Unregister => {
                let object = text(view.key)?;
                // Who holds it may give it back, whatever the policy says now; others learn nothing about it.
                if !self.index.holds(current.key, object) {
                    self.check_sees(current, object)?;
                }
                let held = self.index.unregister(current.key, object, &mut self.effects);
                held.map(|()| Reply::Done(0)).map_err(|_| {
                    CallError::new(
                        ErrorCode::NotRegistered,
                        format!("this connection does not hold {object:?}"),
                    )
                })
            }
            Kind::Wait => self.wait(current, view, asked),
            Kind::Watch => self.watch(current, view),
            Kind::Unwatch => {
                self.index.unwatch(current.key, request, &mut self.effects);
                Ok(Reply::Done(0))
            }
            Kind::Join => self.join(current, view).map(|()| Reply::Done(0)),
            Kind::Leave => {
                self.index.leave(current.key, request, &mut self.effects);
                Ok(Reply::Done(0))
            }
            Kind::List => self.list(current),
            _ => self.describe(current, view),
        }
    }

    fn register(&mut self, current: &Current, view: &FrameView<'_>) -> Answer {
        let object = text(view.key)?;
        if object.starts_with(RESERVED_PREFIX) && !current.from.is_local() {
            return Err(invalid("names that begin with `sys.` are the broker's own"));
        }
        self.check_own(current, object)?;
        if self.facts.counts(current.key).names >= self.shared.limits.names
            && !self.index.holds(current.key, object)
        {
            return Err(too_many("names", self.shared.limits.names));
        }
        if view.payload.len() > self.shared.limits.retained_bytes {
            let (limit, how) = (self.shared.limits.retained_bytes, raise("retained_bytes"));
            let text = format!("a description has at most {limit} bytes (limits.retained_bytes); {how}");
            return Err(CallError::new(ErrorCode::TooLarge, text).ran(false));
        }
        self.room(current, facts::name_cost(object, view.payload))?;
        let flags = view.header.flags;
        let group = match flags.has(Flags::WORKER_GROUP) {
            true => {
                Some(Balance::from_code(view.header.aux).ok_or_else(|| invalid("unknown group balance"))?)
            }
            false => None,
        };
        let registration = Registration {
            peer: current.key,
            request: RequestId(view.header.id),
            object,
            queue: flags.has(Flags::QUEUE),
            replace: flags.has(Flags::REPLACE),
            allow_replace: flags.has(Flags::ALLOW_REPLACE),
            group,
            description: bytes::Bytes::copy_from_slice(view.payload),
        };
        let ticket = self.ticket();
        match self.index.register(ticket, registration, &mut self.effects) {
            Ok(Registered::Owner) => Ok(Reply::Done(0)),
            Ok(Registered::Queued) => Ok(Reply::Done(1)),
            Err(error) => Err(self.taken(object, &error)),
        }
    }

    fn taken(&self, object: &str, error: &RegisterError<Key>) -> CallError {
        let text = match error {
            RegisterError::Taken { owner } => {
                let whose = self
                    .peers
                    .get(*owner)
                    .map_or_else(|| "another connection".into(), describe_peer);
                format!(
                    "{object:?} is registered by {whose}; queue, replace by consent, or choose another name"
                )
            }
            RegisterError::Mismatch { balance, .. } => format!(
                "{object:?} is a group with the balance {:?}; members of a group must ask for the same",
                balance.name()
            ),
        };
        CallError::new(ErrorCode::NameTaken, text)
    }

    fn wait(&mut self, current: &Current, view: &FrameView<'_>, ticket: Ticket) -> Answer {
        let names = parse_names(view.payload)?;
        for name in &names {
            self.check_sees(current, name)?;
        }
        if self.facts.counts(current.key).watches >= self.shared.limits.watches {
            return Err(too_many("watches", self.shared.limits.watches));
        }
        self.room(current, facts::wait_cost(&names))?;
        for name in &names {
            // Who may only know of it waits for what others start.
            if self.index.owner(name.as_bytes()).is_none()
                && self.access.may_call_some(current.key, &current.from, name)
            {
                self.want(name)?;
            }
        }
        let request = RequestId(view.header.id);
        match self
            .index
            .wait(ticket, current.key, request, names, &mut self.effects)
        {
            Ok(true) => Ok(Reply::Done(0)),
            Ok(false) => Ok(Reply::Later),
            Err(_) => Err(invalid("a wait of this number is open")),
        }
    }

    fn watch(&mut self, current: &Current, view: &FrameView<'_>) -> Answer {
        let pattern = match view.key {
            [] => None,
            key => Some(Pattern::new(text(key)?).map_err(|error| invalid(&error.to_string()))?),
        };
        let (names, connections) = (view.header.aux & 1 != 0, view.header.aux & 2 != 0);
        if !names && !connections {
            return Err(invalid("a watch asks for names (1), connections (2) or both (3)"));
        }
        if self.facts.counts(current.key).watches >= self.shared.limits.watches {
            return Err(too_many("watches", self.shared.limits.watches));
        }
        let interest = Interest {
            names,
            connections,
            pattern,
        };
        if connections {
            self.check_monitor(current)?;
        }
        if let Some(name) = interest.only_name() {
            self.check_sees(current, name)?;
        }
        self.room(current, facts::watch_cost(&interest))?;
        let (ticket, request) = (self.ticket(), RequestId(view.header.id));
        match self
            .index
            .watch(ticket, current.key, request, interest, &mut self.effects)
        {
            Ok(()) => Ok(Reply::Done(0)),
            Err(_) => Err(invalid("a watch of this number is open")),
        }
    }

    /// Written as it is found, and no further than a frame holds: a listing costs what its answer is long.
    fn list(&mut self, current: &Current) -> Answer {
        let (key, asker) = (current.key, &current.from);
        let mut access = self.access.lend();
        let monitors = access.may(key, asker, Right::Monitor, b"");
        let mut list = Listing::new(self.shared.limits.frame_bytes);
        list.begin("{\"objects\":[");
        for name in self.index.names() {
            if (monitors || access.sees(key, asker, name.name)) && !list.item(&self.shown(&name)) {
                break;
            }
        }
        self.access = access;
        list.begin("],\"connections\":[");
        let connections = self.index.connections();
        for (other, ..) in connections.filter(|(other, ..)| monitors || *other == key) {
            let peer = self.peers.get(other).map(shown_peer);
            if peer.is_some_and(|peer| !list.item(&peer)) {
                break;
            }
        }
        list.begin("]}");
        list.done().map(Reply::Json).ok_or_else(too_long)
    }

    fn describe(&mut self, current: &Current, view: &FrameView<'_>) -> Answer {
        self.check_sees(current, text(view.key)?)?;
        let Some(found) = self.index.describe(view.key) else {
            let name = String::from_utf8_lossy(view.key);
            return Err(CallError::new(
                ErrorCode::NoSuchObject,
                format!("no object {name:?} is registered"),
            ));
        };
        let shown = Shown {
            description: Some(serde_json::from_slice(found.description).unwrap_or(Value::Null)),
            ..self.shown(&found)
        };
        serde_json::to_vec(&shown)
            .map(Reply::Json)
            .map_err(|error| CallError::new(ErrorCode::Internal, error.to_string()))
    }

    fn shown<'a>(&'a self, view: &NameView<'a, Key>) -> Shown<'a> {
        Shown {
            name: view.name,
            owner: self.peers.get(view.owner).map(shown_peer),
            members: view.members.len(),
            queued: view.queue.len(),
            balance: view.balance.map(Balance::name),
            description: None,
        }
    }

    /// Answers with a listing. It may be large, so it takes its room in the asker's queue as any reply does.
    fn reply_json(&mut self, reply: ReplyTo, bytes: &[u8]) {
        if bytes.len() > self.shared.limits.frame_bytes {
            return reply.fail(&too_long());
        }
        self.turn.spend(bytes.len(), 1);
        let (call, ticket) = (reply.call(), reply.ticket());
        let draft = Draft::new(Kind::Reply, call.0).payload(Encoding::JSON, bytes);
        let batch = Batch::from_bytes(draft.to_vec().into(), self.shared.limits.frame_bytes);
        let (Some(asker), Ok(batch)) = (reply.asker().cloned(), batch) else {
            return;
        };
        if asker.account.admit(Class::Answer, draft.wire_len()) == Verdict::Overflow {
            return reply.fail(&CallError::from(ErrorCode::ReplyLost));
        }
        let _ = reply.forward();
        let answer = messages::Answer {
            frame: 0,
            call,
            ticket,
            last: true,
        };
        asker.post(Deliver::Answers(Arc::new(batch), vec![answer]));
    }
}

fn text(key: &[u8]) -> Result<&str, CallError> {
    name::check(key).map_err(|error| invalid(&error.to_string()))
}

fn invalid(text: &str) -> CallError {
    CallError::new(ErrorCode::Invalid, text)
}

pub(super) fn too_many(what: &str, limit: usize) -> CallError {
    let how = raise(what);
    let text = format!("a connection holds at most {limit} {what} (limits.{what}); give some back, or {how}");
    CallError::new(ErrorCode::TooMany, text).ran(false)
}

fn describe_peer(peer: &PeerRef) -> String {
    match (peer.origin.pid, peer.name()) {
        (0, "") => format!("connection {}", peer.id()),
        (0, name) => format!("connection {} ({name:?})", peer.id()),
        (pid, "") => format!("process {pid}"),
        (pid, name) => format!("process {pid} ({name:?})"),
    }
}

fn too_long() -> CallError {
    let text = "the listing is larger than a frame (limits.frame_bytes); ask about one object";
    CallError::new(ErrorCode::TooLarge, text)
}

fn parse_names(mut payload: &[u8]) -> Result<Vec<Box<str>>, CallError> {
    let mut names = Vec::new();
    while let Some((length, rest)) = payload.split_first() {
        let (bytes, rest) = rest
            .split_at_checked(usize::from(*length))
            .ok_or_else(|| invalid("the list of names is cut off"))?;
        names.push(text(bytes)?.into());
        payload = rest;
        if names.len() > NAMES_PER_WAIT {
            return Err(invalid("a wait names at most 256 objects"));
        }
    }
    if names.is_empty() {
        Err(invalid("a wait names at least one object"))
    } else {
        Ok(names)
    }
}

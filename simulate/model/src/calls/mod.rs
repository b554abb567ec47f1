//! Calls: one outcome each, at most one callee, answers from the callee alone, errors that tell the truth.
//!
//! Owns what is known of every call. `given.rs` judges what a callee gets, `outcome.rs` what a caller gets, `stream.rs` compares
//! messages. Who owns an object is asked of [`crate::names`], at the end, when the whole run is known.

mod given;
mod outcome;
mod stream;

use crate::names::Names;
use crate::run::{Found, Moment, Run, show};
use crate::{Frame, Violation};
use actix_ipc::message::{Flags, Kind, key};
use std::collections::{HashMap, HashSet};
use stream::{Item, Message};

/// One call that has arrived.
#[derive(Debug)]
struct Call {
    caller: u32,
    frame: Frame,
    arrived: Moment,
    /// Its place among its caller's calls.
    turn: u64,
    /// Its arguments, as far as they arrived.
    arguments: Message,
    /// Bytes of its pieces on the wire.
    charged: u64,
    granted: u64,
    cancelled: bool,
    given: Option<Given>,
    /// What the caller has got of the replies.
    got: Vec<Item>,
    outcome: Option<Outcome>,
    /// Its caller used its number again while it was open in its own eyes: what comes under it may be about either.
    muddled: bool,
    /// Violations that fall away when this client turns out to be the callee: it may answer a ticket that it has not read.
    suspect: Option<(u32, Vec<Violation>)>,
}

/// How a call ended at its caller.
#[derive(Clone, Debug)]
struct Outcome {
    at: Moment,
    /// The code of an Error, and its flag.
    error: Option<(u32, bool)>,
    /// The callee itself said so.
    callees_own: bool,
}

/// What is known since a callee has the call.
#[derive(Debug)]
struct Given {
    callee: u32,
    at: Moment,
    /// What the callee has got of the arguments.
    arguments: Message,
    /// What it has answered.
    replies: Vec<Item>,
    error: Option<Frame>,
    /// It has sent the last of its answers.
    over: bool,
    /// It has broken the rules of replies: what follows is not compared.
    odd: bool,
    /// Bytes of replies on the wire that are charged, credit that it got, credit that it gave.
    charged: u64,
    granted: u64,
    gave: u64,
    /// Credit that its caller gave.
    caller_gave: u64,
    cancelled: bool,
}

/// The rules' state.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    all: Vec<Call>,
    /// The open call of each caller and number; ended ones stay until the number is used again.
    numbers: HashMap<(u32, u64), usize>,
    tickets: HashMap<u64, usize>,
    /// Calls of one caller with the same content, which nobody can tell apart.
    alike: HashMap<(u32, Vec<u8>), Vec<usize>>,
    /// The last turn that a callee got, by caller, callee and object.
    turns: HashMap<(u32, u32, Vec<u8>), u64>,
    counts: HashMap<u32, u64>,
    /// Answers under tickets that their sender had not read: who sent them.
    early: HashMap<Vec<u8>, u32>,
    guessed: HashSet<(u32, u64)>,
}

/// The object that a frame's key names.
fn object(frame: &Frame) -> &[u8] {
    key::split(&frame.key).0
}

/// The broker serves these itself.
fn is_builtin(object: &[u8]) -> bool {
    object == b"rob" || object.starts_with(b"sys.")
}

/// What cannot be told apart when it is the same.
fn content(frame: &Frame, meta: &[u8]) -> Vec<u8> {
    let flags = frame.flags.0
        & Flags::CONTINUED
            .with(Flags::NO_REPLY)
            .with(Flags::STREAM)
            .with(Flags::ITEMS)
            .0;
    let length = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
    [
        &[frame.encoding][..],
        &flags.to_le_bytes(),
        &length(meta),
        meta,
        &length(&frame.key),
        &frame.key,
        &frame.payload,
    ]
    .concat()
}

/// What an answer is known by, whatever its number.
fn answer_content(frame: &Frame) -> Vec<u8> {
    [
        &[frame.kind as u8, frame.encoding][..],
        &frame.aux.to_le_bytes(),
        &frame.meta,
        &frame.payload,
    ]
    .concat()
}

impl Calls {
    /// A frame that arrived from a client.
    pub(crate) fn arrived(&mut self, client: u32, frame: &Frame, now: Moment) {
        match frame.kind {
            Kind::Call => self.called(client, frame, now),
            Kind::CallPiece => {
                if let Some(call) = self.by_number(client, frame.id) {
                    call.charged = call.charged.saturating_add(frame.wire);
                    call.cancelled |= frame.has(Flags::ABORT);
                    call.arguments.piece(frame);
                }
            }
            Kind::Cancel => {
                if let Some(call) = self.by_number(client, frame.id) {
                    call.cancelled = true;
                }
            }
            Kind::ReplyCredit => {
                if let Some(given) = self
                    .by_number(client, frame.id)
                    .and_then(|call| call.given.as_mut())
                {
                    given.caller_gave = given.caller_gave.saturating_add(u64::from(frame.aux));
                }
            }
            Kind::Reply | Kind::ReplyPiece | Kind::Error | Kind::CallCredit => self.answered(client, frame),
            _ => {}
        }
    }

    fn called(&mut self, client: u32, frame: &Frame, now: Moment) {
        let silent = frame.has(Flags::NO_REPLY);
        let before = self.by_number(client, frame.id).filter(|_| !silent);
        let muddled = before.is_some_and(|call| {
            call.muddled |= call.outcome.is_none();
            call.muddled
        });
        let turn = self.counts.entry(client).or_default();
        *turn = turn.saturating_add(1);
        let index = self.all.len();
        self.alike
            .entry((client, content(frame, &frame.meta)))
            .or_default()
            .push(index);
        if !silent {
            self.numbers.insert((client, frame.id), index);
        }
        self.all.push(Call {
            caller: client,
            frame: frame.clone(),
            arrived: now,
            turn: *turn,
            arguments: Message::begin(frame),
            charged: 0,
            granted: 0,
            cancelled: false,
            given: None,
            got: Vec::new(),
            outcome: None,
            muddled,
            suspect: None,
        });
    }

    /// What a client says under a ticket. Only the callee that was given the call has one; from others it is void.
    fn answered(&mut self, client: u32, frame: &Frame) {
        let call = self
            .tickets
            .get(&frame.id)
            .and_then(|index| self.all.get_mut(*index));
        let Some(call) = call else {
            return self.guesses(client, frame);
        };
        let streams = call.frame.has(Flags::STREAM);
        let Some(given) = call.given.as_mut().filter(|given| given.callee == client) else {
            return self.guesses(client, frame);
        };
        if frame.kind == Kind::CallCredit {
            given.gave = given.gave.saturating_add(u64::from(frame.aux));
        } else if !given.over && !given.odd {
            given.answer(frame, streams);
        }
    }

    fn guesses(&mut self, client: u32, frame: &Frame) {
        self.early.insert(answer_content(frame), client);
        self.guessed.insert((client, frame.id));
    }

    fn by_number(&mut self, client: u32, id: u64) -> Option<&mut Call> {
        let index = self.numbers.get(&(client, id))?;
        self.all.get_mut(*index)
    }

    /// A frame that a client read: to a callee by ticket, or to a caller by its own number.
    pub(crate) fn received(&mut self, run: &Run, client: u32, frame: &Frame, now: Moment, found: &mut Found) {
        match frame.kind {
            Kind::Call => self.give(run, client, frame, now, found),
            Kind::CallPiece | Kind::Cancel | Kind::ReplyCredit => self.tell_callee(client, frame, now, found),
            Kind::Reply | Kind::ReplyPiece | Kind::Error | Kind::CallCredit => {
                self.tell_caller(run, client, frame, now, found);
            }
            _ => {}
        }
    }

    /// What only the whole run can tell.
    pub(crate) fn finish(&self, run: &Run, names: &Names, drained: bool, found: &mut Found) {
        for call in &self.all {
            let what = format!("call {} to {}", call.frame.id, show(object(&call.frame)));
            let add = |found: &mut Found, rule, text: &str| {
                found.add(rule, call.caller, call.arrived.at, format!("{what}: {text}"))
            };
            let before_end = run.client(call.caller).is_some_and(|caller| {
                caller
                    .goodbye
                    .into_iter()
                    .chain(caller.half_closed)
                    .all(|until| call.arrived.at <= until)
            });
            let owed = run.is_owed(call.caller) && before_end && !call.frame.has(Flags::NO_REPLY);
            if let Some((client, suspected)) = &call.suspect {
                let has_it = call.given.as_ref().is_some_and(|given| given.callee == *client);
                let may = names.may_hold(run, *client, object(&call.frame), call.arrived.at, u64::MAX);
                // Who lives to the end has read what it was given.
                let unread = call.given.is_none() && !(drained && run.lives(*client));
                let excused = has_it || unread && may;
                if !excused {
                    found.0.extend(suspected.iter().cloned());
                }
            }
            if call.muddled {
                continue;
            }
            if drained && owed && call.outcome.is_none() {
                add(found, "one-outcome", "it has none");
            }
            self.routing(run, names, call, &what, found);
            self.cancel(run, call, &what, found);
        }
    }

    fn routing(&self, run: &Run, names: &Names, call: &Call, what: &str, found: &mut Found) {
        let object = object(&call.frame);
        if let Some(given) = &call.given
            && !names.may_hold(run, given.callee, object, call.arrived.at, given.at.at)
        {
            let text = format!("{what} was given to client {}, which cannot own it", given.callee);
            found.add("misrouted", call.caller, given.at.at, text);
        }
        let Some(outcome) = call.outcome.as_ref().filter(|outcome| !outcome.callees_own) else {
            return;
        };
        let (from, to) = (call.arrived.at, outcome.at.at);
        match outcome.error {
            Some((1, _)) => {
                if let Some(owner) = names.surely_held(run, object, from, to) {
                    let text = format!("{what} found no object, and client {owner} owned it all the time");
                    found.add("no-such-object", call.caller, to, text);
                }
            }
            Some((5 | 7, true)) if call.given.is_none() && !names.was_claimed(object, to) => {
                let text = format!("{what} may have run, they say, and nobody ever asked for the name");
                found.add("may-have-run", call.caller, to, text);
            }
            Some((5, _)) if !names.claimant_ended(run, object) => {
                let text = format!("{what} lost its callee, and nobody who asked for the name has ended");
                found.add("callee-gone", call.caller, to, text);
            }
            _ => {}
        }
    }

    /// A callee is told to stop only when there is a reason.
    fn cancel(&self, run: &Run, call: &Call, what: &str, found: &mut Found) {
        let Some(given) = call.given.as_ref().filter(|given| given.cancelled && !given.odd) else {
            return;
        };
        let answered = call
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.error.is_none() || outcome.callees_own);
        let whole = call.arguments.is_whole();
        if answered && whole && !call.cancelled && run.lives(call.caller) {
            let text = format!("{what} was answered, and its callee was told to stop");
            found.add("cancel", given.callee, given.at.at, text);
        }
    }
}

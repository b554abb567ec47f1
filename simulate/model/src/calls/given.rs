//! What a callee gets: calls that were made, once, unchanged, in order, from whom the broker says.
//!
//! Owns the rules `origin`, `invented`, `handled-once`, `did-not-run`, `call-order`, `ticket`, `arguments`, `reply-credit`, and what a
//! callee answers.

use super::{Call, Calls, Given, Item, Message, content, object};
use crate::Frame;
use crate::credit::is_charged_reply;
use crate::run::{Found, Moment, Run, show, step};
use actix_ipc::message::{Flags, Kind, metadata::SYS_NAME};

impl Given {
    fn new(callee: u32, at: Moment, frame: &Frame) -> Self {
        Self {
            callee,
            at,
            arguments: Message::begin(frame),
            replies: Vec::new(),
            error: None,
            over: false,
            odd: false,
            charged: 0,
            granted: 0,
            gave: 0,
            caller_gave: 0,
            cancelled: false,
        }
    }

    /// A frame of the callee under its ticket.
    pub(super) fn answer(&mut self, frame: &Frame, streams: bool) {
        if is_charged_reply(frame) {
            self.charged = self.charged.saturating_add(frame.wire);
        }
        let continuing = self.replies.last().is_some_and(|item| item.message.is_open());
        match frame.kind {
            Kind::Error => {
                self.error = Some(frame.clone());
                self.over = true;
            }
            Kind::Reply if !continuing && (streams || !frame.has(Flags::MORE)) => {
                self.replies.push(Item::begin(frame));
            }
            Kind::ReplyPiece if continuing => {
                if let Some(item) = self.replies.last_mut() {
                    item.message.piece(frame);
                }
            }
            _ => self.odd = true,
        }
        self.over |= self.replies.last().is_some_and(Item::ends);
    }
}

/// The metadata that the broker puts before the caller's.
fn sys_name(name: &[u8]) -> Vec<u8> {
    if name.is_empty() {
        return Vec::new();
    }
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
    let key = SYS_NAME.as_bytes();
    [
        &[u8::try_from(key.len()).unwrap_or(u8::MAX)][..],
        key,
        &length,
        name,
    ]
    .concat()
}

impl Calls {
    /// A client read a call.
    pub(super) fn give(&mut self, run: &Run, callee: u32, frame: &Frame, now: Moment, found: &mut Found) {
        let what = format!("ticket {} for {}", frame.id, show(&frame.key));
        let Some(origin) = frame.origin else { return };
        let caller = run.peers.get(&origin.peer.0).copied();
        let Some((number, caller)) = caller.and_then(|number| Some((number, run.client(number)?))) else {
            let text = format!(
                "{what} names connection {} as its origin, which nobody is",
                origin.peer
            );
            return found.add("origin", callee, now.at, text);
        };
        if (origin.uid, origin.pid) != (caller.opened.uid, caller.opened.pid) {
            let text = format!("{what} names user {} and process {}", origin.uid, origin.pid);
            found.add("origin", callee, now.at, text);
        }
        if self.tickets.contains_key(&frame.id) {
            return found.add("ticket", callee, now.at, format!("{what} was used before"));
        }
        let Some(meta) = frame.meta.strip_prefix(sys_name(&caller.name).as_slice()) else {
            return found.add(
                "origin",
                callee,
                now.at,
                format!("{what} has no sys.name of its caller"),
            );
        };
        let alike = self
            .alike
            .get(&(number, content(frame, meta)))
            .map_or(&[][..], Vec::as_slice);
        let free = |index: &&usize| self.all.get(**index).is_some_and(|call| call.given.is_none());
        let index = alike
            .iter()
            .find(|index| self.fits(**index, frame) && free(index))
            .or_else(|| alike.iter().find(free));
        let Some(index) = index.copied() else {
            let rule = if alike.is_empty() {
                "invented"
            } else {
                "handled-once"
            };
            let text = format!(
                "{what} was given, and client {number} made {} such calls",
                alike.len()
            );
            return found.add(rule, callee, now.at, text);
        };
        let lone = alike.len() == 1;
        self.tickets.insert(frame.id, index);
        self.order(index, callee, lone, now, found);
        let Some(call) = self.all.get_mut(index) else {
            return;
        };
        call.given = Some(Given::new(callee, now, frame));
        // It may have answered before it read the call.
        if lone && !self.guessed.contains(&(callee, frame.id)) && !call.muddled {
            call.judge_given(run, &what, frame, now, found);
        } else if let Some(given) = &mut call.given {
            // Several calls are alike: which of them this is nobody can say, so its answers are not compared.
            given.odd = true;
        }
    }

    /// Of several calls alike the one that still has no outcome is meant.
    fn fits(&self, index: usize, frame: &Frame) -> bool {
        let silent = frame.has(Flags::NO_REPLY);
        self.all
            .get(index)
            .is_some_and(|call| silent || call.outcome.is_none())
    }

    fn order(&mut self, index: usize, callee: u32, lone: bool, now: Moment, found: &mut Found) {
        let Some(call) = self
            .all
            .get(index)
            .filter(|call| lone && !call.frame.has(Flags::WAIT))
        else {
            return;
        };
        let line = (call.caller, callee, object(&call.frame).to_vec());
        let before = self.turns.insert(line, call.turn).unwrap_or(0);
        if before > call.turn {
            let text = format!(
                "call {} of client {} to {} came behind a later one",
                call.frame.id,
                call.caller,
                show(object(&call.frame))
            );
            found.add("call-order", callee, now.at, text);
        }
    }

    /// A frame about a call, to the one who has it.
    pub(super) fn tell_callee(&mut self, client: u32, frame: &Frame, now: Moment, found: &mut Found) {
        let call = self
            .tickets
            .get(&frame.id)
            .and_then(|index| self.all.get_mut(*index));
        let known = call.and_then(|call| {
            let Call { arguments, given, .. } = call;
            Some((arguments, given.as_mut().filter(|given| given.callee == client)?))
        });
        let Some((arguments, given)) = known else {
            let text = format!(
                "{:?} about ticket {}, which it was not given",
                frame.kind, frame.id
            );
            return found.add("ticket", client, now.at, text);
        };
        match frame.kind {
            Kind::CallPiece => {
                given.arguments.piece(frame);
                if !given.odd && !given.arguments.follows(arguments) {
                    let text = format!("the arguments under ticket {} are not what was sent", frame.id);
                    found.add("arguments", client, now.at, text);
                }
            }
            Kind::Cancel if given.cancelled => {
                found.add(
                    "cancel",
                    client,
                    now.at,
                    format!("ticket {} was cancelled twice", frame.id),
                );
            }
            Kind::Cancel => given.cancelled = true,
            _ => {
                given.granted = given.granted.saturating_add(u64::from(frame.aux));
                if !given.odd && (given.granted > given.caller_gave || given.granted > given.charged) {
                    let text = format!(
                        "{} bytes granted under ticket {}, {} spent, the caller gave {}",
                        given.granted, frame.id, given.charged, given.caller_gave
                    );
                    found.add("reply-credit", client, now.at, text);
                }
            }
        }
    }
}

impl Call {
    fn judge_given(&self, run: &Run, what: &str, frame: &Frame, now: Moment, found: &mut Found) {
        let callee = self.given.as_ref().map_or(0, |given| given.callee);
        if frame.aux == 0 || u64::from(frame.aux) > run.patience(self.frame.aux) {
            let text = format!(
                "{what} has {} ms left, of {}",
                frame.aux,
                run.patience(self.frame.aux)
            );
            found.add("deadline", callee, now.at, text);
        }
        if let Some(outcome) = &self.outcome
            && let Some((code, false)) = outcome.error
        {
            let text = format!(
                "{what} was given, and its caller was told at step {} that it did not run (code {code})",
                step(outcome.at.at)
            );
            found.add("did-not-run", callee, now.at, text);
        }
    }
}

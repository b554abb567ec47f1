//! What the broker sends, frame by frame, and where it goes.
//!
//! Owns the meaning of each kind for a client. One batch is one pass under the lock for answers, credit and events,
//! then one for calls (see [`super::incoming`]), whose handlers may run at once and must find no lock held. Called by
//! [`super::drive`].

use super::after::After;
use super::brought::Brought;
use super::event_queue::{EventQueue, Run};
use super::incoming::{self, Grants};
use super::lasting::{Fact, Lasting};
use super::peer::{self, Role};
use super::port::Given;
use super::request::{Answer, Step};
use super::settle::{notice, ownership, settle};
use super::shared::Shared;
use super::state::{Phase, Ring, State};
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::bus::{Settlement, VERSION_KEY};
use crate::message::frame::FrameView;
use crate::message::{Attachment, Attachments, Batch, Draft, Flags, Header, Kind, Payload, metadata};
use crate::text;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What may wait to be written beyond the out-buffer's limit, in bytes: answers that the broker's own frames ask for, such as
/// Pong, are not held back by it. A broker that asks and does not read has ended.
const OWED_MAX: usize = 64 * 1024 * 1024;
/// The same of another program: a few out-buffers, and the refusals of all calls that it may have open.
const OWED_BUFFERS: usize = 4;
const REFUSAL: usize = 512;
/// The largest payload of a Ping, in bytes.
const PING_MAX: usize = 64;

/// Why the connection is at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) reason: CloseReason,
    pub(crate) text: String,
    /// The other end said so.
    pub(crate) theirs: bool,
}

impl Ended {
    pub(crate) fn new(reason: CloseReason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
            theirs: false,
        }
    }

    /// Whether the other end has left because it was through.
    pub(crate) const fn is_parting(&self) -> bool {
        self.theirs && matches!(self.reason, CloseReason::Finished | CloseReason::Draining)
    }
}

/// Handles one batch. `after` is scratch space. Returns why the connection is at its end, when it is.
pub(crate) fn dispatch(shared: &Arc<Shared>, mut batch: Batch, after: &mut After) -> Option<Ended> {
    let mut brought = match Brought::take(&mut batch, shared.options.role()) {
        Ok(brought) => brought,
        Err(ended) => return Some(ended),
    };
    let batch = Arc::new(batch);
    let mut calls = after.take_calls();
    let mut ended = None;
    let mut state = shared.lock();
    let (mut index, role) = (0_usize, state.role);
    while let Some(header) = batch.header(index) {
        if let Some(refused) = peer::incoming::refused(role, header) {
            ended = Some(refused);
            break;
        }
        match header.kind {
            Kind::Call | Kind::CallPiece | Kind::Cancel | Kind::ReplyCredit => calls.push(index),
            Kind::Takes if header.flags.has(Flags::OF_REPLY) => calls.push(index),
            Kind::Event if Run::may_hold(header) => {
                let run = Run::whole(&batch, index);
                if let Some(queue) = subscription(&state, header.id) {
                    queue.push(&batch, run, &mut after.wakers, &mut after.dead);
                }
                index = index.saturating_add(run.count);
                continue;
            }
            Kind::Message if !header.flags.has(Flags::CONTINUED) => {
                let run = Run::whole(&batch, index);
                ended = deliver(&state, &batch, run, &mut brought.messages, after);
                index = index.saturating_add(run.count);
                if ended.is_some() {
                    break;
                }
                continue;
            }
            _ => {
                if let Some(view) = batch.view(index) {
                    ended = answer(&mut state, (&batch, index), &view, &mut brought, after);
                }
            }
        }
        if ended.is_some() {
            break;
        }
        index = index.saturating_add(1);
    }
    ended = ended.or_else(|| unread(&state, shared.options.out_buffer));
    let restored = state.take_report();
    let grants = Grants {
        life: state.life,
        window: state.grants.stream_window,
        message_bytes: state.grants.message_bytes as usize,
    };
    drop(state);
    after.perform();
    if let Some(report) = restored {
        shared.report(report);
    }
    if !calls.is_empty() {
        let served = incoming::serve(shared, (&batch, brought), &calls, grants);
        after.enough = served.spent;
        ended = ended.or(served.ended);
    }
    after.keep_calls(calls);
    ended
}

/// Why the connection is at its end when the other side asks and does not read. What this program sends by itself does not count: one
/// frame of it may be larger.
fn unread(state: &State, out_buffer: usize) -> Option<Ended> {
    let owing = state.out.owing();
    let most = match state.role {
        Role::Broker => OWED_MAX.saturating_add(out_buffer),
        Role::Peer => {
            let refusals = (state.grants.open_calls as usize).saturating_mul(REFUSAL);
            out_buffer.saturating_mul(OWED_BUFFERS).max(refusals)
        }
    };
    if owing <= most {
        return None;
    }
    let who = state.role.other();
    let text = format!("{who} sends and does not read: {owing} bytes wait for it");
    Some(Ended::new(CloseReason::SlowConsumer, text))
}

fn subscription(state: &State, id: u64) -> Option<Arc<EventQueue>> {
    match &state.lasting.get(id)?.what {
        Fact::Subscription(queue) => Some(Arc::clone(queue)),
        Fact::Object { .. } | Fact::Wait { .. } | Fact::Watch(_) | Fact::Will | Fact::Endpoint { .. } => None,
    }
}

/// Hands messages to their endpoint.
fn deliver(
    state: &State,
    batch: &Arc<Batch>,
    run: Run,
    given: &mut VecDeque<Given>,
    after: &mut After,
) -> Option<Ended> {
    let id = batch.header(run.first)?.id;
    let Fact::Endpoint { port, .. } = &state.lasting.get(id)?.what else {
        return None;
    };
    if port.push(batch, run, given, state.life, after) {
        return None;
    }
    let text = "the broker sent more messages than any window of the label bus allows";
    Some(Ended::new(CloseReason::Window, text))
}

/// Takes in what became of messages.
fn settled(state: &mut State, payload: &[u8], after: &mut After) -> Option<Ended> {
    for settlement in Settlement::all(payload) {
        let Some(settlement) = settlement else {
            let text = "the broker told of a message's end that this library does not know";
            return Some(Ended::new(CloseReason::Protocol, text));
        };
        state.sends.settle(&settlement, after);
    }
    state.sends.wake(after);
    state.send_held(after);
    None
}

/// Handles everything but calls to this client and whole events.
fn answer(
    state: &mut State,
    (batch, index): (&Batch, usize),
    view: &FrameView<'_>,
    brought: &mut Brought,
    after: &mut After,
) -> Option<Ended> {
    let Header { kind, id, aux, .. } = *view.header;
    match kind {
        Kind::Reply | Kind::ReplyPiece => return replied(state, (batch, index), view, brought, after),
        Kind::Error => finish(state, id, Err(error_of(view)), after),
        Kind::Done | Kind::Accepted | Kind::Pong => finish(state, id, Ok(aux), after),
        Kind::CallCredit if id == 0 && state.role.is_peer() => return call_credit(state, aux, after),
        Kind::CallCredit | Kind::Takes => granted(state, view.header, after),
        Kind::PublishCredit => {
            state.publish_window = state.publish_window.saturating_add(i64::from(aux));
            if state.publish_window > 0 {
                // The socket's task is at work and writes when it is through with the batch.
                let _ = state.void_publishes();
                state.publishers.drain(&mut after.wakers);
            }
        }
        Kind::Event | Kind::EventPiece | Kind::Gap => event(state, (batch, index), view, brought, after),
        Kind::Settled => return settled(state, view.payload, after),
        Kind::Ownership => ownership(state, id, aux, after),
        Kind::Notice => notice(state, view, after),
        Kind::Ping => return ping(state, view),
        Kind::Ring => {
            let given = brought.attachments(index);
            let ended = ring(state, &given, aux, after);
            after.dead.bury(given);
            return ended;
        }
        Kind::Goodbye => {
            let text = text::text(&String::from_utf8_lossy(view.payload)).to_string();
            let reason = CloseReason::from_code(aux);
            let text = if text.is_empty() {
                state.role.parted(reason)
            } else {
                text
            };
            return Some(Ended {
                theirs: true,
                ..Ended::new(reason, text)
            });
        }
        other => {
            let text = format!("the broker sent a {} frame, which is for brokers", other.name());
            return Some(Ended::new(CloseReason::Protocol, text));
        }
    }
    None
}

fn ping(state: &mut State, view: &FrameView<'_>) -> Option<Ended> {
    if state.role.is_peer() && view.payload.len() > PING_MAX {
        let text = format!("the peer sent a Ping with more than {PING_MAX} bytes");
        return Some(Ended::new(CloseReason::Protocol, text));
    }
    let Header { id, encoding, .. } = *view.header;
    // The socket's task is at work and writes when it is through with the batch.
    let _ = state.control(&Draft::new(Kind::Pong, id).payload(encoding, view.payload));
    None
}

/// The other program takes more calls without an answer.
fn call_credit(state: &mut State, more: u32, after: &mut After) -> Option<Ended> {
    match peer::incoming::credited(state.call_window, state.call_window_all, more) {
        Ok(left) => {
            state.call_window = left;
            state.wake_front(&mut after.wakers);
            None
        }
        Err(ended) => Some(ended),
    }
}

/// Goes along into shared memory, where it was offered and can be had; else everything stays as it is.
fn ring(state: &mut State, given: &[Attachment], aux: u32, after: &mut After) -> Option<Ended> {
    let Phase::Up(stream) = &state.phase else {
        return None;
    };
    match (state.ring, aux) {
        (Ring::Asked, 0) => state.ring = Ring::Done,
        // Nothing follows a goodbye, so it is not answered.
        (Ring::Asked, _) if state.closing.is_some() => state.ring = Ring::Done,
        (Ring::Asked, bytes) if bytes > 1 => match stream.accept_ring(given, bytes) {
            Ok(()) => {
                state.ring = Ring::Taken;
                // The socket's task is at work and writes when it is through with the batch.
                state.out.encode_last_on_socket(&Draft::new(Kind::Ring, 0).aux(1));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Some(Ended::new(CloseReason::Protocol, error.to_string()));
            }
            Err(_) => {
                state.ring = Ring::Done;
                let _ = state.control(&Draft::new(Kind::Ring, 0).aux(2));
            }
        },
        (Ring::Taken, 1) => {
            state.ring = Ring::Done;
            after.moved = true;
        }
        _ => {
            let text = "the broker sent a Ring that was not asked for";
            return Some(Ended::new(CloseReason::Protocol, text));
        }
    }
    None
}

/// Tells a request how it may go on.
fn granted(state: &mut State, header: &Header, after: &mut After) {
    let again = state.again();
    let Some(request) = state.requests.get_mut(header.id) else {
        return;
    };
    match header.kind {
        Kind::Takes => request.takes = Some(header.aux),
        _ => request.credit(header.aux, again),
    }
    after.wakers.extend(request.waker.take());
}

/// Hands a reply to its request and returns credit for it.
fn replied(
    state: &mut State,
    (batch, index): (&Batch, usize),
    view: &FrameView<'_>,
    brought: &mut Brought,
    after: &mut After,
) -> Option<Ended> {
    let id = view.header.id;
    let window = state.grants.stream_window;
    let message_bytes = state.grants.message_bytes as usize;
    let again = state.again();
    let request = state.requests.get_mut(id)?;
    let step = match view.header.kind {
        Kind::Reply => {
            // Of one that nobody waits for it is dropped when the lock is released.
            let attachments = match request.is_answered() {
                true => Attachments::new(),
                false => brought.attachments(index),
            };
            request.reply(batch, view, attachments, message_bytes, &mut after.dead)
        }
        _ => request.reply_piece(view, brought.regions.get(index), message_bytes, &mut after.dead),
    };
    if step == Step::Quiet {
        // Else it is over, or an item lies there: then the time counts from when that is taken.
        request.go_on(again);
    }
    let owed = request.take_owed(window);
    if step == Step::TooLarge {
        let text = format!("the reply is larger than {} bytes", state.grants.message_bytes);
        request.finish(
            Err(CallError::new(ErrorCode::TooLarge, text).ran(true)),
            &mut after.dead,
        );
        after.wakers.extend(request.waker.take());
        let _ = state.control(&Draft::new(Kind::Cancel, id));
        return None;
    }
    if request.is_flooded(window, view.header.wire_len()) {
        let text = format!(
            "{} sent more of a streamed reply than the window of {window} bytes allows",
            state.role.other()
        );
        return Some(Ended::new(CloseReason::Window, text));
    }
    if step == Step::Wake {
        after.wakers.extend(request.waker.take());
    }
    if let Some(owed) = owed {
        let _ = state.control(&Draft::new(Kind::ReplyCredit, id).aux(owed));
    }
    None
}

/// Adds to a subscription what is no run of whole events.
fn event(
    state: &State,
    (batch, index): (&Batch, usize),
    view: &FrameView<'_>,
    brought: &mut Brought,
    after: &mut After,
) {
    let Header {
        kind, id, aux, flags, ..
    } = *view.header;
    let Some(queue) = subscription(state, id) else {
        return;
    };
    let message_bytes = state.grants.message_bytes as usize;
    let (woken, dead) = (&mut after.wakers, &mut after.dead);
    match kind {
        Kind::Gap => queue.gap(aux, woken),
        Kind::EventPiece => queue.piece(view, brought.regions.get(index), message_bytes, woken, dead),
        _ if flags.has(Flags::CONTINUED) => {
            queue.begin(view, brought.attachments(index), message_bytes, dead);
        }
        _ => queue.carrying(batch, view, brought.attachments(index), woken, dead),
    }
}

/// Ends a request, or settles one of the lasting ones.
fn finish(state: &mut State, id: u64, result: Result<u32, CallError>, after: &mut After) {
    if Lasting::is_key(id) {
        return settle(state, id, result, after);
    }
    if let Some(request) = state.requests.get_mut(id) {
        request.finish(result.map(Answer::Number), &mut after.dead);
        after.wakers.extend(request.waker.take());
    }
}

/// What an Error frame says. A bus of another version says which it speaks.
fn error_of(view: &FrameView<'_>) -> CallError {
    let error = CallError::from_frame(view, || Payload {
        encoding: view.header.encoding,
        bytes: view.payload.to_vec().into(),
    });
    match metadata::get(view.meta, VERSION_KEY) {
        Some(version) if error.code == ErrorCode::BusVersion => CallError {
            payload: Payload::raw(version.to_vec()),
            ..CallError::new(error.code, error.message)
        },
        _ => error,
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;

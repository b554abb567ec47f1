//! What the broker sends, frame by frame, and where it goes.
//!
//! Owns the meaning of each kind for a client. One batch is one pass under the lock for answers, credit and events,
//! then one for calls, whose handlers may run at once and must find no lock held. Called by [`super::drive`].

use super::event_queue::EventQueue;
use super::handler::{CallContext, IncomingCall};
use super::lasting::{Fact, Lasting, Standing};
use super::presence::Notice;
use super::request::{Answer, Step, keep};
use super::respond::ERROR_TEXT;
use super::running::{Job, ObjectServer, accept};
use super::serving::{OpenCall, PartialCall, Table, refuse};
use super::shared::{Shared, wake_all};
use super::state::State;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Batch, Draft, Encoding, Flags, Header, Kind, Metadata, Payload, key, metadata};
use bytes::BytesMut;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long to wait before a name that our own lost connection may still hold is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Why the connection is at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) reason: CloseReason,
    pub(crate) text: String,
}

impl Ended {
    pub(crate) fn new(reason: CloseReason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }
}

/// Handles one batch. `woken` is scratch space. Returns why the connection is at its end, when it is.
pub(crate) fn dispatch(shared: &Arc<Shared>, batch: Batch, woken: &mut Vec<Waker>) -> Option<Ended> {
    let batch = Arc::new(batch);
    let mut calls = Vec::new();
    let mut ended = None;
    let mut state = shared.lock();
    let mut index = 0_usize;
    while let Some(header) = batch.header(index) {
        match header.kind {
            Kind::Call | Kind::CallPiece | Kind::Cancel | Kind::ReplyCredit => calls.push(index),
            Kind::Event if !header.flags.has(Flags::CONTINUED) => {
                let count = run_length(&batch, index);
                if let Some(queue) = subscription(&state, header.id) {
                    queue.push(&batch, index, count, woken);
                }
                index = index.saturating_add(count);
                continue;
            }
            _ => {
                if let Some(view) = batch.view(index) {
                    ended = answer(&mut state, &batch, &view, woken);
                }
            }
        }
        if ended.is_some() {
            break;
        }
        index = index.saturating_add(1);
    }
    let restored = state.take_report();
    let life = state.life;
    let window = state.grants.stream_window;
    drop(state);
    wake_all(woken);
    if let Some(report) = restored {
        shared.report(report);
    }
    if !calls.is_empty() {
        serve(shared, &batch, &calls, life, window);
    }
    ended
}

/// How many whole events of one subscription follow each other from `first`.
fn run_length(batch: &Batch, first: usize) -> usize {
    let id = batch.header(first).map(|header| header.id);
    let same = |header: &&Header| {
        header.kind == Kind::Event && Some(header.id) == id && !header.flags.has(Flags::CONTINUED)
    };
    batch.headers().skip(first).take_while(same).count().max(1)
}

fn subscription(state: &State, id: u64) -> Option<Arc<EventQueue>> {
    match &state.lasting.get(id)?.what {
        Fact::Subscription(queue) => Some(Arc::clone(queue)),
        Fact::Object { .. } | Fact::Wait { .. } | Fact::Watch(_) | Fact::Will => None,
    }
}

/// Handles everything but calls to this client and whole events.
fn answer(state: &mut State, batch: &Batch, view: &FrameView<'_>, woken: &mut Vec<Waker>) -> Option<Ended> {
    let Header { kind, id, aux, .. } = *view.header;
    let message_bytes = state.grants.message_bytes as usize;
    match kind {
        Kind::Reply => {
            return replied(state, id, woken, |request| {
                request.reply(batch, view, message_bytes)
            });
        }
        Kind::ReplyPiece => {
            return replied(state, id, woken, |request| {
                request.reply_piece(view, message_bytes)
            });
        }
        Kind::Error => finish(state, id, Err(error_of(view)), woken),
        Kind::Done | Kind::Accepted | Kind::Pong => finish(state, id, Ok(aux), woken),
        Kind::CallCredit => {
            if let Some(request) = state.requests.get_mut(id) {
                request.window = request.window.saturating_add(i64::from(aux));
                woken.extend(request.waker.take());
            }
        }
        Kind::PublishCredit => {
            state.publish_window = state.publish_window.saturating_add(i64::from(aux));
            if state.publish_window > 0 {
                // The socket's task is at work and writes when it is through with the batch.
                let _ = state.void_publishes();
                state.publishers.drain(woken);
            }
        }
        Kind::Event => {
            if let Some(queue) = subscription(state, id) {
                queue.begin(view, message_bytes);
            }
        }
        Kind::EventPiece => {
            if let Some(queue) = subscription(state, id) {
                queue.piece(view, message_bytes, woken);
            }
        }
        Kind::Gap => {
            if let Some(queue) = subscription(state, id) {
                queue.gap(aux, woken);
            }
        }
        Kind::Ownership => ownership(state, id, aux),
        Kind::Notice => notice(state, view),
        Kind::Ping => {
            // The socket's task is at work and writes when it is through with the batch.
            let _ = state.control(&Draft::new(Kind::Pong, id).payload(view.header.encoding, view.payload));
        }
        Kind::Goodbye => {
            let text = String::from_utf8_lossy(view.payload).into_owned();
            let reason = CloseReason::from_code(aux);
            return Some(Ended::new(
                reason,
                if text.is_empty() { reason.to_string() } else { text },
            ));
        }
        other => {
            let text = format!("the broker sent a {} frame, which is for brokers", other.name());
            return Some(Ended::new(CloseReason::Protocol, text));
        }
    }
    None
}

/// Hands a reply to its request and returns credit for it.
fn replied(
    state: &mut State,
    id: u64,
    woken: &mut Vec<Waker>,
    step: impl FnOnce(&mut super::request::Request) -> Step,
) -> Option<Ended> {
    let window = state.grants.stream_window;
    let now = state.now;
    let request = state.requests.get_mut(id)?;
    let step = step(request);
    request.expires = request.expires.max(now + request.patience);
    let owed = request.take_owed(window);
    if step == Step::TooLarge {
        let text = format!("the reply is larger than {} bytes", state.grants.message_bytes);
        request.finish(Err(CallError::new(ErrorCode::TooLarge, text).ran(true)));
        woken.extend(request.waker.take());
        let _ = state.control(&Draft::new(Kind::Cancel, id));
        return None;
    }
    if step == Step::Wake {
        woken.extend(request.waker.take());
    }
    if let Some(owed) = owed {
        let _ = state.control(&Draft::new(Kind::ReplyCredit, id).aux(owed));
    }
    None
}

/// Ends a request, or settles one of the lasting ones.
fn finish(state: &mut State, id: u64, result: Result<u32, CallError>, woken: &mut Vec<Waker>) {
    if Lasting::is_key(id) {
        return settle(state, id, result);
    }
    if let Some(request) = state.requests.get_mut(id) {
        request.finish(result.map(Answer::Number));
        woken.extend(request.waker.take());
    }
}

/// The broker has answered for something lasting.
fn settle(state: &mut State, id: u64, result: Result<u32, CallError>) {
    let now = Instant::now();
    let max_deadline = state.grants.max_deadline_ms;
    if let Some(give_up) = state.lasting.answered(id).filter(|_| result.is_ok()) {
        state.out.push(&[&give_up]);
    }
    state.lasting.pump(&mut state.out, now, max_deadline);
    let Some(entry) = state.lasting.get_mut(id) else {
        return;
    };
    if let Fact::Wait { until } = entry.what {
        let late = result
            .as_ref()
            .is_err_and(|error| error.code == ErrorCode::Deadline);
        if late && until.is_none_or(|until| until > now) {
            return state.lasting.ask(id, &mut state.out, now, max_deadline);
        }
        return tell_first(state, id, result, true);
    }
    if let Fact::Object { standing, .. } = &entry.what {
        match &result {
            Ok(queued) => standing.send_replace(if *queued == 1 {
                Standing::Queued
            } else {
                Standing::Owner
            }),
            Err(error) => standing.send_replace(Standing::Lost(error.to_string())),
        };
    }
    let taken = result
        .as_ref()
        .is_err_and(|error| error.code == ErrorCode::NameTaken);
    if taken && entry.first.is_none() && entry.retries > 0 {
        entry.retries = entry.retries.saturating_sub(1);
        entry.retry_at = Some(now + RETRY_PAUSE);
        // The tick sees to it.
        state.coarse_now();
        return;
    }
    if entry.first.is_some() {
        let failed = result.is_err();
        return tell_first(state, id, result, failed);
    }
    state.lasting.note_restored(id, result.map(|_| ()));
}

fn tell_first(state: &mut State, id: u64, result: Result<u32, CallError>, remove: bool) {
    let first = match remove {
        true => state.lasting.forget(id).and_then(|entry| entry.first),
        false => state.lasting.get_mut(id).and_then(|entry| entry.first.take()),
    };
    if let Some(first) = first {
        // Whoever asked and went away has given it up with its own frame.
        let _ = first.send(result);
    }
}

fn ownership(state: &State, id: u64, aux: u32) {
    let Some(Fact::Object { standing, name }) = state.lasting.get(id).map(|entry| &entry.what) else {
        return;
    };
    let now = match aux {
        0 => Standing::Lost(format!("another connection has replaced {name}")),
        _ => Standing::Owner,
    };
    if let Standing::Lost(reason) = &now {
        tracing::warn!(object = %name, %reason, "a registration ended");
    }
    standing.send_replace(now);
}

fn notice(state: &State, view: &FrameView<'_>) {
    let Some(Fact::Watch(queue)) = state.lasting.get(view.header.id).map(|entry| &entry.what) else {
        return;
    };
    let name = String::from_utf8_lossy(view.key).into_owned();
    if let Some(notice) = Notice::new(view.header.aux, name, view.origin.unwrap_or_default()) {
        queue.push(notice);
    }
}

/// What an Error frame says.
pub(crate) fn error_of(view: &FrameView<'_>) -> CallError {
    let code = ErrorCode::from_code(view.header.aux);
    let entry = |key| metadata::get(view.meta, key).map(|text| String::from_utf8_lossy(text).into_owned());
    let is_text = view.header.encoding == Encoding::RAW;
    let text = match is_text {
        true => String::from_utf8_lossy(view.payload).into_owned(),
        false => entry(ERROR_TEXT).unwrap_or_else(|| code.text().to_owned()),
    };
    let payload = Payload {
        encoding: view.header.encoding,
        bytes: view.payload.to_vec().into(),
    };
    CallError {
        code,
        may_have_run: view.header.flags.has(Flags::MAY_HAVE_RUN),
        message: text,
        name: entry(metadata::ERROR_NAME),
        payload: if is_text { Payload::default() } else { payload },
    }
}

/// Handles the frames of a batch that concern calls to this client.
fn serve(shared: &Arc<Shared>, batch: &Batch, frames: &[usize], life: u64, window: u32) {
    let now = Instant::now();
    for view in frames.iter().filter_map(|index| batch.view(*index)) {
        let Header {
            kind, id, aux, flags, ..
        } = *view.header;
        let mut table = shared.serving.lock();
        match kind {
            Kind::Call => call(shared, table, batch, &view, CallFrom { now, life, window }),
            Kind::CallPiece => call_piece(shared, table, &view, window),
            Kind::ReplyCredit => {
                let open = table.open.get(&id).cloned();
                drop(table);
                if let Some(open) = open {
                    open.credit(aux);
                }
            }
            _ => {
                let (open, partial) = (table.open.remove(&id), table.partial.remove(&id));
                drop(table);
                drop(partial);
                if let Some(open) = open {
                    tracing::trace!(ticket = id, ?flags, "a call was cancelled");
                    open.cancel();
                }
            }
        }
    }
}

/// What a call has of the batch and connection it came with.
#[derive(Clone, Copy)]
struct CallFrom {
    now: Instant,
    life: u64,
    window: u32,
}

fn call(
    shared: &Arc<Shared>,
    mut table: std::sync::MutexGuard<'_, Table>,
    batch: &Batch,
    view: &FrameView<'_>,
    from: CallFrom,
) {
    let (object, method) = key::split(view.key);
    let (object, method) = (String::from_utf8_lossy(object), String::from_utf8_lossy(method));
    let Header { id, flags, .. } = *view.header;
    let answered = !flags.has(Flags::NO_REPLY);
    let Some(server) = table.objects.get(&*object).cloned() else {
        drop(table);
        let error = CallError::new(
            ErrorCode::NoSuchObject,
            format!("{object} was given up a moment ago"),
        );
        return refuse(shared, id, answered, &error);
    };
    let context = context(&server, &method, view, from);
    if flags.has(Flags::CONTINUED) {
        let partial = PartialCall {
            server,
            context,
            bytes: BytesMut::from(view.payload),
            answered,
            owed: 0,
        };
        table.partial.insert(id, partial);
        return;
    }
    drop(table);
    let payload = Payload {
        encoding: view.header.encoding,
        bytes: keep(batch, view.payload),
    };
    accept(
        shared,
        &server,
        Job {
            call: IncomingCall { context, payload },
            answered,
        },
    );
}

fn context(server: &ObjectServer, method: &str, view: &FrameView<'_>, from: CallFrom) -> CallContext {
    let metadata = Metadata::parse(view.meta).unwrap_or_default();
    CallContext {
        object: Arc::clone(&server.name),
        method: method.into(),
        caller: view.origin.unwrap_or_default(),
        caller_name: metadata.get_str(metadata::SYS_NAME).map(ToOwned::to_owned),
        deadline: from.now + Duration::from_millis(u64::from(view.header.aux)),
        metadata,
        encoding: view.header.encoding,
        streaming: view.header.flags.has(Flags::STREAM),
        open: Arc::new(OpenCall::new(view.header.id, from.life, from.window)),
    }
}

fn call_piece(
    shared: &Arc<Shared>,
    mut table: std::sync::MutexGuard<'_, Table>,
    view: &FrameView<'_>,
    window: u32,
) {
    let Header { id, flags, .. } = *view.header;
    if flags.has(Flags::ABORT) {
        table.partial.remove(&id);
        return;
    }
    let Some(partial) = table.partial.get_mut(&id) else {
        return;
    };
    partial.bytes.extend_from_slice(view.payload);
    partial.owed = partial.owed.saturating_add(view.header.wire_len());
    if !flags.has(Flags::CONTINUED) {
        let Some(partial) = table.partial.remove(&id) else {
            return;
        };
        drop(table);
        let PartialCall {
            server,
            context,
            bytes,
            answered,
            ..
        } = partial;
        let payload = Payload {
            encoding: context.encoding,
            bytes: bytes.freeze(),
        };
        return accept(
            shared,
            &server,
            Job {
                call: IncomingCall { context, payload },
                answered,
            },
        );
    }
    let size = partial.bytes.len();
    let owed = if partial.owed >= (window / 2) as usize {
        std::mem::take(&mut partial.owed)
    } else {
        0
    };
    let answered = partial.answered;
    drop(table);
    let limit = shared.lock().grants.message_bytes as usize;
    if size > limit {
        shared.serving.lock().partial.remove(&id);
        let error =
            CallError::new(ErrorCode::TooLarge, format!("a call has at most {limit} bytes")).ran(false);
        return refuse(shared, id, answered, &error);
    }
    if owed > 0 {
        let credit = Draft::new(Kind::CallCredit, id).aux(u32::try_from(owed).unwrap_or(u32::MAX));
        let next = shared.lock().control(&credit);
        shared.perform(next);
    }
}

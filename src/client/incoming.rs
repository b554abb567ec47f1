//! Frames that concern calls to this client: a call, its pieces, its end, credit for its answer.
//!
//! Owns the assembly of calls in pieces, the way of items to their calls, and the context that a handler sees. No lock of the connection is held here:
//! [`super::running`] may run a handler at once.

use super::brought::Brought;
use super::handler::{CallContext, IncomingCall};
use super::here::Here;
use super::inbound::Ended;
use super::items::Came;
use super::peer::{self, incoming::Checked};
use super::request::keep;
use super::running::{Job, ObjectServer};
use super::serving::{OpenCall, PartialCall, Table, refuse};
use super::shared::Shared;
use crate::config::peers::DEADLINE;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Attachments, Batch, Draft, Flags, Header, Kind, Metadata, Payload, key, metadata};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// So many calls may be arriving in pieces together, however small they are.
const PARTIAL_MAX: usize = 4_096;
/// So many calls of the largest size may be arriving together; beyond that they are refused.
const LARGEST_AT_ONCE: usize = 2;

/// What the broker granted this connection, as far as calls to it are concerned.
#[derive(Clone, Copy)]
pub(crate) struct Grants {
    /// Which connection it is.
    pub(crate) life: u64,
    pub(crate) window: u32,
    pub(crate) message_bytes: usize,
}

/// How the frames of a batch were handled.
pub(crate) struct Served {
    /// Handlers have had the thread for as long as they may.
    pub(crate) spent: bool,
    /// Why the connection is at its end, when it is.
    pub(crate) ended: Option<Ended>,
}

/// Handles the frames of a batch that concern calls to this client.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    (batch, mut brought): (&Batch, Brought),
    frames: &[usize],
    grants: Grants,
) -> Served {
    let mut ended = None;
    let now = Instant::now();
    let mut here = Here::new(shared, now);
    for (index, view) in frames
        .iter()
        .filter_map(|index| Some((*index, batch.view(*index)?)))
    {
        let Header {
            kind, id, aux, flags, ..
        } = *view.header;
        match kind {
            Kind::Call => {
                let attachments = brought.attachments(index);
                ended = call(shared, &mut here, batch, (&view, attachments), grants, now);
            }
            Kind::CallPiece => {
                ended = call_piece(
                    shared,
                    &mut here,
                    batch,
                    (&view, brought.regions.get(index)),
                    grants,
                );
            }
            Kind::Takes => {
                let open = shared.serving.lock().open.get(&id).cloned();
                if let Some(open) = open {
                    open.answer_offer(aux);
                }
            }
            Kind::ReplyCredit => {
                let open = shared.serving.lock().open.get(&id).cloned();
                if let Some(open) = open {
                    open.credit(aux);
                }
            }
            _ => {
                let mut table = shared.serving.lock();
                let (open, partial) = (table.remove(id), table.give_up_partial(id));
                drop(table);
                give_up(&mut here, partial);
                if let Some(open) = open {
                    tracing::trace!(ticket = id, ?flags, "a call was cancelled");
                    open.cancel();
                }
            }
        }
        if ended.is_some() {
            break;
        }
    }
    let spent = here.is_spent();
    Served { spent, ended }
}

fn call(
    shared: &Arc<Shared>,
    here: &mut Here<'_>,
    batch: &Batch,
    (view, attachments): (&FrameView<'_>, Attachments),
    grants: Grants,
    now: Instant,
) -> Option<Ended> {
    let (object, method) = key::split(view.key);
    let Header { id, flags, .. } = *view.header;
    let answered = !flags.has(Flags::NO_REPLY);
    let charge = match here.met.is_some().then(|| peer::incoming::check(shared, view)) {
        None => 0,
        Some(Checked::Admitted(bytes)) => bytes,
        Some(Checked::Refused(error)) => {
            refuse(shared, &OpenCall::new(id, grants.life, 0, 0), answered, &error);
            return None;
        }
        Some(Checked::Ended(ended)) => return Some(ended),
    };
    let (method, open) = (here.method(method), here.open(id, grants, charge));
    if here.met.is_some()
        && let Err(error) = peer::incoming::charge_descriptors(shared, &open, view.header)
    {
        refuse(shared, &open, answered, &error);
        return None;
    }
    let (partials, met) = (here.partials, here.met.clone());
    let Some(server) = here.find(object) else {
        refuse(shared, &open, answered, &nobody(shared, view, object));
        return None;
    };
    let mut context = context(server, Arc::clone(&method), view, open, now);
    if let Some(met) = &met {
        (context.caller, context.caller_name) = (met.origin(), peer::incoming::declared(Some(met)));
        if view.header.aux == 0 {
            context.deadline = now + DEADLINE;
        }
    }
    context.attachments = attachments;
    if flags.has(Flags::ITEMS) {
        let patience = context.deadline.saturating_duration_since(now);
        context
            .open
            .expect_items(Arc::downgrade(shared), grants.window, patience);
    } else if flags.has(Flags::CONTINUED) {
        let server = Arc::clone(server);
        begin(shared, here, server, context, (view, answered), grants);
        return None;
    }
    let payload = Payload {
        encoding: view.header.encoding,
        bytes: keep(batch, view.payload),
    };
    let call = IncomingCall { context, payload };
    let hold = None;
    let job = Job { call, answered, hold };
    let job = match partials {
        true => keep_back(shared, &Arc::clone(server), job, grants),
        false => Some(job),
    };
    if let Some(job) = job {
        here.accept(job, &method);
    }
    None
}

/// What a call ends with whose object is not here.
fn nobody(shared: &Shared, view: &FrameView<'_>, object: &[u8]) -> CallError {
    peer::incoming::missing(shared, view).unwrap_or_else(|| {
        let object = String::from_utf8_lossy(object);
        let text = format!("{object} was given up a moment ago");
        CallError::new(ErrorCode::NoSuchObject, text)
    })
}

/// The first part of a call in pieces.
fn begin(
    shared: &Arc<Shared>,
    here: &mut Here<'_>,
    server: Arc<ObjectServer>,
    context: CallContext,
    (view, answered): (&FrameView<'_>, bool),
    grants: Grants,
) {
    shared.serving.make_room(view.payload.len());
    let mut hold = shared.serving.memory.hold();
    let fits = hold.grow(view.payload.len());
    let mut table = shared.serving.lock();
    let most = grants.message_bytes.saturating_mul(LARGEST_AT_ONCE);
    if !fits
        || table.partial.len() >= PARTIAL_MAX
        || table.partial_bytes().saturating_add(view.payload.len()) > most
    {
        drop(table);
        return refuse(shared, &context.open, answered, &too_many_large(shared));
    }
    let partial = PartialCall {
        server,
        context,
        bytes: BytesMut::from(view.payload),
        hold,
        answered,
        owed: 0,
        came: table.next_place(),
        behind: Vec::new(),
    };
    let before = table.partial.insert(view.header.id, partial);
    drop(table);
    drop(before);
    here.partials = true;
}

/// Calls of one caller to one object run in the order in which they came: a complete one waits behind one that still arrives. `None`:
/// it waits, or was refused.
fn keep_back(shared: &Arc<Shared>, server: &Arc<ObjectServer>, mut job: Job, grants: Grants) -> Option<Job> {
    let mut table = shared.serving.lock();
    let held = table.partial_bytes();
    let Some(earlier) = table.before(u64::MAX, server, job.call.context.caller.peer) else {
        return Some(job);
    };
    let together = held.saturating_add(job.call.payload.bytes.len());
    let full = !job.fits(&shared.serving.memory)
        || earlier.behind.len() >= PARTIAL_MAX
        || together > grants.message_bytes.saturating_mul(LARGEST_AT_ONCE);
    // What another program sends without being given an answer is bounded by its window, and nobody could be told.
    if full && !job.call.context.open.is_charged() {
        drop(table);
        refuse(
            shared,
            &job.call.context.open,
            job.answered,
            &too_many_large(shared),
        );
        return None;
    }
    job.unpin();
    let open = Arc::clone(&job.call.context.open);
    earlier.behind.push(job);
    table.insert(open);
    None
}

/// What has waited behind a call that will not be complete goes on.
fn give_up(here: &mut Here<'_>, given_up: Option<(PartialCall, Vec<Job>)>) {
    let Some((partial, behind)) = given_up.filter(|(_, behind)| !behind.is_empty()) else {
        return;
    };
    here.change(Some(partial.server));
    behind.into_iter().for_each(|job| here.accept_later(job));
}

/// Nothing more arrives: what is complete runs.
pub(crate) fn give_up_arriving(shared: &Arc<Shared>) {
    let mut here = Here::new(shared, Instant::now());
    loop {
        let mut table = shared.serving.lock();
        let next = table.partial.keys().next().copied();
        let given_up = next.and_then(|ticket| table.give_up_partial(ticket));
        drop(table);
        if given_up.is_none() {
            return;
        }
        give_up(&mut here, given_up);
    }
}

fn too_many_large(shared: &Shared) -> CallError {
    let raise = match shared.options.role().is_peer() {
        true => "; raise RpcLimits::memory in the program that serves them",
        false => "",
    };
    let text = format!("too many large calls arrive at the same time{raise}");
    CallError::new(ErrorCode::Overloaded, text).ran(false)
}

fn context(
    server: &ObjectServer,
    method: Arc<str>,
    view: &FrameView<'_>,
    open: Arc<OpenCall>,
    now: Instant,
) -> CallContext {
    let (metadata, caller_name) = caller_words(view.meta);
    CallContext {
        object: Arc::clone(&server.name),
        method,
        caller: view.origin.unwrap_or_default(),
        caller_name,
        deadline: now + Duration::from_millis(u64::from(view.header.aux)),
        metadata,
        encoding: view.header.encoding,
        attachments: Attachments::new(),
        streaming: view.header.flags.has(Flags::STREAM),
        uploading: view.header.flags.has(Flags::ITEMS),
        open,
    }
}

/// What the caller put beside its call, and its declared name. What the broker writes is taken out: a handler may
/// answer with the metadata of its call, and the broker refuses its own keys from peers.
fn caller_words(bytes: &[u8]) -> (Metadata, Option<String>) {
    if bytes.is_empty() {
        return (Metadata::new(), None);
    }
    let all = Metadata::parse(bytes).unwrap_or_default();
    let brokers = |key: &str| key.starts_with(metadata::RESERVED_PREFIX);
    if !all.iter().any(|(key, _)| brokers(key)) {
        return (all, None);
    }
    let mut own = Metadata::new();
    for (key, value) in all.iter().filter(|(key, _)| !brokers(key)) {
        // What was in a block fits in a part of it.
        own.insert(key, value).unwrap_or_default();
    }
    (own, all.get_str(metadata::SYS_NAME).map(ToOwned::to_owned))
}

/// Takes an item of a call, which ends when there is no room for it. Returns why the connection is at its end, when it is.
fn item(shared: &Shared, open: &OpenCall, (batch, view): (&Batch, &FrameView<'_>)) -> Option<Ended> {
    let Header { encoding, flags, .. } = *view.header;
    if flags.has(Flags::ABORT) {
        shared.serving.lock().remove(open.ticket);
        open.cancel();
        return None;
    }
    if view.header.is_region() {
        let text = "a region came for a call that was not offered as one";
        return Some(Ended::new(CloseReason::Protocol, text));
    }
    let item = flags.has(Flags::CONTINUED).then(|| Payload {
        encoding,
        bytes: keep(batch, view.payload),
    });
    shared.serving.make_room(view.header.wire_len());
    match open.item(item, view.header.wire_len()) {
        Came::Taken => None,
        Came::Flooded => {
            let text = "more items of a call came than its window allows";
            Some(Ended::new(CloseReason::Window, text))
        }
        Came::Full => {
            let text = "this program keeps as much for one connection as it may (RpcLimits::memory), and takes no more items";
            let error = CallError::new(ErrorCode::Overloaded, text).ran(true);
            open.cancel();
            refuse(shared, open, true, &error);
            None
        }
    }
}

/// Takes more of a call, or one of its items. Returns why the connection is at its end, when it is.
fn call_piece(
    shared: &Arc<Shared>,
    here: &mut Here<'_>,
    batch: &Batch,
    (view, region): (&FrameView<'_>, Option<&Bytes>),
    grants: Grants,
) -> Option<Ended> {
    let open = shared.serving.lock().open.get(&view.header.id).cloned();
    if let Some(open) = open {
        return item(shared, &open, (batch, view));
    }
    more(shared, here, (view, region), grants);
    None
}

fn more(
    shared: &Arc<Shared>,
    here: &mut Here<'_>,
    (view, region): (&FrameView<'_>, Option<&Bytes>),
    grants: Grants,
) {
    let Header { id, flags, .. } = *view.header;
    let mut table = shared.serving.lock();
    if flags.has(Flags::ABORT) {
        let partial = table.give_up_partial(id);
        drop(table);
        return give_up(here, partial);
    }
    if table.partial.contains_key(&id) && !shared.serving.memory.has_room(view.payload.len()) {
        drop(table);
        shared.serving.make_room(view.payload.len());
        table = shared.serving.lock();
    }
    let together = table.partial_bytes().saturating_add(view.payload.len());
    let Some(partial) = table.partial.get_mut(&id) else {
        return;
    };
    let brought = region.map_or(view.payload.len(), Bytes::len);
    let size = partial.bytes.len().saturating_add(brought);
    let full = size <= grants.message_bytes && !partial.hold.grow(brought);
    if full || size > grants.message_bytes || together > grants.message_bytes.saturating_mul(LARGEST_AT_ONCE)
    {
        let answered = partial.answered;
        let open = Arc::clone(&partial.context.open);
        let partial = table.give_up_partial(id);
        drop(table);
        give_up(here, partial);
        let limit = grants.message_bytes;
        let error = match size > limit {
            true => CallError::new(ErrorCode::TooLarge, format!("a call has at most {limit} bytes")),
            false => too_many_large(shared),
        };
        return refuse(shared, &open, answered, &error.ran(false));
    }
    partial.bytes.extend_from_slice(view.payload);
    if flags.has(Flags::CONTINUED) {
        partial.owed = partial.owed.saturating_add(view.header.wire_len());
        let owed = Some(&mut partial.owed)
            .filter(|owed| **owed >= (grants.window / 2) as usize)
            .map(std::mem::take);
        drop(table);
        if let Some(owed) = owed {
            let credit = Draft::new(Kind::CallCredit, id).aux(u32::try_from(owed).unwrap_or(u32::MAX));
            let next = shared.lock().control(&credit);
            shared.perform(next);
        }
        return;
    }
    let partial = table.partial.remove(&id);
    if let Some(partial) = partial {
        complete(here, table, partial, region);
    }
}

/// The last piece of a call has come.
fn complete(
    here: &mut Here<'_>,
    mut table: MutexGuard<'_, Table>,
    partial: PartialCall,
    region: Option<&Bytes>,
) {
    let PartialCall {
        server,
        context,
        bytes,
        hold,
        answered,
        came,
        mut behind,
        ..
    } = partial;
    let payload = Payload {
        encoding: context.encoding,
        bytes: region.cloned().unwrap_or_else(|| bytes.freeze()),
    };
    let method = Arc::clone(&context.method);
    let call = IncomingCall { context, payload };
    let (caller, open) = (call.context.caller.peer, Arc::clone(&call.context.open));
    let hold = Some(Box::new(hold));
    let job = Job { call, answered, hold };
    if let Some(earlier) = table.before(came, &server, caller) {
        earlier.behind.push(job);
        earlier.behind.append(&mut behind);
        table.insert(open);
        return;
    }
    drop(table);
    here.change(Some(server));
    here.accept(job, &method);
    behind.into_iter().for_each(|job| here.accept_later(job));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_wrote_is_not_the_callers() {
        let mut block = Metadata::new();
        for (key, value) in [
            ("sys.name", "asker"),
            ("trace", "7"),
            ("sys.other", "x"),
            ("b", ""),
        ] {
            block.insert(key, value).unwrap();
        }
        let (own, name) = caller_words(block.as_bytes());
        assert_eq!(
            own.iter().collect::<Vec<_>>(),
            [("trace", &b"7"[..]), ("b", &b""[..])]
        );
        assert_eq!(name.as_deref(), Some("asker"));
        assert_eq!(caller_words(own.as_bytes()), (own, None));
        assert_eq!(caller_words(&[]), (Metadata::new(), None));
    }
}

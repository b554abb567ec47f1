//! One request from its frame to its answer, as a future's inner machine.
//!
//! Owns the sending of a request (at once, or in pieces within its window) and the wait in its slot. Dropping it tells
//! the broker when the request asks for that. Calls, acknowledged publishes, pings and queries are made of it.

use super::content::Content;
use super::handle::Handle;
use super::large::{Large, length_of, region_piece};
use super::order::Ticket;
use super::outgoing::Outgoing;
use super::patience::Until;
use super::request::{Answer, Items, Reply, Request};
use super::respond::PIECE;
use super::shared::Shared;
use super::state::{Direct, Next, State};
use super::upload::Upload;
use super::waiters::Place;
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Draft, Flags, Kind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Exchange {
    handle: Arc<Handle>,
    step: Step,
    /// What is to be sent, until all of it is, or why it cannot be.
    outgoing: Option<Result<Outgoing, CallError>>,
    place: Option<Place>,
    ticket: Ticket,
    /// Once it had to wait for room.
    until: Until,
    stream: bool,
    /// The payload was offered as a region.
    large: Option<Box<Large>>,
    /// What follows the call, until all of it is sent.
    upload: Option<Box<Upload>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Unsent,
    /// In pieces; so much of the payload is on its way.
    Sending(u64, usize),
    Waiting(u64),
    Over,
}

impl Exchange {
    #[inline]
    pub(crate) const fn new(handle: Arc<Handle>, outgoing: Result<Outgoing, CallError>) -> Self {
        Self {
            handle,
            step: Step::Unsent,
            outgoing: Some(outgoing),
            place: None,
            ticket: Ticket::new(),
            until: None,
            stream: false,
            large: None,
            upload: None,
        }
    }

    /// The same for a streamed reply.
    pub(crate) const fn streaming(mut self) -> Self {
        self.stream = true;
        self
    }

    /// The same with items behind the call.
    pub(crate) fn uploading(mut self, upload: Option<Upload>) -> Self {
        self.upload = upload.map(Box::new);
        self
    }

    /// Sends what may be sent of the items.
    ///
    /// # Errors
    /// Why they cannot be sent: the call is taken back.
    fn push_items(&mut self, id: u64, cx: &mut Context<'_>) -> Result<(), CallError> {
        let Some(upload) = self.upload.as_mut() else {
            return Ok(());
        };
        let shared = &self.handle.shared;
        let Poll::Ready(result) = upload.poll(shared, id, &mut self.place, cx) else {
            return Ok(());
        };
        self.upload = None;
        if result.is_err() {
            self.take_back();
        }
        result
    }

    /// Sends what is not sent. Ready when all of it is with the socket.
    #[inline]
    pub(crate) fn poll_sent(&mut self, cx: &Context<'_>) -> Poll<Result<(), CallError>> {
        match self.step {
            Step::Waiting(_) => Poll::Ready(Ok(())),
            Step::Unsent | Step::Sending(..) | Step::Over => self.poll_send(cx),
        }
    }

    fn poll_send(&mut self, cx: &Context<'_>) -> Poll<Result<(), CallError>> {
        loop {
            let region = match self.step {
                Step::Sending(id, _) => ready!(self.poll_region(id, cx)),
                Step::Unsent | Step::Waiting(_) | Step::Over => None,
            };
            // While it is being sent nobody else changes it, and an error in between ends it.
            let step = std::mem::replace(&mut self.step, Step::Over);
            let (id, sent, whole) = match (step, &mut self.outgoing) {
                (Step::Unsent, Some(Ok(outgoing))) => {
                    let total = outgoing.content.len();
                    let waiting = (&mut self.ticket, &mut self.until);
                    match first(&self.handle.shared, outgoing, waiting, self.stream, cx) {
                        Poll::Ready(Ok((id, sent))) => (id, sent, sent >= total),
                        Poll::Ready(Err(error)) => {
                            self.handle.shared.leave_order(&mut self.ticket);
                            return Poll::Ready(Err(error));
                        }
                        Poll::Pending => {
                            outgoing.content.settle();
                            self.step = step;
                            return Poll::Pending;
                        }
                    }
                }
                (Step::Sending(id, sent), Some(Ok(outgoing))) => {
                    let total = outgoing.content.len();
                    let (sent, over) = next(
                        &self.handle.shared,
                        (outgoing, region.as_ref()),
                        &mut self.place,
                        (id, sent),
                        cx,
                    );
                    if !over {
                        self.step = Step::Sending(id, sent);
                        return Poll::Pending;
                    }
                    (id, sent, sent >= total)
                }
                (Step::Waiting(id), _) => {
                    self.step = Step::Waiting(id);
                    return Poll::Ready(Ok(()));
                }
                _ => return Poll::Ready(Err(self.failure())),
            };
            if whole {
                self.outgoing = None;
                self.step = Step::Waiting(id);
                return Poll::Ready(Ok(()));
            }
            if sent == 0 {
                self.large = Some(Box::new(Large::Asked));
            }
            self.step = Step::Sending(id, sent);
        }
    }

    /// The memory with the payload, when it was offered as a region and is taken so.
    fn poll_region(&mut self, id: u64, cx: &Context<'_>) -> Poll<Option<Attachments>> {
        let (Some(large), Some(Ok(outgoing))) = (&mut self.large, &self.outgoing) else {
            return Poll::Ready(None);
        };
        let Content::Payload(payload) = &outgoing.content else {
            return Poll::Ready(None);
        };
        let shared = &self.handle.shared;
        let region = ready!(large.poll(cx, &payload.bytes, || answered(&mut shared.lock(), id, cx)));
        if region.is_none() {
            self.large = None;
        }
        Poll::Ready(region)
    }

    /// Why there is nothing to send.
    fn failure(&mut self) -> CallError {
        match self.outgoing.take() {
            Some(Err(error)) => error,
            _ => CallError::new(ErrorCode::Invalid, "the future was polled after it had ended"),
        }
    }

    /// The answer of a request that is not streamed.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, CallError>> {
        ready!(self.poll_sent(cx))?;
        let Step::Waiting(id) = self.step else {
            return Poll::Pending;
        };
        self.push_items(id, cx)?;
        let mut state = self.handle.shared.lock();
        let Some(request) = state.requests.get_mut(id) else {
            self.step = Step::Over;
            return Poll::Ready(Err(CallError::from(ErrorCode::Internal)));
        };
        let Some(answer) = request.answer.take() else {
            let before = request.watch(cx.waker());
            state.bury(before);
            return Poll::Pending;
        };
        let rest = request.strip();
        state.requests.vacate(id);
        drop(state);
        drop(rest);
        self.step = Step::Over;
        Poll::Ready(answer)
    }

    /// The next item of a streamed reply; `None` at its end.
    pub(crate) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply, CallError>>> {
        if matches!(self.step, Step::Over) {
            return Poll::Ready(None);
        }
        if let Err(error) = ready!(self.poll_sent(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        let Step::Waiting(id) = self.step else {
            return Poll::Ready(None);
        };
        self.push_items(id, cx)?;
        let shared = &self.handle.shared;
        let mut state = shared.lock();
        let window = state.grants.stream_window;
        state.coarse_now();
        let again = state.again();
        let Some(request) = state.requests.get_mut(id) else {
            self.step = Step::Over;
            return Poll::Ready(None);
        };
        if let Some(reply) = request.next_item() {
            let patience = request.patience;
            request.expires = again.until(patience);
            let owed = request.take_owed(window).filter(|_| request.answer.is_none());
            // No tick was needed for it as long as items lay there.
            let finer = state.tick_for(patience);
            let next = owed.map_or(Next::Nothing, |owed| {
                state.control(&Draft::new(Kind::ReplyCredit, id).aux(owed))
            });
            drop(state);
            shared.perform(next);
            if finer {
                shared.io.wake();
            }
            return Poll::Ready(Some(Ok(reply)));
        }
        let complete = request.items.as_ref().is_some_and(|items| items.complete);
        let error = match request.answer.take() {
            Some(Err(error)) => Some(error),
            _ if complete => None,
            _ => {
                let before = request.watch(cx.waker());
                state.bury(before);
                return Poll::Pending;
            }
        };
        let over = state.requests.remove(id);
        drop(state);
        drop(over);
        self.step = Step::Over;
        Poll::Ready(error.map(Err))
    }

    /// Gives up waiting for an answer without telling anybody; for requests that have none.
    pub(crate) fn forget(&mut self) {
        if let Step::Waiting(id) = std::mem::replace(&mut self.step, Step::Over) {
            // The lock is released before it is dropped.
            let over = self.handle.shared.lock().requests.remove(id);
            drop(over);
        }
    }
}

/// How many receivers take the payload of this request as a region; none when it is over. `None`: the task is woken when that is known.
pub(crate) fn answered(state: &mut State, id: u64, cx: &Context<'_>) -> Option<u32> {
    let Some(request) = state
        .requests
        .get_mut(id)
        .filter(|request| request.answer.is_none())
    else {
        return Some(0);
    };
    let takes = request.takes;
    if takes.is_none() {
        let before = request.watch(cx.waker());
        state.bury(before);
    }
    takes
}

/// Sends the first frame. Ready with the slot's key and how much of the payload is sent.
fn first(
    shared: &Shared,
    outgoing: &mut Outgoing,
    (ticket, until): (&mut Ticket, &mut Until),
    stream: bool,
    cx: &Context<'_>,
) -> Poll<Result<(u64, usize), CallError>> {
    let mut state = shared.lock();
    state.check_up()?;
    state.check_life(ticket)?;
    state.check_time(*until)?;
    state.check_served(outgoing)?;
    if let Some(wants) = state.held_back(outgoing, ticket) {
        let (start_clock, behind) = state.wait_in_order(outgoing, wants, (ticket, until), cx);
        drop(state);
        behind.into_iter().for_each(Waker::wake);
        if start_clock {
            shared.io.wake();
        }
        return Poll::Pending;
    }
    let mut part = outgoing.first_part(&state)?;
    let offered = outgoing.may_offer(&state, shared.options.regions_from);
    if offered {
        part = 0;
    }
    state.check_attachments(&outgoing.attachments)?;
    state.check_open_calls(outgoing)?;
    let (expires, patience, start_clock) = state.times(outgoing, *until);
    let mut request = Request::new(expires, patience, state.grants.stream_window);
    request.cancellable = outgoing.kind == Kind::Call;
    request.uploads = outgoing.kind == Kind::Call && outgoing.flags.has(Flags::ITEMS);
    request.items = stream.then(|| Box::new(Items::default()));
    let Some(id) = state.requests.insert(request) else {
        return Poll::Ready(Err(CallError::from(ErrorCode::TooMany)));
    };
    let idle = state.out.is_idle();
    let whole = part == outgoing.content.len();
    let end = add_first(&mut state, outgoing, (id, *until), part, offered);
    if let Some(request) = state.requests.get_mut(id).filter(|_| whole) {
        request.end = end;
    }
    let behind = state.leave_order(ticket);
    let direct = match outgoing.flags.has(Flags::NO_REPLY) && outgoing.kind == Kind::Call {
        true => Direct::Unhurried,
        false if state.requests.len() == 1 => Direct::Now,
        false => Direct::Together,
    };
    let next = state.after_push(idle, direct);
    drop(state);
    shared.perform(next);
    behind.into_iter().for_each(Waker::wake);
    if start_clock {
        shared.io.wake();
    }
    Poll::Ready(Ok((id, part)))
}

/// Adds the first frame with so much of the payload, or an offer of it. Returns where it ends.
fn add_first(
    state: &mut State,
    outgoing: &mut Outgoing,
    (id, until): (u64, Until),
    part: usize,
    offered: bool,
) -> u64 {
    let (draft, content, attachments) = outgoing.parts(id);
    let draft = state.shorten(draft, until);
    let flags = draft.flags;
    if draft.kind == Kind::Call && flags.has(Flags::NO_REPLY) {
        state.charge_call(content.wire_len(&draft));
    }
    if part == content.len() {
        return content.add_to(&mut state.out, &draft, attachments);
    }
    if !offered {
        tracing::trace!(bytes = content.len(), way = "pieces", "a large request");
    }
    content.take_apart();
    let first = content.bytes().get(..part).unwrap_or_default();
    let draft = draft.flags(flags.with(Flags::CONTINUED).with_if(offered, Flags::OFFER));
    state
        .out
        .encode_with(&draft.payload(content.encoding(), first), attachments)
}

/// Sends the next piece if it may. Returns how much is sent now, and whether to look again at once.
fn next(
    shared: &Shared,
    (outgoing, region): (&Outgoing, Option<&Attachments>),
    place: &mut Option<Place>,
    (id, sent): (u64, usize),
    cx: &Context<'_>,
) -> (usize, bool) {
    let mut guard = shared.lock();
    let state = &mut *guard;
    let (payload, encoding) = (outgoing.content.bytes(), outgoing.content.encoding());
    // Nothing follows a goodbye; the end of the connection ends the call.
    let up = state.is_up();
    let Some(request) = state
        .requests
        .get_mut(id)
        .filter(|request| request.answer.is_none())
    else {
        // It is over before it was complete; the answer says why.
        return (payload.len(), true);
    };
    if request.window <= 0 || !up {
        let before = request.watch(cx.waker());
        state.bury(before);
        return (sent, false);
    }
    if !state.out.has_room() {
        // The end of the call must be noticed too.
        let before = request.watch(cx.waker());
        state.bury(before);
        let before = state.out.room.wait(place, cx.waker());
        state.bury(before);
        return (sent, false);
    }
    let piece = PIECE.min(state.grants.frame_bytes as usize).max(1);
    let upto = match region {
        Some(_) => payload.len(),
        None => sent.saturating_add(piece).min(payload.len()),
    };
    let last = upto == payload.len();
    let part = payload.get(sent..upto).unwrap_or_default();
    let flags = Flags::NONE.with_if(!last, Flags::CONTINUED);
    let mut draft = Draft::new(Kind::CallPiece, id)
        .flags(flags)
        .payload(encoding, part);
    let length = length_of(payload.len());
    if region.is_some() {
        draft = region_piece(Kind::CallPiece, id, &length);
    }
    request.window = request
        .window
        .saturating_sub(i64::try_from(draft.wire_len()).unwrap_or(i64::MAX));
    let idle = state.out.is_idle();
    let end = match region {
        Some(region) => state.out.encode_with(&draft, region),
        None => state.out.encode(&draft),
    };
    if last {
        request.end = end;
    }
    let next = state.after_push(idle, Direct::No);
    drop(guard);
    shared.perform(next);
    (upto, true)
}

/// Longer deadlines than this would overflow clocks; the broker allows an hour by default.
pub(crate) const MAX_PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);

impl Exchange {
    /// Ends it, and tells the other side when that has not.
    pub(crate) fn take_back(&mut self) {
        let shared = &self.handle.shared;
        shared.leave(&mut self.place, |state| &mut state.out.room);
        shared.leave_order(&mut self.ticket);
        let (Step::Waiting(id) | Step::Sending(id, ..)) = std::mem::replace(&mut self.step, Step::Over)
        else {
            return;
        };
        let mut state = shared.lock();
        let Some(request) = state.requests.remove(id) else {
            return;
        };
        let next = match request.cancellable && !request.is_answered() {
            true => state.control(&Draft::new(Kind::Cancel, id)),
            false => Next::Nothing,
        };
        drop(state);
        shared.perform(next);
        drop(request);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.take_back();
    }
}

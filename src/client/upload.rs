//! The items behind a call: taken from the caller's stream one by one, and sent as the callee takes them.
//!
//! Owns the stream, the item in hand, and the rule when it may go: the callee's window is open, and the out-buffer has room. It
//! refuses to know the answer and how the call itself was sent. Polled by [`super::exchange`], in the task that waits for the answer.

use super::content::Content;
use super::outgoing::too_large;
use super::shared::Shared;
use super::state::Direct;
use super::waiters::Place;
use crate::error::CallError;
use crate::message::{Attachments, Draft, Flags, Kind};
use futures::Stream;
use futures::stream::{BoxStream, StreamExt};
use std::fmt;
use std::task::{Context, Poll, ready};

/// Items that are sent in one turn, before other futures of the task have theirs.
const AT_ONCE: usize = 256;

/// See the module's documentation.
pub(crate) struct Upload {
    items: BoxStream<'static, Result<Content, CallError>>,
    /// Taken from the stream and not sent.
    next: Option<Next>,
}

enum Next {
    Item(Content),
    End,
}

/// What became of what is in hand.
enum Sent {
    Yes,
    NotYet,
    /// The call is over.
    Unwanted,
}

impl Upload {
    pub(crate) fn new(items: impl Stream<Item = Result<Content, CallError>> + Send + 'static) -> Self {
        Self {
            items: items.boxed(),
            next: None,
        }
    }

    /// Sends what may be sent of the call `id`. Ready when nothing more is to be sent; the task is woken for all else, the answer
    /// included, only when it has asked for that too.
    ///
    /// # Errors
    /// The stream's own, and TooLarge for an item that no frame can hold. The call is to be taken back then.
    pub(crate) fn poll(
        &mut self,
        shared: &Shared,
        id: u64,
        place: &mut Option<Place>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CallError>> {
        for _ in 0..AT_ONCE {
            let mut next = match self.next.take() {
                Some(next) => next,
                None => match ready!(self.items.poll_next_unpin(cx)) {
                    Some(Ok(item)) => Next::Item(item),
                    Some(Err(error)) => return Poll::Ready(Err(error.ran(true))),
                    None => Next::End,
                },
            };
            match (send(shared, id, &mut next, place, cx)?, &next) {
                (Sent::Yes, Next::Item(_)) => {}
                (Sent::Yes, Next::End) | (Sent::Unwanted, _) => return Poll::Ready(Ok(())),
                (Sent::NotYet, _) => {
                    if let Next::Item(item) = &mut next {
                        item.settle();
                    }
                    self.next = Some(next);
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stream of items")
    }
}

fn send(
    shared: &Shared,
    id: u64,
    next: &mut Next,
    place: &mut Option<Place>,
    cx: &Context<'_>,
) -> Result<Sent, CallError> {
    let mut guard = shared.lock();
    let state = &mut *guard;
    let (_, start_clock) = state.coarse_now();
    let again = state.again();
    let frame_bytes = state.grants.frame_bytes as usize;
    // Nothing follows a goodbye; the end of the connection ends the call.
    let (up, role) = (state.is_up(), state.role);
    let open = state.requests.get_mut(id);
    let Some(request) = open.filter(|request| !request.is_answered()) else {
        return Ok(Sent::Unwanted);
    };
    let draft = Draft::new(Kind::CallPiece, id);
    let (draft, bytes) = match next {
        Next::Item(item) if item.len() > frame_bytes => {
            let sizes = (item.len(), frame_bytes);
            let error = too_large(role, "an item of the request", sizes, "frame_bytes");
            return Err(error.ran(true));
        }
        Next::Item(item) => (draft.flags(Flags::CONTINUED), item.wire_len(&draft)),
        Next::End => (draft, draft.wire_len()),
    };
    if request.window <= 0 || !up || !state.out.has_room() {
        // The end of the call must be noticed too.
        let (open, before) = (request.window > 0, request.watch(cx.waker()));
        state.bury(before);
        if open && up {
            let before = state.out.room.wait(place, cx.waker());
            state.bury(before);
        }
        return Ok(Sent::NotYet);
    }
    request.window = request
        .window
        .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    request.go_on(again);
    let idle = state.out.is_idle();
    match next {
        Next::Item(item) => item.add_to(&mut state.out, &draft, &Attachments::new()),
        Next::End => state.out.encode(&draft),
    };
    let next = state.after_push(idle, Direct::No);
    drop(guard);
    shared.perform(next);
    if start_clock {
        shared.io.wake();
    }
    Ok(Sent::Yes)
}

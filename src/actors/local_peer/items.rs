//! Items behind calls, for actors of this process: as they come to the one that is called, and as a caller sends them.
//!
//! Owns what has come and was not taken, its credit, and the pace of a sender. It knows no Session; frames go into the peer's port.

use super::handle::{LocalHandle, LocalReply};
use super::kept::Kept;
use super::object_call::Running;
use super::options::CallOptions;
use super::port::{Answer, Port, Then, check, check_size};
use crate::error::{CallError, ErrorCode};
use crate::message::{Draft, Flags, Kind, Payload, Ticket};
use futures::future::{Either, select};
use futures::{Stream, StreamExt};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The items of one call, between its peer and who takes them.
pub(super) struct Queue {
    port: Arc<Port>,
    ticket: Ticket,
    state: Mutex<State>,
}

struct State {
    items: VecDeque<(Payload, u32)>,
    /// What they hold.
    kept: Kept,
    /// Nothing more will come.
    complete: bool,
    /// The call is over.
    stopped: bool,
    reader: Option<Waker>,
}

impl Queue {
    pub(super) fn new(port: &Arc<Port>, ticket: Ticket, kept: Kept) -> Arc<Self> {
        Arc::new(Self {
            port: Arc::clone(port),
            ticket,
            state: Mutex::new(State {
                items: VecDeque::new(),
                kept,
                complete: false,
                stopped: false,
                reader: None,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An item of so many bytes on the wire has come, or their end. `false`: there is no room for it.
    #[must_use]
    pub(super) fn push(&self, item: Option<Payload>, bytes: u32) -> bool {
        let mut state = self.lock();
        if state.stopped || state.complete {
            return true;
        }
        match item {
            Some(item) => {
                if !state.kept.add(bytes as usize) {
                    return false;
                }
                state.items.push_back((item, bytes));
            }
            None => state.complete = true,
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        true
    }

    /// The call is over: what was not taken is lost, and who reads is told so.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.complete &= state.items.is_empty();
        state.kept.less(usize::MAX);
        let (left, reader) = (std::mem::take(&mut state.items), state.reader.take());
        drop(state);
        drop(left);
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Result<Payload, CallError>>> {
        let mut state = self.lock();
        if let Some((payload, bytes)) = state.items.pop_front() {
            state.kept.less(bytes as usize);
            drop(state);
            // A port that is closed has nobody to give credit to.
            let _ = self
                .port
                .push(&Draft::new(Kind::CallCredit, self.ticket.0).aux(bytes), None);
            return Poll::Ready(Some(Ok(payload)));
        }
        if state.complete {
            return Poll::Ready(None);
        }
        if state.stopped {
            state.complete = true;
            let text = "the call was over before all of its items were taken: it was answered, or its caller gave up or is gone";
            return Poll::Ready(Some(Err(CallError::new(ErrorCode::Cancelled, text).ran(true))));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The items that follow a call, in order; none at all when its caller sends none.
///
/// What is not taken holds the caller back: at most the window of a stream (`limits.stream_window`) and one item are kept, and none once
/// this is dropped. Once the call is over it yields one error, unless the last item was taken, and then nothing. Cancel safe.
pub struct CallItems {
    pub(super) queue: Option<Arc<Queue>>,
}

impl CallItems {
    /// Nobody takes any: what has come, and what comes, is dropped. Its sender gets no credit for it.
    pub(super) fn ignore(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.stop();
        }
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// [`ErrorCode::Cancelled`] when the call is over before its items are.
    pub async fn next(&mut self) -> Option<Result<Payload, CallError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Drop for CallItems {
    fn drop(&mut self) {
        self.ignore();
    }
}

impl Stream for CallItems {
    type Item = Result<Payload, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &self.queue {
            Some(queue) => queue.poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}

impl fmt::Debug for CallItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallItems")
            .field("follow", &self.queue.is_some())
            .finish()
    }
}

impl LocalHandle {
    /// Calls a method with items behind the payload. They are taken from the stream and sent while the future is polled, as the callee
    /// takes them: it sends at most `limits.stream_window` ahead. Its deadline is for the time between two items, sent or taken,
    /// and behind the last one for the answer. When the call is over before the stream is, the rest of it is dropped. Dropping the
    /// future cancels the call at its callee.
    ///
    /// # Errors
    /// As [`Self::call`], and [`ErrorCode::TooLarge`] for an item above `limits.frame_bytes`: the call is taken back then, and may
    /// have run.
    pub async fn upload(
        &self,
        object: &str,
        method: &str,
        payload: Payload,
        items: impl Stream<Item = Payload>,
        options: CallOptions,
    ) -> Result<LocalReply, CallError> {
        let port = self.port();
        check(&port.limits, &[object, method], &payload, &options.metadata)?;
        let id = port.id();
        let flags = options.flags.with(Flags::ITEMS).with(Flags::CONTINUED);
        let draft = Draft::new(Kind::Call, id)
            .flags(flags)
            .aux(options.deadline_ms)
            .meta(options.metadata.as_bytes())
            .pair(object, method)
            .payload(payload.encoding, &payload.bytes);
        let pace = Running::new(port.limits.stream_window);
        let pending = port.ask(&draft, Then::Upload(Arc::clone(&pace)))?.cancelling();
        drop((payload, options));
        let sending = pin!(send(port, &pace, id, items));
        let answer = match select(pending, sending).await {
            Either::Left((answer, _)) => answer?,
            Either::Right((Err(error), _)) => return Err(error),
            Either::Right((Ok(never), _)) => match never {},
        };
        let Answer {
            payload, metadata, ..
        } = answer;
        Ok(LocalReply { payload, metadata })
    }
}

/// Sends items and their end. Never ready but with an error: how the call ends is its answer's business.
async fn send(
    port: &Port,
    pace: &Running,
    id: u64,
    items: impl Stream<Item = Payload>,
) -> Result<Infallible, CallError> {
    let mut items = pin!(items);
    while let Some(item) = items.next().await {
        check_size(&port.limits, &item).map_err(|error| error.ran(true))?;
        let draft = Draft::new(Kind::CallPiece, id)
            .flags(Flags::CONTINUED)
            .payload(item.encoding, &item.bytes);
        pace.charge(draft.wire_len()).await?;
        port.push(&draft, None)?;
    }
    let end = Draft::new(Kind::CallPiece, id);
    pace.charge(end.wire_len()).await?;
    port.push(&end, None)?;
    std::future::pending().await
}

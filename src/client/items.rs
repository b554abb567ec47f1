//! The items that follow a call, at the side that serves it.
//!
//! Owns what has come and was not taken, the credit for what was, and the stream that a handler reads. It refuses to know what an
//! item means. Filled by [`super::incoming`], emptied by handlers.

use super::handler::IncomingCall;
use super::peer::memory::Hold;
use super::serving::OpenCall;
use super::shared::Shared;
use super::waiters::replace;
use crate::error::{CallError, ErrorCode};
use crate::message::{Draft, Kind, Payload};
use futures::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A handler that takes items slower than it gets credit together tells so in this part of the caller's patience: it is at work.
const SIGN_PART: u32 = 4;

/// What became of an item that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It is kept, or nobody wants it any more.
    Taken,
    /// More than twice the window waits, which is no mistake in counting.
    Flooded,
    /// The connection keeps as much as it may.
    Full,
}

/// The items of one call.
#[derive(Debug)]
pub(crate) struct Arriving {
    shared: Weak<Shared>,
    window: usize,
    queue: VecDeque<(Payload, usize)>,
    /// What the queue holds of the window, in bytes.
    unread: usize,
    /// The largest frame that has come, in bytes.
    largest: usize,
    hold: Hold,
    /// Credit to give back, in bytes.
    owed: usize,
    /// When credit was given back last, and how long that may be ago once something is owed.
    told: Instant,
    sign_after: Duration,
    /// Nothing more will come.
    complete: bool,
    /// A stream of them was handed out.
    handed_out: bool,
    reader: Option<Waker>,
}

impl Arriving {
    fn new(shared: Weak<Shared>, window: u32, patience: Duration) -> Self {
        Self {
            shared,
            window: window as usize,
            queue: VecDeque::new(),
            unread: 0,
            largest: 0,
            hold: Hold::default(),
            owed: 0,
            told: Instant::now(),
            sign_after: patience / SIGN_PART,
            complete: false,
            handed_out: false,
            reader: None,
        }
    }

    /// The call is over, and who reads is told so. What was not taken is to be dropped when no lock is held.
    pub(crate) fn stop(&mut self, woken: &mut Vec<Waker>) -> impl Sized + use<> {
        woken.extend(self.reader.take());
        // Items are missing now: their end must not look like the end of all.
        self.complete &= self.queue.is_empty();
        self.hold.shrink(self.unread);
        std::mem::take(&mut self.queue)
    }

    /// Takes the oldest item, and the credit that is to be given back now.
    fn pop(&mut self) -> Option<(Payload, Option<u32>)> {
        let (payload, charge) = self.queue.pop_front()?;
        self.unread = self.unread.saturating_sub(charge);
        self.hold.shrink(charge);
        self.owed = self.owed.saturating_add(charge);
        if self.complete {
            return Some((payload, self.sign()));
        }
        let credit = match self.owed >= self.window / 2 {
            true => self.settle(Instant::now()),
            false => self.sign(),
        };
        Some((payload, credit))
    }

    /// Credit that is given back early, so that a slow handler does not look like one that is stuck.
    fn sign(&mut self) -> Option<u32> {
        let now = Instant::now();
        match now.saturating_duration_since(self.told) >= self.sign_after {
            true => self.settle(now),
            false => None,
        }
    }

    fn settle(&mut self, now: Instant) -> Option<u32> {
        self.told = now;
        let owed = u32::try_from(std::mem::take(&mut self.owed)).unwrap_or(u32::MAX);
        Some(owed).filter(|owed| *owed > 0)
    }
}

impl OpenCall {
    /// Items will follow. Nobody else knows the call yet.
    pub(crate) fn expect_items(&self, shared: Weak<Shared>, window: u32, patience: Duration) {
        let hold = shared.upgrade().map(|shared| shared.serving.memory.hold());
        let arriving = Arriving {
            hold: hold.unwrap_or_default(),
            ..Arriving::new(shared, window, patience)
        };
        self.lock().items = Some(Box::new(arriving));
    }

    /// One has come, or their end.
    pub(crate) fn item(&self, item: Option<Payload>, bytes: usize) -> Came {
        let mut state = self.lock();
        let stopped = state.cancelled || state.over;
        let Some(items) = state.items.as_mut().filter(|_| !stopped) else {
            return Came::Taken;
        };
        match item {
            _ if items.complete => return Came::Taken,
            Some(_) if !items.hold.grow(bytes) => return Came::Full,
            Some(item) => {
                items.unread = items.unread.saturating_add(bytes);
                items.queue.push_back((item, bytes));
            }
            None => items.complete = true,
        }
        // The one frame that may be beyond the window lies there while the end comes.
        items.largest = items.largest.max(bytes);
        let allowed = items.window.saturating_mul(2).saturating_add(items.largest);
        let within = items.unread <= allowed;
        let reader = items.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        if within { Came::Taken } else { Came::Flooded }
    }

    fn poll_next_item(&self, cx: &Context<'_>) -> Poll<Option<Result<Payload, CallError>>> {
        let mut state = self.lock();
        let stopped = state.cancelled || state.over;
        let Some(items) = state.items.as_mut() else {
            return Poll::Ready(None);
        };
        if let Some((payload, credit)) = items.pop() {
            let shared = Weak::clone(&items.shared);
            drop(state);
            self.give_back(&shared, credit);
            return Poll::Ready(Some(Ok(payload)));
        }
        if items.complete {
            return Poll::Ready(None);
        }
        if stopped {
            items.complete = true;
            return Poll::Ready(Some(Err(ended_early())));
        }
        let before = replace(&mut items.reader, cx.waker());
        drop(state);
        drop(before);
        Poll::Pending
    }

    fn give_back(&self, shared: &Weak<Shared>, credit: Option<u32>) {
        let Some((credit, shared)) = credit.zip(shared.upgrade()) else {
            return;
        };
        let mut state = shared.lock();
        if state.life == self.life {
            let next = state.control(&Draft::new(Kind::CallCredit, self.ticket).aux(credit));
            drop(state);
            shared.perform(next);
        }
    }
}

fn ended_early() -> CallError {
    let text = "the call was over before all of its items were taken: it was answered, or its caller gave up or is gone";
    CallError::new(ErrorCode::Cancelled, text).ran(true)
}

/// The items that follow a call, in order. Made by [`IncomingCall::items`].
///
/// What is not taken holds the caller back: at most the window of a stream (`limits.stream_window`, 256 KiB by default) and one
/// item are kept here. Once the call is over it yields one error, unless the last item was taken, and then nothing. It may
/// outlive the handler's future, in a streamed answer too. Cancel safe.
#[derive(Debug)]
pub struct IncomingItems {
    open: Option<Arc<OpenCall>>,
    error: Option<CallError>,
}

impl IncomingItems {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// Cancelled when the call is over before its items are, Invalid when another stream of them was asked for before.
    pub async fn next(&mut self) -> Option<Result<Payload, CallError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for IncomingItems {
    type Item = Result<Payload, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &self.open {
            Some(open) => open.poll_next_item(cx),
            None => Poll::Ready(self.error.take().map(Err)),
        }
    }
}

impl IncomingCall {
    /// The items that follow the parameters; none at all when the caller sends none. They are handed out once: who asks again gets
    /// a stream of one error.
    #[must_use]
    pub fn items(&self) -> IncomingItems {
        let open = &self.context.open;
        let mut state = open.lock();
        let Some(items) = state.items.as_mut() else {
            return IncomingItems {
                open: None,
                error: None,
            };
        };
        if std::mem::replace(&mut items.handed_out, true) {
            let text = "the items of this call were asked for before; read them where that was";
            return IncomingItems {
                open: None,
                error: Some(CallError::new(ErrorCode::Invalid, text).ran(true)),
            };
        }
        drop(state);
        IncomingItems {
            open: Some(Arc::clone(open)),
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const ITEM: usize = 30;

    fn open(window: u32, patience: Duration) -> OpenCall {
        let open = OpenCall::new(1, 1, window, 0);
        open.expect_items(Weak::new(), window, patience);
        open
    }

    fn next(open: &OpenCall) -> Option<Option<Result<Payload, CallError>>> {
        std::future::poll_fn(|cx| open.poll_next_item(cx)).now_or_never()
    }

    fn credit(open: &OpenCall) -> Option<u32> {
        open.lock().items.as_mut().unwrap().pop().unwrap().1
    }

    #[test]
    fn credit_comes_in_half_windows_and_as_a_sign_of_life() {
        for (patience, expected) in [
            (Duration::from_secs(3600), [None, Some(60), None, Some(60)]),
            (Duration::ZERO, [Some(30); 4]),
        ] {
            let open = open(120, patience);
            for _ in expected {
                assert_eq!(open.item(Some(Payload::default()), ITEM), Came::Taken);
            }
            assert_eq!(expected.map(|_| credit(&open)), expected);
        }
    }

    #[test]
    fn twice_the_window_is_no_mistake_in_counting() {
        let open = open(100, Duration::from_secs(3600));
        let taken = (0..)
            .take_while(|_| open.item(Some(Payload::default()), ITEM) == Came::Taken)
            .count();
        assert_eq!(taken, (2 * 100 + ITEM) / ITEM);
    }

    #[test]
    fn the_end_comes_after_the_items_and_a_lost_one_is_an_error() {
        let whole = open(100, Duration::from_secs(3600));
        assert_eq!(whole.item(Some(Payload::default()), ITEM), Came::Taken);
        assert_eq!(whole.item(None, ITEM), Came::Taken);
        assert!(matches!(next(&whole), Some(Some(Ok(_)))));
        whole.finish();
        assert_eq!(next(&whole), Some(None));

        for end in [OpenCall::finish, OpenCall::cancel] {
            let broken = open(100, Duration::from_secs(3600));
            assert_eq!(broken.item(Some(Payload::default()), ITEM), Came::Taken);
            assert_eq!(broken.item(None, ITEM), Came::Taken);
            end(&broken);
            let error = next(&broken).unwrap().unwrap().unwrap_err();
            assert_eq!((error.code, error.may_have_run), (ErrorCode::Cancelled, true));
            assert_eq!(next(&broken), Some(None));
            assert_eq!(
                broken.item(Some(Payload::default()), ITEM),
                Came::Taken,
                "ignored"
            );
            assert_eq!(next(&broken), Some(None));
        }
    }
}

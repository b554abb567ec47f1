//! What handles and responders have for their local peer: frames in one shared buffer, and who waits for which answer.
//!
//! Pushing takes a short lock and wakes the actor only when the buffer was empty, so that many frames become one batch.
//! It owns the publish window as publishers see it. It knows no actor: the peer's actor takes from it what was pushed.

use super::object_call::{ObjectCall, Running};
use super::subscriber::Wanted;
use crate::actors::credit::Window;
use crate::config::Limits;
use crate::error::{CallError, ErrorCode};
use crate::message::{CallId, Draft, Kind, Metadata, Payload, SubscriptionId, metadata, name};
use actix::Recipient;
use futures::task::AtomicWaker;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::{Notify, oneshot, watch};

/// Whether this process has the name that it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Calls come here.
    Owner,
    /// Others come first; calls come when it is this one's turn.
    Queued,
    /// Another took the name over, as this one's options allowed.
    Replaced,
}

/// What a request was answered with.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) aux: u32,
    pub(super) payload: Payload,
    pub(super) metadata: Metadata,
}

/// What is to happen when a request was carried out.
pub(super) enum Then {
    Nothing,
    /// Items follow the call, at the pace of their credit.
    Upload(Arc<Running>),
    Serve(Arc<str>, Recipient<ObjectCall>, watch::Sender<Standing>),
    Unserve(Box<str>),
    Subscribe(Box<Wanted>),
    Unsubscribe,
}

/// A request that waits for its answer.
pub(super) struct Request {
    pub(super) id: CallId,
    pub(super) waiter: Option<oneshot::Sender<Result<Answer, CallError>>>,
    pub(super) then: Then,
}

/// What was pushed since the last time.
#[derive(Default)]
pub(super) struct Pushed {
    pub(super) bytes: Vec<u8>,
    pub(super) requests: Vec<Request>,
    /// Subscriptions whose actor has room again.
    pub(super) ready: Vec<SubscriptionId>,
    /// The last handle is gone.
    pub(super) leaving: bool,
}

impl Pushed {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.ready.is_empty() && !self.leaving
    }
}

struct Queue {
    pushed: Pushed,
    window: Window,
    /// Why nothing is taken any more.
    closed: Option<CallError>,
}

/// The port of one local peer.
pub(super) struct Port {
    pub(super) limits: Arc<Limits>,
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    next: AtomicU64,
    /// Publishers wait for credit one after the other, in the order in which they came.
    turn: tokio::sync::Mutex<()>,
    credit: Notify,
}

impl Port {
    pub(super) fn new(limits: Arc<Limits>) -> Arc<Self> {
        let window = Window::new(limits.publish_window);
        Arc::new(Self {
            limits,
            queue: Mutex::new(Queue {
                pushed: Pushed::default(),
                window,
                closed: None,
            }),
            waker: AtomicWaker::new(),
            next: AtomicU64::new(1),
            turn: tokio::sync::Mutex::new(()),
            credit: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a request.
    pub(super) fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues a frame, and with it the request that it makes.
    pub(super) fn push(&self, draft: &Draft<'_>, request: Option<Request>) -> Result<(), CallError> {
        self.push_if(draft, request, |_| true).map(|_| ())
    }

    /// The same when `may` allows it; `false` when it did not.
    fn push_if(
        &self,
        draft: &Draft<'_>,
        request: Option<Request>,
        may: impl FnOnce(&mut Window) -> bool,
    ) -> Result<bool, CallError> {
        let mut queue = self.lock();
        if let Some(error) = &queue.closed {
            let error = error.clone();
            // What the request holds is dropped without the lock: dropping may push.
            drop(queue);
            return Err(error);
        }
        if !may(&mut queue.window) {
            drop(queue);
            return Ok(false);
        }
        let wake = queue.pushed.is_empty();
        queue.pushed.bytes.reserve(draft.wire_len());
        draft.encode(&mut queue.pushed.bytes);
        queue.pushed.requests.extend(request);
        drop(queue);
        if wake {
            self.waker.wake();
        }
        Ok(true)
    }

    /// Sends a request; the future is its answer.
    pub(super) fn ask(self: &Arc<Self>, draft: &Draft<'_>, then: Then) -> Result<Pending, CallError> {
        let (request, pending) = self.request(draft.id, then);
        self.push(draft, Some(request))?;
        Ok(pending)
    }

    fn request(self: &Arc<Self>, id: u64, then: Then) -> (Request, Pending) {
        let (waiter, answer) = oneshot::channel();
        let id = CallId(id);
        let request = Request {
            id,
            waiter: Some(waiter),
            then,
        };
        let pending = Pending {
            port: self.clone(),
            id,
            answer,
            cancels: false,
        };
        (request, pending)
    }

    /// Queues a publish when the window is open.
    pub(super) fn try_publish(&self, draft: &Draft<'_>) -> Result<bool, CallError> {
        self.push_if(draft, None, |window| spend(window, draft))
    }

    /// Queues a publish as soon as the window is open. Publishers get their turn in the order in which they came.
    pub(super) async fn publish(&self, draft: &Draft<'_>) -> Result<(), CallError> {
        let _turn = self.turn.lock().await;
        loop {
            let credit = self.credit.notified();
            if self.push_if(draft, None, |window| spend(window, draft))? {
                return Ok(());
            }
            credit.await;
        }
    }

    /// The same, with the answer of the broker.
    pub(super) async fn publish_acknowledged(
        self: &Arc<Self>,
        draft: &Draft<'_>,
    ) -> Result<Pending, CallError> {
        let _turn = self.turn.lock().await;
        loop {
            let credit = self.credit.notified();
            let (request, pending) = self.request(draft.id, Then::Nothing);
            if self.push_if(draft, Some(request), |window| spend(window, draft))? {
                return Ok(pending);
            }
            credit.await;
        }
    }

    /// The broker returns publish credit.
    pub(super) fn refill(&self, bytes: u32) {
        self.lock().window.refill(bytes);
        self.credit.notify_one();
    }

    /// The subscription's actor has room again.
    pub(super) fn ready(&self, subscription: SubscriptionId) {
        let mut queue = self.lock();
        let wake = queue.pushed.is_empty();
        queue.pushed.ready.push(subscription);
        drop(queue);
        if wake {
            self.waker.wake();
        }
    }

    /// The last handle is gone; what it pushed before is still sent.
    pub(super) fn leave(&self) {
        self.lock().pushed.leaving = true;
        self.waker.wake();
    }

    /// Takes what was pushed; the task is woken when more comes.
    pub(super) fn take(&self, cx: Option<&Context<'_>>) -> Pushed {
        if let Some(cx) = cx {
            self.waker.register(cx.waker());
        }
        std::mem::take(&mut self.lock().pushed)
    }

    /// Nothing is taken any more: everybody who waits or will ask gets the error.
    pub(super) fn close(&self, error: CallError) {
        let left = {
            let mut queue = self.lock();
            let told = queue.closed.get_or_insert(error).clone();
            (std::mem::take(&mut queue.pushed), told)
        };
        let (left, told) = left;
        for request in left.requests {
            if let Some(waiter) = request.waiter {
                let _ = waiter.send(Err(told.clone()));
            }
        }
        self.credit.notify_one();
    }

    /// Why it was closed.
    pub(super) fn reason(&self) -> CallError {
        self.lock().closed.clone().unwrap_or_else(gone)
    }
}

/// A frame may be published while the window is above zero.
fn spend(window: &mut Window, draft: &Draft<'_>) -> bool {
    window.is_open() && window.spend(draft.wire_len())
}

/// Closes the port when the actor is gone, in whatever way.
pub(super) struct PortOwner(pub(super) Arc<Port>);

impl Drop for PortOwner {
    fn drop(&mut self) {
        self.0.close(gone());
    }
}

/// A request under way. Dropping it takes the request back when it is one that can be.
pub(super) struct Pending {
    port: Arc<Port>,
    id: CallId,
    answer: oneshot::Receiver<Result<Answer, CallError>>,
    cancels: bool,
}

impl Pending {
    /// Dropping it cancels the request at the broker, and so at the callee.
    pub(super) const fn cancelling(mut self) -> Self {
        self.cancels = true;
        self
    }
}

impl Future for Pending {
    type Output = Result<Answer, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        self.cancels = false;
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.port.reason().ran(true))))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.cancels {
            // A port that is closed has nothing to cancel.
            let _ = self.port.push(&Draft::new(Kind::Cancel, self.id.0), None);
        }
    }
}

/// There is no broker behind the handle any more.
pub(super) fn gone() -> CallError {
    CallError::new(
        ErrorCode::BrokerGone,
        "the broker of this process has ended, or withdrew this peer",
    )
    .ran(false)
}

/// Refuses what no frame can hold, before it is encoded.
pub(super) fn check(
    limits: &Limits,
    names: &[&str],
    payload: &Payload,
    metadata: &Metadata,
) -> Result<(), CallError> {
    let invalid = |text: String| CallError::new(ErrorCode::Invalid, text);
    for text in names {
        name::check(text.as_bytes()).map_err(|error| invalid(format!("{text:?}: {error}")))?;
    }
    metadata::check_from_peer(metadata.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    check_size(limits, payload)
}

/// Refuses a payload that is larger than a frame takes.
pub(super) fn check_size(limits: &Limits, payload: &Payload) -> Result<(), CallError> {
    let (length, limit) = (payload.bytes.len(), limits.frame_bytes);
    if length <= limit {
        return Ok(());
    }
    let text = format!("a payload of {length} bytes exceeds the limit of {limit} (limits.frame_bytes)");
    Err(CallError::new(ErrorCode::TooLarge, text))
}

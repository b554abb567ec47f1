//! A call as an actor of this process gets it, and the one answer that it owes.
//!
//! Owns what the handler sees and the state it shares with its peer: whether the caller still waits, and how much of a stream it
//! takes. It knows no Session; an answer is a frame pushed into the peer's port.

use super::items::{CallItems, Queue};
use super::kept::Kept;
use super::port::{Port, check, check_size};
use crate::actors::credit::Window;
use crate::actors::peer::PeerRef;
use crate::error::{CallError, ErrorCode};
use crate::message::metadata::{self, METADATA_MAX};
use crate::message::{Draft, Encoding, Flags, Kind, Metadata, Origin, Payload, PayloadError, Ticket};
use crate::policy::Principal;
use crate::text::cut;
use serde::Serialize;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Who calls, as the broker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its connection, user and process.
    pub origin: Origin,
    /// The name that its program declared; shown, never to be trusted.
    pub name: Option<Box<str>>,
}

/// A call of an object that an actor serves.
///
/// The message has no result: the answer goes through the [`Responder`], now or later, from wherever it is moved to. What is queued
/// for an actor counts against `limits.outbox_bytes` of its peer until the message is handled; above that, callers get
/// [`ErrorCode::Overloaded`]. What came in pieces, and items that are not taken, count against `limits.memory_bytes_total` instead
/// (or four messages of `limits.message_bytes`, if that is more), of which one process may have a quarter.
#[derive(Debug)]
pub struct ObjectCall {
    /// The object that is called.
    pub object: Arc<str>,
    /// Which of its methods.
    pub method: Box<str>,
    /// The arguments.
    pub payload: Payload,
    /// What the caller sent beside them.
    pub metadata: Metadata,
    /// What follows the arguments.
    pub items: CallItems,
    /// Who calls.
    pub caller: Caller,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Gives the answer.
    pub responder: Responder,
    pub(super) principal: Arc<Principal>,
    pub(super) _charge: Charge,
}

impl actix::Message for ObjectCall {
    type Result = ();
}

/// What a queued call was charged; given back when the call is handled.
pub(super) struct Charge {
    peer: PeerRef,
    bytes: usize,
    /// What came in pieces.
    _kept: Option<Kept>,
}

impl Charge {
    /// Of so many bytes, on the account of the peer that they are for.
    pub(super) fn new(peer: &PeerRef, bytes: usize) -> Self {
        Self {
            peer: peer.clone(),
            bytes,
            _kept: None,
        }
    }

    /// The same with what its pieces hold.
    pub(super) fn keeping(mut self, kept: Kept) -> Self {
        self._kept = Some(kept);
        self
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({})", self.bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.peer.account.release(self.bytes);
    }
}

/// What a running call shares with its peer.
pub(super) struct Running {
    window: Mutex<Window>,
    cancelled: AtomicBool,
    changed: Notify,
    /// The items that follow the call.
    pub(super) items: Option<Arc<Queue>>,
}

impl Running {
    pub(super) fn new(window: usize) -> Arc<Self> {
        Self::with_items(window, None)
    }

    pub(super) fn with_items(window: usize, items: Option<Arc<Queue>>) -> Arc<Self> {
        Arc::new(Self {
            window: Mutex::new(Window::new(window)),
            cancelled: AtomicBool::new(false),
            changed: Notify::new(),
            items,
        })
    }

    /// The call is over: no more items come.
    pub(super) fn end_items(&self) {
        if let Some(items) = &self.items {
            items.stop();
        }
    }

    /// Uses so much of the window, as soon as it is open. Cancel safe.
    ///
    /// # Errors
    /// Cancelled when nobody waits for the answer any more.
    pub(super) async fn charge(&self, bytes: usize) -> Result<(), CallError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_cancelled() {
                return Err(CallError::from(ErrorCode::Cancelled));
            }
            if self.spend(bytes) {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.changed.notify_waiters();
        self.end_items();
    }

    /// The caller takes more of the stream, or the callee of the items.
    pub(super) fn refill(&self, bytes: u32) {
        self.window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refill(bytes);
        self.changed.notify_waiters();
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn spend(&self, bytes: usize) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.is_open() && window.spend(bytes)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Answers one call, exactly once.
///
/// Dropped without an answer it tells the caller so: [`ErrorCode::HandlerPanicked`] while the thread panics, otherwise
/// [`ErrorCode::CalleeGone`]. To a caller that wants no answer nothing is sent, whatever is called here.
///
/// An answer that takes time, or a stream, is given from a future:
///
/// ```
/// use actix_ipc::actors::Responder;
/// use actix_ipc::error::{CallError, ErrorCode};
/// use actix_ipc::message::Payload;
///
/// async fn count(mut responder: Responder) -> Result<(), CallError> {
///     for number in 1..=3 {
///         let item = Payload::json(&number).map_err(|error| CallError::new(ErrorCode::Encoding, error.to_string()))?;
///         // Waits for the caller's credit; ends with an error when the caller is gone.
///         responder.more(item).await?;
///     }
///     responder.reply(Payload::default())
/// }
/// ```
pub struct Responder {
    pub(super) port: Arc<Port>,
    pub(super) running: Arc<Running>,
    pub(super) ticket: Ticket,
    pub(super) encoding: Encoding,
    pub(super) streams: bool,
    /// No answer is owed: it was given, or never wanted.
    pub(super) done: bool,
}

impl Responder {
    /// Gives the answer; for a stream, its last item (an empty one only ends it).
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`] when the payload exceeds `limits.frame_bytes` (the caller is told the same), [`ErrorCode::BrokerGone`]
    /// when there is nobody to tell any more.
    pub fn reply(self, payload: Payload) -> Result<(), CallError> {
        self.reply_with(payload, &Metadata::new())
    }

    /// Gives the answer, with metadata beside it.
    ///
    /// # Errors
    /// As [`Self::reply`], and [`ErrorCode::Invalid`] for metadata that only the broker may write.
    pub fn reply_with(mut self, payload: Payload, metadata: &Metadata) -> Result<(), CallError> {
        if let Err(error) = check(&self.port.limits, &[], &payload, metadata) {
            let error = error.ran(true);
            self.send_error(&error)?;
            return Err(error);
        }
        let draft = frame(Kind::Reply, self.ticket).meta(metadata.as_bytes());
        self.send(&draft.payload(payload.encoding, &payload.bytes))
    }

    /// Gives a value in JSON as the answer.
    ///
    /// # Errors
    /// As [`Self::reply`], and [`ErrorCode::Encoding`] when the value has no JSON form.
    pub fn reply_json<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CallError> {
        self.reply_encoded(Encoding::JSON, value)
    }

    /// Gives a value in the encoding of the call as the answer.
    ///
    /// # Errors
    /// As [`Self::reply`], and [`ErrorCode::Encoding`] when the value has no form in that encoding.
    pub fn reply_value<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CallError> {
        let encoding = self.encoding;
        self.reply_encoded(encoding, value)
    }

    fn reply_encoded<T: Serialize + ?Sized>(
        mut self,
        encoding: Encoding,
        value: &T,
    ) -> Result<(), CallError> {
        match Payload::encode(encoding, value) {
            Ok(payload) => self.reply(payload),
            Err(error) => {
                let error = unencodable(&error);
                self.send_error(&error)?;
                Err(error)
            }
        }
    }

    /// Gives an error as the answer. Codes of the handler's own are [`ErrorCode::Handler`], [`ErrorCode::NoSuchMethod`] and the like.
    ///
    /// # Errors
    /// [`ErrorCode::BrokerGone`] when there is nobody to tell any more.
    pub fn error(mut self, error: impl Into<CallError>) -> Result<(), CallError> {
        self.send_error(&error.into())
    }

    /// Sends an item of a stream and promises that more follows. Waits while the caller's window is closed
    /// (`limits.stream_window`). Cancel safe: when the future is dropped, the item was not sent.
    ///
    /// # Errors
    /// [`ErrorCode::Cancelled`] when the caller does not wait any more, [`ErrorCode::Invalid`] when it did not ask for a stream,
    /// [`ErrorCode::TooLarge`] for an item above `limits.frame_bytes`; the stream goes on after the last two.
    pub async fn more(&mut self, item: Payload) -> Result<(), CallError> {
        check_size(&self.port.limits, &item)?;
        if !self.streams {
            let text = "the caller asked for a single answer, not for a stream";
            return Err(CallError::new(ErrorCode::Invalid, text));
        }
        let draft = frame(Kind::Reply, self.ticket)
            .flags(Flags::MORE)
            .payload(item.encoding, &item.bytes);
        self.running.charge(draft.wire_len()).await?;
        self.port.push(&draft, None)
    }

    /// Whether the caller takes a stream, so that [`Self::more`] may be used.
    #[must_use]
    pub const fn takes_stream(&self) -> bool {
        self.streams
    }

    /// Whether the caller does not wait any more: it cancelled, died, or its deadline passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.running.is_cancelled()
    }

    /// Returns when the caller does not wait any more. Cancel safe; independent of the responder, which may be answered meanwhile.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let running = self.running.clone();
        async move {
            loop {
                let changed = running.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if running.is_cancelled() {
                    return;
                }
                changed.await;
            }
        }
    }

    fn send(&mut self, draft: &Draft<'_>) -> Result<(), CallError> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(());
        }
        self.port.push(draft, None)
    }

    fn send_error(&mut self, error: &CallError) -> Result<(), CallError> {
        let mut block = Metadata::new();
        if let Some(name) = &error.name {
            note(&mut block, metadata::ERROR_NAME, name);
        }
        let own_value = error.payload != Payload::default();
        if own_value {
            note(&mut block, metadata::ERROR_TEXT, &error.message);
        }
        let (encoding, bytes) = if own_value && check_size(&self.port.limits, &error.payload).is_ok() {
            (error.payload.encoding, &error.payload.bytes[..])
        } else {
            (Encoding::RAW, error.message.as_bytes())
        };
        let draft = frame(Kind::Error, self.ticket)
            .aux(error.code.code())
            .flags(Flags::NONE.with_if(error.may_have_run, Flags::MAY_HAVE_RUN))
            .meta(block.as_bytes())
            .payload(encoding, bytes);
        self.send(&draft)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let error = if std::thread::panicking() {
            CallError::from(ErrorCode::HandlerPanicked)
        } else {
            CallError::new(
                ErrorCode::CalleeGone,
                "the actor that serves the object ended, or dropped the call without an answer",
            )
        };
        // A port that is closed has answered already.
        let _ = self.send_error(&error);
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("ticket", &self.ticket)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

const fn frame<'a>(kind: Kind, ticket: Ticket) -> Draft<'a> {
    Draft::new(kind, ticket.0)
}

/// Adds a text, cut to a quarter of the block: two of them fit beside their keys.
fn note(block: &mut Metadata, key: &str, text: &str) {
    block.insert(key, cut(text, METADATA_MAX / 4)).unwrap_or_default();
}

fn unencodable(error: &PayloadError) -> CallError {
    CallError::new(ErrorCode::Encoding, error.to_string()).ran(true)
}

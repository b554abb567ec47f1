//! What a program implements to be called, and what it learns of each call.
//!
//! Owns the two traits, [`SharedObject`] for values in and out and [`Handler`] for everything else, and the types that
//! go in and come out of them. It knows nothing of sockets: [`super::serving`] runs handlers and sends what they return.

use super::content::Content;
use super::serving::OpenCall;
use super::waiters::Place;
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Encoding, Metadata, Origin, Payload, PayloadError, TraceParent};
use crate::text;
use async_trait::async_trait;
use futures::stream::{BoxStream, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// An object that takes JSON values and returns them: the simplest thing that can be called.
///
/// Calls to one object run at the same time, up to the limit of its registration. An object that has to tell
/// errors, other encodings, streams or its caller apart implements [`Handler`].
#[async_trait]
pub trait SharedObject: Send + Sync {
    /// Answers a call. The future is dropped when the caller no longer wants the answer; a panic is told to the
    /// caller as an error and costs nothing else.
    async fn call(&self, method: &str, args: &Value) -> Value;
}

#[async_trait]
impl<T: SharedObject + ?Sized> SharedObject for Arc<T> {
    async fn call(&self, method: &str, args: &Value) -> Value {
        (**self).call(method, args).await
    }
}

#[async_trait]
impl<T: SharedObject + ?Sized> SharedObject for Box<T> {
    async fn call(&self, method: &str, args: &Value) -> Value {
        (**self).call(method, args).await
    }
}

/// An object that sees the whole call and answers with a value, a stream or an error.
///
/// See [`Methods`](super::Methods) for an implementation made of typed closures.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers a call.
    ///
    /// The future is dropped when the caller cancels, its deadline passes, or the connection ends.
    ///
    /// # Errors
    /// What the caller gets instead of an answer.
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError>;
}

#[async_trait]
impl<T: Handler + ?Sized> Handler for Arc<T> {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        (**self).handle(call).await
    }
}

/// A call as its handler gets it.
#[derive(Debug)]
pub struct IncomingCall {
    /// Who calls what, and until when.
    pub context: CallContext,
    /// The parameters. They may share a buffer of 8 KiB, or of four times their length and 8 KiB, with other calls; copy
    /// what is kept for long.
    pub payload: Payload,
}

impl IncomingCall {
    /// The parameters as a Rust type.
    ///
    /// # Errors
    /// A [`HandlerError`] with [`ErrorCode::Encoding`] when the encoding is unknown here, and with
    /// [`ErrorCode::Invalid`] when the value is not such a one.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        self.payload
            .decode()
            .map_err(|error| undecodable(&self.payload, &error))
    }

    /// An answer in the encoding of the call.
    ///
    /// # Errors
    /// A [`HandlerError`] when the value has no such form.
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Response, HandlerError> {
        self.context.reply(value)
    }
}

fn undecodable(payload: &Payload, error: &PayloadError) -> HandlerError {
    let known = [Encoding::RAW, Encoding::JSON, Encoding::POSTCARD].contains(&payload.encoding);
    let code = if known {
        ErrorCode::Invalid
    } else {
        ErrorCode::Encoding
    };
    HandlerError {
        code,
        ..HandlerError::new(error.to_string())
    }
}

/// A value of a handler, written for the frame that brings it.
pub(crate) fn written<T: Serialize + ?Sized>(encoding: Encoding, value: &T) -> Result<Content, HandlerError> {
    Content::value(encoding, value).map_err(|error| HandlerError {
        code: ErrorCode::Encoding,
        ..HandlerError::new(error.to_string())
    })
}

/// Who calls what, and until when.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The name under which the object was called.
    pub object: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// The caller's connection, user and process, as the broker knows them.
    pub caller: Origin,
    /// The name that the caller's program declares. It can declare any.
    pub caller_name: Option<String>,
    /// When the caller's patience ends; for a streamed reply, the time for the first item.
    pub deadline: Instant,
    /// What the caller put beside the parameters. It may go back with the answer as it is.
    pub metadata: Metadata,
    /// The encoding of the parameters, in which the answer is expected.
    pub encoding: Encoding,
    /// What came with the parameters: file descriptors, over Unix sockets. Closed with the last clone of this.
    pub attachments: Attachments,
    /// Whether the caller takes a streamed reply.
    pub streaming: bool,
    /// Whether items follow the parameters: [`IncomingCall::items`].
    pub uploading: bool,
    pub(crate) open: Arc<OpenCall>,
}

/// Waits for the end of a call, and leaves its place there when it is dropped.
struct Watching {
    open: Arc<OpenCall>,
    place: Option<Place>,
}

impl Watching {
    fn new(open: &Arc<OpenCall>) -> Self {
        let open = Arc::clone(open);
        Self { open, place: None }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.open.poll_cancelled(&mut self.place, cx)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if self.place.is_some() {
            let waker = self.open.lock().others.leave(&mut self.place);
            drop(waker);
        }
    }
}

impl CallContext {
    /// The trace that the call belongs to, when its caller said so: what this handler sends on behalf of it takes it along.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.metadata.traceparent()
    }

    /// The span of the call: what the handler logs is inside it. Nothing is looked at when nobody listens.
    pub(super) fn span(&self) -> tracing::Span {
        tracing::debug_span!(
            target: "actix_ipc::calls",
            "call",
            object = %text::name(&self.object),
            method = %text::name(&self.method),
            caller = self.caller.peer.0,
            pid = self.caller.pid,
            name = self.caller_name.as_deref().map(|name| tracing::field::display(text::name(name))),
            traceparent = self.traceparent().map(tracing::field::display),
        )
    }

    /// An answer in the encoding of the call.
    ///
    /// # Errors
    /// A [`HandlerError`] when the value has no such form.
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Response, HandlerError> {
        written(self.encoding, value).map(Response::content)
    }

    /// Ready once nobody wants the answer any more, or it was given. The handler's own future is dropped then; this
    /// is for what it has started elsewhere. Cancel safe.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut watching = Watching::new(&self.open);
        std::future::poll_fn(move |cx| watching.poll(cx))
    }

    /// Whether nobody wants the answer any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.open.is_cancelled()
    }
}

/// What a handler answers.
#[derive(Debug)]
pub struct Response {
    pub(crate) body: Body,
    pub(crate) metadata: Metadata,
    pub(crate) attachments: Attachments,
}

pub(crate) enum Body {
    One(Content),
    Stream(BoxStream<'static, Result<Content, HandlerError>>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(content) => content.fmt(f),
            Self::Stream(_) => f.write_str("a stream"),
        }
    }
}

impl Response {
    /// One value. Up to the broker's `message_bytes`; what exceeds `frame_bytes` goes in pieces.
    #[must_use]
    pub fn payload(payload: Payload) -> Self {
        Self::content(payload.into())
    }

    pub(crate) const fn content(content: Content) -> Self {
        Self {
            body: Body::One(content),
            metadata: Metadata::new(),
            attachments: Attachments::new(),
        }
    }

    /// Many values, sent as the caller takes them. A caller that did not ask for a stream gets an error.
    pub fn stream(items: impl Stream<Item = Result<Payload, HandlerError>> + Send + 'static) -> Self {
        Self::contents(items.map(|item| item.map(Content::from)))
    }

    pub(crate) fn contents(
        items: impl Stream<Item = Result<Content, HandlerError>> + Send + 'static,
    ) -> Self {
        Self {
            body: Body::Stream(items.boxed()),
            metadata: Metadata::new(),
            attachments: Attachments::new(),
        }
    }

    /// Attaches what travels with the value, or with the end of a stream: file descriptors, over Unix sockets. The caller
    /// gets an error instead of the answer when its connection or this one does not carry them.
    #[must_use]
    pub fn with_attachments(mut self, attachments: impl Into<Attachments>) -> Self {
        self.attachments = attachments.into();
        self
    }

    /// Puts metadata beside the value, or beside the end of a stream. With keys that begin with `sys.`, which are the
    /// broker's, the caller gets an error instead of the answer.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }
}

/// What a caller gets instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    /// [`ErrorCode::Handler`] unless it is one of the library's own kinds, as [`ErrorCode::NoSuchMethod`]. With that one, NoSuchObject, Invalid,
    /// Overloaded, NoSuchProtocol and ProtocolVersion the caller is told that the call did not run; with any other that it may have.
    pub code: ErrorCode,
    /// The handler's own name for the error, to branch on.
    pub name: Option<String>,
    /// What was wrong, and what to do. What exceeds 64 KiB is cut off.
    pub message: String,
    /// A value that says more, of at most `frame_bytes`; without it, the caller gets the message only.
    pub payload: Payload,
}

impl HandlerError {
    /// An error with a text.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Handler,
            name: None,
            message: message.into(),
            payload: Payload::default(),
        }
    }

    /// The object has no such method.
    #[must_use]
    pub fn no_such_method(object: &str, method: &str) -> Self {
        Self {
            code: ErrorCode::NoSuchMethod,
            ..Self::new(format!("{object} has no method {method}"))
        }
    }

    /// The same error with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same error with a value.
    #[must_use]
    pub fn with_payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HandlerError {}

impl From<String> for HandlerError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for HandlerError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<std::io::Error> for HandlerError {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<CallError> for HandlerError {
    /// A call that this handler made has failed: its caller gets the text, the name and the value, as an error of
    /// this handler.
    fn from(error: CallError) -> Self {
        Self {
            name: error.name,
            payload: error.payload,
            ..Self::new(error.message)
        }
    }
}

impl From<PayloadError> for HandlerError {
    fn from(error: PayloadError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<serde_json::Error> for HandlerError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

fn raw_text(call: &IncomingCall) -> Result<Value, HandlerError> {
    std::str::from_utf8(&call.payload.bytes)
        .map(Value::from)
        .map_err(|error| HandlerError {
            code: ErrorCode::Invalid,
            ..HandlerError::new(format!("the raw parameters are no text: {error}"))
        })
}

/// A [`SharedObject`] as a [`Handler`]: parameters in JSON, or raw text as a string.
#[derive(Debug)]
pub(crate) struct Shared<T>(pub(crate) T);

#[async_trait]
impl<T: SharedObject + 'static> Handler for Shared<T> {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let args = match call.payload.encoding {
            Encoding::RAW if call.payload.bytes.is_empty() => Value::Null,
            Encoding::RAW => raw_text(&call)?,
            Encoding::JSON => call.args()?,
            other => {
                let text = format!(
                    "{} takes JSON, not the encoding {}",
                    call.context.object,
                    other.name()
                );
                return Err(HandlerError {
                    code: ErrorCode::Encoding,
                    ..HandlerError::new(text)
                });
            }
        };
        let value = self.0.call(&call.context.method, &args).await;
        // What came as raw text may be answered with any value, which only JSON can say.
        Payload::json(&value)
            .map(Response::payload)
            .map_err(|error| error.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Wake, Waker};

    #[test]
    fn who_waits_for_the_end_no_more_leaves_nothing_behind() {
        struct Task;
        impl Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let open = Arc::new(OpenCall::new(1, 1, 0, 0));
        for _ in 0..100 {
            let (waker, mut watching) = (Waker::from(Arc::new(Task)), Watching::new(&open));
            let cx = Context::from_waker(&waker);
            assert!(watching.poll(&cx).is_pending());
        }
        assert!(open.lock().others.is_empty());
        let mut watching = Watching::new(&open);
        open.finish();
        assert!(watching.poll(&Context::from_waker(Waker::noop())).is_ready());
    }
}

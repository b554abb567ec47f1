//! Calls: the builder, the future of one answer and the stream of many.
//!
//! Owns the options of a call and the typing of its answer; the exchange of frames is [`super::exchange`]'s.

use super::content::Content;
use super::exchange::Exchange;
use super::handle::IpcClient;
use super::names::Key;
use super::outgoing::Outgoing;
use super::request::{Answer, Reply};
use super::upload::Upload;
use crate::error::{CallError, ErrorCode};
use crate::message::{
    Attachments, Encoding, Flags, Kind, Metadata, Payload, PayloadError, TraceParent, metadata,
};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A call that is being described. Made by [`IpcClient::call`]; nothing is sent before one of the last methods'
/// results is awaited.
#[derive(Debug)]
#[must_use = "a call does nothing until it is sent and awaited"]
pub struct CallBuilder<'a> {
    client: &'a IpcClient,
    object: &'a str,
    method: &'a str,
    deadline: Option<Duration>,
    flags: Flags,
    encoding: Encoding,
    /// The number of the typed protocol whose command it is.
    #[cfg(feature = "protocol")]
    protocol: Option<u64>,
    metadata: Metadata,
    attachments: Attachments,
    items: Option<Upload>,
    trace: Option<TraceParent>,
    in_time: bool,
}

impl<'a> CallBuilder<'a> {
    pub(crate) fn new(client: &'a IpcClient, object: &'a str, method: &'a str) -> Self {
        let options = &client.handle.shared.options;
        Self {
            client,
            object,
            method,
            deadline: options.deadline,
            flags: Flags::NONE,
            encoding: options.encoding,
            #[cfg(feature = "protocol")]
            protocol: None,
            metadata: Metadata::new(),
            attachments: Attachments::new(),
            items: None,
            trace: None,
            in_time: false,
        }
    }

    /// How long the answer may take; for a streamed reply, the first item and each one after the one before. The
    /// broker caps it (an hour by default). Default: that of the client, else of the broker (30 s).
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// When no such object is registered, waits for it until the deadline instead of failing.
    pub const fn wait_for_object(mut self) -> Self {
        self.flags = self.flags.with(Flags::WAIT);
        self
    }

    /// The encoding of the parameters, and so of the answer.
    pub const fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// What goes beside the parameters, at most 8 KiB.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The trace that the call belongs to, and what caused it: goes beside the parameters, in the metadata, to the handler
    /// ([`CallContext::traceparent`](super::CallContext::traceparent)) and into the logs.
    pub const fn traceparent(mut self, parent: TraceParent) -> Self {
        self.trace = Some(parent);
        self
    }

    /// What travels with the parameters: over Unix sockets file descriptors, at most 16 by default. They are shared with
    /// the callee, and closed here once they are sent and dropped. Over other transports, and when the callee's
    /// connection is another one, the call fails with TooLarge and has not run.
    pub fn attachments(mut self, attachments: impl Into<Attachments>) -> Self {
        self.attachments = attachments.into();
        self
    }

    /// Items that follow the parameters, in the encoding that the builder has now. The handler gets them as [`IncomingCall::items`], and
    /// may begin and end before the last one. See [`item_payloads`](Self::item_payloads).
    ///
    /// [`IncomingCall::items`]: super::IncomingCall::items
    pub fn items<T: Serialize>(self, items: impl Stream<Item = T> + Send + 'static) -> Self {
        let encoding = self.encoding;
        let write = move |item| Content::value(encoding, &item).map_err(|error| not_sent(&error));
        self.contents(Upload::new(items.map(write)))
    }

    /// The same with payloads as they are; each is at most `limits.frame_bytes` long, and so are the parameters.
    ///
    /// The stream is polled, and its items are sent, while the call's future or its streamed reply is polled, as the callee takes
    /// them: it sends at most the broker's window ahead (256 KiB by default). The deadline is then for the time between two items, sent
    /// or taken, and behind the last one for the answer. When the call is over before the stream is, the rest of it is dropped.
    /// An error of the stream takes the call back and becomes its error.
    pub fn item_payloads(
        self,
        items: impl Stream<Item = Result<Payload, CallError>> + Send + 'static,
    ) -> Self {
        self.contents(Upload::new(items.map(|item| item.map(Content::from))))
    }

    fn contents(mut self, items: Upload) -> Self {
        self.items = Some(items);
        self.flags = self.flags.with(Flags::ITEMS).with(Flags::CONTINUED);
        self
    }

    /// The call with these parameters. Await it for the answer.
    pub fn send<P: Serialize + ?Sized, R: DeserializeOwned>(self, params: &P) -> Call<R> {
        Call {
            exchange: self.typed(params),
            answer: PhantomData,
        }
    }

    /// The call with a payload as it is. Await it for the answer's payload.
    pub fn send_payload(self, payload: Payload) -> PayloadCall {
        PayloadCall {
            exchange: self.exchange(payload),
        }
    }

    /// The call without an answer: nobody tells whether it arrived. Ready when it stands in the connection's buffer, from which the socket
    /// takes it at once or a moment later; what the connection's end, or the process's, leaves there is lost.
    ///
    /// # Errors
    /// NotConnected, Encoding, TooLarge or Invalid (with items, too), all without the call having been sent.
    pub async fn no_reply<P: Serialize + ?Sized>(self, params: &P) -> Result<(), CallError> {
        self.notify(params).await
    }

    /// Without an answer, but given up at its deadline when it could not be sent by then.
    #[cfg_attr(
        not(feature = "protocol"),
        allow(dead_code, reason = "only handlers of typed protocols use it")
    )]
    pub(crate) const fn in_time(mut self, in_time: bool) -> Self {
        self.in_time = in_time;
        self
    }

    /// The same as a future with a name.
    pub(crate) fn notify<P: Serialize + ?Sized>(mut self, params: &P) -> Sent {
        self.flags = self.flags.with(Flags::NO_REPLY);
        Sent {
            exchange: self.typed(params),
        }
    }

    /// The same with a payload as it is.
    ///
    /// # Errors
    /// As [`no_reply`](Self::no_reply).
    pub async fn no_reply_payload(mut self, payload: Payload) -> Result<(), CallError> {
        self.flags = self.flags.with(Flags::NO_REPLY);
        let exchange = self.exchange(payload);
        Sent { exchange }.await
    }

    /// The call with a streamed reply. The callee sends as much as the broker's window allows (256 KiB by default);
    /// more is asked for as items are taken. An object that answers with one value makes a stream of one item.
    pub fn stream<P: Serialize + ?Sized, T: DeserializeOwned>(mut self, params: &P) -> ReplyStream<T> {
        self.flags = self.flags.with(Flags::STREAM);
        ReplyStream {
            inner: PayloadStream {
                exchange: self.typed(params).streaming(),
            },
            item: PhantomData,
        }
    }

    /// A command of the typed protocol with this number; the parameters and items are in postcard.
    #[cfg(feature = "protocol")]
    pub(crate) const fn command(mut self, protocol: u64) -> Self {
        self.protocol = Some(protocol);
        self.encoding(Encoding::POSTCARD)
    }

    /// The same with payloads as they are.
    pub fn stream_payload(mut self, payload: Payload) -> PayloadStream {
        self.flags = self.flags.with(Flags::STREAM);
        PayloadStream {
            exchange: self.exchange(payload).streaming(),
        }
    }

    /// The call with parameters that are written where their frame will stand.
    fn typed<P: Serialize + ?Sized>(self, params: &P) -> Exchange {
        #[cfg(feature = "protocol")]
        let protocol = self.protocol;
        let encoding = self.encoding;
        let write = |head| {
            #[cfg(feature = "protocol")]
            if let Some(protocol) = protocol {
                return Content::command(head, protocol, params);
            }
            Content::behind(head, encoding, params)
        };
        self.prepare(|head| write(head).map_err(|error| not_sent(&error)))
    }

    fn exchange(self, payload: Payload) -> Exchange {
        self.prepare(|_| Ok(payload.into()))
    }

    /// The call with what `write` makes for a frame whose head has so many bytes.
    fn prepare(mut self, write: impl FnOnce(usize) -> Result<Content, CallError>) -> Exchange {
        let handle = self.client.handle.clone();
        let items = self.items.take();
        let outgoing = self.outgoing().and_then(|mut outgoing| {
            let head = outgoing.parts(0).0.wire_len();
            outgoing.content = write(head)?;
            Ok(outgoing)
        });
        Exchange::new(handle, outgoing).uploading(items)
    }

    /// All of it but the parameters.
    fn outgoing(mut self) -> Result<Outgoing, CallError> {
        if self.flags.has(Flags::ITEMS.with(Flags::NO_REPLY)) {
            return Err(invalid("a call with items has an answer; await it"));
        }
        let key = Key::pair(self.object, self.method)?;
        check_metadata(&self.metadata)?;
        add_trace(&mut self.metadata, self.trace)?;
        Ok(Outgoing {
            attachments: self.attachments,
            flags: self.flags,
            metadata: self.metadata,
            deadline: self.deadline,
            in_time: self.in_time,
            ..Outgoing::plain(Kind::Call, key)
        })
    }
}

/// Whether peers may send this metadata.
///
/// # Errors
/// Invalid.
#[inline]
pub(crate) fn check_metadata(block: &Metadata) -> Result<(), CallError> {
    if block.is_empty() {
        return Ok(());
    }
    metadata::check_from_peer(block.as_bytes()).map_err(|error| invalid(error.to_string()))
}

/// Puts the trace context beside what goes with a request.
///
/// # Errors
/// Invalid, when there is no room.
#[inline]
pub(crate) fn add_trace(block: &mut Metadata, trace: Option<TraceParent>) -> Result<(), CallError> {
    match trace {
        None => Ok(()),
        Some(parent) => block
            .set_traceparent(parent)
            .map_err(|error| invalid(error.to_string())),
    }
}

pub(crate) fn invalid(text: impl Into<String>) -> CallError {
    CallError::new(ErrorCode::Invalid, text).ran(false)
}

/// A value that could not be encoded, so that nothing was sent.
pub(crate) fn not_sent(error: &PayloadError) -> CallError {
    CallError::new(ErrorCode::Encoding, error.to_string()).ran(false)
}

/// An answer that is there but cannot be decoded.
fn undecodable(error: &PayloadError) -> CallError {
    CallError::new(
        ErrorCode::Encoding,
        format!("the call ran, but its answer is another one: {error}"),
    )
    .ran(true)
}

fn reply_of(answer: Answer) -> Reply {
    match answer {
        Answer::Reply(reply) => reply,
        Answer::Number(_) => Reply::default(),
    }
}

/// The future of a call's answer.
///
/// The call is sent when this is first polled: at once, or when there is room in the client's out-buffer. It ends in
/// exactly one way, at the latest one to two seconds after its deadline (when the broker is stopped), which begins with that first poll:
/// what could not be sent by then ends with Deadline, unrun. Dropping it cancels the call at the callee.
///
/// # Errors
/// A [`CallError`] whose `may_have_run` tells whether it is safe to try again. Its code is one of the broker's, or:
/// NotConnected when there was no connection, BrokerGone when it ended meanwhile, Encoding when the parameters or
/// the answer do not suit their encoding, Invalid for names and metadata that are not allowed.
#[derive(Debug)]
#[must_use = "a call is not sent until it is awaited"]
pub struct Call<R> {
    exchange: Exchange,
    answer: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Future for Call<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.exchange.poll_answer(cx).map(|answer| {
            let reply = reply_of(answer?);
            reply.payload.decode().map_err(|error| undecodable(&error))
        })
    }
}

/// The future of a call without an answer. Ready when the call stands in the connection's buffer, from which the socket takes it at once
/// or a moment later (what the connection's end, or the process's, leaves there is lost); waits while there is no room for it, and has
/// no deadline for that: it waits as long as the other side is slow and the connection lasts. Dropping it before that may leave the
/// call unsent; who wants a limit drops it when the time is over.
///
/// # Errors
/// NotConnected, Encoding, TooLarge or Invalid, all without the call having been sent.
#[derive(Debug)]
#[must_use = "a call is not sent until it is awaited"]
pub struct Sent {
    exchange: Exchange,
}

impl Future for Sent {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sent = self.exchange.poll_sent(cx);
        if matches!(sent, Poll::Ready(Ok(()))) {
            self.exchange.forget();
        }
        sent
    }
}

/// The future of a call's answer as it arrived. As [`Call`], but for the decoding.
#[derive(Debug)]
#[must_use = "a call is not sent until it is awaited"]
pub struct PayloadCall {
    exchange: Exchange,
}

impl PayloadCall {
    /// Waits for the answer with its metadata and attachments.
    ///
    /// # Errors
    /// As [`Call`].
    pub async fn with_metadata(mut self) -> Result<Reply, CallError> {
        std::future::poll_fn(|cx| self.exchange.poll_answer(cx))
            .await
            .map(reply_of)
    }
}

impl Future for PayloadCall {
    type Output = Result<Payload, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.exchange
            .poll_answer(cx)
            .map(|answer| answer.map(|answer| reply_of(answer).payload))
    }
}

/// The items of a streamed reply, in order. After an error nothing follows. Dropping it cancels the call. Cancel safe.
#[derive(Debug)]
#[must_use = "a call is not sent until its stream is polled"]
pub struct ReplyStream<T> {
    inner: PayloadStream,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> ReplyStream<T> {
    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T, CallError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T: DeserializeOwned> Stream for ReplyStream<T> {
    type Item = Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(item) = ready!(Pin::new(&mut self.inner).poll_next(cx)) else {
            return Poll::Ready(None);
        };
        let item = item.and_then(|reply| reply.payload.decode().map_err(|error| undecodable(&error)));
        if item.is_err() {
            self.inner.exchange.take_back();
        }
        Poll::Ready(Some(item))
    }
}

/// The items of a streamed reply as they arrived. As [`ReplyStream`], but for the decoding.
#[derive(Debug)]
#[must_use = "a call is not sent until its stream is polled"]
pub struct PayloadStream {
    exchange: Exchange,
}

impl PayloadStream {
    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Reply, CallError>> {
        std::future::poll_fn(|cx| self.exchange.poll_item(cx)).await
    }
}

impl Stream for PayloadStream {
    type Item = Result<Reply, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.exchange.poll_item(cx)
    }
}

//! Streams of typed values: what a handler answers one by one, and what follows a request.
//!
//! Owns the types that the macros name for both, and the encoding of each item. Credit, order and ends are the client library's.

use super::dispatch::Request;
use super::error::{Error, Result};
use crate::client::{IncomingItems, Response, written};
use crate::error::{CallError, ErrorCode};
use crate::message::{Encoding, Payload};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a command answers one by one. The caller takes each when it is ready for it: the stream is polled as far as its window
/// (256 KiB by default) reaches. An error ends it, and is the caller's last item.
///
/// ```
/// use actix_ipc::protocol::{Error, Items};
///
/// let numbers: Items<u64> = (1..=3).collect();
/// let lines = Items::values(futures::stream::iter(["one", "two"]));
/// let broken: Items<u64> = Items::new(futures::stream::iter([Ok(1), Err(Error::new("the disk is gone"))]));
/// # drop((numbers, lines, broken));
/// ```
pub struct Items<T>(BoxStream<'static, Result<T>>);

impl<T: 'static> Items<T> {
    /// Values, and why there are no more of them.
    #[must_use]
    pub fn new(items: impl Stream<Item = Result<T>> + Send + 'static) -> Self {
        Self(items.boxed())
    }

    /// Values without errors.
    #[must_use]
    pub fn values(items: impl Stream<Item = T> + Send + 'static) -> Self {
        Self::new(items.map(Ok))
    }
}

impl<T: Send + 'static> FromIterator<T> for Items<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let values: Vec<T> = values.into_iter().collect();
        Self::values(stream::iter(values))
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Items")
    }
}

/// What follows a request, in order. Items that are not taken hold the caller back.
///
/// After an error, which tells that an item could not be read or that the call was over too early, nothing follows. Cancel safe.
#[derive(Debug)]
pub struct Incoming<T> {
    items: Option<IncomingItems>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Incoming<T> {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// Cancelled when the call is over before its items are, Invalid and Encoding when an item is not of this type.
    pub async fn next(&mut self) -> Option<std::result::Result<T, CallError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T: DeserializeOwned> Stream for Incoming<T> {
    type Item = std::result::Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(items) = &mut self.items else {
            return Poll::Ready(None);
        };
        let next = std::task::ready!(items.poll_next_unpin(cx));
        let item = next.map(|item| item.and_then(|payload| decode(&payload)));
        if !matches!(item, Some(Ok(_))) {
            self.items = None;
        }
        Poll::Ready(item)
    }
}

/// An item in one of the encodings that protocols have.
fn decode<T: DeserializeOwned>(payload: &Payload) -> std::result::Result<T, CallError> {
    let error = match payload.encoding {
        Encoding::POSTCARD | Encoding::JSON => match payload.decode() {
            Ok(value) => return Ok(value),
            Err(error) => CallError::new(
                ErrorCode::Invalid,
                format!("an item of the request cannot be read: {error}"),
            ),
        },
        other => {
            let text = format!(
                "items come as postcard or JSON, not in the encoding {}",
                other.name()
            );
            CallError::new(ErrorCode::Encoding, text)
        }
    };
    Err(error.ran(true))
}

impl Request {
    /// The items that follow the request; none at all when the caller sends none. They are handed out once.
    #[must_use]
    pub fn items<T: DeserializeOwned>(&self) -> Incoming<T> {
        Incoming {
            items: Some(self.call.items()),
            item: PhantomData,
        }
    }

    /// A streamed answer in the encoding that the caller expects. Who did not ask for a stream is told so.
    #[must_use]
    pub fn reply_stream<T: Serialize + 'static>(&self, items: Items<T>) -> Response {
        let encoding = self.answer_encoding();
        Response::contents(items.0.map(move |item| {
            let value = item.map_err(Error::into_inner)?;
            written(encoding, &value)
        }))
    }
}

//! An object made of typed closures, one per method.
//!
//! Owns the table from method to closure, the decoding of parameters and the encoding of results; everything else is
//! [`super::handler`]'s.

use super::handler::{CallContext, Handler, HandlerError, IncomingCall, Response, written};
use crate::likeness::nearest;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;

type Method = Box<dyn Fn(IncomingCall) -> BoxFuture<'static, Result<Response, HandlerError>> + Send + Sync>;

/// A [`Handler`] built from closures. A call of a method that is not in it ends with
/// [`NoSuchMethod`](crate::error::ErrorCode::NoSuchMethod).
///
/// ```
/// use actix_ipc::client::{HandlerError, Methods};
///
/// let math = Methods::new()
///     .method("div", |(a, b): (i64, i64), _context| async move {
///         a.checked_div(b).ok_or_else(|| HandlerError::new("division by zero").named("math.zero"))
///     })
///     .stream("count", |to: u64, _context| futures::stream::iter((0..to).map(Ok)));
/// # let _ = math;
/// ```
#[derive(Default)]
pub struct Methods {
    table: HashMap<Box<str>, Method>,
}

impl Methods {
    /// An object without methods.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a method that answers with one value. An earlier one of the same name is replaced.
    #[must_use]
    pub fn method<A, R, F, Fut>(mut self, name: &str, run: F) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        R: Serialize,
        F: Fn(A, CallContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    {
        let method: Method = Box::new(move |call| {
            let context = call.context.clone();
            match call.args::<A>() {
                Ok(args) => {
                    let running = run(args, call.context);
                    Box::pin(async move { context.reply(&running.await?) })
                }
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        });
        self.table.insert(name.into(), method);
        self
    }

    /// Adds a method that answers with a stream of values.
    #[must_use]
    pub fn stream<A, R, F, S>(mut self, name: &str, run: F) -> Self
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(A, CallContext) -> S + Send + Sync + 'static,
        S: Stream<Item = Result<R, HandlerError>> + Send + 'static,
    {
        let method: Method = Box::new(move |call| {
            let encoding = call.context.encoding;
            let response = call.args::<A>().map(|args| {
                let items = run(args, call.context);
                Response::contents(items.map(move |item| item.and_then(|item| written(encoding, &item))))
            });
            Box::pin(std::future::ready(response))
        });
        self.table.insert(name.into(), method);
        self
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.table.keys()).finish()
    }
}

#[async_trait]
impl Handler for Methods {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        match self.table.get(&*call.context.method) {
            Some(method) => method(call).await,
            None => {
                let method = &*call.context.method;
                let mut error = HandlerError::no_such_method(&call.context.object, method);
                if let Some(near) = nearest(method, self.table.keys().map(|name| &**name)) {
                    error.message.push_str(&format!("; did you mean {near}?"));
                }
                Err(error)
            }
        }
    }
}

//! Who calls, for the code that answers a command.
//!
//! Owns the place where a handler finds the context of its call while it is polled: a reference, lent for that poll, so that
//! a handler that does not ask pays for nothing. Set by [`Request::scope`](super::Request::scope).

use crate::client::CallContext;
use std::pin::pin;

scoped_tls::scoped_thread_local!(static CURRENT: CallContext);

/// The context of the command that is being answered: who calls, until when, with which metadata and attachments. `None` outside
/// of a handler: in a task that it has spawned, and in the stream that it has returned. These take what they need along.
///
/// The answer is a copy; who asks often keeps it.
#[must_use]
pub fn context() -> Option<CallContext> {
    CURRENT.is_set().then(|| CURRENT.with(CallContext::clone))
}

/// Whether a handler asks.
pub(super) fn is_in_handler() -> bool {
    CURRENT.is_set()
}

/// Runs a handler so that it finds this context.
pub(super) async fn within<F: Future>(context: &CallContext, handler: F) -> F::Output {
    let mut handler = pin!(handler);
    std::future::poll_fn(|cx| CURRENT.set(context, || handler.as_mut().poll(cx))).await
}

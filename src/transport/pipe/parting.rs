//! What a pipe's stream leaves behind when it is dropped: bytes that the other end has not made room for, and handles that it has not
//! taken.
//!
//! Owns the waiting for both, and its limits. The reactor never gives up a write, so that a client which reads nothing would keep an end
//! and its buffers for as long as it likes, of a connection that nobody counts any more. And the values of handles mean something else
//! as soon as their handles are closed. Called by [`stream`](super::stream), when a stream goes.

use super::stream::Open;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long the other end has to make room for what was written to it last, and a client to take what was given to it or to leave: as long
/// as a broker waits until a goodbye is written.
const WRITE_WAIT: Duration = Duration::from_secs(1);
/// How long a server has to take handles whose client has gone: as long as it may be busy when somebody connects.
const TAKEN_WAIT: Duration = Duration::from_secs(10);

/// Gives up what is not finished when it is dropped: after its time, or because nothing drives it any more.
struct Parting(Arc<Open>);

/// Sees to the rest of a connection whose stream is gone. Without a runtime there is no rest.
pub(super) fn begin(open: Arc<Open>) {
    let parting = Parting(open);
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn(parting.finish()));
    }
}

impl Parting {
    async fn finish(self) {
        let limit = match self.0.lends_own() {
            true => TAKEN_WAIT,
            false => WRITE_WAIT,
        };
        let _ = tokio::time::timeout(limit, poll_fn(|cx| self.0.poll_finished(cx))).await;
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

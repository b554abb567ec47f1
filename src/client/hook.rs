//! What somebody who knows more about the broker's process tells a client of it.
//!
//! Owns two hints: the broker has died, whatever its socket says, and there is a new one. A client works without them, only later. It does not
//! keep the client alive. Called by `bus::host`.

use super::handle::IpcClient;
use super::shared::Shared;
use super::state::Phase;
use std::sync::{Arc, Weak};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct ClientHook(Weak<Shared>);

impl IpcClient {
    /// The way to give this client hints.
    pub(crate) fn hook(&self) -> ClientHook {
        ClientHook(Arc::downgrade(&self.handle.shared))
    }
}

impl ClientHook {
    /// Whether the client is there still.
    pub(crate) fn is_in_use(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// This process has died: a connection to it ends now. One to its successor, which may be there already, goes on.
    pub(crate) fn give_up(&self, server: u32) {
        if let Some(shared) = self.0.upgrade() {
            let stream = match &shared.lock().phase {
                Phase::Up(stream) => Some(Arc::clone(stream)),
                Phase::Down | Phase::Closed(_) => None,
            };
            if let Some(stream) = stream {
                stream.give_up(server);
            }
        }
    }

    /// A broker is there: the next attempt need not wait for its time.
    pub(crate) fn try_now(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.retry.notify_one();
        }
    }
}

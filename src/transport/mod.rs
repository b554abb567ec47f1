//! Bytes and descriptors in and out, and who is at the other end.
//!
//! Owns endpoints, listeners, streams and the peer's credentials on every platform. It knows no frame and no actor:
//! a user asks whether a [`Stream`] is ready, reads into its own buffer, writes its own slices. The broker's
//! Listener and Connection and the client's socket actor are the callers.
//!
//! ```text
//! Listener::bind ─► poll_accept ─► Accepted { socket, credentials } ─► socket.register() ─► Stream
//! connect ────────────────────────────────────────────────────────────────────────────────► Stream
//! ```

mod accept;
#[cfg(feature = "cli")]
pub(crate) mod check;
pub mod credentials;
pub mod dialect;
pub mod endpoint;
#[cfg(feature = "inject-faults")]
pub mod inject;
#[cfg(not(feature = "inject-faults"))]
mod inject;
pub mod keepalive;
mod listener;
#[cfg(target_os = "linux")]
mod loopback;
#[cfg(windows)]
#[path = "loopback/windows.rs"]
mod loopback;
pub mod memory;
mod passed;
pub mod passing;
#[cfg(windows)]
pub mod pipe;
// Nothing in it is of one system, so it is tested on each.
#[cfg(all(test, not(windows)))]
#[path = "pipe/portions.rs"]
mod portions;
pub mod region;
pub mod ring;
mod stream;
pub mod tcp;
pub mod tls;
#[cfg(unix)]
pub mod unix;

pub(crate) use credentials::Named;
#[cfg(all(windows, feature = "bus"))]
pub(crate) use credentials::current_sid;
pub use credentials::{PeerCredentials, WindowsUser, current_uid};
pub use endpoint::{Endpoint, EndpointError};
pub use listener::{Accepted, BindError, BindOptions, Listener, UnixOptions};
pub use memory::{Faults, MemoryOptions};
pub use passed::PassedError;
pub use passing::Passing;
pub(crate) use stream::connect_known;
pub use stream::{ConnectOptions, Obstacle, Socket, Stream, connect, connect_with};
pub use tls::{TlsClient, TlsServer};

/// Most attachments of one write, and of one read. A control message of this size fits in every kernel's limits and
/// on the reader's stack.
pub const ATTACHMENTS_MAX: usize = 16;
/// Connections that may wait to be accepted. Linux caps it at `net.core.somaxconn` (4,096 by default); a client that
/// finds the queue full tries again for a while.
const BACKLOG: i32 = 4096;

/// Whether an attachment is a Unix socket. Those can carry descriptors themselves, even their own.
#[must_use]
pub fn is_unix_socket(attachment: &crate::message::Attachment) -> bool {
    #[cfg(unix)]
    return unix::is_unix_socket(attachment);
    #[cfg(not(unix))]
    return attachment.is::<std::convert::Infallible>();
}

/// Whether attachments may go to several receivers without their sender's word: each is memory whose contents and size are
/// sealed, and whose seals are (Linux), so that no receiver can change what another one reads.
#[must_use]
pub fn may_share(attachments: &[crate::message::Attachment]) -> bool {
    #[cfg(unix)]
    return attachments.iter().all(unix::is_sealed);
    #[cfg(not(unix))]
    return attachments.is_empty();
}

/// Why an attachment was not taken over although it came: over Windows pipes it may be no handle, or of a kind that is not lent. It stands
/// in its place until its sender is answered. A broker's [`Passing`] is judged by what is inside.
#[must_use]
pub fn withheld(attachment: &crate::message::Attachment) -> Option<&'static str> {
    #[cfg(windows)]
    return passing::inside(attachment)?
        .downcast_ref::<pipe::Withheld>()
        .map(|withheld| withheld.0);
    #[cfg(not(windows))]
    return attachment.downcast_ref::<std::convert::Infallible>().map(|_| "");
}

/// The number of an attachment's descriptor; `None` for what has none.
#[must_use]
pub fn descriptor_number(attachment: &crate::message::Attachment) -> Option<usize> {
    #[cfg(unix)]
    return unix::number(attachment);
    #[cfg(not(unix))]
    return attachment.downcast_ref::<std::convert::Infallible>().map(|_| 0);
}

/// The guard of `mutex`, also after a panic of its last holder: what these mutexes hold is changed in single steps.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

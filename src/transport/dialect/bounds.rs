//! How much of an old client is kept, and for how long it is made to wait.
//!
//! Owns the numbers as a gateway gets them; what each is for, and its usual value, is written at the `dialect_…` fields of
//! [`Limits`](crate::config::Limits). Called by whoever makes a gateway.

/// What is read of a client at first, and while there is no memory for more, in bytes: it may be kept without being charged, and the answers
/// to it are as few.
pub const BITE: usize = 2 * 1024;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Answers that may be unread, in bytes: beyond them nothing more of the client is understood.
    pub unread_bytes: usize,
    /// The largest document of ipc-server, in bytes.
    pub document_bytes: usize,
    /// How long ipc-server's `wait_for_objects` is answered late at most, in ms.
    pub patience_ms: u32,
    /// Time between two documents for a client of ipc-server that it has not asked for, in ms. 0: none.
    pub gap_ms: u32,
    /// How long a client of ipc-server has to say nothing behind an event before that is acknowledged, in ms. 0: it need not.
    /// [`u32::MAX`]: none is.
    pub ack_ms: u32,
    /// Calls that may wait for their turn at a client that takes one at a time. One may in any case.
    pub calls: usize,
    /// The bytes of these calls. One always fits.
    pub call_bytes: usize,
}

//! Every number that bounds the broker, with its unit and its reason.
//!
//! Owns the values and their defaults; where they come from (file, environment, flags) is `settings`' business.

#[cfg_attr(
    not(feature = "protocol"),
    allow(dead_code, reason = "only typed protocols use it")
)]
pub(crate) mod peers;

use serde::{Deserialize, Serialize};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What each connection is charged of `memory_bytes_total` for itself, in bytes: its actor, and the first bytes of what is kept for it.
pub const CONNECTION_COST: usize = 32 * KIB;

/// What one connection, and the broker as a whole, may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest payload of one frame, in bytes. Larger ones would delay everything behind them; they go in pieces.
    pub frame_bytes: usize,
    /// Largest message in pieces, in bytes.
    pub message_bytes: usize,
    /// What one connection may have waiting to be written to it, in bytes; events at most half of it. The broker's own frames
    /// to it (answers, notices, credit) have as much for themselves: above half of it the connection is not read.
    pub outbox_bytes: usize,
    /// Bytes read from one connection and not yet handled by Registry or TopicHub.
    pub read_bytes: usize,
    /// The same for all connections together.
    pub read_bytes_total: usize,
    /// Publish window of one connection, in bytes on the wire: what it may publish before TopicHub has caught up.
    pub publish_window: usize,
    /// Window of one streamed reply or one message in pieces, in bytes on the wire.
    pub stream_window: usize,
    /// Calls one connection may have open as their caller. More is an error, never a wait: two peers that call
    /// each other must not lock.
    pub open_calls: usize,
    /// Names (and places in queues and groups) one connection may hold.
    pub names: usize,
    /// Subscriptions one connection may hold.
    pub subscriptions: usize,
    /// Waits and watches one connection may have open.
    pub watches: usize,
    /// Connections at once. Shared: one process gets a part of it, see [`Limits::user_part`].
    pub connections: usize,
    /// Connections that have not finished their handshake. Shared like `connections`, so that who leaves handshakes unfinished
    /// runs out of its own places.
    pub handshakes: usize,
    /// Bytes that the broker keeps for peers, all together: what is queued for them, open calls, started frames, names with
    /// their descriptions, subscriptions, waits, watches and wills. Shared like `connections`. The limits of one connection
    /// times the connections would be more than any machine has.
    pub memory_bytes_total: usize,
    /// One user gets at most this part (1/n) of `connections`, `handshakes`, `memory_bytes_total` and `retained_bytes_total`; its
    /// processes share it so that the n-th of them is assured 1/(2n(n+1)) of it whatever the others take: one alone has half.
    /// Twice the number of users that may be greedy at once; 4 suits a broker of one user and root.
    pub user_part: usize,
    /// Descriptors that one frame may carry, at most 16 (the kernel's own bound is 253): what a receiver opens before it can judge
    /// them. 0: none.
    pub attachments: usize,
    /// Descriptors of one connection that the broker holds: received, and not yet sent on and closed.
    pub descriptors: usize,
    /// The same for all connections of one user.
    pub descriptors_per_user: usize,
    /// The same for all connections. Never more than a quarter of the limit of open files, whose last 64 are the broker's own in any
    /// case: it could not accept or wait without them.
    pub descriptors_total: usize,
    /// Time for a descriptor, in ms: to be taken by a frame once it has come, and to be read by its receiver once it is that one's turn.
    pub descriptor_wait_ms: u32,
    /// Whether Unix sockets may be attached. A socket can carry descriptors itself, even its own, and then only the kernel's collector
    /// gets rid of it.
    pub attach_unix_sockets: bool,
    /// Bytes of each direction of the memory that the broker shares with a client of its own user that asks for it (Linux, Unix
    /// sockets): a power of two from 65,536 to 16,777,216. Not part of `memory_bytes_total`. 0: none.
    pub ring_bytes: usize,
    /// All such memory together, in bytes, both directions; clients beyond it stay on their sockets. Shared among processes like
    /// `connections`: the only one gets half, so four times `ring_bytes` is the least. At most 512 GiB: more is a slip.
    pub ring_bytes_total: usize,
    /// Window of the messages that one connection sends on the label bus, in bytes on the wire: what may be on its way and not taken
    /// by its receivers.
    pub send_window: usize,
    /// Endpoints of the label bus that one connection may have.
    pub endpoints: usize,
    /// The same for all connections.
    pub endpoints_total: usize,
    /// Time in which an endpoint must take something while messages wait for it, in ms; after that their senders wait no longer.
    pub endpoint_stall_ms: u32,
    /// Largest retained value, in bytes.
    pub retained_bytes: usize,
    /// All retained values together, in bytes. Shared like `connections`: a publisher fills its process's share, not the table.
    pub retained_bytes_total: usize,
    /// Deadline of a call that names none, in ms.
    pub default_deadline_ms: u32,
    /// Longest deadline, in ms. There is no "never": a call that nobody ends is a leak.
    pub max_deadline_ms: u32,
    /// Time for the handshake, in ms.
    pub handshake_ms: u32,
    /// Time for a started frame to make progress, in ms.
    pub frame_progress_ms: u32,
    /// Silence of a TCP peer after which it is asked whether it is still there, in ms; after four times as long without a byte it
    /// is gone. Of other transports the system tells. 0: never asked.
    pub keepalive_ms: u32,
    /// Time that the open calls of a client of an older format have once it has ended its sending, in ms; then they are cancelled and
    /// their callees told. Such programs end both directions at once, which over TCP looks the same.
    pub dialect_linger_ms: u32,
    /// Bytes of answers to its own requests that a client of an older format may leave unread before nothing more of it is read. What
    /// others have for it does not count: it may be about to answer a call, and must not be kept from that.
    pub dialect_unread_bytes: usize,
    /// Largest document of a client of ipc-server 0.1.10, and largest value that it is given, in bytes. Its own broker has no limit; this is
    /// that of one frame, less what stands around a value. (Frames of ipc-broker 1.1.5 have at most the 65,536 bytes of their format.)
    pub dialect_document_bytes: usize,
    /// How long `wait_for_objects` of ipc-server 0.1.10 is answered late at most, in ms: its programs ask again at once as long as an
    /// object is missing.
    pub dialect_patience_ms: u32,
    /// Time between two documents that a client of ipc-server 0.1.10 has not asked for, in ms: its own programs take what one read brings for one
    /// document. 0: none, for programs that find the end of a document themselves; they hear as much as they can read.
    pub dialect_gap_ms: u32,
    /// Silence of a client of ipc-server 0.1.10 behind an event of its own before that is acknowledged, in ms: the Rust library of ipc-server never
    /// reads the acknowledgement, and takes it for the answer to its next call, others wait for it. 0: each at once, as its own broker does;
    /// 4,294,967,295: none.
    pub dialect_ack_ms: u32,
    /// Calls that wait for their turn at one client of ipc-server 0.1.10, whose programs take one at a time.
    pub dialect_calls: usize,
    /// The bytes of these calls. One always fits.
    pub dialect_call_bytes: usize,
    /// Longest that a subscriber without progress holds its publishers back, in ms.
    pub hold_ms: u32,
    /// Panics of different authors within ten seconds that a core actor survives.
    pub panic_budget: u32,
    /// Panics of one author within ten seconds after which it is closed and its process refused for a minute.
    pub panics_per_author: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 16 * MIB,
            message_bytes: 256 * MIB,
            outbox_bytes: 8 * MIB,
            read_bytes: 256 * KIB,
            read_bytes_total: 64 * MIB,
            publish_window: MIB,
            stream_window: 256 * KIB,
            open_calls: 4_096,
            names: 65_536,
            subscriptions: 65_536,
            watches: 4_096,
            connections: 16_384,
            handshakes: 4_096,
            memory_bytes_total: 512 * MIB,
            user_part: 4,
            attachments: 16,
            descriptors: 64,
            descriptors_per_user: 4_096,
            descriptors_total: 16_384,
            descriptor_wait_ms: 10_000,
            attach_unix_sockets: false,
            ring_bytes: 256 * KIB,
            ring_bytes_total: 128 * MIB,
            send_window: MIB,
            endpoints: 256,
            endpoints_total: 65_536,
            endpoint_stall_ms: 10_000,
            retained_bytes: 64 * KIB,
            retained_bytes_total: 64 * MIB,
            default_deadline_ms: 30_000,
            max_deadline_ms: 3_600_000,
            handshake_ms: 10_000,
            frame_progress_ms: 10_000,
            keepalive_ms: 15_000,
            dialect_linger_ms: 2_000,
            dialect_unread_bytes: 64 * KIB,
            dialect_document_bytes: 16 * MIB - 8 * KIB,
            dialect_patience_ms: 1_000,
            dialect_gap_ms: 1,
            dialect_ack_ms: 20,
            dialect_calls: 1_024,
            dialect_call_bytes: 16 * MIB,
            hold_ms: 100,
            panic_budget: 5,
            panics_per_author: 3,
        }
    }
}

/// How to raise a limit, as texts of errors say it.
#[must_use]
pub fn raise(key: &str) -> String {
    let variable = key.to_ascii_uppercase();
    format!("raise limits.{key} of the broker (its configuration file, or IPC_BROKER_LIMITS__{variable})")
}

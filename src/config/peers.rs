//! Every number that bounds what two programs without a broker between them do to each other, with its unit and its reason.
//!
//! Owns the values; what a program may choose itself has these as its defaults (`protocol::RpcLimits` and the builders).

use super::{KIB, MIB};
use std::time::Duration;

/// Clients of one server at the same time. Each is a socket and a task; a process has 1,024 descriptors unless it asks for more.
pub(crate) const CONNECTIONS: usize = 1_024;
/// Connections whose handshakes may be under way at the same time: of those whom the system names, and of strangers, who must prove who
/// they are and must not take the places of clients.
pub(crate) const HANDSHAKES: usize = 128;
/// Those that are refused and are given a moment to read why; others are closed at once, so that refusing costs little.
pub(crate) const FAREWELLS: usize = 64;
/// What a client may take to say who it is, and the program to say what it serves.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// What one attempt to connect may take, the server's `on_rpc_connect` included: less than a handshake, as its caller waits for it.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// What a shutdown waits for handlers that run: as long as a service manager is patient, and some.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);
/// The deadline of a call that names none, as a broker has it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Silence of a peer over TCP after which it is asked for a sign; after four times as long the connection is lost.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(15);

/// The largest payload of one frame, in bytes. Larger ones would delay everything behind them; they go in pieces.
pub(crate) const FRAME_BYTES: u32 = 16 * MIB as u32;
/// The largest request, answer or error value, in bytes.
pub(crate) const MESSAGE_BYTES: u32 = 256 * MIB as u32;
/// What may be under way unread of each streamed or large message, in bytes on the wire.
pub(crate) const STREAM_WINDOW: u32 = 256 * KIB as u32;
/// Calls of one end that may wait for their answers.
pub(crate) const OPEN_CALLS: u32 = 4_096;
/// What one end may send of one-way commands before the other end's handlers have ended, in bytes on the wire.
pub(crate) const CALL_WINDOW: u32 = 256 * KIB as u32;
/// Descriptors of one connection's calls that have not ended: a process has 1,024 for everything.
pub(crate) const DESCRIPTORS: u32 = 64;
/// What may wait in a program to be written, in bytes, before its callers wait.
pub(crate) const OUT_BUFFER: usize = 256 * KIB;
/// What one end keeps for the other, in bytes, beside one message of the largest size.
pub(crate) const MEMORY: usize = 64 * MIB;

/// What the last words of a connection may take: nobody waits for them.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);
/// What a shutdown waits at least for handlers that were stopped in the middle of a step: all others are dropped at once.
pub(crate) const LAST_STEP: Duration = Duration::from_secs(1);
/// What commands without an answer may take after their sender has left in order.
pub(crate) const LET_FINISH: Duration = Duration::from_secs(10);
/// What is read and thrown away at the end, in bytes: a socket that is closed with unread bytes takes the last words with it.
pub(crate) const THROWN_AWAY: usize = 16 * MIB;
